"""JSON-RPC 2.0 by the letter: what is read, what is refused and how, batches, notifications, rates, the end."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from node.api.requests import MOST_CALLS
from node.api.rpc import LARGEST_READS_SIZE_BYTES, Caller
from node.api.server import LARGEST_BODY_SIZE_BYTES
from node.modules.accounts import Transfer
from tests.node.api.host import Client, Node, serving
from tests.node.api.story import story_chain

HEALTHY = {"is_ready": True, "reasons": [], "details": {}}


def transfers(node: Node, count: int) -> list[bytes]:
    """Signed transfers of one account, in order of nonces."""
    users = node.chain.users
    order = Transfer(recipient=users[1].address, amount_units=1)
    return [node.sign(users[0], order, nonce=nonce) for nonce in range(count)]


def calls(transactions: list[bytes]) -> list[dict[str, Any]]:
    """A batch that sends some transactions."""
    return [
        {"jsonrpc": "2.0", "id": number, "method": "broadcast_tx_sync", "params": [data.hex()]}
        for number, data in enumerate(transactions)
    ]


async def refused(client: Client, body: bytes | str) -> tuple[int, str, Any]:
    """Code, reason and id of the one answer to some bytes."""
    answer = await client.post(body)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    shown = answer.json
    assert set(shown) == {"jsonrpc", "error", "id"}
    assert set(shown["error"]) == {"code", "message", "data"}
    assert shown["error"]["data"]["hint"]
    return shown["error"]["code"], shown["error"]["data"]["reason"], shown["id"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"jsonrpc":"2.0","id":1,"method":"health"',
        b'[{"jsonrpc":"2.0","id":1,"method":"health"}',
        b"hello",
        b'{"jsonrpc":"2.0","id":1,"method":"\xff\xfe"}',
        b'{"jsonrpc":"2.0","id":1,"method":"health","params":["\xff"]}',
        b'[{"jsonrpc":"2.0","id":1,"method":"health","params":["\xff"]}]',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"health"}',
        b'{"jsonrpc":"2.0","id":1,"method":"health"} {}',
        b'{"jsonrpc":"2.0","id":NaN,"method":"health"}',
        b"[" * 100_000,
        b"[" * 5_000 + b"]" * 5_000,
        b'{"jsonrpc":"2.0","id":1,"method":"health","params":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'[{"jsonrpc":"2.0","id":1,"method":"health","params":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}]",
    ],
)
async def test_what_is_not_json_is_a_parse_error_without_id(client: Client, body: bytes) -> None:
    assert await refused(client, body) == (-32700, "malformed", None)
    assert await client.call("health") == HEALTHY


async def test_every_depth_of_parameters_is_answered(client: Client) -> None:
    for depth in range(100, 1_100, 7):
        body = b'{"jsonrpc":"2.0","id":1,"method":"health","params":' + b"[" * depth + b"]" * depth + b"}"
        code, _, _ = await refused(client, body)
        assert code in (-32700, -32602), depth


@pytest.mark.parametrize(
    "body",
    [
        "1",
        '"health"',
        "null",
        "{}",
        "[]",
        '{"jsonrpc":"2.0","id":1}',
        '{"id":1,"method":"health"}',
        '{"jsonrpc":"1.0","id":1,"method":"health"}',
        '{"jsonrpc":2.0,"id":1,"method":"health"}',
        '{"jsonrpc":"2.0","id":1,"method":7}',
        '{"jsonrpc":"2.0","id":true,"method":"health"}',
        '{"jsonrpc":"2.0","id":[1],"method":"health"}',
        '{"jsonrpc":"2.0","id":{"a":1},"method":"health"}',
        "[" + ",".join(['{"jsonrpc":"2.0","id":1,"method":"health"}'] * (MOST_CALLS + 1)) + "]",
        "[" + ",".join(["1"] * (MOST_CALLS + 1)) + "]",
    ],
)
async def test_what_is_no_call_is_an_invalid_request_without_id(client: Client, body: str) -> None:
    code, reason, call_id = await refused(client, body)
    assert (code, call_id) == (-32600, None)
    assert reason == ("too_large" if body.startswith("[") and body != "[]" else "malformed")


async def test_unknown_methods_and_parameters_are_named(client: Client) -> None:
    assert await client.fails("nothing") == (-32601, "unknown_method")
    assert await client.fails("subscribe", topic="blocks") == (-32601, "unknown_method")
    assert await client.fails("block", hight=1) == (-32602, "unknown_parameter")
    assert await client.fails("tx") == (-32602, "invalid_parameter")
    assert await client.fails("tx", id="xyz") == (-32602, "invalid_parameter")
    assert await client.fails("tx", id="ab" * 32 + "\n") == (-32602, "invalid_parameter")
    assert await client.fails("block", height="1") == (-32602, "invalid_parameter")
    assert await client.fails("block", height=1.5) == (-32602, "invalid_parameter")
    assert await client.fails("block", height=10**30) == (-32602, "invalid_parameter")
    assert await client.fails("block", [1, None, 2]) == (-32602, "invalid_parameter")
    assert await client.fails("broadcast_tx_sync", transaction="zz") == (-32602, "invalid_parameter")
    hint = (await client.answer("block", hight=1))["error"]["data"]["hint"]
    assert "hight" in hint
    assert "block takes height (optional), id (optional)" in hint


@pytest.mark.parametrize("params", ["1", '"a"', "null", "true"])
async def test_parameters_are_an_object_or_an_array(client: Client, params: str) -> None:
    body = f'{{"jsonrpc":"2.0","id":1,"method":"health","params":{params}}}'
    assert await refused(client, body) == (-32602, "invalid_parameter", 1)


async def test_parameters_by_position_are_those_by_name(client: Client) -> None:
    assert await client.call("block", [3]) == await client.call("block", height=3)
    assert await client.call("blockchain", [2, 3]) == await client.call("blockchain", max_height=3, min_height=2)
    assert await client.call("health", []) == HEALTHY


@pytest.mark.parametrize(
    "call_id", ["7", '"seven"', '""', "null", "1.5", "-1", "123456789012345", '"\\u00e9 \\ud83d\\ude00"']
)
async def test_the_id_comes_back_as_it_was_sent(client: Client, call_id: str) -> None:
    import json

    answer = await client.post(f' {{"jsonrpc":"2.0","id":{call_id},"method":"health"}} ')
    assert answer.json == {"jsonrpc": "2.0", "result": HEALTHY, "id": json.loads(call_id)}
    answer = await client.post(f'{{"jsonrpc":"2.0","id":{call_id},"method":"nothing"}}')
    assert answer.json["id"] == json.loads(call_id)


@pytest.mark.parametrize(
    "call",
    [
        '{"jsonrpc":"2.0","method":"health"}',
        '{"jsonrpc":"2.0","method":"nothing"}',
        '{"jsonrpc":"2.0","method":"block","params":{"hight":1}}',
        '{"jsonrpc":"2.0","method":"block","params":{"height":999999}}',
        '{"jsonrpc":"2.0","method":"subscribe","params":{"topic":"blocks"}}',
    ],
)
async def test_a_notification_is_never_answered_even_when_it_fails(client: Client, call: str) -> None:
    for body in (call, f"[{call}]", f"[{call},{call}]"):
        answer = await client.post(body)
        assert (answer.status, answer.body) == (204, b"")


async def test_a_notification_takes_effect(client: Client) -> None:
    [data] = transfers(client.node, 2)[1:]
    before = client.node.height
    await client.post(f'{{"jsonrpc":"2.0","method":"broadcast_tx_sync","params":["{data.hex()}"]}}')
    assert client.node.height == before + 1


async def test_each_call_of_a_mixed_batch_has_its_own_answer_in_order(client: Client) -> None:
    batch = [
        '{"jsonrpc":"2.0","id":1,"method":"health"}',
        "1",
        '{"jsonrpc":"2.0","method":"health"}',
        '{"jsonrpc":"2.0","id":"b","method":"block","params":[2]}',
        '{"foo":"boo"}',
        '{"jsonrpc":"2.0","id":3,"method":"nothing"}',
        '{"jsonrpc":"2.0","id":4,"method":"tx","params":{}}',
        '{"jsonrpc":"2.0","id":5,"method":"block_results","params":[2]}',
        '{"jsonrpc":"2.0","id":6,"method":"status"}',
    ]
    answers = (await client.post(f"  [{','.join(batch)}]")).json
    assert [each["id"] for each in answers] == [1, None, "b", None, 3, 4, 5, 6]
    codes = [each["error"]["code"] if "error" in each else None for each in answers]
    assert codes == [None, -32600, None, -32600, -32601, -32602, None, None]
    assert answers[2]["result"]["header"]["height"] == 2
    assert answers[6]["result"]["height"] == 2


async def test_a_batch_of_one_is_answered_by_a_batch_of_one(client: Client) -> None:
    [answer] = (await client.post('[{"jsonrpc":"2.0","id":1,"method":"health"}]')).json
    assert answer["result"] == HEALTHY


async def test_a_full_batch_of_transactions_is_answered_one_by_one() -> None:
    async with serving(Node(story_chain())) as client:
        data = transfers(client.node, 250)
        wrong = data[0][:-1] + bytes([data[0][-1] ^ 1])
        answers = (await client.post(_json(calls([*data, *data[:249], wrong])))).json
        assert [each["id"] for each in answers] == list(range(MOST_CALLS))
        assert all(each["result"]["status"] == "admitted" for each in answers[:499])
        assert answers[499]["error"]["data"]["reason"] == "bad_signature"
        status = await client.call("num_unconfirmed_txs")
        assert (status["total"], status["arriving"]) == (0, 0)


async def test_answers_that_come_before_anybody_waits_are_not_missed() -> None:
    async with serving(Node(story_chain())) as client:
        client.node.is_verifying_at_once = True
        async with asyncio.timeout(5):
            for batch in (calls(transfers(client.node, 3)), calls(transfers(client.node, 4)[3:])):
                answers = (await client.post(_json(batch))).json
                assert {each["result"]["status"] for each in answers} == {"admitted"}


async def test_a_batch_whose_answers_grow_too_large_is_answered_in_part(client: Client) -> None:
    call = '{"jsonrpc":"2.0","id":1,"method":"blockchain"}'
    answers = (await client.post("[" + ",".join([call] * MOST_CALLS) + "]")).json
    sizes = [len(_json(each)) for each in answers if "result" in each]
    reasons = {each["error"]["data"]["reason"] for each in answers if "error" in each}
    assert (len(answers), reasons) == (MOST_CALLS, {"too_large"})
    assert sum(sizes) - sizes[-1] <= LARGEST_READS_SIZE_BYTES < sum(sizes)


async def test_a_long_batch_of_reads_leaves_the_node_its_turns(client: Client) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    call = b'{"jsonrpc":"2.0","id":1,"method":"validators"}'
    caller = Caller(address="", session=None)
    await client.node.api._dispatcher.answer(b"[" + b",".join([call] * 100) + b"]", caller)
    counting.cancel()
    assert turns >= 10


async def test_bodies_above_the_limit_are_refused_unread(client: Client) -> None:
    answer = await client.post(b" " * (LARGEST_BODY_SIZE_BYTES + 1))
    assert (answer.status, answer.json["error"]["reason"]) == (413, "too_large")


async def test_a_batch_of_countless_wrong_calls_does_not_hold_up_the_node(client: Client) -> None:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    code, reason, _ = await refused(client, b"[" + b"1," * 2_000_000 + b"1]")
    assert (code, reason) == (-32600, "too_large")
    assert loop.time() - started_s < 1.0


async def test_writing_faster_than_allowed_is_answered_by_when_to_come_back() -> None:
    async with serving(Node(story_chain(), write_items_per_second=5)) as client:
        data = transfers(client.node, 12)
        assert len((await client.post(_json(calls(data[:10])))).json) == 10
        answer = await client.post(_json(calls(data[10:])))
        assert (answer.status, answer.json["error"]["reason"]) == (429, "too_many_requests")
        assert int(answer.headers["Retry-After"]) == 1
        assert await client.call("health") == HEALTHY  # reading goes on
        answer = await client.post(_json(calls(data[:11])))
        assert (answer.status, answer.json["error"]["reason"]) == (413, "too_large")
        assert client.node.height == 10


async def test_a_node_that_stops_tells_whoever_waits(client: Client) -> None:
    client.node.is_verifying = False
    data = transfers(client.node, 2)[1]
    waiting = asyncio.create_task(client.answer("broadcast_tx_commit", transaction=data.hex()))
    while not client.node.replica.intake.waiting_count:
        await asyncio.sleep(0)
    closing = asyncio.create_task(client.node.close())
    error = (await waiting)["error"]
    assert (error["code"], error["data"]["reason"]) == (-32000, "shutting_down")
    assert len(error["data"]["transaction_id"]) == 64
    await closing
    with pytest.raises(aiohttp.ClientError):
        await client.call("health")


def _json(value: Any) -> bytes:
    import msgspec

    return msgspec.json.encode(value)
