"""Models: registered with a training certificate, measured on a holdout, open for questions, retired.

Whoever registers a model posts weights, an inverse and a certificate; every validator recomputes the certificate over
the datanet's snapshot before it votes. The snapshot is every record that stood at the last epoch boundary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, ClassVar

import attribution.head.request as engine
from attribution.errors import AttributionError
from node.errors import TransactionReason, TransactionRejected
from node.modules.accounts import require_role
from node.modules.bonds import require_attributor_bond
from node.modules.contents import add_use, drop_use, is_erased
from node.modules.context import BlobRef, Context, Resources, State
from node.modules.datanets import (
    DATANETS,
    MOST_MODELS,
    RECORDS,
    PartyRole,
    Position,
    become_party,
    require_age,
    schema_of,
    snapshot_contents,
)
from node.modules.engines import cost_of, require_engine
from node.modules.grouping import CLUSTERS, require_grouped
from node.modules.holdouts import HOLDOUTS, REVEALED, Revealed
from node.modules.validators import epoch_key
from node.primitives.amount import BPS, Amount
from node.primitives.crypto import ZERO_HASH, Address, Hash
from node.state.table import Reader, Table
from node.storage.schema import Prefix
from node.types.genesis import Role
from node.types.parameters import Share
from node.types.transaction import Height
from node.types.validator import Name

Count = Annotated[int, range(2**32)]


class ModelStatus(IntEnum):
    """Whether a model answers."""

    AWAITING_GATE = 0
    """Registered; measured when its epoch's holdout chunk is revealed. After the deadline it answers unmeasured."""
    ACTIVE = 1
    RETIRED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateClaim:
    """What the weights and the inverse achieve; every validator computes the same numbers."""

    record_count: Count
    """Records in the snapshot."""
    gradient_norm: Annotated[int, range(2**63)]
    """L2 norm of the exact gradient, rounded up. Units: 2^-40."""
    inverse_residual: Annotated[int, range(2**63)]
    """Largest row sum of |H·M - τ·I| over τ, rounded up. Units: 2^-30."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A registered model."""

    name: Name
    """What people call it."""
    owner: Address
    """Who is paid for its answers."""
    datanet: Hash
    """Whose records it was trained on."""
    engine: Name
    """Attribution engine with version."""
    damping: Annotated[int, range(2**32)]
    """λ in units of 2^-20, one of the datanet's."""
    weights: Hash
    """Content hash of the weights."""
    inverse: Hash
    """Content hash of the certified inverse."""
    certificate: CertificateClaim
    """What was verified."""
    snapshot_count: Position
    """The snapshot: the datanet's records below this position that were not erased before."""
    certified_epoch: Annotated[int, range(1, 2**48)]
    """The epoch at whose start the snapshot was taken."""
    changed_height: Height
    """When it was registered, certified again or measured: what is computed with it waits a while from there."""
    price_units: Amount
    """Smallest fee of a question."""
    status: ModelStatus
    """Whether it answers."""
    gate_deadline_height: Height
    """Up to here it waits for its holdout; later it answers unmeasured, and mints nothing until it is measured."""
    is_gate_on: bool
    """Whether the holdout had enough points of every class."""
    eligibility_bps: Share
    """q: how far it beats the constant answer on the holdout; what minting is multiplied by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Records that made the model worse on its holdout: they earn nothing from it."""

    blocked: Annotated[tuple[Position, ...], range(2**20)]
    """Their positions, sorted."""


MODELS = Table(Prefix.MODEL, Model)
"""By id: the transaction that registered them."""
GATES = Table(Prefix.GATE, Gate)
"""By model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterModel:
    """Registers a model, or certifies one again on the current snapshot."""

    model: Hash
    """The model to certify again; zero for a new one."""
    name: Name
    """What people call it."""
    datanet: Hash
    """Whose records it was trained on."""
    engine: Name
    """Attribution engine with version."""
    damping: Annotated[int, range(2**32)]
    """λ in units of 2^-20, one of the datanet's."""
    weights: BlobRef
    """The weights, uploaded before."""
    inverse: BlobRef
    """The certified inverse, uploaded before."""
    certificate: CertificateClaim
    """What they achieve."""
    snapshot_epoch: Annotated[int, range(1, 2**48)]
    """The epoch whose start fixed the snapshot: the current one."""
    price_units: Amount
    """Smallest fee of a question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureModel:
    """States how a model does on its revealed holdout."""

    model: Hash
    """Which."""
    correct: Count
    """Points it classifies as labelled."""
    baseline: Count
    """Points of the largest class."""
    is_gate_on: bool
    """Whether every class has enough points."""
    blocked: Annotated[tuple[Position, ...], range(2**16)]
    """Positions of the records that make it worse, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPrice:
    """A model's owner changes its price."""

    model: Hash
    """Which."""
    price_units: Amount
    """Smallest fee of a question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferModel:
    """A model's owner hands it over."""

    model: Hash
    """Which."""
    new_owner: Address
    """To whom; no contributor or reviewer of its datanet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireModel:
    """A model's owner takes it off."""

    model: Hash
    """Which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChanged:
    """A model was registered, certified again, measured, priced, handed over or retired."""

    NAME: ClassVar[str] = "model_changed"

    model: Hash
    """Which."""
    datanet: Hash
    """Whose records it was trained on."""
    owner: Address
    """Whose it is now."""
    what: Annotated[str, range(1, 17)]
    """`registered`, `certified`, `measured`, `priced`, `transferred` or `retired`."""
    status: ModelStatus
    """Whether it answers."""
    eligibility_bps: Share
    """What minting is multiplied by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A model's records in order, with what ranks them."""

    positions: tuple[int, ...]
    """Position in the datanet by snapshot index."""
    contents: tuple[bytes, ...]
    """Content hash by snapshot index."""
    seniority: tuple[tuple[int, int, int], ...]
    """(height, transaction index, record index) by snapshot index: smaller is elder."""
    leaders: tuple[bytes, ...]
    """Content hash of the leader of its cluster by snapshot index."""


def is_open(model: Model, height: int) -> bool:
    """Whether a model takes questions."""
    is_late = model.status is ModelStatus.AWAITING_GATE and height > model.gate_deadline_height
    return model.status is ModelStatus.ACTIVE or is_late


def load_snapshot(state: Reader, datanet_id: bytes, count: int) -> Snapshot:
    """The snapshot of a datanet's first `count` records."""
    datanet = DATANETS.need(state, datanet_id)
    found = snapshot_contents(state, datanet_id, count)
    records = [RECORDS.need(state, datanet.schema_id + content) for _, content in found]
    return Snapshot(
        positions=tuple(position for position, _ in found),
        contents=tuple(content for _, content in found),
        seniority=tuple((each.height, each.transaction_index, each.index) for each in records),
        leaders=tuple(each.leader for each in records),
    )


def engine_model(state: Reader, key: bytes, model: Model, resources: Resources) -> tuple[engine.Model, Snapshot]:
    """What the engine knows a registered model as, and its snapshot; `key` is the model's id."""

    def build() -> tuple[engine.Model, Snapshot]:
        snapshot = load_snapshot(state, model.datanet, model.snapshot_count)
        problem = engine.Problem(
            engine=model.engine,
            schema=schema_of(DATANETS.need(state, model.datanet)),
            damping=model.damping,
            records=snapshot.contents,
        )
        return engine.Model(problem=problem, weights=model.weights, inverse=model.inverse), snapshot

    # Between two certifications nothing of this changes: an erasure retires the model. The engine's name comes last:
    # it alone has no fixed length.
    identity = key + model.weights + model.inverse + epoch_key(model.certified_epoch) + leaders_of(state, model)
    counts = (model.snapshot_count, model.damping, grouped_count(state, model))
    numbers = b"".join(each.to_bytes(4, "big") for each in counts)
    return resources.memo(identity + numbers + model.engine.encode(), build)


def leaders_of(state: Reader, model: Model) -> bytes:
    """Commitment to the groupings that gave a model's records their leaders: as many may differ on two branches."""
    known = CLUSTERS.get(state, model.datanet)
    return known.grouped_history if known is not None else ZERO_HASH


def grouped_count(state: Reader, model: Model) -> int:
    """How many positions of a model's snapshot are grouped: with more of them, its records have other leaders."""
    return min(DATANETS.need(state, model.datanet).grouped_count, model.snapshot_count)


def meter_register_model(state: Reader, context: Context, payload: RegisterModel) -> int:
    """Work of the certificate; refuses what could not be computed on the current snapshot."""
    require_role(state, context.sender, Role.DEVELOPER)
    require_attributor_bond(state, context)
    datanet = DATANETS.need(state, payload.datanet)
    require_age(context, context.block.epoch_first_height)
    require_engine(state, payload.engine, context.block.height)
    if payload.damping not in datanet.dampings:
        allowed = ", ".join(map(str, datanet.dampings))
        raise TransactionRejected(TransactionReason.BAD_PAYLOAD, f"the datanet's dampings are {allowed}")
    if payload.snapshot_epoch != context.block.epoch:
        raise TransactionRejected(TransactionReason.STALE_SNAPSHOT, f"epoch {context.block.epoch}'s is current")
    count = datanet.snapshot_count(context.block.epoch)
    if not 1 <= count <= context.parameters.snapshot_records:
        raise TransactionRejected(TransactionReason.CLAIM_UNCOMPUTABLE, f"the snapshot has {count} records")
    require_grouped(state, payload.datanet, datanet, count)
    return cost_of(state, payload.engine, engine.certify_work(count, schema_of(datanet).unknowns))


def verify_register_model(state: Reader, context: Context, payload: RegisterModel, resources: Resources) -> None:
    """Recomputes the certificate. Raises: TransactionRejected FALSE_CLAIM, STALE_SNAPSHOT; Pending."""
    datanet = DATANETS.need(state, payload.datanet)
    count = datanet.snapshot_count(context.block.epoch)
    snapshot = load_snapshot(state, payload.datanet, count)
    if len(snapshot.contents) < payload.certificate.record_count <= count:
        # Records were erased since: nothing false is claimed, the optimum is another one now.
        detail = f"{len(snapshot.contents)} records are left of it, not {payload.certificate.record_count}"
        raise TransactionRejected(TransactionReason.STALE_SNAPSHOT, detail)
    try:
        problem = engine.Problem(
            engine=payload.engine, schema=schema_of(datanet), damping=payload.damping, records=snapshot.contents
        )
        model = engine.Model(problem=problem, weights=payload.weights.hash, inverse=payload.inverse.hash)
        result = resources.result(engine.CertifyRequest(model=model))
    except AttributionError as error:
        raise TransactionRejected(TransactionReason.FALSE_CLAIM, str(error)) from error
    claimed = payload.certificate
    computed = CertificateClaim(
        record_count=result.record_count,
        gradient_norm=result.gradient_norm,
        inverse_residual=result.inverse_residual,
    )
    if claimed != computed:
        raise TransactionRejected(TransactionReason.FALSE_CLAIM, f"the certificate is {computed}")


def apply_register_model(state: State, context: Context, payload: RegisterModel) -> None:
    """Stores the model; its holdout, if one is committed, measures it later."""
    datanet = DATANETS.need(state, payload.datanet)
    is_new = payload.model == ZERO_HASH
    model_id = context.transaction_id if is_new else payload.model
    if is_new:
        become_party(state, payload.datanet, datanet, context.sender, PartyRole.MODEL_OWNER)
        if len(datanet.models) >= MOST_MODELS:
            raise TransactionRejected(TransactionReason.TOO_MANY, "retire a model first")
        DATANETS.put(state, payload.datanet, replace(datanet, models=(*datanet.models, model_id)))
    else:
        _drop_files(state, _owned(state, context, model_id, payload.datanet))
    add_use(state, payload.weights.hash)
    add_use(state, payload.inverse.hash)
    holdout = HOLDOUTS.get(state, payload.datanet)
    is_measured = holdout is not None and holdout.is_usable
    model = Model(
        name=payload.name,
        owner=context.sender,
        datanet=payload.datanet,
        engine=payload.engine,
        damping=payload.damping,
        weights=payload.weights.hash,
        inverse=payload.inverse.hash,
        certificate=payload.certificate,
        snapshot_count=datanet.snapshot_count(context.block.epoch),
        certified_epoch=context.block.epoch,
        changed_height=context.block.height,
        price_units=payload.price_units,
        status=ModelStatus.AWAITING_GATE if is_measured else ModelStatus.ACTIVE,
        gate_deadline_height=context.block.height + context.parameters.holdout_reveal_heights,
        is_gate_on=False,
        eligibility_bps=0,
    )
    if GATES.get(state, model_id) is not None:
        GATES.delete(state, model_id)
    _store(state, context, model_id, model, "registered" if is_new else "certified")


def meter_measure_model(state: Reader, context: Context, payload: MeasureModel) -> int:
    """Work of the holdout's questions."""
    require_role(state, context.sender, Role.ATTRIBUTOR)
    require_attributor_bond(state, context)
    model = MODELS.need(state, payload.model)
    if model.status is not ModelStatus.AWAITING_GATE:
        raise TransactionRejected(TransactionReason.WRONG_STATUS, "the model does not wait for its holdout")
    revealed = _revealed(state, model)
    if revealed.committed_height > model.changed_height:
        raise TransactionRejected(TransactionReason.NOT_ADMISSIBLE, "the holdout was committed after the registration")
    require_age(context, revealed.height)
    unknowns = schema_of(DATANETS.need(state, model.datanet)).unknowns
    work = engine.question_work(model.certificate.record_count, unknowns, len(revealed.records))
    return cost_of(state, model.engine, work)


def verify_measure_model(state: Reader, _context: Context, payload: MeasureModel, resources: Resources) -> None:
    """Recomputes the measure. Raises: TransactionRejected FALSE_CLAIM; Pending."""
    model = MODELS.need(state, payload.model)
    subject, snapshot = engine_model(state, payload.model, model, resources)
    try:
        result = resources.result(engine.GateRequest(model=subject, holdout=_revealed(state, model).records))
    except AttributionError as error:
        raise TransactionRejected(TransactionReason.CLAIM_UNCOMPUTABLE, str(error)) from error
    computed = measure_claim(payload.model, result, snapshot)
    if payload != computed:
        detail = f"{computed.correct} correct, {computed.baseline} by constant answer, {len(computed.blocked)} blocked"
        raise TransactionRejected(TransactionReason.FALSE_CLAIM, detail)


def measure_claim(model_id: bytes, result: engine.GateResult, snapshot: Snapshot) -> MeasureModel:
    """The claim that a result supports."""
    blocked = [
        position
        for position, score in zip(snapshot.positions, result.scores, strict=True)
        if result.is_gate_on and score < 0
    ]
    return MeasureModel(
        model=model_id,
        correct=result.correct,
        baseline=result.baseline,
        is_gate_on=result.is_gate_on,
        blocked=tuple(blocked),
    )


def apply_measure_model(state: State, context: Context, payload: MeasureModel) -> None:
    """Opens the model; how far it beats the constant answer is what its minting is multiplied by."""
    model = MODELS.need(state, payload.model)
    if model.status is not ModelStatus.AWAITING_GATE:
        raise TransactionRejected(TransactionReason.WRONG_STATUS, "the model does not wait for its holdout")
    points = len(_revealed(state, model).records)
    gained, possible = payload.correct - payload.baseline, points - payload.baseline
    eligibility_bps = gained * BPS // possible if payload.is_gate_on and gained > 0 else 0
    model = replace(
        model,
        status=ModelStatus.ACTIVE,
        is_gate_on=payload.is_gate_on,
        eligibility_bps=eligibility_bps,
        changed_height=context.block.height,
    )
    GATES.put(state, payload.model, Gate(blocked=payload.blocked))
    _store(state, context, payload.model, model, "measured")


def apply_set_price(state: State, context: Context, payload: SetPrice) -> None:
    """Changes the price of coming questions."""
    model = replace(_owned(state, context, payload.model), price_units=payload.price_units)
    _store(state, context, payload.model, model, "priced")


def apply_transfer_model(state: State, context: Context, payload: TransferModel) -> None:
    """Hands the model over."""
    model = _owned(state, context, payload.model)
    datanet = DATANETS.need(state, model.datanet)
    require_role(state, payload.new_owner, Role.DEVELOPER)
    become_party(state, model.datanet, datanet, payload.new_owner, PartyRole.MODEL_OWNER)
    _store(state, context, payload.model, replace(model, owner=payload.new_owner), "transferred")


def apply_retire_model(state: State, context: Context, payload: RetireModel) -> None:
    """Takes the model off."""
    _owned(state, context, payload.model)
    retire(state, context, payload.model)


def retire(state: State, context: Context, model_id: bytes) -> None:
    """A model answers no more; its open questions can be refunded."""
    model = MODELS.need(state, model_id)
    datanet = DATANETS.need(state, model.datanet)
    kept = tuple(each for each in datanet.models if each != model_id)
    DATANETS.put(state, model.datanet, replace(datanet, models=kept))
    _drop_files(state, model)
    _store(state, context, model_id, replace(model, status=ModelStatus.RETIRED), "retired")


def _revealed(state: Reader, model: Model) -> Revealed:
    revealed = REVEALED.get(state, model.datanet + epoch_key(model.certified_epoch))
    if revealed is None:
        raise TransactionRejected(TransactionReason.NOT_YET, "the reviewers have not revealed the holdout")
    if any(is_erased(state, content) for content in revealed.records):
        raise TransactionRejected(TransactionReason.CLAIM_UNCOMPUTABLE, "a point of the holdout was erased")
    return revealed


def _owned(state: Reader, context: Context, model_id: bytes, datanet_id: bytes | None = None) -> Model:
    model = MODELS.need(state, model_id)
    if model.owner != context.sender:
        raise TransactionRejected(TransactionReason.NOT_OWNER)
    if model.status is ModelStatus.RETIRED:
        raise TransactionRejected(TransactionReason.WRONG_STATUS, "the model is retired")
    if datanet_id is not None and model.datanet != datanet_id:
        raise TransactionRejected(TransactionReason.NOT_ADMISSIBLE, "a model stays with its datanet")
    return model


def _drop_files(state: State, model: Model) -> None:
    drop_use(state, model.weights)
    drop_use(state, model.inverse)


def _store(state: State, context: Context, model_id: bytes, model: Model, what: str) -> None:
    MODELS.put(state, model_id, model)
    context.emit(
        ModelChanged(
            model=model_id,
            datanet=model.datanet,
            owner=model.owner,
            what=what,
            status=model.status,
            eligibility_bps=model.eligibility_bps,
        )
    )
