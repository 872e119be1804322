"""The state's Merkle trie: radix 16 over SHA-256 of the keys; the root is a function of the content only.

    leaf    H(0x00 ‖ key hash ‖ H(value))
    branch  H(0x01 ‖ 16-bit bitmap, bit n for digit n ‖ hashes of the present children in order)
    empty   32 zero bytes

A subtree with one leaf is that leaf, after deletes too; there is no other path compression. A node is stored under
its path (one hexadecimal digit per character) as the very bytes its hash is taken of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated

from node.primitives.crypto import HASH_SIZE_BYTES, ZERO_HASH

EMPTY_ROOT = ZERO_HASH
LEAF, BRANCH = 0, 1
BRANCH_HEADER = 3
"""Bytes of a branch before its children: the kind and the bitmap."""
DEEPEST = 2 * HASH_SIZE_BYTES

NodeLoader = Callable[[str], bytes | None]
"""Path to stored node."""
Entry = tuple[str, bytes | None]
"""Key hash in hexadecimal, and the value's hash or None for a deletion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateProof:
    """What shows a key's value, or its absence, under a state root."""

    nodes: Annotated[tuple[Annotated[bytes, range(1, 516)], ...], range(DEEPEST + 2)]
    """The nodes on the key's path, from the root down. The last one decides: the key's leaf, another key's leaf, or a
    branch without the next digit; none at all when the state is empty."""


def update(load: NodeLoader, changes: Mapping[bytes, bytes | None]) -> tuple[bytes, dict[str, bytes | None]]:
    """The root after changes (key hash to value hash, None deletes), and the nodes to store or delete by path.

    Equal content gives an equal root whatever the order or grouping of the changes.
    """
    writes: dict[str, bytes | None] = {}
    entries = sorted((key.hex(), value) for key, value in changes.items())
    before = load("")
    root = _update(load, writes, "", before, entries)
    if root != before:
        writes[""] = root
    return (hashlib.sha256(root).digest() if root is not None else EMPTY_ROOT), writes


def prove(load: NodeLoader, key_hash: bytes) -> StateProof:
    """The proof of a key's presence or absence."""
    digits = key_hash.hex()
    nodes: list[bytes] = []
    for depth in range(DEEPEST + 1):
        node = load(digits[:depth])
        if node is None:
            break
        nodes.append(node)
        if node[0] == LEAF:
            break
    return StateProof(nodes=tuple(nodes))


def verify(root: bytes, key_hash: bytes, proof: StateProof) -> bytes | None:
    """The hash of a key's value under a root, None when there is none. Raises: ValueError when it is no proof."""
    expected, digits = root, key_hash.hex()
    if not proof.nodes and root == EMPTY_ROOT:
        return None
    for depth, node in enumerate(proof.nodes):
        is_last = depth == len(proof.nodes) - 1
        if hashlib.sha256(node).digest() != expected:
            raise ValueError("a node is not the one its parent names")
        if node[0] == LEAF:
            if not is_last or len(node) != 1 + 2 * HASH_SIZE_BYTES or node[1:33].hex()[:depth] != digits[:depth]:
                raise ValueError("a leaf ends a path, and lies on it")
            return node[33:] if node[1:33] == key_hash else None
        bitmap = int.from_bytes(node[1:BRANCH_HEADER], "big")
        size_bytes = BRANCH_HEADER + HASH_SIZE_BYTES * bitmap.bit_count()
        if node[0] != BRANCH or depth >= DEEPEST or len(node) != size_bytes:
            raise ValueError("a branch names as many children as its bitmap")
        bit = 1 << int(digits[depth], 16)
        if not bitmap & bit:
            if not is_last:
                raise ValueError("nothing is below a branch without the digit")
            return None
        position = BRANCH_HEADER + HASH_SIZE_BYTES * (bitmap & bit - 1).bit_count()
        expected = node[position : position + HASH_SIZE_BYTES]
    raise ValueError("the path does not end")


def root_of(path: str, entries: list[Entry]) -> bytes:
    """The hash of the subtree at a path that holds exactly some sorted entries."""
    node = _build({}, path, entries)
    return EMPTY_ROOT if node is None else hashlib.sha256(node).digest()


def _update(
    load: NodeLoader, writes: dict[str, bytes | None], path: str, node: bytes | None, entries: list[Entry]
) -> bytes | None:
    """The node that stands at `path` after `entries`; nodes below it go to `writes`."""
    if node is None:
        return _build(writes, path, [entry for entry in entries if entry[1] is not None])
    if node[0] == LEAF:
        return _merge_leaf(writes, path, node, entries)
    branch, bitmap = bytearray(node), int.from_bytes(node[1:3], "big")
    depth = len(path)
    for digit_text, group in groupby(entries, key=lambda entry: entry[0][depth]):
        bit = 1 << int(digit_text, 16)
        position = BRANCH_HEADER + HASH_SIZE_BYTES * (bitmap & bit - 1).bit_count()
        end = position + HASH_SIZE_BYTES if bitmap & bit else position
        child_path = path + digit_text
        before = load(child_path) if bitmap & bit else None
        after = _update(load, writes, child_path, before, list(group))
        if after == before:
            continue
        writes[child_path] = after
        if after is None:
            del branch[position:end]
            bitmap &= ~bit
        else:
            branch[position:end] = hashlib.sha256(after).digest()
            bitmap |= bit
    if not bitmap:
        return None
    if not bitmap & bitmap - 1:  # one child is left
        child_path = f"{path}{bitmap.bit_length() - 1:x}"
        child = writes[child_path] if child_path in writes else load(child_path)
        assert child is not None, "a branch's child is stored"
        if child[0] == LEAF:  # a subtree with one leaf is that leaf
            writes[child_path] = None
            return child
    branch[1:BRANCH_HEADER] = bitmap.to_bytes(2, "big")
    return bytes(branch)


def _merge_leaf(writes: dict[str, bytes | None], path: str, node: bytes, entries: list[Entry]) -> bytes | None:
    key, value = node[1:33].hex(), node[33:]
    if len(entries) == 1 and entries[0][0] == key:
        return None if entries[0][1] is None else node[:33] + entries[0][1]
    kept = [entry for entry in entries if entry[1] is not None]
    if all(entry[0] != key for entry in entries):
        kept = sorted([*kept, (key, value)])
    return _build(writes, path, kept)


def _build(writes: dict[str, bytes | None], path: str, entries: list[Entry]) -> bytes | None:
    """The subtree of sorted entries at a path where nothing stands yet."""
    if not entries:
        return None
    if len(entries) == 1:
        key, value = entries[0]
        assert value is not None, "only present values are built"
        return b"\x00" + bytes.fromhex(key) + value
    branch, bitmap = bytearray(BRANCH_HEADER), 0
    depth = len(path)
    for digit_text, group in groupby(entries, key=lambda entry: entry[0][depth]):
        child_path = path + digit_text
        child = _build(writes, child_path, list(group))
        assert child is not None, "a group has an entry"
        writes[child_path] = child
        branch += hashlib.sha256(child).digest()
        bitmap |= 1 << int(digit_text, 16)
    branch[0] = BRANCH
    branch[1:BRANCH_HEADER] = bitmap.to_bytes(2, "big")
    return bytes(branch)
