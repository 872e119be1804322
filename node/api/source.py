"""What the API reads: the replica, the index, the peers, and what it noticed of the chain itself."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

from attribution.request import TABLES_HASHES
from node.api import present, views, views_chain
from node.api.health import STALLED_DELTAS, Facts, HealthReason, find_problems
from node.api.history import History
from node.api.live import Hub
from node.api.watch import Watch
from node.errors import RequestReason, RequestRejected, StorageError, TransactionRejected
from node.following import SYNC_LAG_HEIGHTS
from node.index import Index, summarise
from node.modules.engines import ENGINES, lacking
from node.modules.validators import GOVERNING, REGISTRY
from node.replica import FinalBlock, Replica
from node.storage.pieces import Partial
from node.types.content import ContentManifest
from node.types.validator import node_id_of

OBSERVED_BLOCKS = 1_000
"""How many of the last final blocks a validator's observed proposals are counted over."""
AUDIT_S = 5.0
"""How old an audit may be."""
AUDIT_ATTEMPTS = 3
"""An audit sees one moment of the state: one during which a block becomes final begins again."""
INDEXED_AT_ONCE = 20


class PeerInfo(Protocol):
    """The connected nodes (`node.p2p.network.Network`)."""

    @property
    def id(self) -> bytes:
        """This node's identity among peers."""

    def peers(self) -> Sequence[bytes]:
        """Connected peers."""


class Source:
    """Everything behind the API."""

    def __init__(
        self,
        replica: Replica,
        index: Index | None,
        peers: PeerInfo,
        name: str,
        version: str,
        data: Path | None = None,
    ) -> None:
        """`data` is where the node's files lie, if it has any."""
        self.replica = replica
        self.peers = peers
        self.name = name
        self.version = version
        self._data = data
        self.history = History(replica.blocks)
        self.watch = Watch()
        self.hub = Hub(self.history, replica.tree.tip.height)
        self.is_stopping = False
        self._index = index
        self._proposers: deque[bytes] = deque(maxlen=OBSERVED_BLOCKS)
        self._proposals: Counter[bytes] = Counter()
        self._moved_s = time.monotonic()
        self._news: asyncio.Future[None] | None = None
        self._audited: views.ConservationView | None = None
        self._audited_until_s = 0.0
        self._auditing = asyncio.Lock()
        replica.on_final_block.append(self._on_final)
        replica.on_transaction_dropped.append(self.watch.on_dropped)

    # Where the node stands.

    @property
    def tip_height(self) -> int:
        """The last final block."""
        return self.replica.tree.tip.height

    @property
    def next_height(self) -> int:
        """The block that comes next: what is judged now is judged for it."""
        return self.tip_height + 1

    @property
    def is_catching_up(self) -> bool:
        """Whether peers are ahead."""
        return self.replica.lag_heights > SYNC_LAG_HEIGHTS

    @property
    def has_index(self) -> bool:
        """Whether this node keeps an index."""
        return self._index is not None

    @property
    def index_height(self) -> int | None:
        """The last block in the index."""
        return None if self._index is None else self._index.height

    @property
    def index(self) -> Index:
        """The index. Raises: RequestRejected NOT_FOUND without one, or while it is built."""
        if self._index is None:
            raise RequestRejected(RequestReason.NOT_FOUND, "this node keeps no index")
        if not self._index.is_live:
            raise RequestRejected(RequestReason.NOT_FOUND, f"the index is being built, at height {self._index.height}")
        return self._index

    def seconds_since_final(self) -> float:
        """Since a block became final here, or since the start."""
        return time.monotonic() - self._moved_s

    def patience_s(self) -> float:
        """How long the chain may go without a final block before something is wrong."""
        parameters = GOVERNING.get(self.replica.state).parameters
        return (parameters.empty_block_interval_ms + STALLED_DELTAS * parameters.delta_ms) / 1000

    def reachable(self) -> frozenset[bytes]:
        """The validators that are connected, and this one."""
        replica = self.replica
        power_of = replica.engine.core.quorum.power_of
        connected = set(self.peers.peers())
        return frozenset(
            each for each in power_of if each == replica.engine.core.me or replica.node_of(each) in connected
        )

    def reachable_power(self) -> int:
        """Their voting power."""
        return self.replica.engine.core.quorum.power(self.reachable())

    def free_bytes(self) -> int | None:
        """Room on the data's disk; None when there is none to look at."""
        return None if self._data is None else shutil.disk_usage(self._data).free

    def problems(self) -> dict[HealthReason, str]:
        """Why the node is not ready, with a sentence for each; empty when it is."""
        engine = self.replica.engine
        nodes = REGISTRY.get(self.replica.state).nodes()
        return find_problems(
            Facts(
                is_halted=engine.is_stopped,
                is_recovering=engine.core.is_recovering,
                lag_heights=self.replica.lag_heights,
                is_catching_up=self.is_catching_up,
                seconds_since_final=self.seconds_since_final(),
                patience_s=self.patience_s(),
                reachable_power=self.reachable_power(),
                total_power=engine.core.quorum.total_power,
                is_admitted=any(node_id_of(each.certificate) == self.peers.id for each in nodes),
                free_bytes=self.free_bytes(),
                is_paused_for_disk=self.replica.paused_for is not None,
                index_height=None if self._index is None or self._index.is_live else self._index.height,
                height=self.tip_height,
                is_stopping=self.is_stopping,
                next_unknown_engine=self._next_unknown_engine(),
            )
        )

    def _next_unknown_engine(self) -> str:
        unknown = lacking(ENGINES.get(self.replica.state), TABLES_HASHES)
        coming = [(each.from_height, each.name) for each in unknown if each.from_height > self.tip_height]
        return f"{min(coming)[1]} from height {min(coming)[0]}" if coming else ""

    def observed(self) -> tuple[Counter[bytes], int]:
        """How many of the last blocks each validator proposed, and how many these are."""
        return self._proposals, len(self._proposers)

    # Transactions.

    def submit(self, data: bytes, on_done: Callable[[TransactionRejected | None], None]) -> bytes:
        """Takes a transaction; `on_done` learns what became of it. Returns its id. Raises: TransactionRejected."""

        def on_answered(error: TransactionRejected | None) -> None:
            self.watch.on_answered(transaction_id, error)
            on_done(error)

        transaction_id = self.replica.submit(data, on_answered)
        self.watch.on_arriving(transaction_id)
        return transaction_id

    def put_blobs(self, contents: Sequence[bytes]) -> tuple[bytes, ...]:
        """Takes contents; returns their hashes."""
        return self.replica.put_blobs(contents)

    def begin_upload(self, manifest: ContentManifest, address: str) -> Partial | None:
        """Begins to take a large content; None when it is here."""
        return self.replica.begin_upload(manifest, address)

    async def put_piece(self, partial: Partial, index: int, data: bytes) -> None:
        """Takes a piece; returns once it is on the disk. Raises: RequestRejected."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_done(error: RequestRejected | None) -> None:
            if done.done():  # whoever sent it is gone
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        self.replica.put_piece(partial, index, data, on_done)
        await done

    def fail(self, error: StorageError) -> None:
        """The disk failed on a request: the node stops, as it does when it fails elsewhere."""
        self.replica.host.stop(str(error))

    # What takes a while.

    @property
    def lowest_height(self) -> int:
        """The lowest block that listings go down to: the genesis block, unless some above it are pruned."""
        lowest_height = self.replica.blocks.lowest_height
        first_height = self.replica.genesis.height
        return lowest_height if lowest_height > first_height + 1 else first_height

    def require_kept(self, height: int) -> None:
        """Raises: RequestRejected PRUNED when this node let go of a block, or joined above it."""
        lowest_height = self.replica.blocks.lowest_height
        if self.replica.genesis.height < height < lowest_height:
            raise RequestRejected(RequestReason.PRUNED, f"the lowest block here is {lowest_height}")

    async def block_summary(self, height: int) -> views_chain.BlockSummary | None:
        """A block as listings show it, from the index if it is there."""
        entry = self._index.block(height) if self._index is not None and self._index.height >= height else None
        if entry is not None:
            return present.block_summary(height, entry)
        stored = await self.history.at(height)
        if stored is None:
            return None
        entry = summarise(stored.header, stored.block_id, stored.transactions, stored.receipts)
        return present.block_summary(height, entry)

    def next_block(self) -> asyncio.Future[None]:
        """Done when another block is final."""
        if self._news is None or self._news.done():
            self._news = asyncio.get_running_loop().create_future()
        return self._news

    async def conservation(self) -> views.ConservationView:
        """Whether all holdings add up; looked at now and then only."""
        async with self._auditing:  # whoever asks meanwhile waits for the same answer
            if self._audited is None or time.monotonic() >= self._audited_until_s:
                self._audited = await self._run_audit()
                self._audited_until_s = time.monotonic() + AUDIT_S
            return self._audited

    async def build_index(self) -> None:
        """Indexes what is stored, without holding up the node."""
        index = self._index
        if index is None or index.is_live:
            return
        while not await self.history.off_loop(lambda: index.advance(INDEXED_AT_ONCE)):
            await asyncio.sleep(0)
        index.catch_up()

    def waiting(self, limit: int) -> list[views_chain.PendingTransaction]:
        """The first transactions that wait for a block."""
        return [present.pending(entry.candidate) for entry in islice(self.replica.mempool, limit)]

    def close(self) -> None:
        """Stops listening to the replica."""
        self.replica.on_final_block.remove(self._on_final)
        self.replica.on_transaction_dropped.remove(self.watch.on_dropped)
        self.history.close()

    def _on_final(self, final: FinalBlock) -> None:
        executed = final.executed
        self._moved_s = time.monotonic()
        self.replica.engine.observation.saw_block(executed.block.header.time_ms)
        if len(self._proposers) == OBSERVED_BLOCKS:
            self._proposals[self._proposers[0]] -= 1
        self._proposers.append(executed.block.header.proposer)
        self._proposals[executed.block.header.proposer] += 1
        self.history.add(executed)
        self.watch.on_final(executed)
        self.hub.on_final(executed)
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def _run_audit(self) -> views.ConservationView:
        for _ in range(AUDIT_ATTEMPTS):
            audit = self.replica.audit()
            while self.tip_height == audit.height:
                if audit.advance():
                    error = audit.error()
                    return views.ConservationView(height=audit.height, is_ok=error is None, error=error or "")
                await asyncio.sleep(0)
        # Blocks come faster than a walk over the state takes: the replica's own, at the last epoch's end, counts.
        return views.ConservationView(height=self.replica.audited_height, is_ok=True, error="")
