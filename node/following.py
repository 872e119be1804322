"""Keeps up with the peers: asks for ranges of final blocks, or for a snapshot when no peer has the blocks any more.

One range is executed while the next is on its way. What a peer claims about its height costs it nothing, so it earns it
nothing either: who does not answer in time is asked after the others, and a height is believed once peers with more
than a third of the voting power claim it. A snapshot is looked for beside the blocks, not instead of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
QUIET_MS = 5_000
"""So long nothing is final here before a snapshot is looked for because all who are ahead say the blocks are gone."""
UNANSWERED_MS = 3 * SYNC_TIMEOUT_MS
"""So long when some who are ahead say so, and the others nothing."""
ALONE_MS = 60_000
"""So long when too few say that they are ahead to be believed: the others may be as lost as this node."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Powers:
    """The current voting power, as far as it is known whose it is."""

    of_peer: Mapping[bytes, int]
    """Of the validators on each node."""
    total: int
    """Of all."""


def claimed_height(heights: Mapping[bytes, int], powers: Powers) -> int | None:
    """The greatest height that peers with more than a third of the power claim: one that is honest is among them.

    Where the peers that said a height have less, it is the second highest of several, or the only one. None when there
    is none.
    """
    claims = sorted(((height, peer) for peer, height in heights.items()), reverse=True)
    power = 0
    for height, peer in claims:
        power += powers.of_peer.get(peer, 0)
        if 3 * power > powers.total:
            return height
    return claims[min(1, len(claims) - 1)][0] if claims else None


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
        powers: Callable[[], Powers],
    ) -> None:
        self._tree = tree
        self._engine = engine
        self._host = host
        self._powers = powers
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
        """How far the last final block that peers claim believably is above ours; negative when ours is the last."""
        height = claimed_height(self._heights, self._powers())
        return 0 if height is None else height - self._tree.tip.height

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
        if self._joins_instead() or not self._heights or len(self._fetcher):
            return
        best_peer = max(self._heights, key=lambda peer: (self._heights[peer], peer))
        lag = self._heights[best_peer] - self._tree.tip.height
        is_stuck = self._host.monotonic_ms() - self._moved_ms > FETCH_TIMEOUT_MS
        if lag > SYNC_LAG_HEIGHTS or (lag > 0 and is_stuck):
            self._fetcher.want((self._tree.tip.height + 1,), best_peer)

    def _joins_instead(self) -> bool:
        """Begins and ends the search for a snapshot; returns whether blocks wait for it meanwhile."""
        joining = self._joining
        if joining is None:
            return False
        is_far_behind = 0 < self._lag_for_snapshot_heights < self.lag_heights
        is_wanted = (is_far_behind and not joining.is_hopeless) or self._is_pruned_away()
        if is_wanted and not joining.is_active:
            if is_far_behind:
                self._fetcher.clear()
            joining.begin(self._tree.tip.height)
        elif joining.is_active and not joining.has_target and not is_wanted and self._heights:
            joining.end()
        return is_far_behind and joining.holds_blocks_back

    def _is_pruned_away(self) -> bool:
        """Whether nothing becomes final here, and the blocks that would are gone everywhere, as far as peers say."""
        tip_height = self._tree.tip.height
        ahead = {peer for peer, height in self._heights.items() if height > tip_height}
        pruned = ahead & self._pruned_peers
        quiet_ms = self._host.monotonic_ms() - self._moved_ms
        if not pruned or quiet_ms <= (QUIET_MS if pruned == ahead else UNANSWERED_MS):
            return False
        return self.lag_heights > 0 or quiet_ms > ALONE_MS

    def _run(self) -> None:
        peers = [peer for peer in self._host.peers() if peer not in self._pruned_peers]
        self._fetcher.run(self._host.monotonic_ms(), peers)

    def _ask(self, peer: bytes, heights: Sequence[int]) -> None:
        message: Message = SyncRequest(from_height=heights[0])
        self._host.send(peer, message)
