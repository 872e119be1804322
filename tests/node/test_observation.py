"""What a node notices of its own work is what happened."""

from __future__ import annotations

from consensus.types import Statement, VoteKind
from node.observation import KEPT_VIEWS, Histogram, Observation


def statement(kind: VoteKind, view: int, epoch: int = 1) -> Statement:
    return Statement(kind=kind, epoch=epoch, view=view, block_id=bytes(32))


def test_a_value_is_counted_in_the_first_bucket_that_holds_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert (histogram.counts, histogram.total, histogram.count) == ([2, 1, 1], 12.0, 4)


def test_delays_run_from_the_view_and_from_its_proposal() -> None:
    seen = Observation()
    seen.stand(1_000, 1, 5)
    seen.saw_proposal(1_300, statement(VoteKind.NOTARIZE, 5))
    seen.saw_proposal(1_400, statement(VoteKind.NOTARIZE, 5))  # a second one changes nothing
    seen.saw_certificate(1_500, statement(VoteKind.NOTARIZE, 5))
    seen.stand(1_500, 1, 6)
    seen.saw_certificate(1_700, statement(VoteKind.FINALIZE, 5))  # in a later view
    assert (seen.notarization_since_view.total, seen.notarization_since_proposal.total) == (0.5, 0.2)
    assert (seen.finalization_since_view.total, seen.finalization_since_proposal.total) == (0.7, 0.4)


def test_a_nullification_and_views_that_were_not_seen_are_no_delay() -> None:
    seen = Observation()
    seen.stand(1_000, 1, 5)
    seen.saw_certificate(1_500, statement(VoteKind.NULLIFY, 5))
    seen.saw_certificate(1_500, statement(VoteKind.NOTARIZE, 4))
    seen.saw_certificate(1_500, statement(VoteKind.NOTARIZE, 5, epoch=2))
    assert seen.notarization_since_view.count == seen.finalization_since_view.count == 0


def test_only_so_many_views_are_remembered() -> None:
    seen = Observation()
    for view in range(1, KEPT_VIEWS + 11):
        seen.stand(view, 1, view)
    seen.saw_certificate(1_000, statement(VoteKind.NOTARIZE, 10))
    assert seen.notarization_since_view.count == 0
    seen.saw_certificate(1_000, statement(VoteKind.NOTARIZE, 11))
    assert seen.notarization_since_view.count == 1


def test_a_certificate_is_repaired_only_if_its_view_was_asked_for() -> None:
    seen = Observation()
    seen.took_certificate(statement(VoteKind.NULLIFY, 3))
    seen.asked_for(1, 3, 5)
    for view in (2, 3, 4, 5):
        seen.took_certificate(statement(VoteKind.NULLIFY, view))
    seen.took_certificate(statement(VoteKind.NULLIFY, 3, epoch=2))
    assert seen.repaired_certificates == 2


def test_block_intervals_are_those_of_the_blocks_own_times() -> None:
    seen = Observation()
    for time_ms in (5_000, 5_250, 7_250):
        seen.saw_block(time_ms)
    assert (seen.block_interval.count, seen.block_interval.total) == (2, 2.25)
