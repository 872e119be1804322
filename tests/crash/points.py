"""Every persist point of a node, hooked from outside: the program knows nothing of it.

A point is one write, flush, sync, truncate, creation or unlink of the log, one batch or compaction of a store. The
process kills itself with SIGKILL before it, after it, or, where the log is written, in the middle of it.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from node.storage.kv import LevelStore


class Moment(StrEnum):
    """When the process dies."""

    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


TORN = "log write"
"""The points that can be hit in the middle."""


@dataclass(frozen=True)
class Kill:
    """Where a life ends."""

    point: int
    """The number of the point, counted from 1 in each life."""
    moment: Moment
    """When."""


class Points:
    """Counts the persist points of a process and ends it at one of them."""

    def __init__(self, log: Path, kill: Kill | None, report: Callable[[str], None], mirror: Mirror | None) -> None:
        self._log = log
        self._kill = kill
        self._report = report
        self.mirror = mirror
        self._count = 0

    @contextmanager
    def at(self, label: str, tear: Callable[[], None] | None = None) -> Iterator[None]:
        """One point."""
        self._count += 1
        self._report(label)
        is_here = self._kill is not None and self._kill.point == self._count
        moment = self._kill.moment if is_here and self._kill is not None else None
        if moment is Moment.DURING and tear is not None:
            tear()
        if moment in (Moment.BEFORE, Moment.DURING):
            os.kill(os.getpid(), signal.SIGKILL)
        yield
        if moment is Moment.AFTER:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Wraps what the log and the stores do; this process ends with it."""
        self._wrap_files()
        self._wrap_syncs()
        self._wrap_stores()

    def _wrap_files(self) -> None:
        opened, unlinked, points = Path.open, Path.unlink, self

        def open_file(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if path.parent != points._log or mode not in ("x+b", "r+b"):
                return opened(path, mode, *rest, **options)
            if mode == "r+b":
                return LogFile(opened(path, mode), points)
            with points.at("log create"):
                return LogFile(opened(path, mode), points)

        def unlink(path: Path, missing_ok: bool = False) -> None:
            with points.at("log unlink"):
                unlinked(path, missing_ok)

        Path.open, Path.unlink = open_file, unlink  # type: ignore[method-assign, assignment]

    def _wrap_syncs(self) -> None:
        fsync, fdatasync, points = os.fsync, os.fdatasync, self

        def sync_directory(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            with points.at("log directory sync" if path == points._log else "data directory sync"):
                fsync(descriptor)
                if points.mirror is not None and path == points._log:
                    points.mirror.note_names()

        def sync_file(descriptor: int) -> None:
            with points.at("log sync"):
                fdatasync(descriptor)
                if points.mirror is not None:
                    points.mirror.note_content(Path(f"/proc/self/fd/{descriptor}").readlink().name)

        os.fsync, os.fdatasync = sync_directory, sync_file  # type: ignore[assignment]

    def _wrap_stores(self) -> None:
        write, compact, points = LevelStore.write, LevelStore.compact, self

        def hooked_write(store: LevelStore, changes: Mapping[bytes, bytes | None]) -> None:
            with points.at(f"{store._directory.name} batch"):
                write(store, changes)

        def hooked_compact(store: LevelStore, start: bytes, stop: bytes) -> None:
            with points.at(f"{store._directory.name} compaction"):
                compact(store, start, stop)

        LevelStore.write, LevelStore.compact = hooked_write, hooked_compact  # type: ignore[method-assign]


class LogFile:
    """A file of the log whose every step is a persist point."""

    def __init__(self, file: BinaryIO, points: Points) -> None:
        self._file = file
        self._points = points

    def write(self, data: bytes) -> int:
        def tear() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        with self._points.at(TORN, tear):
            return self._file.write(data)

    def flush(self) -> None:
        with self._points.at("log flush"):
            self._file.flush()

    def truncate(self, size: int) -> int:
        with self._points.at("log truncate"):
            return self._file.truncate(size)

    def seek(self, place: int) -> int:
        return self._file.seek(place)

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()


class Mirror:
    """What of the log's directory is on the disk for sure: names as last synced, contents as last synced."""

    def __init__(self, log: Path, place: Path) -> None:
        self._log = log
        self._place = place
        place.mkdir(exist_ok=True)

    def note_content(self, name: str) -> None:
        """A file was synced."""
        (self._place / name).write_bytes((self._log / name).read_bytes())

    def note_names(self) -> None:
        """The directory was synced."""
        self._write_names([path.name for path in self._log.iterdir()])

    def note_all(self) -> None:
        """The machine was idle: everything is on the disk."""
        for path in self._log.iterdir():
            self.note_content(path.name)
        self.note_names()

    def lose_power(self, kept_bytes: Callable[[int], int], *, is_zeroed: bool) -> None:
        """Puts the directory as a power cut leaves it: of what was not synced, some bytes, and zeros behind them."""
        now = {path.name: path.read_bytes() for path in self._log.iterdir()}
        for path in list(self._log.iterdir()):
            path.unlink()
        for name in json.loads((self._place / "names").read_text()):
            synced = (self._place / name).read_bytes() if (self._place / name).exists() else b""
            unsynced = now.get(name, b"")[len(synced) :]
            kept = kept_bytes(len(unsynced))
            if is_zeroed:  # the size was noted, and only whole sectors were written
                kept = max(0, (len(synced) + kept) // 512 * 512 - len(synced))
            zeros = bytes(len(unsynced) - kept) if is_zeroed else b""
            (self._log / name).write_bytes(synced + unsynced[:kept] + zeros)

    def _write_names(self, names: list[str]) -> None:
        (self._place / "names").write_text(json.dumps(names))
