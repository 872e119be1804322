"""One life of the node under test: a process with the real log, the real stores and the real replica on a directory.

Its parent drives the clock and the network over a pipe, in lockstep: an order goes in, what the node sends comes out as
it leaves, then `done`. What is in the pipe when the process is killed is what the world saw.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import structlog

from node import engine
from node.errors import MessageRejected, StorageError
from node.index import Index
from node.p2p.messages import decode_message
from node.replica import FinalBlock, Replica
from node.storage.blobs import CONTENT, UNREFERENCED, WANTED
from node.storage.kv import LevelStore
from node.storage.schema import Column
from node.storage.wal import FileLog
from node.types.genesis import Role
from node.types.parameters import Parameters
from tests.crash.host import CrashHost
from tests.crash.points import Kill, Mirror, Points
from tests.factories import Chain, make_chain

PARAMETERS = Parameters(
    delta_ms=50, empty_block_interval_ms=100, epoch_length_heights=6, claim_age_heights=1, evidence_epochs=1000
)
LARGEST_LOG_SIZE_BYTES = 12_000
"""The log is begun anew this often, so that a short run does it several times."""
COMPARED = (Column.STATE, Column.TREE, Column.BLOCK, Column.HEIGHT, Column.RECEIPTS, Column.UNDO)


@dataclass(frozen=True)
class Home:
    """Where the node lives."""

    data: Path
    """Its data directory."""
    mirror: Path
    """What is on the disk for sure (see `Mirror`)."""


class Life:
    """The child's side of the pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._now_ms = 0
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._count = 0

    def now_ms(self) -> int:
        return self._now_ms

    def schedule(self, at_ms: int, callback: Callable[[], None]) -> Callable[[], None]:
        self._count += 1
        number = self._count
        self._callbacks[number] = callback
        self._pipe.send(("timer", number, at_ms))
        return lambda: self._callbacks.pop(number, None)  # type: ignore[return-value]

    def transmit(self, peer: bytes, data: bytes) -> None:
        self._pipe.send(("send", peer, data))

    def fail(self, why: str) -> None:
        self._pipe.send(("failed", why))

    def run(self, home: Home, chain: Chain, peers: list[bytes], kill: Kill | None) -> None:
        """Lives until it is killed or the parent lets go of the pipe."""
        _, self._now_ms, _ = self._pipe.recv()
        points = Points(
            home.data / "log",
            kill,
            lambda label: self._pipe.send(("point", label)),
            Mirror(home.data / "log", home.mirror),
        )
        points.install()
        engine.LARGEST_FILE_SIZE_BYTES = LARGEST_LOG_SIZE_BYTES
        try:
            self._serve(home, chain, peers)
        except StorageError as error:
            self._pipe.send(("refused", str(error)))
        except EOFError:
            return

    def _serve(self, home: Home, chain: Chain, peers: list[bytes]) -> None:
        store, blob_store = LevelStore(home.data / "state"), LevelStore(home.data / "blobs")
        replica = Replica(
            genesis=chain.genesis,
            store=store,
            blob_store=blob_store,
            wal=FileLog(home.data / "log", chain.genesis_hash),
            consensus_key=chain.consensus_keys[0],
            host=CrashHost(self, peers),
        )
        index = Index(LevelStore(home.data / "index", is_durable=False), replica.blocks)
        index.catch_up()
        replica.on_final_block.append(index.on_final)
        replica.on_final_block.append(self._note_final)
        replica.start()
        while True:
            self._pipe.send(("done", replica.tree.tip.height))
            order, self._now_ms, content = self._pipe.recv()
            if order == "dump":
                self._pipe.send(("dump", dump(store, blob_store), index.height, replica.blobs.erased()))
                continue
            try:
                self._obey(replica, order, content)
            except MessageRejected as error:
                self.fail(f"an honest peer's message was refused: {error}")
            replica.flush()

    def _obey(self, replica: Replica, order: str, content: Any) -> None:
        match order:
            case "message":
                peer, data = content
                replica.on_message(peer, decode_message(data))
            case "fire":
                self._callbacks.pop(content, _nothing)()
            case "tick":
                replica.tick()
            case "connect":
                replica.on_connected(content)
            case _:
                raise AssertionError(f"{order} is no order")

    def _note_final(self, final: FinalBlock) -> None:
        executed = final.executed
        self._pipe.send(("final", executed.block.header.height, executed.block_id, executed.layer.root))


def dump(store: Any, blob_store: Any) -> dict[bytes, bytes]:
    """Everything two honest nodes at one height hold alike: state, tree, blocks, receipts, undo records, contents."""
    found: dict[bytes, bytes] = {}
    for column in COMPARED:
        found |= dict(store.iterate(bytes((column,)), bytes((column + 1,))))
    waiting = {key[1:] for key, _ in blob_store.iterate(UNREFERENCED, bytes((UNREFERENCED[0] + 1,)))}
    for prefix in (CONTENT, WANTED):
        stored = blob_store.iterate(prefix, bytes((prefix[0] + 1,)))
        found |= {b"blob" + key: value for key, value in stored if key[1:] not in waiting}
    return found


def _nothing() -> None:
    return


def make_world_chain() -> Chain:
    """The chain every run is about."""
    people = {"curator": int(Role.CURATOR), "reviewer": int(Role.REVIEWER), "clinic": int(Role.CONTRIBUTOR)}
    return make_chain(users=2, people=people, parameters=PARAMETERS)


def main(pipe: Connection, home: Home, peers: list[bytes], kill: Kill | None) -> None:
    """The child process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    Life(pipe).run(home, make_world_chain(), peers, kill)
