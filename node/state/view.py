"""State above the final one: a journaled view while a block executes, a sealed layer after it.

A layer's base is its parent block's layer or the final state. Nothing here touches the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from node.primitives.codec import encode
from node.primitives.crypto import sha256
from node.state import tree

V = TypeVar("V")

_ABSENT = object()


class Base(Protocol):
    """What a view or layer stands on."""

    @property
    def root(self) -> bytes:
        """The state root."""

    def read(self, key: bytes, value_class: type[V]) -> V | None:
        """The value of a state key."""

    def node(self, path: str) -> bytes | None:
        """The Merkle node at a path."""


class Layer:
    """What one block changed, and the root after it."""

    __slots__ = ("base", "encoded", "nodes", "root", "values")

    def __init__(
        self,
        base: Base,
        values: Mapping[bytes, Any],
        encoded: Mapping[bytes, bytes | None],
        nodes: Mapping[str, bytes | None],
        root: bytes,
    ) -> None:
        self.base = base
        self.values = values
        """Changed values by state key; None is deleted."""
        self.encoded = encoded
        """The same as bytes."""
        self.nodes = nodes
        """Changed Merkle nodes by path; None is deleted."""
        self.root = root

    def read(self, key: bytes, value_class: type[V]) -> V | None:
        """The value of a state key."""
        value = self.values.get(key, _ABSENT)
        return self.base.read(key, value_class) if value is _ABSENT else value

    def node(self, path: str) -> bytes | None:
        """The Merkle node at a path."""
        return self.nodes[path] if path in self.nodes else self.base.node(path)


class View:
    """Changes in the making: they can be taken back to a mark, and sealed into a layer."""

    __slots__ = ("_base", "_journal", "_values")

    def __init__(self, base: Base) -> None:
        self._base = base
        self._values: dict[bytes, Any] = {}
        self._journal: list[tuple[bytes, Any]] = []

    def read(self, key: bytes, value_class: type[V]) -> V | None:
        """The value of a state key."""
        value = self._values.get(key, _ABSENT)
        return self._base.read(key, value_class) if value is _ABSENT else value

    def write(self, key: bytes, value: object | None) -> None:
        """Sets or deletes (None) the value of a state key."""
        self._journal.append((key, self._values.get(key, _ABSENT)))
        self._values[key] = value

    def mark(self) -> int:
        """A point to revert to."""
        return len(self._journal)

    def revert(self, mark: int) -> None:
        """Takes back everything since a mark."""
        while len(self._journal) > mark:
            key, previous = self._journal.pop()
            if previous is _ABSENT:
                del self._values[key]
            else:
                self._values[key] = previous

    def seal(self) -> Layer:
        """The changes with the root they lead to."""
        encoded = {key: None if value is None else encode(value) for key, value in self._values.items()}
        hashes = {sha256(key): None if data is None else sha256(data) for key, data in encoded.items()}
        if not hashes:
            return Layer(self._base, {}, {}, {}, self._base.root)
        root, nodes = tree.update(self._base.node, hashes)
        return Layer(self._base, self._values, encoded, nodes, root)
