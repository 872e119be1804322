"""Challenges: reviewers rule, one of the two loses a bond; a revoked record earns no more, its earnings are taken."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from node.errors import TransactionReason
from node.modules.challenges import (
    CHALLENGES,
    ChallengeChanged,
    ChallengeRecord,
    ChallengeStatus,
    RuleOnChallenge,
)
from node.modules.contents import is_erased
from node.modules.datanets import RECORDS, RECORDS_AT, RecordStatus, RejectionReason, position_key
from node.modules.erasure import EraseRecord
from node.modules.escrow import ESCROWS
from node.modules.governance import CastBallot, EraseContent, Propose
from node.modules.models import MODELS, ModelStatus
from node.modules.releases import ReleaseEarnings
from node.modules.rewards import Paid
from node.modules.vesting import VESTING
from node.primitives.codec import encode
from node.primitives.crypto import PrivateKey
from tests.node.ledger import FEE_UNITS
from tests.node.modules.scenes import Scene
from tests.node.modules.test_vesting import SLOW, _answered, paid

BOND_UNITS = SLOW.record_bond_units


@cache
def _challenged() -> tuple[Scene, Paid]:
    """The best paid record is challenged by a rival."""
    scene = _answered().fork()
    best = paid(scene)
    payload = ChallengeRecord(datanet=scene.datanet, record=best.record, reason=RejectionReason.NOT_GENUINE)
    scene.ledger.do(scene.who("rival"), payload)
    return scene, best


@pytest.fixture(name="case")
def case_fixture() -> tuple[Scene, Paid]:
    scene, best = _challenged()
    return scene.fork(), best


def rule(scene: Scene, best: Paid, is_upheld: bool, reviewers: tuple[int, ...] = (0, 1)) -> None:
    payload = RuleOnChallenge(datanet=scene.datanet, record=best.record, is_upheld=is_upheld)
    for index in reviewers:
        scene.ledger.do(scene.reviewers[index], payload)


def held(scene: Scene) -> str:
    """What stops others while the challenge is open."""
    [challenge] = [each for _, each in scene.ledger.rows(CHALLENGES)]
    return f"the record is challenged, until height {challenge.height + SLOW.challenge_timeout_heights} at most"


def key_of(scene: Scene, best: Paid) -> bytes:
    return scene.schema.id() + best.record


def balance(scene: Scene, who: PrivateKey | bytes) -> int:
    return scene.ledger.account(who).balance_units


def contributor(scene: Scene, best: Paid) -> PrivateKey:
    return next(each for each in (scene.who("ann"), scene.who("bob")) if each.address == best.recipient)


def test_a_challenge_locks_a_bond_and_stops_releases_and_erasure(case: tuple[Scene, Paid]) -> None:
    scene, best = case
    scene.ledger.audit()
    scene.ledger.next_epoch()
    release = ReleaseEarnings(datanet=scene.datanet, records=(best.record,))
    scene.ledger.fails(scene.who("nobody"), release, TransactionReason.WRONG_STATUS, held(scene))
    erasure = EraseRecord(datanet=scene.datanet, content=best.record)
    scene.ledger.fails(contributor(scene, best), erasure, TransactionReason.WRONG_STATUS, held(scene))
    again = ChallengeRecord(datanet=scene.datanet, record=best.record, reason=RejectionReason.OTHER)
    scene.ledger.fails(scene.who("nobody"), again, TransactionReason.WRONG_STATUS, held(scene))


def test_an_upheld_challenge_takes_bond_and_unvested_earnings_and_ends_earning(case: tuple[Scene, Paid]) -> None:
    scene, best = case
    scene.ledger.next_epoch()
    rival, owner = balance(scene, scene.who("rival")), balance(scene, best.recipient)
    held = ESCROWS.need(scene.ledger.state, scene.datanet).balance_units
    rule(scene, best, is_upheld=True)
    vested = best.amount_units // 4
    assert balance(scene, best.recipient) == owner + vested, "what has vested is the contributor's"
    assert balance(scene, scene.who("rival")) == rival + BOND_UNITS + BOND_UNITS // 2
    taken = best.amount_units - vested
    assert ESCROWS.need(scene.ledger.state, scene.datanet).balance_units == held + taken
    assert RECORDS.need(scene.ledger.state, key_of(scene, best)).status is RecordStatus.REVOKED
    assert VESTING.get(scene.ledger.state, key_of(scene, best)) is None
    assert scene.ledger.last(ChallengeChanged) == ChallengeChanged(
        datanet=scene.datanet,
        record=best.record,
        challenger=scene.who("rival").address,
        contributor=best.recipient,
        status=ChallengeStatus.UPHELD,
        burned_units=BOND_UNITS - BOND_UNITS // 2,
        forfeited_units=taken,
    )
    question = scene.ask(800, 300)
    scene.ledger.wait(SLOW.claim_age_heights)
    answer = scene.answer(question)
    scene.ledger.do(scene.who("attributor"), answer)
    later = [each for each in scene.ledger.events(Paid) if each.question == question]
    assert best.record not in {each.record for each in later}
    assert len(later) == len(answer.answers[0].credits) - 1, "its part goes to nobody else"
    scene.ledger.audit()
    assert scene.ledger.replay()


def test_a_rejected_challenge_costs_the_challenger_its_bond(case: tuple[Scene, Paid]) -> None:
    scene, best = case
    rival, owner = balance(scene, scene.who("rival")), balance(scene, best.recipient)
    rule(scene, best, is_upheld=False)
    assert balance(scene, scene.who("rival")) == rival
    assert balance(scene, best.recipient) == owner + BOND_UNITS // 2
    assert CHALLENGES.need(scene.ledger.state, key_of(scene, best)).status is ChallengeStatus.REJECTED
    assert RECORDS.need(scene.ledger.state, key_of(scene, best)).status is RecordStatus.ACCEPTED
    again = ChallengeRecord(datanet=scene.datanet, record=best.record, reason=RejectionReason.OTHER)
    scene.ledger.do(scene.who("nobody"), again)
    scene.ledger.audit()


def test_the_reviewers_decide_by_their_quorum(case: tuple[Scene, Paid]) -> None:
    scene, best = case
    rule(scene, best, is_upheld=True, reviewers=(0,))
    payload = RuleOnChallenge(datanet=scene.datanet, record=best.record, is_upheld=False)
    scene.ledger.fails(scene.reviewers[0], payload, TransactionReason.ALREADY_DONE, "one ruling each")
    scene.ledger.fails(scene.who("rival"), payload, TransactionReason.NOT_REVIEWER)
    rule(scene, best, is_upheld=False, reviewers=(1,))
    assert CHALLENGES.need(scene.ledger.state, key_of(scene, best)).status is ChallengeStatus.OPEN
    rule(scene, best, is_upheld=True, reviewers=(2,))
    scene.ledger.fails(scene.reviewers[1], payload, TransactionReason.WRONG_STATUS, "the challenge is upheld")


def test_contributor_and_reviewers_do_not_challenge_and_only_accepted_records_are_challenged(
    case: tuple[Scene, Paid],
) -> None:
    scene, best = case
    other = next(each for each in scene.records if each != best.record)
    record = RECORDS.need(scene.ledger.state, scene.schema.id() + other)
    owner = next(each for each in (scene.who("ann"), scene.who("bob")) if each.address == record.contributor)
    payload = ChallengeRecord(datanet=scene.datanet, record=other, reason=RejectionReason.WRONG_LABELS)
    detail = "neither the contributor nor a reviewer challenges a record"
    for who in (owner, scene.reviewers[0]):
        scene.ledger.fails(who, payload, TransactionReason.CONFLICT_OF_INTEREST, detail)
    rule(scene, best, is_upheld=True)
    again = ChallengeRecord(datanet=scene.datanet, record=best.record, reason=RejectionReason.OTHER)
    scene.ledger.fails(scene.who("nobody"), again, TransactionReason.WRONG_STATUS, "the record is revoked")
    with pytest.raises(ValueError, match="a challenge has a reason"):
        encode(ChallengeRecord(datanet=scene.datanet, record=other, reason=RejectionReason.NONE))


def test_a_challenge_of_a_record_that_governance_erased_is_void(case: tuple[Scene, Paid]) -> None:
    scene, best = case
    rival = balance(scene, scene.who("rival"))
    action = EraseContent(blob_hash=best.record, datanet=scene.datanet)
    proposal = scene.ledger.do(scene.operators[0], Propose(action=action)).transaction_id
    for operator in scene.operators[1:3]:
        scene.ledger.do(operator, CastBallot(proposal=proposal, is_yes=True))
    assert CHALLENGES.need(scene.ledger.state, key_of(scene, best)).status is ChallengeStatus.VOID
    assert balance(scene, scene.who("rival")) == rival + BOND_UNITS, "no reviewer has to speak for it"
    assert scene.ledger.last(ChallengeChanged).status is ChallengeStatus.VOID
    payload = RuleOnChallenge(datanet=scene.datanet, record=best.record, is_upheld=True)
    scene.ledger.fails(scene.reviewers[0], payload, TransactionReason.WRONG_STATUS, "the challenge is void")
    scene.ledger.audit()


def test_a_challenge_that_nobody_rules_on_in_time_binds_nobody() -> None:
    scene = _answered(replace(SLOW, challenge_timeout_heights=12)).fork()
    best = paid(scene)
    payload = ChallengeRecord(datanet=scene.datanet, record=best.record, reason=RejectionReason.OTHER)
    scene.ledger.do(scene.who("rival"), payload)
    rival = balance(scene, scene.who("rival"))
    release = ReleaseEarnings(datanet=scene.datanet, records=(best.record,))
    scene.ledger.wait(10)
    due = f"the record is challenged, until height {scene.ledger.height + 2} at most"
    scene.ledger.fails(scene.who("nobody"), release, TransactionReason.WRONG_STATUS, due)
    scene.ledger.do(scene.who("nobody"), release)
    assert CHALLENGES.need(scene.ledger.state, key_of(scene, best)).status is ChallengeStatus.VOID
    assert balance(scene, scene.who("rival")) == rival + BOND_UNITS
    scene.ledger.audit()


def test_erasing_a_record_first_saves_nothing_of_what_a_challenge_would_take() -> None:
    scene = _answered().fork()
    best = paid(scene)
    owner = contributor(scene, best)
    before, held_units = balance(scene, owner), ESCROWS.need(scene.ledger.state, scene.datanet).balance_units
    scene.ledger.do(owner, EraseRecord(datanet=scene.datanet, content=best.record))
    assert balance(scene, owner) == before + BOND_UNITS - FEE_UNITS
    assert ESCROWS.need(scene.ledger.state, scene.datanet).balance_units == held_units + best.amount_units
    assert VESTING.get(scene.ledger.state, key_of(scene, best)) is None
    scene.ledger.audit()


def test_a_challenge_costs_its_bond_and_the_fee() -> None:
    scene = _answered().fork()
    best = paid(scene)
    before = balance(scene, scene.who("rival"))
    payload = ChallengeRecord(datanet=scene.datanet, record=best.record, reason=RejectionReason.NO_LICENCE)
    scene.ledger.do(scene.who("rival"), payload)
    assert balance(scene, scene.who("rival")) == before - BOND_UNITS - FEE_UNITS


@pytest.mark.parametrize("is_by_vote", [True, False])
def test_a_revoked_record_can_be_erased_and_leaves_no_model_behind_that_nobody_could_recompute(
    case: tuple[Scene, Paid], is_by_vote: bool
) -> None:
    scene, best = case
    rule(scene, best, is_upheld=True)
    before = balance(scene, best.recipient)
    if is_by_vote:
        action = EraseContent(blob_hash=best.record, datanet=scene.datanet)
        proposal = scene.ledger.do(scene.operators[0], Propose(action=action)).transaction_id
        for operator in scene.operators[1:3]:
            scene.ledger.do(operator, CastBallot(proposal=proposal, is_yes=True))
    else:
        erasure = EraseRecord(datanet=scene.datanet, content=best.record)
        scene.ledger.do(contributor(scene, best), erasure)
    state = scene.ledger.state
    record = RECORDS.need(state, key_of(scene, best))
    assert is_erased(state, best.record)
    assert record.status is RecordStatus.ERASED
    assert RECORDS_AT.get(state, position_key(scene.datanet, record.position)) is None
    assert MODELS.need(state, scene.model).status is ModelStatus.RETIRED
    fee_units = 0 if is_by_vote else FEE_UNITS
    assert balance(scene, best.recipient) == before - fee_units, "the bond is lost already"
    scene.ledger.audit()
    assert scene.ledger.replay()
