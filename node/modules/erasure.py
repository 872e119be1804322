"""Erasure: a contributor takes a record back, an asker a question, governance anything. Bytes go, tombstones stay.

Models that were trained on an erased record retire: they could not be recomputed any more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from node.errors import TransactionReason, TransactionRejected
from node.modules.accounts import credit
from node.modules.attributions import QUESTIONS
from node.modules.challenges import require_unchallenged, void_challenge
from node.modules.contents import drop_use, erase, is_erased
from node.modules.context import Context, State
from node.modules.datanets import (
    CONTRIBUTIONS,
    DATANETS,
    RECORDS,
    RECORDS_AT,
    Record,
    RecordStatus,
    burn_half,
    position_key,
)
from node.modules.escrow import add_to_escrow
from node.modules.grouping import leave_cluster
from node.modules.models import MODELS, Model, retire
from node.modules.vesting import forfeit
from node.primitives.crypto import Hash

_STANDING = (RecordStatus.PENDING, RecordStatus.ACCEPTED, RecordStatus.REVOKED)
"""What can be erased: bytes that a snapshot may hold, or will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseRecord:
    """A contributor takes a record back, by law.

    Its bond is returned once the reviewers have accepted it; before that half is burned, as a rejection burns it. What
    it earned and has not vested goes to the datanet's escrow, as an upheld challenge would take it: whoever sees a
    rejection or a challenge coming saves nothing of that by going first."""

    datanet: Hash
    """Where it stands."""
    content: Hash
    """Its content hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseQuestion:
    """An asker takes the content of a question back; an open one is refunded after its time, as if unanswered."""

    question: Hash
    """Which."""


def apply_erase_record(state: State, context: Context, payload: EraseRecord) -> None:
    """Erases the sender's own record; one that waits for the reviewers costs half its bond."""
    datanet = DATANETS.need(state, payload.datanet)
    record = RECORDS.need(state, datanet.schema_id + payload.content)
    if record.contributor != context.sender or record.datanet != payload.datanet:
        raise TransactionRejected(TransactionReason.NOT_OWNER)
    key = datanet.schema_id + payload.content
    require_unchallenged(state, context, payload.content, record, key)
    is_pending = record.status is RecordStatus.PENDING
    add_to_escrow(state, payload.datanet, forfeit(state, context, key))
    remove_record(state, context, payload.datanet, payload.content, record, is_half_burned=is_pending)
    if drop_use(state, payload.content):
        erase(state, context, payload.content)


def apply_erase_question(state: State, context: Context, payload: EraseQuestion) -> None:
    """Erases the content of the sender's own question; an open one is answered no more and refunded after its time."""
    question = QUESTIONS.need(state, payload.question)
    if question.asker != context.sender:
        raise TransactionRejected(TransactionReason.NOT_OWNER)
    if question.is_erased or is_erased(state, question.query):
        raise TransactionRejected(TransactionReason.ALREADY_DONE, "the question is erased")
    QUESTIONS.put(state, payload.question, replace(question, is_erased=True))
    if drop_use(state, question.query):
        erase(state, context, question.query)


def erase_by_governance(state: State, context: Context, content: bytes, datanet_id: bytes) -> None:
    """Erases bytes whatever they are used for; `datanet_id` is zero when they are no record and no model's file.

    A record's bond is returned in full: its contributor did not choose this."""
    datanet = DATANETS.get(state, datanet_id)
    record = RECORDS.get(state, datanet.schema_id + content) if datanet is not None else None
    is_standing = record is not None and record.status in _STANDING
    models = () if datanet is None else datanet.models
    dependents = [each for each in models if content in _files(MODELS.need(state, each))]
    is_gone = is_erased(state, content)
    if is_gone and not is_standing and not dependents:
        raise TransactionRejected(TransactionReason.ALREADY_DONE, "the bytes are erased")
    if record is not None and is_standing:
        # Records of several forms may be these bytes: each is taken out of its datanet, erased before or not.
        remove_record(state, context, record.datanet, content, record)
        drop_use(state, content)
    for model_id in dependents:
        retire(state, context, model_id)
    if not is_gone:
        erase(state, context, content)


def remove_record(
    state: State,
    context: Context,
    datanet_id: bytes,
    content: bytes,
    record: Record,
    *,
    is_half_burned: bool = False,
) -> None:
    """Takes a record out of its datanet, returns its bond or half of it, retires the models that depend on it.

    A revoked record has lost its bond already, and stands where it stood until then."""
    if record.status not in _STANDING:
        raise TransactionRejected(TransactionReason.WRONG_STATUS, f"the record is {record.status.name.lower()}")
    datanet = DATANETS.need(state, datanet_id)
    RECORDS.put(state, datanet.schema_id + content, replace(record, status=RecordStatus.ERASED))
    void_challenge(state, context, content, record, datanet.schema_id + content)
    contribution = CONTRIBUTIONS.need(state, record.contribution)
    if contribution.bonded_count and record.status is not RecordStatus.REVOKED:
        changed = replace(contribution, bonded_count=contribution.bonded_count - 1)
        CONTRIBUTIONS.put(state, record.contribution, changed)
        if is_half_burned:
            burn_half(state, contribution.contributor, contribution.record_bond_units)
        else:
            credit(state, contribution.contributor, contribution.record_bond_units)
    if record.status is not RecordStatus.PENDING:
        RECORDS_AT.delete(state, position_key(datanet_id, record.position))
        DATANETS.put(state, datanet_id, replace(datanet, erased_count=datanet.erased_count + 1))
        leave_cluster(state, datanet_id, content, record.leader)
        for model_id in datanet.models:
            if MODELS.need(state, model_id).snapshot_count > record.position:
                retire(state, context, model_id)


def _files(model: Model) -> tuple[bytes, bytes]:
    return model.weights, model.inverse
