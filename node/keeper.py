"""What final blocks do to the contents: kept, released, erased, taken out of the files.

The contents themselves are `node.storage.blobs`.
A block's uses are one batch with its height, so a node that stopped between the two repeats them when it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from node.execution.transaction import Candidate, read_transaction
from node.modules.contents import ContentErased
from node.modules.datanets import CONTRIBUTIONS, Contribute, ContributionStatus, Reviewed
from node.primitives.codec import decode
from node.state.table import Reader
from node.storage.blobs import BlobStore, Uses
from node.storage.blocks import BlockStore
from node.types.receipt import Receipt

UNUSED_BLOB_MS = 3_600_000
"""How long a content waits for a transaction that refers to it."""
NOTED_HEIGHTS = 16
"""A node that starts again looks at so many blocks at most for what they did to the contents."""

RunAside = Callable[[Callable[[], None], Callable[[], None]], None]
"""Does something slow off the event loop, then calls back."""

log = structlog.get_logger(__name__)


class Keeper:
    """Keeps the contents as the final blocks say."""

    def __init__(
        self, *, genesis_hash: bytes, state: Reader, blocks: BlockStore, blobs: BlobStore, run_aside: RunAside
    ) -> None:
        self._genesis_hash = genesis_hash
        self._state = state
        self._blocks = blocks
        self._blobs = blobs
        self._run_aside = run_aside
        self._noted_height = blobs.height
        self._erased = blobs.erased()
        """Contents that are deleted, and may lie in the files still."""
        self._is_purging = False

    def catch_up(self, tip_height: int, genesis_height: int = 0) -> None:
        """What the last blocks did to the contents, if this node stopped between a block and its contents."""
        # A chain that continues another one begins above its genesis block; contents may be noted as the other's.
        self._noted_height = max(self._noted_height, genesis_height)
        for height in range(self._noted_height + 1, tip_height + 1):
            block, receipts = self._blocks.block(height), self._blocks.receipts(height)
            assert block is not None, "final blocks are stored"
            assert receipts is not None, "with their receipts"
            candidates = [read_transaction(data, self._genesis_hash) for data in block.transactions]
            self.on_final(height, zip(candidates, receipts, strict=True))

    def on_final(self, height: int, done: Iterable[tuple[Candidate, Receipt]]) -> tuple[tuple[bytes, ...], list[bytes]]:
        """What a final block's transactions do to the contents. Returns what is missing, and what was erased."""
        referred: list[tuple[bytes, bool]] = []
        released: list[bytes] = []
        erased: list[bytes] = []
        for candidate, receipt in done:
            if receipt.failure:
                continue
            is_restricted = isinstance(candidate.payload, Contribute)
            referred += [(each.hash, is_restricted) for each in candidate.kind.blobs(candidate.payload)]
            for event in receipt.events:
                if event.name == ContentErased.NAME:
                    erased.append(decode(ContentErased, event.payload).content)
                elif event.name == Reviewed.NAME:
                    released += self._released(decode(Reviewed, event.payload))
        if not (referred or released or erased) and height < self._noted_height + NOTED_HEIGHTS:
            return (), []
        self._noted_height = height
        uses = Uses(height=height, referred=tuple(referred), released=tuple(released), erased=tuple(erased))
        missing = self._blobs.apply_uses(uses)
        for content in erased:
            log.info("content_erased", content=content.hex())
        self._erased += erased
        return missing, erased

    def purge(self) -> None:
        """Takes erased contents out of the files, off the event loop, one run at a time."""
        if not self._erased or self._is_purging:
            return
        erased, self._erased, self._is_purging = self._erased, [], True

        def on_done() -> None:
            self._is_purging = False

        self._run_aside(lambda: self._blobs.purge(erased), on_done)

    def sweep(self, now_ms: int, waiting: Iterable[Candidate]) -> None:
        """Lets go of contents that nothing refers to, neither a final transaction nor one that waits."""
        in_use = {reference.hash for each in waiting for reference in each.kind.blobs(each.payload)}
        self._blobs.sweep(now_ms - UNUSED_BLOB_MS, in_use)

    def _released(self, reviewed: Reviewed) -> tuple[bytes, ...]:
        if reviewed.status is not ContributionStatus.ACCEPTED:
            return ()
        return CONTRIBUTIONS.need(self._state, reviewed.contribution).records
