"""The Merkle tree over a list. Source: RFC 6962, section 2.1 (leaf and node prefixes, no leaf duplication)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """H(0x00 ‖ leaf)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over a list of byte strings.

    Pairs are joined level by level, an odd last one moves up: the same tree as RFC 6962's recursive definition.
    """
    level = [leaf_hash(leaf) for leaf in leaves]
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        level = _next_level(level)
    return level[0]


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The sibling hashes from a leaf up to the root."""
    assert 0 <= index < len(leaves), "the index is in the list"
    level = [leaf_hash(leaf) for leaf in leaves]
    proof = []
    while len(level) > 1:
        if (sibling := index ^ 1) < len(level):
            proof.append(level[sibling])
        level = _next_level(level)
        index >>= 1
    return tuple(proof)


def is_included(root: bytes, leaf: bytes, index: int, count: int, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows `leaf` at `index` of the `count` leaves under `root`. Source: RFC 9162, section 2.1.3.2."""
    if not 0 <= index < count:
        return False
    digest, last, remaining = leaf_hash(leaf), count - 1, iter(proof)
    while last:
        if index & 1 or index != last:
            sibling = next(remaining, None)
            if sibling is None:
                return False
            digest = _join(sibling, digest) if index & 1 else _join(digest, sibling)
        index >>= 1
        last >>= 1
    return next(remaining, None) is None and digest == root


def _join(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _next_level(level: list[bytes]) -> list[bytes]:
    joined = [_join(level[index], level[index + 1]) for index in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        joined.append(level[-1])
    return joined
