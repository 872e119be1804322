"""Machines with one rule broken each, made from outside: an explorer that does not find them looks at nothing."""

from __future__ import annotations

from dataclasses import replace

from consensus import effects as out
from consensus.effects import NullifyReason
from consensus.quorum import Quorum
from consensus.simplex import Position, Simplex
from consensus.types import NO_BLOCK, Proposal, Statement, Vote, VoteKind
from consensus.view import ViewState
from consensus.views import Lacking, Views
from tests.exhaustive.scope import SCOPES, Scope


class FinalizesAfterNullify(Simplex):
    """Rule 5 without its condition."""

    def _on_notarization(self, state: ViewState, block_id: bytes) -> None:
        nullified = state.own.pop(VoteKind.NULLIFY, None)
        super()._on_notarization(state, block_id)
        if nullified is not None:
            state.own[VoteKind.NULLIFY] = nullified


class NullifiesAfterFinalize(Simplex):
    """Rule 4's condition gone: who finalized a view gives it up when its leader does."""

    def _on_vote(self, vote: Vote) -> None:
        super()._on_vote(vote)
        state = self._views.at(vote.statement.view)
        if (
            vote.statement.kind is VoteKind.NULLIFY
            and VoteKind.FINALIZE in state.own
            and state.own.get(VoteKind.NULLIFY) is None
        ):
            self._cast(state, VoteKind.NULLIFY, NO_BLOCK)


class NotarizesTwice(Simplex):
    """Rule 3 without "the first" and "once": every proposal of the leader gets a vote."""

    def _on_proposal(self, proposal: Proposal) -> None:
        state = self._views.at(proposal.view)
        if state.proposal is not None and state.proposal.block_id != proposal.block_id and proposal.view == self._view:
            state.proposal = None
            state.verdict = None
            state.is_judging = False
            state.own.pop(VoteKind.NOTARIZE, None)
        super()._on_proposal(proposal)


class ForgetsItsVotes(Simplex):
    """Rule 10 without the log: a restart knows the certificates, not the own votes."""

    def restore(self, votes, certificates, recovered=None) -> None:
        super().restore([], certificates, recovered)

    def _is_own(self, state: ViewState, statement: Statement) -> bool:
        return True


class SmallQuorum(Quorum):
    """Two of four are enough."""

    def is_quorum(self, validators) -> bool:
        return 3 * self.power(validators) >= 2 * self.total_power - 2


class TakesHalfForAQuorum(Simplex):
    """The quorum test is off by one."""

    def _enter_epoch(self, position: Position) -> None:
        super()._enter_epoch(position)
        self._quorum = SmallQuorum(position.validators)
        self._views = Views(self._quorum, position.final)


class NeverGivesUpWhatItNotarized(Simplex):
    """Rule 4b gone: no nullify after notarize, so that votes split over two blocks stay split."""

    def _nullify(self, state: ViewState, reason: NullifyReason) -> None:
        if VoteKind.NOTARIZE not in state.own:
            super()._nullify(state, reason)


class StaysAfterNullification(Simplex):
    """Rule 6 without "enter the next view"."""

    def _enter(self, view: int) -> None:
        left = self._views.known(self._view)
        if view > self._view and left is not None and left.notarization is None and left.finalization is None:
            return
        super()._enter(view)


class AccusesTheHasty(Simplex):
    """Evidence of what is legal: notarize and nullify of one view."""

    def _on_vote(self, vote: Vote) -> None:
        state = self._views.at(vote.statement.view)
        earlier = state.tally.votes_of(vote.validator)
        super()._on_vote(vote)
        for other in earlier:
            if {other.statement.kind, vote.statement.kind} == {VoteKind.NOTARIZE, VoteKind.NULLIFY}:
                self._effects.append(out.ReportEvidence(evidence=out.Evidence(first=other, second=vote)))


class SeesNoDoubleVotes(Simplex):
    """Evidence is dropped."""

    def step(self, now_ms, happened):
        return tuple(each for each in super().step(now_ms, happened) if not isinstance(each, out.ReportEvidence))


class SkipsNoProof(Views):
    """The nullifications between a parent and its child are not asked for."""

    def check_ancestry(self, proposal: Proposal):
        found = super().check_ancestry(proposal)
        is_between = isinstance(found, Lacking) and found.view > proposal.parent_view
        return None if is_between else found


class TakesSkippedViewsOnTrust(Simplex):
    """Rule 3 asks for the parent's certificate only."""

    def _enter_epoch(self, position: Position) -> None:
        super()._enter_epoch(position)
        self._views = SkipsNoProof(self._quorum, position.final)


CALM, TREACHEROUS = (replace(SCOPES[each], has_restarts=False) for each in ("faultless", "leader"))
STUCK = "all is delivered, all timers fired, and an honest node is still in the view"
ONE_VIEW: dict[type[Simplex], tuple[Scope, str]] = {
    FinalizesAfterNullify: (CALM, "an honest validator signs finalize(X) after nullify"),
    NullifiesAfterFinalize: (CALM, "an honest validator signs nullify after finalize(X)"),
    NotarizesTwice: (TREACHEROUS, "an honest validator signs notarize(Y) after notarize(X)"),
    ForgetsItsVotes: (SCOPES["leader"], "an honest validator signs notarize(Y) after notarize(X)"),
    TakesHalfForAQuorum: (CALM, "a certificate of notarize(X) with 2 signatures is accepted"),
    NeverGivesUpWhatItNotarized: (TREACHEROUS, STUCK),
    StaysAfterNullification: (CALM, STUCK),
    AccusesTheHasty: (CALM, "an honest validator is accused"),
    SeesNoDoubleVotes: (TREACHEROUS, "a double vote, notarize(Y), goes unnoticed"),
}
"""The scope that shows a mutant within one view, and what it shows."""
MORE_VIEWS: dict[type[Simplex], tuple[str, str]] = {
    TakesSkippedViewsOnTrust: ("forgetful twin", "two blocks are final that do not lie on one chain"),
    FinalizesAfterNullify: ("twins", "an honest validator contradicts itself"),
    TakesHalfForAQuorum: ("twins", "view 1 has two certificates of a kind"),
}
"""The adversary that shows a mutant over several views, and what it shows."""
