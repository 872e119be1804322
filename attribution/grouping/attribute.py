"""Computes groupings: what validators run. The same result with and without what was prepared for an earlier request.

Leaders keep their order from one request to the next, so what is prepared grows with them: features are derived once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from attribution.content import Materials, read_material
from attribution.grouping.request import ENCODER_RECORDS, NO_LEADER, GroupRequest, GroupResult, Scale
from attribution.head import encoder as tabular
from attribution.head.encoder import TabularEncoder, read_records
from attribution.similar.records import Batch, Entry, encode_features, read_batch, varying
from attribution.similar.request import VerdictKind
from attribution.similar.tabular import TabularClusters


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Leaders ready to be compared with."""

    schema_id: bytes
    """Form of the records."""
    scales: tuple[Scale, ...]
    """The encoder."""
    leaders: tuple[bytes, ...]
    """Content hashes; the place of a leader is its seniority in `clusters`."""
    clusters: TabularClusters
    """The index of them."""

    def size_bytes(self) -> int:
        """Memory that keeping it takes."""
        return self.clusters.size_bytes() + 200 * len(self.leaders)


def prepare(request: GroupRequest, materials: Materials, before: Prepared | None = None) -> Prepared:
    """The leaders of a request; what was prepared `before` for a part of them is built upon, and is used up.

    Raises: AttributionError.
    """
    encoder = _encoder(request, materials)
    scales, leaders = _scales_of(encoder), request.leaders
    if before is not None and (before.schema_id, before.scales) == (request.schema.id(), scales):
        known = len(before.leaders)
        if leaders[:known] == before.leaders:
            batch = _read(request, encoder, range(known, len(leaders)), leaders[known:], materials)
            if all(each.kind is VerdictKind.NEW for each in before.clusters.admit(batch)):
                return Prepared(request.schema.id(), scales, leaders, before.clusters)
    clusters = TabularClusters(request.rule, int(varying(encoder).sum()))
    clusters.restore(_entries(_read(request, encoder, range(len(leaders)), leaders, materials)))
    return Prepared(request.schema.id(), scales, leaders, clusters)


def compute(request: GroupRequest, materials: Materials, prepared: Prepared | None = None) -> GroupResult:
    """Who leads each record: the eldest leader that it is like, among those of the request and then its records.

    Raises: AttributionError.
    """
    ready = prepared if prepared is not None else prepare(request, materials)
    assert ready.leaders == request.leaders, "prepared for these leaders"
    encoder = _encoder(request, materials)
    first = len(request.leaders)
    batch = _read(request, encoder, range(first, first + len(request.records)), request.records, materials)
    try:
        # Records of different contents that the encoder cannot tell apart follow the elder one.
        verdicts = ready.clusters.admit(batch, is_founding=True)
    finally:
        ready.clusters.cut(first - 1)
    places = tuple(NO_LEADER if each.kind is VerdictKind.NEW else each.cluster for each in verdicts)
    return GroupResult(scales=ready.scales, places=places)


def _encoder(request: GroupRequest, materials: Materials) -> TabularEncoder:
    if request.scales:
        scales = tuple(tabular.Scale(total=each.total, spread=each.spread, shift=each.shift) for each in request.scales)
        return TabularEncoder(record_count=ENCODER_RECORDS, scales=scales)
    blobs = [read_material(materials, each) for each in request.records[:ENCODER_RECORDS]]
    return tabular.derive(read_records(request.schema, blobs)[1])


def _scales_of(encoder: TabularEncoder) -> tuple[Scale, ...]:
    return tuple(Scale(total=each.total, spread=each.spread, shift=each.shift) for each in encoder.scales)


def _read(
    request: GroupRequest,
    encoder: TabularEncoder,
    places: Sequence[int],
    contents: Sequence[bytes],
    materials: Materials,
) -> Batch:
    return read_batch(request.schema, encoder, places, [read_material(materials, each) for each in contents])


def _entries(batch: Batch) -> tuple[Entry, ...]:
    """Every record of a batch as the leader of a cluster of its own."""
    return tuple(
        Entry(seniority=seniority, cluster=seniority, label=label, key=key, features=encode_features(features))
        for seniority, label, key, features in zip(
            batch.seniorities, batch.labels.tolist(), batch.keys, batch.features, strict=True
        )
    )
