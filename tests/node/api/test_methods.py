"""The JSON-RPC methods on a node with a history; every proof is checked by hand."""

from __future__ import annotations

import base64
import hashlib
import itertools
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest

from consensus.types import Statement, VoteKind
from node.api import methods, source, views
from node.api.methods import METHODS
from node.api.tables import TABLES
from node.modules.accounts import Account, Transfer
from node.modules.attributions import ClaimedAnswer, Credit
from node.modules.engines import ENGINES, Engines
from node.modules.registers import CreateRegister, Register, SetRegister
from node.payloads import Attribute
from node.primitives.address import format_address
from node.primitives.codec import decode
from node.primitives.crypto import Tag, is_valid_signature, sha256, signing_digest, tagged_hash
from node.primitives.merkle import is_included
from node.primitives.plain import to_plain
from node.storage.schema import Prefix
from node.types.content import PIECE_SIZE_BYTES, ContentManifest, make_manifest
from node.types.signed import vote_digest
from tests.node.api.host import Client, Node, serving
from tests.node.api.story import Story, attribute, equivocation, story_chain
from tests.node.state.verifier import is_proven

TRANSFER = 1


def transfer(client: Client, nonce: int | None = None, amount_units: int = 7, **changes: int) -> bytes:
    """A transfer between the first two users."""
    users = client.node.chain.users
    order = Transfer(recipient=users[1].address, amount_units=amount_units)
    return client.node.sign(users[0], order, nonce=nonce, **changes)


def header_of(view: dict) -> bytes:
    """A header's bytes, once its id is shown to be theirs."""
    encoded = bytes.fromhex(view["encoded"])
    assert tagged_hash(Tag.BLOCK, encoded).hex() == view["id"]
    return encoded


def begun_with(manifest: ContentManifest) -> dict:
    """How a client begins to upload a content."""
    pieces = [each.hex() for each in manifest.pieces]
    return {"hash": manifest.content.hex(), "size_bytes": manifest.size_bytes, "pieces": pieces}


# The node.


async def test_every_method_answers_what_its_row_says(client: Client, story: Story) -> None:
    block_id = (await client.call("block"))["header"]["id"]
    manifest = make_manifest([bytes(PIECE_SIZE_BYTES), b"\0"])
    parameters = {
        "block": {"height": 3},
        "block_results": {"height": 3},
        "blockchain": {"min_height": 1, "max_height": 4},
        "commit": {"id": block_id},
        "validators": {"epoch": 2},
        "tx": {"id": story.answers.hex(), "prove": True},
        "tx_status": {"id": story.answers.hex()},
        "unconfirmed_txs": {"limit": 3},
        "broadcast_tx_sync": {"transaction": transfer(client).hex()},
        "broadcast_tx_commit": {"transaction": transfer(client, nonce=2).hex()},
        "fee": {"size_bytes": 200},
        "query": {"table": "supply"},
        "account": {"address": format_address(story.chain.users[0].address)},
        "put_blobs": {"contents": [base64.b64encode(b"new").decode()]},
        "get_blob": {"hash": story.records["clinic a"][0].hex()},
        "begin_upload": begun_with(manifest),
        "put_piece": {"id": manifest.id().hex(), "index": 1, "data": "AA=="},
        "upload_status": {"id": manifest.id().hex(), "hash": manifest.content.hex()},
        "register": {"owner": format_address(story.chain.people["asker"].address), "name": "current model"},
    }
    await client.node.order(story.chain.people["asker"], CreateRegister(name="current model", writers=(), value=b""))
    answered = []
    for method in METHODS:
        if method.run_in_session is not None:
            continue
        result = await client.call(method.name, parameters.get(method.name, {}))
        msgspec.convert(result, method.result)
        assert msgspec.to_builtins(msgspec.convert(result, method.result)) == result, method.name
        answered.append(method.name)
    assert len(answered) == len(METHODS) - 2


async def test_status_shows_the_node_and_its_validator(client: Client, story: Story) -> None:
    shown = msgspec.convert(await client.call("status"), views.StatusView)
    tip = client.node.replica.tree
    assert shown.node == views.NodeView(
        id=client.node.network.id.hex(),
        name="one",
        version="9",
        protocol_version=1,
        chain_name="test",
        genesis_hash=story.chain.genesis_hash.hex(),
        has_index=True,
    )
    assert (shown.sync.latest_height, shown.sync.index_height) == (story.height, story.height)
    assert (shown.sync.latest_block_id, shown.sync.latest_time_ms) == (tip.tip_id.hex(), tip.tip.time_ms)
    assert shown.sync.latest_state_root == tip.tip.state_root.hex()
    assert not shown.sync.catching_up
    operator = format_address(story.chain.operators[0].address)
    assert shown.validator == views.OwnValidator(
        id=story.chain.consensus_keys[0].address.hex(), operator=operator, power=1
    )


async def test_health_is_ready_on_a_chain_that_moves(client: Client) -> None:
    assert await client.call("health") == {"is_ready": True, "reasons": [], "details": {}}


async def test_net_info_shows_the_registered_nodes(client: Client) -> None:
    [node] = (await client.call("net_info"))["nodes"]
    assert node == {
        "id": client.node.network.id.hex(),
        "name": "node 0",
        "endpoint": "",
        "is_connected": False,
        "is_self": True,
    }


async def test_genesis_hashes_to_the_chain(client: Client, story: Story) -> None:
    shown = await client.call("genesis")
    assert shown["hash"] == story.chain.genesis_hash.hex()
    assert shown["genesis"] == to_plain(story.chain.genesis)


async def test_evidence_shows_both_votes(client: Client, story: Story) -> None:
    assert await client.call("evidence") == {"evidence": []}
    client.node.replica.on_evidence(equivocation(story.chain))
    [shown] = (await client.call("evidence"))["evidence"]
    assert (shown["validator"], shown["epoch"], shown["view"]) == (
        story.chain.consensus_keys[0].address.hex(),
        1,
        3,
    )
    assert shown["first"]["statement"]["block_id"] == "01" * 32
    assert shown["second"]["statement"]["block_id"] == "02" * 32


# Blocks.


async def test_a_block_is_found_by_height_and_by_id_and_the_last_one_without(client: Client, story: Story) -> None:
    by_height = await client.call("block", height=story.height)
    assert await client.call("block") == by_height
    assert await client.call("block", id=by_height["header"]["id"]) == by_height
    assert await client.call("block", id=by_height["header"]["id"].upper()) == by_height
    header_of(by_height["header"])


async def test_genesis_block_is_a_block_like_others(client: Client) -> None:
    assert (await client.call("block", height=0))["transactions"] == []
    assert (await client.call("block_results", height=0)) == {"height": 0, "receipts": []}
    commit = await client.call("commit", height=0)
    assert (commit["certificate"], commit["descendants"]) == (None, [])


@pytest.mark.parametrize("method", ["block", "block_results", "commit"])
async def test_blocks_that_are_not_there_are_not_found(client: Client, method: str, story: Story) -> None:
    assert await client.fails(method, height=story.height + 1) == (-32000, "not_found")
    assert await client.fails(method, id="ab" * 32) == (-32000, "not_found")
    assert await client.fails(method, height=1, id="ab" * 32) == (-32602, "invalid_parameter")
    assert await client.fails(method, height=-1) == (-32602, "invalid_parameter")
    assert await client.fails(method, height=2**48) == (-32602, "invalid_parameter")


async def test_block_results_are_the_receipts_in_order(client: Client, story: Story) -> None:
    height = (await client.call("tx", id=story.failed.hex()))["transaction"]["height"]
    [receipt] = (await client.call("block_results", height=height))["receipts"]
    assert (receipt["transaction_id"], receipt["failure"]) == (story.failed.hex(), "insufficient_balance")
    assert receipt["hint"] == "The account's balance does not cover the amount."
    assert receipt["events"] == []


async def test_blockchain_walks_down_and_links_by_parent(client: Client, story: Story) -> None:
    shown = await client.call("blockchain")
    assert shown["last_height"] == story.height
    assert [each["height"] for each in shown["headers"]] == list(range(story.height, story.height - 50, -1))
    for child, parent in zip(shown["headers"], shown["headers"][1:], strict=False):
        assert child["parent_id"] == parent["id"]
        header_of(parent)
    some = await client.call("blockchain", min_height=2, max_height=4)
    assert [each["height"] for each in some["headers"]] == [4, 3, 2]
    assert (await client.call("blockchain", min_height=9, max_height=4))["headers"] == []


async def test_commit_proves_a_block_final(client: Client, story: Story) -> None:
    for height in (1, story.height):
        commit = await client.call("commit", height=height)
        chain = [commit["header"], *commit["descendants"]]
        for parent, child in itertools.pairwise(chain):
            header_of(parent)
            assert child["parent_id"] == parent["id"]
        certificate = commit["certificate"]
        assert certificate["kind"] == "finalize"
        assert certificate["block_id"] == chain[-1]["id"]
        statement = Statement(
            kind=VoteKind.FINALIZE,
            epoch=certificate["epoch"],
            view=certificate["view"],
            block_id=bytes.fromhex(certificate["block_id"]),
        )
        [signed] = certificate["signatures"]
        key = story.chain.consensus_keys[0]
        assert signed["validator"] == key.address.hex()
        digest = vote_digest(story.chain.genesis_hash, statement)
        assert is_valid_signature(key.public_key, digest, bytes.fromhex(signed["signature"]))


async def test_validators_of_an_epoch(client: Client, story: Story) -> None:
    await client.node.mine(2)
    shown = msgspec.convert(await client.call("validators"), views.ValidatorSetView)
    assert (shown.epoch, shown.total_power, shown.quorum_power, shown.observed_blocks) == (4, 1, 1, 2)
    [validator] = shown.validators
    assert (validator.name, validator.power, validator.observed_proposals) == ("node 0", 1, 2)
    assert validator.consensus_key == story.chain.consensus_keys[0].public_key.hex()
    header = (await client.call("block"))["header"]
    assert shown.hash == header["validator_set_hash"]
    assert (await client.call("validators", epoch=1))["epoch"] == 1
    assert await client.fails("validators", epoch=9) == (-32000, "not_found")
    assert await client.fails("validators", epoch=0) == (-32602, "invalid_parameter")


async def test_parameters_show_what_was_voted_for_the_epoch(client: Client, story: Story) -> None:
    shown = await client.call("parameters")
    assert shown["parameters"]["fee_base_units"] == "10001"
    assert (shown["epoch"], shown["last_height"] - shown["first_height"]) == (4, 24)
    assert shown["hash"] == (await client.call("block"))["header"]["parameters_hash"]


async def test_engines_show_what_is_coming_and_whether_this_program_knows_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = client.node.replica.state
    known = ENGINES.get(state).engines[0]
    monkeypatch.setattr(methods, "TABLES_HASHES", {known.name: known.tables_hash})
    height = (await client.call("status"))["sync"]["latest_height"]
    later = replace(known, name="new/1", cost_permille=2_500, from_height=height + 2)
    table = SimpleNamespace(get=lambda _state: Engines(engines=(known, later, replace(later, is_retired=True))))
    for module in (methods, source):
        monkeypatch.setattr(module, "ENGINES", table)
    shown = await client.call("engines")
    assert shown["height"] == height
    assert [(each["name"], each["status"], each["is_known"], each["cost_permille"]) for each in shown["engines"]] == [
        ("head/1", "active", True, 1_000),
        ("new/1", "coming", False, 2_500),
        ("new/1", "retired", False, 2_500),
    ]
    assert (await client.get("/api/v1/engines")).json == shown
    health = await client.call("health")
    assert health["reasons"] == ["engine_unknown"]
    assert f"(new/1 from height {height + 2})" in health["details"]["engine_unknown"]


# Transactions.


async def test_a_transaction_and_its_receipt_are_proven_in_their_block(client: Client, story: Story) -> None:
    found = await client.call("tx", id=story.answers.hex(), prove=True)
    shown, proof = found["transaction"], found["proof"]
    assert (shown["id"], shown["kind"], shown["failure"]) == (story.answers.hex(), "attribute", "")
    header = header_of(proof["header"])
    block = await client.call("block", height=shown["height"])
    assert bytes.fromhex(block["transactions"][shown["index"]]) == bytes.fromhex(proof["transaction"]["leaf"])
    for part, root in ((proof["transaction"], "transactions_root"), (proof["receipt"], "receipts_root")):
        siblings = [bytes.fromhex(each) for each in part["siblings"]]
        leaf, index = bytes.fromhex(part["leaf"]), part["index"]
        assert part["root"] == proof["header"][root]
        assert bytes.fromhex(part["root"]) in header
        assert is_included(bytes.fromhex(part["root"]), leaf, index, part["count"], siblings)
    assert (await client.call("tx", id=story.answers.hex()))["proof"] is None


async def test_each_of_many_transactions_of_a_block_is_proven(client: Client) -> None:
    for nonce in range(2, 6):  # the first one comes last: then all of them are ready
        await client.call("broadcast_tx_sync", transaction=transfer(client, nonce=nonce).hex())
    last = await client.call("broadcast_tx_commit", transaction=transfer(client, nonce=1).hex())
    block = await client.call("block_results", height=last["transaction"]["height"])
    counts = set()
    for receipt in block["receipts"]:
        proof = (await client.call("tx", id=receipt["transaction_id"], prove=True))["proof"]["transaction"]
        siblings = [bytes.fromhex(sibling) for sibling in proof["siblings"]]
        root, leaf = bytes.fromhex(proof["root"]), bytes.fromhex(proof["leaf"])
        assert is_included(root, leaf, proof["index"], proof["count"], siblings)
        counts.add(proof["count"])
    assert counts == {5}


async def test_broadcast_sync_answers_with_admission_and_the_transaction_becomes_final(client: Client) -> None:
    data = transfer(client)
    admitted = await client.call("broadcast_tx_sync", transaction=data.hex())
    assert admitted["status"] == "admitted"
    status = await client.call("tx_status", id=admitted["transaction_id"])
    while status["status"] == "pending":
        status = await client.call("tx_status", id=admitted["transaction_id"])
    found = (await client.call("tx", id=admitted["transaction_id"]))["transaction"]
    assert (status["status"], status["height"], status["index"]) == ("final", found["height"], found["index"])
    assert (found["payload"]["amount_units"], [each["name"] for each in found["events"]]) == ("7", ["transferred"])


async def test_broadcast_commit_answers_with_the_final_transaction(client: Client) -> None:
    before = client.node.height
    answer = await client.call("broadcast_tx_commit", transaction=transfer(client).hex())
    assert answer["transaction"]["height"] == before + 1
    assert answer["transaction"]["failure"] == ""
    failing = transfer(client, amount_units=10**17)
    answer = await client.call("broadcast_tx_commit", transaction=failing.hex())
    assert answer["transaction"]["failure"] == "insufficient_balance"


async def test_broadcast_commit_needs_no_index() -> None:
    async with serving(Node(story_chain(), has_index=False)) as client:
        answer = await client.call("broadcast_tx_commit", transaction=transfer(client).hex())
        assert (answer["transaction"]["height"], answer["transaction"]["failure"]) == (1, "")
        assert await client.fails("tx", id=answer["transaction"]["id"]) == (-32000, "not_found")
        assert not (await client.call("status"))["node"]["has_index"]


async def test_broadcast_commit_that_takes_too_long_says_what_to_ask_for(client: Client) -> None:
    client.node.is_verifying = False
    data = transfer(client)
    error = (await client.answer("broadcast_tx_commit", transaction=data.hex(), timeout_ms=20))["error"]
    assert (error["code"], error["data"]["reason"]) == (-32000, "timeout")
    transaction_id = error["data"]["transaction_id"]
    assert (await client.call("tx_status", id=transaction_id))["status"] == "pending"
    assert (await client.call("num_unconfirmed_txs"))["arriving"] == 1
    client.node.release()


async def test_refused_transactions_say_why(client: Client, story: Story) -> None:
    users = story.chain.users
    order = Transfer(recipient=users[1].address, amount_units=1)
    sign = client.node.sign
    wrong_chain = bytearray(sign(users[0], order))
    wrong_chain[-1] ^= 1
    refused = {
        "malformed": b"\x00",
        "nonce_too_low": sign(users[0], order, nonce=0),
        "nonce_too_high": sign(users[0], order, nonce=300),
        "expired": sign(users[0], order, valid_until_height=3),
        "fee_too_low": sign(users[0], order, fee_units=1),
        "fee_unpayable": sign(users[0], order, fee_units=10**17),
        "bad_signature": bytes(wrong_chain),
        "role_required": sign(story.chain.people["asker"], attribute(client.node, story, [story.open_question])),
    }
    for reason, data in refused.items():
        for method in ("broadcast_tx_sync", "broadcast_tx_commit"):
            assert await client.fails(method, transaction=data.hex()) == (-32000, reason), method


async def test_a_false_claim_is_refused_with_the_true_number_and_remembered(client: Client, story: Story) -> None:
    honest = attribute(client.node, story, [story.open_question])
    [answer] = honest.answers
    first, *rest = answer.credits
    lie = Credit(position=first.position, influence=first.influence - 1)
    claim = Attribute(
        model=story.model,
        terms=honest.terms,
        answers=(
            ClaimedAnswer(
                question=answer.question,
                label=answer.label,
                influences_hash=answer.influences_hash,
                credits=(lie, *rest),
            ),
        ),
    )
    data = client.node.sign(story.chain.people["developer"], claim)
    error = (await client.answer("broadcast_tx_sync", transaction=data.hex()))["error"]
    assert (error["code"], error["message"], error["data"]["reason"]) == (-32000, "Refused", "false_claim")
    assert f"{first.influence} of record {first.position}" in error["data"]["hint"]
    status = await client.call("tx_status", id=error["data"]["transaction_id"])
    assert (status["status"], status["reason"]) == ("dropped", "false_claim")
    assert "influence" in status["hint"]


async def test_tx_status_of_what_nobody_sent_is_unknown(client: Client) -> None:
    assert (await client.call("tx_status", id="00" * 32))["status"] == "unknown"
    assert await client.fails("tx", id="00" * 32) == (-32000, "not_found")


async def test_waiting_transactions_are_shown(client: Client, story: Story) -> None:
    data = transfer(client, nonce=3)  # two before it are missing
    admitted = await client.call("broadcast_tx_sync", transaction=data.hex())
    shown = await client.call("unconfirmed_txs")
    assert (shown["total"], shown["ready"], shown["size_bytes"]) == (1, 0, len(data))
    assert shown["transactions"] == [
        {
            "id": admitted["transaction_id"],
            "kind": "transfer",
            "sender": format_address(story.chain.users[0].address),
            "nonce": 3,
            "fee_units": "1000000000",
            "size_bytes": len(data),
        }
    ]
    assert (await client.call("num_unconfirmed_txs"))["transactions"] == []
    assert (await client.call("tx_status", id=admitted["transaction_id"]))["status"] == "pending"
    assert await client.fails("broadcast_tx_sync", transaction=data.hex()) == (-32000, "duplicate")


async def test_the_fee_shown_for_a_transaction_is_enough_for_it(client: Client, story: Story) -> None:
    users = story.chain.users
    order = Transfer(recipient=users[1].address, amount_units=1)
    for placeholder_units in (0, 1, 10**9):
        draft = client.node.sign(users[0], order, fee_units=placeholder_units)
        fee = await client.call("fee", transaction=draft.hex())
        data = client.node.sign(users[0], order, fee_units=int(fee["fee_units"]))
        assert fee["size_bytes"] == len(data)
        await client.call("broadcast_tx_commit", transaction=data.hex())
        too_low = client.node.sign(users[0], order, fee_units=int(fee["fee_units"]) - 1)
        assert await client.fails("broadcast_tx_sync", transaction=too_low.hex()) == (-32000, "fee_too_low")
    assert await client.call("fee", size_bytes=100, work_macs=1_000_001) == {
        "fee_units": str(10_001 + 1_000 + 2_000),
        "size_bytes": 100,
        "work_macs": 1_000_001,
    }
    assert await client.fails("fee") == (-32602, "invalid_parameter")


async def test_the_fee_of_a_computed_transaction_counts_its_work(client: Client, story: Story) -> None:
    claim = attribute(client.node, story, [story.open_question])
    data = client.node.sign(story.chain.people["developer"], claim)
    assert (await client.call("fee", transaction=data.hex()))["work_macs"] > 0


# State.


async def query(client: Client, table: str, key: bytes) -> tuple[dict, bytes | None]:
    """A query's answer, once its proof is checked against the header."""
    answer = await client.call("query", table=table, key=key.hex())
    header_of(answer["header"])
    value = None if answer["value"] is None else bytes.fromhex(answer["value"])
    nodes = [bytes.fromhex(node) for node in answer["proof"]["nodes"]]
    state_key = bytes.fromhex(answer["proof"]["key"])
    assert state_key == bytes([Prefix[table.upper()]]) + key
    assert is_proven(bytes.fromhex(answer["header"]["state_root"]), state_key, value, nodes)
    other = b"\x00" if value is None else None
    assert not is_proven(bytes.fromhex(answer["header"]["state_root"]), state_key, other, nodes)
    return answer, value


async def test_a_value_of_the_state_is_proven_under_the_header(client: Client, story: Story) -> None:
    address = story.chain.users[1].address
    answer, value = await query(client, "account", address)
    account = decode(Account, value)
    assert answer["decoded"]["balance_units"] == str(account.balance_units)
    by_text = await client.call("query", table="account", key=format_address(address))
    assert by_text == answer
    assert (await query(client, "datanet", story.datanet))[0]["decoded"]["name"] == "Biopsies"
    assert (await query(client, "supply", b""))[1] is not None


async def test_absence_from_the_state_is_proven_under_the_header(client: Client) -> None:
    for table in TABLES:
        answer, value = await query(client, table, b"nothing stands here")
        assert (value, answer["decoded"]) == (None, None)


async def test_a_register_is_shown_as_the_last_final_block_left_it(client: Client, story: Story) -> None:
    owner, writer = story.chain.people["asker"], story.chain.people["developer"]
    await client.node.order(owner, CreateRegister(name="our model", writers=(writer.address,), value=b"one"))
    await client.node.order(writer, SetRegister(owner=owner.address, name="our model", expected_version=0, value=b"2"))
    shown = await client.call("register", owner=format_address(owner.address), name="our model")
    assert shown == {
        "height": client.node.height,
        "owner": format_address(owner.address),
        "name": "our model",
        "writers": [format_address(writer.address)],
        "version": 1,
        "value": b"2".hex(),
        "set_height": client.node.height,
    }
    _, value = await query(client, "register", owner.address + b"our model")
    assert decode(Register, value).value == b"2"
    missing = await client.fails("register", owner=format_address(owner.address), name="another")
    assert missing == (-32000, "not_found")


async def test_queries_of_other_heights_are_pruned(client: Client, story: Story) -> None:
    assert (await client.call("query", table="supply", height=story.height))["value"] is not None
    assert await client.fails("query", table="supply", height=story.height - 1) == (-32000, "pruned")
    assert await client.fails("query", table="nothing") == (-32602, "invalid_parameter")
    assert await client.fails("query", table="supply", key="zz") == (-32602, "invalid_parameter")
    assert await client.fails("query", table="account", key="open1zz") == (-32602, "invalid_parameter")


async def test_an_account_counts_its_waiting_transactions(client: Client, story: Story) -> None:
    users = story.chain.users
    address = format_address(users[0].address)
    before = await client.call("account", address=address)
    assert (before["nonce"], before["next_nonce"]) == (1, 1)
    unused = await client.call("account", address=format_address(bytes(20)))
    assert (unused["balance_units"], unused["nonce"], unused["roles"]) == ("0", 0, [])
    developer = await client.call("account", address=format_address(story.chain.people["developer"].address))
    assert developer["roles"] == ["developer", "attributor"]
    assert developer["unbonding"] == [{"amount_units": "100000000000", "epoch": 10}]
    assert [each["epoch"] for each in developer["earnings"]] == [3]
    assert await client.fails("account", address="open1qqqqqqqq") == (-32602, "invalid_parameter")


# Contents.


async def test_uploaded_contents_are_named_by_their_hash(client: Client) -> None:
    texts = [b"one", b"two"]
    hashes = (await client.call("put_blobs", contents=[base64.b64encode(each).decode() for each in texts]))["hashes"]
    assert hashes == [hashlib.sha256(each).hexdigest() for each in texts]
    assert (await client.call("put_blobs", contents=["6f6e65"], encoding="hex"))["hashes"] == hashes[:1]
    assert await client.fails("put_blobs", contents=["*"]) == (-32602, "invalid_parameter")
    assert await client.fails("put_blobs", contents=["xx"], encoding="hex") == (-32602, "invalid_parameter")
    assert await client.fails("put_blobs", contents=[]) == (-32602, "invalid_parameter")
    assert await client.fails("put_blobs", contents=[""]) == (-32000, "too_large")
    large = base64.b64encode(bytes(4 * 2**20 + 1)).decode()
    assert await client.fails("put_blobs", contents=[large]) == (-32000, "too_large")


async def test_public_contents_are_served_and_others_are_not(client: Client, story: Story) -> None:
    accepted = story.records["clinic a"][0]
    blob = await client.call("get_blob", hash=accepted.hex())
    assert sha256(base64.b64decode(blob["content"])) == accepted
    assert await client.fails("get_blob", hash=story.restricted_record.hex()) == (-32000, "not_permitted")
    assert await client.fails("get_blob", hash=story.uploaded.hex()) == (-32000, "not_permitted")
    assert await client.fails("get_blob", hash=story.erased_record.hex()) == (-32000, "erased")
    assert await client.fails("get_blob", hash=story.erased_query.hex()) == (-32000, "erased")
    assert await client.fails("get_blob", hash="00" * 32) == (-32000, "not_found")


async def test_a_content_under_review_is_read_by_its_reviewer_only(client: Client, story: Story) -> None:
    content, people = story.restricted_record, story.chain.people

    def proof(who: str, height: int = story.height, datanet: bytes = story.datanet, **changes: str) -> dict:
        key = people[who]
        message = content + key.address + height.to_bytes(8, "big")
        digest = signing_digest(Tag.READ_CONTENT, story.chain.genesis_hash, message)
        signed = {
            "hash": content.hex(),
            "datanet": datanet.hex(),
            "reviewer": format_address(key.address),
            "public_key": key.public_key.hex(),
            "height": height,
            "signature": key.sign(digest).hex(),
        }
        return {**signed, **changes}

    blob = await client.call("get_blob", proof("reviewer"))
    assert sha256(base64.b64decode(blob["content"])) == content
    await client.call("get_blob", proof("reviewer", max(0, story.height - 100)))
    stranger = people["stranger"]
    refused = [
        proof("stranger"),
        proof("reviewer", story.height + 1),
        proof("reviewer", datanet=story.empty_datanet),
        proof("reviewer", datanet=bytes(32)),
        proof("reviewer", signature="00" * 64),
        proof("reviewer", public_key=stranger.public_key.hex()),
        {**proof("stranger"), "reviewer": format_address(people["reviewer"].address)},
    ]
    for each in refused:
        assert await client.fails("get_blob", each) == (-32000, "not_permitted")
    incomplete = proof("reviewer")
    del incomplete["signature"]
    assert await client.fails("get_blob", incomplete) == (-32000, "not_permitted")
    old = story.height
    await client.node.mine(101)
    assert await client.fails("get_blob", proof("reviewer", old)) == (-32000, "not_permitted")
