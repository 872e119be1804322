"""The key-value stores: the same answers from disk and from memory, batches whole, one owner of a directory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from node.errors import StorageError
from node.storage.kv import KeyValueStore, LevelStore, MemoryStore


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
