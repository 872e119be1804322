"""A TCP proxy between nodes: each direction of each pair can be cut off, delayed or made narrow. TLS passes untouched.

A link is one direction, from a sender to a receiver, whoever opened the connection. What is sent on a blocked link is
held and arrives when it opens again, as TCP would have it; a connection is dialed on only once its link is open. The
proxies run in a process of their own, so that what they add does not depend on what else their user does.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
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
        self._streams: set[Stream] = set()

    def set(self, conditions: Conditions) -> None:
        """Changes what happens to everything that is under way or follows."""
        self.conditions = conditions
        if conditions.is_blocked:
            self._is_open.clear()
        else:
            self._is_open.set()
        for stream in list(self._streams):
            stream.advance()

    async def opened(self) -> None:
        """Returns once it is not blocked."""
        await self._is_open.wait()

    def join(self, stream: Stream) -> None:
        """A stream flows over this link: it is told of changes."""
        self._streams.add(stream)

    def leave(self, stream: Stream) -> None:
        """It has ended."""
        self._streams.discard(stream)

    def due_s(self, chunk: Chunk) -> float:
        """When the first byte of a chunk arrives, as things stand."""
        if self.conditions.is_blocked:
            return math.inf
        return chunk.sent_s + (self.conditions.delay_ms + chunk.extra * self.conditions.jitter_ms) / 1000

    def passed_s(self, now_s: float, size_bytes: int) -> float:
        """When the last byte has arrived: all connections share the link, whoever comes next waits for this one."""
        rate = self.conditions.bytes_per_second
        if not rate:
            return now_s
        self._free_s = max(self._free_s, now_s) + size_bytes / rate
        return self._free_s


@dataclass(slots=True)
class Chunk:
    """Some bytes on their way, as they were read."""

    data: bytes
    """The bytes; none are the end of the direction."""
    sent_s: float
    """When they were sent."""
    extra: float
    """Its part of the jitter, 0..1."""
    passed_s: float | None = None
    """When all of it has arrived; unknown before its first byte has."""


class Proxy:
    """All links and routes of a network."""

    def __init__(self, seed: int = 0) -> None:
        self._choose = random.Random(seed)
        self._links: dict[tuple[str, str], Link] = {}
        self._servers: list[asyncio.Server] = []
        self._connections: dict[asyncio.Task[None], frozenset[str]] = {}

    async def open(self, route: Route) -> int:
        """Listens on loopback for a dialer. Returns the port."""
        loop = asyncio.get_running_loop()

        def accept() -> Stream:
            stream = Stream(self.link(route.dialer, route.target), self._choose)
            task = loop.create_task(self._serve(route, stream))
            self._connections[task] = frozenset((route.dialer, route.target))
            task.add_done_callback(lambda task: self._forget(task, stream))
            return stream

        server = await loop.create_server(accept, "127.0.0.1", 0)
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

    async def _serve(self, route: Route, forth: Stream) -> None:
        """One connection, from its dialer's bytes to its end."""
        there, back = self.link(route.dialer, route.target), self.link(route.target, route.dialer)
        home = Stream(back, self._choose)
        try:
            if not await _comes_first(there.opened(), forth.ended.wait()):  # it gave up while nothing went through
                return
            loop = asyncio.get_running_loop()
            with contextlib.suppress(OSError):  # nobody listens: the dialer is told so by the end of its connection
                await loop.create_connection(lambda: home, route.host, route.port)
                forth.flow_to(home)
                home.flow_to(forth)
                await forth.done.wait()
                await home.done.wait()
        finally:
            home.abort()

    def _forget(self, task: asyncio.Task[None], forth: Stream) -> None:
        forth.abort()  # also when the task was cancelled before it began
        del self._connections[task]


class Stream(asyncio.Protocol):
    """One end of a connection, and what it sends on its way over a link."""

    def __init__(self, link: Link, choose: random.Random) -> None:
        self._link = link
        self._choose = choose
        self._held: deque[Chunk] = deque()
        self._transport: asyncio.Transport | None = None
        self._target: Stream | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._may_write = True
        self.ended = asyncio.Event()
        """Set when the sender has closed its end."""
        self.done = asyncio.Event()
        """Set when its end was handed on, or there is nobody left to hand anything to."""

    def flow_to(self, target: Stream) -> None:
        """What this end sends goes to another from now on."""
        self._target = target
        self._link.join(self)
        self.advance()

    def advance(self) -> None:
        """Hands on everything that has arrived by now, in order."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        target, loop = self._target, asyncio.get_running_loop()
        if target is None or target._transport is None:
            return
        while self._held and target._may_write:
            chunk, now_s = self._held[0], loop.time()
            due_s = self._link.due_s(chunk) if chunk.passed_s is None else chunk.passed_s
            if chunk.passed_s is None and due_s <= now_s:
                due_s = chunk.passed_s = self._link.passed_s(now_s, len(chunk.data))
            if due_s > now_s:
                if due_s < math.inf:
                    self._timer = loop.call_at(due_s, self.advance)
                return
            self._held.popleft()
            if chunk.data:
                target._transport.write(chunk.data)
            else:
                self.done.set()
                with contextlib.suppress(OSError):  # its other end is gone already
                    target._transport.write_eof()
            if len(self._held) == MOST_HELD_CHUNKS - 1 and self._transport is not None:
                self._transport.resume_reading()

    def abort(self) -> None:
        """Ends it at once."""
        self._link.leave(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport), "TCP gives full transports"
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """The sender sent something."""
        self._hold(data)

    def eof_received(self) -> bool:
        """The sender closed its end; the other direction stays open."""
        self.ended.set()
        self._hold(b"")
        return True

    def connection_lost(self, _error: Exception | None) -> None:
        """The connection is gone; what was sent before is still on its way."""
        if not self.ended.is_set():
            self.eof_received()
        if self._target is not None:  # the two flow to each other
            self._target.done.set()

    def pause_writing(self) -> None:
        """This end does not read: whoever sends to it waits."""
        self._may_write = False

    def resume_writing(self) -> None:
        """It reads again."""
        self._may_write = True
        if self._target is not None:
            self._target.advance()

    def _hold(self, data: bytes) -> None:
        self._held.append(Chunk(data, asyncio.get_running_loop().time(), self._choose.random()))
        if len(self._held) >= MOST_HELD_CHUNKS and self._transport is not None:
            self._transport.pause_reading()
        self.advance()


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
