"""A state file holds what was written, in order; anything else is refused with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.errors import StorageError
from node.storage.export import LONGEST_KEY_BYTES, MAGIC, SIZES, read_values, write_values

VALUES = [(b"\x10a", b"one"), (b"\x10b", b""), (b"\x20", b"three" * 1_000)]


def entry(key: bytes, value: bytes) -> bytes:
    return SIZES.pack(len(key), len(value)) + key + value


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert write_values(tmp_path / "state", VALUES) == 3
    assert list(read_values(tmp_path / "state")) == VALUES


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("precious")
    with pytest.raises(StorageError, match="It must not exist"):
        write_values(path, VALUES)
    assert path.read_text() == "precious"


def test_a_missing_file_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="It comes with the genesis file"):
        list(read_values(tmp_path / "state"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no state file"),
        (b"OLSTATE2", "is no state file"),
        (MAGIC + entry(b"b", b"1") + entry(b"a", b"1"), "its keys are not in order"),
        (MAGIC + entry(b"a", b"1") * 2, "its keys are not in order"),
        (MAGIC + entry(b"", b"1"), "no possible size"),
        (MAGIC + SIZES.pack(LONGEST_KEY_BYTES + 1, 0), "no possible size"),
        (MAGIC + SIZES.pack(1, 2**32 - 1), "no possible size"),
    ],
)
def test_what_is_no_state_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(StorageError, match=words):
        list(read_values(tmp_path / "state"))


def test_a_file_cut_short_at_any_byte_is_refused_or_ends_between_two_entries(tmp_path: Path) -> None:
    whole = MAGIC + entry(b"a", b"12") + entry(b"b", b"34")
    ends = {len(MAGIC), len(MAGIC) + len(entry(b"a", b"12")), len(whole)}
    for size in range(len(MAGIC), len(whole) + 1):
        (tmp_path / "state").write_bytes(whole[:size])
        if size in ends:
            list(read_values(tmp_path / "state"))  # the root tells that something is missing
        else:
            with pytest.raises(StorageError, match="is cut short"):
                list(read_values(tmp_path / "state"))
