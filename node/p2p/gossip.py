"""Spreads transactions: what is admitted here goes to every peer in batches; what stays long is said again.

The mesh is full, so a peer's news is not passed on: saying old news again now and then covers a broken link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from node.p2p.messages import MOST_TRANSACTIONS_PER_BATCH, Transactions

BATCH_DELAY_MS = 5
"""How long the first transaction of a batch waits for company."""
BATCH_SIZE_BYTES = 256 * 1024
"""A batch this large leaves at once."""
MOST_REPEATED = 500
"""Transactions said again at a time."""


class Gossip:
    """The transactions one node has to tell."""

    def __init__(
        self, broadcast: Callable[[Transactions], None], call_at: Callable[[int, Callable[[], None]], object]
    ) -> None:
        self._broadcast = broadcast
        self._call_at = call_at
        self._batch: list[bytes] = []
        self._size_bytes = 0

    def tell(self, data: bytes, now_ms: int) -> None:
        """This node admitted a transaction that no peer told it."""
        if not self._batch:
            self._call_at(now_ms + BATCH_DELAY_MS, self.flush)
        self._batch.append(data)
        self._size_bytes += len(data)
        if self._size_bytes >= BATCH_SIZE_BYTES or len(self._batch) >= MOST_TRANSACTIONS_PER_BATCH:
            self.flush()

    def repeat(self, waiting: Iterable[bytes], now_ms: int) -> None:
        """Says again what waits long, a part at a time."""
        for data in islice(waiting, MOST_REPEATED):
            self.tell(data, now_ms)

    def flush(self) -> None:
        """Sends the batch."""
        batch, self._batch, self._size_bytes = self._batch, [], 0
        if batch:
            self._broadcast(Transactions(transactions=tuple(batch)))
