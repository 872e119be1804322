"""With `door`, the only sockets between nodes: a full mesh over TLS 1.3 with pinned certificates.

Both ends authenticate by the certificates of the registry, which are the only trust anchors. A connection is a peer
once hello and acknowledgement are through; until then it waits at the door, where room is bounded. Every peer has a
bounded queue, bounded rates and a bounded part of a turn; one that breaks a rule is dropped and heard again after a
pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from node.errors import MessageReason, MessageRejected, NetworkError
from node.p2p.allowance import Allowance, cost_of
from node.p2p.door import Door, Visitor
from node.p2p.frame import FrameReader, encode_frame
from node.p2p.handshake import (
    LARGEST_HANDSHAKE_SIZE_BYTES,
    Ends,
    Step,
    check_greeting,
    make_greeting,
)
from node.p2p.lobby import Stage
from node.p2p.messages import LARGEST_MESSAGE_SIZE_BYTES, Message, decode_message, encode_message
from node.primitives.crypto import PrivateKey, make_node_certificate, node_key_of_certificate, private_key_pem
from node.types.validator import NodeEntry, node_id_of

HANDSHAKE_TIMEOUT_S = 5.0
"""TLS, hello and acknowledgement together."""
IDLE_TIMEOUT_S = 15.0
"""A peer says where it stands every two seconds; one that is silent this long is gone."""
FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 10.0
PATIENCE_S = 1.0
"""How long the end with the smaller id waits to be dialed before it dials itself."""
PENALTY_S = 10.0
"""How long a peer that broke a rule is not heard."""
LARGEST_QUEUE_SIZE_BYTES = 64 * 2**20
"""What may wait for a peer that does not read; then the connection is dropped."""
TURN_S = 0.005
"""How long one peer's messages hold the loop before everybody else has a turn."""
LONGEST_PAUSE_S = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """What the node does about its peers."""

    on_connected: Callable[[bytes], None]
    """A peer is there."""
    on_disconnected: Callable[[bytes], None]
    """A peer is gone."""
    on_message: Callable[[bytes, Message], None]
    """A peer's message; raises MessageRejected when it must not have been sent."""
    on_turn_end: Callable[[], None]
    """All messages that came together are handled."""


class Network:
    """The mesh as one node sees it."""

    def __init__(
        self,
        *,
        key: PrivateKey,
        genesis_hash: bytes,
        host: str,
        port: int,
        callbacks: Callbacks,
        endpoints: Mapping[bytes, str] | None = None,
    ) -> None:
        """`endpoints` say where nodes are reached from here, by id, in place of the registry."""
        self._key = key
        self._genesis_hash = genesis_hash
        self._host, self._port = host, port
        self._callbacks = callbacks
        self._endpoints = dict(endpoints or {})
        self.certificate = make_node_certificate(key)
        self.id = node_id_of(self.certificate)
        self._registered: dict[bytes, NodeEntry] = {}
        self._peers: dict[bytes, Connection] = {}
        self._unknown: set[Connection] = set()
        self._dialers: dict[bytes, asyncio.Task[None]] = {}
        self._barred_until: dict[bytes, float] = {}
        self._allowances: dict[bytes, Allowance] = {}
        """Kept when a connection ends: a new one is no new allowance."""
        self._door = Door(self._on_visitor, self._count_refused)
        self._welcomes: set[asyncio.Task[None]] = set()
        self._is_started = False
        self._server_tls = self._context(ssl.PROTOCOL_TLS_SERVER)
        self._client_tls = self._context(ssl.PROTOCOL_TLS_CLIENT)
        self.refused_count = 0
        """Connections that ended before they became a peer."""

    @property
    def port(self) -> int:
        """Where this node listens."""
        return self._port

    def peers(self) -> Sequence[bytes]:
        """Connected peers, in a stable order."""
        return tuple(self._peers)

    def is_registered(self, peer: bytes) -> bool:
        """Whether the registry knows a node."""
        return peer in self._registered

    def name_of(self, peer: bytes) -> str:
        """What people call a peer."""
        entry = self._registered.get(peer)
        return peer.hex() if entry is None else entry.name

    def set_registry(self, nodes: Sequence[NodeEntry]) -> None:
        """These nodes are accepted; connections of others are closed."""
        self._registered = {
            node_id_of(node.certificate): node for node in nodes if node.certificate != self.certificate
        }
        anchors = [entry.certificate for entry in self._registered.values() if _is_certificate(entry)]
        for context in (self._server_tls, self._client_tls):
            for certificate in anchors:
                # Adding an anchor twice is an error of its own kind that means nothing.
                with contextlib.suppress(ssl.SSLError):
                    context.load_verify_locations(cadata=certificate)
        for kept in (self._allowances, self._barred_until):
            for peer in [peer for peer in kept if peer not in self._registered]:
                del kept[peer]
        for peer in [peer for peer in self._peers if peer not in self._registered]:
            self._peers[peer].close(MessageReason.NOT_REGISTERED)
        for peer, task in list(self._dialers.items()):
            if peer not in self._registered:
                task.cancel()
                del self._dialers[peer]
        if self._is_started:
            self._start_dialers()

    async def start(self) -> None:
        """Listens and connects. Raises: NetworkError when the port is taken."""
        try:
            self._port = await self._door.open(self._host, self._port, HANDSHAKE_TIMEOUT_S)
        except OSError as error:
            raise NetworkError(f"cannot listen on {self._host}:{self._port}: {error}. Is the port in use?") from error
        self._is_started = True
        self._start_dialers()

    async def stop(self) -> None:
        """Closes everything."""
        self._is_started = False
        self._door.close()
        dialers = list(self._dialers.values())
        self._dialers.clear()
        for task in dialers:
            task.cancel()
        # The visitors' sockets are at their end: they need no cancelling.
        await asyncio.gather(*dialers, *self._welcomes, return_exceptions=True)
        for connection in [*self._peers.values(), *self._unknown]:
            connection.close(None)

    def send(self, peer: bytes, message: Message) -> None:
        """Sends to a connected peer, or drops the message."""
        connection = self._peers.get(peer)
        if connection is not None:
            frame = encode_frame(encode_message(message))
            connection.allowance.charge(size_bytes=len(frame))
            connection.send(frame)

    def broadcast(self, message: Message) -> None:
        """Sends to every connected peer."""
        if self._peers:
            frame = encode_frame(encode_message(message))
            for connection in list(self._peers.values()):
                connection.send(frame)

    def penalize(self, peer: bytes, error: MessageRejected) -> None:
        """Drops a peer that broke a rule, for a while."""
        log.warning("peer_dropped", peer=self.name_of(peer), reason=str(error))
        self._barred_until[peer] = asyncio.get_running_loop().time() + PENALTY_S
        connection = self._peers.get(peer)
        if connection is not None:
            connection.close(error.reason)

    # What connections report.

    def admission(self, connection: Connection, peer: bytes) -> MessageReason | None:
        """Why a connection whose certificate is known may not become a peer, or None."""
        if peer == self.id:
            return MessageReason.SELF
        if peer not in self._registered:
            return MessageReason.NOT_REGISTERED
        if self._barred_until.get(peer, 0.0) > asyncio.get_running_loop().time():
            return MessageReason.TOO_FAST
        known = self._peers.get(peer)
        # Of two connections between the same nodes the one that the larger id opened stays; a newer one that the
        # same end opened replaces the older: that end restarted.
        if known is not None and known.opener(self.id) != connection.opener(self.id, peer):
            keeps_known = known.opener(self.id) == max(self.id, peer)
            return MessageReason.DUPLICATE_CONNECTION if keeps_known else None
        return None

    def on_opened(self, connection: Connection) -> None:
        """A connection is open but nobody yet."""
        if connection.visitor is not None:
            connection.visitor.stage = Stage.SHOWN
        self._unknown.add(connection)

    def on_ready(self, connection: Connection, peer: bytes) -> None:
        """A connection became a peer."""
        self._unknown.discard(connection)
        if connection.visitor is not None:
            self._door.leave(connection.visitor)
        known = self._peers.get(peer)
        if known is not None:
            known.close(MessageReason.DUPLICATE_CONNECTION)
            self._forget(known)
        self._peers[peer] = connection
        connection.allowance = self._allowances.setdefault(peer, connection.allowance)
        log.info("peer_connected", peer=self.name_of(peer), inbound=connection.dialed is None)
        self._callbacks.on_connected(peer)
        self._callbacks.on_turn_end()

    def on_payload(self, connection: Connection, peer: bytes, payload: bytes) -> None:
        """A peer's message."""
        if self._peers.get(peer) is not connection:
            return
        try:
            message = decode_message(payload)
            connection.allowance.charge(messages=cost_of(message))
            self._callbacks.on_message(peer, message)
        except MessageRejected as error:
            self.penalize(peer, error)

    def on_turn_end(self) -> None:
        """A peer's messages of one turn are handled."""
        self._callbacks.on_turn_end()

    def on_closed(self, connection: Connection) -> None:
        """A connection is gone."""
        if connection in self._unknown:
            self._unknown.discard(connection)
            if connection.visitor is None or self._door.leave(connection.visitor):
                self._count_refused()
        self._forget(connection)

    def ends(self, peer_certificate: bytes) -> Ends:
        """The two ends of a connection. Raises: ValueError when the certificate is none."""
        return Ends(
            key=self._key,
            own_certificate=self.certificate,
            peer_certificate=peer_certificate,
            peer_key=node_key_of_certificate(peer_certificate),
            genesis_hash=self._genesis_hash,
        )

    def _on_visitor(self, visitor: Visitor) -> None:
        task = asyncio.get_running_loop().create_task(self._welcome(visitor))
        self._welcomes.add(task)
        task.add_done_callback(self._welcomes.discard)
        # Also when it was cancelled before it began.
        task.add_done_callback(lambda _task: self._say_farewell(visitor))

    async def _welcome(self, visitor: Visitor) -> None:
        """TLS with somebody who connected."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self, None, visitor),
                visitor.sock,
                ssl=self._server_tls,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                ssl_shutdown_timeout=1.0,
            )
        except (OSError, ssl.SSLError) as error:
            log.debug("visitor_refused", source=visitor.source, error=str(error))

    def _say_farewell(self, visitor: Visitor) -> None:
        """A visitor that TLS did not let in leaves its socket behind."""
        if visitor.stage is not Stage.SHOWN:
            visitor.sock.close()
            if self._door.leave(visitor):
                self._count_refused()

    def _count_refused(self) -> None:
        self.refused_count += 1

    def _forget(self, connection: Connection) -> None:
        peer = connection.peer
        if peer is not None and self._peers.get(peer) is connection:
            del self._peers[peer]
            log.info("peer_disconnected", peer=self.name_of(peer))
            self._callbacks.on_disconnected(peer)

    def _start_dialers(self) -> None:
        loop = asyncio.get_running_loop()
        for peer, entry in self._registered.items():
            endpoint = self._endpoints.get(peer, entry.endpoint)
            if peer not in self._dialers and endpoint:
                self._dialers[peer] = loop.create_task(self._dial(peer, entry.name, endpoint))

    async def _dial(self, peer: bytes, name: str, endpoint: str) -> None:
        """Keeps one connection to a node up, with growing pauses while it is not there."""
        host, _, port = endpoint.rpartition(":")
        backoff_s = FIRST_BACKOFF_S
        loop = asyncio.get_running_loop()
        while True:
            if peer > self.id and peer not in self._peers:
                # The larger id dials; the smaller one only when nothing came: two dials would make two connections.
                await asyncio.sleep(PATIENCE_S)
            if peer in self._peers:
                await self._peers[peer].closed.wait()
                backoff_s = FIRST_BACKOFF_S
                continue
            connection = Connection(self, peer)
            try:
                await loop.create_connection(
                    lambda connection=connection: connection,  # type: ignore[misc]
                    host.strip("[]"),
                    int(port),
                    ssl=self._client_tls,
                    ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
                    ssl_shutdown_timeout=1.0,
                )
                await connection.closed.wait()
                if connection.was_ready:
                    backoff_s = FIRST_BACKOFF_S
            except (OSError, ssl.SSLError, ValueError) as error:
                log.debug("dial_failed", peer=name, error=str(error))
            # Spread, so that nodes that start together do not dial together. Never part of consensus.
            await asyncio.sleep(backoff_s * (0.5 + random.random()))  # noqa: S311
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # names are not what is pinned
        context.verify_mode = ssl.CERT_REQUIRED
        with tempfile.TemporaryDirectory() as directory:  # OpenSSL reads keys from files only; mode 700
            path = Path(directory) / "node.pem"
            pem = ssl.DER_cert_to_PEM_cert(self.certificate).encode() + private_key_pem(self._key)
            path.write_bytes(pem)
            context.load_cert_chain(path)
        return context


class Connection(asyncio.Protocol):
    """One connection: first unknown, then perhaps a peer."""

    def __init__(self, network: Network, dialed: bytes | None, visitor: Visitor | None = None) -> None:
        self._network = network
        self.visitor = visitor
        """What the door knows of it, when the other end connected."""
        self.dialed = dialed
        """The node this end connected to; None when the other end connected."""
        self.peer: bytes | None = None
        """Who the other end has shown to be; set when it is in."""
        self.was_ready = False
        self.closed = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader(LARGEST_HANDSHAKE_SIZE_BYTES)
        self._ends: Ends | None = None
        self._candidate: bytes | None = None
        self._timeout: asyncio.TimerHandle | None = None
        self._last_data_s = 0.0
        self.allowance = Allowance(asyncio.get_running_loop().time())
        """What is left of the other end's rates."""
        self._next_turn: asyncio.Handle | None = None
        """Set while something waits for another turn; nothing more is read meanwhile."""

    def opener(self, own_id: bytes, peer: bytes | None = None) -> bytes:
        """Which end opened the connection."""
        other = peer or self.peer
        assert other is not None, "asked once the other end is known"
        return own_id if self.dialed is not None else other

    def send(self, frame: bytes) -> None:
        """Queues a frame; a peer that does not read is dropped."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > LARGEST_QUEUE_SIZE_BYTES:
            log.warning("peer_does_not_read", peer=self._network.name_of(self.peer or b""))
            transport.abort()
            return
        transport.write(frame)

    def close(self, reason: MessageReason | None) -> None:
        """Ends the connection."""
        if self._transport is not None and not self._transport.is_closing():
            log.debug("connection_closed", reason=None if reason is None else reason.value)
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is through."""
        assert isinstance(transport, asyncio.Transport), "TCP gives full transports"
        self._transport = transport
        loop = asyncio.get_running_loop()
        self._last_data_s = loop.time()
        self._network.on_opened(self)
        self._timeout = loop.call_later(HANDSHAKE_TIMEOUT_S, transport.abort)
        certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        try:
            self._ends = self._network.ends(certificate or b"")
        except ValueError:
            transport.abort()
            return
        self._candidate = node_id_of(certificate)
        if self.dialed is not None:
            if self.dialed != self._candidate:  # somebody else answers at that endpoint
                transport.abort()
                return
            self.send(encode_frame(make_greeting(self._ends, Step.HELLO)))

    def data_received(self, data: bytes) -> None:
        """Bytes of the other end."""
        loop = asyncio.get_running_loop()
        self._last_data_s = loop.time()
        self.allowance.charge(size_bytes=len(data))
        self._reader.feed(data)
        if self._next_turn is None and self._take_turn():
            assert self._transport is not None, "data comes of it"
            self._transport.pause_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        """The connection is gone."""
        if self._timeout is not None:
            self._timeout.cancel()
        if self._next_turn is not None:
            self._next_turn.cancel()
        self.closed.set()
        self._network.on_closed(self)

    def _take_turn(self) -> bool:
        """Handles what has arrived, as far as one turn and the allowance go. Returns whether there is a next turn."""
        assert self._transport is not None, "data comes of it"
        loop = asyncio.get_running_loop()
        end_s = loop.time() + TURN_S
        was_heard = False
        pause_s: float | None = None
        try:
            while pause_s is None and not self._transport.is_closing():
                owed_s = 0.0 if self.peer is None else self.allowance.pause_s(loop.time())
                if owed_s > 0:
                    # It is read more slowly: its own queue grows, nobody else suffers.
                    pause_s = min(owed_s, LONGEST_PAUSE_S)
                elif (payload := self._reader.take()) is None:
                    break
                elif self.peer is None:
                    self._meet(payload)
                else:
                    was_heard = True
                    self._network.on_payload(self, self.peer, payload)
                    if loop.time() >= end_s:
                        pause_s = 0.0
        except MessageRejected as error:
            self._break(error)
        if was_heard:
            self._network.on_turn_end()
        if pause_s is None or self._transport.is_closing():
            return False
        self._next_turn = loop.call_later(pause_s, self._go_on) if pause_s else loop.call_soon(self._go_on)
        return True

    def _go_on(self) -> None:
        """The next turn; when all is handled, reading goes on."""
        self._next_turn = None
        if not self._take_turn() and self._transport is not None and not self._transport.is_closing():
            self._last_data_s = asyncio.get_running_loop().time()
            self._transport.resume_reading()

    def _meet(self, payload: bytes) -> None:
        try:
            self._shake_hands(payload)
        except MessageRejected as error:
            log.info("peer_refused", reason=str(error), inbound=self.dialed is None)
            self.close(error.reason)  # in order: the other end is to read why

    def _shake_hands(self, payload: bytes) -> None:
        assert self._ends is not None, "set before any data"
        assert self._candidate is not None, "set before any data"
        if self.dialed is None:
            refusal = self._refusal(payload)
            self.send(encode_frame(make_greeting(self._ends, Step.ACKNOWLEDGEMENT, refusal)))
        else:
            check_greeting(self._ends, Step.ACKNOWLEDGEMENT, payload)
            refusal = self._network.admission(self, self._candidate)
        if refusal is not None:
            raise MessageRejected(refusal)
        self.peer, self.was_ready = self._candidate, True
        self._reader.set_limit(LARGEST_MESSAGE_SIZE_BYTES)
        if self._timeout is not None:
            self._timeout.cancel()
        self._watch()
        self._network.on_ready(self, self._candidate)

    def _refusal(self, payload: bytes) -> MessageReason | None:
        assert self._ends is not None, "set before any data"
        assert self._candidate is not None, "set before any data"
        try:
            check_greeting(self._ends, Step.HELLO, payload)
        except MessageRejected as error:
            return error.reason
        return self._network.admission(self, self._candidate)

    def _watch(self) -> None:
        """Drops a peer that is silent for long: its machine may be gone without a word."""
        loop = asyncio.get_running_loop()
        if self._next_turn is None and loop.time() - self._last_data_s > IDLE_TIMEOUT_S:
            if self._transport is not None:
                self._transport.abort()
            return
        self._timeout = loop.call_later(IDLE_TIMEOUT_S / 3, self._watch)

    def _break(self, error: MessageRejected) -> None:
        if self.peer is not None:
            self._network.penalize(self.peer, error)
        elif self._transport is not None:
            log.info("peer_refused", reason=str(error), inbound=self.dialed is None)
            self._transport.abort()


def _is_certificate(entry: NodeEntry) -> bool:
    """Whether TLS can use a registered certificate; one that it cannot only keeps its own node out."""
    try:
        node_key_of_certificate(entry.certificate)
    except ValueError as error:
        log.warning("certificate_unusable", node=entry.name, error=str(error))
        return False
    return True
