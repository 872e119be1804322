"""A TCP proxy between nodes: each direction of each pair can be cut off, delayed or made narrow. TLS passes untouched.

A link is one direction, from a sender to a receiver, whoever opened the connection. What is sent on a blocked link is
held and arrives when it opens again, as TCP would have it; a connection is dialed on only once its link is open. The
proxies run in a process of their own, so that what they add does not depend on what else their user does.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import selectors
import subprocess
import sys
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any

import msgspec

from devnet.launcher import LaunchError

CHUNK_SIZE_BYTES = 64 * 1024
MOST_HELD_CHUNKS = 64
"""What a direction of a connection holds; then its sender has to wait."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a link treats what is sent over it."""

    is_blocked: bool = False
    """Whether everything is held."""
    delay_ms: float = 0.0
    """How long everything takes."""
    jitter_ms: float = 0.0
    """Up to how much longer it takes; drawn for each chunk, order is kept."""
    bytes_per_second: int = 0
    """How much passes; 0 is no limit."""


CLEAR = Conditions()
"""A link that does nothing."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A way on which one node dials another."""

    dialer: str
    """Who dials."""
    target: str
    """Who is dialed."""
    host: str
    """Where the target listens."""
    port: int
    """Its port."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """New conditions of a link."""

    sender: str
    """From whom."""
    receiver: str
    """To whom."""
    conditions: Conditions
    """What happens from now on."""


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the process of the proxies is told in one line."""

    open: list[Route] = []
    """Routes to listen for."""
    set: list[Setting] = []
    """Links to change."""
    cut: list[tuple[str, str]] = []
    """Pairs whose connections are ended at once."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """Its answer, in one line."""

    ports: list[int] = []
    """Where it listens for each route."""
    cut: int = 0
    """How many connections were ended."""


class Link:
    """One direction between two nodes."""

    def __init__(self) -> None:
        self.conditions = CLEAR
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._free_s = 0.0

    def set(self, conditions: Conditions) -> None:
        """Changes what happens to everything that is under way or follows."""
        self.conditions = conditions
        if conditions.is_blocked:
            self._is_open.clear()
        else:
            self._is_open.set()

    async def opened(self) -> None:
        """Returns once it is not blocked."""
        await self._is_open.wait()

    async def pass_through(self, sent_s: float, extra: float, size_bytes: int) -> None:
        """Returns when a chunk arrives that was sent at a moment; `extra` in 0..1 is its part of the jitter."""
        loop = asyncio.get_running_loop()
        while True:
            await self._is_open.wait()
            due_s = sent_s + (self.conditions.delay_ms + extra * self.conditions.jitter_ms) / 1000
            left_s = due_s - loop.time()
            if left_s <= 0:
                break
            await asyncio.sleep(left_s)
        if self.conditions.bytes_per_second:
            # All connections share the link: whoever comes next waits for this one.
            self._free_s = max(self._free_s, loop.time()) + size_bytes / self.conditions.bytes_per_second
            await asyncio.sleep(self._free_s - loop.time())


class Proxy:
    """All links and routes of a network."""

    def __init__(self, seed: int = 0) -> None:
        self._choose = random.Random(seed)
        self._links: dict[tuple[str, str], Link] = {}
        self._servers: list[asyncio.Server] = []
        self._connections: dict[asyncio.Task[None], frozenset[str]] = {}

    async def open(self, route: Route) -> int:
        """Listens on loopback for a dialer. Returns the port."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None, "asyncio runs this in a task"
            self._connections[task] = frozenset((route.dialer, route.target))
            try:
                await self._serve(route, reader, writer)
            except (OSError, asyncio.CancelledError):
                pass
            finally:
                del self._connections[task]
                writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    def link(self, sender: str, receiver: str) -> Link:
        """The link of a direction."""
        return self._links.setdefault((sender, receiver), Link())

    def cut(self, one: str, other: str) -> int:
        """Ends all connections of a pair. Returns how many there were."""
        found = [task for task, pair in self._connections.items() if pair == {one, other}]
        for task in found:
            task.cancel()
        return len(found)

    async def close(self) -> None:
        """Ends everything."""
        for server in self._servers:
            server.close()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, route: Route, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = self.link(route.dialer, route.target), self.link(route.target, route.dialer)
        async with _Stream(reader, there, self._choose) as forth:
            if not await _comes_first(there.opened(), forth.ended.wait()):  # it gave up while nothing went through
                return
            target_reader, target_writer = await asyncio.open_connection(route.host, route.port)
            try:
                async with _Stream(target_reader, back, self._choose) as home:
                    await asyncio.gather(forth.deliver(target_writer), home.deliver(writer))
            finally:
                target_writer.transport.abort()


class _Stream:
    """What one end of a connection sends, on its way over a link."""

    def __init__(self, reader: asyncio.StreamReader, link: Link, choose: random.Random) -> None:
        self._reader = reader
        self._link = link
        self._choose = choose
        self._held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MOST_HELD_CHUNKS)
        self._filling = asyncio.ensure_future(self._fill())
        self.ended = asyncio.Event()
        """Set when the sender has closed its end."""

    async def __aenter__(self) -> _Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._filling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._filling

    async def deliver(self, writer: asyncio.StreamWriter) -> None:
        """Hands everything on in order, the end included. Raises: OSError when the receiver is gone."""
        while True:
            sent_s, data = await self._held.get()
            await self._link.pass_through(sent_s, self._choose.random(), len(data))
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    async def _fill(self) -> None:
        loop = asyncio.get_running_loop()
        data = b"there is more"
        while data:
            try:
                data = await self._reader.read(CHUNK_SIZE_BYTES)
            except OSError:
                data = b""
            if not data:
                self.ended.set()
            await self._held.put((loop.time(), data))


async def _comes_first(wanted: Coroutine[Any, Any, object], other: Coroutine[Any, Any, object]) -> bool:
    """Whether something happens before something else."""
    first, second = asyncio.ensure_future(wanted), asyncio.ensure_future(other)
    try:
        await asyncio.wait((first, second), return_when=asyncio.FIRST_COMPLETED)
        return first.done()
    finally:
        first.cancel()
        second.cancel()


class ProxyProcess:
    """The proxies in their process, as whoever started it sees them; each call raises LaunchError if it has ended."""

    def __init__(self, seed: int = 0) -> None:
        self._process = subprocess.Popen(  # noqa: S603 (our own program with our own arguments)
            [sys.executable, "-m", "devnet.proxy", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> ProxyProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self, routes: Sequence[Route]) -> list[int]:
        """Listens for dialers. Returns a port for each route."""
        return self._tell(Order(open=list(routes))).ports

    def set(self, settings: Sequence[Setting]) -> None:
        """Changes links."""
        self._tell(Order(set=list(settings)))

    def cut(self, pairs: Sequence[tuple[str, str]]) -> int:
        """Ends the connections of pairs. Returns how many there were."""
        return self._tell(Order(cut=list(pairs))).cut

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None, "opened above"
        assert self._process.stdout is not None, "opened above"
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _tell(self, order: Order) -> Done:
        assert self._process.stdin is not None, "opened above"
        assert self._process.stdout is not None, "opened above"
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise LaunchError(f"the proxies ended with status {self._process.wait()}; their last words are above")
        return msgspec.json.decode(answer, type=Done)


async def serve_orders(seed: int) -> None:
    """Obeys orders from standard input until it ends."""
    proxy, loop = Proxy(seed), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        order = msgspec.json.decode(line, type=Order)
        ports = [await proxy.open(route) for route in order.open]
        for setting in order.set:
            proxy.link(setting.sender, setting.receiver).set(setting.conditions)
        cut = sum(proxy.cut(one, other) for one, other in order.cut)
        print(msgspec.json.encode(Done(ports=ports, cut=cut)).decode(), flush=True)
    await proxy.close()


def make_precise_loop() -> asyncio.AbstractEventLoop:
    """A loop whose timers are right to less than a millisecond: epoll rounds up to one, select does not."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=make_precise_loop) as runner:
        runner.run(serve_orders(int(sys.argv[1])))
