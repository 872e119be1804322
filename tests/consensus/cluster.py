"""Pure cores in a seeded network: no engine, no bytes, blocks are (parent, view) hashes. Finds protocol bugs fast."""

from __future__ import annotations

import hashlib
import heapq
import random
from dataclasses import dataclass, field

from consensus import effects as out
from consensus import inputs as on
from consensus.evidence import find_conflict
from consensus.simplex import Position, Simplex
from consensus.types import Proposal, Validator, ValidatorSet, Vote
from consensus.views import Final

GENESIS = hashlib.sha256(b"genesis").digest()
DELTA_MS = 100


def validator_id(index: int) -> bytes:
    return hashlib.sha256(b"validator %d" % index).digest()[:20]


def make_set(powers: list[int]) -> ValidatorSet:
    members = [Validator(id=validator_id(index), power=power) for index, power in enumerate(powers)]
    return ValidatorSet(validators=tuple(sorted(members, key=lambda member: member.id)))


def position(validators: ValidatorSet, epoch: int = 1) -> Position:
    return Position(
        epoch=epoch,
        validators=validators,
        final=Final(view=0, block_id=GENESIS),
        parent_view=0,
        delta_ms=DELTA_MS,
        empty_block_interval_ms=1000,
    )


def sign(statement, validator: bytes) -> Vote:
    signature = hashlib.sha512(repr(statement).encode() + validator).digest()
    return Vote(statement=statement, validator=validator, signature=signature)


@dataclass
class Node:
    me: bytes
    core: Simplex
    log_votes: list[Vote] = field(default_factory=list)
    log_certificates: list = field(default_factory=list)
    finalized: list = field(default_factory=list)
    """Certificates in the order they came."""
    wake_ms: int | None = None
    """The one Tick asked for."""
    is_up: bool = True
    incarnation: int = 0


class Cluster:
    """Honest cores; the network drops, delays, duplicates and partitions by its seed."""

    def __init__(self, powers: list[int], seed: int, *, drop: float = 0.0, longest_delay_ms: int = 30) -> None:
        self.random = random.Random(seed)
        self.validators = make_set(powers)
        self.ids = [member.id for member in self.validators.validators]
        self.drop, self.longest_delay_ms = drop, longest_delay_ms
        self.now_ms = 0
        self.queue: list = []
        self.count = 0
        self.parents: dict[bytes, bytes] = {}
        self.cut: set[tuple[bytes, bytes]] = set()
        self.catch = None
        """Called with (sender, receiver, input) of each message; true when it took the message away."""
        self.halts: list[str] = []
        self.evidence: list = []
        self.nodes = {me: Node(me, Simplex(me, position(self.validators))) for me in self.ids}
        self.is_work = True
        for me in self.ids:
            self.feed(me, on.Start())

    def run(self, until_ms: int) -> None:
        while self.queue and self.queue[0][0] <= until_ms:
            self.now_ms, _, me, incarnation, happened = heapq.heappop(self.queue)
            node = self.nodes[me]
            if not node.is_up or node.incarnation != incarnation:
                continue
            if isinstance(happened, on.Tick):
                if node.wake_ms != self.now_ms:
                    continue
                node.wake_ms = None
            self.feed(me, happened)
        self.now_ms = until_ms

    def feed(self, me: bytes, happened) -> None:
        pending = [happened]
        while pending:
            for effect in self.nodes[me].core.step(self.now_ms, pending.pop(0)):
                pending.extend(self.perform(me, effect))

    def crash(self, me: bytes) -> None:
        self.nodes[me].is_up = False
        self.nodes[me].incarnation += 1

    def restart(self, me: bytes) -> None:
        node = self.nodes[me]
        node.core = Simplex(me, position(self.validators))
        node.core.restore(node.log_votes, node.log_certificates)
        node.is_up = True
        self.feed(me, on.Start())

    def at(self, at_ms: int, me: bytes, happened) -> None:
        self.count += 1
        heapq.heappush(self.queue, (at_ms, self.count, me, self.nodes[me].incarnation, happened))

    def send(self, sender: bytes, happened, peer: bytes | None = None) -> None:
        for other in self.ids if peer is None else [peer]:
            if other == sender or (sender, other) in self.cut or self.random.random() < self.drop:
                continue
            if self.catch is not None and self.catch(sender, other, happened):
                continue
            for _ in range(2 if self.random.random() < self.drop / 3 else 1):
                self.at(self.now_ms + self.random.randint(1, self.longest_delay_ms), other, happened)

    def perform(self, me: bytes, effect) -> list:
        node = self.nodes[me]
        match effect:
            case out.CastVote(statement=statement):
                vote = self.log_vote(node, statement)
                self.send(me, on.VoteReceived(vote=vote))
                return [on.VoteReceived(vote=vote)]
            case out.CastProposal():
                vote = self.log_vote(node, effect.statement)
                proposal = Proposal(vote=vote, parent_id=effect.parent_id, parent_view=effect.parent_view)
                for certificate in effect.certificates:
                    self.send(me, on.CertificateReceived(certificate=certificate))
                self.send(me, on.ProposalReceived(proposal=proposal))
                return [on.VoteReceived(vote=vote)]
            case out.StoreCertificate(certificate=certificate):
                node.log_certificates.append(certificate)
            case out.SendCertificates(peer=peer, certificates=certificates):
                for certificate in certificates:
                    self.send(me, on.CertificateReceived(certificate=certificate), peer)
            case out.SendVotes(votes=votes):
                for vote in votes:
                    self.send(me, on.VoteReceived(vote=vote))
            case out.BuildBlock():
                block_id = hashlib.sha256(b"%d" % effect.view + effect.parent_id + me).digest()
                self.parents[block_id] = effect.parent_id
                return [on.BlockBuilt(epoch=1, view=effect.view, block_id=block_id, is_work_left=self.is_work)]
            case out.JudgeBlock(proposal=proposal):
                verdict = on.Verdict.VALID
                return [self.judged(proposal, verdict)]
            case out.FinalizeBlock(certificate=certificate):
                node.finalized.append(certificate)
            case out.FetchCertificates():
                asked = on.CertificatesRequested(peer=me, from_view=effect.from_view, to_view=effect.to_view)
                self.send(me, asked, effect.first_peer if effect.first_peer != me else None)
            case out.WakeAt(at_ms=at_ms):
                node.wake_ms = at_ms
                self.at(at_ms, me, on.Tick())
            case out.ReportEvidence(evidence=evidence):
                self.evidence.append(evidence)
            case out.Halt(why=why):
                self.halts.append(why)
        return []

    def judged(self, proposal: Proposal, verdict: on.Verdict):
        return on.BlockJudged(
            view=proposal.view, block_id=proposal.block_id, verdict=verdict, is_work_left=self.is_work
        )

    def log_vote(self, node: Node, statement) -> Vote:
        vote = sign(statement, node.me)
        for earlier in node.log_votes[-200:]:
            assert find_conflict(earlier, vote) is None, "an honest node equivocated"
        node.log_votes.append(vote)
        return vote

    def chain(self, block_id: bytes) -> list[bytes]:
        chain = []
        while block_id != GENESIS:
            chain.append(block_id)
            block_id = self.parents[block_id]
        return chain[::-1]

    def check_safety(self) -> None:
        assert not self.halts, self.halts
        chains = [self.chain(node.core.final.block_id) for node in self.nodes.values()]
        longest = max(chains, key=len)
        for chain in chains:
            assert chain == longest[: len(chain)], "two nodes finalised different chains"
        on_chain = set(longest)
        for node in self.nodes.values():
            assert all(certificate.statement.block_id in on_chain for certificate in node.finalized)

    def heights(self) -> list[int]:
        return [len(self.chain(node.core.final.block_id)) for node in self.nodes.values()]
