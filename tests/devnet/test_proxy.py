"""The proxy over real sockets: what is blocked is held, what is delayed is late, what is cut is gone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from devnet.launcher import LaunchError
from devnet.proxy import CLEAR, Conditions, Proxy, ProxyProcess, Route, Setting

PATIENCE_S = 10.0


@dataclass
class Ends:
    """A connection from `a` to `b` through the proxy."""

    proxy: Proxy
    port: int
    a: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    b: tuple[asyncio.StreamReader, asyncio.StreamWriter]

    async def from_a(self, data: bytes) -> bytes:
        self.a[1].write(data)
        return await self.read_b(len(data))

    async def from_b(self, data: bytes) -> bytes:
        self.b[1].write(data)
        async with asyncio.timeout(PATIENCE_S):
            return await self.a[0].readexactly(len(data))

    async def read_b(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.b[0].readexactly(size)


@asynccontextmanager
async def connected() -> AsyncIterator[Ends]:
    arrived: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await arrived.put((reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy = Proxy()
    target_port = server.sockets[0].getsockname()[1]
    port = await proxy.open(Route(dialer="a", target="b", host="127.0.0.1", port=target_port))
    a = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(PATIENCE_S):
        b = await arrived.get()
    try:
        yield Ends(proxy, port, a, b)
    finally:
        await proxy.close()
        server.close()
        for _, writer in (a, b):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def test_bytes_pass_in_both_directions_and_so_does_the_end() -> None:
    async with connected() as ends:
        large = bytes(range(256)) * 4096
        assert await ends.from_a(large) == large
        assert await ends.from_b(b"answer") == b"answer"
        ends.a[1].write_eof()
        async with asyncio.timeout(PATIENCE_S):
            assert await ends.b[0].read() == b""
        assert await ends.from_b(b"last words") == b"last words"


async def test_blocked_direction_holds_everything_and_the_other_one_does_not() -> None:
    async with connected() as ends:
        ends.proxy.link("a", "b").set(Conditions(is_blocked=True))
        ends.a[1].write(b"held")
        assert await ends.from_b(b"passes") == b"passes"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await ends.b[0].readexactly(1)
        ends.proxy.link("a", "b").set(CLEAR)
        assert await ends.read_b(4) == b"held"


async def test_delay_and_jitter_make_everything_late_and_keep_the_order() -> None:
    async with connected() as ends:
        ends.proxy.link("a", "b").set(Conditions(delay_ms=80, jitter_ms=40))
        clock = time.monotonic()
        for number in range(20):
            ends.a[1].write(bytes([number]))
            await asyncio.sleep(0.002)
        assert await ends.read_b(20) == bytes(range(20))
        elapsed_s = time.monotonic() - clock
        assert elapsed_s >= 0.08
        clock = time.monotonic()
        assert await ends.from_b(b"prompt") == b"prompt"
        assert time.monotonic() - clock < 0.08


async def test_narrow_link_passes_no_more_than_its_rate() -> None:
    async with connected() as ends:
        ends.proxy.link("a", "b").set(Conditions(bytes_per_second=200_000))
        clock = time.monotonic()
        await ends.from_a(bytes(60_000))
        assert time.monotonic() - clock >= 0.29


async def test_cut_ends_the_connections_of_that_pair_only() -> None:
    async with connected() as ends:
        assert ends.proxy.cut("a", "c") == 0
        assert await ends.from_a(b"still there") == b"still there"
        assert ends.proxy.cut("b", "a") == 1
        async with asyncio.timeout(PATIENCE_S):
            assert await ends.a[0].read() == b""
            assert await ends.b[0].read() == b""


async def test_dialer_that_gave_up_while_blocked_never_reaches_the_target() -> None:
    async with connected() as ends:
        link = ends.proxy.link("a", "b")
        link.set(Conditions(is_blocked=True))
        _, writer = await asyncio.open_connection("127.0.0.1", ends.port)
        writer.write(b"hello?")
        async with asyncio.timeout(PATIENCE_S):
            while len(ends.proxy._connections) < 2:
                await asyncio.sleep(0)
        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(PATIENCE_S):
            while len(ends.proxy._connections) > 1:
                await asyncio.sleep(0)
        link.set(CLEAR)
        assert await ends.from_a(b"the first one lives") == b"the first one lives"


async def test_target_that_does_not_listen_ends_the_dialers_connection() -> None:
    proxy = Proxy()
    port = await proxy.open(Route(dialer="a", target="b", host="127.0.0.1", port=1))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(PATIENCE_S):
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    await proxy.close()


@pytest.mark.slow
def test_process_of_the_proxies_obeys_and_ends_with_its_user() -> None:
    with ProxyProcess() as proxies:
        routes = [Route(dialer="a", target=target, host="127.0.0.1", port=1) for target in ("b", "c")]
        ports = proxies.open(routes)
        assert len(set(ports)) == 2
        proxies.set([Setting(sender="a", receiver="b", conditions=Conditions(is_blocked=True))])
        assert proxies.cut([("a", "b")]) == 0
    assert proxies._process.returncode == 0


@pytest.mark.slow
def test_proxies_that_ended_by_themselves_are_reported() -> None:
    with ProxyProcess() as proxies:
        proxies._process.kill()
        proxies._process.wait()
        with pytest.raises(LaunchError, match="the proxies ended with status -9"):
            proxies.cut([("a", "b")])
