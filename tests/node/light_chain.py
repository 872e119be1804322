"""A chain for light clients, made by four real nodes: a validator joins, rotates its key, another one leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from consensus.certificate import make_certificate
from consensus.types import Statement, VoteKind
from node.light import Final, LightClient, Place
from node.modules.accounts import ACCOUNTS, Transfer
from node.modules.bonds import Bond
from node.modules.governance import AdmitValidator, CastBallot, Propose, RemoveValidator
from node.modules.validators import GOVERNING, RotateConsensusKey, possession_digest
from node.primitives.codec import encode
from node.primitives.crypto import PrivateKey
from node.primitives.merkle import inclusion_proof
from node.replica import Replica
from node.storage.kv import MemoryStore
from node.storage.schema import Column, column_key, height_key
from node.types.block import FinalityProof, Header
from node.types.epoch import EpochEnd
from node.types.parameters import Parameters
from node.types.signed import vote_digest
from node.types.validator import NodeEntry
from tests.factories import Chain, make_chain, make_key, make_transaction
from tests.simulation.invariants import Invariants
from tests.simulation.world import SimNode, World

SEED = 5
EPOCH_LENGTH_HEIGHTS = 8
LIMIT_MS = 120_000
STRANGER = make_key("stranger").address
"""Nobody has used it."""
TRANSFER, FAILED, ALONE = -3, -1, 0
"""Which of the chain's transactions: one among six of its block, one that failed, one that is alone in its block."""
JOINER = 0
"""The user who becomes a validator's operator."""


@dataclass
class Played:
    """The chain as one of its nodes has it."""

    chain: Chain
    world: World
    node: SimNode
    transactions: dict[bytes, bytes]
    """Final transactions' bytes by id."""

    @property
    def replica(self) -> Replica:
        assert self.node.replica is not None
        return self.node.replica

    @property
    def height(self) -> int:
        return self.replica.tree.tip.height

    @property
    def epoch(self) -> int:
        return GOVERNING.get(self.replica.state).epoch


class Teller:
    """Sends transactions and waits until they are final."""

    def __init__(self, world: World, chain: Chain, node: SimNode) -> None:
        self.world, self.chain, self.node = world, chain, node
        self.nonces: dict[bytes, int] = {}
        self.sent: dict[bytes, bytes] = {}

    def send(self, key: PrivateKey, payload: object) -> bytes:
        nonce = self.nonces.get(key.address, 0)
        transaction = make_transaction(self.chain, key, payload, nonce=nonce)
        assert self.world.submit(self.node.name, encode(transaction))
        self.nonces[key.address] = nonce + 1
        transaction_id = transaction.id(self.chain.genesis_hash)
        self.sent[transaction_id] = encode(transaction)
        return transaction_id

    def settle(self, *transaction_ids: bytes) -> None:
        watcher = self.world.watcher
        assert isinstance(watcher, Invariants)
        is_final = watcher.is_final_at
        assert self.world.run_until(lambda: all(is_final(self.node, each) for each in transaction_ids), LIMIT_MS)

    def decide(self, action: object) -> None:
        proposal = self.send(self.chain.operators[0], Propose(action=action))  # type: ignore[arg-type]
        self.settle(proposal)
        votes = [self.send(key, CastBallot(proposal=proposal, is_yes=True)) for key in self.chain.operators[1:3]]
        self.settle(*votes)

    def end_epoch(self, node: SimNode) -> None:
        assert node.replica is not None
        state = node.replica.state
        before = GOVERNING.get(state).epoch
        assert self.world.run_until(lambda: GOVERNING.get(state).epoch > before, LIMIT_MS)


@cache
def play() -> Played:
    """The chain, played once in a process; nobody changes it."""
    parameters = Parameters(epoch_length_heights=EPOCH_LENGTH_HEIGHTS, empty_block_interval_ms=200, delta_ms=100)
    chain = make_chain(powers=(10, 10, 10, 10), users=3, parameters=parameters)
    invariants = Invariants()
    world = World(chain, SEED, invariants)
    nodes = [world.add_node(index) for index in range(4)]
    for node in nodes:
        world.start(node.name)
    teller = Teller(world, chain, nodes[0])
    joiner, first_key, second_key = chain.users[JOINER], make_key("joiner's"), make_key("joiner's next")
    digest = possession_digest(chain.genesis_hash, joiner.address)
    teller.settle(teller.send(joiner, Bond(amount_units=parameters.validator_bond_units)))
    admission = AdmitValidator(
        operator=joiner.address,
        consensus_key=first_key.public_key,
        possession=first_key.sign(digest),
        power=1,
        node=NodeEntry(name="joiner", certificate=b"the joiner's certificate", endpoint=""),
    )
    teller.decide(admission)
    teller.end_epoch(nodes[0])
    rotation = RotateConsensusKey(new_consensus_key=second_key.public_key, possession=second_key.sign(digest))
    teller.settle(teller.send(joiner, rotation))
    teller.end_epoch(nodes[0])
    teller.decide(RemoveValidator(operator=chain.operators[3].address))
    teller.end_epoch(nodes[0])
    transfers = [
        teller.send(chain.users[1], Transfer(recipient=chain.users[2].address, amount_units=amount))
        for amount in range(1, 8)
    ]
    teller.settle(*transfers)
    teller.end_epoch(nodes[0])
    too_much = teller.send(chain.users[2], Transfer(recipient=chain.users[1].address, amount_units=10**18))
    teller.settle(too_much)
    invariants.check(world)
    thin_out(nodes[0].disk.store)
    return Played(chain, world, nodes[0], teller.sent)


def thin_out(store: MemoryStore) -> None:
    """Every third certificate is missing, as after losses: those blocks are final through their descendants."""
    for height in range(2, 200, 3):
        if height % EPOCH_LENGTH_HEIGHTS:
            store.write({column_key(Column.FINALITY, height_key(height)): None})


# What a server sends.


def handover(played: Played, epoch: int) -> EpochEnd:
    found = played.replica.blocks.epoch_end(epoch)
    assert found is not None
    return found


def handover_parts(played: Played, epoch: int) -> tuple[bytes, bytes, bytes, tuple[bytes, ...]]:
    """Header, finality, governing and nodes, as `LightClient.follow` takes them."""
    found = handover(played, epoch)
    proof = FinalityProof(headers=(), certificate=found.certificate)
    return encode(found.header), encode(proof), found.governing, found.proof_nodes


def block_parts(played: Played, height: int) -> tuple[bytes, bytes]:
    """Header and finality."""
    block, proof = played.replica.blocks.block(height), played.replica.blocks.finality_proof(height)
    assert block is not None
    assert proof is not None
    return encode(block.header), encode(proof)


def transaction_parts(played: Played, transaction_id: bytes) -> tuple[int, tuple[bytes, bytes, Place, bytes, Place]]:
    """The height, and what `check_transaction` takes besides the block."""
    blocks = played.replica.blocks
    for height in range(1, played.height + 1):
        block, receipts = blocks.block(height), blocks.receipts(height)
        assert block is not None
        assert receipts is not None
        for index, receipt in enumerate(receipts):
            if receipt.transaction_id == transaction_id:
                encoded = [encode(each) for each in receipts]
                return height, (
                    transaction_id,
                    block.transactions[index],
                    Place(index, len(encoded), inclusion_proof(block.transactions, index)),
                    encoded[index],
                    Place(index, len(encoded), inclusion_proof(encoded, index)),
                )
    raise AssertionError("it is final")


def account_parts(played: Played, address: bytes) -> tuple[bytes, bytes | None, tuple[bytes, ...]]:
    """Address, value and nodes, as `check_account` takes them."""
    key, state = ACCOUNTS.key(address), played.replica.state
    return address, state.read_bytes(key), state.prove(key).nodes


# A client that has seen it.


def new_client(played: Played) -> LightClient:
    return LightClient.from_genesis(encode(played.chain.genesis), played.chain.genesis_hash)


def followed(played: Played) -> LightClient:
    client = new_client(played)
    for epoch in range(1, played.epoch):
        client.follow(*handover_parts(played, epoch))
    return client


def tip(played: Played, client: LightClient) -> Final:
    return client.check_final(*block_parts(played, played.height), is_latest=True)


# What a liar makes of it. A real quorum's keys sign whatever a lie needs: what is refused is refused for the lie alone.


def flipped(data: bytes, place: int, mask: int = 1) -> bytes:
    """The bytes with bits of one of them changed."""
    place %= len(data)
    return data[:place] + bytes((data[place] ^ mask,)) + data[place + 1 :]


def header_at(played: Played, height: int) -> Header:
    block = played.replica.blocks.block(height)
    assert block is not None
    return block.header


def quorum(played: Played) -> Sequence[PrivateKey]:
    """Keys that are a quorum in every epoch."""
    return played.chain.consensus_keys[:3]


def certify(
    played: Played,
    header: Header,
    signers: Sequence[PrivateKey] | None = None,
    *,
    kind: VoteKind = VoteKind.FINALIZE,
    epoch: int | None = None,
    genesis_hash: bytes | None = None,
    above: tuple[Header, ...] = (),
) -> bytes:
    """A finality proof with real signatures."""
    block_id = above[-1].id() if above else header.id()
    statement = Statement(kind=kind, epoch=epoch or header.epoch, view=header.view, block_id=block_id)
    digest = vote_digest(genesis_hash or played.chain.genesis_hash, statement)
    keys = quorum(played) if signers is None else signers
    certificate = make_certificate(statement, {key.address: key.sign(digest) for key in keys})
    return encode(FinalityProof(headers=above, certificate=certificate))


def shown(played: Played, number: int) -> list[Any]:
    """A block and what `check_transaction` takes."""
    height, given = transaction_parts(played, list(played.transactions)[number])
    return [followed(played).check_final(*block_parts(played, height)), *given]
