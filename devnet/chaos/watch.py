"""Asks every node all the time where it stands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from devnet.history import Sample
from devnet.topology import Node
from node.client import AsyncClient, CallFailed
from node.errors import NetworkError

POLL_S = 0.2
TIMEOUT_S = 1.0


class Watch:
    """Samples of all nodes' heights, in the order in which they came."""

    def __init__(self, nodes: tuple[Node, ...], clock_s: Callable[[], float]) -> None:
        self._nodes = nodes
        self._clock_s = clock_s
        self._tasks: list[asyncio.Task[None]] = []
        self.samples: list[Sample] = []
        self.heights: dict[str, int] = {}
        """The last known ones."""

    async def __aenter__(self) -> Watch:
        self._tasks = [asyncio.create_task(self._follow(node)) for node in self._nodes]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait_for_height(self, height: int, timeout_s: float) -> float | None:
        """Returns after how many seconds every node has a block; None when time is up."""
        began_s = self._clock_s()
        while self._clock_s() - began_s < timeout_s:
            since = {each.node: each.height for each in self.samples if each.at_s >= began_s}
            if len(since) == len(self._nodes) and min(since.values()) >= height:
                return self._clock_s() - began_s
            await asyncio.sleep(POLL_S / 2)
        return None

    async def _follow(self, node: Node) -> None:
        async with AsyncClient(node.url, timeout_s=TIMEOUT_S) as client:
            while True:
                try:
                    height = await client.height()
                except (NetworkError, CallFailed):
                    pass
                else:
                    self.heights[node.name] = height
                    self.samples.append(Sample(node=node.name, at_s=self._clock_s(), height=height))
                await asyncio.sleep(POLL_S)
