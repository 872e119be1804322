"""Questions, answers, and the attribution that pays for them.

A user asks and pays into escrow. An attributor answers with the influences it computed; every validator recomputes
answer and influences bit for bit before it votes; then the fee is split and the records that made the answer are paid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, ClassVar

import attribution.head.request as engine
from attribution.errors import AttributionError
from attribution.record import validate_query
from node.errors import TransactionReason, TransactionRejected
from node.modules.accounts import credit, debit, require_role
from node.modules.bonds import require_attributor_bond
from node.modules.contents import add_use, is_erased
from node.modules.context import BlobRef, Context, Resources, State
from node.modules.datanets import (
    DATANETS,
    RECORDS,
    RECORDS_AT,
    Position,
    RecordStatus,
    position_key,
    require_age,
    schema_of,
)
from node.modules.engines import cost_of
from node.modules.models import GATES, MODELS, Model, Snapshot, engine_model, grouped_count, is_open
from node.modules.payout import MOST_CREDITS, NO_CLIP, Candidate, credited, scores
from node.modules.rewards import Credited, settle
from node.modules.trailing import current_clip, note_scores
from node.primitives.amount import AMOUNT_END, Amount, format_open
from node.primitives.crypto import Address, Hash
from node.state.table import Reader, Table
from node.storage.schema import Prefix
from node.types.genesis import Role
from node.types.parameters import ClusterCount, Parameters, Theta
from node.types.transaction import Height

MOST_ANSWERS = 256

Label = Annotated[int, range(2**16)]


class QuestionStatus(IntEnum):
    """What became of a question."""

    OPEN = 0
    ANSWERED = 1
    REFUNDED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question somebody paid for."""

    asker: Address
    """Who asked."""
    model: Hash
    """Whom."""
    query: Hash
    """What: content hash of the features."""
    fee_units: Amount
    """What it pays; held here until it is answered or refunded."""
    asked_height: Height
    """When."""
    status: QuestionStatus
    """What became of it."""
    label: Label
    """The answer, once there is one."""
    is_erased: bool
    """Whether the asker took its content back."""

    @property
    def held_units(self) -> int:
        """What the question holds in escrow."""
        return self.fee_units if self.status is QuestionStatus.OPEN else 0


QUESTIONS = Table(Prefix.QUESTION, Question)
"""By id: the transaction that asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Asks a model and pays."""

    model: Hash
    """Whom."""
    query: BlobRef
    """What: the features, uploaded before."""
    fee_units: Annotated[int, range(1, AMOUNT_END), "amount"]
    """What it pays; at least the model's price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """A record to be paid for an answer."""

    position: Position
    """Its place in the datanet."""
    influence: Annotated[int, range(1, 1001)]
    """Its relative influence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedAnswer:
    """What an attributor computed for one question."""

    question: Hash
    """Which question."""
    label: Label
    """The model's answer."""
    influences_hash: Hash
    """Commitment to the influence of every record, so that anyone can replay the rest."""
    credits: Annotated[tuple[Credit, ...], range(MOST_CREDITS + 1)]
    """The records that are paid: cluster by cluster, the elder first in each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a claim was computed with: after one of these changed, the claim is stale and not false."""

    theta: Theta
    """Influence below which a record is not paid."""
    top_clusters: ClusterCount
    """How many clusters a question pays."""
    clip: Annotated[int, range(1, NO_CLIP + 1)]
    """What an influence counts at most, in this epoch."""
    grouped_count: Position
    """How many positions of the model's snapshot are grouped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """Answers questions to one model, with the attribution that pays for them."""

    model: Hash
    """Who answers."""
    terms: Terms
    """What it was computed with."""
    answers: Annotated[tuple[ClaimedAnswer, ...], range(1, MOST_ANSWERS + 1)]
    """The answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Takes back the fee of a question that nobody answered in time, erased or not, or at once when its model retired.

    An erasure hurries nothing: the answer may be public already, and whoever computed it works for nothing."""

    question: Hash
    """Which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question was asked."""

    NAME: ClassVar[str] = "asked"

    question: Hash
    """Its id."""
    model: Hash
    """Whom."""
    asker: Address
    """Who."""
    fee_units: Amount
    """What it pays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A question was answered."""

    NAME: ClassVar[str] = "answered"

    question: Hash
    """Which."""
    model: Hash
    """By which model."""
    asker: Address
    """Whose question it was."""
    attributor: Address
    """Who computed it."""
    label: Label
    """The answer."""
    influences_hash: Hash
    """Commitment to the influence of every record."""
    credit_count: Annotated[int, range(MOST_CREDITS + 1)]
    """How many records were paid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded:
    """A question's fee went back."""

    NAME: ClassVar[str] = "refunded"

    question: Hash
    """Which."""
    asker: Address
    """To whom."""
    fee_units: Amount
    """How much."""


def current_terms(state: Reader, parameters: Parameters, model_id: bytes, epoch: int) -> Terms:
    """What answers of a model are computed with in an epoch."""
    return Terms(
        theta=parameters.theta,
        top_clusters=parameters.top_clusters,
        clip=current_clip(state, model_id, epoch),
        grouped_count=grouped_count(state, MODELS.need(state, model_id)),
    )


def credits_of(
    terms: Terms, snapshot: Snapshot, blocked: frozenset[int], influences: Sequence[int]
) -> tuple[Credit, ...]:
    """Who is paid for an answer: what passes the gate, as `payout.credited` chooses and orders it."""
    candidates = (
        Candidate(
            position=snapshot.positions[index],
            influence=influence,
            seniority=snapshot.seniority[index],
            content=snapshot.contents[index],
            leader=snapshot.leaders[index],
        )
        for index, influence in enumerate(influences)
        if influence > 0 and snapshot.positions[index] not in blocked
    )
    links = credited(terms.theta, terms.top_clusters, terms.clip, candidates)
    return tuple(Credit(position=each.position, influence=each.influence) for each in links)


def attribution_claim(
    terms: Terms,
    snapshot: Snapshot,
    blocked: frozenset[int],
    model_id: bytes,
    questions: Sequence[bytes],
    result: engine.AttributeResult,
) -> Attribute:
    """The claim that a result supports."""
    answers = tuple(
        ClaimedAnswer(
            question=question,
            label=answer.label,
            influences_hash=answer.influences_hash(),
            credits=credits_of(terms, snapshot, blocked, answer.values()),
        )
        for question, answer in zip(questions, result.answers, strict=True)
    )
    return Attribute(model=model_id, terms=terms, answers=answers)


def blocked_positions(state: Reader, model_id: bytes) -> frozenset[int]:
    """Positions that a model's gate keeps out."""
    gate = GATES.get(state, model_id)
    return frozenset(gate.blocked if gate is not None else ())


def meter_ask(state: Reader, context: Context, payload: Ask) -> int:
    """A question's features are checked against the datanet's form."""
    require_age(context, MODELS.need(state, payload.model).changed_height)
    return 0


def verify_ask(state: Reader, _context: Context, payload: Ask, resources: Resources) -> None:
    """The query has the form of the model's datanet. Raises: TransactionRejected BAD_CONTENT; Pending."""
    datanet = DATANETS.need(state, MODELS.need(state, payload.model).datanet)
    try:
        validate_query(schema_of(datanet), resources.blob(payload.query.hash))
    except AttributionError as error:
        raise TransactionRejected(TransactionReason.BAD_CONTENT, str(error)) from error


def apply_ask(state: State, context: Context, payload: Ask) -> None:
    """Takes the fee into escrow."""
    model = MODELS.need(state, payload.model)
    if not is_open(model, context.block.height):
        raise TransactionRejected(TransactionReason.WRONG_STATUS, f"the model is {model.status.name.lower()}")
    if payload.fee_units < model.price_units:
        raise TransactionRejected(TransactionReason.FEE_BELOW_PRICE, f"the price is {format_open(model.price_units)}")
    debit(state, context.sender, payload.fee_units)
    add_use(state, payload.query.hash)
    question = Question(
        asker=context.sender,
        model=payload.model,
        query=payload.query.hash,
        fee_units=payload.fee_units,
        asked_height=context.block.height,
        status=QuestionStatus.OPEN,
        label=0,
        is_erased=False,
    )
    QUESTIONS.put(state, context.transaction_id, question)
    context.emit(
        Asked(question=context.transaction_id, model=payload.model, asker=context.sender, fee_units=payload.fee_units)
    )


def meter_attribute(state: Reader, context: Context, payload: Attribute) -> int:
    """Work of the answers; refuses what could not be computed."""
    require_role(state, context.sender, Role.ATTRIBUTOR)
    require_attributor_bond(state, context)
    if len(payload.answers) > context.parameters.attribution_questions:
        limit = context.parameters.attribution_questions
        raise TransactionRejected(TransactionReason.BAD_PAYLOAD, f"at most {limit} questions at a time")
    model = MODELS.need(state, payload.model)
    if not is_open(model, context.block.height):
        raise TransactionRejected(TransactionReason.WRONG_STATUS, f"the model is {model.status.name.lower()}")
    require_age(context, model.changed_height)
    _require_current(state, context, payload)
    for answer in payload.answers:
        question = QUESTIONS.need(state, answer.question)
        require_age(context, question.asked_height)
        if question.model != payload.model:
            raise TransactionRejected(TransactionReason.NOT_ADMISSIBLE, "a question was asked to another model")
        if question.is_erased or is_erased(state, question.query):
            raise TransactionRejected(TransactionReason.BAD_CONTENT, "a question was erased")
    unknowns = schema_of(DATANETS.need(state, model.datanet)).unknowns
    work = engine.question_work(model.certificate.record_count, unknowns, len(payload.answers))
    return cost_of(state, model.engine, work)


def verify_attribute(state: Reader, _context: Context, payload: Attribute, resources: Resources) -> None:
    """Recomputes answers and influences. Raises: TransactionRejected FALSE_CLAIM; Pending."""
    model = MODELS.need(state, payload.model)
    subject, snapshot = engine_model(state, payload.model, model, resources)
    questions = [answer.question for answer in payload.answers]
    queries = tuple(QUESTIONS.need(state, question).query for question in questions)
    try:
        result = resources.result(engine.AttributeRequest(model=subject, queries=queries))
    except AttributionError as error:
        raise TransactionRejected(TransactionReason.CLAIM_UNCOMPUTABLE, str(error)) from error
    blocked = blocked_positions(state, payload.model)
    computed = attribution_claim(payload.terms, snapshot, blocked, payload.model, questions, result)
    for claimed, answer in zip(payload.answers, computed.answers, strict=True):
        if claimed != answer:
            raise TransactionRejected(TransactionReason.FALSE_CLAIM, _difference(claimed, answer))


def apply_attribute(state: State, context: Context, payload: Attribute) -> None:
    """Answers the questions and splits their fees."""
    model = MODELS.need(state, payload.model)
    fees_units: Counter[int] = Counter()
    for answer in payload.answers:
        question = QUESTIONS.need(state, answer.question)
        if question.status is not QuestionStatus.OPEN:
            raise TransactionRejected(
                TransactionReason.WRONG_STATUS, f"a question is {question.status.name.lower()} already"
            )
        answered = replace(question, status=QuestionStatus.ANSWERED, label=answer.label)
        QUESTIONS.put(state, answer.question, answered)
        context.emit(
            Answered(
                question=answer.question,
                model=payload.model,
                asker=question.asker,
                attributor=context.sender,
                label=answer.label,
                influences_hash=answer.influences_hash,
                credit_count=len(answer.credits),
            )
        )
        links = tuple(_credited(state, model, each) for each in answer.credits)
        settle(state, context, answer.question, payload.model, model, question.fee_units, payload.terms.clip, links)
        for score in scores([each.leader for each in links], [each.influence for each in links]):
            fees_units[score] += question.fee_units
    note_scores(state, payload.model, context.block.epoch, fees_units)


def apply_refund(state: State, context: Context, payload: Refund) -> None:
    """Gives an unanswered question's fee back: after its time, or at once when its model takes no questions."""
    question = QUESTIONS.need(state, payload.question)
    if question.asker != context.sender:
        raise TransactionRejected(TransactionReason.NOT_OWNER)
    if question.status is not QuestionStatus.OPEN:
        raise TransactionRejected(TransactionReason.WRONG_STATUS, f"the question is {question.status.name.lower()}")
    due_height = question.asked_height + context.parameters.question_timeout_heights
    model = MODELS.need(state, question.model)
    if is_open(model, context.block.height) and context.block.height < due_height:
        raise TransactionRejected(TransactionReason.NOT_YET, f"from height {due_height} on")
    QUESTIONS.put(state, payload.question, replace(question, status=QuestionStatus.REFUNDED))
    credit(state, context.sender, question.fee_units)
    context.emit(Refunded(question=payload.question, asker=context.sender, fee_units=question.fee_units))


def _require_current(state: Reader, context: Context, payload: Attribute) -> None:
    """Whoever computed with what was valid then is not barred for what changed since."""
    current = current_terms(state, context.parameters, payload.model, context.block.epoch)
    for name in ("theta", "top_clusters", "clip", "grouped_count"):
        stated, now = getattr(payload.terms, name), getattr(current, name)
        if stated != now:
            raise TransactionRejected(TransactionReason.STALE_SNAPSHOT, f"computed with {name} {stated}; it is {now}")


def _credited(state: Reader, model: Model, each: Credit) -> Credited:
    entry = RECORDS_AT.need(state, position_key(model.datanet, each.position))
    key = DATANETS.need(state, model.datanet).schema_id + entry.content
    record = RECORDS.need(state, key)
    return Credited(
        record=entry.content,
        contributor=record.contributor,
        influence=each.influence,
        leader=record.leader,
        key=key,
        is_paid=record.status is RecordStatus.ACCEPTED,
    )


def _difference(claimed: ClaimedAnswer, computed: ClaimedAnswer) -> str:
    if claimed.label != computed.label:
        return f"the model answers {computed.label}, not {claimed.label}"
    for left, right in zip(claimed.credits, computed.credits, strict=False):
        if left != right:
            true, false = f"{right.influence} of record {right.position}", f"{left.influence} of record {left.position}"
            return f"the influence next in order is {true}; claimed is {false}"
    if len(claimed.credits) != len(computed.credits):
        return f"{len(computed.credits)} records are paid, not {len(claimed.credits)}"
    return "the influence vector has another hash"
