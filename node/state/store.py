"""The final state: latest values and Merkle nodes in the store, with undo records for the last blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from node.primitives.codec import decode, encode
from node.primitives.crypto import Hash, sha256
from node.state import tree
from node.state.view import Base, Layer
from node.storage.kv import KeyValueStore
from node.storage.schema import HEIGHT_SIZE_BYTES, Column, Meta, column_key, height_key
from node.storage.wal import LogPosition
from node.types.transaction import Height

V = TypeVar("V")

UNDO_HEIGHTS = 256
"""For how many blocks back the replaced values are kept."""
CACHED_VALUES = 100_000
"""Decoded values kept in memory."""
CACHED_NODES = 50_000
"""Merkle nodes kept in memory."""
TIP_KEY = column_key(Column.META, bytes((Meta.TIP,)))
_LOG_KEY = column_key(Column.META, bytes((Meta.LOG,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """What stood under a state key before a block."""

    key: Annotated[bytes, range(1, 1025)]
    """The state key."""
    values: Annotated[tuple[Annotated[bytes, range(2**24)], ...], range(2)]
    """The value; empty when there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """What takes one block back."""

    replaced: Annotated[tuple[Replaced, ...], range(2**24)]
    """Every changed key, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tip:
    """Where the final state stands."""

    height: Height
    """Height of the last final block."""
    state_root: Hash
    """The root after it."""


class StateStore:
    """Latest values and Merkle nodes. The base of every unfinalised layer."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._values: dict[bytes, Any] = {}
        self._nodes: dict[str, bytes | None] = {}
        tip = store.get(TIP_KEY)
        self.tip = decode(Tip, tip) if tip is not None else Tip(height=0, state_root=tree.EMPTY_ROOT)

    @property
    def root(self) -> bytes:
        """The state root after the last final block."""
        return self.tip.state_root

    def read(self, key: bytes, value_class: type[V]) -> V | None:
        """The value of a state key."""
        if key in self._values:
            return self._values[key]  # type: ignore[no-any-return]
        data = self._store.get(column_key(Column.STATE, key))
        value = None if data is None else decode(value_class, data)
        if len(self._values) >= CACHED_VALUES:
            self._values.clear()
        self._values[key] = value
        return value

    def read_bytes(self, key: bytes) -> bytes | None:
        """The encoded value of a state key."""
        return self._store.get(column_key(Column.STATE, key))

    def node(self, path: str) -> bytes | None:
        """The Merkle node at a path."""
        if path in self._nodes:
            return self._nodes[path]
        node = self._store.get(column_key(Column.TREE, path.encode("ascii")))
        if len(self._nodes) >= CACHED_NODES:
            self._nodes.clear()
        self._nodes[path] = node
        return node

    @property
    def log_position(self) -> LogPosition | None:
        """How far the write-ahead log had come when a block became final last; a log behind it has forgotten votes."""
        data = self._store.get(_LOG_KEY)
        return None if data is None else decode(LogPosition, data)

    def note_log(self, position: LogPosition) -> None:
        """Notes how far the log has come without a block."""
        self._store.write({_LOG_KEY: encode(position)})

    def undo_heights(self) -> list[int]:
        """Heights whose undo records are kept: without a gap up to the tip, unless a batch was lost between others."""
        first, last = column_key(Column.UNDO, b""), column_key(Column.UNDO, b"\xff" * (HEIGHT_SIZE_BYTES + 1))
        return [int.from_bytes(key[1:], "big") for key, _ in self._store.iterate(first, last)]

    def prove(self, key: bytes) -> tree.StateProof:
        """The proof of a state key's value, or of its absence, under the current root."""
        return tree.prove(self.node, sha256(key))

    def commit(
        self, height: int, layer: Layer, also: Mapping[bytes, bytes | None], log_position: LogPosition | None = None
    ) -> None:
        """Makes a block's layer the final state, together with whatever else belongs to the block: one batch.

        `log_position` is None where no log is kept, and where it is not known to be whole: then the old one stands.
        """
        self.commit_all([(height, layer, also)], log_position)

    def commit_all(
        self,
        blocks: Sequence[tuple[int, Layer, Mapping[bytes, bytes | None]]],
        log_position: LogPosition | None = None,
    ) -> None:
        """The same for blocks one above the other: one batch for all of them, and one wait for the disk."""
        changes: dict[bytes, bytes | None] = {}
        below: Base = self
        for height, layer, also in blocks:
            assert layer.base is below, "a block is committed right above the final state, or the one before it"
            below = layer
            changes.update(also)
            changes.update(self._layer_changes(height, layer, changes))
        height, top, _ = blocks[-1]
        tip = Tip(height=height, state_root=top.root)
        changes[TIP_KEY] = encode(tip)
        if log_position is not None:
            changes[_LOG_KEY] = encode(log_position)
        self._store.write(changes)
        for _, layer, _ in blocks:
            self._values.update(layer.values)
            self._nodes.update(layer.nodes)
        self.tip = tip

    def _layer_changes(
        self, height: int, layer: Layer, before: Mapping[bytes, bytes | None]
    ) -> dict[bytes, bytes | None]:
        """What a block writes; `before` is what those below it in the same batch do."""
        changes: dict[bytes, bytes | None] = {}
        replaced = []
        for key, value in sorted(layer.encoded.items()):
            place = column_key(Column.STATE, key)
            old = before[place] if place in before else self._store.get(place)
            replaced.append(Replaced(key=key, values=() if old is None else (old,)))
            changes[place] = value
        for path, node in layer.nodes.items():
            changes[column_key(Column.TREE, path.encode("ascii"))] = node
        changes[column_key(Column.UNDO, height_key(height))] = encode(Undo(replaced=tuple(replaced)))
        if height >= UNDO_HEIGHTS:
            changes[column_key(Column.UNDO, height_key(height - UNDO_HEIGHTS))] = None
        return changes
