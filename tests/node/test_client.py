"""The client against a real node: nonces, fees, refusals, retries, paging, news."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from node.api import views_chain, views_data
from node.client import AsyncClient, CallFailed, TransactionFailed
from node.errors import NetworkError
from node.modules.accounts import Transfer
from node.primitives.address import format_address
from node.primitives.crypto import PrivateKey, sha256
from tests.node.api.host import Node, serving
from tests.node.api.story import Story, retell


@pytest.fixture
def story() -> Story:
    return retell()


@pytest.fixture
async def node(story: Story) -> AsyncIterator[Node]:
    made = Node(story.chain, story.disk)
    async with serving(made):
        yield made


@pytest.fixture
async def client(node: Node) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(node.url) as made:
        yield made


@pytest.fixture
def alice(story: Story) -> PrivateKey:
    return story.chain.people["asker"]


def to_bob(story: Story, amount_units: int = 5) -> Transfer:
    return Transfer(recipient=story.chain.people["clinic a"].address, amount_units=amount_units)


async def test_fee_and_nonce_are_what_the_chain_asks_for(client: AsyncClient, story: Story, alice: PrivateKey) -> None:
    before = await client.account(alice.address)
    final = await client.submit_and_wait(alice, to_bob(story))
    after = await client.account(format_address(alice.address))
    assert (final.nonce, after.nonce) == (before.nonce, before.nonce + 1)
    assert int(before.balance_units) - int(after.balance_units) == 5 + int(final.fee_units)
    data = await client.sign(alice, to_bob(story), fee_units=int(final.fee_units))
    assert await client.fee(data) <= int(final.fee_units) <= await client.fee(data) + 100


async def test_sends_at_the_same_time_use_consecutive_nonces(
    client: AsyncClient, story: Story, alice: PrivateKey
) -> None:
    first = (await client.account(alice.address)).nonce
    sent = await asyncio.gather(*(client.send(alice, to_bob(story)) for _ in range(10)))
    final = [await client.wait_for(each) for each in sent]
    assert sorted(each.nonce for each in final) == list(range(first, first + 10))


async def test_refused_transaction_does_not_use_a_nonce(client: AsyncClient, story: Story, alice: PrivateKey) -> None:
    with pytest.raises(CallFailed) as caught:
        await client.send(alice, to_bob(story), fee_units=1)
    assert caught.value.reason == "fee_too_low"
    assert (await client.submit_and_wait(alice, to_bob(story))).failure == ""


async def test_nonce_is_found_again_when_somebody_else_sent(
    client: AsyncClient, node: Node, story: Story, alice: PrivateKey
) -> None:
    await client.submit_and_wait(alice, to_bob(story))
    async with AsyncClient(node.url) as other:
        await other.submit_and_wait(alice, to_bob(story))
    assert (await client.submit_and_wait(alice, to_bob(story))).failure == ""


async def test_failed_transaction_says_why_and_uses_its_nonce(
    client: AsyncClient, story: Story, alice: PrivateKey
) -> None:
    before = (await client.account(alice.address)).nonce
    with pytest.raises(TransactionFailed) as caught:
        await client.submit_and_wait(alice, to_bob(story, 2**60))
    assert caught.value.reason == "insufficient_balance"
    assert caught.value.transaction.nonce == before
    assert (await client.account(alice.address)).nonce == before + 1


async def test_batch_answers_each_transaction_for_itself(client: AsyncClient, story: Story, alice: PrivateKey) -> None:
    good = await client.sign(alice, to_bob(story))
    answers = await client.broadcast([good, b"\x00" * 20])
    assert isinstance(answers[0], str)
    assert isinstance(answers[1], CallFailed)
    assert answers[1].reason == "malformed"
    assert (await client.wait_for(answers[0])).id == answers[0]
    (again,) = await client.broadcast([good])
    assert isinstance(again, CallFailed)
    assert again.reason in ("duplicate", "nonce_too_low")


async def test_contents_come_back_and_are_sent_in_parts(client: AsyncClient, story: Story) -> None:
    contents = [b"%d" % index * 3 for index in range(600)]
    hashes = await client.put_blobs(contents)
    assert len(set(hashes)) == 600
    records = client.iterate(views_data.RecordView, f"/datanets/{story.datanet.hex()}/records")
    accepted = [each.content async for each in records if each.status == "accepted"]
    assert sha256(await client.get_blob(accepted[0])).hex() == accepted[0]
    with pytest.raises(CallFailed) as caught:
        await client.get_blob(hashes[0])
    assert caught.value.reason == "not_permitted"


async def test_listing_is_followed_over_its_pages(client: AsyncClient) -> None:
    every = [each.height async for each in client.iterate(views_chain.BlockSummary, "/blocks", limit=7, sort="oldest")]
    assert every == list(range(await client.height() + 1))


async def test_news_begin_where_they_are_asked_to(client: AsyncClient, node: Node) -> None:
    news = client.subscribe("blocks", from_height=1)
    assert [(await anext(news))["height"] for _ in range(node.height)] == list(range(1, node.height + 1))
    await node.mine()
    assert (await anext(news))["height"] == node.height
    await news.aclose()  # type: ignore[attr-defined]
    refused = client.subscribe("blocks", address="open1zz")
    with pytest.raises(CallFailed):
        await anext(refused)


async def test_unknown_method_and_route_are_refusals(client: AsyncClient) -> None:
    with pytest.raises(CallFailed, match=r"refused \(unknown_method\)"):
        await client.call("nonsense")
    with pytest.raises(CallFailed, match=r"refused \(not_found\)"):
        await client.get(object, "/nonsense")
    with pytest.raises(CallFailed, match=r"refused \(unknown_parameter\)"):
        await client.get(object, "/blocks", nonsense=1)


async def test_waiting_ends_in_time(client: AsyncClient, node: Node) -> None:
    with pytest.raises(NetworkError, match="is unknown after 0 s"):
        await client.wait_for("0" * 64, timeout_s=0)
    with pytest.raises(NetworkError, match=f"not {node.height + 5}, after 0 s"):
        await client.wait_for_height(node.height + 5, timeout_s=0)


async def test_node_that_is_not_there_and_one_that_is_no_node_are_told_apart() -> None:
    async with AsyncClient("http://127.0.0.1:9") as client:
        with pytest.raises(NetworkError, match="Is the node running"):
            await client.height()
    async with _web_server({"/": _answer_html}) as url, AsyncClient(url) as client:
        with pytest.raises(NetworkError, match=r"status 404\. Is it a node's"):
            await client.get(object, "/blocks")
        with pytest.raises(NetworkError, match="Is it a node's address"):
            await client.height()


async def test_busy_node_is_asked_again_after_the_time_it_names() -> None:
    asked = []

    async def busy(_request: web.Request) -> web.Response:
        asked.append(asyncio.get_running_loop().time())
        if len(asked) < 3:
            body = {"error": {"reason": "too_many_requests", "message": "later"}}
            return web.json_response(body, status=429, headers={"Retry-After": "0.05"})
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": 7})

    async with _web_server({"/": busy}) as url, AsyncClient(url) as client:
        assert await client.call("anything") == 7
    assert len(asked) == 3
    assert asked[2] - asked[0] >= 0.1


async def test_connection_that_the_node_closed_meanwhile_is_no_failure() -> None:
    async def once(request: web.Request) -> web.Response:
        assert request.transport is not None
        asyncio.get_running_loop().call_later(0.01, request.transport.close)
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": 7})

    async with _web_server({"/": once}) as url, AsyncClient(url) as client:
        for _ in range(5):
            assert await client.call("anything") == 7


async def _answer_html(_request: web.Request) -> web.Response:
    return web.Response(text="<html>", content_type="text/html")


class _web_server:  # noqa: N801 (used as a function)
    def __init__(self, routes: dict[str, object]) -> None:
        application = web.Application()
        for path, handler in routes.items():
            application.router.add_post(path, handler)  # type: ignore[arg-type]
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
