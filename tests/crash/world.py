"""Three validators in memory, one on the disk in a process of its own, and the workload they do together."""

from __future__ import annotations

import heapq
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from attribution.record import encode_query
from consensus.evidence import find_conflict
from consensus.types import Vote
from node.modules.accounts import Transfer
from node.modules.context import BlobRef
from node.modules.datanets import DATANETS, ColumnSpec, Contribute, CreateDatanet, schema_of
from node.modules.erasure import EraseRecord
from node.p2p.messages import BlockProposal, Votes, decode_message
from node.primitives.codec import encode
from node.primitives.crypto import sha256
from node.replica import TICK_MS, FinalBlock, Replica
from node.storage.blobs import WANTED
from node.storage.kv import MemoryStore
from node.storage.wal import Born, FileLog, LogEntry, LogPosition
from node.types.validator import node_id_of
from tests.crash.host import CrashHost
from tests.crash.life import Home, dump, main, make_world_chain
from tests.crash.points import Kill, Mirror
from tests.factories import Chain, make_transaction

DELAY_MS = 4
LIMIT_MS = 60_000
"""Simulated time within which a run ends."""


class Died(Exception):
    """The node under test was killed."""


class Refused(Exception):
    """The node under test does not start; the message says what to do."""


class MemoryLog:
    """A log that is never lost."""

    def __init__(self, entries: Sequence[LogEntry]) -> None:
        self._entries = list(entries)

    position = LogPosition(file_number=0, size_bytes=0)
    size_bytes = 0

    def replay(self) -> Sequence[LogEntry]:
        return self._entries

    def append(self, entries: Sequence[LogEntry]) -> None:
        pass

    def restart(self, entries: Sequence[LogEntry]) -> None:
        pass


def be_born(home: Home, chain: Chain) -> None:
    """A new validator's directory."""
    log = FileLog(home.data / "log", chain.genesis_hash)
    log.append([Born(genesis_hash=chain.genesis_hash, validator=chain.consensus_keys[0].address)])
    log.close()
    Mirror(home.data / "log", home.mirror).note_all()


class LocalNode:
    """A validator in memory."""

    def __init__(self, world: World, index: int) -> None:
        self._world = world
        self._index = index
        chain = world.chain
        self.store, self.blob_store = MemoryStore(), MemoryStore()
        self.replica = Replica(
            genesis=chain.genesis,
            store=self.store,
            blob_store=self.blob_store,
            wal=MemoryLog([Born(genesis_hash=chain.genesis_hash, validator=chain.consensus_keys[index].address)]),
            consensus_key=chain.consensus_keys[index],
            host=CrashHost(self, world.peers_of(index)),
        )
        self.replica.on_final_block.append(self._note_final)

    def now_ms(self) -> int:
        return self._world.now_ms

    def schedule(self, at_ms: int, callback: Callable[[], None]) -> Callable[[], None]:
        def fire() -> None:
            callback()
            self.replica.flush()

        return self._world.schedule(at_ms, fire)

    def transmit(self, peer: bytes, data: bytes) -> None:
        self._world.transmit(self._index, peer, data)

    def fail(self, why: str) -> None:
        raise AssertionError(f"v{self._index}: {why}")

    def start(self) -> None:
        self.replica.start()
        self.tick()

    def tick(self) -> None:
        self.replica.tick()
        self.schedule(self.now_ms() + TICK_MS, self.tick)

    def receive(self, peer: bytes, data: bytes) -> None:
        self.replica.on_message(peer, decode_message(data))
        self.replica.flush()

    def _note_final(self, final: FinalBlock) -> None:
        self._world.note_final(self._index, final.executed.block.header.height, final.executed.layer.root)


class DiskNode:
    """The validator under test: a process on a directory, killed and started again. It is always index 0."""

    def __init__(self, world: World, home: Home) -> None:
        self._world = world
        self._home = home
        self._pipe: Connection | None = None
        self._process: multiprocessing.process.BaseProcess | None = None
        self._life = 0
        self.height = 0
        self.points: list[str] = []
        """Points passed in this life."""
        self.votes: dict[tuple[int, int], list[Vote]] = {}
        """Everything it ever signed that left the process."""

    @property
    def is_up(self) -> bool:
        return self._pipe is not None

    def start(self, kill: Kill | None) -> None:
        """Begins a life. Raises: Died, Refused."""
        # From a clean process: the one that runs this may have threads.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.crash.life"])
        ours, theirs = context.Pipe()
        arguments = (theirs, self._home, self._world.peers_of(0), kill)
        self._process = context.Process(target=main, args=arguments)
        self._process.start()
        theirs.close()
        self._pipe, self._life, self.points = ours, self._life + 1, []
        self.order("start", None)
        for index in range(1, 4):
            self.order("connect", self._world.peer_ids[index])
        self._tick(self._life)

    def order(self, order: str, content: Any) -> Any:
        """Lets the node do something, and takes what comes out. Raises: Died, Refused."""
        assert self._pipe is not None, "it is up"
        try:
            self._pipe.send((order, self._world.now_ms, content))
            while True:
                said, *rest = self._pipe.recv()
                if said == "done":
                    self.height = rest[0]
                    return None
                if said == "dump":
                    self._pipe.recv()
                    return rest
                self._hear(said, rest)
        except (EOFError, ConnectionError) as error:
            assert self._process is not None, "it was started"
            self._process.join()
            code = self._process.exitcode
            self.end()
            assert code == -9, f"the node ended with {code} instead of being killed"
            raise Died from error

    def end(self) -> None:
        """Lets go of the process."""
        if self._pipe is not None and self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
        self._pipe, self._process = None, None

    def _hear(self, said: str, rest: list[Any]) -> None:
        match said:
            case "send":
                peer, data = rest
                self._note_votes(data)
                self._world.transmit(0, peer, data)
            case "timer":
                number, at_ms = rest
                life = self._life
                self._world.schedule(at_ms, lambda: self._fire(life, number))
            case "final":
                height, _, root = rest
                self._world.note_final(0, height, root)
            case "point":
                self.points.append(rest[0])
            case "refused":
                self.end()
                raise Refused(rest[0])
            case _:
                raise AssertionError(f"v0 {said}: {rest}")

    def _fire(self, life: int, number: int) -> None:
        if self.is_up and life == self._life:
            self.order("fire", number)

    def _tick(self, life: int) -> None:
        if self.is_up and life == self._life:
            self.order("tick", None)
            self._world.schedule(self._world.now_ms + TICK_MS, lambda: self._tick(life))

    def receive(self, peer: bytes, data: bytes) -> None:
        if self.is_up:
            self.order("message", (peer, data))

    def _note_votes(self, data: bytes) -> None:
        match decode_message(data):
            case Votes(votes=votes):
                said = votes
            case BlockProposal(vote=vote):
                said = (vote,)
            case _:
                return
        for vote in said:
            if vote.validator != self._world.chain.consensus_keys[0].address:
                continue
            known = self.votes.setdefault((vote.statement.epoch, vote.statement.view), [])
            for earlier in known:
                assert find_conflict(earlier, vote) is None, f"contradicts: {earlier.statement} and {vote.statement}"
            if vote not in known:
                known.append(vote)


@dataclass
class World:
    """All of them, the clock and the network: everything follows from the order of events."""

    home: Home
    chain: Chain = field(default_factory=make_world_chain)
    now_ms: int = 0

    def __post_init__(self) -> None:
        self.peer_ids = [node_id_of(each.node.certificate) for each in self.chain.genesis.validators]
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._cancelled: set[int] = set()
        self.roots: dict[int, bytes] = {}
        """The state root of each height, as the first node that finalised it has it."""
        self.disk = DiskNode(self, self.home)
        self.locals = {index: LocalNode(self, index) for index in range(1, 4)}
        self._nonces: dict[str, int] = {}
        self._done_height = 0
        self._erasable: list[bytes] = []
        self._datanet = b""
        for node in self.locals.values():
            node.start()

    def peers_of(self, index: int) -> list[bytes]:
        """Everybody else."""
        return [peer for number, peer in enumerate(self.peer_ids) if number != index]

    def schedule(self, at_ms: int, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back at a time."""
        self._count += 1
        number = self._count
        heapq.heappush(self._heap, (at_ms, number, callback))
        return lambda: self._cancelled.add(number)

    def transmit(self, sender: int, peer: bytes, data: bytes) -> None:
        """Carries a message to whoever is up when it arrives."""
        receiver = self.peer_ids.index(peer)
        node = self.disk if receiver == 0 else self.locals[receiver]
        self.schedule(self.now_ms + DELAY_MS, lambda: node.receive(self.peer_ids[sender], data))

    def note_final(self, index: int, height: int, root: bytes) -> None:
        """A node finalised a block: never another one than somebody else at this height."""
        known = self.roots.setdefault(height, root)
        assert known == root, f"v{index} has another state at height {height}"

    @property
    def height(self) -> int:
        """How far the ones in memory are."""
        return self.locals[1].replica.tree.tip.height

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Lets time pass until something holds. Raises: Died, Refused."""
        deadline_ms = self.now_ms + LIMIT_MS
        while not condition():
            assert self.now_ms < deadline_ms, (
                f"no end: v0 {self.disk.height} at {self.disk.points[-1:]}, v1 {self.height}"
            )
            self.now_ms, number, callback = heapq.heappop(self._heap)
            if number not in self._cancelled:
                callback()
            if self.height > self._done_height:
                self._done_height = self.height
                self._work(self._done_height)

    def check_equal(self) -> None:
        """The node under test holds what the others hold, byte by byte, once they stand at one height."""
        ours = self.locals[1]
        self.run_until(lambda: self.disk.height == self.height and self._is_settled())
        theirs, index_height, _ = self.disk.order("dump", None)
        expected = dump(ours.store, ours.blob_store)
        different = [key for key in sorted(expected.keys() | theirs.keys()) if expected.get(key) != theirs.get(key)]
        assert not different, f"{len(different)} of {len(expected)} entries differ: {different[:3]}"
        assert index_height == self.disk.height, "the index is where the chain is"

    def _is_settled(self) -> bool:
        """Whether nothing is fetched or taken out of the files any more."""
        stored, _, erased = self.disk.order("dump", None)
        return not erased and not any(key.startswith(b"blob" + WANTED) for key in stored)

    # The workload.

    def _work(self, height: int) -> None:
        """What people do once a height is final."""
        self._send("curator", Transfer(recipient=self.chain.users[0].address, amount_units=height))
        if height == 1:
            self._datanet = self._send("curator", self._create())
        elif height >= 3 and height % 2 == 1:
            schema = schema_of(DATANETS.need(self.locals[1].replica.state, self._datanet))
            record = bytes(2) + encode_query(schema, [height])
            self.locals[1].replica.put_blobs([record])
            reference = BlobRef(hash=sha256(record), size_bytes=len(record))
            self._send("clinic", Contribute(datanet=self._datanet, records=(reference,)))
            self._erasable.append(sha256(record))
        elif height % 6 == 4 and len(self._erasable) > 1:
            self._send("clinic", EraseRecord(datanet=self._datanet, content=self._erasable.pop(0)))

    def _create(self) -> CreateDatanet:
        return CreateDatanet(
            name="d",
            licence="l",
            columns=(ColumnSpec(name="a", decimals=0, minimum=0, maximum=10**9),),
            classes=("x", "y"),
            dampings=(1 << 17,),
            reviewers=(self.chain.people["reviewer"].address,),
            review_quorum=1,
        )

    def _send(self, who: str, payload: object) -> bytes:
        nonce = self._nonces.get(who, 0)
        self._nonces[who] = nonce + 1
        transaction = make_transaction(self.chain, self.chain.people[who], payload, nonce=nonce)
        replica = self.locals[1].replica
        replica.submit(encode(transaction), lambda _error: None)
        replica.flush()
        return transaction.id(self.chain.genesis_hash)
