"""One test per claim of the paper and per rule of the protocol (consensus/README.md has the table)."""

from __future__ import annotations

import pytest

from consensus import effects as out
from consensus import inputs as on
from consensus.effects import NullifyReason
from consensus.inputs import Verdict
from consensus.types import NO_BLOCK, Proposal, Statement, VoteKind
from consensus.views import Final
from tests.consensus.build import (
    DELTA_MS,
    GENESIS,
    IDLE_MS,
    SET,
    A,
    B,
    C,
    D,
    Desk,
    block,
    cast,
    certificate,
    finalize,
    kinds,
    notarize,
    nullify,
    proposal,
    vote,
)

B1, B2, B3 = block("1"), block("2"), block("3")


# Rule 1: entering a view.


@pytest.mark.parametrize("statement", [notarize(5, B1), nullify(5), finalize(5, B1)])
def test_certificate_of_any_kind_of_a_later_view_enters_the_view_after_it(statement):
    desk = Desk()
    desk.certified(statement)
    assert desk.core.view == 6


def test_certificate_of_a_past_view_does_not_move_back():
    desk = Desk()
    desk.certified(nullify(5))
    desk.certified(nullify(3))
    assert desk.core.view == 6


def test_leader_silent_in_the_last_views_of_a_quorum_is_nullified_without_waiting():
    desk = _desk_that_never_heard_a()
    effects = desk.votes(nullify(8), B, C)
    assert (desk.core.view, desk.core.leader_of(9)) == (9, A)
    assert _reasons(effects) == [NullifyReason.LEADER_SKIPPED]
    assert cast(effects) == [nullify(9)]


def test_any_fresh_vote_ends_the_skipping_of_a_leader():
    desk = _desk_that_never_heard_a()
    desk.votes(nullify(8), A)
    effects = desk.votes(nullify(8), B, C)
    assert desk.core.view == 9
    assert cast(effects) == []


def test_nobody_is_skipped_right_after_a_start():
    desk = Desk(D)
    for view in range(1, 5):
        desk.after(IDLE_MS + 20 * DELTA_MS)
        assert NullifyReason.LEADER_SKIPPED not in _reasons(desk.votes(nullify(view), B, C))
    assert (desk.core.view, desk.core.leader_of(5)) == (5, A)


def test_nobody_is_skipped_after_a_jump_over_views():
    desk = _desk_that_never_heard_a()
    effects = desk.certified(notarize(12, B1))
    assert desk.core.view == 13
    assert desk.core.leader_of(13) == A
    assert NullifyReason.LEADER_SKIPPED not in _reasons(effects)


# Rule 2: proposing.


def test_leader_with_work_builds_at_once_on_the_epochs_first_parent():
    desk = Desk(A)
    assert desk.step(on.WorkAvailable()) == (out.BuildBlock(epoch=1, view=1, parent_id=GENESIS, parent_view=0),)


def test_leader_proposes_with_the_parents_certificate_and_every_nullification_since():
    desk = Desk(D)
    first, second, third = (
        certificate(notarize(1, B1)),
        certificate(nullify(2)),
        certificate(nullify(3)),
    )
    for each in (first, second, third):
        desk.step(on.CertificateReceived(certificate=each))
    effects = desk.step(on.BlockBuilt(epoch=1, view=4, block_id=B2, is_work_left=False))
    assert effects[0] == out.CastProposal(
        statement=notarize(4, B2), parent_id=B1, parent_view=1, certificates=(first, third, second)
    )


def test_leader_that_lacks_a_proof_asks_for_it_and_builds_when_it_comes():
    desk = Desk(D)
    desk.certified(notarize(1, B1))
    effects = desk.certified(nullify(3))
    assert out.FetchCertificates(from_view=2, to_view=4, first_peer=D) in effects
    assert out.BuildBlock not in kinds(effects)
    effects = desk.certified(nullify(2))
    assert out.BuildBlock(epoch=1, view=4, parent_id=B1, parent_view=1) in effects


def test_of_notarization_and_nullification_of_one_view_the_leader_extends_the_notarized_block():
    desk = Desk(B)
    desk.step(on.WorkAvailable())
    desk.certified(notarize(1, B1), A, C, D)
    assert desk.core.view == 2
    desk.certified(nullify(1), A, C, D)
    effects = desk.step(on.BlockBuilt(epoch=1, view=2, block_id=B2, is_work_left=False))
    assert effects[0].parent_id == B1


def test_leader_proposes_once_in_a_view():
    desk = Desk(A)
    desk.step(on.WorkAvailable())
    assert len(cast(desk.step(on.BlockBuilt(epoch=1, view=1, block_id=B1, is_work_left=False)))) == 1
    assert desk.step(on.BlockBuilt(epoch=1, view=1, block_id=B2, is_work_left=False)) == ()


def test_block_built_for_a_view_that_is_over_is_not_proposed():
    desk = Desk(A)
    desk.step(on.WorkAvailable())
    desk.certified(nullify(1), B, C, D)
    assert cast(desk.step(on.BlockBuilt(epoch=1, view=1, block_id=B1, is_work_left=False))) == []


# Rule 3: notarizing.


def test_first_proposal_with_proven_ancestry_is_judged_and_notarized_once_when_valid():
    desk = Desk()
    assert desk.proposed(A, 1, B1, GENESIS, 0) == (out.JudgeBlock(proposal=proposal(A, 1, B1, GENESIS, 0)),)
    assert cast(desk.judged(1, B1)) == [notarize(1, B1)]
    assert cast(desk.judged(1, B1)) == []


def test_second_proposal_of_a_view_is_not_judged():
    desk = Desk()
    desk.proposed(A, 1, B1, GENESIS, 0)
    effects = desk.proposed(A, 1, B2, GENESIS, 0)
    assert out.JudgeBlock not in kinds(effects)


def test_proposal_of_somebody_else_than_the_leader_is_ignored():
    desk = Desk()
    assert desk.proposed(B, 1, B1, GENESIS, 0) == ()


def test_proposal_that_skips_a_view_without_proof_is_not_judged_but_the_proof_is_fetched():
    desk = Desk()
    desk.certified(notarize(1, B1))
    desk.certified(notarize(2, B2))
    effects = desk.proposed(C, 3, B3, B1, 1)
    assert kinds(effects) == [out.FetchCertificates]
    assert effects[0] == out.FetchCertificates(from_view=2, to_view=3, first_peer=C)
    assert desk.certified(nullify(2))[-1] == out.JudgeBlock(proposal=proposal(C, 3, B3, B1, 1))


def test_proposal_on_an_uncertified_parent_waits_for_the_parents_certificate():
    desk = Desk()
    desk.certified(nullify(2))
    effects = desk.proposed(C, 3, B3, B1, 1)
    assert kinds(effects) == [out.FetchCertificates]
    assert effects[0].from_view == 1
    assert kinds(desk.certified(notarize(1, B1)))[-1] is out.JudgeBlock


def test_proposal_that_contradicts_the_certified_block_of_its_parents_view_is_nullified():
    desk = Desk()
    desk.certified(notarize(1, B1))
    effects = desk.proposed(B, 2, B3, B2, 1)
    assert cast(effects) == [nullify(2)]
    assert _reasons(effects) == [NullifyReason.INVALID_BLOCK]


def test_proposal_that_bypasses_a_final_block_is_nullified():
    desk = Desk()
    desk.certified(finalize(1, B1))
    effects = desk.proposed(B, 2, B3, GENESIS, 0)
    assert cast(effects) == [nullify(2)]


def test_notarize_after_nullify_in_the_same_view_is_allowed():
    desk = Desk()
    desk.after(IDLE_MS)
    assert cast(desk.after(2 * DELTA_MS)) == [nullify(1)]
    desk.proposed(A, 1, B1, GENESIS, 0)
    assert cast(desk.judged(1, B1)) == [notarize(1, B1)]


def test_missing_verdict_is_no_reason_to_nullify_before_the_timer():
    desk = Desk()
    desk.proposed(A, 1, B1, GENESIS, 0)
    assert cast(desk.after(2 * DELTA_MS - 1)) == []
    assert _reasons(desk.after(1)) == [NullifyReason.NO_PROPOSAL]


def test_proposal_for_a_later_view_is_judged_when_its_view_begins():
    desk = Desk()
    assert out.JudgeBlock not in kinds(desk.proposed(B, 2, B2, B1, 1))
    assert kinds(desk.certified(notarize(1, B1)))[-1] is out.JudgeBlock


# Rule 4: nullifying.


def test_no_proposal_in_two_deltas_is_nullified():
    desk = Desk()
    desk.step(on.WorkAvailable())
    assert cast(desk.after(2 * DELTA_MS - 1)) == []
    effects = desk.after(1)
    assert cast(effects) == [nullify(1)]
    assert _reasons(effects) == [NullifyReason.NO_PROPOSAL]


def test_no_certificate_in_three_deltas_is_nullified_even_after_notarize():
    desk = Desk()
    desk.proposed(A, 1, B1, GENESIS, 0)
    desk.judged(1, B1)
    assert cast(desk.after(3 * DELTA_MS - 1)) == []
    assert _reasons(desk.after(1)) == [NullifyReason.NO_CERTIFICATE]


def test_invalid_block_is_nullified_at_once():
    desk = Desk()
    desk.proposed(A, 1, B1, GENESIS, 0)
    effects = desk.judged(1, B1, Verdict.INVALID)
    assert cast(effects) == [nullify(1)]
    assert _reasons(effects) == [NullifyReason.INVALID_BLOCK]


def test_nullify_of_the_leader_itself_is_followed():
    desk = Desk()
    assert _reasons(desk.votes(nullify(1), A)) == [NullifyReason.LEADER_NULLIFIED]


def test_validator_that_finalized_never_nullifies_the_view():
    desk = Desk(D)
    desk.proposed(A, 1, B1, GENESIS, 0)
    desk.judged(1, B1)
    assert cast(desk.votes(notarize(1, B1), B)) == [finalize(1, B1)]
    desk.core._view = 1  # as if the view were not over
    effects = desk.after(10 * DELTA_MS)
    assert VoteKind.NULLIFY not in [each.kind for each in cast(effects) if each.view == 1]


# Rule 5 and 6: notarizations and nullifications.


def test_notarization_is_stored_forwarded_answered_by_finalize_and_enters_the_next_view_in_this_order():
    desk = Desk()
    found = certificate(notarize(1, B1))
    assert desk.step(on.CertificateReceived(certificate=found)) == (
        out.StoreCertificate(certificate=found),
        out.SendCertificates(peer=None, certificates=(found,)),
        out.CastVote(statement=finalize(1, B1)),
    )
    assert desk.core.view == 2


def test_validator_that_nullified_never_finalizes_the_view():
    desk = Desk()
    desk.step(on.WorkAvailable())
    desk.after(2 * DELTA_MS)
    assert cast(desk.certified(notarize(1, B1))) == []


def test_finalize_needs_no_body():
    desk = Desk()
    assert cast(desk.certified(notarize(7, B1))) == [finalize(7, B1)]


def test_late_notarization_of_a_past_view_is_stored_but_not_finalized():
    desk = Desk()
    desk.certified(nullify(1))
    effects = desk.certified(notarize(1, B1))
    assert kinds(effects) == [out.StoreCertificate, out.SendCertificates]


def test_nullification_is_stored_forwarded_and_enters_the_next_view():
    desk = Desk()
    found = certificate(nullify(1))
    assert desk.step(on.CertificateReceived(certificate=found)) == (
        out.StoreCertificate(certificate=found),
        out.SendCertificates(peer=None, certificates=(found,)),
    )
    assert desk.core.view == 2


def test_votes_of_a_quorum_form_the_certificate():
    desk = Desk(None)
    assert desk.votes(notarize(1, B1), A, B) == ()
    found = certificate(notarize(1, B1))
    assert desk.votes(notarize(1, B1), C)[0] == out.StoreCertificate(certificate=found)


def test_votes_for_two_blocks_are_never_added_together():
    desk = Desk(None)
    desk.votes(notarize(1, B1), A, B)
    assert desk.votes(notarize(1, B2), C, D) == ()
    assert desk.core.view == 1


def test_votes_of_two_views_are_never_added_together():
    desk = Desk(None)
    desk.votes(notarize(1, B1), A, B)
    assert desk.votes(notarize(2, B1), C, D) == ()


def test_a_validators_vote_counts_once():
    desk = Desk(None)
    assert desk.votes(notarize(1, B1), A, A, A, B, B) == ()


# Rule 7: finalizations.


def test_finalization_finalises_the_block_and_enters_the_next_view():
    desk = Desk()
    found = certificate(finalize(1, B1))
    assert desk.step(on.CertificateReceived(certificate=found)) == (
        out.StoreCertificate(certificate=found),
        out.SendCertificates(peer=None, certificates=(found,)),
        out.FinalizeBlock(certificate=found),
    )
    assert desk.core.final == Final(view=1, block_id=B1)
    assert desk.core.view == 2


def test_finalization_of_an_earlier_view_may_come_in_any_later_one():
    desk = Desk()
    desk.certified(notarize(1, B1))
    desk.certified(notarize(2, B2))
    effects = desk.certified(finalize(1, B1))
    assert out.FinalizeBlock(certificate=certificate(finalize(1, B1))) in effects
    assert desk.core.view == 3


def test_finalization_below_the_last_final_view_changes_nothing():
    desk = Desk()
    desk.certified(finalize(3, B3))
    assert desk.certified(finalize(1, B1)) == ()


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (nullify(1), finalize(1, B1), "view 1 is both finalised and nullified"),
        (notarize(1, B2), finalize(1, B1), "view 1 finalises another block than it notarizes"),
        (notarize(1, B1), notarize(1, B2), "view 1 has two NOTARIZE certificates"),
    ],
)
def test_certificates_that_only_a_byzantine_third_can_make_stop_the_node(first, second, why):
    desk = Desk(None)
    desk.certified(first)
    effects = desk.certified(second)
    assert isinstance(effects[-1], out.Halt)
    assert why in effects[-1].why
    assert desk.after(10 * IDLE_MS) == ()


# Rule 8: retransmission.


def test_stuck_validator_repeats_its_votes_and_what_let_it_enter_every_two_deltas():
    desk = Desk()
    desk.certified(nullify(1))
    desk.step(on.WorkAvailable())
    effects = desk.after(2 * DELTA_MS)
    own = vote(D, nullify(2))
    entering = certificate(nullify(1))
    assert out.SendVotes(votes=(own,)) not in effects  # it was just cast and sent
    effects = desk.after(2 * DELTA_MS)
    assert out.SendVotes(votes=(own,)) in effects
    assert out.SendCertificates(peer=None, certificates=(entering,)) in effects
    assert out.SendVotes not in kinds(desk.after(2 * DELTA_MS - 1))
    assert out.SendVotes in kinds(desk.after(1))


def test_finalize_of_an_unfinalised_view_is_repeated():
    desk = Desk()
    desk.certified(notarize(1, B1))
    effects = desk.after(2 * DELTA_MS)
    assert next(each.votes for each in effects if isinstance(each, out.SendVotes))[0] == vote(D, finalize(1, B1))


def test_idle_view_is_not_stuck():
    desk = Desk()
    assert desk.after(IDLE_MS - 1) == ()


# Rule 9: repair.


def test_request_for_proofs_is_answered_with_the_views_asked_for_and_the_highest_finalization():
    desk = Desk()
    for statement in (finalize(1, B1), nullify(2), notarize(3, B3)):
        desk.certified(statement)
    asked = on.CertificatesRequested(peer=b"peer", from_view=2, to_view=99)
    expected = tuple(certificate(each) for each in (finalize(1, B1), nullify(2), notarize(3, B3)))
    assert desk.step(asked) == (out.SendCertificates(peer=b"peer", certificates=expected),)


def test_missing_proof_is_asked_for_again_after_a_delta():
    desk = Desk()
    desk.certified(nullify(2))
    desk.proposed(C, 3, B3, B1, 1)
    assert out.FetchCertificates not in kinds(desk.after(DELTA_MS - 1))
    assert out.FetchCertificates in kinds(desk.after(1))


def test_peer_that_connects_is_brought_to_our_view():
    desk = Desk()
    desk.certified(finalize(1, B1))
    desk.certified(nullify(2))
    expected = (certificate(finalize(1, B1)), certificate(nullify(2)))
    assert desk.step(on.PeerConnected(peer=b"peer")) == (out.SendCertificates(peer=b"peer", certificates=expected),)


# Rule 10: memory.


def test_restart_after_nullify_never_finalizes_the_view():
    desk = Desk(start=False)
    desk.core.restore([vote(D, nullify(1))], [])
    desk.step(on.Start())
    assert cast(desk.certified(notarize(1, B1))) == []


def test_restart_after_finalize_never_nullifies_the_view():
    desk = Desk(start=False)
    desk.core.restore([vote(D, finalize(1, B1))], [])
    desk.step(on.Start())
    desk.step(on.WorkAvailable())
    assert nullify(1) not in cast(desk.after(10 * DELTA_MS))


def test_restart_after_notarize_never_notarizes_another_block():
    desk = Desk(start=False)
    desk.core.restore([vote(D, notarize(1, B1))], [])
    desk.step(on.Start())
    desk.proposed(A, 1, B2, GENESIS, 0)
    assert notarize(1, B2) not in cast(desk.judged(1, B2))


def test_restart_of_a_leader_never_proposes_twice():
    desk = Desk(A, start=False)
    desk.core.restore([vote(A, notarize(1, B1))], [])
    desk.step(on.Start())
    assert desk.step(on.WorkAvailable()) == ()


def test_restart_enters_the_view_of_the_logged_certificates_and_delivers_a_logged_finalization():
    desk = Desk(start=False)
    final = certificate(finalize(2, B2))
    desk.core.restore([], [certificate(notarize(1, B1)), final, certificate(nullify(3))])
    assert out.FinalizeBlock(certificate=final) in desk.step(on.Start())
    assert desk.core.view == 4


def test_validator_without_its_log_signs_nothing_until_a_quorum_of_others_spoke():
    desk = Desk(D, is_log_lost=True)
    assert desk.core.is_recovering
    assert cast(desk.after(IDLE_MS + 3 * DELTA_MS)) == []
    for who, view in ((A, 2), (B, 5)):
        desk.step(on.StatusReceived(validator=who, epoch=1, view=view))
    desk.step(on.StatusReceived(validator=C, epoch=1, view=3))
    assert desk.core.is_recovering  # it stands below where it may sign
    desk.certified(nullify(6))
    assert not desk.core.is_recovering


def test_validator_without_its_log_signs_nothing_up_to_the_highest_position_plus_one():
    desk = Desk(D, is_log_lost=True)
    for who in (A, B, C):
        desk.step(on.StatusReceived(validator=who, epoch=1, view=5))
    desk.certified(nullify(5))
    assert desk.core.view == 6
    desk.step(on.WorkAvailable())
    assert cast(desk.after(3 * DELTA_MS)) == []
    assert desk.core.is_recovering
    desk.certified(nullify(6))
    assert not desk.core.is_recovering
    assert cast(desk.after(3 * DELTA_MS)) == [nullify(7)]


@pytest.mark.parametrize(("parent_view", "is_signing"), [(0, False), (5, False), (6, True), (9, True)])
def test_validator_without_its_log_signs_in_the_next_epochs_first_view_only_if_it_cannot_have_been_there(
    parent_view: int, is_signing: bool
):
    """It may not sign up to view 6. A last block first proposed before that may have been final for it alone."""
    desk = Desk(D, is_log_lost=True)
    for who in (A, B, C):
        desk.step(on.StatusReceived(validator=who, epoch=1, view=5))
    desk.certified(finalize(9, B3))
    began = on.EpochBegan(
        epoch=2,
        validators=SET,
        parent_id=B3,
        delta_ms=DELTA_MS,
        empty_block_interval_ms=IDLE_MS,
        parent_view=parent_view,
    )
    desk.step(began)
    desk.step(on.WorkAvailable())
    own = Statement(kind=VoteKind.NULLIFY, epoch=2, view=1, block_id=NO_BLOCK)
    assert cast(desk.after(3 * DELTA_MS)) == ([own] if is_signing else [])
    assert desk.core.is_recovering is not is_signing


def test_unknown_signature_of_our_own_stops_the_node():
    desk = Desk(D)
    effects = desk.votes(notarize(1, B1), D)
    assert isinstance(effects[-1], out.Halt)
    assert "a NOTARIZE of ours in view 1 is not in our log" in effects[-1].why


def test_unknown_signature_of_our_own_inside_a_certificate_stops_the_node():
    desk = Desk(D)
    assert isinstance(desk.certified(nullify(3), B, C, D)[-1], out.Halt)


# Rule 11: timers.


def test_idle_leader_waits_for_the_empty_block_interval():
    desk = Desk(A)
    assert desk.after(IDLE_MS - 1) == ()
    assert kinds(desk.after(1)) == [out.BuildBlock]


def test_idle_follower_starts_its_timers_with_the_first_work():
    desk = Desk()
    desk.after(IDLE_MS // 2)
    desk.step(on.WorkAvailable())
    assert cast(desk.after(2 * DELTA_MS)) == [nullify(1)]


def test_leader_holds_back_at_most_delta_while_a_notarized_block_is_not_final():
    desk = Desk(B)
    desk.certified(notarize(1, B1), A, C, D)
    assert out.BuildBlock not in kinds(desk.after(DELTA_MS - 1))
    assert out.BuildBlock in kinds(desk.after(1))


def test_leader_with_a_final_parent_is_idle_again():
    desk = Desk(B)
    desk.certified(notarize(1, B1), A, C, D)
    desk.certified(finalize(1, B1), A, C, D)
    assert out.BuildBlock not in kinds(desk.after(2 * DELTA_MS))


def test_delta_grows_by_half_after_failed_windows_and_is_itself_after_a_finalization():
    desk = Desk(None)
    deltas = []
    for view in range(1, 40):
        desk.certified(nullify(view))
        deltas.append(desk.core._timers.delta_ms)
    assert deltas[:7] == [100, 100, 150, 150, 150, 225, 225]
    assert max(deltas) == 100 * 3**6 // 2**6, "growth is bounded"
    desk.certified(finalize(50, B1))
    assert desk.core._timers.delta_ms == DELTA_MS


def test_idle_waiting_never_grows_delta():
    desk = Desk()
    for _ in range(10):
        desk.after(IDLE_MS // 20)
    assert desk.core._timers.delta_ms == DELTA_MS


# Rule 12: epochs.


def test_last_block_of_an_epoch_is_proposed_again_under_its_own_id():
    desk = Desk(B)
    found = certificate(notarize(1, B1), A, C, D)
    desk.step(on.CertificateReceived(certificate=found))
    desk.after(DELTA_MS)
    effects = desk.step(on.BlockBuilt(epoch=1, view=2, block_id=B1, is_work_left=False))
    assert effects[0] == out.CastProposal(statement=notarize(2, B1), parent_id=B1, parent_view=1, certificates=(found,))


def test_block_proposed_again_is_judged_with_itself_as_parent():
    desk = Desk(D)
    desk.certified(notarize(1, B1))
    again = Proposal(vote=vote(B, notarize(2, B1)), parent_id=B1, parent_view=1)
    assert out.JudgeBlock(proposal=again) in desk.step(on.ProposalReceived(proposal=again))


def test_new_epoch_starts_at_view_one_and_hears_nothing_of_the_old_one():
    desk = Desk(D)
    desk.certified(finalize(3, B3))
    began = on.EpochBegan(epoch=2, validators=SET, parent_id=B3, delta_ms=DELTA_MS, empty_block_interval_ms=IDLE_MS)
    desk.step(began)
    assert (desk.core.epoch, desk.core.view, desk.core.final) == (2, 1, Final(view=0, block_id=B3))
    assert desk.certified(nullify(9)) == ()
    assert desk.votes(nullify(1), A, B, C) == ()


def test_node_outside_the_set_follows_without_signing():
    desk = Desk(None)
    desk.proposed(A, 1, B1, GENESIS, 0)
    assert cast(desk.judged(1, B1)) == []
    assert cast(desk.certified(notarize(1, B1))) == []
    assert cast(desk.after(IDLE_MS + 5 * DELTA_MS)) == []
    assert desk.core.view == 2


# Evidence.


@pytest.mark.parametrize(
    ("first", "second", "is_evidence"),
    [
        (notarize(1, B1), notarize(1, B2), True),
        (finalize(1, B1), finalize(1, B2), True),
        (nullify(1), finalize(1, B1), True),
        (notarize(1, B1), nullify(1), False),
        (notarize(1, B2), finalize(1, B1), False),
        (notarize(1, B1), notarize(1, B1), False),
        (notarize(1, B1), notarize(2, B2), False),
    ],
)
def test_evidence_is_exactly_what_an_honest_validator_never_signs(first, second, is_evidence):
    desk = Desk()
    effects = desk.votes(first, A) + desk.votes(second, A)
    assert (out.ReportEvidence in kinds(effects)) is is_evidence


def _reasons(effects) -> list[NullifyReason]:
    return [each.reason for each in effects if isinstance(each, out.ReportNullified)]


def _desk_that_never_heard_a() -> Desk:
    """In view 8, after seven views that b, c and d nullified; a leads view 9."""
    desk = Desk(D)
    for view in range(1, 8):
        desk.step(on.WorkAvailable())
        desk.after(3 * 12 * DELTA_MS)
        desk.votes(nullify(view), B, C)
    assert desk.core.view == 8
    desk.step(on.WorkAvailable())
    desk.after(3 * 12 * DELTA_MS)
    return desk
