from decimal import Decimal
from pathlib import Path

import pytest

from attribution.jsonl import DataError, make_table, read_rows
from attribution.record import Column, decode_query, decode_record


def make_file(folder: Path, text: str) -> Path:
    path = folder / "data.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


def test_schema_is_wide_enough_for_every_number(tmp_path: Path) -> None:
    path = make_file(tmp_path, '{"age": 31, "dose": 0.10, "ill": "yes"}\n\n{"age": 5, "dose": -2.125, "ill": "no"}\n')
    table = make_table(read_rows(path), [{"age": Decimal(200), "dose": True}], "ill", [])
    assert table.schema.columns == (
        Column(name="age", decimals=0, minimum=5, maximum=200),
        Column(name="dose", decimals=3, minimum=-2125, maximum=1000),
    )
    assert table.class_names == ("no", "yes")
    assert table.labels == (1, 0)
    assert decode_record(table.schema, table.records[0]).values == (31, 100)
    assert decode_query(table.schema, table.record_queries[1]) == (5, -2125)
    assert [decode_query(table.schema, query) for query in table.queries] == [(200, 1000)]


def test_digits_give_way_to_large_numbers(tmp_path: Path) -> None:
    path = make_file(tmp_path, '{"x": 0.123456789012345, "y": 0}\n{"x": 1000000000.5, "y": 1}\n')
    table = make_table(read_rows(path), [], "y", [])
    assert table.schema.columns[0].decimals == 3
    assert decode_record(table.schema, table.records[0]).values == (123,)


def test_dropped_fields_are_not_columns(tmp_path: Path) -> None:
    path = make_file(tmp_path, '{"name": "Ann", "x": 1, "y": 0}\n{"name": "Ben", "x": 2, "y": 1}\n')
    assert [column.name for column in make_table(read_rows(path), [], "y", ["name"]).schema.columns] == ["x"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "data.jsonl: no rows; write one JSON object per line"),
        ('{"x": 1, "y": 0}\n{"x": }\n', "data.jsonl, line 2: not JSON ("),
        ("[1]\n", "data.jsonl, line 1: not an object; write one such as"),
    ],
)
def test_wrong_file_is_refused_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_rows(make_file(tmp_path, text))
    assert message in str(caught.value)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file or directory"):
        read_rows(tmp_path / "none.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    with pytest.raises(DataError, match="not UTF-8 text"):
        read_rows(tmp_path / "binary")


ROWS = '{"x": 1, "y": "a"}\n'


@pytest.mark.parametrize(
    ("text", "label", "drop", "message"),
    [
        (
            ROWS + '{"y": "b"}\n',
            "y",
            [],
            "row 2 has no 'x': fill it in, remove the row, or leave the field out with --drop",
        ),
        (
            ROWS + '{"x": "2", "y": "b"}\n',
            "y",
            [],
            "row 2: 'x' is '2', not a number: encode it as one, or use --drop x",
        ),
        (ROWS + '{"x": 1e13, "y": "b"}\n', "y", [], "row 2: 'x' is 1E+13, at most 1099511627776 can be used"),
        (ROWS + '{"x": 2}\n', "y", [], "row 2 has no label field 'y'; its fields are x; name one with --label"),
        (ROWS, "y", [], "the label has 1 different values, 2 to 64 can be used; is --label the right field?"),
        (ROWS, "y", ["x"], "0 numeric fields; 1 to 511 can be used"),
        (ROWS, "y", ["z"], "cannot drop 'z': the first row has no such field"),
    ],
)
def test_data_that_cannot_be_used_says_what_to_do(
    text: str, label: str, drop: list[str], message: str, tmp_path: Path
) -> None:
    rows = read_rows(make_file(tmp_path, text))
    with pytest.raises(DataError) as caught:
        make_table(rows, [], label, drop)
    assert message in str(caught.value)
