"""Lets go of old blocks, receipts and certificates, aside, and gives their space back to the disk.

What ended an epoch stays for ever, and so does the genesis block. A batch deletes whole heights and says up to where,
so a node that stopped in the middle goes on there.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from node.storage.blocks import LOWEST_KEY, BlockStore
from node.storage.kv import KeyValueStore
from node.storage.schema import Column, column_key, height_key

BATCH_HEIGHTS = 100
"""Heights deleted together."""
LEAST_SLACK_HEIGHTS = 64
"""A run begins when so many heights, or an eighth of what is kept, are too many: compaction rewrites whole files."""

RunAside = Callable[[Callable[[], None], Callable[[], None]], None]
"""Does something slow off the event loop, then calls back."""

log = structlog.get_logger(__name__)


class Pruner:
    """Keeps the last blocks of one node."""

    def __init__(
        self,
        store: KeyValueStore,
        keep_heights: int,
        run_aside: RunAside,
        highest_target: Callable[[], int | None] = lambda: None,
    ) -> None:
        """`keep_heights` 0 keeps everything; what is at `highest_target` or above it stays in any case."""
        self._highest_target = highest_target
        self._store = store
        self._keep_heights = keep_heights
        self._run_aside = run_aside
        self._lowest_height = BlockStore(store).lowest_height
        self._is_running = False
        self._is_stopped = False

    def on_final(self, height: int) -> None:
        """A block is final: now and then, older ones go."""
        slack_heights = max(LEAST_SLACK_HEIGHTS, self._keep_heights // 8)
        target = height - self._keep_heights + 1
        highest_target = self._highest_target()
        if highest_target is not None:
            target = min(target, highest_target)
        if not self._keep_heights or self._is_running or target - self._lowest_height < slack_heights:
            return
        self._is_running = True

        def on_done() -> None:
            self._is_running = False
            self._lowest_height = BlockStore(self._store).lowest_height
            log.info("pruned", lowest_height=self._lowest_height)

        self._run_aside(lambda: prune(self._store, target, lambda: self._is_stopped), on_done)

    def stop(self) -> None:
        """What runs ends after its batch."""
        self._is_stopped = True


def prune(store: KeyValueStore, lowest_height: int, is_cancelled: Callable[[], bool] = lambda: False) -> None:
    """Deletes final blocks below a height and compacts what they left."""
    blocks = BlockStore(store)
    start = blocks.lowest_height
    for first in range(start, lowest_height, BATCH_HEIGHTS):
        if is_cancelled():
            return
        stop = min(first + BATCH_HEIGHTS, lowest_height)
        changes: dict[bytes, bytes | None] = {LOWEST_KEY: height_key(stop)}
        changes[column_key(Column.UNDO, height_key(first - 1))] = None  # the genesis block's: nothing leads back to it
        for height in range(first, stop):
            header = blocks.header(height)
            if header is not None:
                changes[column_key(Column.HEIGHT, header.id())] = None
            for column in (Column.BLOCK, Column.RECEIPTS, Column.FINALITY, Column.UNDO, Column.HEADER):
                changes[column_key(column, height_key(height))] = None
        store.write(changes)
    if lowest_height > start and not is_cancelled():
        for column in (Column.BLOCK, Column.RECEIPTS, Column.FINALITY, Column.UNDO):
            store.compact(column_key(column, height_key(1)), column_key(column, height_key(lowest_height)))
        store.compact(bytes((Column.HEIGHT,)), bytes((Column.HEIGHT + 1,)))  # ids lie anywhere
