"""What hosts consensus: peers cost no more than they may, and no restart makes a validator contradict itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consensus import effects as out
from consensus import inputs as on
from consensus.evidence import find_conflict
from consensus.types import NO_BLOCK, Statement, Vote, VoteKind
from consensus.views import Base
from node import engine as module
from node import proposal as tree_module
from node.engine import KEPT_PROPOSAL_VIEWS, MOST_UNSYNCED_ENTRIES, Engine
from node.errors import BlockReason, MessageReason, MessageRejected, StorageError
from node.execution.block import Executed
from node.modules.context import BlobRef
from node.modules.datanets import Contribute
from node.p2p.messages import BlockProposal, Votes
from node.primitives.codec import encode
from node.primitives.crypto import PrivateKey, sha256
from node.primitives.merkle import merkle_root
from node.replica import Replica
from node.storage.wal import CertificateSeen, Recovered, VoteCast
from node.types.block import Block
from node.types.parameters import Parameters
from node.types.signed import vote_digest
from tests.consensus.build import A, B, C, D, Desk, cast, nullify
from tests.factories import make_chain, make_transaction
from tests.simulation.disk import SimLog
from tests.simulation.invariants import Invariants
from tests.simulation.world import World

PARAMETERS = Parameters(delta_ms=50, empty_block_interval_ms=200)


class Stage:
    """Validators 0, 1 and 2 of four run; the test speaks for the Byzantine fourth."""

    def __init__(self, *, running: int = 3, **changes: int) -> None:
        self.chain = make_chain(parameters=replace(PARAMETERS, **changes))
        self.invariants = Invariants()
        self.world = World(self.chain, 1, self.invariants)
        for index in range(4):
            self.world.add_node(index)
        for index in range(running):
            self.world.start(f"v{index}")
        self.evil: PrivateKey = self.chain.consensus_keys[3]
        self.peer = self.world.nodes["v3"].host.peer_id
        self.world.run(2_000)

    @property
    def replica(self) -> Replica:
        found = self.world.nodes["v0"].replica
        assert found is not None
        return found

    @property
    def engine(self) -> Engine:
        return self.replica.engine

    @property
    def log(self) -> SimLog:
        return self.world.nodes["v0"].disk.log

    def votes(self) -> list[Vote]:
        return [entry.vote for entry in self.log.entries if isinstance(entry, VoteCast)]

    def view_of_evil(self, from_view: int) -> int:
        """The first view from one on that the Byzantine validator leads."""
        view = from_view
        while self.engine.core.leader_of(view) != self.evil.address:
            view += 1
        return view

    def run_until_evil_leads(self) -> None:
        """Until it leads the view, and everybody holds the parent."""
        core = self.engine.core

        def leads() -> bool:
            is_proven = core.view == 1 or core._views.highest_notarized == core.view - 1
            return core.leader_of(core.view) == self.evil.address and is_proven

        assert self.world.run_until(leads, 60_000, 5)

    def vote(self, kind: VoteKind, view: int, block_id: bytes, *, epoch: int = 1) -> Vote:
        statement = Statement(kind=kind, epoch=epoch, view=view, block_id=block_id)
        signature = self.evil.sign(vote_digest(self.chain.genesis_hash, statement))
        return Vote(statement=statement, validator=self.evil.address, signature=signature)

    def proposal(self, in_view: int, *transactions: bytes, **header: Any) -> BlockProposal:
        """A block on the highest notarized one, with whatever its header shall say."""
        base = self.engine.core._views.find_base(self.engine.core.view)
        parent_id, parent_view = getattr(base, "parent_id", bytes(32)), getattr(base, "parent_view", 0)
        parent = self.replica.tree.body(parent_id)
        above = parent.header if parent is not None else self.replica.tree.tip
        changed = replace(
            above,
            **{
                "height": above.height + 1,
                "view": in_view,
                "parent_id": parent_id,
                "parent_view": parent_view,
                "time_ms": above.time_ms + 1,
                "proposer": self.evil.address,
                "transactions_root": merkle_root(transactions),
                **header,
            },
        )
        return BlockProposal(
            vote=self.vote(VoteKind.NOTARIZE, in_view, changed.id(), epoch=changed.epoch),
            parent_view=parent_view,
            block=Block(header=changed, transactions=transactions),
            certificates=(),
        )

    def held(self) -> int:
        """Bodies that are not final."""
        return len(self.replica.tree._bodies)

    def restart(self) -> Replica:
        self.world.crash("v0")
        found = self.world.start("v0")
        assert found is not None
        return found


def count_executions(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    executed: list[bytes] = []
    real = tree_module.execute_block

    def execute(base: Any, parent: Any, block: Block, *others: Any) -> Executed:
        executed.append(block.header.id())
        return real(base, parent, block, *others)

    monkeypatch.setattr(tree_module, "execute_block", execute)
    return executed


# What a judgement waits for.


def test_block_is_executed_once_and_only_when_all_its_contents_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    contents = [b"first", b"second"]
    records = tuple(BlobRef(hash=sha256(each), size_bytes=len(each)) for each in contents)
    payload = Contribute(datanet=bytes(32), records=records)
    transaction = make_transaction(stage.chain, stage.chain.users[0], payload, nonce=0)
    stage.run_until_evil_leads()
    message = stage.proposal(stage.engine.core.view, encode(transaction))
    executed = count_executions(monkeypatch)
    stage.replica.on_message(stage.peer, message)
    assert stage.engine._judging is not None
    for _ in range(10):
        stage.engine.on_arrival()
    stage.replica.put_blobs(contents[1:])
    stage.replica.put_blobs([b"something else"])
    assert executed == []
    stage.replica.put_blobs(contents[:1])
    assert executed == [message.block.header.id()]
    assert stage.engine._judging is None
    assert stage.engine.rejected == {BlockReason.BAD_TRANSACTION: 1}


def test_judgement_that_waits_for_an_ancestor_is_taken_up_when_just_that_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    stage.run_until_evil_leads()
    message = stage.proposal(stage.engine.core.view)
    parent_id = message.block.header.parent_id
    tree = stage.replica.tree
    parent = tree.body(parent_id)
    assert parent is not None
    assert tree.is_open(parent_id)
    tree.drop(parent_id)
    judged: list[bytes] = []
    real = tree.judge
    monkeypatch.setattr(tree, "judge", lambda block_id, *others: (judged.append(block_id), real(block_id, *others)))
    stage.replica.on_message(stage.peer, message)
    for _ in range(10):
        stage.engine.on_arrival()
    assert len(judged) == 1
    stage.engine.add_block(parent, parent_id)
    stage.engine.on_arrival()
    assert len(judged) == 2
    assert stage.engine._judging is None


def test_block_ahead_of_the_clock_is_judged_when_its_time_comes() -> None:
    stage = Stage()
    stage.run_until_evil_leads()
    stage.world.partition(([0], [1, 2, 3]))
    view, tree = stage.engine.core.view, stage.replica.tree
    base = stage.engine.core._views.find_base(view)
    assert isinstance(base, Base)
    late_ms = PARAMETERS.clock_drift_ms + 1_000
    executed = tree.build(
        base.parent_id,
        view=view,
        parent_view=base.parent_view,
        now_ms=stage.world.nodes["v0"].host.wall_ms() + late_ms,
        proposer=stage.evil.address,
        select=lambda _parent: (),
        on_rejected=lambda _candidate, _error: None,
    )
    tree.drop(executed.block_id)
    vote = stage.vote(VoteKind.NOTARIZE, view, executed.block_id)
    message = BlockProposal(vote=vote, parent_view=base.parent_view, block=executed.block, certificates=())
    stage.replica.on_message(stage.peer, message)
    assert stage.engine._judging is not None
    stage.engine.on_arrival()
    stage.world.run(late_ms - 10)
    assert stage.engine._judging is not None
    stage.world.run(20)
    assert stage.engine._judging is None
    assert VoteKind.NOTARIZE in stage.engine.core._views.at(view).own


# What a peer may make a node keep.


@pytest.mark.parametrize("ahead", [65, 400])
def test_body_of_a_proposal_far_ahead_is_not_kept(ahead: int) -> None:
    stage = Stage()
    before = stage.held()
    view = stage.view_of_evil(stage.engine.core.view + ahead)
    for number in range(20):
        stage.replica.on_message(stage.peer, stage.proposal(view, parent_id=number.to_bytes(32, "big")))
    assert stage.held() == before
    near = stage.view_of_evil(stage.engine.core.view + 1)
    stage.replica.on_message(stage.peer, stage.proposal(near))
    assert stage.held() == before + 1


def test_second_block_of_a_view_is_evidence_and_its_body_is_not_kept() -> None:
    stage = Stage()
    view = stage.view_of_evil(stage.engine.core.view + 1)
    first, second = (stage.proposal(view, parent_id=number.to_bytes(32, "big")) for number in (1, 2))
    before = stage.held()
    for message in (first, second, second):
        stage.replica.on_message(stage.peer, message)
    assert stage.held() == before + 1
    assert list(stage.replica.evidence) == [(stage.evil.address, 1, view)]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"header": {"height": 2**47}}, "the block is higher than there were views for"),
        ({"header": {"view": 2**40}}, "the block is of another epoch or a later view"),
        ({"header": {"transactions_root": bytes(32)}}, "the body is not the header's"),
        ({"transactions": (bytes(2**19),) * 3}, "a body of 1572864 bytes is above the chain's limit"),
    ],
)
def test_block_that_cannot_be_one_of_its_view_is_refused_and_not_kept(changes: dict[str, Any], why: str) -> None:
    stage = Stage()
    view = stage.view_of_evil(stage.engine.core.view + 1)
    before = stage.held()
    message = stage.proposal(view, *changes.get("transactions", ()), **changes.get("header", {}))
    with pytest.raises(MessageRejected) as caught:
        stage.replica.on_message(stage.peer, message)
    assert (caught.value.reason, caught.value.detail) == (MessageReason.MALFORMED, why)
    assert stage.held() == before


def test_body_that_came_to_nothing_leaves_with_its_view_though_nothing_becomes_final() -> None:
    stage = Stage()
    stage.world.crash("v2")  # no quorum: no block becomes final any more
    stage.world.run(2_000)
    view = stage.view_of_evil(stage.engine.core.view + 1)
    stage.replica.on_message(stage.peer, stage.proposal(view, b"\x01"))
    block_id = stage.engine._proposed[view]
    height = stage.replica.tree.tip.height
    for each in range(stage.engine.core.view, view + KEPT_PROPOSAL_VIEWS + 2):
        assert stage.replica.tree.is_open(block_id) or each > view + KEPT_PROPOSAL_VIEWS
        statement = Statement(kind=VoteKind.NULLIFY, epoch=1, view=each, block_id=NO_BLOCK)
        for index in (1, 2, 3):
            key = stage.chain.consensus_keys[index]
            signature = key.sign(vote_digest(stage.chain.genesis_hash, statement))
            vote = Vote(statement=statement, validator=key.address, signature=signature)
            stage.replica.on_message(stage.world.peer_ids[index], Votes(votes=(vote,)))
    stage.engine._note_proposed(stage.engine.core.view, bytes(32))
    assert not stage.replica.tree.is_open(block_id)
    assert stage.replica.tree.tip.height == height


def test_early_message_is_kept_for_a_validators_node_only() -> None:
    stage = Stage()
    vote = stage.vote(VoteKind.NULLIFY, 1, NO_BLOCK, epoch=2)
    stage.engine.on_votes(b"an observer", Votes(votes=(vote,)))
    assert stage.engine._early.size_bytes == 0
    stage.engine.on_votes(stage.peer, Votes(votes=(vote,)))
    assert stage.engine._early.size_bytes > 0


def test_early_vote_counts_once_its_epoch_begins() -> None:
    stage = Stage(epoch_length_heights=40)
    stage.engine.on_votes(stage.peer, Votes(votes=(stage.vote(VoteKind.NULLIFY, 2, NO_BLOCK, epoch=2),)))
    assert stage.world.run_until(lambda: stage.engine.core.epoch == 2, 60_000, 5)
    assert stage.engine._early.size_bytes == 0
    state = stage.engine.core._views.known(2)
    assert state is not None
    assert state.tally.has_voted(stage.evil.address, VoteKind.NULLIFY)


# The log.


def test_restarted_log_keeps_every_vote_of_ours_that_peers_may_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(running=4)
    stage.world.run(4_000)
    votes = stage.votes()
    monkeypatch.setattr(module, "LARGEST_FILE_SIZE_BYTES", 0)
    height = stage.replica.tree.tip.height
    assert stage.world.run_until(lambda: stage.replica.tree.tip.height > height, 5_000, 5)
    assert stage.log.file_number == 2
    monkeypatch.undo()
    replica = stage.restart()
    final_view = replica.engine.core.final.view
    for vote in votes:
        stage.replica.on_message(stage.world.peer_ids[1], Votes(votes=(vote,)))
    assert stage.world.nodes["v0"].host.stopped is None
    kept = {vote.statement.view for vote in stage.votes()}
    assert min(kept) <= final_view - 20
    stage.world.run(2_000)
    stage.invariants.check(stage.world)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("is_restarted", [False, True])
def test_validator_with_an_older_copy_of_its_log_contradicts_nothing_it_signed_after_it(
    is_restarted: bool, seed: int
) -> None:
    stage = Stage(running=4)
    stage.world.random.seed(seed)
    stage.world.links.delays_ms, stage.world.links.drop_percent = (1, 60), 15
    stage.world.run(1_000)
    backup = stage.log.copy()
    height = stage.replica.tree.tip.height
    assert stage.world.run_until(lambda: stage.replica.tree.tip.height > height + 1, 10_000, 5)
    signed = stage.votes()
    stage.log.put_back(backup)
    stage.restart()
    assert stage.engine.core.is_log_lost
    if is_restarted:  # before it heard of anybody: the copy is no better for that
        stage.world.run(1)
        stage.restart()
        assert stage.engine.core.is_log_lost
    stage.world.run(3_000)
    assert not stage.engine.core.is_recovering
    stage.restart()
    assert not stage.engine.core.is_log_lost
    for vote in signed:
        stage.replica.on_message(stage.world.peer_ids[1], Votes(votes=(vote,)))
    stage.world.run(4_000)
    assert stage.world.nodes["v0"].host.stopped is None
    later = stage.votes()
    assert len(later) > len(signed)
    assert [(old, new) for old in signed for new in later if find_conflict(old, new) is not None] == []
    assert stage.invariants.accused == set()


def test_log_that_is_lost_is_not_added_to_and_its_position_not_noted_before_others_spoke() -> None:
    stage = Stage(running=4)
    stage.world.crash("v0")
    node = stage.world.nodes["v0"]
    noted = node.disk.log.position
    node.disk.log.wipe()
    stage.world.run(1_000)
    replica = stage.world.start("v0")
    known = replica.state.log_position
    assert known is not None
    assert known <= noted
    replica._peer_of = {}  # nobody's status counts
    height = replica.tree.tip.height
    assert stage.world.run_until(lambda: replica.tree.tip.height > height + 3, 10_000)
    assert replica.engine.core.is_log_lost
    for _ in range(MOST_UNSYNCED_ENTRIES):
        replica.engine._entries.append(CertificateSeen(certificate=replica.engine.core.retained_certificates()[0]))
    replica.engine.flush()
    assert node.disk.log.entries == []
    assert replica.state.log_position == known


def test_recovery_stands_in_the_log_before_anything_is_signed_and_outlives_its_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(running=4)
    stage.world.crash("v0")
    stage.log.wipe()
    stage.world.start("v0")
    stage.world.run(2_000)
    kinds = [type(entry) for entry in stage.log.entries]
    assert kinds.count(Recovered) == 1
    assert kinds.index(Recovered) < kinds.index(VoteCast)
    [recovered] = [entry for entry in stage.log.entries if isinstance(entry, Recovered)]
    assert min(vote.statement.view for vote in stage.votes()) > recovered.view
    monkeypatch.setattr(module, "LARGEST_FILE_SIZE_BYTES", 0)
    stage.world.run(1_000)
    assert [entry for entry in stage.log.entries if isinstance(entry, Recovered)] == [recovered]


@pytest.mark.slow
def test_node_without_a_vote_keeps_no_more_certificates_in_memory_than_one_append_takes() -> None:
    stage = Stage(running=3)
    node = stage.world.nodes["v3"]
    node.key = None
    replica = stage.world.start("v3")
    for _ in range(60):
        stage.world.run(1_000)
        assert len(replica.engine._entries) <= MOST_UNSYNCED_ENTRIES
    assert sum(isinstance(entry, CertificateSeen) for entry in node.disk.log.entries) >= MOST_UNSYNCED_ENTRIES


# Recovery in the state machine (rule 10).


def test_quorum_of_positions_is_logged_before_anything_is_signed() -> None:
    desk = Desk(D, is_log_lost=True)
    for who in (A, B):
        desk.step(on.StatusReceived(validator=who, epoch=1, view=5))
    effects = desk.step(on.StatusReceived(validator=C, epoch=1, view=3))
    assert out.StoreRecovery(epoch=1, view=6) in effects
    assert not desk.core.is_log_lost


def test_restart_after_a_recovery_signs_nothing_up_to_its_view_and_is_not_stopped_by_a_forgotten_vote() -> None:
    desk = Desk(D, start=False)
    desk.core.restore([], [], (1, 6))
    desk.step(on.Start())
    assert desk.core.is_recovering
    assert desk.votes(nullify(5), D) == ()
    desk.certified(nullify(6))
    desk.step(on.WorkAvailable())
    assert cast(desk.after(300)) == [nullify(7)]


@pytest.mark.parametrize(("epoch", "is_silent"), [(2, True), (3, False)])
def test_recovery_at_an_epochs_end_covers_the_first_view_of_the_next_one(epoch: int, is_silent: bool) -> None:
    desk = Desk(D, start=False, epoch=epoch)
    desk.core.restore([], [], (1, 6))
    desk.step(on.Start())
    assert desk.core.is_recovering is is_silent


def test_vote_whose_append_failed_never_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()

    def fail(_entries: object) -> None:
        raise StorageError("no room")

    monkeypatch.setattr(stage.log, "append", fail)
    with pytest.raises(StorageError):
        stage.world.run(2_000)
    sent: list[object] = []
    monkeypatch.setattr(stage.world.nodes["v0"].host, "broadcast", sent.append)
    for _ in range(3):  # what still happens before the process has ended
        with pytest.raises(StorageError, match="no room"):
            stage.engine.flush()
    assert sent == []


def test_key_that_moves_to_a_node_whose_log_is_not_its_own_signs_nothing_before_others_spoke() -> None:
    stage = Stage(running=3)
    node, key = stage.world.nodes["v3"], stage.world.nodes["v3"].key
    node.key = None  # it only follows; its log was born for its key all the same
    node.disk.log.put_back((1, b""))
    stage.world.start("v3")
    stage.world.run(3_000)
    stage.world.crash("v3")
    node.key = key
    replica = stage.world.start("v3")
    assert replica is not None
    assert replica.engine.core.is_log_lost
    stage.world.run(3_000)
    kinds = [type(entry) for entry in node.disk.log.entries]
    assert kinds.index(Recovered) < kinds.index(VoteCast)
