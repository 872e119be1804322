"""Hosts consensus: feeds the state machine with verified inputs and performs its effects in their order.

Persist before send: own votes (with the body a notarize vouches for) are collected with everything else to be logged,
synced once, and only then the messages of the turn leave. Blocks are executed in overlays; the store is written when a
block is final. No socket, clock or thread is in here: the host lends them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Protocol, assert_never

import structlog

from consensus import effects as out
from consensus import inputs as on
from consensus.certificate import is_well_formed
from consensus.evidence import Evidence
from consensus.inputs import Verdict
from consensus.simplex import Position, Simplex
from consensus.types import Certificate, Proposal, Statement, Vote, VoteKind
from consensus.views import KEPT_VIEWS, Final
from node.claims import Claims
from node.errors import BlockReason, BlockRejected, DivergenceError, MessageReason, MessageRejected, TransactionRejected
from node.execution.block import Executed
from node.execution.transaction import Candidate
from node.mempool import Mempool
from node.modules.context import Pending
from node.modules.validators import Governing
from node.observation import Observation
from node.p2p.messages import BlockProposal, CertificateRequest, Certificates, Message, StatusRequest, Votes
from node.primitives.crypto import is_valid_signature
from node.proposal import BlockTree, Parent, ParentPending
from node.recall import Recall, recall
from node.signer import Signer
from node.storage.wal import (
    LARGEST_FILE_SIZE_BYTES,
    BodyHeld,
    Born,
    CertificateSeen,
    Forgotten,
    LogEntry,
    Recovered,
    VoteCast,
    WriteAheadLog,
)
from node.types.block import PROTOCOL_VERSION, Block
from node.types.signed import is_signed, vote_digest
from node.waiting import Early, EarlyMessage, Needs, Waiting

MOST_UNSYNCED_ENTRIES = 256
"""Certificates that wait for a vote to be logged with; nodes that do not vote log so many at once."""
KEPT_PROPOSAL_VIEWS = 8
"""A proposal's body is kept so many views longer than its view lasts: its certificate may come late."""

log = structlog.get_logger(__name__)


class Host(Protocol):
    """What an engine needs of the world."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970: for the time of blocks only."""

    def monotonic_ms(self) -> int:
        """Milliseconds that never go back: for timers only."""

    def call_at(self, at_ms: int, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back at a monotonic time; the result cancels it."""

    def send(self, peer: bytes, message: Message) -> None:
        """Sends to a connected peer, or drops the message."""

    def broadcast(self, message: Message) -> None:
        """Sends to every connected peer."""

    def penalize(self, peer: bytes, error: MessageRejected) -> None:
        """A peer sent something it must not."""

    def stop(self, why: str) -> None:
        """Something happened that must not: end the process with this sentence."""


class Ledger(Protocol):
    """What the engine tells the rest of the node."""

    def on_final(self, executed: Executed, certificate: Certificate | None) -> None:
        """A block is final and stored."""

    def on_evidence(self, evidence: Evidence) -> None:
        """A validator equivocated."""

    def want_block(self, block_id: bytes, first_peer: bytes | None) -> None:
        """A block's body is missing."""

    def want_blobs(self, hashes: Sequence[bytes], first_peer: bytes | None) -> None:
        """Contents are missing."""

    def peer_of(self, validator: bytes) -> bytes | None:
        """The connected node a validator runs on."""

    def on_work_rejected(self, candidate: Candidate, error: TransactionRejected) -> None:
        """A waiting transaction cannot stand in a block."""


class Engine:
    """One node's consensus."""

    def __init__(
        self,
        *,
        genesis_hash: bytes,
        signer: Signer | None,
        governing: Governing,
        final: Final,
        parent_view: int,
        tree: BlockTree,
        mempool: Mempool,
        claims: Claims,
        wal: WriteAheadLog,
        host: Host,
        ledger: Ledger,
        may_be_early: Callable[[bytes], bool],
    ) -> None:
        """`parent_view` is the view in which the last block of the epoch before was first proposed; `may_be_early`
        tells whether a peer may vote in the next epoch.
        """
        self._genesis_hash = genesis_hash
        self._signer = signer
        self._tree = tree
        self._mempool = mempool
        self._claims = claims
        self._wal = wal
        self._host = host
        self._ledger = ledger
        self._governing = governing
        self._keys = {each.id: each.consensus_key for each in governing.validators.validators}
        self._inputs: deque[on.Input] = deque()
        self._is_stepping = False
        self._entries: list[LogEntry] = []
        self._must_sync = False
        self._outbox: list[tuple[bytes | None, Message]] = []
        self._logged_bodies: set[bytes] = set()
        self._judging: Waiting[Proposal] | None = None
        self._building: Waiting[out.BuildBlock] | None = None
        self._delivering: Waiting[Certificate] | None = None
        self._proposed: dict[int, bytes] = {}
        """Blocks whose bodies nobody asked for, by the view they were proposed in."""
        self._newest_id = b""
        """The block that was last found valid or built here."""
        self._may_be_early = may_be_early
        self._early = Early()
        self._fetched = (0, 0)
        self._cancel_wake: Callable[[], None] = _nothing
        self._needs = Needs(tree, claims, host, ledger, self.on_arrival)
        self.nullified: Counter[str] = Counter()
        """Views this validator gave up, by reason."""
        self.rejected: Counter[str] = Counter()
        """Blocks this validator judged invalid, by reason."""
        self.observation = Observation()
        self.is_stopped = False
        self.stopped_why = ""
        self._is_paused = False
        me = signer.id if signer is not None else None
        recalled = recall(wal.replay(), me)
        noted = tree.log_position
        is_log_behind = noted is not None and wal.position < noted
        is_log_lost = is_log_behind or not recalled.is_known
        self.core = Simplex(me, _position(governing, final, parent_view), is_log_lost=is_log_lost)
        self._replay(recalled)

    # Life.

    def start(self) -> None:
        """Begins to take part."""
        if self.core.is_recovering:
            log.warning("log_lost", hint="this validator signs nothing until a quorum of others told where they stand")
        self.feed(on.Start())

    def feed(self, happened: on.Input) -> None:
        """Gives the state machine an input and performs what it asks for, until nothing is left."""
        if self._is_paused:
            return
        self._inputs.append(happened)
        self._run()

    def pause(self) -> None:
        """Takes nothing in and asks for nothing until `resume`: to the others it is as if this node was cut off."""
        self._is_paused = True

    def resume(self) -> None:
        """Goes on with what there was."""
        self._is_paused = False
        self.feed(on.Tick())
        self.on_arrival()

    def flush(self) -> None:
        """Makes durable what must be, then lets the turn's messages go."""
        if self._must_sync or len(self._entries) >= MOST_UNSYNCED_ENTRIES:
            if not self.core.is_log_lost:  # what was lost must not look whole because it grew
                self._wal.append(self._entries)
                if any(isinstance(entry, Recovered) for entry in self._entries):  # whole again, also after a restart
                    self._tree.note_log(self._wal.position)
            self._entries, self._must_sync = [], False  # after a failed append, nothing of this turn ever leaves
        outbox, self._outbox = self._outbox, []
        for peer, message in outbox:
            if peer is None:
                self._host.broadcast(message)
            else:
                self._host.send(peer, message)

    # What peers say.

    def on_votes(self, peer: bytes, message: Votes) -> None:
        """Votes: unknown ones are verified and counted."""
        for vote in message.votes:
            if vote.statement.epoch == self.core.epoch + 1:
                self._keep_early(peer, message, lambda: self.on_votes(peer, message))
                return
            if self.core.is_vote_useful(vote):
                self._require_vote(vote)
                self.feed(on.VoteReceived(vote=vote))

    def on_certificates(self, peer: bytes, message: Certificates) -> None:
        """Certificates: useful ones are verified and taken in."""
        for certificate in message.certificates:
            if certificate.statement.epoch == self.core.epoch + 1:
                self._keep_early(peer, message, lambda: self.on_certificates(peer, message))
                return
            self._take_certificate(certificate, is_answer=True)

    def on_proposal(self, peer: bytes, message: BlockProposal) -> None:
        """A leader's block. A body that is not what its header says is the sender's fault, not the block's."""
        vote, header = message.vote, message.block.header
        statement = vote.statement
        if statement.epoch == self.core.epoch + 1:
            self._keep_early(peer, message, lambda: self.on_proposal(peer, message))
            return
        for certificate in message.certificates:
            self._take_certificate(certificate)
        if statement.epoch != self.core.epoch or statement.view < self.core.view:
            return
        if not self.core.is_proposal_useful(vote):
            self.on_votes(peer, Votes(votes=(vote,)))  # a leader's second block is evidence; its body is none
            return
        block_id = header.id()
        if statement.kind is not VoteKind.NOTARIZE or statement.block_id != block_id:
            raise MessageRejected(MessageReason.MALFORMED, "the vote is not about the block")
        self._require_vote(vote)
        self._tree.check_proposed(message.block, statement, self._governing.parameters)
        is_again = header.view < statement.view
        self._note_proposed(statement.view, block_id)
        self._tree.add_body(message.block, block_id)
        self.observation.saw_proposal(self._host.monotonic_ms(), statement)
        proposal = Proposal(
            vote=vote,
            parent_id=block_id if is_again else header.parent_id,
            parent_view=message.parent_view if is_again else header.parent_view,
        )
        self.feed(on.ProposalReceived(proposal=proposal))
        self.on_arrival()

    def on_certificate_request(self, peer: bytes, message: CertificateRequest) -> None:
        """A peer lacks proofs."""
        if message.epoch == self.core.epoch:
            self.feed(on.CertificatesRequested(peer=peer, from_view=message.from_view, to_view=message.to_view))

    def is_valid_certificate(self, certificate: Certificate) -> bool:
        """Whether a certificate of the current epoch has its quorum and its signatures."""
        if certificate.statement.epoch != self.core.epoch or not is_well_formed(certificate, self.core.quorum):
            return False
        return is_signed(self._genesis_hash, certificate, self._keys)

    # What the node gets.

    def add_block(self, block: Block, block_id: bytes) -> None:
        """A missing body arrived."""
        self._tree.add_body(block, block_id)

    def on_arrival(self) -> None:
        """Something arrived: a delivery, a judgement or a build goes on if it waited for just that."""
        if self._is_paused:
            return
        if self._delivering is not None and self._delivering.has_come():
            self._deliver(self._delivering.what)
        if self._judging is not None and self._judging.has_come():
            self._judge(self._judging.what)
        if self._building is not None and self._building.has_come():
            self._build(self._building.what)

    def deliver(self, certificate: Certificate) -> None:
        """A verified finalization from sync, whose blocks are here."""
        self._take_certificate(certificate)
        self._deliver(certificate)
        self.on_arrival()

    def on_work(self, transaction_id: bytes) -> None:
        """A transaction was admitted: work, unless the block that came first carries it."""
        ancestors = self._tree.unfinal_ancestors(self._newest_id)
        if not any(transaction_id == each.id for executed in ancestors for each in executed.candidates):
            self.feed(on.WorkAvailable())

    @property
    def waits_for(self) -> tuple[Pending, ...]:
        """What a judgement, a build or a delivery lacks."""
        waiting = (self._judging, self._building, self._delivering)
        return tuple(each.pending for each in waiting if each is not None)

    # Effects.

    def _perform(self, effect: out.Effect) -> bool:
        """Performs one effect. Returns whether the rest of the step is void."""
        match effect:
            case out.CastVote(statement=statement):
                self._cast(statement)
            case out.CastProposal():
                self._cast_proposal(effect)
            case out.StoreCertificate(certificate=certificate):
                self._entries.append(CertificateSeen(certificate=certificate))
                self.observation.saw_certificate(self._host.monotonic_ms(), certificate.statement)
            case out.SendCertificates(peer=peer, certificates=certificates):
                self._outbox.append((peer, Certificates(certificates=certificates)))
            case out.SendVotes(votes=votes):
                self._outbox.append((None, Votes(votes=votes)))
            case out.BuildBlock():
                self.flush()  # what is decided leaves before anything takes long
                self._build(effect)
            case out.JudgeBlock(proposal=proposal):
                self.flush()
                self._judge(proposal)
            case out.FinalizeBlock(certificate=certificate):
                self.flush()
                return self._deliver(certificate)
            case out.FetchCertificates(from_view=from_view, to_view=to_view, first_peer=first_peer):
                request = CertificateRequest(epoch=self.core.epoch, from_view=from_view, to_view=to_view)
                # The proposer has the proofs; asked again, anybody may.
                is_first = self._fetched != (self.core.epoch, from_view)
                self._fetched = (self.core.epoch, from_view)
                self.observation.asked_for(self.core.epoch, from_view, to_view)
                self._outbox.append((self._ledger.peer_of(first_peer) if is_first else None, request))
            case out.AskStatus():
                self._outbox.append((None, StatusRequest()))
            case out.StoreRecovery(epoch=epoch, view=view):
                assert self._signer is not None, "only a validator recovers"
                self._entries.append(Recovered(epoch=epoch, view=view, validator=self._signer.id))
                self._must_sync = True
            case out.WakeAt(at_ms=at_ms):
                self._cancel_wake()
                self._cancel_wake = self._host.call_at(at_ms, lambda: self.feed(on.Tick()))
            case out.ReportEvidence() | out.ReportNullified() | out.Halt():
                self._report(effect)
            case _:
                assert_never(effect)
        return self.is_stopped

    def _report(self, effect: out.ReportEvidence | out.ReportNullified | out.Halt) -> None:
        match effect:
            case out.ReportEvidence(evidence=evidence):
                log.warning("equivocation", validator=evidence.first.validator.hex())
                self.observation.equivocations += 1
                self._ledger.on_evidence(evidence)
            case out.ReportNullified(view=view, reason=reason):
                self.nullified[reason.value] += 1
                log.info("view_nullified", epoch=self.core.epoch, view=view, reason=reason.value)
            case out.Halt(why=why):
                self._stop(why)

    def _cast(self, statement: Statement) -> None:
        assert self._signer is not None, "only a validator is asked to vote"
        vote = self._signer.sign(statement)
        if statement.kind is VoteKind.NOTARIZE:
            self._log_body(statement.block_id)
        self._log_vote(vote)
        self._outbox.append((None, Votes(votes=(vote,))))

    def _cast_proposal(self, effect: out.CastProposal) -> None:
        assert self._signer is not None, "only a validator is asked to propose"
        vote = self._signer.sign(effect.statement)
        block = self._log_body(effect.statement.block_id)
        self._log_vote(vote)
        self.observation.saw_proposal(self._host.monotonic_ms(), vote.statement)
        message = BlockProposal(
            vote=vote, parent_view=effect.parent_view, block=block, certificates=effect.certificates
        )
        self._outbox.append((None, message))

    def _log_vote(self, vote: Vote) -> None:
        self._entries.append(VoteCast(vote=vote))
        self._must_sync = True
        self._inputs.append(on.VoteReceived(vote=vote))

    def _log_body(self, block_id: bytes) -> Block:
        block = self._tree.body(block_id)
        assert block is not None, "what is notarized was executed here"
        if block_id not in self._logged_bodies:
            self._logged_bodies.add(block_id)
            self._entries.append(BodyHeld(block=block))
        return block

    def _build(self, effect: out.BuildBlock) -> None:
        assert self._signer is not None, "only a validator is asked to build"
        self._building = None
        if (effect.epoch, effect.view) != (self.core.epoch, self.core.view):
            return
        try:
            parent = self._tree.parent(effect.parent_id)
            if self._ends_epoch(parent):  # Rule 12: the epoch's last block is proposed again, until it is final
                block_id = effect.parent_id
            else:
                block_id = self._tree.build(
                    effect.parent_id,
                    view=effect.view,
                    parent_view=effect.parent_view,
                    now_ms=self._host.wall_ms(),
                    proposer=self._signer.id,
                    select=self._select,
                    on_rejected=self._ledger.on_work_rejected,
                ).block_id
        except ParentPending as pending:
            self._building = Waiting(effect, self._needs.get(pending, None), pending)
            return
        except BlockRejected as error:
            self._stop(f"a certified block does not execute here: {error}")
            return
        self._note_proposed(effect.view, block_id)
        self._newest_id = block_id
        self._inputs.append(
            on.BlockBuilt(
                epoch=effect.epoch, view=effect.view, block_id=block_id, is_work_left=self._is_work_left(block_id)
            )
        )
        self._run()

    def _judge(self, proposal: Proposal) -> None:
        self._judging = None
        self._needs.stop_clock()
        if proposal.vote.statement.epoch != self.core.epoch or proposal.view < self.core.view:
            return
        leader = self._ledger.peer_of(proposal.vote.validator)
        verdict = Verdict.VALID
        try:
            if proposal.parent_id == proposal.block_id:
                if not self._ends_epoch(self._tree.parent(proposal.block_id)):
                    raise BlockRejected(BlockReason.WRONG_PARENT, "only the last block of an epoch is proposed again")
            else:
                self._check_header(proposal)
                self._tree.judge(proposal.block_id, self._host.wall_ms(), self._claims.has_blob)
        except BlockRejected as error:
            log.warning("block_rejected", view=proposal.view, block=proposal.block_id.hex(), reason=str(error))
            self.rejected[error.reason.value] += 1
            verdict = Verdict.INVALID
        except Pending as pending:
            self._judging = Waiting(proposal, self._needs.get(pending, leader), pending)
            return
        if verdict is Verdict.VALID:
            self._newest_id = proposal.block_id
        is_work_left = self._is_work_left(proposal.block_id)
        self._inputs.append(
            on.BlockJudged(view=proposal.view, block_id=proposal.block_id, verdict=verdict, is_work_left=is_work_left)
        )
        self._run()

    def _check_header(self, proposal: Proposal) -> None:
        block = self._tree.body(proposal.block_id)
        if block is None:
            raise ParentPending(proposal.block_id)
        header = block.header
        if (header.view, header.proposer) != (proposal.view, proposal.vote.validator):
            raise BlockRejected(BlockReason.WRONG_PROPOSER, f"view {header.view}")
        if header.epoch != self.core.epoch:
            raise BlockRejected(BlockReason.WRONG_PARENT, f"epoch {header.epoch} has not begun")

    def _ends_epoch(self, parent: Parent) -> bool:
        """Whether a block is the last of the epoch that still runs."""
        return parent.is_epoch_end and parent.header.epoch == self.core.epoch

    def _deliver(self, certificate: Certificate) -> bool:
        """Makes a block final. Returns whether that ended the epoch."""
        self.flush()  # what the log holds is noted with the block
        position = None if self.core.is_log_lost else self._wal.position
        try:
            executed = self._tree.finalize(certificate.statement.block_id, certificate, position)
        except ParentPending as pending:
            has_come = self._needs.get(pending, None)
            if self._delivering is None or certificate.statement.view >= self._delivering.what.statement.view:
                self._delivering = Waiting(certificate, has_come, pending)
            return False
        except DivergenceError as error:
            self._stop(str(error))
            return True
        if self._delivering is not None and self._delivering.what.statement.view <= certificate.statement.view:
            self._delivering = None
        for each in executed:
            self._ledger.on_final(each, certificate if each is executed[-1] else None)
        if not executed:
            return False
        self._logged_bodies = {each for each in self._logged_bodies if self._tree.is_open(each)}
        self._restart_log()
        if not executed[-1].is_epoch_end:
            return False
        self._begin_epoch(executed[-1])
        return True

    def _begin_epoch(self, last: Executed) -> None:
        governing = last.governing
        if governing.version > PROTOCOL_VERSION:
            self._stop(f"the chain moves to protocol version {governing.version}: install a program that knows it")
            return
        self._governing = governing
        self._keys = {each.id: each.consensus_key for each in governing.validators.validators}
        self._judging = self._building = self._delivering = None
        self._proposed = {}
        position = _position(governing, Final(view=0, block_id=last.block_id), last.block.header.view)
        votes = self._signer.votes_since(position.epoch, 0) if self._signer is not None else ()
        if votes:  # the state was rolled back or replaced, the log was not: what was signed in the epoch still counts
            recovered, is_log_lost = self.core.recovered, self.core.is_log_lost
            self.core = Simplex(self._signer.id if self._signer else None, position, is_log_lost=is_log_lost)
            self.core.restore(votes, (), recovered)
            self._inputs.appendleft(on.Start())
            self._run()
            return
        self._inputs.appendleft(
            on.EpochBegan(
                epoch=position.epoch,
                validators=position.validators,
                parent_id=last.block_id,
                parent_view=position.parent_view,
                delta_ms=position.delta_ms,
                empty_block_interval_ms=position.empty_block_interval_ms,
            )
        )
        self._run()

    # Helpers.

    def _run(self) -> None:
        """Steps through the inputs there are. Within a step they wait for its end."""
        if self._is_stepping:
            return
        self._is_stepping = True
        try:
            while self._inputs and not self.is_stopped:
                now_ms = self._host.monotonic_ms()
                effects = self.core.step(now_ms, self._inputs.popleft())
                self.observation.stand(now_ms, self.core.epoch, self.core.view)
                for effect in effects:
                    if self._perform(effect):
                        break
        finally:
            self._is_stepping = False
        if self._early.is_due(self.core.epoch):
            self._replay_early()

    def _select(self, parent: Parent) -> Sequence[Candidate]:
        parameters = parent.governing.parameters
        return self._mempool.select(
            lambda address: self._tree.next_nonce(parent, address),
            parameters.block_transactions,
            parameters.block_size_bytes,
        )

    def _is_work_left(self, block_id: bytes) -> bool:
        """Whether something waits that no block from the final one up to this one carries."""
        carried = sum(
            candidate.id in self._mempool
            for executed in self._tree.unfinal_ancestors(block_id)
            for candidate in executed.candidates
        )
        return self._mempool.ready_count > carried

    def _require_vote(self, vote: Vote) -> None:
        key = self._keys.get(vote.validator)
        digest = vote_digest(self._genesis_hash, vote.statement)
        if key is None or not is_valid_signature(key, digest, vote.signature):
            raise MessageRejected(MessageReason.BAD_SIGNATURE, f"a vote in view {vote.statement.view}")

    def _take_certificate(self, certificate: Certificate, *, is_answer: bool = False) -> None:
        if not self.core.is_certificate_useful(certificate):
            return
        if not self.is_valid_certificate(certificate):
            raise MessageRejected(MessageReason.BAD_SIGNATURE, f"a certificate of view {certificate.statement.view}")
        if is_answer:
            self.observation.took_certificate(certificate.statement)
        self.feed(on.CertificateReceived(certificate=certificate))

    def _note_proposed(self, view: int, block_id: bytes) -> None:
        """Lets go of proposals of views well past that were neither certified nor notarized here."""
        for past in [each for each in self._proposed if each + KEPT_PROPOSAL_VIEWS < self.core.view]:
            past_id = self._proposed.pop(past)
            if past_id not in self._logged_bodies and not self.core.is_certified(past_id):
                self._tree.drop(past_id)
        self._proposed[view] = block_id

    def _keep_early(self, peer: bytes, message: EarlyMessage, again: Callable[[], None]) -> None:
        """Peers are an epoch ahead for the moment: what they say counts once it begins here."""
        if self._may_be_early(peer):
            self._early.keep(self.core.epoch + 1, peer, message, again)

    def _replay_early(self) -> None:
        for peer, again in self._early.take():
            try:
                again()
            except MessageRejected as error:
                self._host.penalize(peer, error)

    def _restart_log(self) -> None:
        """Replaces the log by what is still needed, once it is large."""
        if self._wal.size_bytes < LARGEST_FILE_SIZE_BYTES or self.core.is_log_lost:
            return
        self.flush()
        from_view = self.core.final.view - KEPT_VIEWS  # peers may repeat a vote of ours: it must be known then
        votes = self._signer.votes_since(self.core.epoch, from_view) if self._signer is not None else ()
        certificates = self.core.retained_certificates()
        bodies = [block for each in sorted(self._logged_bodies) if (block := self._tree.body(each)) is not None]
        entries: list[LogEntry] = [Forgotten(epoch=self.core.epoch, view=self.core.final.view)]
        if self._signer is not None:  # whose log is whole: a node without a key knows nothing of any key
            entries.append(Born(genesis_hash=self._genesis_hash, validator=self._signer.id))
            if self.core.recovered is not None:
                epoch, view = self.core.recovered
                entries.append(Recovered(epoch=epoch, view=view, validator=self._signer.id))
        entries.extend(BodyHeld(block=block) for block in bodies)
        entries.extend(CertificateSeen(certificate=certificate) for certificate in certificates)
        entries.extend(VoteCast(vote=vote) for vote in votes)
        self._wal.restart(entries)
        self._entries = []

    def _replay(self, recalled: Recall) -> None:
        for vote in recalled.votes:
            assert self._signer is not None, "votes of ours are recalled by who we are"
            self._signer.remember(vote)
        for block in recalled.bodies:
            if block.header.height > self._tree.tip.height:
                block_id = block.header.id()
                self._tree.add_body(block, block_id)
                self._logged_bodies.add(block_id)
        floor = recalled.signing_floor(self.core.epoch, self.core.final.view)
        if floor != recalled.recovered:
            log.warning("state_behind_log", epoch=self.core.epoch, hint="nothing is signed before it has caught up")
        self.core.restore(recalled.votes, recalled.certificates, floor)

    def _stop(self, why: str) -> None:
        self.is_stopped, self.stopped_why = True, why
        log.critical("halted", why=why)
        self._host.stop(why)


def _position(governing: Governing, final: Final, parent_view: int) -> Position:
    return Position(
        epoch=governing.epoch,
        validators=governing.validators.for_consensus(),
        final=final,
        parent_view=parent_view,
        delta_ms=governing.parameters.delta_ms,
        empty_block_interval_ms=governing.parameters.empty_block_interval_ms,
    )


def _nothing() -> None:
    return
