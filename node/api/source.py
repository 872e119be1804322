"""What the API reads: the replica, the index, the peers, and what it noticed of the chain itself."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol

from node.api import present, views, views_chain
from node.api.history import History
from node.api.live import Hub
from node.api.watch import Watch
from node.errors import RequestReason, RequestRejected, StorageError, TransactionRejected
from node.following import SYNC_LAG_HEIGHTS
from node.index import Index, summarise
from node.modules.validators import GOVERNING
from node.replica import FinalBlock, Replica

OBSERVED_BLOCKS = 1_000
"""How many of the last final blocks a validator's observed proposals are counted over."""
AUDIT_S = 5.0
"""How old an audit may be."""
AUDIT_ATTEMPTS = 3
"""An audit sees one moment of the state: one during which a block becomes final begins again."""
STALLED_DELTAS = 20
"""Without a final block for the empty block interval and this many Δ, the chain or this node stands still."""
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

    def __init__(self, replica: Replica, index: Index | None, peers: PeerInfo, name: str, version: str) -> None:
        self.replica = replica
        self.peers = peers
        self.name = name
        self.version = version
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

    def problems(self) -> list[str]:
        """Why the node is not ready; empty when it is."""
        parameters = GOVERNING.get(self.replica.state).parameters
        patience_ms = parameters.empty_block_interval_ms + STALLED_DELTAS * parameters.delta_ms
        found = {
            "halted": self.replica.engine.is_stopped,
            "recovering": self.replica.engine.core.is_recovering,
            "catching_up": self.is_catching_up,
            "no_finalization": self.seconds_since_final() * 1000 > patience_ms,
            "indexing": self._index is not None and not self._index.is_live,
            "stopping": self.is_stopping,
        }
        return [reason for reason, is_so in found.items() if is_so]

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

    def fail(self, error: StorageError) -> None:
        """The disk failed on a request: the node stops, as it does when it fails elsewhere."""
        self.replica.host.stop(str(error))

    # What takes a while.

    @property
    def lowest_height(self) -> int:
        """The lowest block that listings go down to: the genesis block, unless some above it are pruned."""
        lowest_height = self.replica.blocks.lowest_height
        return lowest_height if lowest_height > 1 else 0

    def require_kept(self, height: int) -> None:
        """Raises: RequestRejected PRUNED when this node let go of a block, or joined above it."""
        lowest_height = self.replica.blocks.lowest_height
        if 0 < height < lowest_height:
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
