"""The validator's write-ahead log: what it signed, with the bodies it vouched for, and the certificates it saw.

One record is one synced append: a length, a checksum, a checksum of these two, and a list of entries. So only the last
record can be torn by a crash: it ends early, or in zeros from a sector's boundary on, and nothing that it holds was
sent. It is cut off with a log line. Anything else that does not read is corruption and refuses to start, a last record
of full length included: what it held may have been sent, and a log that guesses could sign twice. A failed write or
sync is fatal and never retried: after it, nobody knows what is on the disk.

A log that is put back from a copy reads as a whole one. `position` tells: the state notes with each final block how
far the log had come, and a log that is behind that has forgotten votes. What this cannot tell: a copy that holds all
that was synced before the last final block here, so that only votes after it are missing; and a copy of the whole
directory, log and state together. Never start a validator from either.

Files are `log-<number>`. A new one begins with everything still needed and is synced, with its directory, before the
older one goes; nothing is added to it before that.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, ClassVar, Protocol

import structlog

from consensus.types import Certificate, Epoch, View, Vote
from node.errors import MessageRejected, StorageError
from node.primitives.codec import decode, encode
from node.primitives.crypto import Address, Hash
from node.types.block import Block

MAGIC = b"OLLOG002"
FILE_HEADER = struct.Struct(">8s32s")
RECORD_SIZES = struct.Struct(">II")
RECORD_HEADER = struct.Struct(">III")
"""Length and checksum of the payload, and the checksum of these: a length that was damaged must not reach past the end
and make the rest of the log a torn tail."""
NUMBER_DIGITS = 8
"""Of a file's name."""
SECTOR_SIZE_BYTES = 512
"""A disk writes at least this much at once."""
FEWEST_ZEROS = 16
"""Fewer zeros at the end of a record may be its own."""
LARGEST_FILE_SIZE_BYTES = 32 * 2**20
"""A file above this is replaced by a fresh one at the next chance."""
MOST_ENTRIES = 100_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Born:
    """This key has never signed anything on this chain: it may sign from the first view."""

    TAG: ClassVar[int] = 0

    genesis_hash: Hash
    """The chain."""
    validator: Address
    """The key's address: a log that was born for another key says nothing of this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteCast:
    """A vote of our own."""

    TAG: ClassVar[int] = 1

    vote: Vote
    """The vote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSeen:
    """A certificate."""

    TAG: ClassVar[int] = 2

    certificate: Certificate
    """The certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyHeld:
    """The body of a block we notarized."""

    TAG: ClassVar[int] = 3

    block: Block
    """The block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """The log was lost or behind before this entry: votes of ours up to this view may be missing from it."""

    TAG: ClassVar[int] = 4

    epoch: Epoch
    """The epoch."""
    view: View
    """Nothing is signed in views of it up to this one."""
    validator: Address
    """Whose votes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """A fresh file began here: earlier votes of ours are not in it, because the final block in the state covers them.

    A state that is behind this was lost or put back: it would ask for votes that contradict the ones let go of.
    """

    TAG: ClassVar[int] = 5

    epoch: Epoch
    """The epoch."""
    view: View
    """The view of the last final block."""


LogEntry = Born | VoteCast | CertificateSeen | BodyHeld | Recovered | Forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """What one sync makes durable."""

    entries: Annotated[tuple[LogEntry, ...], range(1, MOST_ENTRIES + 1)]
    """In order."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class LogPosition:
    """How far a log has come: it only grows. A log that is behind an earlier position of its own is not whole."""

    file_number: Annotated[int, range(2**48)]
    """Number of the current file."""
    size_bytes: Annotated[int, range(2**48)]
    """How much of it is on disk."""


class WriteAheadLog(Protocol):
    """What the engine needs of a log."""

    @property
    def position(self) -> LogPosition:
        """How far the log has come: everything before it is durable."""

    @property
    def size_bytes(self) -> int:
        """How large the current file is."""

    def replay(self) -> Sequence[LogEntry]:
        """Everything in it, oldest first."""

    def append(self, entries: Sequence[LogEntry]) -> None:
        """Makes entries durable together; returns once they are on disk."""

    def restart(self, entries: Sequence[LogEntry]) -> None:
        """Replaces everything by the entries still needed."""


class FileLog:
    """The log in a directory. Raises: StorageError with what to do."""

    def __init__(self, directory: Path, genesis_hash: bytes, *, on_sync: Callable[[float], None] | None = None) -> None:
        """`on_sync` is told how many seconds each append took."""
        self._on_sync = on_sync
        self._directory = directory
        self._genesis_hash = genesis_hash
        self._failure: str | None = None
        """What went wrong at a write: nothing is written any more."""
        make_directory(directory)
        self._entries: list[LogEntry] = []
        files = log_files(directory)
        # A crash between creating a file and removing the older one leaves both: the newer one is whole or useless.
        if len(files) > 1 and not self._is_usable(files[-1]):
            files.pop().unlink()
        if len(files) == 1 and files[0].stat().st_size < FILE_HEADER.size:  # killed while it was made
            log.warning("log_made_again", file=files[0].name)
            files.pop().unlink()
        if not files:
            self._number, self._file, self.size_bytes = 1, self._create(1), FILE_HEADER.size
            return
        newest = files.pop()
        for older in files:
            older.unlink()
            self._sync_directory()
        self._number = int(newest.name.removeprefix("log-"))
        self._entries, good_size = self._read(newest)
        self._file = newest.open("r+b")
        if good_size < newest.stat().st_size:
            log.warning(
                "log_tail_cut", file=newest.name, kept_bytes=good_size, cut_bytes=newest.stat().st_size - good_size
            )
            self._file.truncate(good_size)
            self._sync(self._file)
        self._file.seek(good_size)
        self.size_bytes = good_size

    @property
    def position(self) -> LogPosition:
        """How far the log has come."""
        return LogPosition(file_number=self._number, size_bytes=self.size_bytes)

    def replay(self) -> Sequence[LogEntry]:
        """Everything that was in it at opening, oldest first."""
        entries, self._entries = self._entries, []
        return entries

    def append(self, entries: Sequence[LogEntry]) -> None:
        """Makes entries durable together."""
        data = _encode_record(entries)
        started_s = time.perf_counter()
        self._write(self._file, data)
        self._sync(self._file)
        if self._on_sync is not None:
            self._on_sync(time.perf_counter() - started_s)
        self.size_bytes += len(data)

    def restart(self, entries: Sequence[LogEntry]) -> None:
        """Replaces everything by the entries still needed."""
        file = self._create(self._number + 1)
        data = _encode_record(entries) if entries else b""
        self._write(file, data)
        self._sync(file)
        self._sync_directory()
        self._file.close()
        self._path(self._number).unlink()
        self._sync_directory()
        self._number, self._file, self.size_bytes = self._number + 1, file, FILE_HEADER.size + len(data)

    def close(self) -> None:
        """Lets go of the file."""
        try:
            self._file.close()
        except OSError:  # what could not be written then cannot be written now
            if self._failure is None:
                raise

    def _path(self, number: int) -> Path:
        return self._directory / f"log-{number:0{NUMBER_DIGITS}d}"

    def _create(self, number: int) -> BinaryIO:
        try:
            file = self._path(number).open("x+b")
        except OSError as error:
            raise self._fail(_UNWRITTEN, error) from error
        try:
            self._write(file, FILE_HEADER.pack(MAGIC, self._genesis_hash))
            self._sync(file)
            self._sync_directory()
        except StorageError:
            file.close()
            raise
        return file

    def _is_usable(self, path: Path) -> bool:
        try:
            entries, _ = self._read(path)
        except StorageError:
            return False
        return bool(entries)

    def _read(self, path: Path) -> tuple[list[LogEntry], int]:
        return read_log_file(path, self._genesis_hash)

    def _write(self, file: BinaryIO, data: bytes) -> None:
        if self._failure is not None:
            raise StorageError(self._failure)
        try:
            file.write(data)
            file.flush()
        except OSError as error:
            raise self._fail(_UNWRITTEN, error) from error

    def _sync(self, file: BinaryIO) -> None:
        try:
            os.fdatasync(file.fileno())
        except OSError as error:
            raise self._fail(_UNSYNCED, error) from error

    def _sync_directory(self) -> None:
        try:
            sync_directory(self._directory)
        except OSError as error:
            raise self._fail(_UNSYNCED, error) from error

    def _fail(self, sentence: str, error: OSError) -> StorageError:
        self._failure = sentence.format(error)
        return StorageError(self._failure)


def make_directory(directory: Path) -> None:
    """Makes a directory with its parents, so that it is still there after a power cut."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    """Makes durable which files a directory holds."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_UNWRITTEN = "cannot write the log: {}. Make room on the disk and start again."


def log_files(directory: Path) -> list[Path]:
    """The files of a log, oldest first."""
    return sorted(directory.glob("log-" + "[0-9]" * NUMBER_DIGITS))  # a copy kept beside the log is none of it


def read_log_file(path: Path, genesis_hash: bytes) -> tuple[list[LogEntry], int]:
    """Entries, and how many bytes of the file are good; changes nothing. Raises: StorageError."""
    data = path.read_bytes()
    if len(data) < FILE_HEADER.size or data[: len(MAGIC)] != MAGIC:
        raise StorageError(f"{path} is not a log of this program: restore it, or start as a wiped validator")
    if data[len(MAGIC) : FILE_HEADER.size] != genesis_hash:
        raise StorageError(f"{path} belongs to another chain: use a data directory of its own for each chain")
    entries: list[LogEntry] = []
    offset = FILE_HEADER.size
    while offset < len(data):
        record = _read_record(data, offset, path)
        if record is None:
            break
        found, offset = record
        entries.extend(found)
    return entries, offset


_UNSYNCED = "the log could not be synced: {}. Check the disk before starting again."


def _encode_record(entries: Sequence[LogEntry]) -> bytes:
    payload = encode(LogRecord(entries=tuple(entries)))
    sizes = RECORD_SIZES.pack(len(payload), zlib.crc32(payload))
    return sizes + zlib.crc32(sizes).to_bytes(4, "big") + payload


def _read_record(data: bytes, offset: int, path: Path) -> tuple[tuple[LogEntry, ...], int] | None:
    """The record at an offset and where the next begins; None when it is the torn last one."""
    start = offset + RECORD_HEADER.size
    if start > len(data) or not any(data[offset:]):  # cut short, or zeros where the file system never wrote
        return None
    length, checksum, sizes_checksum = RECORD_HEADER.unpack_from(data, offset)
    payload = data[start : start + length]
    is_header_good = zlib.crc32(data[offset : offset + RECORD_SIZES.size]) == sizes_checksum
    if not is_header_good or len(payload) < length or zlib.crc32(payload) != checksum:
        is_short = is_header_good and len(payload) < length
        is_last = is_header_good and start + length == len(data)
        if is_short or (is_last and _ends_unwritten(data, start)):
            return None
        raise StorageError(
            f"{path} is damaged at byte {offset}: restore it from a copy of this very disk, "
            f"or remove it and start as a wiped validator"
        )
    try:
        return decode(LogRecord, payload).entries, start + length
    except MessageRejected as error:
        raise StorageError(f"{path} holds a record of another version at byte {offset}: {error}") from error


def _ends_unwritten(data: bytes, start: int) -> bool:
    """Whether a payload that begins at `start` ends in sectors of zeros that the file system never wrote."""
    written = max(start, len(data.rstrip(b"\0")))
    boundary = -(-written // SECTOR_SIZE_BYTES) * SECTOR_SIZE_BYTES
    return boundary + FEWEST_ZEROS <= len(data)
