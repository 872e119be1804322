from decimal import Decimal
from pathlib import Path

import pytest

from attribution.jsonl import DataError, read_lines, read_rows


def make_file(folder: Path, data: str | bytes) -> Path:
    path = folder / "data.jsonl"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_numbers_are_decimals_and_blank_lines_are_nothing(tmp_path: Path) -> None:
    path = make_file(tmp_path, '\ufeff{"a": 0.1, "b": 3}\n \n{"a": true}\n')
    assert read_rows(path) == [{"a": Decimal("0.1"), "b": Decimal(3)}, {"a": True}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "data.jsonl: no rows; write one JSON object per line"),
        ("\n \n", "data.jsonl: no rows; write one JSON object per line"),
        ('{"x": 1, "y": 0}\n{"x": }\n', "data.jsonl, line 2: not JSON ("),
        ("[1]\n", "data.jsonl, line 1: not an object; write one such as"),
        ('{"x": 1}\n' + "[" * 200_000 + "\n", "data.jsonl, line 2: not JSON (a number too large or objects too deep)"),
        (
            '{"x": 1e9999999999999999999999}\n',
            "data.jsonl, line 1: not JSON (a number too large or objects too deep)",
        ),
        (b'{"x": 1}\n{"x": "\xff"}\n', "data.jsonl, line 2: not UTF-8 text (byte 8 of the line); save it as UTF-8"),
    ],
)
def test_wrong_file_is_refused_with_its_line(data: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_rows(make_file(tmp_path, data))
    assert message in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file or directory"):
        read_rows(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="Is a directory"):
        read_lines(tmp_path)
