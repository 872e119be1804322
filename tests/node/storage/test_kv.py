"""The key-value stores: the same answers from disk and from memory, batches whole, one owner of a directory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from node.errors import StorageError
from node.storage.kv import LOG_HEADER, KeyValueStore, LevelStore, MemoryStore


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValueStore]:
    made: KeyValueStore = MemoryStore() if request.param == "memory" else LevelStore(tmp_path / "db")
    yield made
    made.close()


def test_a_batch_puts_and_deletes_together(store: KeyValueStore) -> None:
    store.write({b"a": b"1", b"b": b"2"})
    store.write({b"a": None, b"b": b"3", b"c": b"", b"missing": None})
    assert [store.get(key) for key in (b"a", b"b", b"c", b"missing")] == [None, b"3", b"", None]


def test_keys_come_in_order_from_the_start_up_to_before_the_stop(store: KeyValueStore) -> None:
    store.write({bytes((number,)): bytes((number, number)) for number in range(10)})
    expected = [(bytes((number,)), bytes((number, number))) for number in range(3, 7)]
    assert list(store.iterate(b"\x03", b"\x07")) == expected
    assert list(store.iterate(b"\x03", b"\x07", is_reverse=True)) == expected[::-1]
    assert list(store.iterate(b"\x07", b"\x03")) == []
    assert list(store.iterate(b"\x0a", b"\xff")) == []


def test_an_iteration_may_be_left_early(store: KeyValueStore) -> None:
    store.write({bytes((number,)): b"" for number in range(10)})
    assert next(store.iterate(b"\x02", b"\x09")) == (b"\x02", b"")
    store.compact(b"\x00", b"\xff")
    assert store.get(b"\x02") == b""


def test_what_was_written_is_there_after_opening_again(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "deep" / "db")
    store.write({b"key": b"value"})
    store.close()
    again = LevelStore(tmp_path / "deep" / "db")
    assert again.get(b"key") == b"value"
    again.close()


def test_a_second_opener_is_told_to_stop_the_other_one(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    try:
        with pytest.raises(StorageError) as caught:
            LevelStore(tmp_path / "db")
    finally:
        store.close()
    words = str(caught.value)
    assert words.startswith(f"cannot open the store in {tmp_path / 'db'}: ")
    assert words.endswith(
        "If another node uses it, stop that one; if it is damaged, move it away and let the node sync again."
    )


def test_another_process_is_refused_too(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    script = (
        "import pathlib, sys; from node.storage.kv import LevelStore; from node.errors import StorageError\n"
        "try: LevelStore(pathlib.Path(sys.argv[1]))\n"
        "except StorageError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "db")], capture_output=True, text=True, check=True
    )
    store.close()
    assert "If another node uses it, stop that one" in done.stdout


def test_a_damaged_store_says_what_to_do(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    store.write({b"key": b"value"})
    store.close()
    for manifest in (tmp_path / "db").glob("MANIFEST-*"):
        manifest.write_bytes(b"no manifest")
    with pytest.raises(StorageError, match="if it is damaged, move it away and let the node sync again"):
        LevelStore(tmp_path / "db")


def test_the_only_entry_of_a_range_is_found_backwards_where_the_range_starts(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    store.write({b"a": b"1"})
    assert list(store.iterate(b"a", b"b", is_reverse=True)) == [(b"a", b"1")]
    store.close()


class StoreMachine(RuleBasedStateMachine):
    """A store on disk and one in memory answer alike, after opening again too."""

    keys = st.binary(min_size=1, max_size=2)

    @initialize(directory=st.just(None))
    def open(self, directory: None) -> None:
        self.home = tempfile.TemporaryDirectory()
        self.path = Path(self.home.name) / "db"
        self.disk: LevelStore | None = LevelStore(self.path)
        self.memory = MemoryStore()

    @rule(changes=st.dictionaries(keys, st.none() | st.binary(max_size=3), max_size=6))
    def write(self, changes: dict[bytes, bytes | None]) -> None:
        for store in (self.disk, self.memory):
            assert store is not None
            store.write(changes)

    @rule()
    def open_again(self) -> None:
        assert self.disk is not None
        self.disk.close()
        self.disk = LevelStore(self.path)

    @rule(start=keys, stop=keys, is_reverse=st.booleans())
    def compare(self, start: bytes, stop: bytes, is_reverse: bool) -> None:
        assert self.disk is not None
        found = list(self.disk.iterate(start, stop, is_reverse=is_reverse))
        assert found == list(self.memory.iterate(start, stop, is_reverse=is_reverse))
        assert self.disk.get(start) == self.memory.get(start)

    @rule(start=keys, stop=keys)
    def compact(self, start: bytes, stop: bytes) -> None:
        assert self.disk is not None
        self.disk.compact(start, stop)

    @invariant()
    def same_content(self) -> None:
        if getattr(self, "disk", None) is not None:
            assert dict(self.disk.iterate(b"", b"\xff" * 4)) == self.memory.values  # type: ignore[union-attr]

    def teardown(self) -> None:
        if getattr(self, "disk", None) is not None:
            self.disk.close()  # type: ignore[union-attr]
            self.home.cleanup()


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


def damaged(tmp_path: Path, pattern: str, act: Callable[[bytes], bytes]) -> Path:
    """A store of some batches in a table and some in the log, with one of its files changed."""
    directory = tmp_path / "db"
    for batch in range(2):
        store = LevelStore(directory)
        for number in range(50):
            store.write({f"{batch} {number:03}".encode(): bytes((number,)) * 100})
        store.close()
    path = max(directory.glob(pattern), key=lambda each: each.stat().st_size)
    path.write_bytes(act(path.read_bytes()))
    return directory


def flipped(place: float) -> Callable[[bytes], bytes]:
    def act(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[int(len(data) * place)] ^= 0x40
        return bytes(changed)

    return act


@pytest.mark.parametrize("place", [0.1, 0.5])
def test_a_flipped_byte_of_a_table_is_never_served(tmp_path: Path, place: float) -> None:
    store = LevelStore(damaged(tmp_path, "*.ldb", flipped(place)))
    with pytest.raises(StorageError, match=r"cannot read the store in .* let the node sync again"):
        list(store.iterate(b"", b"\xff"))
    refused = 0
    for number in range(50):
        try:
            assert store.get(f"0 {number:03}".encode()) == bytes((number,)) * 100
        except StorageError:
            refused += 1
    assert refused > 0
    store.close()


@pytest.mark.parametrize("place", [0.1, 0.5])
def test_a_flipped_byte_in_the_middle_of_the_log_refuses_to_open(tmp_path: Path, place: float) -> None:
    with pytest.raises(StorageError, match=r"cannot open the store in .* let the node sync again"):
        LevelStore(damaged(tmp_path, "*.log", flipped(place)))


def test_a_hole_of_zeros_in_the_log_refuses_to_open(tmp_path: Path) -> None:
    """LevelDB itself leaves out the rest of the 32 KiB and goes on behind it, without a word."""

    def act(data: bytes) -> bytes:
        first = LOG_HEADER.size + LOG_HEADER.unpack_from(data)[1]
        return data[:first] + bytes(LOG_HEADER.size) + data[first + LOG_HEADER.size :]

    with pytest.raises(StorageError, match=r"000\d+.log has a hole at byte \d+: move the directory"):
        LevelStore(damaged(tmp_path, "*.log", act))


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_log_that_ends_early_gives_the_batches_before(tmp_path: Path, kept: float) -> None:
    store = LevelStore(damaged(tmp_path, "*.log", lambda data: data[: int(len(data) * kept)]))
    keys = [key for key, _ in store.iterate(b"1", b"2")]
    assert keys == [f"1 {number:03}".encode() for number in range(len(keys))]
    assert len(keys) < 50
    assert len(list(store.iterate(b"0", b"1"))) == 50
    store.close()


def test_a_store_that_lost_its_current_file_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    directory = damaged(tmp_path, "*.log", bytes)
    (directory / "CURRENT").unlink()
    with pytest.raises(StorageError, match="has lost its file CURRENT"):
        LevelStore(directory)


def test_after_a_failed_write_nothing_is_written_any_more(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    store.write({b"a": b"1"})

    class Full:
        def write_batch(self, *, sync: bool) -> None:
            raise store._error("No space left on device")

    database, store._db = store._db, Full()
    sentence = (
        f"cannot write the store in {tmp_path / 'db'}: No space left on device. Make room on the disk and start again; "
        "if it is damaged, move it away and let the node sync again."
    )
    with pytest.raises(StorageError) as caught:
        store.write({b"a": b"2"})
    store._db = database
    with pytest.raises(StorageError) as again:
        store.write({b"b": b"3"})
    assert (str(caught.value), str(again.value)) == (sentence, sentence)
    assert store.get(b"a") == b"1"
    store.close()
