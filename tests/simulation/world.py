"""The real node on a heap clock: a seeded network, seeded disks, one trace digest per run.

Everything random is drawn from one seed. The same seed gives the same trace, whatever the hash seed of the process.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from consensus.evidence import Evidence
from node.errors import MessageRejected, TransactionRejected
from node.intake import Signed
from node.modules.validators import Registry
from node.p2p.messages import (
    BlobResponse,
    BlockResponse,
    Message,
    Status,
    SyncResponse,
    decode_message,
    encode_message,
)
from node.primitives.crypto import PrivateKey, are_valid_signatures
from node.replica import TICK_MS, FinalBlock, Replica
from node.storage.wal import LogEntry
from node.types.validator import node_id_of
from node.worker import Job, compute_here
from tests.factories import Chain, make_key
from tests.simulation.disk import Crash, Disk
from tests.simulation.words import describe

START_WALL_MS = 1_800_000_000_000
ANSWERS = (BlockResponse, SyncResponse, BlobResponse, Status)
"""As many as somebody asks for: the network's allowances bound them."""
MOST_EVENTS_PER_MS = 4
"""For each pair of nodes; more than any network here has use for."""
VERIFY_MS = 1
COMPUTE_MS = 20
ASIDE_MS = 1


class Watcher(Protocol):
    """Who looks on: the invariants."""

    def on_sent(self, node: SimNode, message: Message) -> None:
        """A node sends something."""

    def on_logged(self, node: SimNode, entries: Sequence[LogEntry]) -> None:
        """Something is durable in a node's log."""

    def on_started(self, node: SimNode, replica: Replica) -> None:
        """A node has read its disk."""

    def on_final(self, node: SimNode, final: FinalBlock) -> None:
        """A block is final at a node."""

    def on_evidence(self, node: SimNode, evidence: Evidence) -> None:
        """A node has found an equivocation."""


@dataclass(frozen=True)
class Behaviour:
    """What makes a node Byzantine. The default is an honest node."""

    prepare: Callable[[Replica], None] = lambda _replica: None
    """Corrupts a fresh replica."""
    outgoing: Callable[[bytes, Message], Sequence[Message]] = lambda _peer, message: (message,)
    """What a peer is really sent instead of a message."""
    incoming: Callable[[bytes, Message], None] = lambda _peer, _message: None
    """Looks at what arrives."""


HONEST = Behaviour()


class SimHost:
    """One node's world."""

    def __init__(self, world: World, name: str, peer_id: bytes, behaviour: Behaviour) -> None:
        self.world = world
        self.name = name
        self.peer_id = peer_id
        self.behaviour = behaviour
        self.clock_offset_ms = 0
        self.stopped: str | None = None
        self.penalties: list[str] = []
        self.sent = 0
        """Messages sent since the world began, answers left out; one to all counts once."""

    def wall_ms(self) -> int:
        return START_WALL_MS + self.world.now_ms + self.clock_offset_ms

    def monotonic_ms(self) -> int:
        return self.world.now_ms

    def call_at(self, at_ms: int, callback: Callable[[], None]) -> Callable[[], None]:
        return self.world.schedule(max(at_ms, self.world.now_ms), self.name, callback)

    def send(self, peer: bytes, message: Message) -> None:
        self.world.transmit(self, (peer,), message)

    def broadcast(self, message: Message) -> None:
        self.world.transmit(self, self.peers(), message)

    def peers(self) -> Sequence[bytes]:
        return self.world.peers_of[self.peer_id]

    def penalize(self, peer: bytes, error: MessageRejected) -> None:
        self.penalties.append(str(error))
        self.world.note(self.name, "penalizes", peer[:3].hex(), str(error))

    def stop(self, why: str) -> None:
        self.stopped = why
        self.world.trace(self.name, "stops:", why)

    def verify_signatures(self, items: Sequence[Signed], on_done: Callable[[list[bool]], None]) -> None:
        self.world.schedule(self.world.now_ms + VERIFY_MS, self.name, lambda: on_done(are_valid_signatures(items)))

    def compute(self, job: Job) -> None:
        outcome = compute_here(job.request, job.materials)
        self.world.schedule(self.world.now_ms + COMPUTE_MS, self.name, lambda: job.on_done(outcome))

    def on_registry(self, registry: Registry) -> None:
        pass

    def run_aside(self, work: Callable[[], None], on_done: Callable[[], None]) -> None:
        work()
        self.world.schedule(self.world.now_ms + ASIDE_MS, self.name, on_done)

    def request_flush(self) -> None:
        pass  # every turn of the world ends with a flush


@dataclass
class SimNode:
    """A node and its disk."""

    name: str
    index: int
    """Which validator's keys it has; a twin has the same."""
    key: PrivateKey | None
    host: SimHost
    disk: Disk
    is_honest: bool
    replica: Replica | None = None
    incarnation: int = 0


@dataclass
class Links:
    """What the network does to messages."""

    drop_percent: int = 0
    duplicate_percent: int = 0
    delays_ms: tuple[int, int] = (1, 10)
    """Shortest and longest; drawn for each message, so that they overtake each other."""
    cut: set[tuple[int, int]] = field(default_factory=set)
    """Links (from index, to index) that carry nothing."""
    clogged_ms: dict[tuple[int, int], int] = field(default_factory=dict)
    """What some links need longer."""


class World:
    """All nodes, the network between them, and the clock."""

    def __init__(self, chain: Chain, seed: int, watcher: Watcher, *, is_encoded: bool = True) -> None:
        """With `is_encoded` every message goes through the bytes of the wire."""
        self.chain = chain
        self.random = random.Random(seed)
        self.watcher = watcher
        self.is_encoded = is_encoded
        self.now_ms = 0
        self.events = 0
        """Deliveries, timers, ticks and callbacks that took place."""
        self.links = Links()
        self.nodes: dict[str, SimNode] = {}
        self.peers_of: dict[bytes, tuple[bytes, ...]] = {}
        self.digest = hashlib.sha256()
        self.transcript: list[str] | None = None
        """One line an event, if somebody wants to read it."""
        self._by_peer: dict[bytes, list[SimNode]] = {}
        self._heap: list[tuple[int, int, str, int, Callable[[], None]]] = []
        self._count = 0
        self._cancelled: set[int] = set()

    # Building.

    def add_node(self, index: int, name: str | None = None, *, behaviour: Behaviour | None = None) -> SimNode:
        """A node with the keys of an index; a second one of the same index is its twin. A behaviour is Byzantine."""
        name = name or f"v{index}"
        peer_id = node_id_of(f"certificate {index}".encode())
        key = make_key(f"consensus {index}")
        node = SimNode(
            name=name,
            index=index,
            key=key,
            host=SimHost(self, name, peer_id, behaviour or HONEST),
            disk=Disk(self.chain.genesis_hash, key.address),
            is_honest=behaviour is None,
        )
        node.disk.log.on_append = lambda entries: self.watcher.on_logged(node, entries)
        self.nodes[name] = node
        self._by_peer.setdefault(peer_id, []).append(node)
        self.peers_of = {each: tuple(peer for peer in self._by_peer if peer != each) for each in self._by_peer}
        return node

    def start(self, name: str) -> Replica | None:
        """Starts a node on its disk, and connects it. None when it crashes on the way."""
        node = self.nodes[name]
        self.trace(name, "starts")
        node.incarnation += 1
        self._turn(node, lambda: self._start(node))
        for other in self.nodes.values():
            if other.replica is not None and other.host.peer_id != node.host.peer_id:
                self._connect(node, other)
                self._connect(other, node)
        return node.replica

    def crash(self, name: str) -> None:
        """Ends a node at once: what was not written is lost."""
        node = self.nodes[name]
        self.trace(name, "crashes")
        node.replica = None
        node.incarnation += 1

    def _start(self, node: SimNode) -> None:
        replica = Replica(
            genesis=self.chain.genesis,
            store=node.disk.store,
            blob_store=node.disk.blobs,
            wal=node.disk.log,
            consensus_key=node.key,
            host=node.host,
        )
        node.replica = replica
        self.watcher.on_started(node, replica)
        replica.on_final_block.append(lambda final: self._on_final(node, final))
        replica.on_new_evidence.append(lambda found: self.watcher.on_evidence(node, found))
        node.host.behaviour.prepare(replica)
        replica.start()
        self._tick(node)

    def _connect(self, node: SimNode, other: SimNode) -> None:
        peer = other.host.peer_id
        self.schedule(
            self.now_ms + self._delay_ms(other, node),
            node.name,
            lambda: node.replica.on_connected(peer) if node.replica is not None else None,
        )

    # Time.

    def schedule(self, at_ms: int, name: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back at a time, unless the node crashed before or the call was cancelled."""
        self._count = number = self._count + 1
        heapq.heappush(self._heap, (at_ms, number, name, self.nodes[name].incarnation, callback))
        return lambda: self._cancelled.add(number)

    def run(self, duration_ms: int) -> None:
        """Lets time pass."""
        until_ms = self.now_ms + duration_ms
        heap, cancelled = self._heap, self._cancelled
        while heap and heap[0][0] <= until_ms:
            self.now_ms, number, name, incarnation, callback = heapq.heappop(heap)
            if number in cancelled:
                cancelled.discard(number)
                continue
            node = self.nodes[name]
            if node.incarnation == incarnation:
                self.events += 1
                if self.events % 1_000 == 0:
                    self._require_bounded()
                self._turn(node, callback)
        self.now_ms = until_ms

    @property
    def peer_ids(self) -> list[bytes]:
        """All peers, in the order they were added."""
        return list(self.peers_of)

    def run_until(self, condition: Callable[[], bool], limit_ms: int, step_ms: int = 100) -> bool:
        """Lets time pass until something holds. Returns whether it does."""
        deadline_ms = self.now_ms + limit_ms
        while not condition() and self.now_ms < deadline_ms:
            self.run(step_ms)
        return condition()

    def _turn(self, node: SimNode, callback: Callable[[], None]) -> None:
        try:
            callback()
            if node.replica is not None and node.host.stopped is None:
                node.replica.flush()
        except Crash:
            self.crash(node.name)

    def _require_bounded(self) -> None:
        most = MOST_EVENTS_PER_MS * len(self.nodes) ** 2 * (self.now_ms + 1_000)
        if self.events > most:
            raise AssertionError(f"{self.events} events in {self.now_ms} ms: somebody answers for ever")

    def _tick(self, node: SimNode) -> None:
        if node.replica is not None and node.host.stopped is None:
            node.replica.tick()
            self.schedule(self.now_ms + TICK_MS, node.name, lambda: self._tick(node))

    # Network.

    def transmit(self, sender: SimHost, peers: Sequence[bytes], message: Message) -> None:
        """Carries a message to some peers, or loses it."""
        node = self.nodes[sender.name]
        sender.sent += not isinstance(message, ANSWERS)
        self.watcher.on_sent(node, message)
        self.trace(sender.name, "sends to all" if len(peers) > 1 else "sends", describe(message))
        for peer in peers:
            for each in sender.behaviour.outgoing(peer, message):
                self._carry(node, peer, each)

    def _carry(self, sender: SimNode, peer: bytes, message: Message) -> None:
        data = encode_message(message) if self.is_encoded else b""
        source = sender.host.peer_id
        links, draw = self.links, self.random.random
        for node in self._by_peer[peer]:
            if (sender.index, node.index) in links.cut:
                continue
            copies = 2 if links.duplicate_percent and draw() * 100 < links.duplicate_percent else 1
            for _ in range(copies):
                if links.drop_percent and draw() * 100 < links.drop_percent:
                    continue
                at_ms = self.now_ms + self._delay_ms(sender, node)
                self.schedule(at_ms, node.name, _delivery(self, node, source, message, data))

    def _delay_ms(self, sender: SimNode, receiver: SimNode) -> int:
        shortest_ms, longest_ms = self.links.delays_ms
        delay_ms = shortest_ms + int(self.random.random() * (longest_ms - shortest_ms + 1))
        return delay_ms + self.links.clogged_ms.get((sender.index, receiver.index), 0)

    def deliver(self, node: SimNode, peer: bytes, message: Message, data: bytes) -> None:
        """A message arrives; a link that was cut meanwhile loses what was on its way."""
        if node.replica is None or node.host.stopped is not None:
            return
        if self.links.cut and (self._by_peer[peer][0].index, node.index) in self.links.cut:
            return
        try:
            arrived = decode_message(data) if self.is_encoded else message
            node.host.behaviour.incoming(peer, arrived)
            if self.transcript is not None:
                self.note(node.name, "gets from", self._by_peer[peer][0].name, describe(arrived))
            node.replica.on_message(peer, arrived)
        except MessageRejected as error:
            node.host.penalize(peer, error)

    def partition(self, groups: Sequence[Sequence[int]], *, is_one_way: bool = False) -> None:
        """Cuts the links between groups of indices; one way: only from the first group."""
        group_of = {index: number for number, group in enumerate(groups) for index in group}
        self.links.cut = {
            (left, right)
            for left in group_of
            for right in group_of
            if group_of[left] != group_of[right] and (not is_one_way or group_of[left] == 0)
        }

    # Clients.

    def submit(self, name: str, data: bytes) -> bool:
        """Sends a transaction to a node; whether it was taken for now."""
        node = self.nodes[name]
        if node.replica is None or node.host.stopped is not None:
            return False
        taken: list[bytes] = []

        def send(replica: Replica) -> None:
            try:
                taken.append(replica.submit(data, lambda _error: None))
            except TransactionRejected as error:
                self.note(name, "refuses a transaction:", error.reason.value)

        replica = node.replica
        self._turn(node, lambda: send(replica))
        return bool(taken)

    # What a run leaves behind.

    def honest(self) -> list[SimNode]:
        """Nodes that follow the rules."""
        return [node for node in self.nodes.values() if node.is_honest]

    def trace(self, *words: object) -> None:
        """Adds an event to the run's digest, and to its transcript."""
        line = f"{self.now_ms} {' '.join(map(str, words))}\n"
        self.digest.update(line.encode())
        if self.transcript is not None:
            self.transcript.append(line)

    def note(self, *words: object) -> None:
        """Adds an event to the transcript only."""
        if self.transcript is not None:
            self.transcript.append(f"{self.now_ms} {' '.join(map(str, words))}\n")

    def _on_final(self, node: SimNode, final: FinalBlock) -> None:
        executed = final.executed
        self.trace(node.name, "final", executed.block.header.height, executed.block_id[:3].hex())
        self.watcher.on_final(node, final)


def _delivery(world: World, node: SimNode, source: bytes, message: Message, data: bytes) -> Callable[[], None]:
    return lambda: world.deliver(node, source, message, data)
