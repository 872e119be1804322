"""The mesh over real TLS sockets on loopback: registered nodes meet, everybody else is refused without harm."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from node.errors import MessageReason, MessageRejected
from node.p2p import network as network_module
from node.p2p.frame import FrameReader, encode_frame
from node.p2p.handshake import Ends, Step, check_greeting, make_greeting
from node.p2p.messages import StatusRequest, Transactions, encode_message
from node.p2p.network import Callbacks, Network
from node.primitives.crypto import (
    PrivateKey,
    make_node_certificate,
    node_key_of_certificate,
    private_key_pem,
    sha256,
)
from node.types.validator import NodeEntry, node_id_of
from tests.factories import make_key

CHAIN = sha256(b"chain")


class Side:
    """A network with a diary."""

    def __init__(self, word: str, genesis_hash: bytes = CHAIN) -> None:
        self.key = make_key(word)
        self.connected: list[bytes] = []
        self.disconnected: list[bytes] = []
        self.messages: list[tuple[bytes, object]] = []
        self.on_message: Callable[[bytes, object], None] | None = None
        self.changed = asyncio.Event()
        self.network = Network(
            key=self.key,
            genesis_hash=genesis_hash,
            host="127.0.0.1",
            port=0,
            callbacks=Callbacks(
                on_connected=lambda peer: self._note(self.connected, peer),
                on_disconnected=lambda peer: self._note(self.disconnected, peer),
                on_message=self._on_message,
                on_turn_end=lambda: None,
            ),
        )

    @property
    def id(self) -> bytes:
        return self.network.id

    def entry(self, *, is_dialed: bool = True) -> NodeEntry:
        endpoint = f"127.0.0.1:{self.network.port}" if is_dialed else ""
        return NodeEntry(name=self.key.address.hex()[:8], certificate=self.network.certificate, endpoint=endpoint)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def _note(self, diary: list, entry: object) -> None:
        diary.append(entry)
        self.changed.set()

    def _on_message(self, peer: bytes, message: object) -> None:
        self._note(self.messages, (peer, message))
        if self.on_message is not None:
            self.on_message(peer, message)


@asynccontextmanager
async def started(*sides: Side) -> AsyncIterator[None]:
    for side in sides:
        await side.network.start()
    try:
        yield
    finally:
        for side in sides:
            await side.network.stop()
        await asyncio.sleep(0)


def introduce(*sides: Side) -> None:
    for side in sides:
        side.network.set_registry([other.entry() for other in sides if other is not side])


async def raw_connection(key: PrivateKey, port: int, *, with_certificate: bool = True):
    """A TLS client of our own making."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if with_certificate:
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "node.pem"
            pem = ssl.DER_cert_to_PEM_cert(make_node_certificate(key)).encode() + private_key_pem(key)
            path.write_bytes(pem)
            context.load_cert_chain(path)
    return await asyncio.open_connection("127.0.0.1", port, ssl=context)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Everything until the other end closes; an abort is an end too."""
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    except (ConnectionError, ssl.SSLError):
        return b""


async def test_registered_nodes_meet_once_and_exchange_messages():
    one, two = Side("one"), Side("two")
    async with started(one, two):
        introduce(one, two)
        await one.until(lambda: one.connected)
        await two.until(lambda: two.connected)
        message = Transactions(transactions=(b"tx",))
        one.network.broadcast(message)
        two.network.send(one.id, StatusRequest())
        await two.until(lambda: two.messages)
        await one.until(lambda: one.messages)
        assert two.messages == [(one.id, message)]
        assert one.messages == [(two.id, StatusRequest())]
        assert list(one.network.peers()) == [two.id]


async def test_full_mesh_of_five_forms_and_stays_single():
    sides = [Side(f"mesh {number}") for number in range(5)]
    async with started(*sides):
        introduce(*sides)
        for side in sides:
            await side.until(lambda side=side: len(side.network.peers()) == 4)
        for side in sides:
            assert len(set(side.network.peers())) == 4


async def test_node_that_restarts_is_connected_again():
    one, two = Side("one"), Side("two")
    async with started(one, two):
        introduce(one, two)
        await one.until(one.network.peers)
        await two.network.stop()
        await one.until(lambda: one.disconnected)
        again = Side("two")
        async with started(again):
            again.network.set_registry([one.entry()])
            await one.until(one.network.peers)
            assert list(one.network.peers()) == [again.id]


async def test_unregistered_certificate_is_refused_and_costs_a_counter():
    one, two, stranger = Side("one"), Side("two"), Side("stranger")
    async with started(one, two):
        introduce(one, two)
        await one.until(one.network.peers)
        try:
            reader, writer = await raw_connection(stranger.key, one.network.port)
            writer.write(encode_frame(b"hello"))
            assert await ended(reader) == b""
            writer.close()
        except (ConnectionError, ssl.SSLError):
            pass
        assert list(one.network.peers()) == [two.id]


async def test_client_without_a_certificate_is_refused():
    one, two = Side("one"), Side("two")
    async with started(one, two):
        introduce(one, two)
        try:
            reader, writer = await raw_connection(two.key, one.network.port, with_certificate=False)
            assert await ended(reader) == b""
            writer.close()
        except (ConnectionError, ssl.SSLError):
            pass


async def test_node_of_another_chain_is_told_so():
    one, two = Side("one"), Side("two")
    async with started(one):
        one.network.set_registry([NodeEntry(name="two", certificate=two.network.certificate, endpoint="")])
        reader, writer = await raw_connection(two.key, one.network.port)
        ends = Ends(
            key=two.key,
            own_certificate=two.network.certificate,
            peer_certificate=one.network.certificate,
            peer_key=node_key_of_certificate(one.network.certificate),
            genesis_hash=sha256(b"another chain"),
        )
        writer.write(encode_frame(make_greeting(ends, Step.HELLO)))
        (answer,) = FrameReader().feed(await ended(reader))
        with pytest.raises(MessageRejected) as caught:
            check_greeting(ends, Step.ACKNOWLEDGEMENT, answer)
        assert caught.value.reason is MessageReason.WRONG_CHAIN
        writer.close()
        assert not one.connected


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 64,
        b"\x00\x00\x00\x00",
        encode_frame(b"\xc1" * 40),
        encode_frame(b"x" * 1024),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["oversized length", "empty frame", "no messagepack", "no greeting", "http"],
)
async def test_garbage_before_the_hello_ends_the_connection_and_nothing_else(garbage):
    one, two, three = Side("one"), Side("two"), Side("three")
    async with started(one, three):
        two_entry = NodeEntry(name="two", certificate=two.network.certificate, endpoint="")
        one.network.set_registry([two_entry, three.entry()])
        three.network.set_registry([one.entry()])
        await one.until(one.network.peers)
        reader, writer = await raw_connection(two.key, one.network.port)
        writer.write(garbage)
        await ended(reader)
        writer.close()
        assert list(one.network.peers()) == [three.id]


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


async def test_peer_that_sends_garbage_is_dropped_and_heard_again_later(monkeypatch):
    monkeypatch.setattr(network_module, "PENALTY_S", 0.2)
    one, two = Side("one"), Side("two")
    async with started(one, two):
        introduce(one, two)
        await one.until(one.network.peers)
        await two.until(two.network.peers)
        connection = two.network._peers[one.id]
        connection.send(encode_frame(b"\x93\x01\x02\x03"))
        await one.until(lambda: one.disconnected)
        await one.until(lambda: len(one.connected) == 2)


async def test_message_that_the_node_rejects_drops_the_peer():
    one, two = Side("one"), Side("two")

    def reject(_peer, _message):
        raise MessageRejected(MessageReason.BAD_SIGNATURE, "a vote")

    one.on_message = reject
    async with started(one, two):
        introduce(one, two)
        await two.until(two.network.peers)
        two.network.send(one.id, StatusRequest())
        await one.until(lambda: one.disconnected)
        assert one.network._barred_until[two.id] > asyncio.get_running_loop().time()


async def test_node_removed_from_the_registry_is_disconnected_and_not_let_in_again():
    one, two = Side("one"), Side("two")
    async with started(one, two):
        introduce(one, two)
        await one.until(one.network.peers)
        one.network.set_registry([])
        await one.until(lambda: one.disconnected)
        await two.until(lambda: two.disconnected)
        assert not one.network.is_registered(two.id)
        assert not one.network.peers()


async def test_peer_that_does_not_read_is_dropped_before_its_queue_eats_the_memory(monkeypatch):
    monkeypatch.setattr(network_module, "LARGEST_QUEUE_SIZE_BYTES", 4 * 2**20)
    one, two = Side("one"), Side("two")
    async with started(one, two):
        introduce(one, two)
        await one.until(one.network.peers)
        await two.until(two.network.peers)
        two.network._peers[one.id]._transport.pause_reading()
        message = Transactions(transactions=(b"x" * 2**20,))
        for _ in range(64):
            one.network.send(two.id, message)
        await one.until(lambda: one.disconnected)


async def test_flood_is_read_slowly_and_others_are_served_meanwhile(monkeypatch):
    monkeypatch.setattr(network_module, "MESSAGES_PER_SECOND", 50)
    monkeypatch.setattr(network_module, "BURST_S", 0.5)
    one, flooder, friend = Side("one"), Side("flooder"), Side("friend")
    async with started(one, flooder, friend):
        introduce(one, flooder, friend)
        await one.until(lambda: len(one.network.peers()) == 2)
        await flooder.until(lambda: one.id in flooder.network.peers())
        await friend.until(lambda: one.id in friend.network.peers())
        frame = encode_frame(encode_message(StatusRequest()))
        for _ in range(200):
            flooder.network._peers[one.id].send(frame * 200)
        friend.network.send(one.id, StatusRequest())
        await one.until(lambda: any(peer == friend.id for peer, _ in one.messages))
        assert flooder.id in one.network.peers()
        assert len(one.messages) < 40_000


async def test_port_in_use_is_said():
    one = Side("one")
    async with started(one):
        other = Network(
            key=make_key("other"),
            genesis_hash=CHAIN,
            host="127.0.0.1",
            port=one.network.port,
            callbacks=one.network._callbacks,
        )
        from node.errors import NetworkError

        with pytest.raises(NetworkError, match="Is the port in use"):
            await other.start()


def test_node_id_comes_from_the_certificate():
    side_certificate = make_node_certificate(make_key("one"))
    assert node_id_of(side_certificate) == sha256(side_certificate)[:20]
