"""A leader that proposes blocks no honest validator may notarize, each time with another lie.

Honest twins alone never found a missing check of the proofs in 400 seeds; a lying proposer did at the first.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from consensus import effects as out
from consensus.effects import Effect
from consensus.inputs import Input
from consensus.types import Statement, Vote, VoteKind
from node.execution.transaction import Candidate, read_transaction
from node.p2p.messages import BlockProposal
from node.primitives.crypto import PrivateKey
from node.proposal import ParentPending
from node.replica import Replica
from node.types.block import Block, Header
from node.types.parameters import LARGEST_TRANSACTION_SIZE_BYTES
from node.types.signed import vote_digest
from tests.simulation.adversaries import never_stop_at_own_signature
from tests.simulation.world import Behaviour

LIES = (
    "state_root",
    "receipts_root",
    "future",
    "not_later",
    "proposer",
    "wrong_height",
    "wrong_set",
    "bad_transaction",
    "skip_views",
    "wrong_body",
    "other_view",
    "bad_parent",
    "oversize",
    "again",
)
BROTHER = "uncertified_parent"
"""A lie of its own: see heir.py."""


LIES_TOLD: Counter[str] = Counter()
"""How often each was told in this process."""


class LyingProposer:
    """Makes one replica lie in most of the views it leads."""

    def __init__(self, key: PrivateKey, random_source: random.Random, lies: Sequence[str] = LIES) -> None:
        self._lies = lies
        self._key = key
        self._random = random_source

    def prepare(self, replica: Replica) -> None:
        """Takes the place of the replica's honest building of blocks."""
        never_stop_at_own_signature(replica)
        engine = replica.engine
        honest_build, honest_step = engine._build, engine.core.step

        def step(now_ms: int, happened: Input) -> tuple[Effect, ...]:
            # Always in a hurry: a lie about the parent works best before the block before it is final.
            engine.core._is_work_pending = True
            return honest_step(now_ms, happened)

        engine.core.step = step  # type: ignore[method-assign]

        def build(effect: out.BuildBlock) -> None:
            if self._random.random() < 0.2:
                honest_build(effect)
                return
            try:
                self._lie(replica, effect, self._random.choice(self._lies))
            except ParentPending:
                honest_build(effect)

        engine._build = build  # type: ignore[method-assign]

    def _lie(self, replica: Replica, effect: out.BuildBlock, lie: str) -> None:
        tree = replica.tree
        parent_id, parent_view = effect.parent_id, effect.parent_view
        if lie == "skip_views":  # bypasses whatever was certified since the last final block
            parent_id, parent_view = tree.tip_id, replica.engine.core.final.view
        if lie == BROTHER:  # a brother of the certified one, that whoever asks for it gets
            parent_id = _brother(replica, parent_id)
        executed = tree.build(
            parent_id,
            view=effect.view,
            parent_view=parent_view,
            now_ms=replica.host.wall_ms(),
            proposer=self._key.address,
            select=lambda _parent: _past(replica) if lie == "again" else (),
            on_rejected=lambda _candidate, _error: None,
        )
        body = executed.block
        if lie == "again" and not body.transactions:  # its own ledger refuses them: so be it
            body = replace(body, transactions=tuple(each.data for each in _past(replica)))
        block = _falsified(body, lie, replica.host.wall_ms(), effect.view)
        statement = Statement(kind=VoteKind.NOTARIZE, epoch=effect.epoch, view=effect.view, block_id=block.header.id())
        signature = self._key.sign(vote_digest(replica.genesis_hash, statement))
        vote = Vote(statement=statement, validator=self._key.address, signature=signature)
        if lie == "wrong_body":
            block = replace(block, transactions=(*block.transactions, b"\x01"))
        message = BlockProposal(vote=vote, parent_view=parent_view, block=block, certificates=())
        peers = list(replica.host.peers())
        LIES_TOLD[lie] += 1
        # A skipped view needs a quorum to do harm; the other lies try to split the others.
        fewest = len(peers) if lie == "skip_views" else 1
        for peer in self._random.sample(peers, self._random.randint(fewest, len(peers))):
            replica.host.send(peer, message)


def _past(replica: Replica) -> Sequence[Candidate]:
    """What is final already."""
    past = replica.blocks.block(replica.tree.tip.height)
    return [read_transaction(data, replica.genesis_hash) for data in past.transactions] if past is not None else []


def _brother(replica: Replica, block_id: bytes) -> bytes:
    block = replica.tree.body(block_id)
    if block is None or not replica.tree.is_open(block_id):
        return block_id
    brother = Block(header=replace(block.header, time_ms=block.header.time_ms + 1), transactions=block.transactions)
    replica.tree.add_body(brother, brother.header.id())
    return brother.header.id()


def _falsified(block: Block, lie: str, now_ms: int, view: int) -> Block:
    header = block.header
    changes: dict[str, object] = {
        "state_root": {"state_root": bytes(31) + b"\x01"},
        "receipts_root": {"receipts_root": bytes(31) + b"\x02"},
        "future": {"time_ms": now_ms + 3_600_000},
        "not_later": {"time_ms": 1},
        "proposer": {"proposer": bytes(19) + b"\x01"},
        "wrong_height": {"height": header.height + 1},
        "wrong_set": {"validator_set_hash": bytes(31) + b"\x03"},
        "other_view": {"view": view + 1},
        "bad_parent": {"parent_id": bytes(31) + b"\x04"},
    }.get(lie, {})
    transactions = {
        "bad_transaction": (b"\x90",),
        "oversize": (bytes(LARGEST_TRANSACTION_SIZE_BYTES - 100),) * 2,
    }.get(lie, block.transactions)
    changed = Block(header=_replaced(header, changes), transactions=transactions)
    return Block(
        header=replace(changed.header, transactions_root=changed.transactions_root()), transactions=transactions
    )


def _replaced(header: Header, changes: object) -> Header:
    assert isinstance(changes, dict)
    return replace(header, **changes)


def lying_proposer(key: PrivateKey, random_source: random.Random) -> Behaviour:
    """Lies in most of the views it leads."""
    return Behaviour(prepare=LyingProposer(key, random_source).prepare)
