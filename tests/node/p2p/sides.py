"""Networks with diaries, for tests over real TLS sockets on loopback."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from node.p2p.network import Callbacks, Network
from node.primitives.crypto import PrivateKey, make_node_certificate, private_key_pem, sha256
from node.types.validator import NodeEntry
from tests.factories import make_key

CHAIN = sha256(b"chain")


class Side:
    """A network with a diary."""

    def __init__(self, word: str, genesis_hash: bytes = CHAIN, endpoints: Mapping[bytes, str] | None = None) -> None:
        self.key = make_key(word)
        self.connected: list[bytes] = []
        self.disconnected: list[bytes] = []
        self.messages: list[tuple[bytes, object]] = []
        self.on_connected: Callable[[bytes], None] | None = None
        self.on_message: Callable[[bytes, object], None] | None = None
        self.changed = asyncio.Event()
        self.network = Network(
            key=self.key,
            genesis_hash=genesis_hash,
            host="127.0.0.1",
            port=0,
            endpoints=endpoints,
            callbacks=Callbacks(
                on_connected=self._on_connected,
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

    def _on_connected(self, peer: bytes) -> None:
        self._note(self.connected, peer)
        if self.on_connected is not None:
            self.on_connected(peer)

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


@asynccontextmanager
async def meeting(*sides: Side) -> AsyncIterator[None]:
    """Started and connected."""
    async with started(*sides):
        introduce(*sides)
        for side in sides:
            await side.until(lambda side=side: len(side.network.peers()) == len(sides) - 1)
        yield


async def raw_connection(key: PrivateKey, port: int, *, with_certificate: bool = True):
    """A TLS client of our own making."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if with_certificate:
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
