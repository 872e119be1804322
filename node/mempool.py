"""Transactions waiting for a block: per account in order of nonces, between accounts by fee per byte.

Holds only transactions that stand on their own and were verified; `node.intake` brings them here. A transaction ahead
of its account waits for the missing ones and is not counted as ready.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from node.errors import TransactionReason, TransactionRejected
from node.execution.transaction import Candidate
from node.primitives.amount import BPS

MOST_TRANSACTIONS = 50_000
LARGEST_SIZE_BYTES = 64 * 2**20
MOST_PER_ACCOUNT = 256
"""How far ahead of its next nonce an account may send."""
MOST_GAPPED = 5_000
"""Transactions that wait for missing ones: they pay nothing, so they never crowd out what can be carried."""
MOST_GAPPED_PER_ACCOUNT = 64
REPLACEMENT_BPS = 11_000
"""A replacement pays at least this share of the fee of what it replaces."""

NonceOf = Callable[[bytes], int]
"""The next nonce of an account, in the state a block will extend."""
AccountOf = Callable[[bytes], tuple[int, int]]
"""The next nonce and the balance of an account, in the final state."""


@dataclass(slots=True)
class Entry:
    """A waiting transaction."""

    candidate: Candidate
    """The transaction."""
    admitted_ms: int
    """When it came, by the node's monotonic clock."""

    @property
    def fee_rate(self) -> int:
        """Thousandths of a base unit per byte: work has its own price in the fee."""
        return self.candidate.transaction.fee_units * 1000 // len(self.candidate.data)


@dataclass(slots=True)
class Queue:
    """One account's waiting transactions."""

    next_nonce: int
    """The account's next nonce in the final state."""
    ready_end: int
    """The first nonce from there that is missing."""
    fees_units: int = 0
    """Fees of all that waits."""
    entries: dict[int, Entry] = field(default_factory=dict)
    """By nonce."""

    @property
    def ready_count(self) -> int:
        """How many could go into a block now."""
        return self.ready_end - self.next_nonce

    def extend(self) -> None:
        """Moves the end of what is ready over what is there."""
        while self.ready_end in self.entries:
            self.ready_end += 1


class Mempool:
    """The waiting transactions of one node."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, Entry] = {}
        self._by_data: dict[bytes, Candidate] = {}
        self._queues: dict[bytes, Queue] = {}
        self._expiring: dict[int, set[bytes]] = {}
        self._cheapest: list[tuple[int, bytes]] = []
        """A heap of (fee rate, id), with leftovers of what is gone."""
        self._ready_count = 0
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, transaction_id: bytes) -> bool:
        return transaction_id in self._by_id

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._by_id.values())

    @property
    def size_bytes(self) -> int:
        """Bytes of all waiting transactions."""
        return self._size_bytes

    @property
    def ready_count(self) -> int:
        """Transactions that no missing nonce holds back."""
        return self._ready_count

    def get(self, transaction_id: bytes) -> Candidate | None:
        """A waiting transaction."""
        entry = self._by_id.get(transaction_id)
        return None if entry is None else entry.candidate

    def verified(self, data: bytes) -> Candidate | None:
        """The verified transaction that some bytes are, if it waits here: spares decoding and the signature."""
        return self._by_data.get(data)

    def next_nonce(self, address: bytes, account_nonce: int) -> int:
        """The first nonce of an account that is neither used nor waiting."""
        queue = self._queues.get(address)
        return account_nonce if queue is None else max(account_nonce, queue.ready_end)

    def check(self, candidate: Candidate, account_nonce: int, balance_units: int) -> None:
        """Whether there is a place for a transaction, before anything costly is done for it.

        Raises: TransactionRejected DUPLICATE, NONCE_TOO_HIGH, REPLACEMENT_UNDERPRICED, FEE_UNPAYABLE.
        """
        transaction = candidate.transaction
        if candidate.id in self._by_id:
            raise TransactionRejected(TransactionReason.DUPLICATE)
        if transaction.nonce >= account_nonce + MOST_PER_ACCOUNT:
            detail = f"the next nonce is {account_nonce}, {MOST_PER_ACCOUNT} may wait"
            raise TransactionRejected(TransactionReason.NONCE_TOO_HIGH, detail)
        queue = self._queues.get(transaction.sender)
        self._check_gap(transaction.nonce, account_nonce, queue)
        if queue is None:
            return
        promised_units = queue.fees_units
        replaced = queue.entries.get(transaction.nonce)
        if replaced is not None:
            promised_units -= replaced.candidate.transaction.fee_units
            needed_units = -(-replaced.candidate.transaction.fee_units * REPLACEMENT_BPS // BPS)
            if transaction.fee_units < needed_units:
                detail = f"{needed_units} base units are needed"
                raise TransactionRejected(TransactionReason.REPLACEMENT_UNDERPRICED, detail)
        # Fees of all that waits are payable together, so that a block's builder seldom meets one that is not.
        if promised_units + transaction.fee_units > balance_units:
            detail = f"{promised_units} base units are promised to waiting transactions"
            raise TransactionRejected(TransactionReason.FEE_UNPAYABLE, detail)

    def add(self, candidate: Candidate, account_nonce: int, now_ms: int) -> tuple[Candidate, ...]:
        """Takes a verified transaction in. Returns what made room for it: the replaced one, or the cheapest.

        Raises: TransactionRejected DUPLICATE; MEMPOOL_FULL when it is the cheapest itself.
        """
        if candidate.id in self._by_id:
            raise TransactionRejected(TransactionReason.DUPLICATE)
        transaction = candidate.transaction
        entry = Entry(candidate=candidate, admitted_ms=now_ms)
        known = self._queues.get(transaction.sender)
        self._check_gap(transaction.nonce, account_nonce, known)
        replaced = known.entries.get(transaction.nonce) if known is not None else None
        leaving = self._victims(entry, replaced)  # nothing leaves before it is sure that the new one fits
        if replaced is not None:
            leaving.insert(0, replaced)
        for each in leaving:
            self._remove(each)
        queue = self._queues.get(transaction.sender)
        if queue is None:
            queue = self._queues[transaction.sender] = Queue(next_nonce=account_nonce, ready_end=account_nonce)
        ready_before = queue.ready_count
        queue.entries[transaction.nonce] = entry
        queue.fees_units += transaction.fee_units
        queue.extend()
        self._ready_count += queue.ready_count - ready_before
        self._by_id[candidate.id] = entry
        self._by_data[candidate.data] = candidate
        self._expiring.setdefault(transaction.valid_until_height, set()).add(candidate.id)
        heapq.heappush(self._cheapest, (entry.fee_rate, candidate.id))
        self._size_bytes += len(candidate.data)
        return tuple(each.candidate for each in leaving)

    def select(self, nonce_of: NonceOf, limit: int, limit_bytes: int) -> list[Candidate]:
        """What a block should carry: the best-paying first, each account's in order of nonces."""
        heads: list[tuple[int, bytes, Queue, int]] = []
        for sender, queue in self._queues.items():
            if queue.ready_count:
                nonce = nonce_of(sender)
                if (head := queue.entries.get(nonce)) is not None:
                    heads.append((-head.fee_rate, sender, queue, nonce))
        heapq.heapify(heads)
        chosen: list[Candidate] = []
        size_bytes = 0
        while heads and len(chosen) < limit:
            _, sender, queue, nonce = heads[0]
            candidate = queue.entries[nonce].candidate
            size_bytes += len(candidate.data)
            if size_bytes > limit_bytes:
                break
            chosen.append(candidate)
            following = queue.entries.get(nonce + 1)
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (-following.fee_rate, sender, queue, nonce + 1))
        return chosen

    def remove(self, transaction_id: bytes) -> tuple[Candidate, ...]:
        """Drops a transaction and what its account sent after it, which could not be used any more."""
        entry = self._by_id.get(transaction_id)
        if entry is None:
            return ()
        leaving = self._with_later(entry)
        for each in leaving:
            self._remove(each)
        return tuple(each.candidate for each in leaving)

    def remove_gapped(self, before_ms: int) -> tuple[Candidate, ...]:
        """Drops what has waited since before a time for transactions that never came."""
        late = [
            entry.candidate.id
            for queue in self._queues.values()
            for nonce, entry in queue.entries.items()
            if nonce >= queue.ready_end and entry.admitted_ms < before_ms
        ]
        return tuple(candidate for each in late for candidate in self.remove(each))

    def on_final(
        self, included: Iterable[Candidate], height: int, account_of: AccountOf
    ) -> tuple[tuple[Candidate, TransactionReason], ...]:
        """A block is final: what it carried, what its senders can no longer use or pay, and what expired goes.

        Returns what was dropped without being carried, and why.
        """
        carried: set[bytes] = set()
        dropped: list[tuple[Candidate, TransactionReason]] = []
        senders: dict[bytes, None] = {}
        for candidate in included:
            carried.add(candidate.id)
            senders[candidate.transaction.sender] = None
        for sender in senders:
            queue = self._queues.get(sender)
            if queue is None:
                continue
            next_nonce, balance_units = account_of(sender)
            for entry in [queue.entries[nonce] for nonce in queue.entries if nonce < next_nonce]:
                self._remove(entry)
                if entry.candidate.id not in carried:
                    dropped.append((entry.candidate, TransactionReason.NONCE_TOO_LOW))
            if sender in self._queues:
                ready_before = queue.ready_count
                queue.next_nonce, queue.ready_end = next_nonce, max(queue.ready_end, next_nonce)
                queue.extend()
                self._ready_count += queue.ready_count - ready_before
            while queue.entries and queue.fees_units > balance_units:
                last = queue.entries[max(queue.entries)]
                self._remove(last)
                dropped.append((last.candidate, TransactionReason.FEE_UNPAYABLE))
        for valid_until in [each for each in self._expiring if each <= height]:
            for transaction_id in list(self._expiring.get(valid_until, ())):
                dropped.extend((each, TransactionReason.EXPIRED) for each in self.remove(transaction_id))
        return tuple(dropped)

    def _check_gap(self, nonce: int, account_nonce: int, queue: Queue | None) -> None:
        """Raises: TransactionRejected NONCE_TOO_HIGH when too much waits for missing transactions already."""
        ready_end = account_nonce if queue is None else max(queue.ready_end, account_nonce)
        if nonce <= ready_end or (queue is not None and nonce in queue.entries):
            return
        of_account = 0 if queue is None else len(queue.entries) - queue.ready_count
        if of_account >= MOST_GAPPED_PER_ACCOUNT or len(self._by_id) - self._ready_count >= MOST_GAPPED:
            detail = f"too many wait for missing ones; the account's next nonce is {ready_end}"
            raise TransactionRejected(TransactionReason.NONCE_TOO_HIGH, detail)

    def _victims(self, entry: Entry, replaced: Entry | None) -> list[Entry]:
        """The cheapest that make room for a transaction, each with what its account sent after it.

        Raises: TransactionRejected MEMPOOL_FULL when it is the cheapest itself.
        """
        sender = entry.candidate.transaction.sender
        count, size_bytes = len(self._by_id) + 1, self._size_bytes + len(entry.candidate.data)
        if replaced is not None:
            count, size_bytes = count - 1, size_bytes - len(replaced.candidate.data)
        victims: dict[bytes, Entry] = {}
        looked_at: list[tuple[int, bytes]] = []
        try:
            while count > MOST_TRANSACTIONS or size_bytes > LARGEST_SIZE_BYTES:
                if not self._cheapest:
                    raise TransactionRejected(TransactionReason.MEMPOOL_FULL)
                fee_rate, transaction_id = heapq.heappop(self._cheapest)
                cheapest = self._by_id.get(transaction_id)
                if cheapest is None:
                    continue
                looked_at.append((fee_rate, transaction_id))
                if cheapest is replaced or transaction_id in victims:
                    continue
                if fee_rate >= entry.fee_rate or cheapest.candidate.transaction.sender == sender:
                    raise TransactionRejected(TransactionReason.MEMPOOL_FULL)
                for each in self._with_later(cheapest):
                    if each.candidate.id not in victims:
                        victims[each.candidate.id] = each
                        count, size_bytes = count - 1, size_bytes - len(each.candidate.data)
        finally:
            for each_looked_at in looked_at:
                heapq.heappush(self._cheapest, each_looked_at)
        return list(victims.values())

    def _with_later(self, entry: Entry) -> list[Entry]:
        """A transaction and what its account sent after it, which could not be used without it."""
        transaction = entry.candidate.transaction
        entries = self._queues[transaction.sender].entries
        return [entry, *(each for nonce, each in entries.items() if nonce > transaction.nonce)]

    def _remove(self, entry: Entry) -> None:
        candidate = entry.candidate
        transaction = candidate.transaction
        del self._by_id[candidate.id]
        del self._by_data[candidate.data]
        queue = self._queues[transaction.sender]
        ready_before = queue.ready_count
        del queue.entries[transaction.nonce]
        queue.fees_units -= transaction.fee_units
        queue.ready_end = max(queue.next_nonce, min(queue.ready_end, transaction.nonce))
        self._ready_count += queue.ready_count - ready_before
        if not queue.entries:
            self._ready_count -= queue.ready_count
            del self._queues[transaction.sender]
        expiring = self._expiring[transaction.valid_until_height]
        expiring.discard(candidate.id)
        if not expiring:
            del self._expiring[transaction.valid_until_height]
        self._size_bytes -= len(candidate.data)
        if len(self._cheapest) > 2 * len(self._by_id) + 1_000:
            self._cheapest = [(each.fee_rate, each.candidate.id) for each in self._by_id.values()]
            heapq.heapify(self._cheapest)
