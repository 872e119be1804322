"""The state tree as its header defines it, built whole from a dictionary: slow, and short enough to be read."""

from __future__ import annotations

import hashlib


def fresh_root(content: dict[bytes, bytes]) -> bytes:
    """The root of key hashes and value hashes."""
    return fresh_tree(content)[0]


def fresh_tree(content: dict[bytes, bytes]) -> tuple[bytes, dict[str, bytes]]:
    """The root, and every node by path."""
    nodes: dict[str, bytes] = {}

    def build(path: str, keys: list[str]) -> bytes:
        if len(keys) == 1:
            node = b"\x00" + bytes.fromhex(keys[0]) + content[bytes.fromhex(keys[0])]
        else:
            groups = {digit: [key for key in keys if key[len(path)] == digit] for digit in "0123456789abcdef"}
            present = [digit for digit, group in groups.items() if group]
            bitmap = sum(1 << int(digit, 16) for digit in present)
            children = b"".join(build(path + digit, groups[digit]) for digit in present)
            node = b"\x01" + bitmap.to_bytes(2, "big") + children
        nodes[path] = node
        return hashlib.sha256(node).digest()

    root = build("", sorted(key.hex() for key in content)) if content else bytes(32)
    return root, nodes
