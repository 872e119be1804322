"""What must hold at every moment and at the end of a run, whatever goes wrong: the claims of the protocol.

Looked at as it happens: everything honest nodes log, send, and call final, over all their incarnations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from consensus.evidence import Evidence, find_conflict
from consensus.types import Certificate, Statement, Vote, VoteKind
from consensus.views import KEPT_VIEWS
from node.execution.transaction import read_transaction
from node.p2p.messages import BlockProposal, Certificates, Message, Votes
from node.replica import FinalBlock, Replica
from node.storage.wal import CertificateSeen, LogEntry, VoteCast
from node.types.block import Block, Header
from tests.simulation.disk import Disk
from tests.simulation.world import SimNode, World

MOST_MESSAGES_PER_VIEW = 40
"""What an honest node may send while it is in a view or waits for another 2Δ."""
MOST_OPEN_VIEWS = 64
"""FUTURE_VIEWS of the core: how far ahead of its own view a node remembers anything."""


class Violation(AssertionError):
    """An invariant does not hold; the message names it."""


@dataclass(frozen=True)
class Final:
    """A final block, wherever it was seen first."""

    block_id: bytes
    state_root: bytes
    block: Block
    certificate: Certificate | None


@dataclass
class Invariants:
    """Looks on while a world runs."""

    chain: list[Final] = field(default_factory=list)
    """The one chain, by height from 1."""
    heights: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Final height by node."""
    accused: set[bytes] = field(default_factory=set)
    """Validators of which somebody honest holds evidence."""
    certificates: int = 0
    """Certificates looked at."""
    doubled: set[tuple[bytes, int, int]] = field(default_factory=set)
    """(Validator, epoch, view) in which a Byzantine validator was seen to contradict itself."""
    _honest_keys: set[bytes] = field(default_factory=set)
    _votes: dict[tuple[bytes, int, int], list[Vote]] = field(default_factory=dict)
    _said: set[tuple[bytes, Statement]] = field(default_factory=set)
    _certified: dict[tuple[int, int], dict[VoteKind, bytes]] = field(default_factory=dict)
    _final_views: dict[int, set[int]] = field(default_factory=dict)
    _final_at: dict[bytes, int] = field(default_factory=dict)
    """Height of each final transaction."""

    # As it happens.

    def on_sent(self, node: SimNode, message: Message) -> None:
        """No honest key ever contradicts itself, whatever its node has forgotten."""
        if not node.is_honest:
            return
        match message:
            case Votes(votes=votes):
                for vote in votes:
                    self._on_vote(vote)
            case BlockProposal(vote=vote):
                self._on_vote(vote)
            case Certificates(certificates=certificates):
                for certificate in certificates:
                    self._on_certificate(certificate)
            case _:
                pass

    def on_logged(self, node: SimNode, entries: Sequence[LogEntry]) -> None:
        """What is durable, though its message may never have left."""
        if not node.is_honest:
            return
        for entry in entries:
            match entry:
                case VoteCast(vote=vote):
                    self._on_vote(vote)
                case CertificateSeen(certificate=certificate):
                    self._on_certificate(certificate)
                case _:
                    pass

    def on_final(self, node: SimNode, final: FinalBlock) -> None:
        """One block per height, equal roots, no height left out, no transaction twice."""
        if not node.is_honest:
            return
        executed = final.executed
        header = executed.block.header
        if header.height != self.heights[node.name] + 1:
            raise Violation(f"{node.name} makes height {header.height} final after {self.heights[node.name]}")
        if node.replica is not None and header.proposer != node.replica.engine.core.leader_of(header.view):
            raise Violation(f"height {header.height} was proposed by somebody who does not lead its view")
        if node.replica is not None and header.height > len(self.chain):
            self._check_governing(header, node.replica)
        self._on_height(node, executed.block, executed.block_id, executed.layer.root, final.certificate)

    def _check_governing(self, header: Header, replica: Replica) -> None:
        """A header names the set and the parameters that govern it."""
        governing = replica.engine._governing
        if (header.epoch, header.validator_set_hash, header.parameters_hash) != (
            governing.epoch,
            governing.validators.hash(),
            governing.parameters.hash(),
        ):
            raise Violation(f"height {header.height} does not name what governs it")

    def on_started(self, node: SimNode, replica: Replica) -> None:
        """What a node made final just before it crashed, unheard."""
        if node.is_honest and node.key is not None:
            self._honest_keys.add(node.key.address)
        self.heights[node.name] = min(self.heights[node.name], replica.tree.tip.height)
        for height in range(self.heights[node.name] + 1, replica.tree.tip.height + 1):
            block = replica.blocks.block(height)
            assert block is not None, "final blocks are stored"
            certificate = replica.blocks.certificate(height)
            self._on_height(node, block, block.header.id(), block.header.state_root, certificate)

    def _on_height(
        self, node: SimNode, block: Block, block_id: bytes, state_root: bytes, certificate: Certificate | None
    ) -> None:
        if not node.is_honest:
            return
        height = self.heights[node.name] = block.header.height
        if height > len(self.chain):
            self._extend(Final(block_id, state_root, block, certificate))
            return
        known = self.chain[height - 1]
        if (block_id, state_root) != (known.block_id, known.state_root):
            raise Violation(f"{node.name} has another block or another state root at height {height}")

    def on_evidence(self, node: SimNode, evidence: Evidence) -> None:
        """No honest validator is ever accused."""
        validator = evidence.first.validator
        if validator in self._honest_keys:
            raise Violation(f"{node.name} accuses the honest {validator.hex()[:6]}")
        if node.is_honest:
            self.accused.add(validator)

    def _on_vote(self, vote: Vote) -> None:
        if (vote.validator, vote.statement) in self._said or vote.validator not in self._honest_keys:
            return
        self._said.add((vote.validator, vote.statement))
        earlier = self._votes.setdefault((vote.validator, vote.statement.epoch, vote.statement.view), [])
        for other in earlier:
            if find_conflict(other, vote) is not None:
                raise Violation(f"the honest {vote.validator.hex()[:6]} contradicts itself: {other} and {vote}")
        earlier.append(vote)

    def _on_certificate(self, certificate: Certificate) -> None:
        """Never two notarizations in a view, no nullification of a finalised view."""
        statement = certificate.statement
        known = self._certified.setdefault((statement.epoch, statement.view), {})
        if known.get(statement.kind) == statement.block_id:
            return
        self.certificates += 1
        where = f"view {statement.epoch}/{statement.view}"
        if statement.kind in known:
            raise Violation(f"{where} has two certificates of kind {statement.kind.name}")
        known[statement.kind] = statement.block_id
        if VoteKind.FINALIZE in known and VoteKind.NULLIFY in known:
            raise Violation(f"{where} is finalised and nullified")
        if (
            VoteKind.FINALIZE in known
            and known.get(VoteKind.NOTARIZE, known[VoteKind.FINALIZE]) != known[VoteKind.FINALIZE]
        ):
            raise Violation(f"{where} finalises another block than it notarizes")
        if statement.kind is VoteKind.FINALIZE:
            self._final_views.setdefault(statement.epoch, set()).add(statement.view)

    def _extend(self, final: Final) -> None:
        header = final.block.header
        if self.chain and header.parent_id != self.chain[-1].block_id:
            raise Violation(f"height {header.height} does not extend the final block below it")
        if header.state_root != final.state_root:
            raise Violation(f"height {header.height} claims another state root than executing it gives")
        if self.chain and header.time_ms <= self.chain[-1].block.header.time_ms:
            raise Violation(f"height {header.height} is not later than the one below it")
        if header.parent_view >= header.view:
            raise Violation(f"height {header.height} extends a later view")
        if final.certificate is not None:
            self._on_certificate(final.certificate)
        for data in final.block.transactions:
            transaction_id = read_transaction(data, header.genesis_hash).id
            if transaction_id in self._final_at:
                raise Violation(f"transaction {transaction_id.hex()[:8]} is final at two heights")
            self._final_at[transaction_id] = header.height
        self.chain.append(final)

    # Between faults, and at the end.

    def check(self, world: World) -> None:
        """Nobody honest stopped; no finalised view is bypassed; memory and messages are bounded."""
        for final in self.chain:
            header = final.block.header
            bypassed = [
                view for view in self._final_views.get(header.epoch, ()) if header.parent_view < view < header.view
            ]
            if bypassed:
                raise Violation(f"height {header.height} bypasses the finalised views {bypassed}")
        for node in world.honest():
            if node.host.stopped is not None:
                raise Violation(f"the honest {node.name} stopped: {node.host.stopped}")
            if node.replica is not None:
                _check_bounds(node, node.replica)

    def final_height(self, transaction_id: bytes, otherwise: int) -> int:
        """The height a transaction is final at."""
        return self._final_at.get(transaction_id, otherwise)

    def is_final(self, transaction_id: bytes) -> bool:
        """Whether a transaction is final somewhere."""
        return transaction_id in self._final_at

    def is_final_at(self, node: SimNode, transaction_id: bytes) -> bool:
        """Whether a transaction is final at a node."""
        return self._final_at.get(transaction_id, self.heights[node.name] + 1) <= self.heights[node.name]


def _check_bounds(node: SimNode, replica: Replica) -> None:
    core = replica.engine.core
    span = core.view - core.final.view + KEPT_VIEWS + MOST_OPEN_VIEWS + 1
    sizes = {"views": len(core._views._states), "bodies": len(replica.tree._bodies)}
    for what, size in sizes.items():
        if size > span:
            raise Violation(f"{node.name} keeps {size} {what} for {span} views that matter")


def check_messages(world: World, deltas: int) -> None:
    """A node says a bounded number of things per view and per 2Δ of waiting. `deltas` is how many Δ the run took."""
    for node in world.honest():
        if node.replica is None:
            continue
        assert node.key is not None, "it votes"
        views = sum(1 for (validator, _, _) in _views_of(world) if validator == node.key.address)
        most = MOST_MESSAGES_PER_VIEW * (views + deltas // 2 + 1) * max(1, len(world.nodes) // 4)
        if node.host.sent > most:
            raise Violation(f"{node.name} sent {node.host.sent} messages in {views} views and {deltas} Δ")


def _views_of(world: World) -> Sequence[tuple[bytes, int, int]]:
    watcher = world.watcher
    assert isinstance(watcher, Invariants), "the world is watched"
    return list(watcher._votes)


def check_supply(world: World) -> None:
    """Every OPEN stands somewhere: accounts, bonds, pools, the treasury."""
    for node in world.honest():
        if node.replica is None:
            continue
        audit = node.replica.audit()
        while not audit.advance():
            pass
        error = audit.error()
        if error is not None:
            raise Violation(f"{node.name}: {error}")


def check_again(world: World, invariants: Invariants, make_replica: Callable[[Disk], Replica]) -> None:
    """Executing the chain again from the genesis gives the same state root at every height."""
    disk = Disk(world.chain.genesis_hash, bytes(20))
    replica = make_replica(disk)
    for final in invariants.chain:
        replica.tree.add_body(final.block, final.block_id)
        (executed,) = replica.tree.finalize(final.block_id, final.certificate)
        if executed.layer.root != final.state_root:
            raise Violation(f"executing height {final.block.header.height} again gives another state root")


def check_everybody_has(world: World, invariants: Invariants, transaction_ids: Sequence[bytes]) -> None:
    """Each transaction that was taken is final, once, at a height every honest node that is up has reached."""
    missing = [each.hex()[:8] for each in transaction_ids if not invariants.is_final(each)]
    if missing:
        raise Violation(f"transactions that never became final: {missing}")
    up = [node for node in world.honest() if node.replica is not None]
    low = min(invariants.heights[node.name] for node in up)
    late = [each.hex()[:8] for each in transaction_ids if invariants._final_at[each] > low]
    if late:
        raise Violation(f"transactions that are not final everywhere: {late}")
