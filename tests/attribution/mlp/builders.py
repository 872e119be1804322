"""Models of random points. A seed fixes everything that is built."""

import random
from dataclasses import dataclass
from functools import cache

import numpy as np

from attribution.content import content_hash
from attribution.exact import Int64
from attribution.mlp.attribute import compute, read_problem
from attribution.mlp.certificate import INVERSE_BITS, encode_inverse
from attribution.mlp.fit import Training, fit
from attribution.mlp.network import decode_weights, encode_weights
from attribution.mlp.request import Checkpoint, MlpAttributeRequest, MlpModel, MlpProblem
from attribution.record import Column, TabularSchema, encode_query, encode_record


@dataclass
class Case:
    """A model, the bytes it names, and the numbers behind them."""

    model: MlpModel
    materials: dict[bytes, bytes]
    values: list[list[int]]
    labels: list[int]

    @property
    def problem(self) -> MlpProblem:
        return self.model.problem

    def put(self, data: bytes) -> bytes:
        self.materials[content_hash(data)] = data
        return content_hash(data)

    def put_queries(self, rows: list[list[int]]) -> tuple[bytes, ...]:
        return tuple(self.put(encode_query(self.problem.schema, row)) for row in rows)

    def inputs(self) -> tuple[Int64, Int64]:
        inputs, labels, _ = read_problem(self.problem, self.materials)
        return inputs, labels

    def weights(self, index: int = 0) -> tuple[Int64, ...]:
        return decode_weights(self.problem, self.materials[self.model.checkpoints[index].weights])

    def influences(self, queries: tuple[bytes, ...], model: MlpModel | None = None) -> list[tuple[int, ...]]:
        request = MlpAttributeRequest(model=model or self.model, queries=queries)
        return [answer.values() for answer in compute(request, self.materials).answers]


def make_schema(columns: int, classes: int) -> TabularSchema:
    named = [Column(name=f"c{i}", decimals=2, minimum=-(10**6), maximum=10**6) for i in range(columns)]
    return TabularSchema(columns=tuple(named), classes=classes)


def make_problem(
    rng: random.Random, columns: int, widths: tuple[int, ...], classes: int, count: int
) -> tuple[MlpProblem, dict[bytes, bytes], list[list[int]], list[int]]:
    schema = make_schema(columns, classes)
    centres = [[rng.gauss(0, 200) for _ in range(columns)] for _ in range(classes)]
    truth = [rng.randrange(classes) for _ in range(count)]
    values = [[round(rng.gauss(centre, 150)) for centre in centres[c]] for c in truth]
    labels = [rng.randrange(classes) if rng.random() < 0.1 else c for c in truth]
    records = [encode_record(schema, y, row) for y, row in zip(labels, values, strict=True)]
    names = tuple(content_hash(blob) for blob in records)
    problem = MlpProblem(engine="mlp/1", schema=schema, widths=widths, records=names)
    return problem, dict(zip(names, records, strict=True)), values, labels


def make_weights(rng: np.random.Generator, problem: MlpProblem) -> tuple[Int64, ...]:
    """Weights that nobody trained, about as large as trained ones."""
    return tuple(
        np.rint(rng.normal(size=(outputs, inputs)) * (1 << 14) * (2 / inputs) ** 0.5).astype(np.int64)
        for outputs, inputs in problem.layers
    )


def make_inverse(rng: np.random.Generator, unknowns: int) -> Int64:
    """A symmetric positive definite matrix that inverts nothing."""
    half = rng.integers(-(1 << 19), 1 << 19, (unknowns, unknowns))
    inverse = half + half.T
    inverse[np.diag_indices(unknowns)] = rng.integers(unknowns << 20, (unknowns << 20) + (1 << INVERSE_BITS), unknowns)
    return inverse


def make_case(
    seed: int,
    *,
    columns: int = 3,
    widths: tuple[int, ...] = (5,),
    classes: int = 3,
    count: int = 20,
    checkpoints: int = 2,
) -> Case:
    """A model whose weights and inverses no training gave."""
    problem, materials, values, labels = make_problem(random.Random(seed), columns, widths, classes, count)
    rng = np.random.default_rng(seed)
    posted = []
    for _ in range(checkpoints):
        blobs = encode_weights(make_weights(rng, problem)), encode_inverse(make_inverse(rng, problem.unknowns))
        materials |= {content_hash(blob): blob for blob in blobs}
        scale = int(rng.integers(14, 22))
        posted.append(Checkpoint(weights=content_hash(blobs[0]), inverse=content_hash(blobs[1]), scale=scale))
    return Case(MlpModel(problem=problem, checkpoints=tuple(posted)), materials, values, labels)


@cache
def fitted() -> Case:
    """Three columns, five hidden units, three classes, 24 records, trained. Tests may add to its materials only."""
    problem, materials, values, labels = make_problem(random.Random(1), 3, (5,), 3, 24)
    posted = fit(problem, materials, Training(checkpoints=2, epochs=10, batch_records=10))
    return Case(posted.model, materials | posted.materials, values, labels)


def make_questions(case: Case, count: int, seed: int) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randint(-800, 800) for _ in case.problem.schema.columns] for _ in range(count)]
