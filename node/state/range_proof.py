"""Proves that some entries are all that stands between two key hashes, under a state root.

A proof is the nodes of the trie whose part of the key space reaches over an end of the range, in the order in which a
walk from the root meets them. Below such a branch a child lies outside of the range, and its hash is taken as it
stands; or inside, and is built again from the entries alone; or reaches over an end itself, and is the next node of the
proof. A node counts only once its hash is what the root, or the branch above it, says. So there is nothing to forge:
another, a missing or an additional entry builds another hash.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated

from node.errors import MessageReason, MessageRejected
from node.primitives.crypto import HASH_SIZE_BYTES
from node.state import tree

FIRST_KEY_HASH = bytes(HASH_SIZE_BYTES)
LAST_KEY_HASH = b"\xff" * HASH_SIZE_BYTES
LARGEST_NODE_SIZE_BYTES = tree.BRANCH_HEADER + 16 * HASH_SIZE_BYTES
LEAF_SIZE_BYTES = 1 + 2 * HASH_SIZE_BYTES
MOST_PROOF_NODES = 2 * tree.DEEPEST + 2
"""Two paths from the root."""

RangeProof = Annotated[tuple[Annotated[bytes, range(1, LARGEST_NODE_SIZE_BYTES + 1)], ...], range(MOST_PROOF_NODES + 1)]
"""The nodes that reach over an end of the range, from the root down and from left to right."""
Leaf = tuple[bytes, bytes]
"""Key hash and value hash."""


def prove_range(load: tree.NodeLoader, first: bytes, last: bytes) -> tuple[bytes, ...]:
    """The proof that goes with all entries whose key hash is at least `first` and at most `last`."""
    return tuple(_nodes(load, "", first.hex(), last.hex()))


def verify_range(root: bytes, first: bytes, last: bytes, leaves: Sequence[Leaf], proof: Sequence[bytes]) -> None:
    """Checks that some leaves, sorted by key hash, are all there are from `first` to `last`.

    Raises: MessageRejected MALFORMED when they are not, or when the proof shows nothing or too much.
    """
    hashes = [key_hash for key_hash, _ in leaves]
    if any(left >= right for left, right in pairwise(hashes)):
        raise _refused("the entries are not sorted")
    if first > last or (hashes and not first <= hashes[0] <= hashes[-1] <= last):
        raise _refused("an entry is outside of the range")
    if root == tree.EMPTY_ROOT:
        if leaves or proof:
            raise _refused("the state is empty")
        return
    walk = _Walk(first.hex(), last.hex(), [(key_hash.hex(), value) for key_hash, value in leaves], iter(proof))
    walk.check("", root, 0, len(leaves))
    if next(walk.proof, None) is not None:
        raise _refused("the proof has nodes that show nothing")


class _Walk:
    """One check."""

    def __init__(self, first: str, last: str, entries: list[tree.Entry], proof: Iterator[bytes]) -> None:
        self._first, self._last = first, last
        self._entries = entries
        self.proof = proof

    def check(self, path: str, expected: bytes, start: int, stop: int) -> None:
        """Compares the subtree at a path with its hash; the entries from `start` to `stop` are in its key space."""
        if _is_inside(path, self._first, self._last):
            if tree.root_of(path, self._entries[start:stop]) != expected:
                raise _refused(f"the entries below {path or 'the root'} are not the state's")
            return
        node = next(self.proof, None)
        if node is None or hashlib.sha256(node).digest() != expected:
            raise _refused(f"the node at {path or 'the root'} is not the state's")
        if node[0] == tree.LEAF:
            self._check_leaf(node, start, stop)
        else:
            self._check_branch(path, node, start, stop)

    def _check_leaf(self, node: bytes, start: int, stop: int) -> None:
        if len(node) != LEAF_SIZE_BYTES:
            raise _refused("a leaf of another size")
        key = node[1 : 1 + HASH_SIZE_BYTES].hex()
        there = [(key, node[1 + HASH_SIZE_BYTES :])] if self._first <= key <= self._last else []
        if self._entries[start:stop] != there:
            raise _refused(f"the entry {key} is not the state's")

    def _check_branch(self, path: str, node: bytes, start: int, stop: int) -> None:
        bitmap = int.from_bytes(node[1 : tree.BRANCH_HEADER], "big")
        size_bytes = tree.BRANCH_HEADER + HASH_SIZE_BYTES * bitmap.bit_count()
        if node[0] != tree.BRANCH or len(path) >= tree.DEEPEST or len(node) != size_bytes:
            raise _refused("a node of another form")
        position = tree.BRANCH_HEADER
        for digit in range(16):
            child = f"{path}{digit:x}"
            end = bisect_left(self._entries, (_after(child),), start, stop) if digit < 15 else stop
            if bitmap >> digit & 1:
                expected = node[position : position + HASH_SIZE_BYTES]
                position += HASH_SIZE_BYTES
                if not _is_outside(child, self._first, self._last):
                    self.check(child, expected, start, end)
            elif start != end:
                raise _refused(f"the state has nothing below {child}")
            start = end


def _nodes(load: tree.NodeLoader, path: str, first: str, last: str) -> Iterator[bytes]:
    if _is_inside(path, first, last) or _is_outside(path, first, last):
        return
    node = load(path)
    if node is None:
        return
    yield node
    if node[0] == tree.BRANCH:
        for digit in "0123456789abcdef":
            yield from _nodes(load, path + digit, first, last)


def _is_inside(path: str, first: str, last: str) -> bool:
    """Whether every key below a path is in the range."""
    return path.ljust(tree.DEEPEST, "0") >= first and path.ljust(tree.DEEPEST, "f") <= last


def _is_outside(path: str, first: str, last: str) -> bool:
    """Whether no key below a path is in the range."""
    return path.ljust(tree.DEEPEST, "f") < first or path.ljust(tree.DEEPEST, "0") > last


def _after(path: str) -> str:
    """The lowest text above every key below a path, whose last digit is not the highest."""
    return path[:-1] + f"{int(path[-1], 16) + 1:x}"


def _refused(detail: str) -> MessageRejected:
    return MessageRejected(MessageReason.MALFORMED, f"range proof: {detail}")
