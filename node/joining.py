"""Fetches a snapshot from peers: the validator sets from the genesis on, a manifest, chunk after chunk.

Nobody is believed. A snapshot counts once the epoch that finalised its block follows from the genesis, a chunk once it
is proven against that block's state root; then it lies on the disk, and a node that starts again goes on from there.
Who sends what does not verify is dropped, and the chunk is asked of another; who is slow is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from consensus.types import Certificate
from node.epochs import Anchor, EpochChain
from node.errors import BlockRejected, MessageReason, MessageRejected, StorageError
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
from node.snapshot import Range, check_manifest, known_epochs, read_chunk, save_epoch_ends
from node.storage.kv import KeyValueStore
from node.storage.snapshots import SnapshotShelf
from node.sync import Fetcher
from node.types.genesis import Genesis
from node.types.snapshot import SNAPSHOT_VERSION, Manifest, Snapshot

EPOCHS_TIMEOUT_MS = 3_000
CHUNK_TIMEOUT_MS = 8_000
OFFERS_MS = 3_000
"""How often peers are asked what they have."""
PATIENCE_MS = 12_000
"""So long a node that could as well replay the blocks waits for a snapshot that is good."""
REST_MS = 60_000
"""So long it then does not look for one."""
CHUNKS_AT_ONCE = 6
MOST_OFFERS = 64
"""Snapshots kept in mind, two of each peer's latest answer."""

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
class Offer:
    """A snapshot and who has it."""

    manifest: Manifest
    certificates: dict[bytes, Certificate] = field(default_factory=dict)
    """What each peer sent as the proof that the block is final."""
    proof: Certificate | None = None
    """One that is good."""


@dataclass(slots=True)
class Target:
    """The snapshot that is fetched."""

    snapshot: Snapshot
    snapshot_id: bytes
    ranges: tuple[Range, ...]
    missing: list[int]
    """Chunks nobody was asked for yet."""
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
        self._offers: dict[bytes, Offer] = {}
        self._target: Target | None = None
        self._epoch_fetcher: Fetcher[int] = Fetcher(self._ask_epochs, EPOCHS_TIMEOUT_MS, 1)
        self._chunk_fetcher: Fetcher[int] = Fetcher(self._ask_chunks, CHUNK_TIMEOUT_MS, CHUNKS_AT_ONCE)
        self._asked_ms: int | None = None
        self._rounds = 0
        self._is_begun = False
        self._began_ms = 0
        self._rests_until_ms = 0
        self._lowest_wanted = 0
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

    def begin(self, above_height: int) -> None:
        """Looks for a snapshot above a height, and goes on with one that was begun."""
        if self.is_active:
            return
        self._is_begun, self._is_epochs_current = True, False
        self._lowest_wanted = above_height + 1
        self._began_ms, self._asked_ms = self._host.monotonic_ms(), None
        log.info("joining", above_height=above_height)
        found: list[EpochChain] = []

        def on_known() -> None:
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
        now_ms, peers = self._host.monotonic_ms(), self._host.peers()
        if self._asked_ms is None or now_ms - self._asked_ms >= OFFERS_MS:
            self._asked_ms = now_ms
            for peer in peers:
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
        for offer in self._offers.values():
            offer.certificates.pop(peer, None)

    # What peers answer.

    def on_snapshots(self, peer: bytes, message: Snapshots) -> None:
        """What a peer has."""
        if self._epochs is None:
            return
        self.on_disconnected(peer)  # its answer replaces its earlier one
        for snapshot in message.snapshots:
            manifest = snapshot.manifest
            if manifest.version != SNAPSHOT_VERSION or manifest.header.height < self._lowest_wanted:
                continue
            check_manifest(manifest)
            offer = self._offers.setdefault(manifest.id(), Offer(manifest))
            offer.certificates[peer] = snapshot.certificate
        self._forget_offers()
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
            self._drop_source(target, peer)
            self._chunk_fetcher.retry(index)
            self.tick()
            return
        target.checking.add(index)
        errors: list[MessageRejected] = []

        def check() -> None:
            try:
                read_chunk(target.snapshot.manifest, target.ranges, index, message.data)
            except MessageRejected as error:
                errors.append(error)
                return
            self._shelf.incoming.save_chunk(index, message.data)

        def on_checked() -> None:
            target.checking.discard(index)
            if self._target is target:
                self._on_checked(target, peer, index, errors)

        self._host.run_aside(check, on_checked)

    # Helpers.

    def _on_checked(self, target: Target, peer: bytes, index: int, errors: Sequence[MessageRejected]) -> None:
        if errors:
            self._drop_source(target, peer)
            self._chunk_fetcher.retry(index)
            self._host.penalize(peer, errors[0])
        else:
            self._chunk_fetcher.got(index)
        self.tick()

    def _resume(self) -> None:
        """Goes on with what lies on the disk, if its epoch is known and it is high enough still."""
        assert self._epochs is not None, "joining has begun"
        try:
            snapshot = self._shelf.incoming.load()
            self._epochs.require_final(snapshot.manifest.header, snapshot.certificate)
            self._epochs.require_trusted(snapshot.manifest.header)
            check_manifest(snapshot.manifest)
        except (StorageError, BlockRejected, MessageRejected):
            return
        if snapshot.manifest.header.height >= self._lowest_wanted:
            self._aim(snapshot)

    def _choose(self) -> None:
        """The highest snapshot whose block is proven final, once all epochs that peers know are known here."""
        epochs = self._epochs
        if epochs is None or not self._is_epochs_current:
            return
        for offer in list(self._offers.values()):
            if offer.proof is None and offer.manifest.header.epoch <= epochs.epoch:
                self._verify(epochs, offer)
        good = [
            (offer.manifest.header.height, len(offer.certificates), snapshot_id)
            for snapshot_id, offer in self._offers.items()
            if offer.proof is not None and offer.certificates
        ]
        if good:
            offer = self._offers[max(good)[2]]
            assert offer.proof is not None, "just looked at"
            self._aim(Snapshot(manifest=offer.manifest, certificate=offer.proof))

    def _verify(self, epochs: EpochChain, offer: Offer) -> None:
        """Notes why a snapshot's block is final, and drops who sent a proof that is none."""
        header = offer.manifest.header
        for peer, certificate in list(offer.certificates.items()):
            try:
                epochs.require_final(header, certificate)
            except BlockRejected as error:
                offer.certificates.pop(peer, None)
                self._host.penalize(peer, MessageRejected(MessageReason.MALFORMED, f"snapshot: {error}"))
                continue
            try:
                epochs.require_trusted(header)
                offer.proof = certificate
            except BlockRejected as error:  # nobody's lie: it is older than what this node's operator trusts
                log.info("snapshot_not_wanted", height=header.height, reason=str(error))
            return

    def _aim(self, snapshot: Snapshot) -> None:
        manifest = snapshot.manifest
        incoming = self._shelf.incoming
        if not self._is_incoming(manifest.id()):
            self._shelf.drop_incoming()
            incoming.save_manifest(snapshot)
        missing = [index for index in range(len(manifest.chunks)) if not incoming.has_chunk(index)]
        self._target = Target(snapshot, manifest.id(), check_manifest(manifest), missing)
        log.info("snapshot_chosen", height=manifest.header.height, chunks=len(manifest.chunks), missing=len(missing))

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
            self._is_done = True
            self._host.restart(f"the snapshot of height {target.snapshot.manifest.header.height} is here")
            return
        sources = self._sources(target)
        if not sources:
            if self._is_given_up(target):
                log.warning("snapshot_given_up", height=target.snapshot.manifest.header.height)
                self._offers.pop(target.snapshot_id, None)
                self._target = None
                self._chunk_fetcher.clear()
                self._shelf.drop_incoming()
            return
        while target.missing and len(self._chunk_fetcher) < CHUNKS_AT_ONCE:
            index = target.missing.pop(0)
            self._chunk_fetcher.want((index,), sources[index % len(sources)])
        self._chunk_fetcher.run(self._host.monotonic_ms(), sources, skip=target.checking)

    def _sources(self, target: Target) -> list[bytes]:
        offer = self._offers.get(target.snapshot_id)
        connected = self._host.peers()
        return [] if offer is None else [peer for peer in offer.certificates if peer in connected]

    def _is_given_up(self, target: Target) -> bool:
        """Whether peers have told what they have, and none has the target any more."""
        if target.checking or self._host.monotonic_ms() - self._began_ms < PATIENCE_MS:
            return False
        return any(each.certificates and key != target.snapshot_id for key, each in self._offers.items())

    def _drop_source(self, target: Target, peer: bytes) -> None:
        offer = self._offers.get(target.snapshot_id)
        if offer is not None:
            offer.certificates.pop(peer, None)

    def _forget_offers(self) -> None:
        kept = None if self._target is None else self._target.snapshot_id
        for snapshot_id in [each for each, offer in self._offers.items() if not offer.certificates and each != kept]:
            del self._offers[snapshot_id]
        while len(self._offers) > MOST_OFFERS:
            del self._offers[next(each for each in self._offers if each != kept)]

    def _ask_epochs(self, peer: bytes, epochs: Sequence[int]) -> None:
        self._host.send(peer, EpochEndsRequest(from_epoch=epochs[0]))

    def _ask_chunks(self, peer: bytes, indices: Sequence[int]) -> None:
        assert self._target is not None, "chunks are asked for of a snapshot"
        for index in indices:
            self._host.send(peer, ChunkRequest(snapshot_id=self._target.snapshot_id, index=index))
