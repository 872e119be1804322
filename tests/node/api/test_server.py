"""What surrounds the API: event streams, who may ask, the landing page, metrics, probes, the OpenAPI document."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from node.api import server, views_chain
from node.api.explorer import BYTES, EVENTS, ROUTES, Route
from node.api.guard import Access, RateLimiter, TooFast
from node.api.requests import BASE
from node.errors import NetworkError, RequestReason, RequestRejected
from node.types.parameters import Parameters
from tests.node.api.host import WAIT_S, Client, Node, serving
from tests.node.api.story import Story, story_chain
from tests.node.api.test_explorer import paths

CALL = b'{"jsonrpc":"2.0","id":1,"method":"health"}'


# Event streams.


class Stream:
    """Server-sent events as a browser reads them."""

    def __init__(self, response: Any) -> None:
        self.response = response

    async def event(self) -> dict[str, str]:
        """The fields of the next event."""
        found: dict[str, str] = {}
        while not found:
            while (line := (await self.response.content.readline()).decode()) not in ("\n", ""):
                name, _, value = line.rstrip("\n").partition(": ")
                found[name] = value
            assert line, "the stream goes on"
        return found

    async def blocks(self, count: int) -> list[int]:
        """Heights of the next block events."""
        heights = []
        async with asyncio.timeout(WAIT_S):
            while len(heights) < count:
                event = await self.event()
                if event.get("event") == "block":
                    shown = msgspec.json.decode(event["data"], type=views_chain.BlockSummary)
                    assert shown.height == int(event["id"])
                    heights.append(shown.height)
        return heights


@asynccontextmanager
async def events(client: Client, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    async with client.session.get(f"{client.node.url}{BASE}/events{query}", headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        yield Stream(response)


async def test_events_begin_with_the_last_block_and_go_on(client: Client, story: Story) -> None:
    async with events(client) as stream:
        assert await stream.event() == {"retry": "1000"}
        assert await stream.blocks(1) == [story.height]
        await client.node.mine(3)
        assert await stream.blocks(3) == [story.height + 1, story.height + 2, story.height + 3]


async def test_events_resume_behind_the_last_one_seen(client: Client, story: Story) -> None:
    async with events(client, "?from_height=3", **{"Last-Event-ID": "70"}) as stream:
        assert await stream.blocks(3) == [71, 72, 73]
    async with events(client, "?from_height=70") as stream:
        assert await stream.blocks(story.height - 69) == list(range(70, story.height + 1))
    async with events(client, **{"Last-Event-ID": str(story.height)}) as stream:
        await client.node.mine()
        assert await stream.blocks(1) == [story.height + 1]
    async with events(client, **{"Last-Event-ID": "not a height"}) as stream:
        assert await stream.blocks(1) == [story.height + 1]


async def test_events_of_a_quiet_chain_say_that_the_stream_lives(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.api.explorer.KEEP_ALIVE_S", 0.01)
    async with events(client) as stream:
        await stream.blocks(1)
        assert await stream.event() == {"": "still here"}


async def test_streams_are_counted_and_given_back(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_STREAMS", 1)
    async with events(client):
        answer = await client.get(BASE + "/events")
        assert (answer.status, answer.json["error"]["reason"]) == (429, "too_many_requests")
        assert answer.headers["Retry-After"] == "10"
        assert (await client.get("/websocket")).status == 429
    async with asyncio.timeout(WAIT_S):
        while client.node.api._streams:
            await client.node.mine()  # the next event finds that nobody reads
    async with events(client) as stream:
        await stream.blocks(1)


async def test_a_node_that_stops_ends_its_streams(client: Client) -> None:
    async with events(client) as stream:
        await stream.blocks(1)
        await client.node.close()
        assert await stream.response.content.read() == b""


# Who may ask.


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[", "localhost@evil.example"]
)
async def test_a_loopback_node_does_not_answer_to_other_names(client: Client, host: str) -> None:
    for path in ("/", BASE + "/blocks", "/metrics", "/websocket", "/livez", "/nothing"):
        answer = await client.get(path, Host=host)
        assert (answer.status, answer.json["error"]["reason"]) == (421, "wrong_host"), path
    assert (await client.post(CALL, Host=host)).status == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:99", "[::1]:80"])
async def test_a_loopback_node_answers_to_its_own_names(client: Client, host: str) -> None:
    assert (await client.get(BASE + "/blocks", Host=host)).status == 200


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://127.0.0.1:1", "", "http://[bad", "file://", "javascript:x"],
)
async def test_pages_of_other_origins_cannot_write_or_open_sockets(client: Client, origin: str) -> None:
    answer = await client.post(CALL, Origin=origin)
    assert (answer.status, answer.json["error"]["reason"]) == (403, "wrong_origin")
    assert (await client.get("/websocket", Origin=origin)).status == 403
    shown = await client.get(BASE + "/blocks", Origin=origin)
    assert shown.status == 200
    assert "Access-Control-Allow-Origin" not in shown.headers


async def test_the_nodes_own_page_may_write(client: Client) -> None:
    assert (await client.post(CALL, Origin=client.node.url)).json["result"]["is_ready"]


async def test_listed_origins_may_read_and_write() -> None:
    origin = "https://explorer.example"
    async with serving(Node(story_chain(), cors_origins=(origin,))) as client:
        for answer in (
            await client.get(BASE + "/blocks", Origin=origin),
            await client.get(BASE + "/nothing", Origin=origin),
            await client.post(CALL, Origin=origin),
        ):
            assert answer.headers["Access-Control-Allow-Origin"] == origin
            assert answer.headers["Vary"] == "Origin"
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        preflight = await client.request("OPTIONS", "/", headers=asked)
        assert preflight.status == 204
        assert preflight.headers["Access-Control-Allow-Methods"] == "GET, POST"
        assert "Content-Type" in preflight.headers["Access-Control-Allow-Headers"]
        async with events(client, Origin=origin) as stream:
            assert stream.response.headers["Access-Control-Allow-Origin"] == origin
        other = await client.get(BASE + "/blocks", Origin="https://evil.example")
        assert "Access-Control-Allow-Origin" not in other.headers
        assert (await client.post(CALL, Origin="https://evil.example")).status == 403


async def test_a_star_lists_every_origin() -> None:
    async with serving(Node(story_chain(), cors_origins=("*",))) as client:
        answer = await client.post(CALL, Origin="https://anywhere.example")
        assert answer.headers["Access-Control-Allow-Origin"] == "https://anywhere.example"


def test_a_node_that_listens_to_the_world_has_any_name() -> None:
    assert Access("0.0.0.0", ()).check_host("node.example") is None
    assert Access("::1", ()).check_host("[::1]:5") is None
    assert Access("localhost", ()).check_host("evil.example") is not None


def test_rates_are_per_client_and_come_back() -> None:
    limiter = RateLimiter(10)
    limiter.take("a", 20, 0.0)
    with pytest.raises(TooFast) as refused:
        limiter.take("a", 15, 0.5)
    assert (refused.value.reason, refused.value.retry_after_s) == (RequestReason.TOO_MANY_REQUESTS, 1)
    limiter.take("b", 20, 0.5)
    limiter.take("a", 15, 1.5)
    with pytest.raises(RequestRejected) as large:
        limiter.take("c", 21, 0.0)
    assert large.value.reason is RequestReason.TOO_LARGE
    closed = RateLimiter(0)
    with pytest.raises(RequestRejected):
        closed.take("a", 1, 0.0)


async def test_a_taken_port_is_a_network_error(client: Client) -> None:
    other = Node(story_chain(), port=client.node.api.port)
    with pytest.raises(NetworkError, match=rf"cannot listen on 127.0.0.1:{client.node.api.port}.*in use"):
        await other.start()
    await other.close()


# The landing page.


async def test_the_landing_page_runs_only_its_own_script_and_style(client: Client) -> None:
    answer = await client.get("/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    page, policy = answer.body.decode(), answer.headers["Content-Security-Policy"]
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        [source] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"\son\w+=|style=|https?://", page)


async def test_every_link_of_the_landing_page_leads_somewhere(client: Client) -> None:
    page = (await client.get("/")).body.decode()
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) > 8
    for link in links:
        assert (await client.get(link)).status == 200, link


async def test_names_cannot_break_the_landing_page() -> None:
    async with serving(Node(story_chain(), node_name="<script>alert(1)</script>")) as client:
        page = (await client.get("/")).body.decode()
        assert "&lt;script&gt;alert(1)" in page
        assert page.count("<script>") == 1


# Metrics and probes.


async def test_metrics_are_read_by_prometheus_and_tell_the_truth(client: Client, story: Story) -> None:
    client.node.replica.engine.rejected["wrong_root"] += 2
    client.node.replica.engine.nullified["timeout"] += 1
    answer = await client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    families = {each.name: each for each in text_string_to_metric_families(answer.body.decode())}
    values = {sample.name: sample.value for each in families.values() for sample in each.samples}
    assert all(each.documentation and each.name.startswith("openledger_") for each in families.values())
    assert values["openledger_height"] == values["openledger_index_height"] == story.height
    assert values["openledger_ready"] == 1
    assert values["openledger_validators"] == 1
    assert values["openledger_minted_open"] > 0
    assert families["openledger_node_info" if "openledger_node_info" in families else "openledger_node"].samples[
        0
    ].labels == {"name": "one", "version": "9", "id": client.node.network.id.hex()}
    [rejected] = families["openledger_rejected_blocks"].samples
    assert (rejected.labels, rejected.value) == ({"reason": "wrong_root"}, 2)
    assert values["openledger_nullified_views_total"] == 1


async def test_a_node_at_work_is_alive_and_ready(client: Client) -> None:
    client.node.replica.engine.observation.ran_late(0.0125)
    alive, ready = await client.get("/livez"), await client.get("/readyz")
    assert (alive.status, alive.json) == (200, {"is_alive": True, "event_loop_lag_ms": 12.5})
    assert (ready.status, ready.json) == (200, {"is_ready": True, "reasons": [], "details": {}})


async def test_a_node_that_follows_no_chain_is_alive_but_not_ready() -> None:
    parameters = Parameters(delta_ms=20, empty_block_interval_ms=100)
    async with serving(Node(story_chain(parameters))) as client:
        await client.node.mine()
        assert (await client.get("/readyz")).status == 200
        async with asyncio.timeout(WAIT_S):
            while (answer := await client.get("/readyz")).status == 200:
                pass
        assert (answer.status, answer.json["reasons"]) == (503, ["no_finalization"])
        assert "ask `openledger explain`" in answer.json["details"]["no_finalization"]
        assert (await client.get("/livez")).status == 200
        await client.node.mine()
        assert (await client.get("/readyz")).status == 200


async def test_a_halted_node_says_so(client: Client) -> None:
    client.node.replica.engine._stop("the disk is full")
    client.node.stopped = None
    answer = await client.get("/readyz")
    assert (answer.status, answer.json["reasons"]) == (503, ["halted"])
    assert (await client.call("health"))["reasons"] == ["halted"]
    values = (await client.get("/metrics")).body.decode()
    assert "openledger_ready 0.0" in values


# The OpenAPI document.


async def document_of(client: Client) -> dict[str, Any]:
    answer = await client.get(BASE + "/openapi.json")
    assert answer.headers["Content-Type"] == "application/json"
    return json.loads(answer.body)


def references(value: Any) -> list[str]:
    """Every $ref in a document."""
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for part in value.values() for each in references(part)]
    return [each for part in value for each in references(part)] if isinstance(value, list) else []


async def test_the_document_has_every_route_and_nothing_else(client: Client) -> None:
    document = await document_of(client)
    assert document["openapi"] == "3.1.0"
    assert set(document["info"]) == {"title", "version", "description"}
    assert set(document["paths"]) == {BASE + route.path for route in ROUTES}
    operations = [path["get"] for path in document["paths"].values()]
    assert len({each["operationId"] for each in operations}) == len(ROUTES)
    assert all(each["summary"] and "\n" not in each["summary"] for each in operations)
    for route, operation in zip(ROUTES, operations, strict=True):
        named = {(each["name"], each["in"]): each for each in operation["parameters"]}
        in_path = set(re.findall(r"{(\w+)}", route.path))
        assert {name for name, where in named if where == "path"} == in_path
        assert all(each["required"] for each in named.values() if each["in"] == "path")
        fields = {field.encode_name: field for field in msgspec.structs.fields(route.parameters)}
        assert {name for name, _ in named} == set(fields)
        assert all(named[key]["required"] == fields[key[0]].required for key in named)


async def test_every_reference_of_the_document_resolves(client: Client) -> None:
    document = await document_of(client)
    found = set(references(document))
    assert len(found) > 30
    for reference in found:
        part: Any = document
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]
        assert part["type"] == "object"
    assert all(re.fullmatch(r"[a-zA-Z0-9._-]+", name) for name in document["components"]["schemas"])


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
async def test_answers_are_what_the_document_promises(client: Client, story: Story, route: Route) -> None:
    document = await document_of(client)
    responses = document["paths"][BASE + route.path]["get"]["responses"]
    [(media_type, content)] = responses["200"]["content"].items()
    assert media_type == route.media_type
    refusal = (await client.get(BASE + route.path.replace("{", "").replace("}", "") + "?colour=red")).json
    assert errors_of(refusal, responses["default"]["content"]["application/json"]["schema"], document) == []
    if route.media_type == BYTES:
        return
    for path in await paths(client, route, story):
        if route.media_type == EVENTS:
            async with events(client) as stream:
                await stream.event()
                shown = json.loads((await stream.event())["data"])
        else:
            shown = (await client.get(path)).json
        assert errors_of(shown, content["schema"], document) == []


def errors_of(value: Any, schema: dict[str, Any], document: dict[str, Any], place: str = "$") -> list[str]:
    """What a JSON Schema, as far as this document uses it, says against a value."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return errors_of(value, document["components"]["schemas"][name], document, place)
    if "anyOf" in schema:
        found = [errors_of(value, each, document, place) for each in schema["anyOf"]]
        return [] if [] in found else [each for part in found for each in part]
    types = {"object": dict, "array": list, "string": str, "integer": int, "number": float | int, "boolean": bool}
    kind = schema.get("type")
    if kind == "null":
        return [] if value is None else [f"{place} is not null"]
    if kind is not None and (not isinstance(value, types[kind]) or (kind != "boolean" and isinstance(value, bool))):
        return [f"{place} is no {kind}"]
    found = []
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        found += [f"{place}.{name} is missing" for name in schema.get("required", []) if name not in value]
        more = schema.get("additionalProperties", True)
        if properties and more is not False:
            found += [f"{place}.{name} is not promised" for name in value if name not in properties]
        for name, each in value.items():
            inner = properties.get(name, more if isinstance(more, dict) else {})
            found += errors_of(each, inner, document, f"{place}.{name}")
    if isinstance(value, list):
        for number, each in enumerate(value):
            found += errors_of(each, schema.get("items", {}), document, f"{place}[{number}]")
    return found
