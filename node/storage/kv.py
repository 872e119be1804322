"""Key-value stores: LevelDB on disk, a dictionary in memory. Owns the plyvel library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol

from node.errors import StorageError

WRITE_BUFFER_SIZE_BYTES = 8 * 2**20
CACHE_SIZE_BYTES = 16 * 2**20
BLOOM_FILTER_BITS = 10


class Frozen(Protocol):
    """A store as it stood at a moment; any one thread may read it."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""

    def iterate(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values with start <= key < stop, in order."""

    def close(self) -> None:
        """Lets go of it, so that what was deleted since can leave the files."""


class KeyValueStore(Protocol):
    """Sorted bytes to bytes; a batch is atomic, and durable when it returns."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Puts and deletes (None) together; returns once they are on disk."""

    def iterate(self, start: bytes, stop: bytes, *, is_reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values with start <= key < stop, in order, as they stand at the call."""

    def freeze(self) -> Frozen:
        """The store as it stands now."""

    def compact(self, start: bytes, stop: bytes) -> None:
        """Gives back the space of deleted keys in a range, so that deleted bytes are really gone."""

    def close(self) -> None:
        """Lets go of the files."""


class LevelStore:
    """LevelDB in a directory. Raises: StorageError when it cannot be opened, read or written.

    Without `is_durable` a batch is atomic, but the last ones may be lost with the power: for what can be built again.
    """

    def __init__(self, directory: Path, *, is_durable: bool = True) -> None:
        # Start-up stays light: the command line imports this module without opening a store.
        import plyvel

        self._is_durable = is_durable
        self._error: type[Exception] = plyvel.Error
        directory.mkdir(parents=True, exist_ok=True)
        try:
            self._db = plyvel.DB(
                str(directory),
                create_if_missing=True,
                write_buffer_size=WRITE_BUFFER_SIZE_BYTES,
                lru_cache_size=CACHE_SIZE_BYTES,
                bloom_filter_bits=BLOOM_FILTER_BITS,
            )
        except plyvel.Error as error:
            raise StorageError(
                f"cannot open the store in {directory}: {error}. If another node uses it, stop that one; "
                f"if it is damaged, move it away and let the node sync again."
            ) from error

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        try:
            value: bytes | None = self._db.get(key)
        except self._error as error:
            raise StorageError(f"cannot read the store: {error}. Move it away and let the node sync again.") from error
        return value

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Puts and deletes (None) together; returns once they are on disk."""
        try:
            batch = self._db.write_batch(sync=self._is_durable)
            for key, value in changes.items():
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)
            batch.write()
        except self._error as error:
            raise StorageError(f"cannot write the store: {error}. Make room on the disk and start again.") from error

    def iterate(self, start: bytes, stop: bytes, *, is_reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values with start <= key < stop, in order."""
        if not is_reverse:
            forward: Iterator[tuple[bytes, bytes]] = self._db.iterator(start=start, stop=stop)
            return forward
        # plyvel's reverse iterator loses an only entry that stands exactly on `start`.
        backward: Iterator[tuple[bytes, bytes]] = self._db.iterator(stop=stop, reverse=True)
        return takewhile(lambda entry: entry[0] >= start, backward)

    def freeze(self) -> Frozen:
        """The store as it stands now."""
        return _LevelFrozen(self._db.snapshot(), self._error)

    def compact(self, start: bytes, stop: bytes) -> None:
        """Gives back the space of deleted keys in a range."""
        self._db.compact_range(start=start, stop=stop)

    def close(self) -> None:
        """Lets go of the files."""
        self._db.close()


class _LevelFrozen:
    """A LevelDB snapshot."""

    def __init__(self, snapshot: Any, error: type[Exception]) -> None:
        self._snapshot = snapshot
        self._error = error

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        try:
            value: bytes | None = self._snapshot.get(key)
        except self._error as error:
            raise StorageError(f"cannot read the store: {error}. Move it away and let the node sync again.") from error
        return value

    def iterate(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values with start <= key < stop, in order."""
        entries: Iterator[tuple[bytes, bytes]] = self._snapshot.iterator(start=start, stop=stop)
        return entries

    def close(self) -> None:
        """Lets go of it."""
        self._snapshot.close()


class MemoryStore:
    """A dictionary: for tests and simulations."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        return self.values.get(key)

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Puts and deletes (None) together."""
        for key, value in changes.items():
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value

    def iterate(self, start: bytes, stop: bytes, *, is_reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values with start <= key < stop, in order."""
        keys = sorted((key for key in self.values if start <= key < stop), reverse=is_reverse)
        return iter([(key, self.values[key]) for key in keys])

    def freeze(self) -> Frozen:
        """The store as it stands now."""
        frozen = MemoryStore()
        frozen.values = dict(self.values)
        return frozen

    def compact(self, start: bytes, stop: bytes) -> None:
        """Nothing to give back."""

    def close(self) -> None:
        """Nothing to let go of."""
