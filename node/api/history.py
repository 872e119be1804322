"""Final blocks for readers: the last ones from memory, older ones decoded in a thread while the event loop goes on."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from node.execution.block import Executed
from node.storage.blocks import BlockStore
from node.types.block import Header
from node.types.receipt import Receipt

MOST_KEPT_BLOCKS = 256
MOST_KEPT_TRANSACTIONS = 5_000
"""Of all blocks kept; at least one block is."""

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A final block and what it did."""

    header: Header
    """Its header."""
    block_id: bytes
    """Its id."""
    transactions: tuple[bytes, ...]
    """Encoded transactions."""
    receipts: tuple[Receipt, ...]
    """One per transaction."""


class History:
    """The final blocks of one node."""

    def __init__(self, blocks: BlockStore) -> None:
        self._blocks = blocks
        self._kept: OrderedDict[int, StoredBlock] = OrderedDict()
        self._kept_transactions = 0
        # One thread: more of them would only wait for each other, and for the event loop.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="api")

    def add(self, executed: Executed) -> None:
        """A block is final."""
        block = executed.block
        self._keep(StoredBlock(block.header, executed.block_id, block.transactions, executed.receipts))

    async def at(self, height: int) -> StoredBlock | None:
        """The final block at a height."""
        kept = self._kept.get(height)
        if kept is not None:
            self._kept.move_to_end(height)
            return kept
        stored = await self.off_loop(lambda: self._load(height))
        if stored is not None:
            self._keep(stored)
        return stored

    @property
    def lowest_height(self) -> int:
        """The lowest height above the genesis that is kept."""
        return self._blocks.lowest_height

    async def off_loop(self, work: Callable[[], V]) -> V:
        """The result of work that takes long: it reads what never changes, and nothing else."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Lets go of the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _load(self, height: int) -> StoredBlock | None:
        block, receipts = self._blocks.block(height), self._blocks.receipts(height)
        if block is None or receipts is None:
            return None
        return StoredBlock(block.header, block.header.id(), block.transactions, receipts)

    def _keep(self, stored: StoredBlock) -> None:
        height = stored.header.height
        if height in self._kept:
            return
        self._kept[height] = stored
        self._kept_transactions += len(stored.transactions)
        while len(self._kept) > 1 and (
            len(self._kept) > MOST_KEPT_BLOCKS or self._kept_transactions > MOST_KEPT_TRANSACTIONS
        ):
            _, gone = self._kept.popitem(last=False)
            self._kept_transactions -= len(gone.transactions)
