import builtins
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from attribution.jsonl import DataError
from attribution.tables import Cell, read_source


def write(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_csv_has_a_place_for_each_row_even_where_a_cell_has_lines(tmp_path: Path) -> None:
    source = read_source(write(tmp_path, "a.csv", '\ufeffx, y\n1,"two\nlines"\n\n-0.50,\r\n'))
    assert source.rows == ({"x": "1", "y": "two\nlines"}, {"x": "-0.50", "y": None})
    assert all(isinstance(row["x"], Cell) for row in source.rows)
    assert source.where(1) == f"{tmp_path / 'a.csv'}, line 5"


def test_text_file_has_one_record_per_line(tmp_path: Path) -> None:
    source = read_source(write(tmp_path, "a.txt", "one\n\ntwo\n"))
    assert source.rows == ({"text": "one"}, {"text": "two"})
    assert source.places == (1, 3)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", "", "a.csv: no rows; write a header and one row per line"),
        ("a.csv", "x,y\n", "a.csv: no rows; write a header and one row per line"),
        ("a.csv", "x,y\n1,2\n3\n", "a.csv, line 3: 1 cells; the header has 2"),
        ("a.csv", "x,x\n1,2\n", "a.csv, line 1: two columns are named 'x'"),
        ("a.csv", 'x,y\n1,"2\n', "a.csv, line 2: not CSV (unexpected end of data)"),
        ("a.csv", b"x,y\n1,\xff\n", "a.csv, line 2: not UTF-8 text"),
        ("a.csv", "x\n" + "1" * ((1 << 24) + 1), "a.csv, line 2: not CSV (field larger than field limit (16777216))"),
        ("a.txt", " \n", "a.txt: no rows"),
    ],
)
def test_wrong_file_is_refused_with_its_line(name: str, data: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_source(write(tmp_path, name, data))
    assert message in str(caught.value)


def test_parquet_gives_decimals_whatever_the_width_of_its_floats(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow, the extra `parquet`, is not installed")
    from pyarrow import parquet

    table = arrow.table(
        {
            "double": arrow.array([0.1, None], arrow.float64()),
            "single": arrow.array([0.1, float("nan")], arrow.float32()),
            "whole": arrow.array([3, -4], arrow.int16()),
            "name": ["a", "b"],
            "is": [True, None],
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    source = read_source(tmp_path / "a.parquet")
    assert source.rows == (
        {"double": "0.1", "single": "0.1", "whole": Decimal(3), "name": "a", "is": True},
        {"double": None, "single": "nan", "whole": Decimal(-4), "name": "b", "is": None},
    )
    assert source.where(1).endswith("a.parquet, row 2")


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow, the extra `parquet`, is not installed")
    with pytest.raises(DataError, match=r"a.parquet: not readable as Parquet"):
        read_source(write(tmp_path, "a.parquet", b"PAR1 and no more"))


def test_parquet_without_its_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"install it with `pip install openledger-node\[parquet\]`"):
        read_source(tmp_path / "a.parquet")
