"""What validators run: a request and the bytes it names go in, a result goes out, equal to the last bit everywhere.

`prepare` does what depends on the model alone, once, so that a worker can keep it for every later question; `compute`
gives the same result with and without it. Nothing here reads a clock, a random number or the network.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never, overload

import numpy as np

from attribution.content import Materials, read_material
from attribution.exact import Int64
from attribution.head.certificate import certify, decode_inverse, decode_weights
from attribution.head.encoder import Int16
from attribution.head.encoding import Encoder, read_points, read_questions, read_snapshot
from attribution.head.forms import Float64, carrier, cross_forms, own_forms, pulls, self_forms
from attribution.head.influence import (
    class_residuals,
    class_sums,
    holdout_scores,
    is_gate_on,
    raw_influence,
    relative_influence,
    strengths,
    unit_rows,
)
from attribution.head.request import (
    Answer,
    AttributeRequest,
    AttributeResult,
    Certificate,
    CertifyRequest,
    GateRequest,
    GateResult,
    HeadRequest,
    HeadResult,
    Model,
    Problem,
)
from attribution.head.softmax import classify, logits, probabilities
from attribution.head.wide import Wide

_BLOCK_QUESTIONS = 64
_BLOCK_RECORDS = 4096
_BLOCK_PAIRS = 1 << 20
_INFLUENCE = np.dtype(">i2")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A model ready to answer. Shapes: n records, d features, C classes, u = C·d."""

    model: Model
    """The model that all this belongs to."""
    encoder: Encoder
    """Maps values to features."""
    weights: Int64
    """(C, d). Units: 2**-30."""
    inverse: Float64
    """(u, u), symmetric: integers carried in float64."""
    units: Int16
    """(n, d): the features of each record at one length. Units: 2**-13."""
    shares: Int16
    """(n, C): the residual of each record over 1 - p_y. Units: 2**-11."""
    forms: Wide
    """(n,): each record's form with itself."""

    def size_bytes(self) -> int:
        """Memory that keeping it takes."""
        return sum(part.nbytes for part in (self.weights, self.inverse, self.units, self.shares, self.forms))


def prepare(model: Model, materials: Materials) -> Prepared:
    """What every question to a model needs. It does not certify the model.

    Raises: AttributionError.
    """
    features, labels, encoder = read_problem(model.problem, materials)
    weights = decode_weights(model.problem, read_material(materials, model.weights))
    inverse = carrier(decode_inverse(model.problem, read_material(materials, model.inverse)))
    units = np.empty_like(features)
    shares = np.empty((len(labels), model.problem.schema.classes), dtype=np.int16)
    for block in _blocks(len(labels), _BLOCK_RECORDS):
        units[block] = unit_rows(features[block])
        shares[block] = class_residuals(logits(features[block], weights), labels[block])
    forms = self_forms(units, shares, inverse)
    return Prepared(
        model=model, encoder=encoder, weights=weights, inverse=inverse, units=units, shares=shares, forms=forms
    )


@overload
def compute(request: CertifyRequest, materials: Materials, prepared: Prepared | None = None) -> Certificate: ...
@overload
def compute(request: GateRequest, materials: Materials, prepared: Prepared | None = None) -> GateResult: ...
@overload
def compute(request: AttributeRequest, materials: Materials, prepared: Prepared | None = None) -> AttributeResult: ...
def compute(request: HeadRequest, materials: Materials, prepared: Prepared | None = None) -> HeadResult:
    """The result of a request: a pure function of it, given bytes that match the hashes it names.

    With `prepared`, only the questions' bytes are read.

    Raises: AttributionError; for a CertifyRequest also when the model does not certify.
    """
    assert prepared is None or prepared.model == request.model
    match request:
        case CertifyRequest():
            return _certify(request, materials)
        case GateRequest():
            return _measure(request, materials, prepared or prepare(request.model, materials))
        case AttributeRequest():
            return _attribute(request, materials, prepared or prepare(request.model, materials))
        case _:
            assert_never(request)


def predict(prepared: Prepared, queries: Sequence[bytes]) -> tuple[int, ...]:
    """The model's answers. Raises: AttributionError, as the schema's `validate_query`."""
    features = read_questions(prepared.encoder, prepared.model.problem.schema, queries)
    return tuple(classify(logits(features, prepared.weights)).tolist())


def relative_influences(prepared: Prepared, features: Int16, scores: Int64, labels: Int64) -> Int16:
    """Relative influence of every record on questions with given answers.

    Shapes: features (m, d), scores (m, C), labels (m,) -> (n, m).
    """
    units, shares = unit_rows(features), class_residuals(scores, labels)
    pulled = pulls(units, shares, prepared.inverse)
    question_forms = own_forms(units, shares, pulled)
    relative = np.empty((len(prepared.units), len(labels)), dtype=np.int16)
    for block in _blocks(len(relative), max(1, _BLOCK_PAIRS // len(labels))):
        forms = cross_forms(prepared.units[block], prepared.shares[block], pulled)
        relative[block] = relative_influence(forms, prepared.forms[block], question_forms)
    return relative


def raw_influences(prepared: Prepared, materials: Materials, query: bytes) -> list[int]:
    """Raw influence of every record on the model's answer to one question: evidence, not paid on. Units: 2**-40.

    Raises: AttributionError.
    """
    problem = prepared.model.problem
    features, labels, encoder = read_problem(problem, materials)
    record_strengths = strengths(features, probabilities(logits(features, prepared.weights)), labels)
    asked = read_questions(encoder, problem.schema, [query])
    scores = logits(asked, prepared.weights)
    answers = classify(scores)
    pulled = pulls(unit_rows(asked), class_residuals(scores, answers), prepared.inverse)
    forms = cross_forms(prepared.units, prepared.shares, pulled)
    question_strength = int(strengths(asked, probabilities(scores), answers)[0])
    return raw_influence(forms, record_strengths, question_strength, problem.damping)


def read_problem(problem: Problem, materials: Materials) -> tuple[Int16, Int64, Encoder]:
    """Features and labels of a snapshot, and the encoder it fixes. Raises: AttributionError."""
    return read_snapshot(problem.schema, [read_material(materials, name) for name in problem.records])


def _certify(request: CertifyRequest, materials: Materials) -> Certificate:
    problem = request.model.problem
    weights = decode_weights(problem, read_material(materials, request.model.weights))
    inverse = decode_inverse(problem, read_material(materials, request.model.inverse))
    features, labels, _ = read_problem(problem, materials)
    return certify(problem, features, labels, weights, inverse)


def _measure(request: GateRequest, materials: Materials, prepared: Prepared) -> GateResult:
    schema = request.model.problem.schema
    blobs = [read_material(materials, name) for name in request.holdout]
    labels, features = read_points(prepared.encoder, schema, blobs)
    scores = logits(features, prepared.weights)
    sums = np.zeros((len(prepared.units), schema.classes), dtype=np.int64)
    for block in _blocks(len(labels), _BLOCK_QUESTIONS):
        relative = relative_influences(prepared, features[block], scores[block], labels[block])
        sums += class_sums(relative, labels[block], schema.classes)
    class_counts = np.bincount(labels, minlength=schema.classes).astype(np.int64)
    return GateResult(
        correct=int((classify(scores) == labels).sum()),
        baseline=int(class_counts.max()),
        class_counts=tuple(class_counts.tolist()),
        scores=tuple(holdout_scores(sums, class_counts).tolist()),
        is_gate_on=is_gate_on(class_counts),
    )


def _attribute(request: AttributeRequest, materials: Materials, prepared: Prepared) -> AttributeResult:
    blobs = [read_material(materials, name) for name in request.queries]
    features = read_questions(prepared.encoder, request.model.problem.schema, blobs)
    scores = logits(features, prepared.weights)
    labels = classify(scores)
    answers: list[Answer] = []
    for block in _blocks(len(labels), _BLOCK_QUESTIONS):
        relative = relative_influences(prepared, features[block], scores[block], labels[block])
        columns = relative.T.astype(_INFLUENCE)
        for label, column in zip(labels[block].tolist(), columns, strict=True):
            answers.append(Answer(label=label, influences=column.tobytes()))
    return AttributeResult(answers=tuple(answers))


def _blocks(count: int, size: int) -> Iterator[slice]:
    """Slices that cover `count`, so that the memory of what is computed on the way does not grow with it."""
    return (slice(start, start + size) for start in range(0, count, size))
