"""Clusters: which records of a datanet are near-copies of which. A cluster is paid once, its elder members first.

Exact copies are refused when they are contributed. From the 256th standing record on, an attributor groups the
datanet's records in the order of their acceptance, and every validator recomputes it: each record joins the eldest
leader it is like, or leads a cluster of its own. The first grouping also fixes the scales that likeness is measured in.

A leader that is erased is followed, in comparisons, by the eldest of its first members that still stands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import Annotated, ClassVar

from attribution.errors import AttributionError
from attribution.grouping import request as engine
from attribution.record import MAXIMUM_COLUMNS, TabularSchema
from attribution.similar.request import MAXIMUM_BATCH, MINIMUM_FEATURES, TabularRule
from node.errors import TransactionReason, TransactionRejected
from node.modules.accounts import require_role
from node.modules.bonds import require_attributor_bond
from node.modules.context import Context, Resources, State
from node.modules.datanets import (
    DATANETS,
    RECORDS,
    RECORDS_AT,
    Datanet,
    Position,
    position_key,
    require_age,
    schema_of,
)
from node.primitives.codec import encode
from node.primitives.crypto import ZERO_HASH, Hash, sha256
from node.state.table import Reader, Table
from node.storage.schema import Prefix
from node.types.genesis import Role

MOST_POSITIONS = 4_096
"""Positions of one grouping, erased ones included."""
LEAST_RECORDS = 256
"""Records that a grouping takes at least, if so many are left: each one reads all clusters, and makes others stale."""
MOST_HEIRS = 16
"""Members that may follow an erased leader: the first ones."""
RULE = TabularRule(join_permille=970)
"""From 970 of 1000 on, with the same label, records are near-copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The affine map of one column, in which likeness is measured."""

    total: Annotated[int, range(-(2**63), 2**63)]
    """Sum of the column over the records that fixed it."""
    spread: Annotated[int, range(2**33)]
    """Their deviations; 0 if the column does not vary."""
    shift: Annotated[int, range(64)]
    """Bits by which the spread was shifted right."""


Scales = Annotated[tuple[Scale, ...], range(MAXIMUM_COLUMNS + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clusters:
    """The clusters of a datanet."""

    scales: Scales
    """One for each column, fixed by the first 256 records."""
    places: Position
    """Clusters that were ever made."""
    changes: Annotated[int, range(2**48)]
    """Clusters made, inherited and ended: another number, another set of records to compare with."""
    history: Hash
    """Commitment to all that made them what they are: two branches may count as many changes, and differ."""
    grouped_history: Hash
    """The same, as of the last grouping: what every record's leader follows from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What new records are compared with on behalf of a cluster."""

    leader: Hash
    """Content hash of its first leader: what its members are marked with."""
    compared: Hash
    """Content hash of the record that is compared: the leader, or who followed it."""
    heirs: Annotated[tuple[Hash, ...], range(MOST_HEIRS + 1)]
    """Content hashes of its first members besides, eldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPlace:
    """Where a cluster stands."""

    place: Position
    """Its number."""


CLUSTERS = Table(Prefix.CLUSTERS, Clusters)
"""By datanet."""
CLUSTER = Table(Prefix.CLUSTER, Cluster)
"""By datanet and place; gone when nobody is left to compare with."""
CLUSTER_PLACES = Table(Prefix.CLUSTER_PLACE, ClusterPlace)
"""By datanet and leader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """States which records are near-copies of which, for the next positions of a datanet."""

    datanet: Hash
    """Where."""
    changes: Annotated[int, range(2**48)]
    """The clusters it was computed with: after they changed, the claim is stale and not false."""
    first: Position
    """The first position that is not grouped yet."""
    end: Position
    """The position after the last one."""
    scales: Scales
    """The scales, when this is the datanet's first grouping; none later."""
    leaders: Annotated[tuple[Hash, ...], range(MAXIMUM_BATCH + 1)]
    """For each record that stands there, the content hash of its cluster's leader: its own when it leads one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouped:
    """Records were grouped."""

    NAME: ClassVar[str] = "grouped"

    datanet: Hash
    """Where."""
    first: Position
    """From which position."""
    end: Position
    """Up to which, without it."""
    record_count: Annotated[int, range(MAXIMUM_BATCH + 1)]
    """Records that stand there."""
    new_count: Annotated[int, range(MAXIMUM_BATCH + 1)]
    """Of these, how many lead a cluster of their own."""


NONE = Clusters(scales=(), places=0, changes=0, history=ZERO_HASH, grouped_history=ZERO_HASH)


def require_grouped(state: Reader, datanet_id: bytes, datanet: Datanet, count: int) -> None:
    """The first `count` positions are grouped, if grouping has begun or is due.

    Raises: TransactionRejected NOT_YET.
    """
    if datanet.grouped_count < count and _is_due(state, datanet_id, datanet, count):
        detail = f"{datanet.grouped_count} of {count} positions are grouped"
        raise TransactionRejected(TransactionReason.NOT_YET, detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What the next grouping of a datanet is computed with."""

    schema: TabularSchema
    """The form of the records."""
    changes: int
    """Its number."""
    scales: tuple[Scale, ...]
    """None before the first grouping."""
    clusters: tuple[tuple[bytes, bytes], ...]
    """Leader and compared record of each cluster, eldest first."""


def load_basis(state: Reader, datanet_id: bytes, resources: Resources) -> Basis:
    """What the state says now."""
    known = CLUSTERS.get(state, datanet_id) or NONE

    def build() -> Basis:
        found = (CLUSTER.get(state, position_key(datanet_id, place)) for place in range(known.places))
        return Basis(
            schema=schema_of(DATANETS.need(state, datanet_id)),
            changes=known.changes,
            scales=known.scales,
            clusters=tuple((each.leader, each.compared) for each in found if each is not None),
        )

    return resources.memo(b"clusters" + datanet_id + known.history, build)


def group_request(basis: Basis, records: tuple[bytes, ...]) -> engine.GroupRequest:
    """What the engine is asked about the next records. Raises: AttributionError when nobody can be asked that."""
    return engine.GroupRequest(
        schema=basis.schema,
        rule=RULE,
        scales=tuple(engine.Scale(total=each.total, spread=each.spread, shift=each.shift) for each in basis.scales),
        leaders=tuple(compared for _, compared in basis.clusters),
        records=records,
    )


def group_claim(
    basis: Basis, datanet_id: bytes, first: int, end: int, records: tuple[bytes, ...], result: engine.GroupResult
) -> Group:
    """The claim that a result supports."""
    leaders: list[bytes] = []
    for record, place in zip(records, result.places, strict=True):
        if place == engine.NO_LEADER:
            leaders.append(record)
        else:
            elder = place - len(basis.clusters)
            leaders.append(basis.clusters[place][0] if elder < 0 else leaders[elder])
    scales = tuple(Scale(total=each.total, spread=each.spread, shift=each.shift) for each in result.scales)
    return Group(
        datanet=datanet_id,
        changes=basis.changes,
        first=first,
        end=end,
        scales=() if basis.scales else scales,
        leaders=tuple(leaders),
    )


def standing_records(state: Reader, datanet_id: bytes, first: int, end: int) -> tuple[bytes, ...]:
    """Content hashes of the records that stand at some positions."""
    found = (RECORDS_AT.get(state, position_key(datanet_id, each)) for each in range(first, end))
    return tuple(each.content for each in found if each is not None)


def meter_group(state: Reader, context: Context, payload: Group) -> int:
    """Work of the comparisons; refuses what could not be computed."""
    require_role(state, context.sender, Role.ATTRIBUTOR)
    require_attributor_bond(state, context)
    datanet = DATANETS.need(state, payload.datanet)
    known = CLUSTERS.get(state, payload.datanet) or NONE
    require_age(context, context.block.epoch_first_height)
    count = datanet.snapshot_count(context.block.epoch)
    if (payload.first, payload.changes) != (datanet.grouped_count, known.changes):
        detail = f"position {datanet.grouped_count} and {known.changes} changes are current"
        raise TransactionRejected(TransactionReason.STALE_SNAPSHOT, detail)
    if not payload.first < payload.end <= min(count, payload.first + MOST_POSITIONS):
        detail = f"up to position {payload.end}: {count} stood at the epoch's start; at most {MOST_POSITIONS} at a time"
        raise TransactionRejected(TransactionReason.CLAIM_UNCOMPUTABLE, detail)
    if not _is_due(state, payload.datanet, datanet, count):
        detail = f"fewer than {engine.ENCODER_RECORDS} records stand, or there are too few columns to compare"
        raise TransactionRejected(TransactionReason.NOT_YET, detail)
    standing = len(standing_records(state, payload.datanet, payload.first, payload.end))
    if len(payload.leaders) != standing:
        detail = f"{standing} records stand there, not {len(payload.leaders)}"
        raise TransactionRejected(TransactionReason.STALE_SNAPSHOT, detail)
    is_first = not known.scales and standing >= engine.ENCODER_RECORDS
    is_passed_over = not known.scales and payload.end - payload.first == MOST_POSITIONS and not is_first
    if bool(payload.scales) != is_first or not (known.scales or is_first or is_passed_over):
        detail = f"the first grouping has scales and at least {engine.ENCODER_RECORDS} records, no later one has scales"
        raise TransactionRejected(TransactionReason.BAD_PAYLOAD, detail)
    most = min(count, payload.first + MOST_POSITIONS)
    if payload.end < most and standing < LEAST_RECORDS:
        detail = f"{standing} records up to position {payload.end}: at least {LEAST_RECORDS}, or all up to {most}"
        raise TransactionRejected(TransactionReason.BAD_PAYLOAD, detail)
    return engine.work(known.places, standing, len(datanet.columns))


def verify_group(state: Reader, _context: Context, payload: Group, resources: Resources) -> None:
    """Recomputes the grouping. Raises: TransactionRejected FALSE_CLAIM; Pending."""
    records = standing_records(state, payload.datanet, payload.first, payload.end)
    basis = load_basis(state, payload.datanet, resources)
    if not payload.leaders or not (basis.scales or payload.scales):
        # All were erased, or so many that the rest fixes no scales: these are like nobody.
        if payload.leaders != records:
            raise TransactionRejected(TransactionReason.FALSE_CLAIM, "without scales every record leads itself")
        return
    try:
        result = resources.result(group_request(basis, records))
    except AttributionError as error:
        raise TransactionRejected(TransactionReason.CLAIM_UNCOMPUTABLE, str(error)) from error
    computed = group_claim(basis, payload.datanet, payload.first, payload.end, records, result)
    if payload.scales != computed.scales:
        raise TransactionRejected(TransactionReason.FALSE_CLAIM, "the records have other scales")
    for record, claimed, true in zip(records, payload.leaders, computed.leaders, strict=True):
        if claimed != true:
            detail = f"record {record.hex()} follows {true.hex()}, not {claimed.hex()}"
            raise TransactionRejected(TransactionReason.FALSE_CLAIM, detail)


def apply_group(state: State, context: Context, payload: Group) -> None:
    """Marks the records with their leaders."""
    datanet = DATANETS.need(state, payload.datanet)
    known = CLUSTERS.get(state, payload.datanet) or NONE
    records = standing_records(state, payload.datanet, payload.first, payload.end)
    if (payload.first, payload.changes, len(records)) != (datanet.grouped_count, known.changes, len(payload.leaders)):
        raise TransactionRejected(TransactionReason.STALE_SNAPSHOT, "another transaction came first")
    places = known.places
    for content, leader in zip(records, payload.leaders, strict=True):
        key = datanet.schema_id + content
        RECORDS.put(state, key, replace(RECORDS.need(state, key), leader=leader))
        if leader == content:
            CLUSTER.put(state, position_key(payload.datanet, places), Cluster(leader=leader, compared=leader, heirs=()))
            CLUSTER_PLACES.put(state, payload.datanet + leader, ClusterPlace(place=places))
            places += 1
        else:
            _add_heir(state, payload.datanet, leader, content)
    history = sha256(known.history + encode(payload) + b"".join(records))
    changed = Clusters(
        scales=known.scales or payload.scales,
        places=places,
        changes=known.changes + places - known.places,
        history=history,
        grouped_history=history,
    )
    CLUSTERS.put(state, payload.datanet, changed)
    DATANETS.put(state, payload.datanet, replace(datanet, grouped_count=payload.end))
    context.emit(
        Grouped(
            datanet=payload.datanet,
            first=payload.first,
            end=payload.end,
            record_count=len(records),
            new_count=places - known.places,
        )
    )


def leave_cluster(state: State, datanet_id: bytes, content: bytes, leader: bytes) -> None:
    """A record is erased: if it is compared with on behalf of its cluster, its first heir follows it."""
    found = CLUSTER_PLACES.get(state, datanet_id + leader)
    if found is None:
        return
    key = position_key(datanet_id, found.place)
    cluster = CLUSTER.get(state, key)
    if cluster is None:
        return
    if content != cluster.compared:
        CLUSTER.put(state, key, replace(cluster, heirs=tuple(each for each in cluster.heirs if each != content)))
        return
    heir = cluster.heirs[0] if cluster.heirs else ZERO_HASH
    if cluster.heirs:
        CLUSTER.put(state, key, replace(cluster, compared=heir, heirs=cluster.heirs[1:]))
    else:
        CLUSTER.delete(state, key)
    known = CLUSTERS.need(state, datanet_id)
    history = sha256(known.history + content + heir)
    CLUSTERS.put(state, datanet_id, replace(known, changes=known.changes + 1, history=history))


def _add_heir(state: State, datanet_id: bytes, leader: bytes, content: bytes) -> None:
    key = position_key(datanet_id, CLUSTER_PLACES.need(state, datanet_id + leader).place)
    cluster = CLUSTER.need(state, key)
    if len(cluster.heirs) < MOST_HEIRS:
        CLUSTER.put(state, key, replace(cluster, heirs=(*cluster.heirs, content)))


def _is_due(state: Reader, datanet_id: bytes, datanet: Datanet, count: int) -> bool:
    if len(datanet.columns) < MINIMUM_FEATURES:
        return False
    if CLUSTERS.get(state, datanet_id) is not None or count - datanet.erased_count >= engine.ENCODER_RECORDS:
        return True
    # What was erased may have come after these: whoever takes late records back must not put the grouping off.
    places = (position_key(datanet_id, each) for each in range(count))
    standing = (place for place in places if RECORDS_AT.get(state, place) is not None)
    return len(tuple(islice(standing, engine.ENCODER_RECORDS))) == engine.ENCODER_RECORDS
