"""The story's data: the Wisconsin breast-cancer measurements that scikit-learn carries, split among clinics.

Source: W. Street, W. Wolberg, O. Mangasarian, "Nuclear feature extraction for breast tumor diagnosis", 1993.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal

from attribution.record import Column, TabularSchema, encode_query, encode_record

CLASSES = ("malignant", "benign")
CLINIC_RECORDS = 70
CLINICS = 5
HOLDOUT_CHUNKS = 2
HOLDOUT_PER_CLASS = 32
SEED = 1


@dataclass(frozen=True)
class Patient:
    """One held-out patient: what is asked, and what is true."""

    query: bytes
    label: int


@dataclass(frozen=True)
class Split:
    """Disjoint parts of the data."""

    schema: TabularSchema
    clinics: tuple[tuple[bytes, ...], ...]
    """Records of each clinic; the last one's labels are flipped."""
    holdout: tuple[tuple[bytes, ...], ...]
    """Chunks of labelled points with equally many of each class."""
    patients: tuple[Patient, ...]
    """The rest: the questions."""


def load_split() -> Split:
    """The story's split, always the same. Raises: ImportError when scikit-learn is not installed (extra `demo`)."""
    from sklearn.datasets import load_breast_cancer  # an extra: only the story needs it

    data = load_breast_cancer()
    rows = [[Decimal(str(value)) for value in row] for row in data.data.tolist()]
    schema = _schema([str(name) for name in data.feature_names], rows)
    points = [
        (int(label), [column.value(value) for column, value in zip(schema.columns, row, strict=True)])
        for label, row in zip(data.target.tolist(), rows, strict=True)
    ]
    random.Random(SEED).shuffle(points)
    chunks: list[list[tuple[int, list[int]]]] = [[] for _ in range(HOLDOUT_CHUNKS)]
    rest: list[tuple[int, list[int]]] = []
    for point in points:
        room = next((chunk for chunk in chunks if _count(chunk, point[0]) < HOLDOUT_PER_CLASS), None)
        (rest if room is None else room).append(point)
    clinics = []
    for number in range(CLINICS):
        part = rest[number * CLINIC_RECORDS : (number + 1) * CLINIC_RECORDS]
        is_flipped = number == CLINICS - 1
        clinics.append(
            tuple(encode_record(schema, 1 - label if is_flipped else label, values) for label, values in part)
        )
    return Split(
        schema=schema,
        clinics=tuple(clinics),
        holdout=tuple(tuple(encode_record(schema, *point) for point in chunk) for chunk in chunks),
        patients=tuple(
            Patient(encode_query(schema, values), label) for label, values in rest[CLINICS * CLINIC_RECORDS :]
        ),
    )


def _schema(names: list[str], rows: list[list[Decimal]]) -> TabularSchema:
    columns = []
    for index, name in enumerate(names):
        values = [row[index] for row in rows]
        decimals = max(max(0, -int(value.as_tuple().exponent)) for value in values)
        # Room around what was seen: a clinic's next patient may be larger.
        largest = int(max(values) * 10**decimals) * 2
        columns.append(Column(name=name, decimals=decimals, minimum=0, maximum=largest))
    return TabularSchema(columns=tuple(columns), classes=len(CLASSES))


def _count(chunk: list[tuple[int, list[int]]], label: int) -> int:
    return sum(each == label for each, _ in chunk)
