"""The snapshots that peers say they have, which of them is the best, and who is not believed for a while.

An answer counts only when it was asked for, and replaces the peer's earlier one. A chunk list is covered by no
certificate, so one that two peers name is better than a higher one that a single peer names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from consensus.types import Certificate
from node.epochs import EpochChain
from node.errors import BlockRejected, MessageReason, MessageRejected
from node.snapshot import check_manifest
from node.types.snapshot import SNAPSHOT_VERSION, Manifest, Snapshot

MOST_OFFERS = 64
"""Snapshots kept in mind, two of each peer's latest answer."""
MOST_BARRED = 1_024

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Offer:
    """A snapshot and who has it."""

    manifest: Manifest
    certificates: dict[bytes, Certificate] = field(default_factory=dict)
    """What each peer sent as the proof that the block is final."""
    proof: Certificate | None = None
    """One that is good."""
    is_refused: bool = False
    """Whether its block is final, and none to begin with."""


class Offers:
    """What peers offer to one node."""

    def __init__(self) -> None:
        self._offers: dict[bytes, Offer] = {}
        self._asked: set[bytes] = set()
        """Who owes an answer."""
        self._barred_until_ms: dict[bytes, int] = {}
        """Snapshots that brought nothing and peers that offered such."""

    def clear(self) -> None:
        """Forgets what is offered; who is barred stays so."""
        self._offers.clear()
        self._asked.clear()

    def on_asked(self, peer: bytes) -> None:
        """A peer may answer, once."""
        self._asked.add(peer)

    def on_disconnected(self, peer: bytes) -> None:
        """A peer is gone."""
        self._asked.discard(peer)
        self._withdraw(peer)

    def is_awaited(self, peers: Sequence[bytes]) -> bool:
        """Whether one of these did not answer yet."""
        return any(peer in self._asked for peer in peers)

    def take(
        self, peer: bytes, snapshots: Sequence[Snapshot], above_height: int, now_ms: int, kept: bytes | None
    ) -> bool:
        """A peer's answer; returns whether it was asked for. `kept` stays, whoever has it.

        Raises: MessageRejected when a manifest is none.
        """
        if peer not in self._asked:
            return False
        self._asked.discard(peer)
        self._withdraw(peer)
        for snapshot in () if self._is_barred(peer, now_ms) else snapshots:
            manifest, snapshot_id = snapshot.manifest, snapshot.manifest.id()
            is_known_format = manifest.version == SNAPSHOT_VERSION
            if is_known_format and manifest.header.height > above_height and not self._is_barred(snapshot_id, now_ms):
                check_manifest(manifest)
                offer = self._offers.setdefault(snapshot_id, Offer(manifest))
                offer.certificates[peer] = snapshot.certificate
        for gone in [each for each, offer in self._offers.items() if not offer.certificates and each != kept]:
            del self._offers[gone]
        while len(self._offers) > MOST_OFFERS:
            del self._offers[next(each for each in self._offers if each != kept)]
        return True

    def verify(self, epochs: EpochChain, penalize: Callable[[bytes, MessageRejected], None]) -> None:
        """Looks at the offers of epochs whose end is known; drops who sent a proof that is none."""
        for offer in list(self._offers.values()):
            if offer.proof is None and not offer.is_refused and offer.manifest.header.epoch < epochs.epoch:
                _verify(epochs, offer, penalize)

    def best(self) -> Snapshot | None:
        """The highest proven one that two peers have; one that a single peer has when there is no such."""
        good = [
            (min(len(offer.certificates), 2), offer.manifest.header.height, len(offer.certificates), snapshot_id)
            for snapshot_id, offer in self._offers.items()
            if offer.proof is not None and offer.certificates
        ]
        if not good:
            return None
        offer = self._offers[max(good)[-1]]
        assert offer.proof is not None, "just looked at"
        return Snapshot(manifest=offer.manifest, certificate=offer.proof)

    def sources(self, snapshot_id: bytes) -> list[bytes]:
        """Who has a snapshot."""
        offer = self._offers.get(snapshot_id)
        return [] if offer is None else list(offer.certificates)

    def forget_up_to(self, height: int) -> None:
        """Forgets snapshots that are not above a height."""
        for snapshot_id in [each for each, offer in self._offers.items() if offer.manifest.header.height <= height]:
            del self._offers[snapshot_id]

    def bar_snapshot(self, snapshot_id: bytes, until_ms: int) -> None:
        """A snapshot brought nothing."""
        self._offers.pop(snapshot_id, None)
        self._bar(snapshot_id, until_ms)

    def bar_peer(self, peer: bytes, until_ms: int) -> None:
        """A peer does not have what it offered."""
        self._withdraw(peer)
        self._bar(peer, until_ms)

    # Helpers.

    def _withdraw(self, peer: bytes) -> None:
        for offer in self._offers.values():
            offer.certificates.pop(peer, None)

    def _bar(self, name: bytes, until_ms: int) -> None:
        self._barred_until_ms.pop(name, None)
        self._barred_until_ms[name] = until_ms
        while len(self._barred_until_ms) > MOST_BARRED:
            del self._barred_until_ms[next(iter(self._barred_until_ms))]

    def _is_barred(self, name: bytes, now_ms: int) -> bool:
        return now_ms < self._barred_until_ms.get(name, now_ms)


def _verify(epochs: EpochChain, offer: Offer, penalize: Callable[[bytes, MessageRejected], None]) -> None:
    header = offer.manifest.header
    for peer, certificate in list(offer.certificates.items()):
        try:
            epochs.require_final(header, certificate)
        except BlockRejected as error:
            offer.certificates.pop(peer, None)
            penalize(peer, MessageRejected(MessageReason.MALFORMED, f"snapshot: {error}"))
            continue
        try:
            epochs.require_trusted(header)
            epochs.require_epoch_end(header)
            offer.proof = certificate
        except BlockRejected as error:  # not what its operator trusts, or made in an epoch's middle: nobody's lie
            log.info("snapshot_not_wanted", height=header.height, reason=str(error))
            offer.is_refused = True
        return
