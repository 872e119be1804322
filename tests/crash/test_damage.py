"""A damaged store: the node comes to the roots of the others, or refuses with what to do. Never a silent fork."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.storage.kv import LOG_BLOCK_SIZE_BYTES, LOG_HEADER
from tests.crash.life import Home
from tests.crash.world import Refused, World, be_born

pytestmark = pytest.mark.slow
HEIGHT = 14
SYNC_AGAIN = ("let the node sync again", "restore it from a copy of this very disk")


class Patient:
    """A node whose disk is damaged between two lives; the others go on."""

    def __init__(self, place: Path) -> None:
        (place / "data").mkdir()
        self.home = Home(data=place / "data", mirror=place / "mirror")
        self.world = World(self.home)
        be_born(self.home, self.world.chain)
        self.seed = int(os.environ.get("SEED", "1"))
        print(f"SEED={self.seed}")
        self.random = random.Random(self.seed)
        self.world.disk.start(None)
        self.run_until(HEIGHT)
        self.world.disk.end()
        self.world.disk.start(None)  # what was in LevelDB's log is in tables now
        self.run_until(HEIGHT + 4)

    def run_until(self, height: int) -> None:
        self.world.run_until(lambda: min(self.world.height, self.world.disk.height) >= height)
        self.world.check_equal()

    def damage(self, part: str, act: Callable[[Path], object]) -> str:
        """Damages a part of the data between two lives.

        Returns what the node said when it refused; then that part is put back, and only that: what the node signed
        before it met the damage stays in its log. Empty when it came to the roots of the others by itself.
        """
        self.world.disk.end()
        copy = self.home.data.parent / "copy"
        shutil.copytree(self.home.data / part, copy)
        said = ""
        try:
            act(self.home.data / part)
            self.world.disk.height = 0
            self.world.disk.start(None)
            self.run_until(self.world.height + 3)
        except Refused as refused:
            said = str(refused)
            assert any(words in said for words in SYNC_AGAIN), said
            shutil.rmtree(self.home.data / part)
            shutil.copytree(copy, self.home.data / part)
            try:
                self.world.disk.start(None)
                self.run_until(self.world.height + 3)
            except Refused:  # earlier damage lay where nothing had read it: the node is helped as it says
                self.world.disk.end()
                shutil.rmtree(self.home.data / part)
                self.world.disk.start(None)
                self.run_until(self.world.height + 3)
        shutil.rmtree(copy)
        return said


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Patient]:
    made = Patient(tmp_path)
    yield made
    made.world.disk.end()


def newest(directory: Path, pattern: str) -> Path:
    return sorted(directory.glob(pattern), key=lambda path: path.stat().st_size)[-1]


def flip(path: Path, share: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * share)] ^= 0xFF
    path.write_bytes(data)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def cut_at(path: Path, share: float) -> None:
    cut(path, int(path.stat().st_size * share))


def record_ends(data: bytes) -> list[int]:
    """Where the records of a LevelDB log end."""
    ends, offset = [], 0
    while offset + LOG_HEADER.size <= len(data):
        left = LOG_BLOCK_SIZE_BYTES - offset % LOG_BLOCK_SIZE_BYTES
        if left < LOG_HEADER.size:
            offset += left
            continue
        offset += LOG_HEADER.size + LOG_HEADER.unpack_from(data, offset)[1]
        ends.append(offset)
    return ends


def test_state_that_lost_its_last_batches_is_synced_to_the_roots_of_the_others(patient: Patient) -> None:
    for lost, inside in ((1, 0), (1, 3), (2, 40), (5, 0)):

        def lose(state: Path, lost: int = lost, inside: int = inside) -> None:
            path = newest(state, "*.log")
            ends = record_ends(path.read_bytes())
            cut(path, max(0, ends[max(0, len(ends) - 1 - lost)] + inside))

        assert patient.damage("state", lose) == ""


def test_contents_that_lost_their_last_batches_are_fetched_again(patient: Patient) -> None:
    for share in (0.0, 0.3, 0.9):
        assert patient.damage("blobs", lambda blobs, share=share: cut_at(newest(blobs, "*.log"), share)) == ""  # type: ignore[misc]


@pytest.mark.parametrize("store", ["state", "blobs"])
def test_flipped_byte_in_any_file_of_a_store_is_refused_or_made_good(patient: Patient, store: str) -> None:
    """A byte of a log's last block may read as its end; everywhere else what is damaged is refused when it is read."""
    said: dict[str, list[str]] = {}
    for pattern in ("*.ldb", "*.log", "MANIFEST-*", "CURRENT"):
        for share in (0.0, 0.3, 0.7, 0.99):
            every = said.setdefault(pattern, [])
            every.append(
                patient.damage(store, lambda data, pattern=pattern, share=share: flip(newest(data, pattern), share))
            )  # type: ignore[misc]
    print({pattern: [each[:60] for each in every] for pattern, every in said.items()})
    assert all(said["CURRENT"]), "a flipped byte names another file, or none"
    assert any(said["MANIFEST-*"])
    assert any(said["*.ldb"])


@pytest.mark.parametrize("store", ["state", "blobs"])
def test_truncated_or_lost_file_of_a_store_is_refused_or_made_good(patient: Patient, store: str) -> None:
    for pattern in ("*.ldb", "*.log", "MANIFEST-*", "CURRENT"):
        for share in (0.0, 0.6):
            patient.damage(store, lambda data, pattern=pattern, share=share: cut_at(newest(data, pattern), share))  # type: ignore[misc]
        lost = patient.damage(store, lambda data, pattern=pattern: newest(data, pattern).unlink())  # type: ignore[misc]
        assert bool(lost) == (pattern != "*.log"), (pattern, lost)


def test_hole_of_zeros_in_the_store_is_refused(patient: Patient) -> None:
    def dig(state: Path) -> None:
        path = newest(state, "*.log")
        ends, content = record_ends(path.read_bytes()), bytearray(path.read_bytes())
        middle = len(ends) // 2
        content[ends[middle] : ends[middle] + 64] = bytes(64)
        path.write_bytes(content)

    assert "has a hole at byte" in patient.damage("state", dig)


def test_lost_state_beside_a_living_log_signs_nothing_again_and_catches_up(patient: Patient) -> None:
    """The log was begun anew since: old votes are not in it, and the state would ask for them again."""
    for _ in range(2):
        assert patient.damage("state", shutil.rmtree) == ""


def test_state_put_back_from_a_copy_beside_a_living_log_signs_nothing_again_and_catches_up(patient: Patient) -> None:
    kept = patient.home.data.parent / "kept"
    patient.world.disk.end()
    shutil.copytree(patient.home.data / "state", kept)
    patient.world.disk.start(None)
    patient.run_until(patient.world.height + 8)

    def put_back(state: Path) -> None:
        shutil.rmtree(state)
        shutil.copytree(kept, state)

    assert patient.damage("state", put_back) == ""


def test_lost_log_beside_a_living_state_signs_nothing_again_and_catches_up(patient: Patient) -> None:
    assert patient.damage("log", shutil.rmtree) == ""


def test_flipped_byte_of_the_log_is_refused(patient: Patient) -> None:
    for share in sorted(patient.random.random() for _ in range(8)):
        assert patient.damage("log", lambda log, share=share: flip(newest(log, "log-*"), share)), share  # type: ignore[misc]
