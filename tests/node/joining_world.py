"""Nodes with a chain of which only the end is left, and one that has nothing and joins them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from devnet.generate import Generator
from node.modules.accounts import Transfer
from node.modules.validators import RotateConsensusKey, possession_digest
from node.p2p.messages import (
    Message,
)
from node.primitives.codec import encode
from node.pruning import prune
from node.snapshot import make_snapshot
from node.storage.kv import MemoryStore
from node.storage.schema import Column
from node.types.parameters import Parameters
from tests.factories import Chain, make_chain, make_key, make_transaction
from tests.node.ledger import Shelf
from tests.node.mesh import Member, Mesh, Twist

PARAMETERS = Parameters(delta_ms=100, epoch_length_heights=8)
SNAPSHOT_HEIGHT = 32
TIP_HEIGHT = 43


MESHES: list[Mesh] = []


class World:
    """Some nodes with a chain of which only the end is left, and a snapshot; and one with nothing."""

    def __init__(self, directory: Path, *twists: Twist | None, is_pruned: bool = True, lag_heights: int = 0) -> None:
        self.chain: Chain = make_chain(users=1, parameters=PARAMETERS)
        self.mesh = Mesh(self.chain, directory)
        MESHES.append(self.mesh)
        self.new_key = make_key("rotated")
        twists = twists or (None, None)
        self.sources = [self.make_source(twist, is_pruned=is_pruned) for twist in twists]
        self.joiner = self.mesh.add(lag_heights=lag_heights)

    def make_source(self, twist: Twist | None, *, is_pruned: bool) -> Member:
        source = self.mesh.add(MemoryStore(), twist=twist)
        keys = (*self.chain.consensus_keys, self.new_key)
        generator = Generator(self.chain.genesis, keys, source.store, Shelf())
        for height in range(TIP_HEIGHT):
            generator.add_block(self.transactions(height))
            if generator.tip.height == SNAPSHOT_HEIGHT:
                certificate = generator.blocks.certificate(SNAPSHOT_HEIGHT)
                assert certificate is not None
                make_snapshot(source.shelf, source.store.freeze(), generator.tip, certificate, first_epoch=1)
        if is_pruned:
            prune(source.store, SNAPSHOT_HEIGHT + 1)
        return source

    def transactions(self, height: int) -> list[bytes]:
        """Payments, and one validator's new key in the second epoch."""
        payments = [Transfer(recipient=make_key(f"{height} {each}").address, amount_units=1) for each in range(8)]
        found = [
            make_transaction(self.chain, self.chain.users[0], payment, nonce=8 * height + number)
            for number, payment in enumerate(payments)
        ]
        if height == 12:
            operator = self.chain.operators[0]
            digest = possession_digest(self.chain.genesis_hash, operator.address)
            rotation = RotateConsensusKey(
                new_consensus_key=self.new_key.public_key, possession=self.new_key.sign(digest)
            )
            found.append(make_transaction(self.chain, operator, rotation, nonce=0))
        return [encode(each) for each in found]

    def start(self) -> None:
        for member in self.mesh.members:
            member.start()

    def is_level(self) -> bool:
        return self.joiner.replica is not None and self.joiner.height == TIP_HEIGHT

    def check(self) -> None:
        """The new node has the others' state, kept the ends of all epochs, and wrote nothing to its log."""
        joiner, source = self.joiner, self.sources[0]
        assert joiner.stopped is None
        for column in (Column.STATE, Column.TREE):
            start, stop = bytes((column,)), bytes((column + 1,))
            assert dict(joiner.store.iterate(start, stop)) == dict(source.store.iterate(start, stop))
        assert joiner.replica is not None
        assert all(joiner.replica.blocks.epoch_end(epoch) is not None for epoch in range(1, 6))
        assert joiner.wal is not None
        assert not any(type(entry).__name__ in ("Born", "VoteCast") for entry in joiner.wal.replay())


def only(kind: type, lie: Callable[..., Sequence[Message]]) -> Twist:
    """Lies in messages of one kind."""
    return lambda message: lie(message) if isinstance(message, kind) else (message,)


def silent(_message: Message) -> Sequence[Message]:
    return ()


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes((data[-1] ^ 1,)) if data else data
