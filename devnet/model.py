"""The story's model: trained by the developer, and computed with here exactly as the validators do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attribution.errors import AttributionError
from attribution.grouping import attribute as grouping_engine
from attribution.head.attribute import Prepared, compute, prepare
from attribution.head.fit import FittedModel
from attribution.head.request import AttributeRequest, AttributeResult, Model, Problem
from devnet.data import Split
from devnet.stage import Stage, StoryError
from node.api import views_data
from node.payloads import (
    Attribute,
    Basis,
    BlobRef,
    CertificateClaim,
    Group,
    RegisterModel,
    Scale,
    Snapshot,
    Terms,
    attribution_claim,
    group_claim,
    group_request,
)
from node.primitives.amount import UNITS_PER_OPEN
from node.primitives.crypto import ZERO_HASH, sha256

ENGINE = "head/1"
DAMPING = 104_858
"""λ = 0.1 in units of 2^-20."""
PRICE_UNITS = 2 * UNITS_PER_OPEN


@dataclass(frozen=True)
class Trained:
    """A registered model with everything needed to compute what validators compute."""

    model_id: str
    prepared: Prepared
    materials: dict[bytes, bytes]
    snapshot: Snapshot


def problem_of(split: Split, contents: Sequence[bytes]) -> Problem:
    """What is to be solved for some records."""
    return Problem(engine=ENGINE, schema=split.schema, damping=DAMPING, records=tuple(contents))


def registration(datanet: str, name: str, fitted: FittedModel, epoch: int) -> RegisterModel:
    """The payload that registers a trained model."""
    certificate = fitted.certificate
    return RegisterModel(
        model=ZERO_HASH,
        name=name,
        datanet=bytes.fromhex(datanet),
        engine=ENGINE,
        damping=DAMPING,
        weights=reference(fitted.weights),
        inverse=reference(fitted.inverse),
        certificate=CertificateClaim(
            record_count=certificate.record_count,
            gradient_norm=certificate.gradient_norm,
            inverse_residual=certificate.inverse_residual,
        ),
        snapshot_epoch=epoch,
        price_units=PRICE_UNITS,
    )


def grouping(stage: Stage, split: Split, datanet: str) -> Group:
    """Which of the records that are not grouped yet are near-copies of which: computed here as the validators do."""
    known = stage.clusters(datanet)
    basis = Basis(
        schema=split.schema,
        changes=known.changes,
        scales=tuple(Scale(total=each.total, spread=each.spread, shift=each.shift) for each in known.scales),
        clusters=tuple((bytes.fromhex(each.leader), bytes.fromhex(each.compared)) for each in known.clusters),
    )
    standing = [each for each in stage.records(datanet) if each.position >= known.grouped_count]
    contents = tuple(bytes.fromhex(each.content) for each in standing)
    request = group_request(basis, contents)
    result = grouping_engine.compute(request, stage.fetch(request.material_hashes()))
    end = stage.datanet(datanet).accepted_count
    return group_claim(basis, bytes.fromhex(datanet), known.grouped_count, end, contents, result)


def load_model(stage: Stage, split: Split, datanet: str, model_id: str) -> Trained:
    """The model as the chain has it. Raises: StoryError."""
    model = stage.model(model_id)
    records = [each for each in stage.records(datanet) if each.position < model.snapshot_count]
    contents = [bytes.fromhex(each.content) for each in records]
    weights, inverse = bytes.fromhex(model.weights), bytes.fromhex(model.inverse)
    materials = stage.fetch([*contents, weights, inverse])
    try:
        prepared = prepare(Model(problem=problem_of(split, contents), weights=weights, inverse=inverse), materials)
    except AttributionError as error:
        raise StoryError(f"the model on the chain cannot be computed with: {error}") from error
    snapshot = Snapshot(
        positions=tuple(each.position for each in records),
        contents=tuple(contents),
        seniority=tuple((each.height, each.transaction_index, each.index) for each in records),
        leaders=tuple(bytes.fromhex(each.leader) for each in records),
    )
    return Trained(model_id=model_id, prepared=prepared, materials=materials, snapshot=snapshot)


def compute_answers(split: Split, trained: Trained, questions: Sequence[views_data.QuestionView]) -> AttributeResult:
    """What the engine says of questions, computed here."""
    queries = {sha256(patient.query): patient.query for patient in split.patients}
    asked = tuple(bytes.fromhex(question.query) for question in questions)
    request = AttributeRequest(model=trained.prepared.model, queries=asked)
    return compute(request, {**trained.materials, **queries}, trained.prepared)


def claim_of(stage: Stage, split: Split, trained: Trained, questions: Sequence[views_data.QuestionView]) -> Attribute:
    """The honest claim for questions."""
    model = stage.model(trained.model_id)
    terms = model.terms
    return attribution_claim(
        Terms(
            theta=terms.theta,
            top_clusters=terms.top_clusters,
            clip=terms.clip,
            grouped_count=terms.grouped_count,
        ),
        trained.snapshot,
        frozenset(model.blocked),
        bytes.fromhex(trained.model_id),
        [bytes.fromhex(question.id) for question in questions],
        compute_answers(split, trained, questions),
    )


def reference(content: bytes) -> BlobRef:
    """How a transaction refers to a content."""
    return BlobRef(hash=sha256(content), size_bytes=len(content))
