"""Replicas that talk to each other in one process on a clock of their own; some of them lie about what they have.

A small world for tests about getting level with the others. Peers are the nodes of the genesis, in its order.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from node.errors import MessageRejected
from node.following import SnapshotUse
from node.intake import Signed
from node.modules.validators import Registry
from node.p2p.messages import Message, decode_message, encode_message
from node.primitives.crypto import PrivateKey, are_valid_signatures
from node.replica import TICK_MS, Replica
from node.snapshot import restore_incoming
from node.storage.blobs import BlobStore
from node.storage.kv import KeyValueStore, MemoryStore
from node.storage.snapshots import SnapshotShelf
from node.storage.wal import FileLog
from node.types.validator import node_id_of
from node.worker import Job, compute_here
from tests.factories import Chain

STEP_MS = 10
START_WALL_MS = 1_800_000_000_000

Twist = Callable[[Message], Sequence[Message]]
"""What a liar really sends instead of a message."""


@dataclass
class Member:
    """A node, its disk and its world (`node.replica.ReplicaHost`)."""

    mesh: Mesh
    index: int
    peer_id: bytes
    store: KeyValueStore
    blobs: KeyValueStore
    directory: Path
    key: PrivateKey | None = None
    lag_heights: int = 0
    twist: Twist | None = None
    replica: Replica | None = None
    stopped: str | None = None
    restarts: int = 0
    penalties: list[str] = field(default_factory=list)
    barred: set[bytes] = field(default_factory=set)
    sent: list[tuple[bytes, Message]] = field(default_factory=list)
    wal: FileLog | None = None

    @property
    def shelf(self) -> SnapshotShelf:
        return SnapshotShelf(self.directory / "snapshots")

    @property
    def height(self) -> int:
        assert self.replica is not None
        return self.replica.tree.tip.height

    def start(self) -> Replica:
        """Starts it on its disk, as `node.app` does."""
        genesis = self.mesh.chain.genesis
        self.wal = FileLog(self.directory / "log", genesis.hash())
        restore_incoming(self.shelf, self.store, BlobStore(self.blobs), genesis, None)
        self.replica = Replica(
            genesis=genesis,
            store=self.store,
            blob_store=self.blobs,
            wal=self.wal,
            consensus_key=self.key,
            host=self,
            snapshots=SnapshotUse(shelf=self.shelf, lag_heights=self.lag_heights),
        )
        self.replica.start()
        for peer in self.peers():
            self.replica.on_connected(peer)
            other = self.mesh.member(peer)
            assert other.replica is not None
            other.replica.on_connected(self.peer_id)
        return self.replica

    def end(self) -> None:
        """Ends it at once."""
        self.replica = None
        if self.wal is not None:
            self.wal.close()

    # What the replica needs of the world.

    def wall_ms(self) -> int:
        return START_WALL_MS + self.mesh.now_ms

    def monotonic_ms(self) -> int:
        return self.mesh.now_ms

    def call_at(self, at_ms: int, callback: Callable[[], None]) -> Callable[[], None]:
        return self.mesh.call_at(at_ms, self, callback)

    def send(self, peer: bytes, message: Message) -> None:
        for each in (message,) if self.twist is None else self.twist(message):
            self.sent.append((peer, each))
            self.mesh.queue.append((self, peer, encode_message(each)))

    def broadcast(self, message: Message) -> None:
        for peer in self.peers():
            self.send(peer, message)

    def peers(self) -> Sequence[bytes]:
        up = (each for each in self.mesh.members if each is not self and each.replica is not None)
        return [each.peer_id for each in up if each.peer_id not in self.barred and self.peer_id not in each.barred]

    def penalize(self, peer: bytes, error: MessageRejected) -> None:
        self.penalties.append(str(error))
        self.barred.add(peer)
        assert self.replica is not None
        self.replica.on_disconnected(peer)

    def stop(self, why: str) -> None:
        self.stopped = why

    def restart(self, why: str) -> None:
        self.restarts += 1
        self.mesh.restarting.append(self)

    def verify_signatures(self, items: Sequence[Signed], on_done: Callable[[list[bool]], None]) -> None:
        self.mesh.call_at(self.mesh.now_ms, self, lambda: on_done(are_valid_signatures(items)))

    def compute(self, job: Job) -> None:
        self.mesh.call_at(self.mesh.now_ms, self, lambda: job.on_done(compute_here(job.request, job.materials)))

    def on_registry(self, registry: Registry) -> None:
        pass

    def run_aside(self, work: Callable[[], None], on_done: Callable[[], None]) -> None:
        work()
        self.mesh.call_at(self.mesh.now_ms, self, on_done)

    def request_flush(self) -> None:
        pass


class Mesh:
    """All nodes, the messages between them, the clock."""

    def __init__(self, chain: Chain, directory: Path) -> None:
        self.chain = chain
        self.directory = directory
        self.now_ms = 0
        self.members: list[Member] = []
        self.queue: deque[tuple[Member, bytes, bytes]] = deque()
        self.restarting: list[Member] = []
        self._timers: list[tuple[int, int, Member, Callable[[], None]]] = []
        self._cancelled: set[int] = set()
        self._count = 0

    def add(self, store: KeyValueStore | None = None, blobs: KeyValueStore | None = None, **options: object) -> Member:
        """One more node; started by the caller."""
        index = len(self.members)
        member = Member(
            mesh=self,
            index=index,
            peer_id=node_id_of(self.chain.genesis.validators[index].node.certificate),
            store=store or MemoryStore(),
            blobs=blobs or MemoryStore(),
            directory=self.directory / f"node{index}",
            **options,  # type: ignore[arg-type]
        )
        self.members.append(member)
        return member

    def member(self, peer: bytes) -> Member:
        return next(each for each in self.members if each.peer_id == peer)

    def close(self) -> None:
        """Ends all nodes."""
        for member in self.members:
            member.end()

    def call_at(self, at_ms: int, member: Member, callback: Callable[[], None]) -> Callable[[], None]:
        self._count += 1
        number = self._count
        heapq.heappush(self._timers, (max(at_ms, self.now_ms), number, member, callback))
        return lambda: self._cancelled.add(number)

    def run_until(self, condition: Callable[[], bool], within_ms: int = 60_000) -> bool:
        """Lets time pass until something holds; whether it came to hold."""
        end_ms = self.now_ms + within_ms
        while self.now_ms < end_ms:
            if condition():
                return True
            self._step()
        return condition()

    def _step(self) -> None:
        self.now_ms += STEP_MS
        queue, self.queue = self.queue, deque()
        for sender, peer, data in queue:
            member = self.member(peer)
            if member.replica is None or sender.peer_id not in member.peers():
                continue
            try:
                member.replica.on_message(sender.peer_id, decode_message(data))
            except MessageRejected as error:
                member.penalize(sender.peer_id, error)
            member.replica.flush()
        while self._timers and self._timers[0][0] <= self.now_ms:
            _, number, member, callback = heapq.heappop(self._timers)
            if number not in self._cancelled and member.replica is not None:
                callback()
                member.replica.flush()
        if self.now_ms % TICK_MS == 0:
            for member in self.members:
                if member.replica is not None:
                    member.replica.tick()
        restarting, self.restarting = self.restarting, []
        for member in restarting:
            member.end()
            member.start()
