"""Records and questions from JSON Lines, in a datanet's own columns: what people have, made into what is signed."""

from __future__ import annotations

from pathlib import Path

from attribution.errors import AttributionError
from attribution.jsonl import DataError, Row, read_rows
from attribution.record import Column, TabularSchema, encode_query, encode_record
from node.api import views_data
from node.client import Client
from node.config import ConfigError


def read_records(client: Client, datanet: str, path: Path, label: str) -> tuple[bytes, ...]:
    """The records of a file: one object a line, a field per column and one with the class's name.

    Raises: ConfigError.
    """
    known = client.get(views_data.DatanetView, f"/datanets/{datanet}")
    schema = _schema(known)
    return tuple(
        encode_record(schema, _class_of(known, row, label, number), _values(schema, row, label, number))
        for number, row in _rows(path)
    )


def read_question(client: Client, model: str, path: Path) -> bytes:
    """The only question of a file. Raises: ConfigError."""
    datanet = client.get(views_data.ModelView, f"/models/{model}").datanet
    schema = _schema(client.get(views_data.DatanetView, f"/datanets/{datanet}"))
    rows = _rows(path)
    if len(rows) != 1:
        raise ConfigError(f"{path} has {len(rows)} lines: a question is one")
    return encode_query(schema, _values(schema, rows[0][1], "", 1))


def _rows(path: Path) -> list[tuple[int, Row]]:
    try:
        return list(enumerate(read_rows(path), start=1))
    except DataError as error:
        raise ConfigError(str(error)) from error


def _schema(datanet: views_data.DatanetView) -> TabularSchema:
    columns = tuple(
        Column(name=each.name, decimals=each.decimals, minimum=each.minimum, maximum=each.maximum)
        for each in datanet.columns
    )
    return TabularSchema(columns=columns, classes=len(datanet.classes))


def _class_of(datanet: views_data.DatanetView, row: Row, label: str, number: int) -> int:
    name = row.get(label)
    if name not in datanet.classes:
        wanted = ", ".join(datanet.classes)
        raise ConfigError(
            f"row {number}: {label!r} is {name!r}; the classes are {wanted} (--label names another field)"
        )
    return datanet.classes.index(str(name))


def _values(schema: TabularSchema, row: Row, label: str, number: int) -> list[int]:
    names = [column.name for column in schema.columns]
    if missing := [name for name in names if row.get(name) is None]:
        raise ConfigError(f"row {number} lacks {missing[0]!r}; the datanet's columns are {', '.join(names)}")
    if unknown := sorted(set(row) - set(names) - {label}):
        raise ConfigError(f"row {number} has {unknown[0]!r}, which is no column; there are {', '.join(names)}")
    try:
        return [column.value(row[column.name]) for column in schema.columns]  # type: ignore[arg-type]
    except AttributionError as error:
        raise ConfigError(f"row {number}: {error}") from error
