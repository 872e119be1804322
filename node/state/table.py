"""Typed access to the state: one table per prefix, declared by the module that owns it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from node.errors import TransactionReason, TransactionRejected
from node.storage.schema import Prefix

V = TypeVar("V")


class Reader(Protocol):
    """Something values can be read from: a view, a block's layer, the final state."""

    def read(self, key: bytes, value_class: type[V]) -> V | None:
        """The value of a state key."""


class Writer(Reader, Protocol):
    """Something values can also be written to: a view."""

    def write(self, key: bytes, value: object | None) -> None:
        """Sets or deletes (None) the value of a state key."""


@dataclass(frozen=True)
class Table(Generic[V]):
    """One kind of value by key."""

    prefix: Prefix
    """Where it stands; declared once in `node.storage.schema`."""
    value_class: type[V]
    """The wire class of its values."""

    def key(self, key: bytes) -> bytes:
        """The state key of a table key: what proofs are about."""
        return bytes((self.prefix,)) + key

    def get(self, state: Reader, key: bytes = b"") -> V | None:
        """The value, if there is one."""
        return state.read(bytes((self.prefix,)) + key, self.value_class)

    def need(self, state: Reader, key: bytes = b"") -> V:
        """The value.

        Raises: TransactionRejected NOT_FOUND.
        """
        value = self.get(state, key)
        if value is None:
            name = self.value_class.__name__.lower()
            raise TransactionRejected(TransactionReason.NOT_FOUND, f"no {name} {key.hex()[:64]}")
        return value

    def put(self, state: Writer, key: bytes, value: V) -> None:
        """Sets the value."""
        state.write(bytes((self.prefix,)) + key, value)

    def delete(self, state: Writer, key: bytes) -> None:
        """Removes the value."""
        state.write(bytes((self.prefix,)) + key, None)


class Singleton(Generic[V]):
    """A table with one value, which genesis sets."""

    def __init__(self, prefix: Prefix, value_class: type[V]) -> None:
        self.table = Table(prefix, value_class)

    def get(self, state: Reader) -> V:
        """The value."""
        value = self.table.get(state)
        assert value is not None, f"genesis sets {self.table.prefix.name}"
        return value

    def put(self, state: Writer, value: V) -> None:
        """Sets the value."""
        self.table.put(state, b"", value)
