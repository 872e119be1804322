"""One real node behind its real API: a single validator, so that a block is final as soon as it is built.

Time is the test's: consensus' timers fire when a test lets time pass (`mine`), never by themselves.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from attribution.request import REQUEST
from node.api.server import ApiServer, ApiSettings
from node.errors import MessageRejected, TransactionRejected
from node.index import Index
from node.intake import Signed
from node.modules.accounts import load_account
from node.modules.validators import Registry
from node.p2p.messages import Message
from node.primitives.codec import encode
from node.primitives.crypto import PrivateKey, are_valid_signatures, make_node_certificate, sha256
from node.replica import FinalBlock, Replica
from node.storage.kv import KeyValueStore, MemoryStore
from node.storage.wal import Born
from node.types.receipt import Receipt
from node.types.validator import node_id_of
from node.worker import Job, compute_here
from tests.factories import Chain, make_key, make_transaction
from tests.simulation.disk import Fuse, SimLog

START_WALL_MS = 1_800_000_000_000
WAIT_S = 10.0
"""How long a test waits for what must come."""


@dataclass
class Disk:
    """What a node leaves behind."""

    store: KeyValueStore = field(default_factory=MemoryStore)
    blobs: KeyValueStore = field(default_factory=MemoryStore)
    index: KeyValueStore = field(default_factory=MemoryStore)
    log: SimLog = field(default_factory=lambda: SimLog(Fuse()))

    def copy(self) -> Disk:
        """The same, to be written to independently."""
        return Disk(*map(_copied, (self.store, self.blobs, self.index)), SimLog(Fuse(), self.log.entries))


class Peers:
    """Nobody else is there (`node.api.source.PeerInfo`)."""

    def __init__(self, peer_id: bytes) -> None:
        self.id = peer_id
        self.connected: list[bytes] = []

    def peers(self) -> Sequence[bytes]:
        return self.connected


class Node:
    """A replica, its world (`node.replica.ReplicaHost`), its index and its API."""

    def __init__(self, chain: Chain, disk: Disk | None = None, *, has_index: bool = True, **settings: Any) -> None:
        self.chain = chain
        self.disk = disk or Disk()
        if not self.disk.log.entries:
            self.disk.log.append([Born(genesis_hash=chain.genesis_hash, validator=chain.consensus_keys[0].address)])
        self.stopped: str | None = None
        self.registry: Registry | None = None
        self.is_verifying = True
        """Set to False to hold back signature verification, so that transactions stay on their way in."""
        self.is_verifying_at_once = False
        """Set to True to have signatures verified within the turn."""
        self.is_closed = False
        self._held: list[Callable[[], None]] = []
        self._loop = asyncio.get_running_loop()
        self._time_ms = 0
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._cancelled: set[int] = set()
        self._count = 0
        self._is_flush_due = False
        self._waiting: dict[bytes, asyncio.Future[Receipt]] = {}
        self._wall_ms = START_WALL_MS
        self.replica = Replica(
            genesis=chain.genesis,
            store=self.disk.store,
            blob_store=self.disk.blobs,
            wal=self.disk.log,
            consensus_key=chain.consensus_keys[0],
            host=self,
        )
        self._wall_ms = max(START_WALL_MS, self.replica.tree.tip.time_ms + 1)
        self.index = Index(self.disk.index, self.replica.blocks) if has_index else None
        if self.index is not None:
            self.replica.on_final_block.append(self.index.on_final)
        self.replica.on_final_block.append(self._note_final)
        self.network = Peers(node_id_of(chain.genesis.validators[0].node.certificate))
        self.api = ApiServer(
            self.replica, self.index, self.network, ApiSettings(**{"node_name": "one", "version": "9", **settings})
        )

    async def start(self, *, is_caught_up: bool = True) -> None:
        if self.index is not None and is_caught_up:
            self.index.catch_up()
        self.replica.start()
        await self.api.start()

    async def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            await self.api.stop()
            self.replica.flush()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api.port}"

    @property
    def height(self) -> int:
        return self.replica.tree.tip.height

    # node.replica.ReplicaHost.

    def wall_ms(self) -> int:
        return self._wall_ms + self._time_ms

    def monotonic_ms(self) -> int:
        return self._time_ms

    def call_at(self, at_ms: int, callback: Callable[[], None]) -> Callable[[], None]:
        self._count += 1
        number = self._count
        heapq.heappush(self._timers, (at_ms, number, callback))
        if at_ms <= self._time_ms:
            self._loop.call_soon(self._fire)
        return lambda: self._cancelled.add(number)

    def send(self, peer: bytes, message: Message) -> None:
        pass

    def broadcast(self, message: Message) -> None:
        pass

    def peers(self) -> Sequence[bytes]:
        return ()

    def penalize(self, peer: bytes, error: MessageRejected) -> None:
        raise AssertionError(f"nobody is there to be penalized: {error}")

    def stop(self, why: str) -> None:
        self.stopped = why

    def verify_signatures(self, items: Sequence[Signed], on_done: Callable[[list[bool]], None]) -> None:
        def verified() -> None:
            on_done(are_valid_signatures(items))
            self.request_flush()

        if self.is_verifying_at_once:
            verified()
        elif self.is_verifying:
            self._loop.call_soon(verified)
        else:
            self._held.append(verified)

    def compute(self, job: Job) -> None:
        def computed() -> None:
            job.on_done(compute_here(job.request, {**job.materials, **self._held_materials(job.request)}))
            self.request_flush()

        self._loop.call_soon(computed)

    def on_registry(self, registry: Registry) -> None:
        self.registry = registry

    def run_aside(self, work: Callable[[], None], on_done: Callable[[], None]) -> None:
        work()
        asyncio.get_running_loop().call_soon(on_done)

    def request_flush(self) -> None:
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    # What tests do.

    def release(self) -> None:
        """Verifies what was held back."""
        self.is_verifying = True
        for verified in self._held:
            verified()
        self._held.clear()

    async def mine(self, blocks: int = 1) -> int:
        """Lets time pass until more blocks are final. Returns the height."""
        target = self.height + blocks
        for _ in range(100 * blocks + 100):
            if self.height >= target:
                break
            self._time_ms += 500
            self._fire()
            await asyncio.sleep(0)
        assert self.height >= target, "an idle chain makes blocks"
        return self.height

    def sign(self, key: PrivateKey, payload: object, *, nonce: int | None = None, **changes: Any) -> bytes:
        """A transaction's bytes, with the account's next nonce."""
        if nonce is None:
            account = load_account(self.replica.state, key.address)
            nonce = self.replica.mempool.next_nonce(key.address, account.nonce)
        return encode(make_transaction(self.chain, key, payload, nonce=nonce, **changes))

    async def order(self, key: PrivateKey, payload: object, **changes: Any) -> Receipt:
        """A transaction that takes effect."""
        receipt = await self.attempt(key, payload, **changes)
        assert receipt.failure == "", receipt.failure
        return receipt

    async def attempt(self, key: PrivateKey, payload: object, **changes: Any) -> Receipt:
        """A transaction that becomes final, whatever came of it."""
        future: asyncio.Future[Receipt] = self._loop.create_future()

        def on_done(error: TransactionRejected | None) -> None:
            if error is not None:
                future.set_exception(error)

        transaction_id = self.replica.submit(self.sign(key, payload, **changes), on_done)
        self._waiting[transaction_id] = future
        async with asyncio.timeout(WAIT_S):
            return await future

    def put(self, content: bytes) -> bytes:
        """Uploads a content; returns its hash."""
        self.replica.put_blobs([content])
        return sha256(content)

    # Helpers.

    def _held_materials(self, request: REQUEST) -> dict[bytes, bytes]:
        held = {name: self.replica.blobs.get(name) for name in request.material_hashes()}
        return {name: content for name, content in held.items() if content is not None}

    def _flush(self) -> None:
        self._is_flush_due = False
        if self.stopped is None:
            self.replica.flush()

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= self._time_ms:
            _, number, callback = heapq.heappop(self._timers)
            if number not in self._cancelled:
                callback()
                self.request_flush()
            self._cancelled.discard(number)

    def _note_final(self, final: FinalBlock) -> None:
        # Blocks that are full of work come faster than a clock that stands still.
        self._wall_ms += 1
        for receipt in final.executed.receipts:
            waiting = self._waiting.pop(receipt.transaction_id, None)
            if waiting is not None:
                waiting.set_result(receipt)


@dataclass
class Answer:
    """What the API said."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Client:
    """Speaks to one node over its socket."""

    def __init__(self, node: Node, session: aiohttp.ClientSession) -> None:
        self.node = node
        self.session = session
        self._count = 0

    async def get(self, path: str, **headers: str) -> Answer:
        """A GET."""
        return await self.request("GET", path, headers=headers)

    async def request(self, verb: str, path: str, **options: Any) -> Answer:
        """Any request."""
        url = URL(self.node.url + path, encoded=True)
        async with self.session.request(verb, url, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def post(self, body: bytes | str, **headers: str) -> Answer:
        """Bytes to the JSON-RPC endpoint."""
        data = BytesIO(body.encode() if isinstance(body, str) else body)
        return await self.request("POST", "/", data=data, headers=headers)

    async def answer(self, method: str, params: Any = None, **named: Any) -> Any:
        """The whole JSON-RPC answer to a call."""
        self._count += 1
        call = {"jsonrpc": "2.0", "id": self._count, "method": method, "params": named if params is None else params}
        answer = (await self.post(msgspec.json.encode(call))).json
        assert answer["jsonrpc"] == "2.0"
        assert answer["id"] == self._count
        return answer

    async def call(self, method: str, params: Any = None, **named: Any) -> Any:
        """The result of a call that works."""
        answer = await self.answer(method, params, **named)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    async def fails(self, method: str, params: Any = None, **named: Any) -> tuple[int, str]:
        """Code and reason of a call that does not."""
        error = (await self.answer(method, params, **named))["error"]
        assert error["data"]["hint"]
        return error["code"], error["data"]["reason"]


@asynccontextmanager
async def serving(node: Node, **start: Any) -> AsyncIterator[Client]:
    """A started node and a client of it."""
    await node.start(**start)
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(node, session)
    finally:
        await node.close()
    assert node.stopped is None, node.stopped


def node_certificate(word: str) -> bytes:
    """A certificate that is always the same for a word."""
    return make_node_certificate(make_key(word))


def _copied(store: KeyValueStore) -> KeyValueStore:
    copy = MemoryStore()
    copy.write(dict(store.iterate(b"", b"\xff" * 64)))
    return copy
