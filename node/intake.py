"""From bytes to the mempool: every check a transaction passes before this node admits and gossips it.

Cheap checks first, against the final state; then the signature, in bulk and off the event loop; then the contents it
refers to; then what it claims about them, in a worker. Nothing unverified is gossiped. A transaction whose contents
are not here yet waits for them a while.

A false claim costs its sender nothing on the chain, so it costs everybody little: claiming takes a role and a bond, one
computation of a sender runs at a time, the queue is ordered by fee per multiply-accumulate, and a mismatch bars the
sender on this node for a number of blocks.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from attribution.request import REQUEST
from node.claims import Claims
from node.errors import TransactionReason, TransactionRejected
from node.execution.block import block_context
from node.execution.transaction import Candidate, authorize, context_for, read_transaction, verify
from node.mempool import Mempool
from node.modules.accounts import load_account
from node.modules.context import BlobPending, ResultPending
from node.proposal import BlockTree
from node.state.store import StateStore
from node.worker import Urgency

MOST_WAITING = 2_000
"""Transactions waiting for contents or results."""
SPREAD_MS = 8_000
"""So long a transaction of this node's own clients waits until enough validators hold its large contents: who proposed
it earlier would have the others wait for them in the middle of a view."""
WAITING_MS = 30_000
"""How long a transaction waits for contents."""
MOST_QUEUED_CLAIMS = 256
"""Computations queued, beside those that run: as many as there are workers, which serve blocks first."""
MOST_CLAIMS_OF_PEERS = 16
"""Computations of one sender queued when peers vouch for them: they verified each before the next."""
BARRED_HEIGHTS = 100
"""For how many blocks a false claim bars its sender on this node."""
MOST_SEEN = 100_000
"""Ids of transactions that were refused lately, with the reason: refused again without another look."""
MOST_ARRIVING = 20_000
"""Transactions on their way in."""
NOBODY = b""
"""Where a transaction comes from that comes in again."""
BULK_SIGNATURES = 512
"""Signatures verified in one go off the event loop."""

OnDone = Callable[[TransactionRejected | None], None]
"""Called once: with None when the transaction is admitted."""
Signed = tuple[bytes, bytes, bytes]
VerifySignatures = Callable[[Sequence[Signed], Callable[[list[bool]], None]], None]
"""Verifies (public key, digest, signature) items off the event loop and calls back."""


@dataclass(slots=True)
class Arrival:
    """A transaction on its way in."""

    candidate: Candidate
    """The transaction."""
    source: bytes | None
    """The peer it came from; None when it came over the RPC."""
    on_done: list[OnDone]
    """Who wants to know."""
    arrived_ms: int
    """When."""


@dataclass(order=True, slots=True)
class QueuedClaim:
    """A computation that waits for its turn."""

    rank: tuple[int, int]
    """Fee per multiply-accumulate, best first, then order of arrival."""
    request: REQUEST = field(compare=False)
    """What to compute."""
    arrival: Arrival = field(compare=False)
    """For whom."""


class Intake:
    """The way into one node's mempool."""

    def __init__(
        self,
        *,
        genesis_hash: bytes,
        state: StateStore,
        tree: BlockTree,
        mempool: Mempool,
        claims: Claims,
        verify_signatures: VerifySignatures,
        fetch_blobs: Callable[[Sequence[bytes], bytes | None, Mapping[bytes, int]], None],
        on_admitted: Callable[[Candidate, bytes | None], None],
        on_dropped: Callable[[Candidate, TransactionRejected], None],
        on_bad_signature: Callable[[bytes], None],
        is_spread: Callable[[Candidate], bool] = lambda _candidate: True,
        workers: int = 1,
    ) -> None:
        """`is_spread` tells whether enough validators hold what a transaction refers to."""
        self._genesis_hash = genesis_hash
        self._state = state
        self._tree = tree
        self._mempool = mempool
        self._claims = claims
        self._verify_signatures = verify_signatures
        self._fetch_blobs = fetch_blobs
        self._on_admitted = on_admitted
        self._on_dropped = on_dropped
        self._on_bad_signature = on_bad_signature
        self._is_spread = is_spread
        self._spreading: list[Arrival] = []
        """Verified, and waiting for others to hold their contents."""
        self._arriving: dict[bytes, Arrival] = {}
        self._unverified: list[Arrival] = []
        self._is_verifying = False
        self._waiting: dict[bytes, set[bytes]] = {}
        """Bytes of arrivals by the content they wait for."""
        self._queue: list[QueuedClaim] = []
        self._claiming: Counter[bytes] = Counter()
        """Computations queued or running by sender."""
        self._most_computing = workers
        self._computing_count = 0
        self._arrivals = 0
        self._barred: dict[bytes, int] = {}
        """First height at which a sender is heard again."""
        self._refused: OrderedDict[bytes, TransactionRejected] = OrderedDict()

    @property
    def waiting_count(self) -> int:
        """Transactions on their way in."""
        return len(self._arriving)

    def submit(self, data: bytes, source: bytes | None, now_ms: int, on_done: OnDone | None = None) -> bytes:
        """Takes a transaction's bytes; `on_done` learns what became of it. Returns its id.

        Raises: TransactionRejected when it is refused at once.
        """
        if source is not None and self._mempool.verified(data) is not None:
            raise TransactionRejected(TransactionReason.DUPLICATE)
        candidate = read_transaction(data, self._genesis_hash)
        arriving = self._arriving.get(data)
        if arriving is not None:
            if on_done is not None:
                arriving.on_done.append(on_done)
            return candidate.id
        if source is not None and (refused := self._refused.get(data)) is not None:
            raise refused
        if len(self._arriving) >= MOST_ARRIVING:
            raise TransactionRejected(TransactionReason.MEMPOOL_FULL, "too many transactions are on their way in")
        self._check(candidate)
        arrival = Arrival(
            candidate=candidate,
            source=source,
            on_done=[] if on_done is None else [on_done],
            arrived_ms=now_ms,
        )
        self._arriving[data] = arrival
        self._unverified.append(arrival)
        return candidate.id

    def readmit(self, candidate: Candidate, now_ms: int) -> None:
        """Takes a transaction in again that waited in the mempool and lacks something now."""
        if candidate.data in self._arriving:
            return

        def on_done(error: TransactionRejected | None) -> None:
            if error is not None:
                self._on_dropped(candidate, error)

        arrival = Arrival(candidate=candidate, source=NOBODY, on_done=[on_done], arrived_ms=now_ms)
        self._arriving[candidate.data] = arrival
        self._unverified.append(arrival)

    def arriving(self) -> Iterator[Candidate]:
        """Transactions on their way in."""
        return (arrival.candidate for arrival in self._arriving.values())

    def flush(self) -> None:
        """Sends what came in since the last flush to signature verification; the host calls it once per turn."""
        if self._is_verifying or not self._unverified:
            return
        batch, self._unverified = self._unverified[:BULK_SIGNATURES], self._unverified[BULK_SIGNATURES:]
        self._is_verifying = True
        self._verify_signatures(
            [arrival.candidate.signed for arrival in batch], lambda valid: self._on_verified(batch, valid)
        )

    def on_blobs(self, hashes: Sequence[bytes], now_ms: int) -> None:
        """Contents arrived: what waited for them goes on."""
        for blob_hash in hashes:
            for data in self._waiting.pop(blob_hash, ()):
                arrival = self._arriving.get(data)
                if arrival is not None:
                    self._proceed(arrival, now_ms)

    def run_spreading(self, now_ms: int) -> None:
        """Looks again at what waits for others to hold its contents; called now and then."""
        spreading, self._spreading = self._spreading, []
        for arrival in spreading:
            self._proceed(arrival, now_ms)

    def on_final(self, now_ms: int) -> None:
        """A block is final: forgets who is heard again, and who waited too long."""
        height = self._tree.tip.height
        self._barred = {sender: until for sender, until in self._barred.items() if until > height}
        late = [each for each in self._arriving.values() if now_ms - each.arrived_ms > WAITING_MS]
        waiting = set().union(*self._waiting.values()) if self._waiting else set()
        for arrival in late:
            if arrival.candidate.data in waiting:
                self._refuse(arrival, TransactionRejected(TransactionReason.BLOB_MISSING))
        self._waiting = {
            blob_hash: kept
            for blob_hash, ids in self._waiting.items()
            if (kept := {each for each in ids if each in self._arriving})
        }

    def _check(self, candidate: Candidate) -> None:
        """Everything that is cheap. Raises: TransactionRejected."""
        transaction = candidate.transaction
        if self._barred.get(transaction.sender, 0) > self._tree.tip.height and candidate.kind.is_computed:
            until = self._barred[transaction.sender]
            raise TransactionRejected(TransactionReason.SENDER_BARRED, f"until height {until}")
        block = block_context(self._state, self._genesis_hash, self._tree.tip.height + 1, self._tree.tip_id)
        authorize(self._state, context_for(block, candidate, 0), candidate, is_nonce_exact=False)
        account = load_account(self._state, transaction.sender)
        self._mempool.check(candidate, account.nonce, account.balance_units)

    def _on_verified(self, batch: Sequence[Arrival], valid: list[bool]) -> None:
        self._is_verifying = False
        liars: dict[bytes, None] = {}
        for arrival, is_valid in zip(batch, valid, strict=True):
            if is_valid:
                self._proceed(arrival, arrival.arrived_ms)
            else:
                self._refuse(arrival, TransactionRejected(TransactionReason.BAD_SIGNATURE))
                if arrival.source:
                    liars[arrival.source] = None
        for peer in liars:
            self._on_bad_signature(peer)
        self.flush()

    def _proceed(self, arrival: Arrival, now_ms: int) -> None:
        """Verifies contents and claims as far as they are here, and admits when nothing is missing."""
        candidate = arrival.candidate
        block = block_context(self._state, self._genesis_hash, self._tree.tip.height + 1, self._tree.tip_id)
        context = context_for(block, candidate, 0)
        try:
            authorize(self._state, context, candidate, is_nonce_exact=False)
            verify(self._state, context, candidate, self._claims)
            is_own = arrival.source is None and now_ms < arrival.arrived_ms + SPREAD_MS
            if is_own and not self._is_spread(candidate):
                self._spreading.append(arrival)
                return
            account = load_account(self._state, candidate.transaction.sender)
            gone = self._mempool.add(candidate, account.nonce, now_ms)
        except TransactionRejected as error:
            if error.reason is TransactionReason.FALSE_CLAIM:
                self._barred[candidate.transaction.sender] = self._tree.tip.height + BARRED_HEIGHTS
            self._refuse(arrival, error)
        except BlobPending as pending:
            self._wait_for_blob(arrival, pending.blob_hash)
        except ResultPending as pending:
            self._queue_claim(arrival, pending.request)
        else:
            self._finish(arrival, None)
            for each in gone:
                self._on_dropped(each, TransactionRejected(TransactionReason.EVICTED))
            self._on_admitted(candidate, arrival.source)

    def _wait_for_blob(self, arrival: Arrival, blob_hash: bytes) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._refuse(arrival, TransactionRejected(TransactionReason.BLOB_MISSING))
            return
        if arrival.source is None:
            # Over the RPC the bytes come first: whoever sends the transaction has them.
            self._refuse(arrival, TransactionRejected(TransactionReason.BLOB_MISSING, blob_hash.hex()))
            return
        missing = {
            each.hash: each.size_bytes
            for each in arrival.candidate.kind.blobs(arrival.candidate.payload)
            if each.hash == blob_hash or not self._claims.has_blob(each.hash)
        }
        self._waiting.setdefault(blob_hash, set()).add(arrival.candidate.data)
        self._fetch_blobs(list(missing) or [blob_hash], arrival.source, missing)

    def _queue_claim(self, arrival: Arrival, request: REQUEST) -> None:
        candidate = arrival.candidate
        sender = candidate.transaction.sender
        if self._claims.has_failed(request):
            self._refuse(arrival, TransactionRejected(TransactionReason.WORKER_BUSY, "the worker failed on it"))
            return
        missing = self._claims.missing_blobs(request)
        if missing:
            self._waiting.setdefault(missing[0], set()).add(candidate.data)
            self._fetch_blobs(missing, arrival.source, {})
            return
        if self._claiming[sender] >= (1 if arrival.source is None else MOST_CLAIMS_OF_PEERS):
            self._refuse(arrival, TransactionRejected(TransactionReason.CLAIM_PENDING))
            return
        if len(self._queue) >= MOST_QUEUED_CLAIMS:
            self._refuse(arrival, TransactionRejected(TransactionReason.WORKER_BUSY))
            return
        self._claiming[sender] += 1
        self._arrivals += 1
        work_macs = max(1, request.multiply_accumulates())
        rate = candidate.transaction.fee_units * 1_000_000 // work_macs
        heapq.heappush(self._queue, QueuedClaim(rank=(-rate, self._arrivals), request=request, arrival=arrival))
        self._compute_next()

    def _compute_next(self) -> None:
        if self._computing_count >= self._most_computing or not self._queue:
            return
        queued = heapq.heappop(self._queue)
        self._computing_count += 1

        def on_computed() -> None:
            self._computing_count -= 1
            self._claiming -= Counter((queued.arrival.candidate.transaction.sender,))
            self._proceed(queued.arrival, queued.arrival.arrived_ms)
            self._compute_next()

        self._claims.start(queued.request, on_computed, Urgency.ADMISSION)

    def _refuse(self, arrival: Arrival, error: TransactionRejected) -> None:
        if error.reason in _PERMANENT:
            self._refused[arrival.candidate.data] = error
            if len(self._refused) > MOST_SEEN:
                self._refused.popitem(last=False)
        self._finish(arrival, error)

    def _finish(self, arrival: Arrival, error: TransactionRejected | None) -> None:
        self._arriving.pop(arrival.candidate.data, None)
        for on_done in arrival.on_done:
            on_done(error)


_PERMANENT = frozenset(
    {
        TransactionReason.BAD_SIGNATURE,
        TransactionReason.FALSE_CLAIM,
        TransactionReason.BAD_CONTENT,
        TransactionReason.EXPIRED,
        TransactionReason.NONCE_TOO_LOW,
    }
)
"""Refusals that no later block changes: the same bytes from a peer are not looked at again."""
