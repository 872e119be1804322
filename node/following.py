"""Keeps up with the peers: asks for ranges of final blocks, or for a snapshot when no peer has the blocks any more.

One range is executed while the next is on its way. What a peer claims about its height costs it nothing, so it earns it
nothing either: who does not answer in time is asked after the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

import structlog

from node.engine import Engine
from node.epochs import Anchor
from node.errors import BlockRejected, MessageReason, MessageRejected
from node.joining import Joining, JoiningHost
from node.p2p.messages import (
    BlocksPruned,
    ChunkResponse,
    EpochEnds,
    Message,
    Snapshots,
    SyncRequest,
    SyncResponse,
)
from node.proposal import BlockTree
from node.storage.kv import KeyValueStore
from node.storage.snapshots import SnapshotShelf
from node.sync import Fetcher, check_sync_response
from node.types.genesis import Genesis

FETCH_TIMEOUT_MS = 1_000
SYNC_TIMEOUT_MS = 5_000
SYNC_LAG_HEIGHTS = 2
"""A peer this far ahead is synced from at once; one that is less only when nothing moves."""

Answer = SyncResponse | BlocksPruned | Snapshots | ChunkResponse | EpochEnds

log = structlog.get_logger(__name__)


class FollowingHost(JoiningHost, Protocol):
    """What following needs of the world."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotUse:
    """How a node uses snapshots; one that is not told knows none."""

    shelf: SnapshotShelf
    """Where they lie."""
    lag_heights: int = 0
    """A node further behind joins by a snapshot; 0 is only when no peer has the blocks any more."""
    anchor: Anchor | None = None
    """A block that its operator trusts."""


class Following:
    """What one node does to be where its peers are."""

    def __init__(
        self,
        *,
        genesis: Genesis,
        store: KeyValueStore,
        tree: BlockTree,
        engine: Engine,
        host: FollowingHost,
        snapshots: SnapshotUse | None,
    ) -> None:
        self._tree = tree
        self._engine = engine
        self._host = host
        self._fetcher: Fetcher[int] = Fetcher(self._ask, SYNC_TIMEOUT_MS, 1)
        self._heights: dict[bytes, int] = {}
        self._pruned_peers: set[bytes] = set()
        """Who said that the next blocks are gone."""
        self._moved_ms = host.monotonic_ms()
        self._lag_for_snapshot_heights = 0
        self._joining: Joining | None = None
        if snapshots is not None:
            self._lag_for_snapshot_heights = snapshots.lag_heights
            self._joining = Joining(
                genesis=genesis, store=store, shelf=snapshots.shelf, anchor=snapshots.anchor, host=host
            )

    @property
    def lag_heights(self) -> int:
        """How far the last final block of the best peer is above ours; negative when ours is the last one."""
        return max(self._heights.values(), default=self._tree.tip.height) - self._tree.tip.height

    def knows(self, peer: bytes) -> bool:
        """Whether a peer said where it stands."""
        return peer in self._heights

    def tick(self) -> None:
        """Asks for what is missing."""
        self._follow()
        if self._joining is not None:
            self._joining.tick()
        self._run()

    def on_height(self, peer: bytes, height: int) -> None:
        """A peer says where it stands."""
        self._heights[peer] = height
        self._follow()
        self._run()

    def on_final(self) -> None:
        """A block is final here."""
        self._moved_ms = self._host.monotonic_ms()
        self._pruned_peers.clear()

    def on_disconnected(self, peer: bytes) -> None:
        """A peer is gone."""
        self._heights.pop(peer, None)
        self._pruned_peers.discard(peer)
        if self._joining is not None:
            self._joining.on_disconnected(peer)

    def on_answer(self, peer: bytes, message: Answer) -> None:
        """What was asked for. Raises: MessageRejected when it is no good."""
        joining = self._joining
        match message:
            case SyncResponse():
                self._on_blocks(peer, message)
            case BlocksPruned(from_height=from_height):
                if self._fetcher.was_asked(from_height, peer):
                    self._pruned_peers.add(peer)
                    self._fetcher.retry(from_height)
                    self._run()
            case Snapshots():
                if joining is not None:
                    joining.on_snapshots(peer, message)
            case ChunkResponse():
                if joining is not None:
                    joining.on_chunk(peer, message)
            case EpochEnds():
                if joining is not None:
                    joining.on_epoch_ends(peer, message)
            case _:
                assert_never(message)

    # Helpers.

    def _on_blocks(self, peer: bytes, response: SyncResponse) -> None:
        from_height, engine = self._tree.tip.height + 1, self._engine
        first_height, last_height = response.blocks[0].header.height, response.blocks[-1].header.height
        if not self._fetcher.was_asked(first_height, peer):
            return
        self._fetcher.got(first_height)
        if first_height > from_height:  # asked for ahead, and what was to come before it did not
            self._follow()
            self._run()
            return
        try:
            fresh = check_sync_response(
                response, self._tree.tip, self._tree.tip_id, engine.core.epoch, engine.is_valid_certificate
            )
        except BlockRejected as error:
            self._heights.pop(peer, None)
            raise MessageRejected(MessageReason.MALFORMED, f"sync: {error}") from error
        for block_id, block in fresh:
            engine.add_block(block, block_id)
        if len(fresh) == last_height - self._tree.tip.height and self._heights.get(peer, 0) > last_height:
            self._fetcher.want((last_height + 1,), peer)  # on its way while this one is executed
            self._run()
        if fresh:
            engine.deliver(response.certificate)
            log.info("synced", from_height=from_height, to_height=self._tree.tip.height)
        self._follow()
        self._run()

    def _follow(self) -> None:
        """Asks for final blocks when a peer has more of them than consensus brings here."""
        if self._joins() or not self._heights or len(self._fetcher):
            return
        best_peer = max(self._heights, key=lambda peer: (self._heights[peer], peer))
        lag = self._heights[best_peer] - self._tree.tip.height
        is_stuck = self._host.monotonic_ms() - self._moved_ms > FETCH_TIMEOUT_MS
        if lag > SYNC_LAG_HEIGHTS or (lag > 0 and is_stuck):
            self._fetcher.want((self._tree.tip.height + 1,), best_peer)

    def _joins(self) -> bool:
        """Whether a snapshot is fetched instead of blocks."""
        joining = self._joining
        if joining is None:
            return False
        ahead = [peer for peer, height in self._heights.items() if height > self._tree.tip.height]
        is_pruned_away = bool(ahead) and all(peer in self._pruned_peers for peer in ahead)
        is_far_behind = 0 < self._lag_for_snapshot_heights < self.lag_heights
        if joining.is_active and (joining.has_target or not ahead):
            return True
        if is_pruned_away or (is_far_behind and not joining.is_hopeless):
            self._fetcher.clear()
            joining.begin(self._tree.tip.height)
            return True
        if joining.is_active:
            joining.end()
        return False

    def _run(self) -> None:
        peers = [peer for peer in self._host.peers() if peer not in self._pruned_peers]
        self._fetcher.run(self._host.monotonic_ms(), peers)

    def _ask(self, peer: bytes, heights: Sequence[int]) -> None:
        message: Message = SyncRequest(from_height=heights[0])
        self._host.send(peer, message)
