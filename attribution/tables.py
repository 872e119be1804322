"""Files of rows: JSON Lines, CSV and Parquet, told apart by how their names end.

    .csv        a header, then one row per line; every cell is text, and a number where a number is asked for
    .parquet    needs pyarrow, the extra `parquet`
    .txt        one text per line, in the field `text`
    any other   JSON Lines

Every row knows where it stands, so that whoever refuses it can say so. Nothing becomes a float on the way.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from attribution.jsonl import DataError, Row, read_lines, read_numbered

TEXT_FIELD = "text"
"""The field of a file without fields."""

_MAXIMUM_CELL_CHARACTERS = 1 << 24


class Cell(str):
    """Text of a cell whose file has no types: a number where a number is asked for."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The rows of a file, at least one."""

    path: Path
    """The file."""
    unit: str
    """What its places are counted in: line or row."""
    places: tuple[int, ...]
    """Place of each row in the file, from 1."""
    rows: tuple[Row, ...]
    """Values by field."""

    def where(self, index: int) -> str:
        """Names the place of a row, for a message."""
        return f"{self.path}, {self.unit} {self.places[index]}"


def read_source(path: Path) -> Source:
    """Rows of a file in any of the formats. Raises: DataError."""
    ending = path.suffix.lower()
    unit = "line"
    if ending == ".csv":
        numbered = _read_csv(path)
    elif ending in (".parquet", ".pq"):
        numbered, unit = _read_parquet(path), "row"
    elif ending == ".txt":
        lines = enumerate(read_lines(path), start=1)
        numbered = [(number, {TEXT_FIELD: line}) for number, line in lines if line and not line.isspace()]
    else:
        numbered = read_numbered(path)
    if not numbered:
        raise DataError(f"{path}: no rows")
    places, rows = zip(*numbered, strict=True)
    return Source(path=path, unit=unit, places=places, rows=rows)


def _read_csv(path: Path) -> list[tuple[int, Row]]:
    # The limit is the module's; others may rely on it.
    limit = csv.field_size_limit(_MAXIMUM_CELL_CHARACTERS)
    reader = csv.reader((line + "\n" for line in read_lines(path)), strict=True)
    found: list[tuple[int, Row]] = []
    names: list[str] = []
    before = 0
    try:
        for cells in reader:
            first, before = before + 1, reader.line_num
            if not cells or cells == [""] or (len(cells) == 1 and cells[0].isspace()):
                continue
            if not names:
                names = [cell.strip() for cell in cells]
                _validate_header(path, first, names)
                continue
            if len(cells) != len(names):
                raise DataError(f"{path}, line {first}: {len(cells)} cells; the header has {len(names)}")
            found.append((first, {name: _cell(text) for name, text in zip(names, cells, strict=True)}))
    except csv.Error as error:
        raise DataError(f"{path}, line {before + 1}: not CSV ({error})") from None
    finally:
        csv.field_size_limit(limit)
    if not found:
        raise DataError(f"{path}: no rows; write a header and one row per line")
    return found


def _validate_header(path: Path, line: int, names: Sequence[str]) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"{path}, line {line}: two columns are named {twice[0]!r}")


def _cell(text: str) -> Cell | None:
    return Cell(text) if text.strip() else None


def _read_parquet(path: Path) -> list[tuple[int, Row]]:
    try:
        # 170 MB that only Parquet needs.
        import pyarrow as arrow  # noqa: ICN001  # a full word
        from pyarrow import parquet
    except ImportError:
        raise DataError(
            f"{path}: Parquet needs pyarrow; install it with `pip install openledger-node[parquet]` or "
            "`pip install pyarrow`, or write the table as CSV"
        ) from None
    try:
        table = parquet.read_table(path, use_threads=False)
        columns = {name: _values(arrow, table.column(name)) for name in table.column_names}
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not readable as Parquet ({str(error).splitlines()[0][:200]})") from None
    if len(columns) != len(table.column_names):
        raise DataError(f"{path}: two columns have the same name")
    return [
        (index + 1, dict(zip(columns, row, strict=True)))
        for index, row in enumerate(zip(*columns.values(), strict=True))
    ]


def _values(arrow: Any, column: Any) -> list[object]:
    """Values of a column; a float as the shortest decimal that is read as it, whatever its width."""
    if arrow.types.is_floating(column.type):
        # Arrow writes no half-width float.
        wide = column.cast(arrow.float32()) if arrow.types.is_float16(column.type) else column
        return [None if text is None else Cell(text) for text in wide.cast(arrow.string()).to_pylist()]
    values = column.to_pylist()
    return [Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value for value in values]
