"""The snapshot for people is what the machine knows."""

from __future__ import annotations

from consensus import inputs as on
from consensus.types import VoteKind
from tests.consensus.build import (
    DELTA_MS,
    GENESIS,
    IDLE_MS,
    START_MS,
    A,
    B,
    C,
    D,
    Desk,
    block,
    finalize,
    notarize,
    nullify,
)

ONE, TWO = block("one"), block("two")


def test_a_fresh_machine_is_idle_in_the_first_view() -> None:
    found = Desk(D).core.snapshot()
    assert (found.epoch, found.view, found.me, found.leader) == (1, 1, D, A)
    assert (found.entered_ms, found.started_ms, found.hold_until_ms) == (START_MS, None, START_MS + IDLE_MS)
    assert (found.delta_ms, found.is_proposed, found.verdict, found.lacking_view) == (DELTA_MS, False, None, None)
    assert (found.certificates, found.entered_by, found.final_view, found.notarized_view) == ((), None, 0, 0)
    assert set(found.powers) == {A, B, C, D}
    assert all(not voters for voters in found.voters.values())


def test_votes_and_the_proposal_are_seen() -> None:
    desk = Desk(D)
    desk.proposed(A, 1, ONE, GENESIS, 0)
    desk.votes(nullify(1), B)
    waiting = desk.core.snapshot()
    assert (waiting.is_proposed, waiting.is_judging, waiting.verdict) == (True, True, None)
    desk.judged(1, ONE)
    found = desk.core.snapshot()
    assert (found.is_judging, found.verdict) == (False, on.Verdict.VALID)
    assert found.voters == {
        VoteKind.NOTARIZE: frozenset({A, D}),
        VoteKind.NULLIFY: frozenset({B}),
        VoteKind.FINALIZE: frozenset(),
    }


def test_a_notarized_block_that_is_not_final_shows_who_finalizes_it() -> None:
    desk = Desk(D)
    desk.certified(notarize(1, ONE))
    desk.votes(finalize(1, ONE), A)
    found = desk.core.snapshot()
    assert (found.view, found.entered_by) == (2, VoteKind.NOTARIZE)
    assert (found.final_view, found.notarized_view, found.finalizers) == (0, 1, frozenset({A, D}))
    assert found.unfinal_since_ms == START_MS


def test_the_view_of_a_missing_proof_is_named() -> None:
    desk = Desk(D)
    desk.certified(nullify(2))
    desk.proposed(C, 3, TWO, GENESIS, 0)
    assert desk.core.snapshot().lacking_view == 1
    desk.certified(nullify(1))
    assert desk.core.snapshot().lacking_view is None


def test_a_leader_that_proposed_is_not_said_to_build() -> None:
    desk = Desk(A)
    desk.step(on.WorkAvailable())
    assert (desk.core.snapshot().is_building, desk.core.snapshot().is_proposed) == (True, False)
    desk.step(on.BlockBuilt(epoch=1, view=1, block_id=ONE, is_work_left=False))
    assert (desk.core.snapshot().is_building, desk.core.snapshot().is_proposed) == (False, True)


def test_a_lost_log_shows_who_told_where_it_stands() -> None:
    desk = Desk(D, is_log_lost=True)
    desk.step(on.StatusReceived(validator=A, epoch=1, view=4))
    found = desk.core.snapshot()
    assert (found.is_log_lost, found.statuses, found.sign_floor) == (True, frozenset({A}), 5)


def test_only_the_long_silent_are_absent() -> None:
    desk = Desk(D)
    for view in range(1, 6):
        assert desk.core.absent == ()
        desk.certified(nullify(view), B, C, D)
    assert desk.core.absent == (A,)
    desk.votes(nullify(6), A)
    assert desk.core.absent == ()


def test_delta_in_force_grows_with_failed_views() -> None:
    desk = Desk(D)
    for view in range(1, 4):
        desk.certified(nullify(view))
    assert desk.core.delta_ms == DELTA_MS * 3 // 2
