"""Spreads transactions: what is admitted here goes to every peer in batches; what stays long is said again.

The mesh is full, so a peer's news is not passed on: saying old news again now and then covers a broken link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from node.p2p.messages import MOST_TRANSACTIONS_PER_BATCH, Transactions

BATCH_INTERVAL_MS = 5
"""Batches leave so far apart: news after a silence leaves at once, what follows it closely waits for company."""
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
        self._next_ms = 0
        """When the next batch may leave."""
        self._is_waiting = False

    def tell(self, data: bytes) -> None:
        """This node admitted a transaction that no peer told it."""
        self._batch.append(data)
        self._size_bytes += len(data)
        if self._size_bytes >= BATCH_SIZE_BYTES or len(self._batch) >= MOST_TRANSACTIONS_PER_BATCH:
            self._send()

    def repeat(self, waiting: Iterable[bytes]) -> None:
        """Says again what waits long, a part at a time."""
        for data in islice(waiting, MOST_REPEATED):
            self.tell(data)

    def flush(self, now_ms: int) -> None:
        """The end of a turn: sends the batch, unless the last one left only just now."""
        if not self._batch or self._is_waiting:
            return
        if now_ms >= self._next_ms:
            self._next_ms = now_ms + BATCH_INTERVAL_MS
            self._send()
        else:
            self._is_waiting = True
            self._call_at(self._next_ms, self._stop_waiting)

    def _stop_waiting(self) -> None:
        self._is_waiting = False
        self.flush(self._next_ms)

    def _send(self) -> None:
        batch, self._batch, self._size_bytes = self._batch, [], 0
        self._broadcast(Transactions(transactions=tuple(batch)))
