"""The light client on a chain of real nodes: what is true is shown, and no lie gets through."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import node.light as light
from consensus.types import MOST_VALIDATORS, Certificate, Statement, VoteKind, VoteSignature
from node.light import (
    Account,
    LightClient,
    check_account,
    check_state,
    check_transaction,
)
from node.modules.accounts import Account as StoredAccount
from node.modules.accounts import load_account
from node.modules.supply import SUPPLY
from node.modules.validators import GOVERNING
from node.primitives.codec import encode
from node.primitives.crypto import PrivateKey, Tag, is_valid_signature
from node.state.tree import DEEPEST
from node.storage.blocks import MOST_PROOF_HEADERS
from node.storage.schema import Prefix
from node.types.block import PROTOCOL_VERSION, FinalityProof, Header
from node.types.parameters import LARGEST_BLOCK_SIZE_BYTES, LARGEST_TRANSACTION_SIZE_BYTES, Parameters
from tests.factories import make_chain, make_key
from tests.node.light_chain import (
    EPOCH_LENGTH_HEIGHTS,
    LIMIT_MS,
    STRANGER,
    Played,
    account_parts,
    block_parts,
    flipped,
    followed,
    handover,
    handover_parts,
    play,
    tip,
    transaction_parts,
)
from tests.node.primitives.test_crypto import RFC_8032, SIGNATURES, parts
from tests.node.samples import sample
from tests.simulation.invariants import Invariants
from tests.simulation.world import World

LIGHT = Path(light.__file__)
THROUGH_DESCENDANTS = 2
"""A height whose own certificate is missing."""


@pytest.fixture(name="played", scope="module")
def played_fixture() -> Played:
    return play()


# What is true is shown.


def test_the_validators_of_every_epoch_are_followed_through_a_join_a_rotation_and_a_leave(played: Played) -> None:
    client = followed(played)
    assert list(client.epochs) == [1, 2, 3, 4, 5]
    joiner = played.chain.users[0].address
    keys = {
        number: {key: power for operator, key, power in epoch.validators if operator == joiner}
        for number, epoch in client.epochs.items()
    }
    first, second = make_key("joiner's").public_key, make_key("joiner's next").public_key
    assert keys == {1: {}, 2: {first: 1}, 3: {second: 1}, 4: {second: 1}, 5: {second: 1}}
    leaver = played.chain.consensus_keys[3].public_key
    assert [number for number, epoch in client.epochs.items() if leaver in {key for _, key, _ in epoch.validators}] == [
        1,
        2,
        3,
    ]
    for number, epoch in client.epochs.items():
        block = played.replica.blocks.block(epoch.first_height)
        assert block is not None
        assert (block.header.epoch, block.header.validator_set_hash) == (number, epoch.set_hash)
        assert epoch.first_height == 1 + (number - 1) * EPOCH_LENGTH_HEIGHTS


def test_a_client_that_starts_at_an_epochs_last_block_knows_the_same_from_there_on(played: Played) -> None:
    header, _, governing, nodes = handover_parts(played, 2)
    last = handover(played, 2).header
    client = LightClient.from_block(last.height, last.id(), header, governing, nodes)
    for epoch in range(3, played.epoch):
        client.follow(*handover_parts(played, epoch))
    whole = followed(played)
    assert client.epochs == {number: epoch for number, epoch in whole.epochs.items() if number > 2}
    assert tip(played, client) == tip(played, whole)


def test_every_block_is_shown_final_by_its_own_certificate_or_a_descendants(played: Played) -> None:
    client = followed(played)
    certified = {}
    for height in range(1, played.height + 1):
        final = client.check_final(*block_parts(played, height))
        block = played.replica.blocks.block(height)
        assert block is not None
        assert (final.block_id, final.header.height) == (block.header.id(), height)
        assert 3 * final.power > 2 * final.total_power
        certified[height] = final.certified_height
    assert certified[THROUGH_DESCENDANTS] > THROUGH_DESCENDANTS
    assert certified[EPOCH_LENGTH_HEIGHTS] == EPOCH_LENGTH_HEIGHTS
    assert client.newest_height == played.height


def test_an_accounts_value_is_shown_and_so_is_that_nobody_used_an_address(played: Played) -> None:
    client = followed(played)
    final = tip(played, client)
    people = [*played.chain.users, *played.chain.operators]
    for key in people:
        stored = load_account(played.replica.state, key.address)
        shown = check_account(final, *account_parts(played, key.address))
        assert StoredAccount(**shown._asdict()) == stored
    assert check_account(final, *account_parts(played, STRANGER)) == Account(0, 0, 0, b"", 0)
    assert account_parts(played, STRANGER)[1] is None


def test_any_state_key_is_shown(played: Played) -> None:
    state, root = played.replica.state, tip(played, followed(played)).header.state_root
    for key in (SUPPLY.table.key(b""), GOVERNING.table.key(b"")):
        value = state.read_bytes(key)
        assert value is not None
        check_state(root, key, value, state.prove(key).nodes)
    check_state(root, b"no such key", None, state.prove(b"no such key").nodes)
    check_state(bytes(32), b"any key", None, ())


def test_every_transaction_is_shown_with_what_came_of_it(played: Played) -> None:
    client = followed(played)
    failures = []
    for transaction_id in played.transactions:
        height, shown = transaction_parts(played, transaction_id)
        receipt = check_transaction(client.check_final(*block_parts(played, height)), *shown)
        assert receipt.transaction_id == transaction_id
        failures.append(receipt.failure)
    assert failures == [""] * (len(failures) - 1) + ["insufficient_balance"]


def test_the_constants_are_the_nodes(played: Played) -> None:
    tags = {"ol/genesis", "ol/block", "ol/validators", "ol/finalize", "ol/transaction"}
    assert tags <= {tag.value for tag in Tag}
    assert all(f'"{tag}"' in LIGHT.read_text() for tag in tags)
    assert bytes((Prefix.ACCOUNT,)) == light.ACCOUNT_TABLE
    assert GOVERNING.table.key(b"") == light.GOVERNING_KEY
    assert (light.FINALIZE, light.VERSION) == (VoteKind.FINALIZE, PROTOCOL_VERSION)
    assert (light.MOST_HEADERS, light.MOST_VALIDATORS) == (MOST_PROOF_HEADERS, MOST_VALIDATORS)
    assert light.MOST_NODES == DEEPEST + 1
    assert list(light.Header._fields) == list(Header.__dataclass_fields__)
    assert list(Account._fields) == list(StoredAccount.__dataclass_fields__)


# One file.


def test_the_module_imports_the_standard_library_only() -> None:
    imported = set()
    for statement in ast.walk(ast.parse(LIGHT.read_text())):
        if isinstance(statement, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            imported.add((statement.module or "").split(".")[0])
    assert imported <= sys.stdlib_module_names


ALONE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from light import LightClient, LightRefused, check_account
told = json.loads(sys.stdin.read())
hexed = bytes.fromhex
client = LightClient.from_genesis(hexed(told["genesis"]), hexed(told["genesis_hash"]))
for header, finality, governing, nodes in told["epochs"]:
    client.follow(hexed(header), hexed(finality), hexed(governing), [hexed(node) for node in nodes])
final = client.check_final(hexed(told["header"]), hexed(told["finality"]), is_latest=True)
nodes = [hexed(node) for node in told["nodes"]]
account = check_account(final, hexed(told["address"]), hexed(told["value"]), nodes)
try:
    check_account(final, hexed(told["address"]), None, nodes)
except LightRefused as error:
    reason = str(error.reason)
loaded = sorted(each for each in sys.modules if each.split(".")[0] not in sys.stdlib_module_names)
print(json.dumps([final.header.height, list(client.epochs), account.nonce, reason, loaded]))
"""


def test_the_file_works_alone_in_an_empty_directory(played: Played, tmp_path: Path) -> None:
    (tmp_path / "light.py").write_bytes(LIGHT.read_bytes())
    header, finality = block_parts(played, played.height)
    address, value, nodes = account_parts(played, played.chain.users[1].address)
    assert value is not None
    epochs = [handover_parts(played, epoch) for epoch in range(1, played.epoch)]
    told = {
        "genesis": encode(played.chain.genesis).hex(),
        "genesis_hash": played.chain.genesis_hash.hex(),
        "epochs": [[each[0].hex(), each[1].hex(), each[2].hex(), [n.hex() for n in each[3]]] for each in epochs],
        "header": header.hex(),
        "finality": finality.hex(),
        "address": address.hex(),
        "value": value.hex(),
        "nodes": [node.hex() for node in nodes],
    }
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ALONE, str(tmp_path)],
        input=json.dumps(told),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [played.height, [1, 2, 3, 4, 5], 7, "false_state", ["__main__", "light"]]


# Ed25519.


@pytest.mark.parametrize("vector", SIGNATURES, ids=lambda vector: vector["what"])
def test_a_signature_is_decided_as_every_validator_decides_it(vector: dict[str, Any]) -> None:
    assert light.is_valid_signature(*parts(vector)) is vector["is_valid"]


@pytest.mark.parametrize(("seed", "public_key", "message", "signature"), RFC_8032)
def test_known_answers_of_the_standard(seed: str, public_key: str, message: str, signature: str) -> None:
    assert light.is_valid_signature(*map(bytes.fromhex, (public_key, message, signature)))


@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=64), flip=st.integers(0, 8 * 96 + 7))
def test_library_and_light_client_agree_on_any_signature_and_on_any_flipped_bit(
    seed: bytes, message: bytes, flip: int
) -> None:
    key = PrivateKey(seed)
    signed = key.public_key + key.sign(message)
    if flip < 8 * len(signed):
        signed = flipped(signed, flip // 8, 1 << flip % 8)
    decided = light.is_valid_signature(signed[:32], message, signed[32:])
    assert decided is is_valid_signature(signed[:32], message, signed[32:])
    assert decided is (flip >= 8 * 96)


@given(point=st.binary(min_size=32, max_size=32), s=st.integers(0, 2**256 - 1))
def test_library_and_light_client_agree_on_arbitrary_bytes(point: bytes, s: int) -> None:
    signature = point + s.to_bytes(32, "little")
    for public_key in (point, make_key("any").public_key):
        decided = light.is_valid_signature(public_key, b"message", signature)
        assert decided is is_valid_signature(public_key, b"message", signature)
    assert not light.is_valid_signature(point[:31], b"", signature)
    assert not light.is_valid_signature(point, b"", signature[:63])


def test_a_key_has_one_encoding_only() -> None:
    """Nobody can sign for these points, so no vector shows what becomes of them."""
    found = [y for y in range(19) if light._powers_of_negative(y.to_bytes(32, "little")) is not None]
    assert found
    assert all(light._powers_of_negative((y + light.P).to_bytes(32, "little")) is None for y in range(19))


# Every node can serve it.


def test_a_node_that_joined_late_by_sync_serves_every_epoch_too() -> None:
    parameters = Parameters(epoch_length_heights=EPOCH_LENGTH_HEIGHTS, empty_block_interval_ms=200, delta_ms=100)
    world = World(make_chain(parameters=parameters), 3, Invariants())
    nodes = [world.add_node(index) for index in range(4)]
    early = [world.start(node.name) for node in nodes[:3]]
    assert world.run_until(lambda: early[0].tree.tip.height > 3 * EPOCH_LENGTH_HEIGHTS, LIMIT_MS)
    late = world.start(nodes[3].name)
    assert world.run_until(lambda: late.tree.tip.height > 3 * EPOCH_LENGTH_HEIGHTS, LIMIT_MS)
    for epoch in (1, 2, 3):
        client = LightClient.from_genesis(encode(world.chain.genesis), world.chain.genesis_hash)
        for number in range(1, epoch + 1):
            found = late.blocks.epoch_end(number)
            assert found is not None
            proof = FinalityProof(headers=(), certificate=found.certificate)
            client.follow(encode(found.header), encode(proof), found.governing, found.proof_nodes)
        assert client.newest.number == epoch + 1


def test_the_largest_true_proof_is_not_too_large() -> None:
    """Every integer and every collection as large as the formats allow."""
    most = 2**48 - 1
    numbers = {"height": most, "epoch": most, "view": most, "parent_view": most, "time_ms": most, "version": 2**16 - 1}
    header = replace(sample(Header), **numbers)
    statement = Statement(kind=VoteKind.FINALIZE, epoch=most, view=most, block_id=bytes(32))
    signature = VoteSignature(validator=bytes(20), signature=bytes(64))
    certificate = Certificate(statement=statement, signatures=(signature,) * MOST_VALIDATORS)
    proof = encode(FinalityProof(headers=(header,) * MOST_PROOF_HEADERS, certificate=certificate))
    assert len(proof) <= light.LARGEST_PROOF_SIZE_BYTES
    headers, _ = light.decode(proof, light.FINALITY)
    assert len(headers) == MOST_PROOF_HEADERS
    assert max(LARGEST_TRANSACTION_SIZE_BYTES, LARGEST_BLOCK_SIZE_BYTES) <= light.LARGEST_SIZE_BYTES
