"""Subscriptions over the WebSocket: replayed, then live, each block once; whoever does not read harms nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from node.api import live, views_chain, views_data
from node.modules.accounts import Transfer
from node.primitives.address import format_address
from tests.node.api.host import WAIT_S, Client, Node, serving
from tests.node.api.story import Story, attribute, story_chain


class Line:
    """A WebSocket to a node."""

    def __init__(self, stream: aiohttp.ClientWebSocketResponse) -> None:
        self.stream = stream
        self.news: list[dict[str, Any]] = []
        self._count = 0

    async def next(self) -> Any:
        return json.loads((await self.stream.receive(timeout=WAIT_S)).data)

    async def answer(self, method: str, **params: Any) -> Any:
        """The answer to a call; news that come before it are kept."""
        self._count += 1
        await self.stream.send_json({"jsonrpc": "2.0", "id": self._count, "method": method, "params": params})
        while "method" in (message := await self.next()):
            self.news.append(message["params"])
        assert message["id"] == self._count
        return message

    async def call(self, method: str, **params: Any) -> Any:
        return (await self.answer(method, **params))["result"]

    async def subscribe(self, topic: str, **params: Any) -> str:
        return (await self.call("subscribe", topic=topic, **params))["subscription"]

    async def hear(self) -> dict[str, Any]:
        """The next news."""
        if self.news:
            return self.news.pop(0)
        message = await self.next()
        assert (message["jsonrpc"], message["method"], "id" in message) == ("2.0", "subscription", False)
        return message["params"]


@pytest.fixture
async def line(client: Client) -> AsyncIterator[Line]:
    async with client.session.ws_connect(client.node.url + "/websocket") as stream:
        yield Line(stream)


async def pay(node: Node, amount_units: int = 1) -> bytes:
    users = node.chain.users
    return (await node.order(users[0], Transfer(recipient=users[1].address, amount_units=amount_units))).transaction_id


async def test_calls_are_answered_as_over_http(line: Line, client: Client) -> None:
    for method, params in (("health", {}), ("block", {"height": 3}), ("genesis", {})):
        assert await line.call(method, **params) == await client.call(method, **params)
    await line.stream.send_bytes(b'[{"jsonrpc":"2.0","id":1,"method":"health"},{"jsonrpc":"2.0","method":"health"}]')
    [answer] = await line.next()
    assert (answer["id"], answer["result"]["is_ready"]) == (1, True)


async def test_garbage_is_answered_and_ends_nothing(line: Line) -> None:
    for garbage, code in (("{", -32700), ("1", -32600), ("[]", -32600), ("\u0000", -32700)):
        await line.stream.send_str(garbage)
        assert (await line.next())["error"]["code"] == code
    await line.stream.send_bytes(b"\xff\xfe")
    assert (await line.next())["error"]["code"] == -32700
    assert (await line.call("health"))["is_ready"]


async def test_a_subscriber_hears_of_each_block_once_in_order(line: Line, client: Client, story: Story) -> None:
    subscription = await line.subscribe("blocks")
    sent = [await pay(client.node) for _ in range(3)]
    await client.node.mine()
    for number in range(4):
        heard = await line.hear()
        assert (heard["subscription"], heard["topic"]) == (subscription, "blocks")
        block = msgspec.convert(heard["result"], views_chain.BlockNews)
        assert block.height == story.height + 1 + number
        assert block.id == (await client.call("block", height=block.height))["header"]["id"]
        expected = [views_chain.FinalTransaction(id=sent[number].hex(), failure="")] if number < 3 else []
        assert block.transactions == expected


async def test_a_replay_from_a_height_becomes_live_without_gap_or_double(
    line: Line, client: Client, story: Story
) -> None:
    await line.subscribe("blocks", from_height=0)
    mining = asyncio.create_task(client.node.mine(40))
    heard = [(await line.hear())["result"]["height"] for _ in range(story.height + 1 + 40)]
    assert heard == list(range(story.height + 41))
    await mining
    await client.node.mine()
    assert (await line.hear())["result"]["height"] == story.height + 41


async def test_a_subscription_may_begin_in_the_future(line: Line, client: Client, story: Story) -> None:
    await line.subscribe("blocks", from_height=story.height + 3)
    await client.node.mine(4)
    assert [(await line.hear())["result"]["height"] for _ in range(2)] == [story.height + 3, story.height + 4]


async def test_transactions_are_told_whole_and_by_account(line: Line, client: Client, story: Story) -> None:
    users, people = story.chain.users, story.chain.people
    everything = await line.subscribe("transactions")
    mine = await line.subscribe("transactions", address=format_address(users[1].address))
    await client.node.order(people["asker"], Transfer(recipient=people["heir"].address, amount_units=2))
    paid = await pay(client.node)
    heard = [await line.hear() for _ in range(3)]
    assert [each["subscription"] for each in heard].count(everything) == 2
    [to_me] = [each["result"] for each in heard if each["subscription"] == mine]
    news = msgspec.convert(to_me, views_chain.TransactionNews)
    assert [each.id for each in news.transactions] == [paid.hex()]
    found = await client.call("tx", id=paid.hex())
    assert msgspec.to_builtins(news.transactions[0]) == found["transaction"]


async def test_payments_are_told_live_as_they_are_replayed(line: Line, client: Client, story: Story) -> None:
    clinic = format_address(story.chain.people["clinic a"].address)
    await line.subscribe("payments", address=clinic)
    claim = attribute(client.node, story, [story.open_question])
    answered = await client.node.order(story.chain.people["developer"], claim)
    heard = await line.hear()
    assert {each["recipient"] for each in heard["result"]["payments"]} == {clinic}
    assert {each["transaction_id"] for each in heard["result"]["payments"]} == {answered.transaction_id.hex()}
    msgspec.convert(heard["result"], views_data.PaymentNews)
    again = await line.subscribe("payments", address=clinic, from_height=0)
    replayed = [await line.hear() for _ in range(2)]
    assert [each["subscription"] for each in replayed] == [again, again]
    assert replayed[1]["result"] == heard["result"]
    listed = (await client.get(f"/api/v1/accounts/{clinic}/payments?limit=100&sort=oldest")).json["items"]
    assert [each for part in replayed for each in part["result"]["payments"]] == listed


async def test_transactions_of_an_account_are_replayed_as_the_explorer_lists_them(
    line: Line, client: Client, story: Story
) -> None:
    address = format_address(story.chain.people["asker"].address)
    await line.subscribe("transactions", address=address, from_height=0)
    listed = (await client.get(f"/api/v1/accounts/{address}/transactions?limit=100&sort=oldest")).json["items"]
    heard: list[dict[str, Any]] = []
    while len(heard) < len(listed):
        heard += (await line.hear())["result"]["transactions"]
    assert heard == [(await client.get(f"/api/v1/transactions/{each['id']}")).json for each in listed]


async def test_a_failed_transaction_is_told_with_its_reason(line: Line, client: Client, story: Story) -> None:
    users = story.chain.users
    await line.subscribe("transactions", address=format_address(users[1].address))
    await client.node.attempt(users[0], Transfer(recipient=users[1].address, amount_units=10**17))
    [told] = (await line.hear())["result"]["transactions"]
    assert (told["failure"], told["events"]) == ("insufficient_balance", [])


async def test_an_ended_subscription_is_told_nothing_more(line: Line, client: Client, story: Story) -> None:
    first, second = await line.subscribe("blocks"), await line.subscribe("blocks", from_height=0)
    await line.call("unsubscribe", subscription=first)
    await line.call("unsubscribe", subscription=second)
    line.news.clear()
    await client.node.mine()
    assert (await line.call("health"))["is_ready"]
    assert line.news == []
    for gone in (first, "99"):
        error = (await line.answer("unsubscribe", subscription=gone))["error"]
        assert (error["code"], error["data"]["reason"]) == (-32000, "not_found")


async def test_a_session_cannot_end_anothers_subscription(line: Line, client: Client) -> None:
    subscription = await line.subscribe("blocks")
    async with client.session.ws_connect(client.node.url + "/websocket") as stream:
        error = (await Line(stream).answer("unsubscribe", subscription=subscription))["error"]
    assert error["data"]["reason"] == "not_found"
    await client.node.mine()
    assert (await line.hear())["subscription"] == subscription


async def test_subscriptions_are_checked_and_counted(line: Line) -> None:
    assert (await line.answer("subscribe", topic="weather"))["error"]["code"] == -32602
    assert (await line.answer("subscribe", topic="blocks", address="open1zzzz"))["error"]["code"] == -32602
    for _ in range(live.MOST_SUBSCRIPTIONS):
        await line.subscribe("payments")
    assert (await line.answer("subscribe", topic="payments"))["error"]["data"]["reason"] == "too_large"


async def test_writing_too_fast_is_refused_call_by_call() -> None:
    async with (
        serving(Node(story_chain(), write_items_per_second=1)) as client,
        client.session.ws_connect(client.node.url + "/websocket") as stream,
    ):
        line = Line(stream)
        for content in ("aa", "bb"):
            await line.call("put_blobs", contents=[content], encoding="hex")
        error = (await line.answer("put_blobs", contents=["cc"], encoding="hex"))["error"]
        assert (error["code"], error["data"]["reason"]) == (-32000, "too_many_requests")
        assert (await line.call("health"))["is_ready"]


async def test_a_reader_that_does_not_read_is_dropped_and_harms_nobody(
    line: Line, client: Client, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LARGEST_QUEUED_SIZE_BYTES", 2**16)
    monkeypatch.setattr(live, "MOST_QUEUED", 50)
    await line.subscribe("blocks")
    port = client.node.api.port
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, ("127.0.0.1", port))
        upgrade = (
            f"GET /websocket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await loop.sock_sendall(deaf, upgrade.encode())
        asked = b'{"jsonrpc":"2.0","id":1,"method":"blockchain"}'
        frame = bytes([0x81, 0x80 | len(asked), 0, 0, 0, 0]) + asked
        sockets = client.node.api._sockets
        while len(sockets) < 2:
            await asyncio.sleep(0)
        async with asyncio.timeout(WAIT_S):
            while len(sockets) == 2:
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    deaf.send(frame * 50)
                await asyncio.sleep(0)
    await client.node.mine(2)
    assert [(await line.hear())["result"]["height"] for _ in range(2)] == [story.height + 1, story.height + 2]


async def test_a_replay_ends_with_its_connection(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_QUEUED", 4)  # a replay waits while half of this waits to be sent
    hub = client.node.api._source.hub
    session = live.Session(lambda: None)
    subscription = hub._subscriptions[hub.subscribe(session, "blocks", None, 0)]
    replay = subscription.replay
    assert replay is not None
    while len(session._messages) < 3:
        await asyncio.sleep(0)
    hub.leave(session)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(replay, WAIT_S)


async def test_an_upgrade_that_is_none_is_a_malformed_request(client: Client) -> None:
    answer = await client.get("/websocket")
    assert (answer.status, answer.json["error"]["reason"]) == (400, "malformed")


async def test_a_node_that_stops_says_goodbye(line: Line, client: Client) -> None:
    await line.subscribe("blocks")
    closing = asyncio.create_task(client.node.close())
    message = await line.stream.receive(timeout=WAIT_S)
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY)
    await closing
