"""Constructs a whole node on real clocks, disks and sockets, and runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import signal
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog

from attribution.request import TABLES_HASHES
from consensus.evidence import Evidence
from node import __version__
from node.api.server import ApiServer, ApiSettings
from node.config import (
    CONSENSUS_KEY_FILE,
    NODE_KEY_FILE,
    REPORTER_KEY_FILE,
    SNAPSHOTS_DIRECTORY,
    STATE_FILE,
    Config,
    ConfigError,
    Home,
)
from node.control import Control
from node.epochs import Anchor
from node.errors import MessageRejected, OpenLedgerError, StorageError, TransactionRejected
from node.execution.registry import KIND_OF
from node.execution.transaction import required_fee
from node.following import SnapshotUse
from node.index import Index
from node.intake import Signed
from node.logs import Logs, set_up_logging
from node.modules.accounts import load_account
from node.modules.engines import ENGINES, lacking
from node.modules.equivocation import SubmitEvidence
from node.modules.validators import GOVERNING, Registry
from node.p2p.messages import Message
from node.p2p.network import Callbacks, Network
from node.pool import Pool, worker_count
from node.primitives.codec import encode
from node.primitives.crypto import are_valid_signatures
from node.pruning import Pruner
from node.replica import TICK_MS, FinalBlock, Replica
from node.room import Room
from node.snapshot import SnapshotMaker, restore_incoming
from node.storage.blobs import BlobStore
from node.storage.export import read_values
from node.storage.kv import LevelStore
from node.storage.snapshots import SnapshotShelf
from node.storage.wal import FileLog
from node.types.transaction import sign_transaction
from node.worker import Job

SWITCH_INTERVAL_S = 0.0005
"""How long a verification thread waits for the interpreter after a signature; Python's own 5 ms would starve it."""
BULK_SIZE = 16
"""Signatures per piece of work for a verification thread."""
FEW_SIGNATURES = 2
"""So few are verified at once: handing them to a thread costs more."""
STOP_TIMEOUT_S = 1.5
INDEXED_AT_START = 50
"""Blocks the explorer's index may be behind for the start to wait for it."""
MOST_DESCRIPTORS = 65_536
"""What the node asks of the system; connections and tables on disk share it."""
EVIDENCE_VALID_HEIGHTS = 1_000

log = structlog.get_logger(__name__)


class App:
    """One running node."""

    def __init__(self, home: Home, config: Config, logs: Logs) -> None:
        self._home = home
        self._config = config
        self._logs = logs
        self._control = Control(home.data, {"log_level": self._on_log_level})
        self._loop = asyncio.get_running_loop()
        self._is_flush_due = False
        self._tick: asyncio.TimerHandle | None = None
        self._failure: str | None = None
        self.is_restarting = False
        """Whether it ended in order to start again."""
        self._stopping = asyncio.Event()
        self._threads = ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 1) - 1), thread_name_prefix="verify")
        self._aside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aside")
        self._lock = contextlib.ExitStack()
        self._lock.enter_context(lock_data(home.data))
        node_key = home.load_key(NODE_KEY_FILE)
        if node_key is None:
            raise ConfigError(f"{home.path / NODE_KEY_FILE} is missing: run `openledger init` first")
        genesis = home.load_genesis()
        self._store = LevelStore(home.data / "state")
        self._blob_store = LevelStore(home.data / "blobs")
        self._wal = FileLog(
            home.data / "log",
            genesis.hash(),
            on_sync=self._on_log_synced,
        )
        self.network = Network(
            key=node_key,
            genesis_hash=genesis.hash(),
            host=config.p2p.host,
            port=config.p2p.port,
            endpoints=config.p2p.endpoints(),
            callbacks=Callbacks(
                on_connected=self._on_connected,
                on_disconnected=self._on_disconnected,
                on_message=self._on_message,
                on_turn_end=self.request_flush,
            ),
        )
        storage = config.storage
        anchor = None
        if storage.trusted_height:
            anchor = Anchor(storage.trusted_height, bytes.fromhex(storage.trusted_block_id))
        shelf = SnapshotShelf(home.data / SNAPSHOTS_DIRECTORY)
        restore_incoming(shelf, self._store, BlobStore(self._blob_store), genesis, anchor)
        self._snapshots = SnapshotMaker(
            self._store, shelf, storage.snapshot_interval_heights, self.run_aside, genesis.epoch
        )
        needed = self._snapshots.lowest_needed_height
        self._pruner = Pruner(self._store, storage.keep_heights, self.run_aside, needed)
        workers = worker_count(config.attribution.workers)
        self.replica = Replica(
            genesis=genesis,
            store=self._store,
            blob_store=self._blob_store,
            wal=self._wal,
            consensus_key=home.load_key(CONSENSUS_KEY_FILE),
            host=self,
            room=Room(lambda: _free_size_bytes(home.data), config.storage.reserve_size_bytes),
            load_fork=lambda: dict(read_values(home.path / STATE_FILE)),
            snapshots=SnapshotUse(shelf=shelf, lag_heights=storage.snapshot_lag_heights, anchor=anchor),
            workers=workers,
        )
        self._pool = Pool(
            workers=workers,
            memory_size_bytes=config.attribution.memory_size_bytes,
            post=lambda callback: self._from_thread(self._in_turn, callback),
            work=self.replica.engine.observation.work,
            on_wrong_kernel=lambda why: self.stop(f"this machine computes wrongly and must not validate: {why}"),
        )
        self.replica.on_final_block.append(self._keep_house)
        self._index_store = LevelStore(home.data / "index", is_durable=False) if config.api.has_index else None
        self.index = Index(self._index_store, self.replica.blocks) if self._index_store is not None else None
        if self.index is not None:
            self.replica.on_final_block.append(self.index.on_final)
        self._reporter = home.load_key(REPORTER_KEY_FILE)
        self.replica.on_new_evidence.append(self._report)
        self.api = ApiServer(
            self.replica,
            self.index,
            self.network,
            ApiSettings(
                host=config.api.host,
                port=config.api.port,
                write_items_per_second=config.api.write_items_per_second,
                cors_origins=config.api.cors_origins,
                node_name=config.name,
                version=__version__,
                data=home.data,
            ),
        )

    async def run(self) -> None:
        """Runs until a signal or a fatal failure. Raises: OpenLedgerError saying what failed."""
        self._loop.set_exception_handler(self._on_exception)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stopping.set)
        self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        try:
            if (lack := self._lacking_engines()) is not None:
                raise ConfigError(lack)
            if self.index is not None and self.index.advance(INDEXED_AT_START):
                self.index.catch_up()  # what is longer behind is built beside the node, by the API
            await self.network.start()
            self.replica.start()
            await self.api.start()
            await self._control.start()
            self._on_tick()
            self._pool.start()
            log.info(
                "started",
                name=self._config.name,
                api=f"http://{self._config.api.host}:{self.api.port}",
                p2p=f"{self._config.p2p.host}:{self.network.port}",
                height=self.replica.tree.tip.height,
            )
            await self._stopping.wait()
        finally:
            await self._stop()
        if self._failure is not None:
            raise StorageError(self._failure)

    # What the replica needs of the world (node.replica.ReplicaHost).

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Milliseconds that never go back."""
        return int(self._loop.time() * 1000)

    def call_at(self, at_ms: int, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back at a monotonic time."""

        def fire() -> None:
            callback()
            self.request_flush()

        # Half a millisecond late rather than a rounding error early.
        return self._loop.call_at(at_ms / 1000 + 0.0005, fire).cancel

    def send(self, peer: bytes, message: Message) -> None:
        """Sends to a peer."""
        self.network.send(peer, message)

    def broadcast(self, message: Message) -> None:
        """Sends to every peer."""
        self.network.broadcast(message)

    def peers(self) -> Sequence[bytes]:
        """Connected peers."""
        return self.network.peers()

    def penalize(self, peer: bytes, error: MessageRejected) -> None:
        """Drops a peer that broke a rule."""
        self.network.penalize(peer, error)

    def stop(self, why: str) -> None:
        """Ends the process with a failure."""
        self._failure = self._failure or why
        self._stopping.set()

    def restart(self, why: str) -> None:
        """Ends the node in order; `run` starts it again on what is on the disk."""
        log.info("restarting", why=why)
        self.is_restarting = True
        self._stopping.set()

    def verify_signatures(self, items: Sequence[Signed], on_done: Callable[[list[bool]], None]) -> None:
        """Verifies in bulk, off the event loop; so few that handing them over costs more are done at once."""
        if len(items) <= FEW_SIGNATURES:
            on_done(are_valid_signatures(items))
            return
        pieces = [items[start : start + BULK_SIZE] for start in range(0, len(items), BULK_SIZE)]
        results: list[list[bool]] = [[] for _ in pieces]
        left = len(pieces)

        def on_piece(number: int, valid: list[bool]) -> None:
            nonlocal left
            results[number], left = valid, left - 1
            if left == 0:
                on_done([each for piece in results for each in piece])
                self.request_flush()

        for number, piece in enumerate(pieces):
            future = self._threads.submit(are_valid_signatures, piece)
            future.add_done_callback(
                lambda done, number=number: self._from_thread(on_piece, number, done.result())  # type: ignore[misc]
            )

    def compute(self, job: Job) -> None:
        """Runs the attribution engine in a worker."""
        self._pool.submit(job)

    def on_registry(self, registry: Registry) -> None:
        """The nodes that are accepted have changed."""
        self.network.set_registry(registry.nodes())

    def run_aside(self, work: Callable[[], None], on_done: Callable[[], None]) -> None:
        """Does something slow that touches the stores only, off the event loop."""

        def on_future(future: Future[None]) -> None:
            if future.cancelled():
                return
            error = future.exception()
            if error is None:
                self._from_thread(on_done)
            else:
                self._from_thread(self.stop, str(error))

        self._aside.submit(work).add_done_callback(on_future)

    def request_flush(self) -> None:
        """Ends the turn soon: once for everything that happens until then."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    # Helpers.

    def _keep_house(self, final: FinalBlock) -> None:
        """Makes snapshots and lets go of old blocks."""
        executed = final.executed
        header = executed.block.header
        self._pruner.on_final(header.height)
        if (lack := self._lacking_engines()) is not None:
            self.stop(lack)
        if executed.is_epoch_end and final.certificate is not None:
            self._snapshots.on_epoch_end(header, final.certificate)

    def _flush(self) -> None:
        self._is_flush_due = False
        if self._failure is None:
            self.replica.flush()

    def _on_tick(self) -> None:
        if self._tick is not None:
            self.replica.engine.observation.ran_late(self._loop.time() - self._tick.when())
        self.replica.tick()
        if self.replica.paused_for is not None:
            self._snapshots.cancel()  # it takes the room that the node waits for
        self._tick = self._loop.call_later(TICK_MS / 1000, self._on_tick)

    def _on_hangup(self) -> None:
        """SIGHUP: the log level is what the config file says now, for every module."""
        try:
            self._set_level(self._home.load_config().log.level, "")
        except ConfigError as error:
            log.error("config_not_read", error=str(error))

    def _on_log_level(self, request: dict[str, Any]) -> dict[str, Any]:
        level, module = request.get("level"), request.get("module", "")
        if level is not None:
            self._set_level(str(level), str(module))
        return {"levels": self._logs.levels}

    def _set_level(self, level: str, module: str) -> None:
        if self._logs.set_level(level, module):
            # A warning, so that it is seen whatever the level is now.
            log.warning("log_level_changed", level=level, of=module or "every module")

    def _on_log_synced(self, seconds: float) -> None:
        self.replica.engine.observation.synced_log(seconds)

    def _on_connected(self, peer: bytes) -> None:
        self.replica.on_connected(peer)

    def _on_disconnected(self, peer: bytes) -> None:
        self.replica.on_disconnected(peer)

    def _on_message(self, peer: bytes, message: Message) -> None:
        self.replica.on_message(peer, message)

    def _lacking_engines(self) -> str | None:
        """What to install when the next block may hold models of an engine that this program does not know."""
        next_height = self.replica.tree.tip.height + 1
        for engine in lacking(ENGINES.get(self.replica.state), TABLES_HASHES):
            if engine.from_height <= next_height:
                tables = engine.tables_hash.hex()
                return f"the chain's engine {engine.name} is not this program's: install one with its tables {tables}"
        return None

    def _in_turn(self, callback: Callable[[], None]) -> None:
        callback()
        self.request_flush()

    def _from_thread(self, callback: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _report(self, evidence: Evidence) -> None:
        """Submits evidence with the reporter's key, if this node has one."""
        if self._reporter is None:
            return
        payload = encode(SubmitEvidence(first=evidence.first, second=evidence.second))
        kind = KIND_OF[SubmitEvidence].number
        account = load_account(self.replica.state, self._reporter.address)
        parameters = GOVERNING.get(self.replica.state).parameters
        transaction = sign_transaction(
            self._reporter,
            self.replica.genesis_hash,
            kind=kind,
            nonce=self.replica.mempool.next_nonce(self._reporter.address, account.nonce),
            fee_units=required_fee(parameters, len(payload) + 256, 0),
            valid_until_height=self.replica.tree.tip.height + EVIDENCE_VALID_HEIGHTS,
            payload=payload,
        )
        try:
            self.replica.submit(encode(transaction), lambda _error: None)
        except TransactionRejected as error:
            log.warning("evidence_not_submitted", reason=str(error))

    def _on_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """A connection's trouble is logged; anything else is a bug or a broken disk, and ends the node."""
        error = context.get("exception")
        if isinstance(error, OSError | ssl.SSLError | asyncio.CancelledError) or error is None:
            log.debug("connection_trouble", message=context.get("message"), error=str(error))
            return
        assert isinstance(error, BaseException), "asyncio reports exceptions"
        log.critical("failed", message=context.get("message"), exc_info=error)
        self.stop(str(error) if isinstance(error, OpenLedgerError) else f"a bug: {error!r}")

    async def _stop(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._control.stop()
                await self.api.stop()
                await self.network.stop()
        if self._failure is None:
            self.replica.flush()
        self._pruner.stop()
        self._snapshots.stop()
        self._pool.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._aside.shutdown(wait=True, cancel_futures=True)  # it works on the stores that are closed next
        self._wal.close()
        for store in (self._store, self._blob_store, self._index_store):
            if store is not None:
                store.close()
        self._lock.close()
        log.info("stopped")


def run(home: Home, config: Config) -> None:
    """Runs a node until it is told to stop. Raises: OpenLedgerError."""
    logs = set_up_logging(config.log)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    raise_descriptor_limit()

    async def main() -> bool:
        app = App(home, config, logs)
        await app.run()
        return app.is_restarting

    while asyncio.run(main()):
        log.info("starting_again")


def raise_descriptor_limit() -> None:
    """Takes what the system allows without asking a person: the usual 1,024 are few for a node."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:  # some systems hold less than they say
        log.warning("descriptor_limit_stays", limit=soft, error=str(error))


def _free_size_bytes(data: Path) -> int:
    """What this process may still write to the disk of a directory."""
    found = os.statvfs(data)
    return found.f_bavail * found.f_frsize


@contextlib.contextmanager
def lock_data(data: Path) -> Iterator[None]:
    """Keeps a second process away from the data. Raises: ConfigError."""
    data.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data / "LOCK", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ConfigError(f"another process uses {data}: two nodes with one key would sign twice") from error
    finally:
        os.close(descriptor)
