"""Questions, answers that every validator recomputes, refunds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from attribution.record import encode_query
from node.errors import TransactionReason
from node.modules.attributions import (
    MOST_ANSWERS,
    QUESTIONS,
    Answered,
    Ask,
    Asked,
    Attribute,
    ClaimedAnswer,
    Credit,
    Question,
    QuestionStatus,
    Refund,
    Refunded,
    Terms,
    blocked_positions,
    credits_of,
)
from node.modules.bonds import Unbond
from node.modules.contents import CONTENTS
from node.modules.governance import CastBallot, EraseContent, Propose, SetParameter
from node.modules.models import MODELS, RetireModel, Snapshot
from node.modules.payout import MOST_CREDITS, NO_CLIP
from node.modules.rewards import Paid, Settled
from node.primitives.amount import format_open
from node.primitives.codec import bound_of, wire_fields
from node.primitives.crypto import ZERO_HASH
from node.state.view import View
from node.types.parameters import Parameters
from node.types.receipt import MOST_EVENTS
from tests.factories import RICH_UNITS
from tests.node.ledger import FEE_UNITS
from tests.node.modules.scenes import (
    BOUND,
    OPEN,
    PARAMETERS,
    PRICE_UNITS,
    Scene,
    asked_scene,
    datanet_payload,
    measured_scene,
    registered_scene,
    ungated_scene,
)

FALSE_CLAIM = TransactionReason.FALSE_CLAIM
TIMEOUT = PARAMETERS.question_timeout_heights
HINTS = dict(wire_fields(Parameters))


TERMS = Terms(theta=PARAMETERS.theta, top_clusters=PARAMETERS.top_clusters, clip=NO_CLIP, grouped_count=0)


@pytest.fixture(name="scene")
def scene_fixture() -> Scene:
    """A question waits for its answer."""
    return asked_scene()


# Asking.


def test_a_question_holds_its_fee() -> None:
    scene = measured_scene()
    asker = scene.who("asker")
    question = scene.ask(5, -5, fee_units=3 * OPEN)
    query = scene.query(5, -5)
    assert QUESTIONS.need(scene.ledger.state, question) == Question(
        asker=asker.address,
        model=scene.model,
        query=query.hash,
        fee_units=3 * OPEN,
        asked_height=scene.ledger.height,
        status=QuestionStatus.OPEN,
        label=0,
        is_erased=False,
    )
    assert scene.ledger.account(asker).balance_units == RICH_UNITS - FEE_UNITS - 3 * OPEN
    assert CONTENTS.need(scene.ledger.state, query.hash).uses == 1
    assert scene.ledger.last(Asked) == Asked(
        question=question, model=scene.model, asker=asker.address, fee_units=3 * OPEN
    )


def test_a_question_pays_the_price_and_not_a_unit_less() -> None:
    scene = measured_scene()
    payload = Ask(model=scene.model, query=scene.query(5, -5), fee_units=PRICE_UNITS - 1)
    scene.ledger.fails(
        scene.who("asker"), payload, TransactionReason.FEE_BELOW_PRICE, f"the price is {format_open(PRICE_UNITS)}"
    )
    scene.ledger.do(scene.who("asker"), replace(payload, fee_units=PRICE_UNITS))


def test_a_question_nobody_can_pay_fails() -> None:
    scene = measured_scene()
    payload = Ask(model=scene.model, query=scene.query(5, -5), fee_units=RICH_UNITS)
    scene.ledger.fails(
        scene.who("asker"),
        payload,
        TransactionReason.INSUFFICIENT_BALANCE,
        "999999 OPEN held, 1000000 OPEN needed",
    )


@pytest.mark.parametrize("size_bytes", [8, 15, 17, 24])
def test_a_query_of_the_wrong_width_makes_its_block_invalid(size_bytes: int) -> None:
    scene = measured_scene()
    payload = Ask(model=scene.model, query=scene.put(bytes(size_bytes)), fee_units=OPEN)
    detail = (
        "query_wrong_size: The query's bytes are not of the size its schema fixes. "
        f"({size_bytes} bytes, the schema fixes 16)"
    )
    scene.ledger.refuses(scene.who("asker"), payload, TransactionReason.BAD_CONTENT, detail)


@pytest.mark.parametrize("value", [BOUND + 1, -BOUND - 1, 2**63 - 1])
def test_a_feature_out_of_range_makes_its_block_invalid(value: int) -> None:
    scene = measured_scene()
    query = encode_query(scene.schema, (0, 0))[:8] + value.to_bytes(8, "big", signed=True)
    payload = Ask(model=scene.model, query=scene.put(query), fee_units=OPEN)
    detail = (
        "value_out_of_range: A value is outside its column's minimum and maximum. "
        f"(column weight: {value} is not in -10000 to 10000)"
    )
    scene.ledger.refuses(scene.who("asker"), payload, TransactionReason.BAD_CONTENT, detail)


def test_a_model_that_is_unknown_young_or_not_open_is_not_asked() -> None:
    scene = registered_scene()
    asker = scene.who("asker")
    payload = Ask(model=scene.model, query=scene.query(1, 1), fee_units=OPEN)
    first_height = scene.ledger.height + PARAMETERS.claim_age_heights
    scene.ledger.refuses(asker, payload, TransactionReason.TOO_YOUNG, f"from height {first_height} on")
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    scene.ledger.fails(asker, payload, TransactionReason.WRONG_STATUS, "the model is awaiting_gate")
    unknown = replace(payload, model=ZERO_HASH)
    scene.ledger.refuses(asker, unknown, TransactionReason.NOT_FOUND, "no model " + "00" * 32)


# Answering.


def test_an_answer_settles_the_question(scene: Scene) -> None:
    claim = scene.answer(scene.question)
    scene.ledger.do(scene.who("attributor"), claim)
    [answer] = claim.answers
    question = QUESTIONS.need(scene.ledger.state, scene.question)
    assert (question.status, question.label, question.held_units) == (QuestionStatus.ANSWERED, answer.label, 0)
    assert scene.ledger.last(Answered) == Answered(
        question=scene.question,
        model=scene.model,
        asker=scene.who("asker").address,
        attributor=scene.who("attributor").address,
        label=answer.label,
        influences_hash=answer.influences_hash,
        credit_count=len(answer.credits),
    )
    assert [each.influence for each in scene.ledger.events(Paid)] == [each.influence for each in answer.credits]


def test_answers_pay_nobody_that_the_gate_keeps_out(scene: Scene) -> None:
    blocked = blocked_positions(scene.ledger.state, scene.model)
    questions = [scene.ask(value, -value) for value in (-2000, 0, 2000)]
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    answers = scene.answer(*questions).answers
    assert blocked
    assert not blocked & {each.position for answer in answers for each in answer.credits}


def change_answer(claim: Attribute, index: int = 0, **changes: object) -> Attribute:
    answers = list(claim.answers)
    answers[index] = replace(answers[index], **changes)  # type: ignore[arg-type]
    return replace(claim, answers=tuple(answers))


def with_credit(answer: ClaimedAnswer, index: int, by: int) -> tuple[Credit, ...]:
    changed = replace(answer.credits[index], influence=answer.credits[index].influence + by)
    return (*answer.credits[:index], changed, *answer.credits[index + 1 :])


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("index", [0, 7, -1])
def test_an_influence_off_by_one_unit_makes_its_block_invalid(scene: Scene, index: int, by: int) -> None:
    claim = scene.answer(scene.question)
    [answer] = claim.answers
    index %= len(answer.credits)
    true = answer.credits[index]
    detail = (
        f"the influence next in order is {true.influence} of record {true.position}; "
        f"claimed is {true.influence + by} of record {true.position}"
    )
    false = change_answer(claim, credits=with_credit(answer, index, by))
    scene.ledger.refuses(scene.who("attributor"), false, FALSE_CLAIM, detail)
    assert QUESTIONS.need(scene.ledger.state, scene.question).status is QuestionStatus.OPEN


def test_an_answer_that_is_not_the_models_makes_its_block_invalid(scene: Scene) -> None:
    claim = scene.answer(scene.question)
    label = claim.answers[0].label
    scene.ledger.refuses(
        scene.who("attributor"),
        change_answer(claim, label=1 - label),
        FALSE_CLAIM,
        f"the model answers {label}, not {1 - label}",
    )


Lie = Callable[[ClaimedAnswer], dict[str, object]]


@pytest.mark.parametrize(
    ("lie", "detail"),
    [
        (lambda answer: {"credits": answer.credits[:-1]}, "16 records are paid, not 15"),
        (lambda answer: {"credits": ()}, "16 records are paid, not 0"),
        (
            lambda answer: {"credits": (*answer.credits, Credit(position=0, influence=50))},
            "16 records are paid, not 17",
        ),
        (lambda answer: {"influences_hash": bytes(32)}, "the influence vector has another hash"),
    ],
    ids=["one unpaid", "nobody paid", "one more paid", "another vector"],
)
def test_a_lie_about_who_is_paid_makes_its_block_invalid(scene: Scene, lie: Lie, detail: str) -> None:
    claim = scene.answer(scene.question)
    false = change_answer(claim, **lie(claim.answers[0]))
    scene.ledger.refuses(scene.who("attributor"), false, FALSE_CLAIM, detail)


def test_two_records_in_another_order_are_a_false_claim(scene: Scene) -> None:
    claim = scene.answer(scene.question)
    first, second, *rest = claim.answers[0].credits
    detail = (
        f"the influence next in order is {first.influence} of record {first.position}; "
        f"claimed is {second.influence} of record {second.position}"
    )
    false = change_answer(claim, credits=(second, first, *rest))
    scene.ledger.refuses(scene.who("attributor"), false, FALSE_CLAIM, detail)


def test_one_false_answer_among_true_ones_is_a_false_claim(scene: Scene) -> None:
    questions = [scene.question, scene.ask(-700, -100)]
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    claim = scene.answer(*questions)
    false = change_answer(claim, 1, influences_hash=claim.answers[0].influences_hash)
    scene.ledger.refuses(scene.who("attributor"), false, FALSE_CLAIM, "the influence vector has another hash")
    scene.ledger.do(scene.who("attributor"), claim)


def test_a_true_answer_to_another_question_is_a_false_claim(scene: Scene) -> None:
    other = scene.ask(-3000, -3000)
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    claim = scene.answer(other)
    swapped = change_answer(claim, question=scene.question)
    label = scene.answer(scene.question).answers[0].label
    assert label != claim.answers[0].label
    scene.ledger.refuses(scene.who("attributor"), swapped, FALSE_CLAIM, f"the model answers {label}, not {1 - label}")


@pytest.mark.parametrize(
    ("name", "value", "now"),
    [
        ("theta", 900, "theta 50; it is 900"),
        ("theta", 51, "theta 50; it is 51"),
        ("top_clusters", 3, "top_clusters 16; it is 3"),
    ],
)
def test_a_claim_computed_before_a_vote_changed_who_is_paid_is_stale_and_not_false(
    scene: Scene, name: str, value: int, now: str
) -> None:
    """An honest attributor is not barred for a parameter that changed under it; computed again, it is paid."""
    action = SetParameter(name=name, value=value)
    proposal = scene.ledger.do(scene.operators[0], Propose(action=action)).transaction_id
    for operator in scene.operators[1:3]:
        scene.ledger.do(operator, CastBallot(proposal=proposal, is_yes=True))
    claim = scene.answer(scene.question)
    scene.ledger.next_epoch()
    detail = f"computed with {now}"
    scene.ledger.refuses(scene.who("attributor"), claim, TransactionReason.STALE_SNAPSHOT, detail)
    scene.ledger.do(scene.who("attributor"), scene.answer(scene.question))


def test_a_claim_outlives_an_epoch_that_changed_nothing(scene: Scene) -> None:
    claim = scene.answer(scene.question)
    scene.ledger.next_epoch()
    scene.ledger.do(scene.who("attributor"), claim)


def test_a_threshold_that_was_never_in_force_is_stale_before_anything_is_computed(scene: Scene) -> None:
    claim = replace(change_answer(scene.answer(scene.question), credits=()), terms=replace(TERMS, theta=1000))
    detail = "computed with theta 1000; it is 50"
    scene.ledger.refuses(scene.who("attributor"), claim, TransactionReason.STALE_SNAPSHOT, detail)


def test_answering_takes_role_and_bond(scene: Scene) -> None:
    claim = scene.answer(scene.question)
    scene.ledger.refuses(scene.who("developer"), claim, TransactionReason.ROLE_REQUIRED, "the role attributor")
    scene.ledger.do(scene.who("attributor"), Unbond(amount_units=1))
    scene.ledger.refuses(scene.who("attributor"), claim, TransactionReason.INSUFFICIENT_BOND, "1000 OPEN are needed")


def test_a_young_question_waits() -> None:
    scene = measured_scene()
    question = scene.ask(800, 300)
    claim = scene.answer(question)
    scene.ledger.refuses(
        scene.who("attributor"),
        claim,
        TransactionReason.TOO_YOUNG,
        f"from height {scene.ledger.height + PARAMETERS.claim_age_heights} on",
    )
    scene.ledger.wait(PARAMETERS.claim_age_heights - 1)
    scene.ledger.do(scene.who("attributor"), claim)


def test_an_old_question_waits_for_a_model_that_was_just_certified_again() -> None:
    scene = ungated_scene()
    question = scene.ask(800, 300)
    scene.ledger.next_epoch()
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    scene.ledger.do(scene.who("developer"), scene.registration(model=scene.model))
    claim = scene.answer(question)
    first_height = scene.ledger.height + PARAMETERS.claim_age_heights
    scene.ledger.refuses(scene.who("attributor"), claim, TransactionReason.TOO_YOUNG, f"from height {first_height} on")
    scene.ledger.wait_for_height(first_height)
    scene.ledger.do(scene.who("attributor"), claim)


def test_unknown_questions_and_models_are_refused(scene: Scene) -> None:
    claim = scene.answer(scene.question)
    attributor, reason = scene.who("attributor"), TransactionReason.NOT_FOUND
    scene.ledger.refuses(attributor, replace(claim, model=ZERO_HASH), reason, "no model " + "00" * 32)
    scene.ledger.refuses(attributor, change_answer(claim, question=ZERO_HASH), reason, "no question " + "00" * 32)


def test_a_question_to_another_model_is_refused(scene: Scene) -> None:
    claim = scene.answer(scene.question)
    scene.ledger.next_epoch()
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    other = scene.ledger.do(scene.who("rival"), scene.registration(name="rival")).transaction_id
    model = MODELS.need(scene.ledger.state, other)
    scene.ledger.wait_for_height(model.gate_deadline_height + 1)
    scene.ledger.refuses(
        scene.who("attributor"),
        replace(claim, model=other),
        TransactionReason.NOT_ADMISSIBLE,
        "a question was asked to another model",
    )


def test_more_questions_than_the_limit_are_refused(scene: Scene) -> None:
    most = PARAMETERS.attribution_questions
    questions = [scene.ask(value, value) for value in range(most + 1)]
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    scene.ledger.refuses(
        scene.who("attributor"),
        scene.answer(*questions),
        TransactionReason.BAD_PAYLOAD,
        f"at most {most} questions at a time",
    )
    scene.ledger.do(scene.who("attributor"), scene.answer(*questions[:most]))


def test_no_answers_are_no_payload(scene: Scene) -> None:
    nothing = replace(scene.answer(scene.question), answers=())
    reason, detail = scene.ledger.unreadable(scene.who("attributor"), nothing)
    assert (reason, detail) == (TransactionReason.BAD_PAYLOAD, "attribute: Attribute.answers has 1..256 items")


@pytest.mark.parametrize("influence", [0, -5, 1001])
def test_an_influence_out_of_its_range_is_no_payload(scene: Scene, influence: int) -> None:
    claim = scene.answer(scene.question)
    broken = change_answer(claim, credits=(Credit(position=0, influence=influence),))
    reason, detail = scene.ledger.unreadable(scene.who("attributor"), broken)
    assert (reason, detail) == (TransactionReason.BAD_PAYLOAD, "attribute: Credit.influence is in 1..1000")


def test_a_question_is_answered_once(scene: Scene) -> None:
    claim = scene.answer(scene.question)
    scene.ledger.do(scene.who("attributor"), claim)
    supply = len(scene.ledger.events(Settled))
    scene.ledger.fails(scene.who("attributor"), claim, TransactionReason.WRONG_STATUS, "a question is answered already")
    assert len(scene.ledger.events(Settled)) == supply


def test_a_question_named_twice_in_one_claim_reverts_all_of_it(scene: Scene) -> None:
    claim = scene.answer(scene.question, scene.question)
    scene.ledger.fails(scene.who("attributor"), claim, TransactionReason.WRONG_STATUS, "a question is answered already")
    assert QUESTIONS.need(scene.ledger.state, scene.question).status is QuestionStatus.OPEN


def test_work_is_bounded_per_transaction_and_paid_by_the_started_million() -> None:
    """Snapshot 40, 6 unknowns: 40·42 + q·(42 + 240) multiply-accumulates for q questions."""
    scene = ungated_scene(replace(PARAMETERS, attribution_questions=256))
    answer = ClaimedAnswer(question=scene.ask(1, 1), label=0, influences_hash=bytes(32), credits=())
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    attributor = scene.who("attributor")
    view = View(scene.ledger.state)
    model = MODELS.need(view, scene.model)
    larger = replace(model, certificate=replace(model.certificate, record_count=9_000))
    MODELS.put(view, scene.model, larger)
    scene.ledger.overwrite(view)
    # 9,000·42 + q·(42 + 54,000): 11 questions are within a million, 12 are above it.
    claim = Attribute(
        model=scene.model,
        terms=TERMS,
        answers=(answer,),
    )
    scene.ledger.refuses(
        attributor,
        replace(claim, answers=(answer,) * 12),
        TransactionReason.TOO_MUCH_WORK,
        "1026504 multiply-accumulates; the limit is 1000000",
    )
    within = replace(claim, answers=(answer,) * 11)
    assert scene.refusal(attributor, within).reason is FALSE_CLAIM
    needed = scene.needed_fee_units(attributor, within, 9_000 * 42 + 11 * 54_042)
    scene.ledger.refuses(
        attributor,
        within,
        TransactionReason.FEE_TOO_LOW,
        f"{format_open(needed)} are needed",
        fee_units=needed - 1,
    )


def test_the_largest_claim_has_room_for_its_events_in_a_receipt(scene: Scene) -> None:
    """One for each credit and two for each answer; a block-valid claim never makes an unreadable receipt."""
    claim = scene.answer(scene.question)
    scene.ledger.do(scene.who("attributor"), claim)
    [answer] = claim.answers
    assert [type(each.event) for each in scene.ledger.happened[-len(answer.credits) - 2 :]] == [
        Answered,
        *[Paid] * len(answer.credits),
        Settled,
    ]
    questions, clusters = bound_of(HINTS["attribution_questions"]), bound_of(HINTS["top_clusters"])
    assert questions is not None
    assert clusters is not None
    assert (questions.stop - 1, clusters.stop - 1) == (MOST_ANSWERS, MOST_CREDITS) == (256, 64)
    assert MOST_ANSWERS * (MOST_CREDITS + 2) == 16_896 <= MOST_EVENTS


# Refunds.


def test_an_unanswered_question_is_refunded_after_its_time(scene: Scene) -> None:
    asker = scene.who("asker")
    due_height = QUESTIONS.need(scene.ledger.state, scene.question).asked_height + TIMEOUT
    payload = Refund(question=scene.question)
    scene.ledger.fails(asker, payload, TransactionReason.NOT_YET, f"from height {due_height} on")
    scene.ledger.wait_for_height(due_height - 1)
    scene.ledger.fails(asker, payload, TransactionReason.NOT_YET, f"from height {due_height} on")
    before = scene.ledger.account(asker).balance_units
    scene.ledger.do(asker, payload)
    assert scene.ledger.account(asker).balance_units == before + 10 * OPEN - FEE_UNITS
    assert QUESTIONS.need(scene.ledger.state, scene.question).status is QuestionStatus.REFUNDED
    assert scene.ledger.last(Refunded) == Refunded(question=scene.question, asker=asker.address, fee_units=10 * OPEN)
    scene.ledger.fails(asker, payload, TransactionReason.WRONG_STATUS, "the question is refunded")
    scene.ledger.fails(
        scene.who("attributor"),
        scene.answer(scene.question),
        TransactionReason.WRONG_STATUS,
        "a question is refunded already",
    )


def test_a_late_answer_still_counts_until_the_refund(scene: Scene) -> None:
    scene.ledger.wait(TIMEOUT + 5)
    scene.ledger.do(scene.who("attributor"), scene.answer(scene.question))
    scene.ledger.fails(
        scene.who("asker"),
        Refund(question=scene.question),
        TransactionReason.WRONG_STATUS,
        "the question is answered",
    )


def test_only_the_asker_is_refunded(scene: Scene) -> None:
    scene.ledger.wait(TIMEOUT)
    scene.ledger.fails(scene.who("nobody"), Refund(question=scene.question), TransactionReason.NOT_OWNER)
    scene.ledger.fails(
        scene.who("asker"), Refund(question=ZERO_HASH), TransactionReason.NOT_FOUND, "no question " + "00" * 32
    )


def test_a_question_to_a_retired_model_is_refunded_at_once(scene: Scene) -> None:
    scene.ledger.do(scene.who("developer"), RetireModel(model=scene.model))
    scene.ledger.do(scene.who("asker"), Refund(question=scene.question))


def test_a_question_erased_by_governance_is_not_answered(scene: Scene) -> None:
    claim = scene.answer(scene.question)
    query = QUESTIONS.need(scene.ledger.state, scene.question).query
    action = EraseContent(blob_hash=query, datanet=ZERO_HASH)
    proposal = scene.ledger.do(scene.operators[0], Propose(action=action)).transaction_id
    for operator in scene.operators[1:3]:
        scene.ledger.do(operator, CastBallot(proposal=proposal, is_yes=True))
    scene.ledger.refuses(scene.who("attributor"), claim, TransactionReason.BAD_CONTENT, "a question was erased")


# Who is paid.


def test_credits_are_gated_thresholded_ranked_and_cut_ties_to_the_elder() -> None:
    """Gate, threshold, top, order: as economy.md lists them."""
    terms = replace(TERMS, top_clusters=4)
    influences = (49, 50, 900, 900, 1000, 300, -1000)
    contents = tuple(bytes([index]) * 32 for index in range(7))
    snapshot = Snapshot(
        positions=(10, 11, 12, 13, 14, 15, 16),
        contents=contents,
        seniority=((1, 0, 0), (1, 0, 1), (3, 0, 0), (2, 5, 0), (1, 0, 2), (1, 0, 3), (1, 0, 4)),
        leaders=contents,
    )
    assert credits_of(terms, snapshot, frozenset({14}), influences) == (
        Credit(position=13, influence=900),
        Credit(position=12, influence=900),
        Credit(position=15, influence=300),
        Credit(position=11, influence=50),
    )
    assert credits_of(replace(terms, top_clusters=1), snapshot, frozenset(), influences) == (
        Credit(position=14, influence=1000),
    )


def test_without_a_threshold_what_has_no_influence_is_still_unpaid() -> None:
    contents = (b"a", b"b", b"c")
    snapshot = Snapshot(
        positions=(0, 1, 2), contents=contents, seniority=((1, 0, 0), (1, 0, 1), (1, 0, 2)), leaders=contents
    )
    chosen = credits_of(replace(TERMS, theta=0), snapshot, frozenset(), (0, -1, 1))
    assert chosen == (Credit(position=2, influence=1),)


def test_a_second_datanet_of_the_form_does_not_lend_its_questions(scene: Scene) -> None:
    """Positions are a datanet's own: the credits of an answer are read in the model's datanet."""
    scene.ledger.do(scene.who("curator"), datanet_payload(scene, name="other"))
    scene.ledger.do(scene.who("attributor"), scene.answer(scene.question))
    assert {each.recipient for each in scene.ledger.events(Paid)} <= {
        scene.who("ann").address,
        scene.who("bob").address,
    }
