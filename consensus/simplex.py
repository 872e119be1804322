"""The Simplex state machine: the twelve rules, each at the arm that carries its number. See README.md for the table.

One instance lives as long as the node and moves through views and epochs. It owns every decision; the host owns
bytes, keys, clocks, sockets and disks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from consensus import effects as out
from consensus import inputs as on
from consensus.attendance import Attendance
from consensus.certificate import is_well_formed
from consensus.effects import Effect, NullifyReason
from consensus.inputs import Input, Verdict
from consensus.leader import leader_cycle, leader_of
from consensus.quorum import Quorum
from consensus.timers import Timers
from consensus.types import NO_BLOCK, Certificate, Proposal, Statement, ValidatorSet, Vote, VoteKind
from consensus.view import ViewState
from consensus.views import CERTIFICATES_PER_MESSAGE, KEPT_VIEWS, Base, Contradiction, Final, Lacking, Views

FUTURE_VIEWS = 64
"""Votes and proposals further ahead of the current view are dropped: a certificate will bring us there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where in which epoch a node stands, and what governs the epoch."""

    epoch: int
    """The epoch."""
    validators: ValidatorSet
    """Who votes in it."""
    final: Final
    """The last block of the epoch known to be final; view 0 is the last block of the epoch before."""
    delta_ms: int
    """Δ."""
    empty_block_interval_ms: int
    """How long a leader with nothing to do waits."""


class Simplex:
    """The consensus core of one node. `me` is None for a node that only follows."""

    _epoch: int
    _view: int

    def __init__(self, me: bytes | None, position: Position, *, is_log_lost: bool = False) -> None:
        self.me = me
        self._effects: list[Effect] = []
        self._now_ms = 0
        self._wake_ms: int | None = None
        self._is_started = False
        self._is_halted = False
        self._is_work_pending = False
        self._page = 0
        """Which page of certificates the next retransmission sends."""
        self._statuses: set[bytes] | None = set() if is_log_lost and me is not None else None
        """Validators that told us where they stand; None unless our log is lost (rule 10)."""
        self.recovered: tuple[int, int] | None = None
        """Our log was lost: votes of ours up to this (epoch, view) may be missing from it (rule 10)."""
        self._enter_epoch(position)

    # What the host may ask.

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return self._epoch

    @property
    def view(self) -> int:
        """The current view."""
        return self._view

    @property
    def final(self) -> Final:
        """The highest final block of this epoch."""
        return self._views.final

    @property
    def quorum(self) -> Quorum:
        """The epoch's quorum test."""
        return self._quorum

    @property
    def entering_certificate(self) -> Certificate | None:
        """A certificate that let us enter the current view; None in the epoch's first."""
        return self._views.entering_certificate(self._view)

    @property
    def is_log_lost(self) -> bool:
        """Whether a quorum of others has still to tell where it stands, because our log is lost (rule 10)."""
        return self._statuses is not None

    @property
    def is_recovering(self) -> bool:
        """Whether nothing is signed in the current view because our log is lost (rule 10)."""
        return self.is_log_lost or self._view <= self._sign_floor

    def leader_of(self, view: int) -> bytes:
        """The leader of a view of this epoch."""
        return leader_of(self._cycle, view)

    def is_certificate_useful(self, certificate: Certificate) -> bool:
        """Whether a certificate can tell us anything: spares the host its signatures."""
        statement = certificate.statement
        is_in_reach = statement.epoch == self._epoch and statement.view >= self.final.view
        return is_in_reach and not self._views.holds(statement)

    def is_vote_useful(self, vote: Vote) -> bool:
        """Whether a vote can tell us anything: spares the host its signature."""
        statement = vote.statement
        is_in_reach = self.final.view - KEPT_VIEWS <= statement.view <= self._view + FUTURE_VIEWS
        is_ours = statement.epoch == self._epoch and vote.validator in self._quorum
        return is_in_reach and is_ours and not self._views.holds_vote(vote)

    def is_proposal_useful(self, vote: Vote) -> bool:
        """Whether a proposal that comes with its leader's vote would be kept: one a view, the first."""
        statement = vote.statement
        is_in_reach = self._view <= statement.view <= self._view + FUTURE_VIEWS
        is_leaders = statement.epoch == self._epoch and vote.validator == self.leader_of(statement.view)
        state = self._views.known(statement.view)
        is_first = state is None or state.proposal is None
        return is_in_reach and is_leaders and is_first and statement.kind is VoteKind.NOTARIZE

    def is_certified(self, block_id: bytes) -> bool:
        """Whether a certificate of this epoch is known for a block that is not well below the final one."""
        return self._views.certifies(block_id)

    def retained_certificates(self) -> tuple[Certificate, ...]:
        """The certificates that a fresh log must begin with."""
        return tuple(self._views.certificates(self.final.view, self._view))

    # Life of the machine.

    def restore(
        self, votes: Iterable[Vote], certificates: Iterable[Certificate], recovered: tuple[int, int] | None = None
    ) -> None:
        """Rule 10: replays our own votes and the certificates of this epoch from the log, before Start.

        `recovered` is the epoch and the view of the last StoreRecovery.
        """
        assert not self._is_started, "the log is replayed first"
        self.recovered = recovered
        for certificate in certificates:
            statement = certificate.statement
            if statement.epoch == self._epoch and statement.view >= self.final.view:
                self._views.store(certificate)
                self._view = max(self._view, statement.view + 1)
        for vote in votes:
            statement = vote.statement
            if statement.epoch == self._epoch and statement.view >= self.final.view - KEPT_VIEWS:
                state = self._views.at(statement.view)
                state.own[statement.kind] = statement.block_id
                state.tally.add(vote)
                state.voters.add(vote.validator)
                self._view = max(self._view, statement.view)

    def step(self, now_ms: int, happened: Input) -> tuple[Effect, ...]:
        """One input, and what the host must do about it, in this order. `now_ms` never goes back."""
        assert not self._effects, "step is not re-entered"
        self._now_ms = now_ms
        match happened:
            case on.Start():
                self._on_start()
            case on.Tick():
                self._wake_ms = None
            case on.WorkAvailable():
                self._is_work_pending = True
            case on.ProposalReceived(proposal=proposal):
                self._on_proposal(proposal)
            case on.VoteReceived(vote=vote):
                self._on_vote(vote)
            case on.CertificateReceived(certificate=certificate):
                self._on_certificate(certificate)
            case on.BlockBuilt():
                self._on_built(happened)
            case on.BlockJudged():
                self._on_judged(happened)
            case on.CertificatesRequested():
                self._on_certificates_requested(happened)
            case on.PeerConnected(peer=peer):
                self._on_peer_connected(peer)
            case on.StatusReceived():
                self._on_status(happened)
            case on.EpochBegan():
                self._on_epoch(happened)
            case _:
                assert_never(happened)
        self._advance()
        effects, self._effects = tuple(self._effects), []
        return effects

    def _enter_epoch(self, position: Position) -> None:
        self._epoch = position.epoch
        self._quorum = Quorum(position.validators)
        self._cycle = leader_cycle(position.validators)
        self._views = Views(self._quorum, position.final)
        self._timers = Timers(position.delta_ms, position.empty_block_interval_ms)
        self._attendance = Attendance(self._quorum)
        self._view = position.final.view + 1

    # Inputs, one method each.

    def _on_start(self) -> None:
        self._is_started = True
        finalization = self._views.latest_finalization()
        if finalization is not None and finalization.statement.view > self.final.view:
            self._finalize(finalization)
        if self._views.highest_notarized > self.final.view:
            self._timers.notarized(self._now_ms)
        if self._statuses is not None:
            self._statuses = set()
            self._effects.append(out.AskStatus())
        self._enter(self._view)

    def _on_epoch(self, began: on.EpochBegan) -> None:
        """Rule 12: an epoch starts with the finalization of the last block of the one before."""
        assert began.epoch > self._epoch, "epochs only grow"
        if self.recovered is not None and began.parent_view >= self.recovered[1] and self.recovered[0] == self._epoch:
            # Had we been in the new epoch before our log was lost, a quorum would have voted to finalize the old one's
            # last block before we asked, and one of those who answered us would have stood in a view not before it.
            self.recovered = None
        self._enter_epoch(
            Position(
                epoch=began.epoch,
                validators=began.validators,
                final=Final(view=0, block_id=began.parent_id),
                delta_ms=began.delta_ms,
                empty_block_interval_ms=began.empty_block_interval_ms,
            )
        )
        if self._is_started:
            self._on_start()

    def _on_proposal(self, proposal: Proposal) -> None:
        if self.is_proposal_useful(proposal.vote):  # Rule 3: the first proposal counts
            self._views.at(proposal.view).proposal = proposal
        self._on_vote(proposal.vote)

    def _on_vote(self, vote: Vote) -> None:
        if not self.is_vote_useful(vote):
            return
        statement = vote.statement
        state = self._views.at(statement.view)
        if vote.validator == self.me and not self._is_own(state, statement):
            return
        is_new, evidence = state.tally.add(vote)
        if evidence is not None:
            self._effects.append(out.ReportEvidence(evidence=evidence))
        if not is_new:
            return
        state.voters.add(vote.validator)
        self._attendance.note(statement.view, (vote.validator,), state.voters)
        certificate = state.tally.certificate_for(statement)
        if certificate is not None and self.is_certificate_useful(certificate):
            self._accept(certificate)

    def _on_certificate(self, certificate: Certificate) -> None:
        if self.is_certificate_useful(certificate) and is_well_formed(certificate, self._quorum):
            self._accept(certificate)

    def _on_built(self, built: on.BlockBuilt) -> None:
        """Rule 2: propose, unless the view is over or was spoken in since."""
        if built.epoch != self._epoch or built.view != self._view:
            return
        self._is_work_pending = built.is_work_left
        state = self._views.at(built.view)
        if state.own or not self._may_sign(state):
            return
        base = self._views.find_base(built.view)
        assert isinstance(base, Base), "a block is built on a proven base, and proofs stay"
        state.own[VoteKind.NOTARIZE] = built.block_id
        self._effects.append(
            out.CastProposal(
                statement=self._statement(VoteKind.NOTARIZE, built.view, built.block_id),
                parent_id=base.parent_id,
                parent_view=base.parent_view,
                certificates=base.certificates[:CERTIFICATES_PER_MESSAGE],
            )
        )

    def _on_judged(self, judged: on.BlockJudged) -> None:
        state = self._views.known(judged.view)
        if state is None or state.proposal is None or state.proposal.block_id != judged.block_id:
            return
        state.is_judging, state.verdict = False, judged.verdict
        if judged.view == self._view:
            self._is_work_pending = judged.is_work_left

    def _on_certificates_requested(self, asked: on.CertificatesRequested) -> None:
        """Rule 9: the views asked for, a page at most, and the highest finalization before them."""
        from_view, to_view = max(asked.from_view, self.final.view + 1), min(asked.to_view, self._view)
        wanted = self._views.certificates(from_view, min(to_view, from_view + CERTIFICATES_PER_MESSAGE))
        page = (self._final_certificate() + wanted)[:CERTIFICATES_PER_MESSAGE]
        if page:
            self._effects.append(out.SendCertificates(peer=asked.peer, certificates=tuple(page)))

    def _on_peer_connected(self, peer: bytes) -> None:
        self._greet(peer)
        if self._statuses is not None:
            self._effects.append(out.AskStatus())

    def _on_status(self, status: on.StatusReceived) -> None:
        """Rule 10: a lost log is made harmless by the positions of a quorum of others."""
        if self._statuses is None or status.epoch != self._epoch:
            return
        if status.validator == self.me or status.validator not in self._quorum:
            return
        self._statuses.add(status.validator)
        self.recovered = (self._epoch, max(self._sign_floor, status.view + 1))
        if self._quorum.is_quorum(self._statuses):
            self._statuses = None
            self._effects.append(out.StoreRecovery(epoch=self._epoch, view=self._sign_floor))

    # Certificates.

    def _accept(self, certificate: Certificate) -> None:
        """Rules 5, 6, 7: persist, forward, act, enter the next view."""
        statement = certificate.statement
        view, kind = statement.view, statement.kind
        state = self._views.at(view)
        held = state.certificate(kind)
        if held is not None:
            self._halt(f"view {view} has two {kind.name} certificates: a third or more of the power is Byzantine")
            return
        self._views.store(certificate)
        self._attendance.note(view, [entry.validator for entry in certificate.signatures], state.voters)
        self._effects.append(out.StoreCertificate(certificate=certificate))
        if (why := state.contradiction()) is not None:
            self._halt(f"{why}: a third or more of the voting power is Byzantine")
            return
        if any(entry.validator == self.me for entry in certificate.signatures) and not self._is_own(state, statement):
            return
        self._effects.append(out.SendCertificates(peer=None, certificates=(certificate,)))
        match kind:
            case VoteKind.NOTARIZE:
                self._on_notarization(state, statement.block_id)
            case VoteKind.NULLIFY:
                self._on_nullification(state)
            case VoteKind.FINALIZE:
                if view > self.final.view:
                    self._finalize(certificate)
        if view >= self._view:
            if view > self._view:
                self._attendance.forget()  # we were cut off: judge nobody by what we missed
            self._enter(view + 1)

    def _on_notarization(self, state: ViewState, block_id: bytes) -> None:
        """Rule 5: finalize, only if this validator has not nullified the view. The whole safety argument."""
        if state.view > self.final.view:
            self._timers.notarized(self._now_ms)
        is_silent = VoteKind.NULLIFY not in state.own and VoteKind.FINALIZE not in state.own
        if state.view >= self._view and is_silent and self._may_sign(state):
            self._cast(state, VoteKind.FINALIZE, block_id)

    def _on_nullification(self, state: ViewState) -> None:
        """Rule 6; what the skipped block carried, if anything, is pending again."""
        self._is_work_pending = True
        if state.view >= self._view:
            self._timers.window_failed()

    def _finalize(self, certificate: Certificate) -> None:
        """Rule 7: the block and its ancestors are final; what lies below is pruned."""
        statement = certificate.statement
        self._views.finalize(Final(view=statement.view, block_id=statement.block_id))
        self._timers.finalized(self._now_ms, is_more_notarized=self._views.highest_notarized > statement.view)
        self._effects.append(out.FinalizeBlock(certificate=certificate))

    # Progress in the current view.

    def _enter(self, view: int) -> None:
        """Rule 1: the timers of a new view."""
        self._view = view
        self._timers.enter(self._now_ms)
        leader = self.leader_of(view)
        if leader != self.me and self._attendance.is_absent(leader):
            self._nullify(self._views.at(view), NullifyReason.LEADER_SKIPPED)

    def _advance(self) -> None:
        """Whatever the current view allows now."""
        if not self._is_started or self._is_halted:
            return
        state = self._views.at(self._view)
        if self._is_work_pending or self._now_ms >= self._timers.hold_until_ms:
            self._timers.start(self._now_ms)
        leader = self.leader_of(self._view)
        lacking = self._propose(state) if leader == self.me else self._vote(state)
        if lacking is not None and self._timers.is_fetch_due(self._now_ms):
            fetch = out.FetchCertificates(from_view=lacking.view, to_view=self._view, first_peer=leader)
            self._effects.append(fetch)
        self._give_up(state, leader)
        if self._timers.is_retransmit_due(self._now_ms):
            self._retransmit(state)
        wake_ms = self._timers.next_deadline_ms(self._now_ms, is_fetching=lacking is not None)
        if wake_ms is not None and wake_ms != self._wake_ms:
            self._effects.append(out.WakeAt(at_ms=wake_ms))
        self._wake_ms = wake_ms

    def _propose(self, state: ViewState) -> Lacking | None:
        """Rule 2: build on the highest provable block. Rule 11: hold back while there is nothing to do."""
        if state.own or state.is_building or self._timers.started_ms is None or not self._may_sign(state):
            return None
        base = self._views.find_base(state.view)
        if isinstance(base, Lacking):
            return base
        state.is_building = True
        build = out.BuildBlock(
            epoch=self._epoch, view=state.view, parent_id=base.parent_id, parent_view=base.parent_view
        )
        self._effects.append(build)
        return None

    def _vote(self, state: ViewState) -> Lacking | None:
        """Rule 3: judge the first proposal once its ancestry is proven, and notarize it once, iff it is valid."""
        proposal = state.proposal
        if proposal is None:
            return None
        self._timers.start(self._now_ms)
        if state.verdict is None and not state.is_judging:
            match self._views.check_ancestry(proposal):
                case Lacking() as lacking:
                    return lacking
                case Contradiction():
                    state.verdict = Verdict.INVALID
                case None:
                    state.is_judging = True
                    self._effects.append(out.JudgeBlock(proposal=proposal))
        if state.verdict is Verdict.VALID and VoteKind.NOTARIZE not in state.own and self._may_sign(state):
            self._cast(state, VoteKind.NOTARIZE, proposal.block_id)
        return None

    def _give_up(self, state: ViewState, leader: bytes) -> None:
        """Rule 4: nullify, when one of its four reasons holds."""
        if state.verdict is Verdict.INVALID:
            self._nullify(state, NullifyReason.INVALID_BLOCK)
        elif leader != self.me and state.tally.has_voted(leader, VoteKind.NULLIFY):
            self._nullify(state, NullifyReason.LEADER_NULLIFIED)
        elif VoteKind.NOTARIZE not in state.own and self._timers.is_proposal_late(self._now_ms):
            self._nullify(state, NullifyReason.NO_PROPOSAL)
        elif self._timers.is_certificate_late(self._now_ms):
            self._nullify(state, NullifyReason.NO_CERTIFICATE)

    def _nullify(self, state: ViewState, reason: NullifyReason) -> None:
        """Rule 4: allowed after notarize, forbidden once finalize was sent."""
        if VoteKind.NULLIFY in state.own or VoteKind.FINALIZE in state.own or not self._may_sign(state):
            return
        self._effects.append(out.ReportNullified(view=state.view, reason=reason))
        self._cast(state, VoteKind.NULLIFY, NO_BLOCK)

    def _retransmit(self, state: ViewState) -> None:
        """Rule 8: repeat our votes, what lets others enter our view, and a page of the proofs they may lack."""
        if self._statuses is not None:
            self._effects.append(out.AskStatus())
        if self.me is None:
            return
        votes = [*self._views.own_finalizes(self.me, self._view), *state.tally.votes_of(self.me)]
        if votes:
            self._effects.append(out.SendVotes(votes=tuple(votes[-CERTIFICATES_PER_MESSAGE:])))
        self._greet(None)
        proofs = self._views.certificates(self.final.view + 1, self._view)
        pages = range(0, len(proofs), CERTIFICATES_PER_MESSAGE)
        if pages:
            self._page = (self._page + 1) % len(pages)
            start = pages[self._page]
            page = tuple(proofs[start : start + CERTIFICATES_PER_MESSAGE])
            self._effects.append(out.SendCertificates(peer=None, certificates=page))

    def _greet(self, peer: bytes | None) -> None:
        """What brings a peer to our view at once: the highest finalization and the entering certificate."""
        entering = self.entering_certificate
        certificates = dict.fromkeys([*self._final_certificate(), *([entering] if entering is not None else [])])
        if certificates:
            self._effects.append(out.SendCertificates(peer=peer, certificates=tuple(certificates)))

    def _final_certificate(self) -> list[Certificate]:
        state = self._views.known(self.final.view)
        return [state.finalization] if state is not None and state.finalization is not None else []

    # Signing.

    def _cast(self, state: ViewState, kind: VoteKind, block_id: bytes) -> None:
        state.own[kind] = block_id
        self._effects.append(out.CastVote(statement=self._statement(kind, state.view, block_id)))

    def _statement(self, kind: VoteKind, view: int, block_id: bytes) -> Statement:
        return Statement(kind=kind, epoch=self._epoch, view=view, block_id=block_id)

    @property
    def _sign_floor(self) -> int:
        """The highest view of this epoch in which nothing is signed (rule 10)."""
        if self.recovered is None:
            return 0
        epoch, view = self.recovered
        if epoch == self._epoch:
            return view
        # Who stood in the epoch's last view may have been a view ahead of the others too: in the next one's first.
        return 1 if epoch + 1 == self._epoch else 0

    def _may_sign(self, state: ViewState) -> bool:
        is_member = self.me is not None and self.me in self._quorum
        return is_member and self._statuses is None and state.view > self._sign_floor

    def _is_own(self, state: ViewState, statement: Statement) -> bool:
        """Whether a vote of our key is one we remember. Rule 10: an unknown one stops us, unless our log was lost."""
        if state.own.get(statement.kind) == statement.block_id:
            return True
        if self._statuses is not None or statement.view <= self._sign_floor:
            state.own.setdefault(statement.kind, statement.block_id)
            return True
        what = f"a {statement.kind.name} of ours in view {statement.view} is not in our log"
        self._halt(f"{what}: the consensus key is used by another process, or the log is not ours")
        return False

    def _halt(self, why: str) -> None:
        self._is_halted = True
        self._effects.append(out.Halt(why=why))
