"""Final blocks by height, with their receipts and the certificates that made them final."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from consensus.types import Certificate
from node.primitives.codec import decode, encode
from node.storage.kv import KeyValueStore
from node.storage.schema import Column, Meta, column_key, height_key
from node.types.block import Block, FinalityProof, Header
from node.types.epoch import EpochEnd
from node.types.parameters import MOST_BLOCK_TRANSACTIONS
from node.types.receipt import Receipt

LOWEST_KEY = column_key(Column.META, bytes((Meta.LOWEST,)))
MOST_PROOF_HEADERS = 1024
"""A block this far below a directly finalised one is served without a proof of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockReceipts:
    """The receipts of a block, one per transaction."""

    receipts: Annotated[tuple[Receipt, ...], range(MOST_BLOCK_TRANSACTIONS + 1)]
    """In the order of the transactions."""


class BlockStore:
    """Reads final blocks; what belongs to a new one is written with its state, in one batch."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store

    def block(self, height: int) -> Block | None:
        """The final block at a height."""
        data = self.block_bytes(height)
        return None if data is None else decode(Block, data)

    def header(self, height: int) -> Header | None:
        """The header of the final block at a height; of the block that a snapshot was taken at there is only this."""
        data = self._store.get(column_key(Column.HEADER, height_key(height)))
        if data is not None:
            return decode(Header, data)
        block = self.block(height)
        return None if block is None else block.header

    @property
    def lowest_height(self) -> int:
        """The lowest height above the genesis whose block is here, if it is final: those below it are pruned."""
        return int.from_bytes(self._store.get(LOWEST_KEY) or b"\x01", "big")

    def epoch_end(self, epoch: int) -> EpochEnd | None:
        """What ended an epoch; kept for ever."""
        data = self._store.get(column_key(Column.EPOCH_END, height_key(epoch)))
        return None if data is None else decode(EpochEnd, data)

    def block_bytes(self, height: int) -> bytes | None:
        """The encoded final block at a height."""
        return self._store.get(column_key(Column.BLOCK, height_key(height)))

    def height_of(self, block_id: bytes) -> int | None:
        """The height of a final block."""
        data = self._store.get(column_key(Column.HEIGHT, block_id))
        return None if data is None else int.from_bytes(data, "big")

    def receipts(self, height: int) -> tuple[Receipt, ...] | None:
        """The receipts of the final block at a height."""
        data = self._store.get(column_key(Column.RECEIPTS, height_key(height)))
        return None if data is None else decode(BlockReceipts, data).receipts

    def certificate(self, height: int) -> Certificate | None:
        """The finalization of the block at a height, if it was finalised directly."""
        data = self._store.get(column_key(Column.FINALITY, height_key(height)))
        return None if data is None else decode(Certificate, data)

    def finality_proof(self, height: int) -> FinalityProof | None:
        """Why the block at a height is final: the nearest finalization at or above it, with the chain to there.

        None when none is near enough, or when the blocks up to it are not here (any more).
        """
        start, stop = height_key(height), height_key(height + MOST_PROOF_HEADERS + 1)
        found = next(self._store.iterate(column_key(Column.FINALITY, start), column_key(Column.FINALITY, stop)), None)
        if found is None:
            return None
        certified_height = int.from_bytes(found[0][1:], "big")
        headers: list[Header] = []
        for above in range(height + 1, certified_height + 1):
            block = self.block(above)
            if block is None:  # let go of meanwhile, or the block that a snapshot was taken at
                return None
            headers.append(block.header)
        return FinalityProof(headers=tuple(headers), certificate=decode(Certificate, found[1]))


def block_changes(
    block: Block, block_id: bytes, receipts: tuple[Receipt, ...], certificate: Certificate | None
) -> dict[bytes, bytes | None]:
    """What is written for a new final block."""
    height = block.header.height
    key = height_key(height)
    changes: dict[bytes, bytes | None] = {
        column_key(Column.BLOCK, key): encode(block),
        column_key(Column.HEIGHT, block_id): key,
        column_key(Column.RECEIPTS, key): encode(BlockReceipts(receipts=receipts)),
    }
    if certificate is not None:
        changes[column_key(Column.FINALITY, key)] = encode(certificate)
    return changes


def epoch_end_changes(end: EpochEnd) -> dict[bytes, bytes | None]:
    """What is written, besides, for a block that ends an epoch."""
    return {column_key(Column.EPOCH_END, height_key(end.header.epoch)): encode(end)}
