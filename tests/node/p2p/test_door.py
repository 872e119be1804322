"""The door over real sockets on loopback: strangers cost little and a registered node gets past them."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import suppress

import pytest

from node.p2p import door as door_module
from node.p2p import network as network_module
from node.p2p.lobby import MOST_VISITORS, MOST_VISITORS_OF_A_SOURCE
from tests.node.p2p.sides import Side, ended, introduce, raw_connection, started


async def stranger(port: int, host: str = "127.0.0.1") -> socket.socket:
    """A connection from an address of this machine that says nothing."""
    each = socket.socket()
    each.setblocking(False)
    each.bind((host, 0))
    try:
        await asyncio.get_running_loop().sock_connect(each, ("127.0.0.1", port))
    except (OSError, asyncio.CancelledError):
        each.close()
        raise
    return each


async def is_ended(each: socket.socket) -> bool:
    """Waits until the other end closes."""
    with suppress(ConnectionError):
        return await asyncio.get_running_loop().sock_recv(each, 1) == b""
    return True


async def count_open(sockets: list[socket.socket], most: int) -> int:
    """How many are open once no more than `most` are; closes them."""
    endings = [asyncio.create_task(is_ended(each)) for each in sockets]
    async with asyncio.timeout(3):
        while sum(not ending.done() for ending in endings) > most:
            await asyncio.wait([ending for ending in endings if not ending.done()], return_when="FIRST_COMPLETED")
    for ending in endings:
        ending.cancel()
    await asyncio.gather(*endings, return_exceptions=True)
    for each in sockets:
        each.close()
    return sum(ending.cancelled() for ending in endings)


async def test_half_open_sockets_are_closed_and_do_not_keep_a_registered_node_out(monkeypatch):
    monkeypatch.setattr(network_module, "HANDSHAKE_TIMEOUT_S", 0.3)
    one, two = Side("one"), Side("two")
    async with started(one, two):
        sockets = [socket.create_connection(("127.0.0.1", one.network.port)) for _ in range(100)]
        introduce(one, two)
        await one.until(one.network.peers)
        loop = asyncio.get_running_loop()
        for each in sockets:
            each.setblocking(False)
            async with asyncio.timeout(10):
                with suppress(ConnectionError):
                    assert await loop.sock_recv(each, 1) == b""
            each.close()


async def test_strangers_of_one_address_hold_a_few_connections_from_before_tls():
    one = Side("one")
    async with started(one):
        sockets = [await stranger(one.network.port) for _ in range(200)]
        assert await count_open(sockets, MOST_VISITORS_OF_A_SOURCE) == MOST_VISITORS_OF_A_SOURCE


async def test_strangers_of_many_addresses_hold_a_bounded_number_of_connections():
    one = Side("one")
    async with started(one):
        hosts = [f"127.0.1.{number}" for number in range(1, 21)]
        sockets = [await stranger(one.network.port, host) for host in hosts for _ in range(10)]
        assert await count_open(sockets, MOST_VISITORS) == MOST_VISITORS


async def test_registered_node_gets_in_while_strangers_come_again_and_again():
    one, two = Side("one"), Side("two")
    opened = 0

    async def flood(host: str) -> None:
        nonlocal opened
        held: list[socket.socket] = []
        try:
            while True:
                with suppress(OSError):
                    held.append(await stranger(one.network.port, host))
                    opened += 1
                if len(held) > 2 * MOST_VISITORS_OF_A_SOURCE:
                    held.pop(0).close()
        finally:
            for each in held:
                each.close()

    async with started(one, two):
        floods = [asyncio.create_task(flood(f"127.0.1.{number}")) for number in range(1, 21)]
        async with asyncio.timeout(10):
            while opened < 3 * MOST_VISITORS:
                await asyncio.sleep(0.01)
        # Only two dials: what it opens competes with the strangers.
        one.network.set_registry([two.entry(is_dialed=False)])
        two.network.set_registry([one.entry()])
        await one.until(one.network.peers)
        await two.until(two.network.peers)
        for each in floods:
            each.cancel()
        await asyncio.gather(*floods, return_exceptions=True)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x00", b"\x15\x03\x01\x00\x02\x02\x28"])
async def test_garbage_before_tls_ends_the_connection_at_once(garbage, monkeypatch):
    monkeypatch.setattr(network_module, "HANDSHAKE_TIMEOUT_S", 60.0)
    one = Side("one")
    async with started(one):
        each = await stranger(one.network.port)
        await asyncio.get_running_loop().sock_sendall(each, garbage)
        async with asyncio.timeout(3):
            assert await is_ended(each)
        each.close()
        assert one.network.refused_count == 1
        assert not len(one.network._door._lobby)


async def test_garbage_within_tls_ends_the_connection_at_once(monkeypatch):
    monkeypatch.setattr(network_module, "HANDSHAKE_TIMEOUT_S", 60.0)
    one = Side("one")
    async with started(one):
        each = await stranger(one.network.port)
        await asyncio.get_running_loop().sock_sendall(each, b"\x16\x03\x01\x00\x04\xff\xff\xff\xff")
        async with asyncio.timeout(3):
            while await asyncio.get_running_loop().sock_recv(each, 100):  # TLS says what it did not like
                pass
        each.close()
        assert one.network.refused_count == 1
        assert not len(one.network._door._lobby)


async def test_slow_handshakes_end_with_their_time_and_hold_a_few_connections(monkeypatch):
    monkeypatch.setattr(network_module, "HANDSHAKE_TIMEOUT_S", 0.3)
    one = Side("one")
    async with started(one):
        sockets = [await stranger(one.network.port) for _ in range(MOST_VISITORS_OF_A_SOURCE)]
        for each in sockets:
            await asyncio.get_running_loop().sock_sendall(each, b"\x16\x03\x01\x02\x00")
        assert len(one.network._door._lobby) <= MOST_VISITORS_OF_A_SOURCE
        assert await count_open(sockets, 0) == 0
        assert not len(one.network._door._lobby)


async def test_registered_node_that_stops_after_tls_is_turned_out_with_its_time(monkeypatch):
    monkeypatch.setattr(network_module, "HANDSHAKE_TIMEOUT_S", 0.3)
    one, two = Side("one"), Side("two")
    async with started(one):
        one.network.set_registry([two.entry(is_dialed=False)])
        reader, writer = await raw_connection(two.key, one.network.port)
        assert await ended(reader) == b""
        writer.close()
        assert one.network.refused_count == 1
        assert not len(one.network._door._lobby)


async def test_nothing_is_accepted_for_a_while_when_there_are_no_descriptors(monkeypatch):
    one, two = Side("one"), Side("two")
    monkeypatch.setattr(door_module, "ACCEPT_PAUSE_S", 0.05)
    tries: list[float] = []
    accept = socket.socket.accept

    def no_descriptor(_listener: socket.socket) -> None:
        tries.append(asyncio.get_running_loop().time())
        raise OSError(errno.EMFILE, "Too many open files")

    async with started(one, two):
        with monkeypatch.context() as context:
            context.setattr(socket.socket, "accept", no_descriptor)
            waiting = await stranger(one.network.port)
            async with asyncio.timeout(3):
                while len(tries) < 3:
                    await asyncio.sleep(0.01)
        assert socket.socket.accept is accept
        assert tries[2] - tries[0] >= 0.09, "two pauses"
        introduce(one, two)
        await one.until(one.network.peers)
        waiting.close()
