"""Key-value stores: LevelDB on disk, a dictionary in memory. Owns the plyvel library.

A damaged byte is never served as a value: LevelDB is opened with paranoid checks, so that its log and its tables refuse
what does not match its checksum, and each read verifies the block it comes from. Two things LevelDB itself passes over
in silence are refused here before it opens: a directory that lost its `CURRENT` file, which it takes for a new store,
and a hole of zeros in the middle of its log, after which it would go on with later batches.
What nobody can tell from a crash is a log that ends early: the last batches are gone, the ones before are whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol

from node.errors import StorageError

WRITE_BUFFER_SIZE_BYTES = 8 * 2**20
CACHE_SIZE_BYTES = 16 * 2**20
BLOOM_FILTER_BITS = 10
LOG_BLOCK_SIZE_BYTES = 32 * 2**10
"""LevelDB's logs are blocks of this size; no record header crosses a block's end."""
LOG_HEADER = struct.Struct("<IHB")
"""Checksum, length and type of a record in LevelDB's logs."""


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

        self._directory = directory
        self._is_durable = is_durable
        self._error: type[Exception] = plyvel.Error
        self._failure: str | None = None
        """What went wrong at a write: after it nobody knows what is on the disk, so nothing is written any more."""
        directory.mkdir(parents=True, exist_ok=True)
        _require_whole(directory)
        try:
            self._db = plyvel.DB(
                str(directory),
                create_if_missing=True,
                paranoid_checks=True,
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
            value: bytes | None = self._db.get(key, verify_checksums=True)
        except self._error as error:
            raise self._unreadable(error) from error
        return value

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Puts and deletes (None) together; returns once they are on disk."""
        if self._failure is not None:
            raise StorageError(self._failure)
        try:
            batch = self._db.write_batch(sync=self._is_durable)
            for key, value in changes.items():
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)
            batch.write()
        except self._error as error:
            self._failure = (
                f"cannot write the store in {self._directory}: {error}. Make room on the disk and start again; "
                f"if it is damaged, move it away and let the node sync again."
            )
            raise StorageError(self._failure) from error

    def iterate(self, start: bytes, stop: bytes, *, is_reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values with start <= key < stop, in order."""
        # plyvel's reverse iterator loses an only entry that stands exactly on `start`.
        options = {"stop": stop, "reverse": True} if is_reverse else {"start": start, "stop": stop}
        try:
            entries: Iterator[tuple[bytes, bytes]] = self._db.iterator(**options, verify_checksums=True)
        except self._error as error:
            raise self._unreadable(error) from error
        return takewhile(lambda entry: entry[0] >= start, self._checked(entries))

    def freeze(self) -> Frozen:
        """The store as it stands now."""
        return _LevelFrozen(self._db.snapshot(), self._error)

    def compact(self, start: bytes, stop: bytes) -> None:
        """Gives back the space of deleted keys in a range."""
        self._db.compact_range(start=start, stop=stop)

    def close(self) -> None:
        """Lets go of the files."""
        self._db.close()

    def _checked(self, entries: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        try:
            yield from entries
        except self._error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> StorageError:
        return StorageError(
            f"cannot read the store in {self._directory}: {error}. Move it away and let the node sync again."
        )


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


def _require_whole(directory: Path) -> None:
    """Raises: StorageError for the damage that LevelDB passes over in silence."""
    names = {path.name for path in directory.iterdir()}
    if "CURRENT" not in names and any(name.endswith((".ldb", ".sst", ".log")) for name in names):
        raise StorageError(
            f"the store in {directory} has lost its file CURRENT: move the directory away and let the node sync again"
        )
    for name in sorted(names):
        if name.endswith(".log") or name.startswith("MANIFEST-"):
            place = _hole_in((directory / name).read_bytes())
            if place is not None:
                raise StorageError(
                    f"{directory / name} has a hole at byte {place}: "
                    f"move the directory {directory} away and let the node sync again"
                )


def _hole_in(data: bytes) -> int | None:
    """Where zeros stand in the middle of a LevelDB log; zeros up to its end are what was never written."""
    offset = 0
    while offset + LOG_HEADER.size <= len(data):
        left = LOG_BLOCK_SIZE_BYTES - offset % LOG_BLOCK_SIZE_BYTES
        if left < LOG_HEADER.size:
            offset += left
            continue
        _, length, kind = LOG_HEADER.unpack_from(data, offset)
        if not length and not kind:
            return offset if any(data[offset:]) else None
        offset += LOG_HEADER.size + length
    return None
