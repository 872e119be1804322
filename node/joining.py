"""Fetches a snapshot from peers: the validator sets from the genesis on, a manifest, chunk after chunk.

Nobody is believed. A snapshot counts once the epoch that finalised its block follows from the genesis, a chunk once it
is proven against that block's state root; then it lies on the disk, and a node that starts again goes on from there.
Who sends what does not verify is dropped, and the chunk is asked of another; who is slow is passed over. A chunk list
is covered by no certificate: a snapshot that brings no chunk for a while is given up, and who offered it rests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from node.epochs import Anchor, EpochChain
from node.errors import BlockRejected, MessageReason, MessageRejected, StorageError
from node.offers import Offers
from node.p2p.messages import (
    MOST_EPOCH_ENDS,
    ChunkRequest,
    ChunkResponse,
    EpochEnds,
    EpochEndsRequest,
    Message,
    Snapshots,
    SnapshotsRequest,
)
from node.primitives.codec import decode
from node.snapshot import Range, check_manifest, known_epochs, read_chunk, save_epoch_ends
from node.state.store import TIP_KEY, Tip
from node.storage.kv import KeyValueStore
from node.storage.snapshots import SnapshotShelf
from node.sync import Fetcher
from node.types.genesis import Genesis
from node.types.snapshot import Snapshot

EPOCHS_TIMEOUT_MS = 3_000
CHUNK_TIMEOUT_MS = 8_000
OFFERS_MS = 3_000
"""How often peers are asked what they have."""
PATIENCE_MS = 12_000
"""So long a node that could as well replay the blocks waits for a snapshot that is good."""
REST_MS = 60_000
"""So long it then does not look for one."""
HOLD_MS = 60_000
"""So long one that found a snapshot does not replay blocks meanwhile."""
STALL_MS = 3 * CHUNK_TIMEOUT_MS
"""So long a snapshot may bring no new chunk."""
CHUNKS_AT_ONCE = 6

log = structlog.get_logger(__name__)


class JoiningHost(Protocol):
    """What joining needs of the world."""

    def monotonic_ms(self) -> int:
        """Milliseconds that never go back."""

    def send(self, peer: bytes, message: Message) -> None:
        """Sends to a connected peer, or drops the message."""

    def peers(self) -> Sequence[bytes]:
        """Connected peers, in a stable order."""

    def penalize(self, peer: bytes, error: MessageRejected) -> None:
        """A peer sent something it must not."""

    def run_aside(self, work: Callable[[], None], on_done: Callable[[], None]) -> None:
        """Does something slow that touches the stores only, off the event loop."""

    def restart(self, why: str) -> None:
        """Stop in order and start again from the disk."""


@dataclass(slots=True)
class Target:
    """The snapshot that is fetched."""

    snapshot: Snapshot
    snapshot_id: bytes
    ranges: tuple[Range, ...]
    missing: list[int]
    """Chunks nobody was asked for yet."""
    is_on_disk: bool
    """Whether what lies on the disk is this one's."""
    moved_ms: int
    """When the last new chunk came."""
    offered_by: set[bytes] = field(default_factory=set)
    """Who said to have it, though it may say something else since."""
    checking: set[int] = field(default_factory=set)
    """Chunks that are verified and written, aside."""


class Joining:
    """One node on its way to a snapshot."""

    def __init__(
        self, *, genesis: Genesis, store: KeyValueStore, shelf: SnapshotShelf, anchor: Anchor | None, host: JoiningHost
    ) -> None:
        self._genesis = genesis
        self._store = store
        self._shelf = shelf
        self._anchor = anchor
        self._host = host
        self._epochs: EpochChain | None = None
        self._is_epochs_current = False
        self._offers = Offers()
        self._target: Target | None = None
        self._epoch_fetcher: Fetcher[int] = Fetcher(self._ask_epochs, EPOCHS_TIMEOUT_MS, 1)
        self._chunk_fetcher: Fetcher[int] = Fetcher(self._ask_chunks, CHUNK_TIMEOUT_MS, CHUNKS_AT_ONCE)
        self._asked_ms: int | None = None
        self._rounds = 0
        self._is_begun = False
        self._beginnings = 0
        self._began_ms = 0
        self._rests_until_ms = 0
        self._is_done = False

    @property
    def is_active(self) -> bool:
        """Whether a snapshot is looked for or fetched."""
        return self._is_begun

    @property
    def has_target(self) -> bool:
        """Whether a good snapshot was found."""
        return self._target is not None

    @property
    def is_hopeless(self) -> bool:
        """Whether nothing good was found for a while, now or not long ago."""
        if not self.is_active:
            return self._host.monotonic_ms() < self._rests_until_ms
        return self.is_active and not self.has_target and self._host.monotonic_ms() - self._began_ms > PATIENCE_MS

    @property
    def holds_blocks_back(self) -> bool:
        """Whether a node that could as well replay the blocks should wait still."""
        patience_ms = HOLD_MS if self.has_target else PATIENCE_MS
        return self.is_active and self._host.monotonic_ms() - self._began_ms <= patience_ms

    def begin(self, above_height: int) -> None:
        """Looks for a snapshot above the final state, and goes on with one that was begun."""
        if self.is_active:
            return
        self._is_begun, self._is_epochs_current = True, False
        self._beginnings += 1
        beginning = self._beginnings
        self._began_ms, self._asked_ms = self._host.monotonic_ms(), None
        log.info("joining", above_height=above_height)
        found: list[EpochChain] = []

        def on_known() -> None:
            if self._is_begun and self._beginnings == beginning:  # it may have ended meanwhile, and begun again
                self._epochs = found[0]
                self._resume()

        # Every epoch's certificate is checked again.
        self._host.run_aside(lambda: found.append(known_epochs(self._store, self._genesis, self._anchor)), on_known)

    def end(self) -> None:
        """Looks no longer; what was fetched stays on the disk."""
        self._epochs = self._target = None
        self._is_begun = False
        self._rests_until_ms = self._host.monotonic_ms() + REST_MS
        self._offers.clear()
        for fetcher in (self._epoch_fetcher, self._chunk_fetcher):
            fetcher.clear()

    def tick(self) -> None:
        """Asks for what is missing."""
        if self._epochs is None or self._is_done:
            return
        self._drop_reached()
        now_ms, peers = self._host.monotonic_ms(), self._host.peers()
        if self._asked_ms is None or now_ms - self._asked_ms >= OFFERS_MS:
            self._asked_ms = now_ms
            for peer in peers:
                self._offers.on_asked(peer)
                self._host.send(peer, SnapshotsRequest())
            self._rounds += 1  # another peer each time: one that says there is nothing more is not believed for long
            first_peer = peers[self._rounds % len(peers)] if peers else None
            self._epoch_fetcher.want((self._epochs.epoch,), first_peer)
        self._epoch_fetcher.run(now_ms, peers)
        if self._target is None:
            self._choose()
        self._run_chunks()

    def on_disconnected(self, peer: bytes) -> None:
        """A peer is gone."""
        self._offers.on_disconnected(peer)

    # What peers answer.

    def on_snapshots(self, peer: bytes, message: Snapshots) -> None:
        """What a peer has, if it was asked. Raises: MessageRejected when it is no manifest."""
        if self._epochs is None:
            return
        kept = None if self._target is None else self._target.snapshot_id
        if self._offers.take(peer, message.snapshots, self._tip_height(), self._host.monotonic_ms(), kept):
            self.tick()

    def on_epoch_ends(self, peer: bytes, message: EpochEnds) -> None:
        """Ends of epochs. Raises: MessageRejected when they do not follow from the genesis."""
        epochs = self._epochs
        if epochs is None or not self._epoch_fetcher.was_asked(message.from_epoch, peer):
            return
        first_epoch = epochs.epoch
        if message.from_epoch != first_epoch:
            self._epoch_fetcher.got(message.from_epoch)
            return
        try:
            epochs.extend(message.ends)
        except BlockRejected as error:
            self._epoch_fetcher.retry(first_epoch)
            raise MessageRejected(MessageReason.MALFORMED, f"the end of an epoch: {error}") from error
        finally:
            save_epoch_ends(self._store, list(message.ends[: epochs.epoch - first_epoch]))
        self._is_epochs_current = len(message.ends) < MOST_EPOCH_ENDS
        self._epoch_fetcher.got(first_epoch)
        if not self._is_epochs_current:
            self._epoch_fetcher.want((epochs.epoch,), peer)
        self.tick()

    def on_chunk(self, peer: bytes, message: ChunkResponse) -> None:
        """A chunk; verified and written aside."""
        target = self._target
        if target is None or message.snapshot_id != target.snapshot_id:
            return
        index = message.index
        if not self._chunk_fetcher.was_asked(index, peer) or index in target.checking:
            return
        if not message.data:
            self._offers.bar_peer(peer, self._host.monotonic_ms() + REST_MS)
            self._chunk_fetcher.retry(index)
            self.tick()
            return
        target.checking.add(index)
        errors: list[MessageRejected] = []
        written: list[int] = []

        def check() -> None:
            try:
                read_chunk(target.snapshot.manifest, target.ranges, index, message.data)
            except MessageRejected as error:
                errors.append(error)
                return
            if self._target is target and target.is_on_disk:
                self._shelf.incoming.save_chunk(index, message.data)
                written.append(index)

        def on_checked() -> None:
            target.checking.discard(index)
            if self._target is not target:
                return
            if not errors and not written:
                self._write_first(target, index, message.data)
            self._on_checked(target, peer, index, errors)

        self._host.run_aside(check, on_checked)

    # Helpers.

    def _on_checked(self, target: Target, peer: bytes, index: int, errors: Sequence[MessageRejected]) -> None:
        if errors:
            self._offers.bar_peer(peer, self._host.monotonic_ms() + REST_MS)
            self._chunk_fetcher.retry(index)
            self._host.penalize(peer, errors[0])
        elif self._chunk_fetcher.got(index):
            target.moved_ms = self._host.monotonic_ms()
        self.tick()

    def _write_first(self, target: Target, index: int, data: bytes) -> None:
        """A chunk of a snapshot that is not the one on the disk: only now that is thrown away."""
        incoming = self._shelf.incoming
        if not target.is_on_disk:
            self._shelf.drop_incoming()
            incoming.save_manifest(target.snapshot)
            target.is_on_disk = True
        incoming.save_chunk(index, data)

    def _resume(self) -> None:
        """Goes on with what lies on the disk, if its epoch is known and it is high enough still."""
        assert self._epochs is not None, "joining has begun"
        try:
            snapshot = self._shelf.incoming.load()
            self._epochs.require_final(snapshot.manifest.header, snapshot.certificate)
            self._epochs.require_trusted(snapshot.manifest.header)
            self._epochs.require_epoch_end(snapshot.manifest.header)
            check_manifest(snapshot.manifest)
        except (StorageError, BlockRejected, MessageRejected):
            return
        if snapshot.manifest.header.height > self._tip_height():
            self._aim(snapshot)

    def _choose(self) -> None:
        """The best snapshot whose block is proven to end an epoch, once all epochs that peers know are known here."""
        epochs, now_ms = self._epochs, self._host.monotonic_ms()
        if epochs is None or not self._is_epochs_current:
            return
        is_early = now_ms - self._began_ms < OFFERS_MS
        if is_early and self._offers.is_awaited(self._host.peers()):  # not the first answer alone
            return
        self._offers.verify(epochs, self._host.penalize)
        found = self._offers.best()
        if found is not None:
            self._aim(found)

    def _aim(self, snapshot: Snapshot) -> None:
        manifest, snapshot_id = snapshot.manifest, snapshot.manifest.id()
        incoming, is_on_disk = self._shelf.incoming, self._is_incoming(snapshot_id)
        indices = range(len(manifest.chunks))
        missing = [index for index in indices if not is_on_disk or not incoming.has_chunk(index)]
        self._target = Target(
            snapshot=snapshot,
            snapshot_id=snapshot_id,
            ranges=check_manifest(manifest),
            missing=missing,
            is_on_disk=is_on_disk,
            moved_ms=self._host.monotonic_ms(),
        )
        log.info("snapshot_chosen", height=manifest.header.height, chunks=len(indices), missing=len(missing))

    def _is_incoming(self, snapshot_id: bytes) -> bool:
        """Whether what lies on the disk belongs to a snapshot."""
        try:
            return self._shelf.incoming.load().manifest.id() == snapshot_id
        except StorageError:
            return False

    def _run_chunks(self) -> None:
        target = self._target
        if target is None:
            return
        if not target.missing and not len(self._chunk_fetcher):
            self._is_done = True  # `tick` has just looked whether it is above the final state still
            self._host.restart(f"the snapshot of height {target.snapshot.manifest.header.height} is here")
            return
        now_ms, peers = self._host.monotonic_ms(), self._host.peers()
        sources = [peer for peer in self._offers.sources(target.snapshot_id) if peer in peers]
        target.offered_by.update(sources)
        if not target.checking and now_ms - target.moved_ms > (STALL_MS if sources else PATIENCE_MS):
            self._give_up(target)
            return
        while sources and target.missing and len(self._chunk_fetcher) < CHUNKS_AT_ONCE:
            index = target.missing.pop(0)
            self._chunk_fetcher.want((index,), sources[index % len(sources)])
        self._chunk_fetcher.run(now_ms, sources, skip=target.checking)

    def _give_up(self, target: Target) -> None:
        """Another one may be better; what was fetched stays on the disk until a chunk of that one is here."""
        log.warning("snapshot_given_up", height=target.snapshot.manifest.header.height, sources=len(target.offered_by))
        self._drop_target()
        until_ms = self._host.monotonic_ms() + REST_MS
        if target.offered_by:
            self._offers.bar_snapshot(target.snapshot_id, until_ms)
        for peer in target.offered_by:
            self._offers.bar_peer(peer, until_ms)

    def _drop_reached(self) -> None:
        """Forgets what is not above the final state any more: blocks came meanwhile."""
        height = self._tip_height()
        self._offers.forget_up_to(height)
        if self._target is not None and self._target.snapshot.manifest.header.height <= height:
            log.info("snapshot_not_needed", height=self._target.snapshot.manifest.header.height)
            self._drop_target()

    def _drop_target(self) -> None:
        self._target = None
        self._chunk_fetcher.clear()

    def _tip_height(self) -> int:
        tip = self._store.get(TIP_KEY)
        return 0 if tip is None else decode(Tip, tip).height

    def _ask_epochs(self, peer: bytes, epochs: Sequence[int]) -> None:
        self._host.send(peer, EpochEndsRequest(from_epoch=epochs[0]))

    def _ask_chunks(self, peer: bytes, indices: Sequence[int]) -> None:
        assert self._target is not None, "chunks are asked for of a snapshot"
        for index in indices:
            self._host.send(peer, ChunkRequest(snapshot_id=self._target.snapshot_id, index=index))
