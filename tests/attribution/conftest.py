"""Builders for the tests of `attribution`. A seed fixes everything that is built."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import settings
from sklearn.datasets import load_breast_cancer

from attribution.content import content_hash
from attribution.exact import Int64
from attribution.head.attribute import read_problem
from attribution.head.certificate import INVERSE_BITS, encode_inverse, encode_weights
from attribution.head.encoder import Int16
from attribution.head.fit import fit
from attribution.head.request import Model, Problem
from attribution.record import Column, TabularSchema, encode_query, encode_record

# A busy machine is slow, not wrong; and there, two threads mostly wait for each other.
torch.set_num_threads(1)
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@dataclass
class Shelf:
    """Bytes by content hash."""

    materials: dict[bytes, bytes] = field(default_factory=dict)

    def put(self, data: bytes) -> bytes:
        name = content_hash(data)
        self.materials[name] = data
        return name


@dataclass
class Case:
    """A model, the bytes it names, and the numbers behind them."""

    shelf: Shelf
    model: Model
    values: list[list[int]]
    labels: list[int]

    @property
    def problem(self) -> Problem:
        return self.model.problem

    @property
    def schema(self) -> TabularSchema:
        return self.model.problem.schema

    def features(self) -> Int16:
        return read_problem(self.problem, self.shelf.materials)[0]

    def put_queries(self, rows: list[list[int]]) -> tuple[bytes, ...]:
        return tuple(self.shelf.put(encode_query(self.schema, row)) for row in rows)

    def put_records(self, rows: list[list[int]], labels: list[int]) -> tuple[bytes, ...]:
        return tuple(self.shelf.put(encode_record(self.schema, y, row)) for row, y in zip(rows, labels, strict=True))


def make_schema(columns: int, classes: int, bound: int = 10**6) -> TabularSchema:
    return TabularSchema(
        columns=tuple(Column(name=f"c{i}", decimals=2, minimum=-bound, maximum=bound) for i in range(columns)),
        classes=classes,
    )


def make_points(rng: random.Random, count: int, columns: int, classes: int) -> tuple[list[list[int]], list[int]]:
    """Points around one centre per class; some are labelled at random."""
    centres = [[rng.gauss(0, 200) for _ in range(columns)] for _ in range(classes)]
    truth = [rng.randrange(classes) for _ in range(count)]
    values = [[round(rng.gauss(centre, 300)) for centre in centres[c]] for c in truth]
    labels = [rng.randrange(classes) if rng.random() < 0.1 else c for c in truth]
    return values, labels


def make_posted(rng: np.random.Generator, unknowns: int, classes: int) -> tuple[Int64, Int64]:
    """Weights and a symmetric positive definite inverse that nobody trained. Shapes: (C, d), (u, u)."""
    weights = rng.integers(-(1 << 31), 1 << 31, (classes, unknowns // classes))
    half = rng.integers(-(1 << 20), 1 << 20, (unknowns, unknowns))
    inverse = half + half.T
    inverse[np.diag_indices(unknowns)] = rng.integers(unknowns << 21, 1 << INVERSE_BITS, unknowns)
    return weights, inverse


def make_case(
    *,
    seed: int = 1,
    columns: int = 3,
    classes: int = 3,
    count: int = 40,
    damping: int = 1 << 17,
    is_fitted: bool = True,
) -> Case:
    """A model of random points, trained, or with posted weights and inverse that no training gave."""
    shelf = Shelf()
    schema = make_schema(columns, classes)
    values, labels = make_points(random.Random(seed), count, columns, classes)
    names = tuple(shelf.put(encode_record(schema, y, row)) for row, y in zip(values, labels, strict=True))
    problem = Problem(engine="head/1", schema=schema, damping=damping, records=names)
    if is_fitted:
        posted = fit(problem, shelf.materials)
        weights, inverse = posted.weights, posted.inverse
    else:
        arrays = make_posted(np.random.default_rng(seed), problem.unknowns, classes)
        weights, inverse = encode_weights(arrays[0]), encode_inverse(arrays[1])
    model = Model(problem=problem, weights=shelf.put(weights), inverse=shelf.put(inverse))
    return Case(shelf=shelf, model=model, values=values, labels=labels)


def make_clinics(seed: int) -> tuple[Case, np.ndarray, tuple[bytes, ...], list[list[int]], list[int]]:
    """Five clinics of 70 patients, the last with flipped labels: case, clinic of each record, holdout, questions."""
    data = load_breast_cancer()
    decimals = 6
    columns = tuple(
        Column(name=str(name), decimals=decimals, minimum=0, maximum=10_000 * 10**decimals)
        for name in data.feature_names
    )
    schema = TabularSchema(columns=columns, classes=2)
    rows = [[column.value(float(x)) for column, x in zip(columns, row, strict=True)] for row in data.data]
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    train, held, asked = order[:350], order[350:450], order[450:]
    clinics = np.arange(350) % 5
    truth = [int(y) for y in data.target]
    labels = [1 - truth[i] if clinics[place] == 4 else truth[i] for place, i in enumerate(train)]
    shelf = Shelf()
    names = tuple(shelf.put(encode_record(schema, y, rows[i])) for i, y in zip(train, labels, strict=True))
    problem = Problem(engine="head/1", schema=schema, damping=round(0.1 * 2**20), records=names)
    posted = fit(problem, shelf.materials)
    model = Model(problem=problem, weights=shelf.put(posted.weights), inverse=shelf.put(posted.inverse))
    case = Case(shelf=shelf, model=model, values=[rows[i] for i in train], labels=labels)
    holdout = case.put_records([rows[i] for i in held], [truth[i] for i in held])
    return case, clinics, holdout, [rows[i] for i in asked], [truth[i] for i in asked]


@pytest.fixture(name="make_case")
def make_case_fixture() -> Callable[..., Case]:
    return make_case


@pytest.fixture(name="make_points")
def make_points_fixture() -> Callable[..., tuple[list[list[int]], list[int]]]:
    return make_points


@pytest.fixture(name="make_schema")
def make_schema_fixture() -> Callable[..., TabularSchema]:
    return make_schema


@pytest.fixture(name="make_posted")
def make_posted_fixture() -> Callable[..., tuple[Int64, Int64]]:
    return make_posted


@pytest.fixture(scope="session")
def fitted() -> Case:
    """Three columns, three classes, 40 records: small enough for plain integers. Tests may add to its shelf only."""
    return make_case()


@pytest.fixture(scope="session")
def long_case() -> Case:
    """300 records: more than fix the encoder, so that the last ones can change without changing it."""
    return make_case(seed=5, count=300)


@pytest.fixture(name="make_clinics")
def make_clinics_fixture() -> Callable[..., tuple[Case, np.ndarray, tuple[bytes, ...], list[list[int]], list[int]]]:
    return make_clinics


@pytest.fixture(scope="session")
def clinic_case() -> tuple[Case, list[list[int]]]:
    """The clinics' model and its questions."""
    case, _, _, questions, _ = make_clinics(1)
    return case, questions
