"""Checks a proof of the ledger's state against a state root, with nothing but SHA-256.

`nodes` are the proof's nodes from the root down, `key` is the state key, `value` its canonical bytes, or None when the
proof is to show that nothing stands under the key.
"""

import hashlib


def is_proven(root: bytes, key: bytes, value: bytes | None, nodes: list[bytes]) -> bool:
    key_hash = hashlib.sha256(key).digest()
    if not nodes:
        return value is None and root == bytes(32)
    expected = root
    for depth, node in enumerate(nodes):
        if expected is None or hashlib.sha256(node).digest() != expected:
            return False
        is_last = depth == len(nodes) - 1
        if len(node) == 65 and node[0] == 0:  # a leaf: 0x00, hash of the key, hash of the value
            if not is_last or node[1:33].hex()[:depth] != key_hash.hex()[:depth]:
                return False
            if node[1:33] != key_hash:
                return value is None
            return value is not None and node[33:] == hashlib.sha256(value).digest()
        bitmap = int.from_bytes(node[1:3], "big")
        if node[0] != 1 or depth > 63 or len(node) != 3 + 32 * bitmap.bit_count():
            return False  # a branch: 0x01, which of 16 children are there, their hashes
        digit = int(key_hash.hex()[depth], 16)
        place = 3 + 32 * (bitmap & (1 << digit) - 1).bit_count()
        expected = node[place : place + 32] if bitmap >> digit & 1 else None
    return value is None and expected is None
