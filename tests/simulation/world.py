"""The real node on a heap clock: seeded network, seeded crashes, one trace digest per run.

Everything random is drawn from one seed. The same seed gives the same trace, whatever the hash seed of the process.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from attribution.request import REQUEST
from consensus.evidence import find_conflict
from node.errors import MessageRejected, TransactionRejected
from node.intake import Signed
from node.modules.validators import Registry
from node.p2p.messages import Message, decode_message, encode_message
from node.primitives.crypto import PrivateKey, are_valid_signatures
from node.replica import TICK_MS, FinalBlock, Replica
from node.storage.kv import MemoryStore
from node.storage.wal import Born, LogEntry, LogPosition, VoteCast
from node.types.validator import node_id_of
from node.worker import Failure, Materials, Outcome, compute_here
from tests.factories import Chain

START_WALL_MS = 1_800_000_000_000


class MemoryLog:
    """A log whose appends are durable when they return."""

    def __init__(self, entries: Sequence[LogEntry] = ()) -> None:
        self.entries: list[LogEntry] = list(entries)
        self.restarts = 0

    @property
    def position(self) -> LogPosition:
        return LogPosition(file_number=self.restarts, size_bytes=len(self.entries))

    @property
    def size_bytes(self) -> int:
        return 0

    def replay(self) -> Sequence[LogEntry]:
        return list(self.entries)

    def append(self, entries: Sequence[LogEntry]) -> None:
        self.entries.extend(entries)

    def restart(self, entries: Sequence[LogEntry]) -> None:
        self.entries = list(entries)
        self.restarts += 1

    def copy(self) -> MemoryLog:
        """A backup."""
        copied = MemoryLog(self.entries)
        copied.restarts = self.restarts
        return copied


@dataclass
class Disk:
    """What survives a crash."""

    store: MemoryStore = field(default_factory=MemoryStore)
    blobs: MemoryStore = field(default_factory=MemoryStore)
    log: MemoryLog = field(default_factory=MemoryLog)


class SimHost:
    """One node's world."""

    def __init__(self, world: World, name: str, peer_id: bytes) -> None:
        self.world = world
        self.name = name
        self.peer_id = peer_id
        self.clock_offset_ms = 0
        self.stopped: str | None = None
        self.penalties: list[str] = []

    def wall_ms(self) -> int:
        return START_WALL_MS + self.world.now_ms + self.clock_offset_ms

    def monotonic_ms(self) -> int:
        return self.world.now_ms

    def call_at(self, at_ms: int, callback: Callable[[], None]) -> Callable[[], None]:
        return self.world.schedule(max(at_ms, self.world.now_ms), self.name, callback)

    def send(self, peer: bytes, message: Message) -> None:
        self.world.transmit(self, peer, encode_message(message))

    def broadcast(self, message: Message) -> None:
        data = encode_message(message)
        for peer in self.peers():
            self.world.transmit(self, peer, data)

    def peers(self) -> Sequence[bytes]:
        return [peer for peer in self.world.peer_ids if peer != self.peer_id]

    def penalize(self, peer: bytes, error: MessageRejected) -> None:
        self.penalties.append(str(error))

    def stop(self, why: str) -> None:
        self.stopped = why

    def verify_signatures(self, items: Sequence[Signed], on_done: Callable[[list[bool]], None]) -> None:
        self.world.schedule(self.world.now_ms + 1, self.name, lambda: on_done(are_valid_signatures(items)))

    def compute(self, request: REQUEST, materials: Materials, on_done: Callable[[Outcome | Failure], None]) -> None:
        outcome = compute_here(request, materials)
        self.world.schedule(self.world.now_ms + 20, self.name, lambda: on_done(outcome))

    def on_registry(self, registry: Registry) -> None:
        pass

    def run_aside(self, work: Callable[[], None], on_done: Callable[[], None]) -> None:
        work()
        self.world.schedule(self.world.now_ms + 1, self.name, on_done)

    def request_flush(self) -> None:
        pass  # every event of the world ends with a flush


@dataclass
class SimNode:
    """A node, its disk, and what a checker knows of it."""

    name: str
    index: int
    key: PrivateKey | None
    host: SimHost
    disk: Disk
    is_honest: bool
    prepare: Callable[[Replica], None] | None = None
    """Makes an adversary of a fresh replica."""
    replica: Replica | None = None
    incarnation: int = 0
    chain: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Block id and state root of each final block since the genesis, in order, over all incarnations."""
    final_transactions: dict[bytes, int] = field(default_factory=dict)
    """How often each transaction became final here."""


class World:
    """All nodes, the network between them, and the clock."""

    def __init__(self, chain: Chain, seed: int) -> None:
        self.chain = chain
        self.random = random.Random(seed)
        self.now_ms = 0
        self.drop_percent = 0
        self.duplicate_percent = 0
        self.delays_ms = (1, 20)
        self.cut: set[tuple[int, int]] = set()
        """Links (from index, to index) that carry nothing."""
        self.nodes: dict[str, SimNode] = {}
        self.peer_ids: list[bytes] = []
        self.evidence: list[tuple[str, bytes]] = []
        self.digest = hashlib.sha256()
        self._heap: list[tuple[int, int, str, int, Callable[[], None]]] = []
        self._count = 0
        self._cancelled: set[int] = set()

    # Building.

    def add_validator(
        self,
        index: int,
        *,
        name: str | None = None,
        is_honest: bool = True,
        prepare: Callable[[Replica], None] | None = None,
    ) -> SimNode:
        """A node with a validator's keys; a second one of the same index is its twin."""
        name = name or f"v{index}"
        peer_id = node_id_of(self.chain.genesis.validators[index].node.certificate)
        if peer_id not in self.peer_ids:
            self.peer_ids.append(peer_id)
        born = [Born(genesis_hash=self.chain.genesis_hash)]
        node = SimNode(
            name=name,
            index=index,
            key=self.chain.consensus_keys[index],
            host=SimHost(self, name, peer_id),
            disk=Disk(log=MemoryLog(born)),
            is_honest=is_honest,
            prepare=prepare,
        )
        self.nodes[name] = node
        return node

    def start(self, name: str) -> Replica:
        """Starts a node on its disk."""
        node = self.nodes[name]
        node.incarnation += 1
        replica = Replica(
            genesis=self.chain.genesis,
            store=node.disk.store,
            blob_store=node.disk.blobs,
            wal=node.disk.log,
            consensus_key=node.key,
            host=node.host,
        )
        node.replica = replica
        replica.on_final_block.append(lambda final: self._note_final(node, final))
        replica.on_new_evidence.append(lambda found: self.evidence.append((name, found.first.validator)))
        if node.prepare is not None:
            node.prepare(replica)
        replica.start()
        self._tick(node)
        return replica

    def crash(self, name: str) -> None:
        """Ends a node at once: what was not written is lost."""
        node = self.nodes[name]
        node.replica = None
        node.incarnation += 1

    # Time.

    def schedule(self, at_ms: int, name: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back at a time, unless the node crashed before or the call was cancelled."""
        self._count += 1
        number = self._count
        incarnation = self.nodes[name].incarnation if name else 0
        heapq.heappush(self._heap, (at_ms, number, name, incarnation, callback))
        return lambda: self._cancelled.add(number)

    def run(self, duration_ms: int) -> None:
        """Lets time pass."""
        until_ms = self.now_ms + duration_ms
        while self._heap and self._heap[0][0] <= until_ms:
            self.now_ms, number, name, incarnation, callback = heapq.heappop(self._heap)
            if number in self._cancelled:
                self._cancelled.discard(number)
                continue
            if name and self.nodes[name].incarnation != incarnation:
                continue
            callback()
            if name:
                self._end_turn(self.nodes[name])
        self.now_ms = until_ms

    def run_until(self, condition: Callable[[], bool], limit_ms: int, step_ms: int = 100) -> bool:
        """Lets time pass until something holds. Returns whether it does."""
        deadline_ms = self.now_ms + limit_ms
        while not condition() and self.now_ms < deadline_ms:
            self.run(step_ms)
        return condition()

    # Network.

    def transmit(self, sender: SimHost, peer: bytes, data: bytes) -> None:
        """Carries a message, or loses it."""
        self.trace("send", sender.name, peer[:4].hex(), hashlib.sha256(data).hexdigest()[:16])
        for node in self.nodes.values():
            if node.host.peer_id != peer or node.host is sender:
                continue
            if (self.nodes[sender.name].index, node.index) in self.cut:
                continue
            copies = 1 + (self.random.randrange(100) < self.duplicate_percent)
            for _ in range(copies):
                if self.random.randrange(100) < self.drop_percent:
                    continue
                at_ms = self.now_ms + self.random.randint(*self.delays_ms)
                self.schedule(at_ms, node.name, lambda node=node: self._receive(node, sender.peer_id, data))

    def partition(self, groups: Sequence[Sequence[int]], *, is_one_way: bool = False) -> None:
        """Cuts the links between groups of validators; one way: only from the first group."""
        group_of = {index: number for number, group in enumerate(groups) for index in group}
        self.cut = {
            (left, right)
            for left in group_of
            for right in group_of
            if group_of[left] != group_of[right] and (not is_one_way or group_of[left] == 0)
        }

    def heal(self) -> None:
        """A good network."""
        self.cut, self.drop_percent, self.duplicate_percent, self.delays_ms = set(), 0, 0, (1, 10)

    # Clients.

    def submit(self, name: str, data: bytes) -> bool:
        """Sends a transaction to a node; whether it was taken for now."""
        node = self.nodes[name]
        if node.replica is None:
            return False
        try:
            node.replica.submit(data, lambda _error: None)
        except TransactionRejected as error:
            self.trace("refused", name, error.reason.value)
            return False
        self._end_turn(node)
        return True

    # Checks.

    def honest(self) -> list[SimNode]:
        """Nodes that follow the rules."""
        return [node for node in self.nodes.values() if node.is_honest]

    def check_safety(self) -> None:
        """One chain, equal roots, no honest node halted, accused or contradicting itself, nothing final twice."""
        longest = max((node.chain for node in self.honest()), key=len)
        for node in self.honest():
            assert node.host.stopped is None, f"{node.name} halted: {node.host.stopped}"
            assert node.chain == longest[: len(node.chain)], f"{node.name} is on another chain"
            doubled = [key.hex() for key, times in node.final_transactions.items() if times > 1]
            assert not doubled, f"{node.name}: transactions final twice: {doubled}"
            check_log(node)
        honest_ids = {node.key.address for node in self.honest() if node.key is not None}
        accused = [name for name, validator in self.evidence if validator in honest_ids]
        assert not accused, f"honest validators accused by {accused}"

    def heights(self) -> dict[str, int]:
        """Final height by node."""
        return {node.name: len(node.chain) for node in self.nodes.values()}

    def trace(self, *words: object) -> None:
        """Adds an event to the run's digest."""
        self.digest.update(f"{self.now_ms} {' '.join(map(str, words))}\n".encode())

    def _receive(self, node: SimNode, peer: bytes, data: bytes) -> None:
        if node.replica is None or node.host.stopped is not None:
            return
        try:
            node.replica.on_message(peer, decode_message(data))
        except MessageRejected as error:
            node.host.penalize(peer, error)

    def _tick(self, node: SimNode) -> None:
        if node.replica is not None and node.host.stopped is None:
            node.replica.tick()
            self.schedule(self.now_ms + TICK_MS, node.name, lambda: self._tick(node))

    def _end_turn(self, node: SimNode) -> None:
        if node.replica is not None and node.host.stopped is None:
            node.replica.flush()

    def _note_final(self, node: SimNode, final: FinalBlock) -> None:
        executed = final.executed
        height = executed.block.header.height
        self.trace("final", node.name, height, executed.block_id.hex())
        entry = (executed.block_id, executed.layer.root)
        assert height == len(node.chain) + 1, f"{node.name} skipped to height {height}"
        node.chain.append(entry)
        for candidate in executed.candidates:
            node.final_transactions[candidate.id] = node.final_transactions.get(candidate.id, 0) + 1


def check_log(node: SimNode) -> None:
    """No two votes in a node's log contradict each other."""
    by_view: dict[tuple[int, int], list] = {}
    for entry in node.disk.log.entries:
        if isinstance(entry, VoteCast):
            statement = entry.vote.statement
            earlier = by_view.setdefault((statement.epoch, statement.view), [])
            for other in earlier:
                assert find_conflict(other, entry.vote) is None, f"{node.name} equivocated in its own log"
            earlier.append(entry.vote)
