"""A small certified model, and questions to it: what the tests of workers ask."""

from __future__ import annotations

import random
from dataclasses import dataclass

from attribution.content import content_hash
from attribution.head.request import AttributeRequest, CertifyRequest, Model, Problem
from attribution.record import Column, TabularSchema, encode_query, encode_record
from tests.node.modules.training import train


@dataclass(frozen=True)
class Case:
    """A model and the bytes of everything it is made of."""

    schema: TabularSchema
    model: Model
    materials: dict[bytes, bytes]

    @property
    def certify(self) -> CertifyRequest:
        return CertifyRequest(model=self.model)

    def ask(self, *values: int) -> tuple[AttributeRequest, dict[bytes, bytes]]:
        """A question for each value, and the questions' bytes."""
        queries = [encode_query(self.schema, [value, *[30] * (len(self.schema.columns) - 1)]) for value in values]
        own = {content_hash(each): each for each in queries}
        return AttributeRequest(model=self.model, queries=tuple(own)), own


def make_case(seed: int = 1, columns: int = 2, records: int = 24) -> Case:
    """A model of so many records, another for each seed."""
    chance = random.Random(seed)
    schema = TabularSchema(
        columns=tuple(Column(name=f"c{index}", decimals=0, minimum=0, maximum=100) for index in range(columns)),
        classes=2,
    )
    made: dict[bytes, None] = {}
    while len(made) < records:
        label = len(made) % 2
        made[encode_record(schema, label, [chance.randrange(60) + 40 * label for _ in range(columns)])] = None
    materials = {content_hash(each): each for each in made}
    problem = Problem(engine="head/1", schema=schema, damping=104_858, records=tuple(materials))
    trained = train(problem, materials)
    materials |= {content_hash(each): each for each in (trained.weights, trained.inverse)}
    model = Model(problem=problem, weights=content_hash(trained.weights), inverse=content_hash(trained.inverse))
    return Case(schema=schema, model=model, materials=materials)
