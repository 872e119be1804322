"""The write-ahead log: torn tails are cut, any other wrong byte refuses to start, nothing signed is forgotten."""

from __future__ import annotations

import errno
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from consensus.types import NO_BLOCK, Certificate, Statement, Vote, VoteKind, VoteSignature
from node.errors import StorageError
from node.primitives.crypto import sha256
from node.storage.wal import (
    FILE_HEADER,
    RECORD_HEADER,
    SECTOR_SIZE_BYTES,
    BodyHeld,
    Born,
    CertificateSeen,
    FileLog,
    Forgotten,
    LogEntry,
    Recovered,
    VoteCast,
)
from node.types.block import Block
from tests.node.samples import sample

GENESIS_HASH = sha256(b"chain")


def nullify(view: int) -> VoteCast:
    statement = Statement(kind=VoteKind.NULLIFY, epoch=1, view=view, block_id=NO_BLOCK)
    return VoteCast(vote=Vote(statement=statement, validator=bytes(20), signature=bytes(64)))


def certificate(view: int) -> CertificateSeen:
    statement = Statement(kind=VoteKind.FINALIZE, epoch=1, view=view, block_id=sha256(b"block"))
    signatures = (VoteSignature(validator=bytes(20), signature=bytes(64)),)
    return CertificateSeen(certificate=Certificate(statement=statement, signatures=signatures))


BORN = Born(genesis_hash=GENESIS_HASH, validator=bytes(20))
RECORDS: list[list[LogEntry]] = [[BORN], [nullify(1), certificate(1)], [BodyHeld(block=sample(Block)), nullify(2)]]


def write(directory: Path, records: list[list[LogEntry]]) -> Path:
    log = FileLog(directory, GENESIS_HASH)
    for record in records:
        log.append(record)
    log.close()
    [file] = directory.iterdir()
    return file


def read(directory: Path) -> list[LogEntry]:
    log = FileLog(directory, GENESIS_HASH)
    entries = list(log.replay())
    log.close()
    return entries


def flatten(records: list[list[LogEntry]]) -> list[LogEntry]:
    return [entry for record in records for entry in record]


def test_a_new_log_is_empty_and_what_is_appended_is_replayed_in_order(tmp_path: Path) -> None:
    assert read(tmp_path) == []
    write(tmp_path, RECORDS)
    assert read(tmp_path) == flatten(RECORDS)
    assert read(tmp_path) == flatten(RECORDS)


def test_replay_gives_what_was_there_at_opening_once(tmp_path: Path) -> None:
    write(tmp_path, RECORDS)
    log = FileLog(tmp_path, GENESIS_HASH)
    log.append([nullify(9)])
    assert list(log.replay()) == flatten(RECORDS)
    assert list(log.replay()) == []
    log.close()


def test_the_size_is_that_of_the_file(tmp_path: Path) -> None:
    log = FileLog(tmp_path, GENESIS_HASH)
    assert log.size_bytes == FILE_HEADER.size
    for record in RECORDS:
        log.append(record)
        [file] = tmp_path.iterdir()
        assert log.size_bytes == file.stat().st_size
    log.close()
    again = FileLog(tmp_path, GENESIS_HASH)
    assert again.size_bytes == file.stat().st_size
    again.close()


@pytest.mark.slow
def test_a_tail_torn_at_any_byte_is_cut_and_the_log_goes_on(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", RECORDS).read_bytes()
    kept = write(tmp_path / "kept", RECORDS[:-1]).read_bytes()
    assert whole.startswith(kept)
    for size in range(len(kept), len(whole)):
        directory = tmp_path / str(size)
        directory.mkdir()
        file = directory / "log-00000001"
        file.write_bytes(whole[:size])
        log = FileLog(directory, GENESIS_HASH)
        assert list(log.replay()) == flatten(RECORDS[:-1]), size
        assert file.read_bytes() == kept
        log.append([nullify(7)])
        log.close()
        assert read(directory) == [*flatten(RECORDS[:-1]), nullify(7)]
        shutil.rmtree(directory)


@pytest.mark.parametrize("zeros", [1, RECORD_HEADER.size - 1, RECORD_HEADER.size, 4096])
def test_zeros_where_the_file_system_never_wrote_are_cut(tmp_path: Path, zeros: int) -> None:
    file = write(tmp_path, RECORDS)
    with file.open("ab") as out:
        out.write(bytes(zeros))
    assert read(tmp_path) == flatten(RECORDS)


def test_a_last_record_whose_end_was_never_written_is_cut(tmp_path: Path) -> None:
    records = [*RECORDS, [certificate(view) for view in range(20)]]
    file = write(tmp_path / "log", records)
    whole = file.read_bytes()
    start = len(write(tmp_path / "kept", RECORDS).read_bytes())
    boundaries = range((start + RECORD_HEADER.size) // SECTOR_SIZE_BYTES + 1, len(whole) // SECTOR_SIZE_BYTES)
    assert len(boundaries) >= 3
    for sector in boundaries:
        written = sector * SECTOR_SIZE_BYTES
        file.write_bytes(whole[:written] + bytes(len(whole) - written))
        assert read(tmp_path / "log") == flatten(RECORDS)


@pytest.mark.slow
def test_a_flipped_byte_anywhere_refuses_to_start(tmp_path: Path) -> None:
    """What the last record held may have been sent; a length that grew past the end must not be taken for a tear."""
    file = write(tmp_path / "log", RECORDS)
    whole = file.read_bytes()
    for place in range(FILE_HEADER.size, len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            data = bytearray(whole)
            data[place] ^= flip
            file.write_bytes(data)
            with pytest.raises(StorageError) as caught:
                FileLog(tmp_path / "log", GENESIS_HASH)
            words = str(caught.value)
            assert words.startswith(f"{file} is damaged at byte "), place
            assert words.endswith(
                ": restore it from a copy of this very disk, or remove it and start as a wiped validator"
            )
            assert file.read_bytes() == bytes(data)


def test_a_record_of_another_version_refuses_to_start(tmp_path: Path) -> None:
    file = write(tmp_path, RECORDS[:1])
    payload = b"\x91\x91\x92\x09\x00"
    sizes = RECORD_HEADER.pack(len(payload), zlib.crc32(payload), 0)[:8]
    with file.open("ab") as out:
        out.write(sizes + zlib.crc32(sizes).to_bytes(4, "big") + payload)
    with pytest.raises(StorageError, match="holds a record of another version at byte"):
        FileLog(tmp_path, GENESIS_HASH)


def test_another_chains_log_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, RECORDS)
    with pytest.raises(StorageError) as caught:
        FileLog(tmp_path, sha256(b"another chain"))
    expected = f"{file} belongs to another chain: use a data directory of its own for each chain"
    assert str(caught.value) == expected


@pytest.mark.parametrize("size", range(FILE_HEADER.size))
def test_a_log_that_was_killed_while_it_was_made_is_made_again(tmp_path: Path, size: int) -> None:
    file = write(tmp_path, [])
    file.write_bytes(file.read_bytes()[:size])
    assert read(tmp_path) == []
    write(tmp_path, RECORDS)
    assert read(tmp_path) == flatten(RECORDS)


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log-00000001").write_bytes(b"x" * 100)
    with pytest.raises(StorageError, match="is not a log of this program: restore it, or start as a wiped validator"):
        FileLog(tmp_path, GENESIS_HASH)


@pytest.mark.parametrize("name", ["fdatasync", "fsync"])
def test_a_failed_sync_is_fatal_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    log = FileLog(tmp_path, GENESIS_HASH)

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, name, fail)
    act: Callable[[list[LogEntry]], None] = log.append if name == "fdatasync" else log.restart
    with pytest.raises(StorageError) as caught:
        act([nullify(1)])
    sentence = "the log could not be synced: [Errno 5] Input/output error. Check the disk before starting again."
    assert str(caught.value) == sentence
    monkeypatch.undo()
    log.close()


def test_a_full_disk_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = FileLog(tmp_path, GENESIS_HASH)

    class Full:
        def write(self, _data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    log.close()
    monkeypatch.setattr(log, "_file", Full())
    sentence = "cannot write the log: [Errno 28] No space left on device. Make room on the disk and start again."
    with pytest.raises(StorageError) as caught:
        log.append([nullify(1)])
    assert str(caught.value) == sentence
    monkeypatch.undo()
    with pytest.raises(StorageError) as again:  # there is room again, but nobody knows what is on the disk
        log.append([nullify(2)])
    assert str(again.value) == sentence


def test_no_descriptor_left_at_a_restart_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain OSError would be taken for a connection's trouble, and the node would go on."""
    log = FileLog(tmp_path, GENESIS_HASH)

    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(StorageError, match=r"cannot write the log: .* Too many open files"):
        log.restart([nullify(1)])
    monkeypatch.undo()
    log.close()
    assert read(tmp_path) == []


def test_a_copy_kept_beside_the_log_is_left_alone(tmp_path: Path) -> None:
    file = write(tmp_path, RECORDS)
    copy = tmp_path / "log-00000001.bak"
    copy.write_bytes(file.read_bytes()[:60])
    assert read(tmp_path) == flatten(RECORDS)
    assert sorted(tmp_path.iterdir()) == [file, copy]


def test_the_directory_is_synced_into_its_parents_when_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor).st_ino), real(descriptor)))
    FileLog(tmp_path / "data" / "log", GENESIS_HASH).close()
    assert synced[:2] == [tmp_path.stat().st_ino, (tmp_path / "data").stat().st_ino]


NEEDED: list[LogEntry] = [BORN, BodyHeld(block=sample(Block)), nullify(8)]


def test_a_restart_keeps_what_is_needed_and_the_log_goes_on(tmp_path: Path) -> None:
    log = FileLog(tmp_path, GENESIS_HASH)
    for record in RECORDS:
        log.append(record)
    log.restart(NEEDED)
    log.append([nullify(9)])
    [file] = tmp_path.iterdir()
    assert log.size_bytes == file.stat().st_size
    log.close()
    assert read(tmp_path) == [*NEEDED, nullify(9)]


def test_a_restart_killed_between_any_two_steps_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "log"
    write(directory, RECORDS)
    log = FileLog(directory, GENESIS_HASH)
    steps: list[Path] = []

    def picture() -> None:
        steps.append(tmp_path / f"step {len(steps)}")
        shutil.copytree(directory, steps[-1])

    def pictured(real: Callable[..., object]) -> Callable[..., object]:
        def act(*arguments: object, **options: object) -> object:
            picture()
            result = real(*arguments, **options)
            picture()
            return result

        return act

    for owner, name in ((os, "fdatasync"), (os, "fsync"), (Path, "unlink"), (Path, "open")):
        monkeypatch.setattr(owner, name, pictured(getattr(owner, name)))
    log.restart(NEEDED)
    monkeypatch.undo()
    log.close()
    assert len(steps) >= 12
    seen = []
    for step in steps:
        files = sorted(step.iterdir())
        assert 1 <= len(files) <= 2
        sizes = [None] if len(files) == 1 else [None, *range(0, files[1].stat().st_size, 7)]
        for size in sizes:  # what a power cut leaves of the newer file, as long as the older one stands
            torn = tmp_path / "torn"
            shutil.copytree(step, torn)
            if size is not None:
                with (torn / files[1].name).open("r+b") as file:
                    file.truncate(size)
            entries = read(torn)
            assert entries in (flatten(RECORDS), NEEDED), (step, size)
            seen.append(entries)
            assert len(list(torn.iterdir())) == 1
            shutil.rmtree(torn)
    assert flatten(RECORDS) in seen
    assert NEEDED in seen


def test_a_newer_file_of_garbage_beside_the_older_one_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, RECORDS)
    (tmp_path / "log-00000002").write_bytes(bytes(FILE_HEADER.size + 100))
    assert read(tmp_path) == flatten(RECORDS)


def test_after_a_restart_that_was_killed_the_older_file_is_gone_before_anything_is_added(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    older = write(directory, RECORDS).read_bytes()
    log = FileLog(directory, GENESIS_HASH)
    log.restart(NEEDED)
    log.close()
    (directory / "log-00000001").write_bytes(older)
    synced: list[int] = []
    real = os.fsync
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), real(descriptor)))
        assert read(directory) == NEEDED
    assert len(synced) == 1
    assert [path.name for path in directory.iterdir()] == ["log-00000002"]


def test_the_position_only_grows_and_is_the_same_after_opening(tmp_path: Path) -> None:
    log = FileLog(tmp_path, GENESIS_HASH)
    positions = [log.position]
    for record in RECORDS:
        log.append(record)
        positions.append(log.position)
    log.restart(NEEDED)
    positions.append(log.position)
    log.append([nullify(9)])
    positions.append(log.position)
    log.close()
    assert positions == sorted(set(positions))
    again = FileLog(tmp_path, GENESIS_HASH)
    assert again.position == positions[-1]
    again.close()


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_copy_put_back_and_a_log_made_anew_are_behind_the_position_of_the_log(
    tmp_path: Path, is_restarted: bool
) -> None:
    write(tmp_path / "log", RECORDS[:-1])
    shutil.copytree(tmp_path / "log", tmp_path / "copy")
    log = FileLog(tmp_path / "log", GENESIS_HASH)
    log.append(RECORDS[-1])
    if is_restarted:
        log.restart(NEEDED[:1])
    position = log.position
    log.close()
    for directory in (tmp_path / "copy", tmp_path / "new"):
        behind = FileLog(directory, GENESIS_HASH)
        assert behind.position < position
        behind.close()


def test_what_a_recovery_left_open_and_what_was_let_go_of_are_replayed(tmp_path: Path) -> None:
    entries: list[LogEntry] = [Forgotten(epoch=2, view=4), Recovered(epoch=3, view=9, validator=bytes(20)), nullify(10)]
    write(tmp_path, [entries])
    assert read(tmp_path) == entries
