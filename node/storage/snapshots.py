"""Snapshots as directories: a manifest, the ends of all epochs before it, and a file per chunk.

    <height>-<id>/          a whole snapshot: it got its name only once everything in it was on the disk
    making/                 one that is being written
    incoming/               one that is being fetched; a chunk file is there once it was verified

What stands in `making` after a failure or a crash is thrown away: the node may wait for that room. What stands in
`incoming` is gone on with.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import structlog

from node.errors import MessageRejected, StorageError
from node.primitives.codec import decode, encode
from node.types.epoch import EpochEnd
from node.types.snapshot import SNAPSHOT_VERSION, Snapshot

MANIFEST = "manifest"
EPOCHS = "epochs"
MAKING = "making"
INCOMING = "incoming"
KEPT_SNAPSHOTS = 2
LENGTH_SIZE_BYTES = 4

log = structlog.get_logger(__name__)


class SnapshotDirectory:
    """One snapshot's files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Snapshot:
        """Its manifest. Raises: StorageError."""
        try:
            snapshot = decode(Snapshot, (self.path / MANIFEST).read_bytes())
        except (OSError, MessageRejected) as error:
            raise StorageError(f"{self.path} holds no snapshot: {error}. Make or fetch another one.") from error
        if snapshot.manifest.version != SNAPSHOT_VERSION:
            raise StorageError(
                f"{self.path} has format {snapshot.manifest.version}; this program reads {SNAPSHOT_VERSION}"
            )
        return snapshot

    def save_manifest(self, snapshot: Snapshot) -> None:
        """Writes its manifest."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_file(self.path / MANIFEST, encode(snapshot))

    def chunk_file(self, index: int) -> Path:
        """Where a chunk lies."""
        return self.path / f"chunk-{index:06d}"

    def has_chunk(self, index: int) -> bool:
        """Whether a chunk is there."""
        return self.chunk_file(index).exists()

    def load_chunk(self, index: int) -> bytes | None:
        """A chunk's bytes, if it is there and can be read."""
        try:
            return self.chunk_file(index).read_bytes()
        except OSError:
            return None

    def save_chunk(self, index: int, data: bytes) -> None:
        """Writes a chunk."""
        write_file(self.chunk_file(index), data)

    def drop_chunk(self, index: int) -> None:
        """Throws a chunk away."""
        self.chunk_file(index).unlink(missing_ok=True)

    def save_epochs(self, ends: Iterable[EpochEnd]) -> None:
        """Writes the ends of the epochs before the snapshot."""
        pieces = bytearray()
        for end in ends:
            data = encode(end)
            pieces += len(data).to_bytes(LENGTH_SIZE_BYTES, "big") + data
        write_file(self.path / EPOCHS, bytes(pieces))

    def load_epochs(self) -> Iterator[EpochEnd]:
        """The ends of the epochs before the snapshot. Raises: StorageError."""
        path = self.path / EPOCHS
        try:
            data = path.read_bytes()
            offset = 0
            while offset < len(data):
                start = offset + LENGTH_SIZE_BYTES
                offset = start + int.from_bytes(data[offset:start], "big")
                yield decode(EpochEnd, data[start:offset])
        except (OSError, MessageRejected) as error:
            raise StorageError(f"{path} cannot be read: {error}. Copy the snapshot again.") from error


class SnapshotShelf:
    """The snapshots of a node."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def incoming(self) -> SnapshotDirectory:
        """The one that is being fetched."""
        return SnapshotDirectory(self.path / INCOMING)

    def drop_incoming(self) -> None:
        """Throws away what was fetched."""
        shutil.rmtree(self.path / INCOMING, ignore_errors=True)

    def begin(self) -> SnapshotDirectory:
        """An empty place to write one in. Raises: StorageError."""
        self.drop_making()
        making = SnapshotDirectory(self.path / MAKING)
        try:
            making.path.mkdir(parents=True)
        except OSError as error:
            raise _not_written(making.path, error) from error
        return making

    def drop_making(self) -> None:
        """Throws away what was written of one."""
        shutil.rmtree(self.path / MAKING, ignore_errors=True)

    def finish(self, making: SnapshotDirectory, snapshot: Snapshot) -> SnapshotDirectory:
        """Gives a written snapshot its name, once everything in it is on the disk. The same one again replaces it.

        Raises: StorageError.
        """
        making.save_manifest(snapshot)
        manifest = snapshot.manifest
        target = self.path / f"{manifest.header.height:012d}-{manifest.id().hex()[:16]}"
        shutil.rmtree(target, ignore_errors=True)
        try:
            making.path.rename(target)
            sync_directory(self.path)
        except OSError as error:
            raise _not_written(target, error) from error
        return SnapshotDirectory(target)

    def find(self, snapshot_id: bytes) -> SnapshotDirectory | None:
        """Where a whole snapshot lies."""
        path = next(self.path.glob(f"[0-9]*-{snapshot_id.hex()[:16]}"), None)
        return None if path is None else SnapshotDirectory(path)

    def all(self) -> list[tuple[SnapshotDirectory, Snapshot]]:
        """Whole snapshots, the newest first. One that cannot be read is left out and said."""
        found: list[tuple[SnapshotDirectory, Snapshot]] = []
        paths = sorted(self.path.glob("[0-9]*-*"), reverse=True) if self.path.exists() else []
        for path in paths:
            directory = SnapshotDirectory(path)
            try:
                found.append((directory, directory.load()))
            except StorageError as error:
                log.warning("snapshot_unreadable", snapshot=path.name, error=str(error))
        return found

    def keep_newest(self, count: int = KEPT_SNAPSHOTS) -> None:
        """Deletes the older ones."""
        for directory, _ in self.all()[count:]:
            shutil.rmtree(directory.path, ignore_errors=True)


def write_file(path: Path, data: bytes) -> None:
    """Writes a file that is there whole or not at all. Raises: StorageError."""
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot write {path}: {error}. Make room on the disk and start again.")


def sync_directory(path: Path) -> None:
    """Makes names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
