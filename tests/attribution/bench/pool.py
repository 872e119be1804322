"""A pool of records with the model that the engine trains, certifies and answers from."""

from dataclasses import dataclass

import numpy as np

from attribution.content import content_hash
from attribution.exact import Int64
from attribution.head.attribute import Prepared, prepare, read_problem
from attribution.head.certificate import INVERSE_BITS, decode_weights, encode_inverse
from attribution.head.encoder import FEATURE_BITS, Int16, encode
from attribution.head.fit import fit, invert
from attribution.head.forms import RESIDUAL_BITS, UNIT_BITS, cross_forms, pulls
from attribution.head.influence import class_residuals, strengths, unit_rows
from attribution.head.request import DAMPING_BITS, ENGINE_HEAD, Model, Problem
from attribution.head.softmax import PROBABILITY_BITS, classify, hessian, logits, probabilities
from attribution.head.wide import LOW_BITS
from attribution.record import TabularSchema, encode_record

DAMPING_UNIT = 1 << DAMPING_BITS
RAW_UNIT_BITS = 2 * (UNIT_BITS + RESIDUAL_BITS) + INVERSE_BITS + 2 * (FEATURE_BITS + PROBABILITY_BITS) - DAMPING_BITS
"""A product of form, record strength and question strength is raw influence times damping times 2 to this power."""


@dataclass(frozen=True)
class Pool:
    """Records in order of admission, and their certified model. Shapes: features (n, d), labels (n,)."""

    problem: Problem
    materials: dict[bytes, bytes]
    posted_weights: bytes
    posted_inverse: bytes
    features: Int16
    labels: Int64

    @property
    def model(self) -> Model:
        names = content_hash(self.posted_weights), content_hash(self.posted_inverse)
        return Model(problem=self.problem, weights=names[0], inverse=names[1])

    @property
    def weights(self) -> Int64:
        """(C, d). Units: 2**-30."""
        return decode_weights(self.problem, self.posted_weights)

    def prepare(self) -> Prepared:
        return prepare(self.model, self.materials)


def train(schema: TabularSchema, values: Int64, labels: Int64, decay: float) -> Pool:
    """Trains and certifies. Raises: AttributionError."""
    blobs = [encode_record(schema, y, row) for row, y in zip(values.tolist(), labels.tolist(), strict=True)]
    materials = {content_hash(blob): blob for blob in blobs}
    problem = Problem(
        engine=ENGINE_HEAD,
        schema=schema,
        damping=round(decay * DAMPING_UNIT),
        records=tuple(content_hash(blob) for blob in blobs),
    )
    posted = fit(problem, materials)
    materials |= {content_hash(part): part for part in (posted.weights, posted.inverse)}
    features, read, _ = read_problem(problem, materials)
    return Pool(
        problem=problem,
        materials=materials,
        posted_weights=posted.weights,
        posted_inverse=posted.inverse,
        features=features,
        labels=read,
    )


def encode_questions(prepared: Prepared, values: Int64) -> tuple[Int16, Int64, Int64]:
    """Features, logits and the model's own answers. Shapes: (m, k) -> (m, d), (m, C), (m,)."""
    asked = encode(prepared.encoder, values)
    scores = logits(asked, prepared.weights)
    return asked, scores, classify(scores)


def propose_inverse(pool: Pool) -> bytes:
    """What a prover computes before it can answer: the Hessian and its inverse."""
    matrix = hessian(pool.features, probabilities(logits(pool.features, pool.weights)), pool.problem.damping)
    return encode_inverse(invert(matrix, pool.problem.damping))


def raw_influences(pool: Pool, prepared: Prepared, values: Int64) -> np.ndarray:
    """Raw influence of every record on the model's answers, all questions in one pass. Shapes: (m, k) -> (n, m).

    What `attribution.head.attribute.raw_influences` gives one question at a time, before it is floored to 2**-20: a
    confident question's influences are mostly below that.
    """
    asked, scores, answers = encode_questions(prepared, values)
    record_strengths = _strengths(pool.features, logits(pool.features, prepared.weights), pool.labels)
    question_strengths = _strengths(asked, scores, answers)
    pulled = pulls(unit_rows(asked), class_residuals(scores, answers), prepared.inverse)
    forms = cross_forms(prepared.units, prepared.shares, pulled)
    unit = float(pool.problem.damping << RAW_UNIT_BITS)
    # Floats of exact integers: nothing but a measurement reads what comes of them.
    exact = forms.high.astype(np.float64) * 2.0**LOW_BITS + forms.low
    parts = exact, record_strengths[:, None] / unit, question_strengths[None, :]
    return parts[0] * parts[1] * parts[2]


def self_influences(pool: Pool, prepared: Prepared) -> list[int]:
    """Raw influence of every record on itself, gᵀ·M·g, in integers of no stated unit. Shapes: n values."""
    own = _strengths(pool.features, logits(pool.features, prepared.weights), pool.labels).tolist()
    return [form * strength**2 for form, strength in zip(prepared.forms.tolist(), own, strict=True)]


def _strengths(features: Int16, scores: Int64, labels: Int64) -> Int64:
    return strengths(features, probabilities(scores), labels)
