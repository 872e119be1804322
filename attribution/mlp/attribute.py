"""What validators run for engine mlp/1: a request and the bytes it names go in, a result goes out, equal everywhere.

`prepare` does what depends on the model alone, once; `compute` gives the same result with and without it. The answer is
computed here too, by the first checkpoint, so a false answer is never attributed. Nothing here reads a clock, a random
number or the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never, overload

import numpy as np

from attribution.content import Materials, read_material
from attribution.exact import Int64, matmul
from attribution.head.encoder import TabularEncoder, derive, encode, read_queries, read_records
from attribution.head.request import Answer, AttributeResult
from attribution.mlp.certificate import certify, decode_inverse, margin_entries, record_blocks
from attribution.mlp.influence import pull, raw_influence, record_weights, relative_influence, self_forms
from attribution.mlp.network import Weights, classify, decode_weights, first_activations, forward, probabilities
from attribution.mlp.projection import Int8, quantise
from attribution.mlp.request import (
    MlpAttributeRequest,
    MlpCertificate,
    MlpCertifyRequest,
    MlpModel,
    MlpProblem,
)

MLP_REQUEST: TypeAlias = MlpCertifyRequest | MlpAttributeRequest
MLP_RESULT: TypeAlias = MlpCertificate | AttributeResult

_BLOCK_QUESTIONS = 64
_INFLUENCE = np.dtype(">i2")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A model ready to answer. Shapes: n records, t checkpoints, k unknowns."""

    model: MlpModel
    """The model that all this belongs to."""
    encoder: TabularEncoder
    """Maps values to features."""
    weights: tuple[Weights, ...]
    """Of each checkpoint."""
    inverses: tuple[Int64, ...]
    """(k, k) of each checkpoint, symmetric."""
    vectors: Int8
    """(n, t·k): each record's gradients, checkpoint by checkpoint."""
    self_forms: Int64
    """(n,): each record's form with itself."""

    def size_bytes(self) -> int:
        """Memory that keeping it takes."""
        layers = [layer for weights in self.weights for layer in weights]
        return sum(part.nbytes for part in (*layers, *self.inverses)) + self.vectors.nbytes + self.self_forms.nbytes


def prepare(model: MlpModel, materials: Materials) -> Prepared:
    """What every question to a model needs. It does not certify the model.

    Raises: AttributionError.
    """
    weights = tuple(decode_weights(model.problem, read_material(materials, each.weights)) for each in model.checkpoints)
    inverses = tuple(
        decode_inverse(model.problem, read_material(materials, each.inverse)) for each in model.checkpoints
    )
    inputs, labels, encoder = read_problem(model.problem, materials)
    vectors = np.empty((len(labels), len(weights) * model.problem.unknowns), dtype=np.int8)
    forms = np.empty(len(labels), dtype=np.int64)
    for block in record_blocks(len(labels)):
        vectors[block] = _vectors(model, weights, inputs[block], labels[block])
        forms[block] = _self_forms(vectors[block], inverses)
    return Prepared(model=model, encoder=encoder, weights=weights, inverses=inverses, vectors=vectors, self_forms=forms)


@overload
def compute(request: MlpCertifyRequest, materials: Materials, prepared: Prepared | None = None) -> MlpCertificate: ...
@overload
def compute(
    request: MlpAttributeRequest, materials: Materials, prepared: Prepared | None = None
) -> AttributeResult: ...
def compute(request: MLP_REQUEST, materials: Materials, prepared: Prepared | None = None) -> MLP_RESULT:
    """The result of a request: a pure function of it, given bytes that match the hashes it names.

    With `prepared`, only the questions' bytes are read.

    Raises: AttributionError; for an MlpCertifyRequest also when the model does not certify.
    """
    assert prepared is None or prepared.model == request.model
    match request:
        case MlpCertifyRequest():
            return _certify(request.model, materials)
        case MlpAttributeRequest():
            blobs = [read_material(materials, name) for name in request.queries]
            return _attribute(prepared or prepare(request.model, materials), blobs)
        case _:
            assert_never(request)


def predict(prepared: Prepared, queries: Sequence[bytes]) -> tuple[int, ...]:
    """The model's answers. Raises: AttributionError(QUERY_WRONG_SIZE | VALUE_OUT_OF_RANGE)."""
    return tuple(_answers(prepared, _inputs(prepared, queries)).tolist())


def raw_influences(prepared: Prepared, materials: Materials, queries: Sequence[bytes]) -> list[list[int]]:
    """Raw influence of every record on the model's answer to each question: evidence, not paid on.

    Raises: AttributionError.
    """
    inputs, labels, _ = read_problem(prepared.model.problem, materials)
    weights = np.stack([record_weights(probabilities(forward(each, inputs)[1]), labels) for each in prepared.weights])
    asked = _inputs(prepared, queries)
    questions = _vectors(prepared.model, prepared.weights, asked, _answers(prepared, asked))
    count = len(prepared.inverses)
    parts = zip(
        np.split(prepared.vectors, count, axis=1),
        np.split(pull(questions, prepared.inverses), count, axis=0),
        strict=True,
    )
    forms = np.stack([matmul(records, pulled) for records, pulled in parts])  # (t, n, m)
    return [raw_influence(forms[:, :, question], weights) for question in range(len(queries))]


def read_problem(problem: MlpProblem, materials: Materials) -> tuple[Int64, Int64, TabularEncoder]:
    """The network's inputs and the labels of a snapshot, and the encoder it fixes. Raises: AttributionError."""
    labels, values = read_records(problem.schema, [read_material(materials, name) for name in problem.records])
    encoder = derive(values)
    return first_activations(encode(encoder, values)), labels, encoder


def _certify(model: MlpModel, materials: Materials) -> MlpCertificate:
    # Whatever is wrong with the posted bytes is found before any work.
    posted = [
        (
            decode_weights(model.problem, read_material(materials, each.weights)),
            decode_inverse(model.problem, read_material(materials, each.inverse)),
        )
        for each in model.checkpoints
    ]
    inputs, labels, _ = read_problem(model.problem, materials)
    residuals = tuple(
        certify(weights, index, model.checkpoints[index].scale, inverse, inputs, labels)
        for index, (weights, inverse) in enumerate(posted)
    )
    return MlpCertificate(record_count=len(labels), inverse_residuals=residuals)


def _attribute(prepared: Prepared, blobs: Sequence[bytes]) -> AttributeResult:
    inputs = _inputs(prepared, blobs)
    labels = _answers(prepared, inputs)
    answers: list[Answer] = []
    for start in range(0, len(labels), _BLOCK_QUESTIONS):
        block = slice(start, start + _BLOCK_QUESTIONS)
        questions = _vectors(prepared.model, prepared.weights, inputs[block], labels[block])
        forms = matmul(prepared.vectors, pull(questions, prepared.inverses))
        relative = relative_influence(forms, prepared.self_forms, _self_forms(questions, prepared.inverses))
        for label, column in zip(labels[block].tolist(), relative.T.astype(_INFLUENCE), strict=True):
            answers.append(Answer(label=label, influences=column.tobytes()))
    return AttributeResult(answers=tuple(answers))


def _inputs(prepared: Prepared, blobs: Sequence[bytes]) -> Int64:
    return first_activations(encode(prepared.encoder, read_queries(prepared.model.problem.schema, blobs)))


def _answers(prepared: Prepared, inputs: Int64) -> Int64:
    return classify(forward(prepared.weights[0], inputs)[1])


def _vectors(model: MlpModel, weights: Sequence[Weights], inputs: Int64, labels: Int64) -> Int8:
    """Quantised gradients at every checkpoint. Shapes: inputs (n, i_0), labels (n,) -> (n, t·k)."""
    scales = [checkpoint.scale for checkpoint in model.checkpoints]
    parts = [quantise(margin_entries(each, index, inputs, labels), scales[index]) for index, each in enumerate(weights)]
    return np.hstack(parts)


def _self_forms(vectors: Int8, inverses: Sequence[Int64]) -> Int64:
    """Forms with themselves, summed over the checkpoints. Shapes: vectors (n, t·k), t inverses (k, k) -> (n,)."""
    parts = zip(np.split(vectors, len(inverses), axis=1), inverses, strict=True)
    forms = np.zeros(len(vectors), dtype=np.int64)
    for part, inverse in parts:
        forms += self_forms(part, inverse)
    return forms
