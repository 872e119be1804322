"""From a JSON Lines file to a schema and records, for people who have data and no chain. Standard library only.

One object per line; one field is the label, every other is a number or a boolean. Numbers are read as decimals, never
as floats, so that 0.1 is one tenth.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from attribution.record import (
    MAXIMUM_CLASSES,
    MAXIMUM_COLUMNS,
    MAXIMUM_DECIMALS,
    MAXIMUM_VALUE,
    MINIMUM_CLASSES,
    Column,
    TabularSchema,
    encode_query,
    encode_record,
)

Row = dict[str, object]


class DataError(Exception):
    """The file cannot be used as it is; the message says where and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Records and questions in one schema."""

    schema: TabularSchema
    """Derived: columns in the order of the first row's fields, bounds and digits wide enough for every number."""
    class_names: tuple[str, ...]
    """What each label means."""
    labels: tuple[int, ...]
    """Label of each record."""
    records: tuple[bytes, ...]
    """Bytes of each record."""
    record_queries: tuple[bytes, ...]
    """Each record as a question."""
    queries: tuple[bytes, ...]
    """Bytes of each further question."""


def read_rows(path: Path) -> list[Row]:
    """Objects of a file, one per line that is not blank. Raises: DataError."""
    rows = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_float=Decimal, parse_int=Decimal)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error}); write one object per line") from None
        if not isinstance(row, dict):
            raise DataError(f'{path}, line {number}: not an object; write one such as {{"age": 31, "label": "yes"}}')
        rows.append(row)
    if not rows:
        raise DataError(f"{path}: no rows; write one JSON object per line")
    return rows


def make_table(rows: Sequence[Row], questions: Sequence[Row], label: str, drop: Sequence[str]) -> Table:
    """Schema, records and questions of rows. Raises: DataError."""
    unknown = [name for name in drop if name not in rows[0]]
    if unknown:
        raise DataError(f"cannot drop {unknown[0]!r}: the first row has no such field")
    names = [name for name in rows[0] if name != label and name not in drop]
    if not 1 <= len(names) <= MAXIMUM_COLUMNS:
        raise DataError(f"{len(names)} numeric fields; 1 to {MAXIMUM_COLUMNS} can be used; leave some out with --drop")
    class_of = _classes([_label_text(row, number, label) for number, row in enumerate(rows, start=1)])
    numbers = [_numbers(row, names, f"row {number}") for number, row in enumerate(rows, start=1)]
    asked = [_numbers(row, names, f"question {number}") for number, row in enumerate(questions, start=1)]
    columns = [_column(name, column) for name, column in zip(names, zip(*numbers, *asked, strict=True), strict=True)]
    schema = TabularSchema(columns=tuple(columns), classes=len(class_of))
    values = [_values(schema, row) for row in numbers]
    labels = [class_of[_label_text(row, number, label)] for number, row in enumerate(rows, start=1)]
    return Table(
        schema=schema,
        class_names=tuple(class_of),
        labels=tuple(labels),
        records=tuple(encode_record(schema, y, row) for y, row in zip(labels, values, strict=True)),
        record_queries=tuple(encode_query(schema, row) for row in values),
        queries=tuple(encode_query(schema, _values(schema, row)) for row in asked),
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; is it a JSON Lines file?") from None


def _label_text(row: Row, number: int, label: str) -> str:
    value = row.get(label)
    if value is None:
        fields = ", ".join(sorted(row))
        raise DataError(f"row {number} has no label field {label!r}; its fields are {fields}; name one with --label")
    return str(value)


def _classes(texts: Sequence[str]) -> dict[str, int]:
    names = sorted(set(texts))
    if not MINIMUM_CLASSES <= len(names) <= MAXIMUM_CLASSES:
        raise DataError(
            f"the label has {len(names)} different values, {MINIMUM_CLASSES} to {MAXIMUM_CLASSES} can be used; "
            "is --label the right field?"
        )
    return {name: index for index, name in enumerate(names)}


def _numbers(row: Row, names: Sequence[str], where: str) -> list[Decimal]:
    numbers = []
    for name in names:
        value = row.get(name)
        if isinstance(value, bool):
            value = Decimal(value)
        if value is None:
            raise DataError(f"{where} has no {name!r}: fill it in, remove the row, or leave the field out with --drop")
        if not isinstance(value, Decimal):
            raise DataError(f"{where}: {name!r} is {value!r}, not a number: encode it as one, or use --drop {name}")
        if abs(value) > MAXIMUM_VALUE:
            raise DataError(f"{where}: {name!r} is {value}, at most {MAXIMUM_VALUE} can be used: use a larger unit")
        numbers.append(value)
    return numbers


def _column(name: str, numbers: Sequence[Decimal]) -> Column:
    """A column with as many digits as the numbers have and the largest of them leaves room for."""
    largest = max(abs(number) for number in numbers)
    decimals = max(_digits_after_point(number) for number in numbers)
    while decimals > 0 and largest.scaleb(decimals) > MAXIMUM_VALUE:
        decimals -= 1
    wide = Column(name=name, decimals=decimals, minimum=-MAXIMUM_VALUE, maximum=MAXIMUM_VALUE)
    values = [wide.value(number) for number in numbers]
    return Column(name=name, decimals=decimals, minimum=min(values), maximum=max(values))


def _digits_after_point(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return min(max(-exponent, 0), MAXIMUM_DECIMALS)


def _values(schema: TabularSchema, numbers: Sequence[Decimal]) -> list[int]:
    return [column.value(number) for column, number in zip(schema.columns, numbers, strict=True)]
