"""The played chain behind its real API, and a liar in front of it that changes what it answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, web

from node.api.server import ApiServer, ApiSettings
from node.index import Index
from node.storage.kv import MemoryStore
from tests.node.api.host import Peers
from tests.node.light_chain import Played
from tests.simulation.world import SimNode

Lie = Callable[[str, dict[str, Any], Any], Any]
"""Method, parameters and true result to what is answered."""


@asynccontextmanager
async def serving(played: Played, node: SimNode | None = None) -> AsyncIterator[str]:
    """The address of a node of the chain."""
    node = node or played.node
    assert node.replica is not None
    index = Index(MemoryStore(), node.replica.blocks)
    index.catch_up()
    api = ApiServer(node.replica, index, Peers(node.host.peer_id), ApiSettings(node_name=node.name, version="9"))
    await api.start()
    try:
        yield f"http://127.0.0.1:{api.port}"
    finally:
        await api.stop()


@asynccontextmanager
async def lying(truth_url: str, lie: Lie) -> AsyncIterator[str]:
    """The address of a server that asks a real node and changes the answers."""
    async with ClientSession() as session:

        async def answer(request: web.Request) -> web.Response:
            body = await request.read()
            async with session.post(truth_url, data=body) as true:
                answers = json.loads(await true.read())
            calls = json.loads(body)
            for call, each in zip(
                *((calls, answers) if isinstance(calls, list) else ([calls], [answers])), strict=True
            ):
                if "result" in each:
                    each["result"] = lie(call["method"], call["params"], each["result"])
            return web.json_response(answers)

        async with answering(answer) as url:
            yield url


@asynccontextmanager
async def answering(handler: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    """The address of a server that answers every call with one handler."""
    application = web.Application()
    application.router.add_post("/", handler)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
