"""Erasure: a contributor's record, an asker's question."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.errors import TransactionReason
from node.modules.attributions import QUESTIONS, Ask, Refund
from node.modules.contents import CONTENTS, Content, ContentErased
from node.modules.datanets import (
    CONTRIBUTIONS,
    RECORDS,
    RECORDS_AT,
    Contribute,
    DuplicateRejected,
    RecordStatus,
    RejectionReason,
    Review,
    position_key,
    snapshot_contents,
)
from node.modules.erasure import EraseQuestion, EraseRecord
from node.modules.models import MODELS, ModelChanged, ModelStatus, RetireModel
from node.modules.supply import SUPPLY
from node.primitives.crypto import ZERO_HASH, PrivateKey
from tests.node.ledger import FEE_UNITS
from tests.node.modules.scenes import (
    COLUMNS,
    OPEN,
    PARAMETERS,
    RECORDS_EACH,
    Scene,
    accepted_scene,
    asked_scene,
    datanet_payload,
    pending_scene,
)

BOND = PARAMETERS.record_bond_units


@pytest.fixture(name="scene")
def scene_fixture() -> Scene:
    return asked_scene()


def take_back(scene: Scene, index: int) -> EraseRecord:
    return EraseRecord(datanet=scene.datanet, content=scene.records[index])


def test_a_record_taken_back_returns_its_bond_retires_its_models_and_leaves_a_tombstone(scene: Scene) -> None:
    ann, content = scene.who("ann"), scene.records[3]
    before = scene.ledger.account(ann).balance_units
    scene.ledger.do(ann, take_back(scene, 3))
    state = scene.ledger.state
    assert scene.ledger.account(ann).balance_units == before + BOND - FEE_UNITS
    assert CONTRIBUTIONS.need(state, scene.contributions[0]).bonded_count == RECORDS_EACH - 1
    assert RECORDS.need(state, scene.schema.id() + content).status is RecordStatus.ERASED
    assert RECORDS_AT.get(state, position_key(scene.datanet, 3)) is None
    assert CONTENTS.need(state, content) == Content(uses=0, erased_height=scene.ledger.height)
    assert scene.ledger.last(ContentErased) == ContentErased(content=content)
    assert MODELS.need(state, scene.model).status is ModelStatus.RETIRED
    assert scene.ledger.last(ModelChanged).what == "retired"
    positions = [position for position, _ in snapshot_contents(state, scene.datanet, 2 * RECORDS_EACH)]
    assert positions == [position for position in range(2 * RECORDS_EACH) if position != 3]
    assert SUPPLY.get(state).bond_burned_units == 0


def test_a_model_whose_snapshot_does_not_hold_the_record_lives_on(scene: Scene) -> None:
    late = scene.record(1, 7, 7)
    scene.accept(scene.contribute("ann", late))
    scene.ledger.do(scene.who("ann"), EraseRecord(datanet=scene.datanet, content=late.hash))
    assert MODELS.need(scene.ledger.state, scene.model).status is ModelStatus.ACTIVE


def test_an_erased_record_cannot_be_offered_again(scene: Scene) -> None:
    content = scene.records[3]
    record = scene.put(scene.ledger.shelf.blob(content))
    scene.ledger.do(scene.who("ann"), take_back(scene, 3))
    scene.ledger.fails(
        scene.who("bob"),
        Contribute(datanet=scene.datanet, records=(record,)),
        TransactionReason.BAD_CONTENT,
        f"{content.hex()} was erased",
    )


def test_only_its_contributor_takes_a_record_back_and_only_from_its_datanet(scene: Scene) -> None:
    for name in ("bob", "reviewer 1", "developer"):
        scene.ledger.fails(scene.who(name), take_back(scene, 3), TransactionReason.NOT_OWNER)
    other = scene.ledger.do(scene.who("curator"), datanet_payload(scene, name="other")).transaction_id
    payload = EraseRecord(datanet=other, content=scene.records[3])
    scene.ledger.fails(scene.who("ann"), payload, TransactionReason.NOT_OWNER)


def test_a_record_is_taken_back_once(scene: Scene) -> None:
    scene.ledger.do(scene.who("ann"), take_back(scene, 3))
    scene.ledger.fails(scene.who("ann"), take_back(scene, 3), TransactionReason.WRONG_STATUS, "the record is erased")


def test_unknown_datanets_records_and_questions_are_not_found(scene: Scene) -> None:
    reason = TransactionReason.NOT_FOUND
    ann = scene.who("ann")
    payload = EraseRecord(datanet=ZERO_HASH, content=scene.records[0])
    scene.ledger.fails(ann, payload, reason, "no datanet " + "00" * 32)
    payload = EraseRecord(datanet=scene.datanet, content=ZERO_HASH)
    scene.ledger.fails(ann, payload, reason, f"no record {scene.schema.id().hex()}")
    scene.ledger.fails(ann, EraseQuestion(question=ZERO_HASH), reason, "no question " + "00" * 32)


def test_a_record_taken_back_under_review_is_not_accepted_with_the_others() -> None:
    scene = pending_scene()
    scene.ledger.do(scene.who("ann"), take_back(scene, 0))
    scene.accept(scene.contributions[0])
    assert RECORDS_AT.need(scene.ledger.state, position_key(scene.datanet, 0)).content == scene.records[1]
    assert RECORDS.need(scene.ledger.state, scene.schema.id() + scene.records[0]).status is RecordStatus.ERASED


def test_a_record_taken_back_under_review_costs_half_its_bond() -> None:
    scene = pending_scene(replace(PARAMETERS, record_bond_units=7))
    ann = scene.who("ann")
    before = scene.ledger.account(ann).balance_units
    scene.ledger.do(ann, take_back(scene, 0))
    assert scene.ledger.account(ann).balance_units == before + 3 - FEE_UNITS
    assert SUPPLY.get(scene.ledger.state).bond_burned_units == 4
    assert CONTRIBUTIONS.need(scene.ledger.state, scene.contributions[0]).bonded_count == RECORDS_EACH - 1


def test_taking_everything_back_before_a_rejection_saves_nothing() -> None:
    """In one block, ahead of the deciding verdict: the burn is the rejection's."""
    scene = pending_scene()
    verdict = Review(contribution=scene.contributions[0], is_accepted=False, reason=RejectionReason.NOT_GENUINE)
    scene.ledger.do(scene.reviewers[0], verdict)
    orders: list[tuple[PrivateKey, object]] = [
        (scene.who("ann"), take_back(scene, index)) for index in range(RECORDS_EACH)
    ]
    scene.ledger.do_all([*orders, (scene.reviewers[1], verdict)])
    assert SUPPLY.get(scene.ledger.state).bond_burned_units == RECORDS_EACH * BOND // 2
    assert CONTRIBUTIONS.need(scene.ledger.state, scene.contributions[0]).bonded_count == 0


def test_a_rejection_burns_only_what_is_locked_still() -> None:
    scene = pending_scene()
    scene.ledger.do(scene.who("ann"), take_back(scene, 0))
    burned_units = SUPPLY.get(scene.ledger.state).bond_burned_units
    verdict = Review(contribution=scene.contributions[0], is_accepted=False, reason=RejectionReason.PERSONAL_DATA)
    scene.ledger.do_all([(reviewer, verdict) for reviewer in scene.reviewers[:2]])
    bond_units = (RECORDS_EACH - 1) * BOND
    assert SUPPLY.get(scene.ledger.state).bond_burned_units == burned_units + bond_units - bond_units // 2


def test_a_rejected_record_is_gone_already() -> None:
    scene = pending_scene()
    verdict = Review(contribution=scene.contributions[0], is_accepted=False, reason=RejectionReason.OTHER)
    scene.ledger.do_all([(reviewer, verdict) for reviewer in scene.reviewers[:2]])
    scene.ledger.fails(scene.who("ann"), take_back(scene, 0), TransactionReason.WRONG_STATUS, "the record is rejected")


def test_bytes_that_something_else_uses_stay_until_that_goes_too() -> None:
    """The same bytes are records of two forms: taking one back leaves the other's bytes."""
    scene = accepted_scene()
    renamed = tuple(replace(each, name=f"{each.name} again") for each in COLUMNS)
    other = scene.ledger.do(scene.who("curator"), datanet_payload(scene, columns=renamed)).transaction_id
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    content = scene.records[0]
    record = scene.put(scene.ledger.shelf.blob(content))
    scene.ledger.do(scene.who("bob"), Contribute(datanet=other, records=(record,)))
    assert scene.ledger.events(DuplicateRejected) == []
    scene.ledger.do(scene.who("ann"), take_back(scene, 0))
    assert CONTENTS.need(scene.ledger.state, content) == Content(uses=1, erased_height=0)
    assert scene.ledger.events(ContentErased) == []
    scene.ledger.do(scene.who("bob"), EraseRecord(datanet=other, content=content))
    assert CONTENTS.need(scene.ledger.state, content).erased_height == scene.ledger.height


def test_an_open_question_taken_back_is_refunded_after_its_time(scene: Scene) -> None:
    """Not before: its answer may be public already, in a claim that the erasure overtakes."""
    asker = scene.who("asker")
    question = QUESTIONS.need(scene.ledger.state, scene.question)
    scene.ledger.do(asker, EraseQuestion(question=scene.question))
    assert QUESTIONS.need(scene.ledger.state, scene.question).is_erased
    assert CONTENTS.need(scene.ledger.state, question.query).erased_height == scene.ledger.height
    due_height = question.asked_height + PARAMETERS.question_timeout_heights
    detail = f"from height {due_height} on"
    scene.ledger.fails(asker, Refund(question=scene.question), TransactionReason.NOT_YET, detail)
    scene.ledger.wait_for_height(due_height)
    before = scene.ledger.account(asker).balance_units
    scene.ledger.do(asker, Refund(question=scene.question))
    assert scene.ledger.account(asker).balance_units == before + 10 * OPEN - FEE_UNITS


def test_a_question_taken_back_is_refunded_at_once_when_its_model_retires(scene: Scene) -> None:
    asker = scene.who("asker")
    scene.ledger.do(asker, EraseQuestion(question=scene.question))
    scene.ledger.do(scene.who("developer"), RetireModel(model=scene.model))
    scene.ledger.do(asker, Refund(question=scene.question))


def test_a_claim_of_a_model_that_lost_a_record_meanwhile_is_not_called_false(scene: Scene) -> None:
    """An honest attributor computed it before the record went."""
    claim = scene.answer(scene.question)
    scene.ledger.do(scene.who("ann"), take_back(scene, 3))
    scene.ledger.refuses(scene.who("attributor"), claim, TransactionReason.WRONG_STATUS, "the model is retired")


def test_a_question_taken_back_is_not_answered(scene: Scene) -> None:
    answer = scene.answer(scene.question)
    scene.ledger.do(scene.who("asker"), EraseQuestion(question=scene.question))
    scene.ledger.refuses(scene.who("attributor"), answer, TransactionReason.BAD_CONTENT, "a question was erased")


def test_one_of_two_equal_questions_taken_back_leaves_the_others_bytes(scene: Scene) -> None:
    again = scene.ask(800, 300)
    scene.ledger.do(scene.who("asker"), EraseQuestion(question=scene.question))
    assert scene.ledger.events(ContentErased) == []
    scene.ledger.do(scene.who("asker"), EraseQuestion(question=again))
    assert len(scene.ledger.events(ContentErased)) == 1


def test_only_its_asker_takes_a_question_back_and_once(scene: Scene) -> None:
    payload = EraseQuestion(question=scene.question)
    scene.ledger.fails(scene.who("nobody"), payload, TransactionReason.NOT_OWNER)
    scene.ledger.do(scene.who("asker"), payload)
    scene.ledger.fails(scene.who("asker"), payload, TransactionReason.ALREADY_DONE, "the question is erased")


def test_an_erased_query_cannot_be_asked_again(scene: Scene) -> None:
    query = scene.query(800, 300)
    scene.ledger.do(scene.who("asker"), EraseQuestion(question=scene.question))
    payload = Ask(model=scene.model, query=query, fee_units=OPEN)
    scene.ledger.fails(scene.who("asker"), payload, TransactionReason.BAD_CONTENT, f"{query.hash.hex()} was erased")
