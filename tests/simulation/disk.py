"""What survives a crash: stores and a log in memory, the log in the very bytes of the real one.

Every write is a persist point. A crash is armed to come at one of the next: before it, in the middle of it (the log's
record is torn; a store's batch is atomic), or after it, when it is durable and nothing that depends on it has left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from node.storage.kv import MemoryStore
from node.storage.wal import FILE_HEADER, Born, LogEntry, LogPosition, _encode_record, _read_record

_NAME = Path("the simulated log")


class Crash(BaseException):
    """The node's process ends here: nothing catches this but the world."""


class Moment(Enum):
    """When at a persist point the crash comes."""

    BEFORE = "before"
    TORN = "torn"
    AFTER = "after"


@dataclass
class Fuse:
    """A crash that is armed for one of the next persist points."""

    countdown: int = 0
    """Persist points until then; 0 is none armed."""
    moment: Moment = Moment.BEFORE
    torn_part: float = 0.5
    """How much of a torn record is there."""
    points: int = 0
    """Persist points passed so far."""

    def arm(self, countdown: int, moment: Moment, torn_part: float) -> None:
        """The crash comes at the countdown-th persist point from now."""
        self.countdown, self.moment, self.torn_part = countdown, moment, torn_part

    def is_due(self) -> bool:
        """Counts a persist point. Returns whether the crash comes at it."""
        self.points += 1
        if not self.countdown:
            return False
        self.countdown -= 1
        return not self.countdown


class SimStore(MemoryStore):
    """A store whose batches are persist points."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Puts and deletes (None) together, or not at all."""
        if not self._fuse.is_due():
            super().write(changes)
            return
        if self._fuse.moment is Moment.AFTER:
            super().write(changes)
        raise Crash


class SimLog:
    """A log of real records, durable when an append returns."""

    def __init__(self, fuse: Fuse, entries: Sequence[LogEntry] = ()) -> None:
        self._fuse = fuse
        self.file_number = 1
        self.data = b"".join(_encode_record([entry]) for entry in entries)
        self.on_append: Callable[[Sequence[LogEntry]], None] = lambda _entries: None
        """Told of what is durable."""

    @property
    def size_bytes(self) -> int:
        """How large the file would be."""
        return FILE_HEADER.size + len(self.data)

    @property
    def position(self) -> LogPosition:
        """How far the log has come."""
        return LogPosition(file_number=self.file_number, size_bytes=self.size_bytes)

    @property
    def entries(self) -> list[LogEntry]:
        """Everything in it."""
        return list(self.replay())

    def replay(self) -> Sequence[LogEntry]:
        """Everything in it; a torn last record is cut off."""
        entries: list[LogEntry] = []
        offset = 0
        while offset < len(self.data):
            record = _read_record(self.data, offset, _NAME)
            if record is None:
                self.data = self.data[:offset]
                break
            found, offset = record
            entries.extend(found)
        return entries

    def append(self, entries: Sequence[LogEntry]) -> None:
        """Makes entries durable together."""
        record = _encode_record(entries)
        if self._fuse.is_due():
            match self._fuse.moment:
                case Moment.BEFORE:
                    pass
                case Moment.TORN:
                    self.data += record[: int(len(record) * self._fuse.torn_part)]
                case Moment.AFTER:
                    self.data += record
                    self.on_append(entries)
            raise Crash
        self.data += record
        self.on_append(entries)

    def restart(self, entries: Sequence[LogEntry]) -> None:
        """Replaces everything by the entries still needed."""
        data = _encode_record(entries)
        is_due = self._fuse.is_due()
        if is_due and self._fuse.moment is not Moment.AFTER:
            raise Crash
        self.data, self.file_number = data, self.file_number + 1
        if is_due:
            raise Crash

    def copy(self) -> tuple[int, bytes]:
        """A backup."""
        return self.file_number, self.data

    def put_back(self, backup: tuple[int, bytes]) -> None:
        """Restores a backup."""
        self.file_number, self.data = backup

    def wipe(self) -> None:
        """The log is gone; not even its birth is known."""
        self.file_number, self.data = 1, b""


class Disk:
    """One node's disk."""

    def __init__(self, genesis_hash: bytes, validator: bytes) -> None:
        self.fuse = Fuse()
        self.store = SimStore(self.fuse)
        self.blobs = SimStore(self.fuse)
        self.log = SimLog(self.fuse, [Born(genesis_hash=genesis_hash, validator=validator)])

    def wipe(self) -> None:
        """Everything is gone."""
        self.store.values.clear()
        self.blobs.values.clear()
        self.log.wipe()
