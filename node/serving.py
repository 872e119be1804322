"""Answers peers that are behind: final blocks, snapshots and their chunks, what ended each epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from node.p2p.messages import (
    MOST_EPOCH_ENDS,
    MOST_SNAPSHOTS,
    BlocksPruned,
    ChunkRequest,
    ChunkResponse,
    EpochEnds,
    EpochEndsRequest,
    Message,
    Snapshots,
    SnapshotsRequest,
    SyncRequest,
)
from node.storage.blocks import BlockStore
from node.storage.snapshots import SnapshotShelf
from node.sync import make_sync_response
from node.types.epoch import EpochEnd

Request = SyncRequest | SnapshotsRequest | ChunkRequest | EpochEndsRequest


class Serving:
    """What one node has for others; without a shelf, only the ends of epochs."""

    def __init__(self, blocks: BlockStore, shelf: SnapshotShelf | None, send: Callable[[bytes, Message], None]) -> None:
        self._blocks = blocks
        self._shelf = shelf
        self._send = send

    def on_request(self, peer: bytes, message: Request, tip_height: int) -> None:
        """A peer asks for something."""
        match message:
            case SyncRequest(from_height=from_height):
                self._send_blocks(peer, from_height, tip_height)
            case SnapshotsRequest():
                self._send_snapshots(peer)
            case ChunkRequest():
                self._send_chunk(peer, message)
            case EpochEndsRequest():
                self._send_epoch_ends(peer, message)
            case _:
                assert_never(message)

    def _send_blocks(self, peer: bytes, from_height: int, tip_height: int) -> None:
        lowest_height = self._blocks.lowest_height
        if 0 < from_height < lowest_height:
            self._send(peer, BlocksPruned(from_height=from_height, lowest_height=lowest_height))
            return
        response = make_sync_response(self._blocks, from_height, tip_height)
        if response is not None:
            self._send(peer, response)

    def _send_snapshots(self, peer: bytes) -> None:
        found = [] if self._shelf is None else self._shelf.all()
        self._send(peer, Snapshots(snapshots=tuple(snapshot for _, snapshot in found[:MOST_SNAPSHOTS])))

    def _send_chunk(self, peer: bytes, message: ChunkRequest) -> None:
        directory = None if self._shelf is None else self._shelf.find(message.snapshot_id)
        data = None if directory is None else directory.load_chunk(message.index)
        self._send(peer, ChunkResponse(snapshot_id=message.snapshot_id, index=message.index, data=data or b""))

    def _send_epoch_ends(self, peer: bytes, message: EpochEndsRequest) -> None:
        ends: list[EpochEnd] = []
        for epoch in range(message.from_epoch, message.from_epoch + MOST_EPOCH_ENDS):
            end = self._blocks.epoch_end(epoch)
            if end is None:
                break
            ends.append(end)
        self._send(peer, EpochEnds(from_epoch=message.from_epoch, ends=tuple(ends)))
