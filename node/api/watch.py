"""What becomes of transactions: who waits for one, and why the last ones were dropped."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from node.errors import RequestReason, RequestRejected, TransactionRejected
from node.execution.block import Executed

MOST_DROPPED = 20_000
"""Dropped transactions whose reason is remembered."""


Place = tuple[int, int]
"""Height and index of a final transaction."""
Outcome = asyncio.Future[Place | TransactionRejected]
"""Where the transaction is final, or why it was dropped."""


class Watch:
    """The transactions of one node that somebody asked about."""

    def __init__(self) -> None:
        self._arriving: dict[bytes, int] = {}
        self._dropped: OrderedDict[bytes, TransactionRejected] = OrderedDict()
        self._waiting: dict[bytes, list[Outcome]] = {}

    def is_arriving(self, transaction_id: bytes) -> bool:
        """Whether it is still being verified."""
        return transaction_id in self._arriving

    def dropped(self, transaction_id: bytes) -> TransactionRejected | None:
        """Why it was refused after a look, or left the mempool without a block."""
        return self._dropped.get(transaction_id)

    def wait(self, transaction_id: bytes) -> Outcome:
        """Done when it is final or dropped. `forget` it when nobody waits any more."""
        future: Outcome = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(transaction_id, []).append(future)
        return future

    def forget(self, transaction_id: bytes, future: Outcome) -> None:
        """Nobody waits any more."""
        waiting = self._waiting.get(transaction_id, [])
        if future in waiting:
            waiting.remove(future)
        if not waiting:
            self._waiting.pop(transaction_id, None)

    def on_arriving(self, transaction_id: bytes) -> None:
        """It is being verified."""
        self._arriving[transaction_id] = self._arriving.get(transaction_id, 0) + 1

    def on_answered(self, transaction_id: bytes, error: TransactionRejected | None) -> None:
        """It was verified: admitted, or refused."""
        count = self._arriving.pop(transaction_id)
        if count > 1:
            self._arriving[transaction_id] = count - 1
        if error is not None:
            self.on_dropped(transaction_id, error)

    def on_dropped(self, transaction_id: bytes, error: TransactionRejected) -> None:
        """It is gone without a block."""
        self._dropped[transaction_id] = error
        self._dropped.move_to_end(transaction_id)
        if len(self._dropped) > MOST_DROPPED:
            self._dropped.popitem(last=False)
        for future in self._waiting.pop(transaction_id, ()):
            if not future.done():
                future.set_result(error)

    def on_final(self, executed: Executed) -> None:
        """A block is final."""
        if not self._waiting and not self._dropped:
            return
        height = executed.block.header.height
        for index, candidate in enumerate(executed.candidates):
            self._dropped.pop(candidate.id, None)
            for future in self._waiting.pop(candidate.id, ()):
                if not future.done():
                    future.set_result((height, index))

    def stop(self) -> None:
        """The node stops: whoever waits learns that it will not say."""
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(RequestRejected(RequestReason.SHUTTING_DOWN))
        self._waiting.clear()
