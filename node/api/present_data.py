"""Datanets, records, models, answers and payments as views. Pure functions, one per view.

The names of the fields are `node.api.views`'s.
"""

from __future__ import annotations

from collections.abc import Iterable

from node.api import views_data
from node.api.present import format_address
from node.index import Answer, Entry, split_position
from node.modules.attributions import Answered, Credit, Question, QuestionStatus, current_terms
from node.modules.contents import CONTENTS
from node.modules.datanets import DATANETS, RECORDS, RECORDS_AT, Contribution, Datanet, Record, position_key
from node.modules.escrow import ESCROWS
from node.modules.grouping import CLUSTER, CLUSTERS, NONE
from node.modules.holdouts import HOLDOUTS
from node.modules.models import GATES, MODELS, Model, is_open
from node.modules.rewards import Paid, Settled
from node.modules.validators import GOVERNING
from node.modules.vesting import VESTING
from node.primitives.amount import format_open
from node.primitives.codec import decode
from node.primitives.crypto import HASH_SIZE_BYTES, ZERO_HASH
from node.state.table import Reader


def datanet(state: Reader, datanet_id: bytes, each: Datanet) -> views_data.DatanetView:
    """A datanet."""
    escrow, holdout = ESCROWS.get(state, datanet_id), HOLDOUTS.get(state, datanet_id)
    return views_data.DatanetView(
        id=datanet_id.hex(),
        name=each.name,
        licence=each.licence,
        owner=format_address(each.owner),
        columns=[
            views_data.ColumnView(name=spec.name, decimals=spec.decimals, minimum=spec.minimum, maximum=spec.maximum)
            for spec in each.columns
        ],
        classes=list(each.classes),
        schema_id=each.schema_id.hex(),
        dampings=list(each.dampings),
        reviewers=[format_address(reviewer) for reviewer in each.reviewers],
        review_quorum=each.review_quorum,
        created_height=each.created_height,
        accepted_count=each.accepted_count,
        grouped_count=each.grouped_count,
        models=[model_id.hex() for model_id in each.models],
        escrow_units=str(escrow.balance_units if escrow is not None else 0),
        holdout=None
        if holdout is None
        else views_data.HoldoutView(
            root=holdout.root.hex(),
            chunk_count=holdout.chunk_count,
            committed_height=holdout.committed_height,
            used=list(holdout.used),
        ),
    )


def clusters(state: Reader, datanet_id: bytes, from_place: int, limit: int) -> views_data.ClustersView:
    """A datanet's clusters, a page of them."""
    known = CLUSTERS.get(state, datanet_id) or NONE
    end = min(known.places, from_place + limit)
    found = [(place, CLUSTER.get(state, position_key(datanet_id, place))) for place in range(from_place, end)]
    return views_data.ClustersView(
        changes=known.changes,
        grouped_count=DATANETS.need(state, datanet_id).grouped_count,
        scales=[views_data.ScaleView(total=each.total, spread=each.spread, shift=each.shift) for each in known.scales],
        clusters=[
            views_data.ClusterView(
                place=place,
                leader=each.leader.hex(),
                compared=each.compared.hex(),
                heirs=[heir.hex() for heir in each.heirs],
            )
            for place, each in found
            if each is not None
        ],
        next_place=end if end < known.places else None,
    )


def contribution(contribution_id: bytes, each: Contribution) -> views_data.ContributionView:
    """Records that came together."""
    return views_data.ContributionView(
        id=contribution_id.hex(),
        datanet=each.datanet.hex(),
        contributor=format_address(each.contributor),
        status=each.status.name.lower(),
        record_count=len(each.records),
        record_bond_units=str(each.record_bond_units),
        bonded_count=each.bonded_count,
        accepted_by=[format_address(reviewer) for reviewer in each.accepted_by],
        rejected_by=[format_address(reviewer) for reviewer in each.rejected_by],
    )


def record(state: Reader, content: bytes, each: Record) -> views_data.RecordView:
    """A contributed record."""
    vesting = VESTING.get(state, DATANETS.need(state, each.datanet).schema_id + content)
    return views_data.RecordView(
        content=content.hex(),
        datanet=each.datanet.hex(),
        contributor=format_address(each.contributor),
        contribution=each.contribution.hex(),
        height=each.height,
        transaction_index=each.transaction_index,
        index=each.index,
        status=each.status.name.lower(),
        position=each.position,
        leader=each.leader.hex(),
        vesting=[
            views_data.EarnedView(
                epoch=part.epoch, earned_units=str(part.earned_units), released_units=str(part.released_units)
            )
            for part in (vesting.parts if vesting is not None else ())
        ],
    )


def content(
    state: Reader, content_hash: bytes, datanets: Iterable[bytes], *, is_public: bool
) -> views_data.ContentView:
    """A content and the records that are these bytes, in the datanets it was offered to."""
    known = CONTENTS.get(state, content_hash)
    schemas = dict.fromkeys(DATANETS.need(state, each).schema_id for each in datanets)
    records = [RECORDS.get(state, schema_id + content_hash) for schema_id in schemas]
    return views_data.ContentView(
        content=content_hash.hex(),
        uses=known.uses if known is not None else 0,
        erased_height=known.erased_height if known is not None else 0,
        is_public=is_public,
        records=[record(state, content_hash, each) for each in records if each is not None],
    )


def model(state: Reader, model_id: bytes, each: Model, height: int) -> views_data.ModelView:
    """A model, as it is for a block at a height."""
    gate = GATES.get(state, model_id)
    return views_data.ModelView(
        id=model_id.hex(),
        name=each.name,
        owner=format_address(each.owner),
        datanet=each.datanet.hex(),
        engine=each.engine,
        damping=each.damping,
        weights=each.weights.hex(),
        inverse=each.inverse.hex(),
        certificate=views_data.CertificateOfModel(
            record_count=each.certificate.record_count,
            gradient_norm=each.certificate.gradient_norm,
            inverse_residual=each.certificate.inverse_residual,
        ),
        snapshot_count=each.snapshot_count,
        certified_epoch=each.certified_epoch,
        changed_height=each.changed_height,
        price_units=str(each.price_units),
        status=each.status.name.lower(),
        is_open=is_open(each, height),
        gate_deadline_height=each.gate_deadline_height,
        is_gate_on=each.is_gate_on,
        eligibility_bps=each.eligibility_bps,
        terms=terms(state, model_id),
        blocked=list(gate.blocked) if gate is not None else [],
    )


def terms(state: Reader, model_id: bytes) -> views_data.TermsView:
    """What a model's answers are computed with now."""
    governing = GOVERNING.get(state)
    each = current_terms(state, governing.parameters, model_id, governing.epoch)
    return views_data.TermsView(
        theta=each.theta, top_clusters=each.top_clusters, clip=each.clip, grouped_count=each.grouped_count
    )


# Questions and what follows from them.


def question(state: Reader, question_id: bytes, each: Question) -> views_data.QuestionView:
    """A paid question."""
    is_answered = each.status is QuestionStatus.ANSWERED
    return views_data.QuestionView(
        id=question_id.hex(),
        model=each.model.hex(),
        asker=format_address(each.asker),
        query=each.query.hex(),
        fee_units=str(each.fee_units),
        asked_height=each.asked_height,
        status=each.status.name.lower(),
        label=each.label if is_answered else None,
        answer=_class_name(state, each.model, each.label) if is_answered else None,
        is_erased=each.is_erased,
    )


def attribution(state: Reader, each: Answer, time_ms: int) -> views_data.AttributionView:
    """An answered question."""
    answered = decode(Answered, each.answered)
    return views_data.AttributionView(
        question=answered.question.hex(),
        model=answered.model.hex(),
        asker=format_address(answered.asker),
        attributor=format_address(answered.attributor),
        label=answered.label,
        answer=_class_name(state, answered.model, answered.label),
        influences_hash=answered.influences_hash.hex(),
        credit_count=answered.credit_count,
        height=split_position(each.position)[0],
        time_ms=time_ms,
        transaction_id=each.transaction_id.hex(),
    )


def credits_of(state: Reader, datanet_id: bytes, credited: Iterable[Credit]) -> list[views_data.CreditView]:
    """The records that made an answer."""
    found = []
    for each in credited:
        entry = RECORDS_AT.get(state, position_key(datanet_id, each.position))
        found.append(
            views_data.CreditView(
                position=each.position,
                influence=each.influence,
                record=entry.content.hex() if entry is not None else None,
            )
        )
    return found


def settlement(each: Settled) -> views_data.SettlementView:
    """How a fee was split."""
    return views_data.SettlementView(
        fee_units=str(each.fee_units),
        burned_units=str(each.burned_units),
        owner_units=str(each.owner_units),
        data_units=str(each.data_units),
        reviewers_units=str(each.reviewers_units),
        validators_units=str(each.validators_units),
        escrow_units=str(each.escrow_units),
        mint_units=str(each.mint_units),
    )


def payment_id(position: bytes) -> str:
    """What people call a payment."""
    return "-".join(map(str, split_position(position)))


def payment(position: bytes, transaction_id: bytes, paid: Paid, time_ms: int) -> views_data.PaymentView:
    """A payment."""
    return views_data.PaymentView(
        id=payment_id(position),
        height=split_position(position)[0],
        time_ms=time_ms,
        transaction_id=transaction_id.hex(),
        question=paid.question.hex(),
        model=paid.model.hex(),
        record=paid.record.hex(),
        recipient=format_address(paid.recipient),
        pool_units=str(paid.pool_units),
        influence=paid.influence,
        excess=paid.excess,
        senior=None if paid.senior == ZERO_HASH else paid.senior.hex(),
        weight=paid.weight,
        clip=paid.clip,
        amount_units=str(paid.amount_units),
        mint_pool_units=str(paid.mint_pool_units),
        accrued_units=str(paid.accrued_units),
    )


def payment_of_entry(entry: Entry, time_ms: int) -> views_data.PaymentView:
    """A payment as the index holds it."""
    return payment(entry.position, entry.value[:HASH_SIZE_BYTES], _paid_of(entry), time_ms)


def payment_why(entry: Entry, time_ms: int, excess_sum: int) -> views_data.PaymentWhy:
    """A payment in words and numbers; `excess_sum` is what all records credited with the answer add."""
    paid = _paid_of(entry)
    earned = f"{paid.pool_units} · {paid.excess} // {paid.weight} = {paid.amount_units}"
    accrued = f"{paid.mint_pool_units} · {paid.excess} // {paid.weight} = {paid.accrued_units}"
    return views_data.PaymentWhy(
        payment=payment_of_entry(entry, time_ms),
        sentence=_why(paid, excess_sum),
        formula=f"paid: pool · e_r // W = {earned}; accrued: mint pool · e_r // W = {accrued}",
    )


def _class_name(state: Reader, model_id: bytes, label: int) -> str:
    classes = DATANETS.need(state, MODELS.need(state, model_id).datanet).classes
    return classes[label] if label < len(classes) else str(label)


def _paid_of(entry: Entry) -> Paid:
    return decode(Paid, entry.value[HASH_SIZE_BYTES:])


def _why(paid: Paid, excess_sum: int) -> str:
    influence = f"relative influence of {paid.influence} of 1000"
    if paid.clip:
        influence += f", clipped at {paid.clip}"
    if paid.senior != ZERO_HASH:
        influence += f", of which {paid.excess} is not its senior near-copy {paid.senior.hex()[:12]}'s already"
    pool, amount = format_open(paid.pool_units), format_open(paid.amount_units)
    sentence = (
        f"Record {paid.record.hex()[:12]} moved the answer to question {paid.question.hex()[:12]} with a {influence}. "
        f"All credited records add up to {excess_sum}, and {paid.weight - excess_sum} is added to that, "
        f"so it gets {paid.excess}/{paid.weight} of the contributors' {pool}: {amount}."
    )
    if paid.accrued_units:
        sentence += f" {format_open(paid.accrued_units)} more accrued, to be claimed after the epoch."
    return sentence
