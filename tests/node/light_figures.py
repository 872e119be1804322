"""What a light client costs: `python -m tests.node.light_figures`. Epochs are made up, signatures and trees real."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from consensus.certificate import make_certificate
from consensus.types import Statement, VoteKind
from node.light import Epoch, LightClient, check_account, is_valid_signature
from node.modules.accounts import ACCOUNTS, Account
from node.modules.validators import GOVERNING, Governing
from node.primitives.codec import encode
from node.primitives.crypto import PrivateKey, sha256
from node.primitives.crypto import is_valid_signature as is_valid_for_nodes
from node.state import tree
from node.types.block import FinalityProof, Header
from node.types.parameters import Parameters
from node.types.signed import vote_digest
from node.types.validator import Validator, ValidatorSet, sorted_validator_set
from tests.factories import make_key

GENESIS_HASH = bytes(32)
ACCOUNTS_IN_STATE = 20_000
BLANK = Header(
    version=1,
    genesis_hash=GENESIS_HASH,
    height=1,
    epoch=1,
    view=1,
    parent_id=bytes(32),
    parent_view=1,
    time_ms=1_700_000_000_000,
    proposer=bytes(20),
    transactions_root=bytes(32),
    receipts_root=bytes(32),
    state_root=bytes(32),
    validator_set_hash=bytes(32),
    parameters_hash=bytes(32),
    next_validator_set_hash=bytes(32),
)
Told = tuple[bytes, bytes, bytes, tuple[bytes, ...]]


def value_of(number: int) -> bytes:
    return encode(Account(balance_units=number, bond_units=0, nonce=0, public_key=b"", roles=0))


def address_of(number: int) -> bytes:
    return sha256(number.to_bytes(8, "big"))[:20]


class State:
    """A state tree in memory."""

    def __init__(self) -> None:
        self.nodes: dict[str, bytes | None] = {}
        self.root = bytes(32)

    def put(self, values: dict[bytes, bytes]) -> None:
        changes = {sha256(key): sha256(value) for key, value in values.items()}
        self.root, writes = tree.update(self.nodes.get, changes)
        self.nodes |= writes

    def prove(self, key: bytes) -> tuple[bytes, ...]:
        return tree.prove(self.nodes.get, sha256(key)).nodes


def finality(header: Header, keys: Sequence[PrivateKey]) -> bytes:
    statement = Statement(kind=VoteKind.FINALIZE, epoch=header.epoch, view=header.view, block_id=header.id())
    digest = vote_digest(GENESIS_HASH, statement)
    certificate = make_certificate(statement, {key.address: key.sign(digest) for key in keys})
    return encode(FinalityProof(headers=(), certificate=certificate))


def make_epochs(state: State, count: int, members: ValidatorSet, quorum: Sequence[PrivateKey]) -> list[Told]:
    """What a server sends for `count` epochs of eight blocks."""
    told = []
    for epoch in range(1, count + 1):
        governing = Governing(
            version=1, epoch=epoch + 1, first_height=8 * epoch + 1, parameters=Parameters(), validators=members
        )
        key, value = GOVERNING.table.key(b""), encode(governing)
        state.put({key: value})
        set_hash = members.hash()
        header = replace(BLANK, height=8 * epoch, epoch=epoch, state_root=state.root, validator_set_hash=set_hash)
        header = replace(header, next_validator_set_hash=set_hash)
        told.append((encode(header), finality(header, quorum), value, state.prove(key)))
    return told


def measure(validators: int, count: int, state: State) -> None:
    keys = [make_key(f"figure {index}") for index in range(validators)]
    members = sorted_validator_set(
        tuple(Validator(operator=key.address, consensus_key=key.public_key, power=1) for key in keys)
    )
    quorum = keys[: 2 * validators // 3 + 1]
    told = make_epochs(state, count, members, quorum)
    size_bytes = sum(sum(map(len, (*each[:3], *each[3]))) for each in told)
    first = Epoch(1, 1, tuple((each.operator, each.consensus_key, each.power) for each in members.validators))
    client = LightClient(GENESIS_HASH, {1: first})
    followed_s = seconds(lambda: [client.follow(*each) for each in told])
    print(
        f"{validators} validators, {len(quorum)} signatures a certificate: {count} epochs followed in "
        f"{followed_s:.2f} s, {followed_s / count * 1000:.2f} ms and {size_bytes // count} bytes each"
    )
    address = address_of(7)
    header = replace(
        BLANK, height=8 * count + 1, epoch=count + 1, state_root=state.root, validator_set_hash=members.hash()
    )
    proof, nodes = finality(header, quorum), state.prove(ACCOUNTS.key(address))
    account_s = seconds(lambda: check_account(client.check_final(encode(header), proof), address, value_of(7), nodes))
    print(f"  one account of {ACCOUNTS_IN_STATE}, with its block's certificate: {account_s * 1000:.1f} ms")


def seconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def measure_signatures() -> None:
    digest = sha256(b"digest")
    signed = [(key.public_key, digest, key.sign(digest)) for key in (make_key(f"key {index}") for index in range(100))]
    for key in ("new", "known"):
        each_s = seconds(lambda: [is_valid_signature(*each) for each in signed]) / len(signed)
        print(f"one signature, light client, {key} key: {each_s * 1e6:.0f} µs")
    each_s = seconds(lambda: [is_valid_for_nodes(*each) for each in signed]) / len(signed)
    print(f"one signature, libsodium: {each_s * 1e6:.0f} µs")


if __name__ == "__main__":
    measure_signatures()
    shared = State()
    shared.put({ACCOUNTS.key(address_of(number)): value_of(number) for number in range(ACCOUNTS_IN_STATE)})
    measure(4, 1000, shared)
    measure(31, 200, shared)
    measure(100, 100, shared)
