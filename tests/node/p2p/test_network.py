"""The mesh over real TLS sockets on loopback: registered nodes meet, everybody else is refused without harm."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import replace

import pytest

from node.errors import MessageReason, MessageRejected, NetworkError
from node.p2p import allowance as allowance_module
from node.p2p import network as network_module
from node.p2p.frame import FrameReader, encode_frame
from node.p2p.handshake import Ends, Step, check_greeting, make_greeting
from node.p2p.messages import StatusRequest, SyncRequest, Transactions, encode_message
from node.p2p.network import Network
from node.primitives.crypto import make_node_certificate, node_key_of_certificate, sha256
from node.types.validator import NodeEntry, node_id_of
from tests.factories import make_key
from tests.node.p2p.sides import CHAIN, Side, ended, introduce, meeting, raw_connection, started


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


async def test_node_is_dialled_where_the_config_says_not_where_the_registry_does():
    nowhere = "127.0.0.1:1"
    two = Side("two")
    async with started(two):
        one = Side("one", endpoints={two.id: f"127.0.0.1:{two.network.port}"})
        async with started(one):
            one.network.set_registry([replace(two.entry(), endpoint=nowhere)])
            two.network.set_registry([one.entry(is_dialed=False)])
            await one.until(one.network.peers)
            assert list(one.network.peers()) == [two.id]


async def test_no_message_waits_for_the_acknowledgement_of_the_one_before():
    one, two = Side("one"), Side("two")
    async with meeting(one, two):
        for side in (one, two):
            (connection,) = side.network._peers.values()
            sock = connection._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


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
        answers = FrameReader()
        answers.feed(await ended(reader))
        answer = answers.take()
        assert answer is not None
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
    monkeypatch.setattr(allowance_module, "MESSAGES_PER_SECOND", 50)
    monkeypatch.setattr(allowance_module, "BURST_S", 0.5)
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


async def test_messages_of_one_read_are_handled_in_order_in_as_many_turns_as_they_take(monkeypatch):
    monkeypatch.setattr(network_module, "TURN_S", 0.0)
    one, two = Side("one"), Side("two")
    turns: list[int] = []
    turn = 0

    def count() -> None:
        nonlocal turn
        turn += 1
        asyncio.get_running_loop().call_soon(count)

    one.on_message = lambda _peer, _message: turns.append(turn)
    async with meeting(one, two):
        count()
        sent = [Transactions(transactions=(number.to_bytes(2, "big"),)) for number in range(300)]
        two.network._peers[one.id].send(b"".join(encode_frame(encode_message(each)) for each in sent))
        await one.until(lambda: len(one.messages) == len(sent))
        assert one.messages == [(two.id, each) for each in sent]
        assert len(set(turns)) == len(sent), "everybody else had a turn after each message"


async def test_what_waits_for_another_turn_is_bounded_because_nothing_is_read_behind_it(monkeypatch):
    monkeypatch.setattr(allowance_module, "MESSAGES_PER_SECOND", 10)
    one, two = Side("one"), Side("two")
    async with meeting(one, two):
        frame = encode_frame(encode_message(Transactions(transactions=(b"x" * 1000,))))
        connection = one.network._peers[two.id]
        two.network._peers[one.id].send(frame * 20_000)
        await one.until(lambda: len(one.messages) >= 22)
        assert connection._next_turn is not None
        assert not connection._transport.is_reading()
        assert len(connection._reader._buffer) < 2 * 2**20
        assert len(one.messages) < 100


async def test_nothing_more_is_heard_of_a_connection_that_was_ended():
    one, two = Side("one"), Side("two")
    one.on_message = lambda peer, _message: one.network._peers[peer]._transport.abort()
    async with meeting(one, two):
        two.network._peers[one.id].send(encode_frame(encode_message(StatusRequest())) * 500)
        await one.until(lambda: one.disconnected)
        assert one.messages == [(two.id, StatusRequest())]


async def test_requests_weigh_more_than_news_and_a_friend_is_served_meanwhile(monkeypatch):
    monkeypatch.setattr(allowance_module, "MESSAGES_PER_SECOND", 1_000)
    one, asker, friend = Side("one"), Side("asker"), Side("friend")
    async with meeting(one, asker, friend):
        began_s = asyncio.get_running_loop().time()
        asker.network._peers[one.id].send(encode_frame(encode_message(SyncRequest(from_height=1))) * 1500)
        for _ in range(200):
            friend.network.send(one.id, Transactions(transactions=(b"tx",)))
        await one.until(lambda: sum(peer == friend.id for peer, _ in one.messages) == 200)
        await one.until(lambda: sum(peer == asker.id for peer, _ in one.messages) >= 21)
        elapsed_s = asyncio.get_running_loop().time() - began_s
        assert sum(peer == asker.id for peer, _ in one.messages) <= 22 + 10 * elapsed_s
        assert asker.id in one.network.peers()


async def test_answers_count_against_the_allowance_of_who_asked(monkeypatch):
    monkeypatch.setattr(allowance_module, "BYTES_PER_SECOND", 100_000)
    one, two = Side("one"), Side("two")
    answer = Transactions(transactions=(b"x" * 100_000,))
    one.on_message = lambda peer, _message: one.network.send(peer, answer)
    async with meeting(one, two):
        two.network._peers[one.id].send(encode_frame(encode_message(StatusRequest())) * 50)
        await one.until(lambda: len(one.messages) == 3)
        assert one.network._peers[two.id]._next_turn is not None


async def test_new_connection_is_no_new_allowance():
    one, two = Side("one"), Side("two")
    async with meeting(one, two):
        first = one.network._peers[two.id]
        first._transport.abort()
        await one.until(lambda: len(one.connected) == 2)
        second = one.network._peers[two.id]
        assert second is not first
        assert second.allowance is first.allowance
        one.network.set_registry([])
        assert not one.network._allowances


async def test_large_message_right_behind_the_acknowledgement_is_heard():
    one, two = Side("one"), Side("two")
    message = Transactions(transactions=(b"x" * 5_000,))
    two.on_connected = lambda peer: two.network.send(peer, message)
    one.on_connected = lambda peer: one.network.send(peer, message)
    async with meeting(one, two):
        await one.until(lambda: one.messages)
        await two.until(lambda: two.messages)
        assert (len(one.connected), len(two.connected)) == (1, 1)


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
        with pytest.raises(NetworkError, match="Is the port in use"):
            await other.start()


def test_node_id_comes_from_the_certificate():
    side_certificate = make_node_certificate(make_key("one"))
    assert node_id_of(side_certificate) == sha256(side_certificate)[:20]
