"""Datanets: who may review, what a record looks like, which records stand in it, in which order they came."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, ClassVar

from attribution.errors import AttributionError
from attribution.head.request import MAXIMUM_DAMPING, MINIMUM_DAMPING
from attribution.record import MAXIMUM_CLASSES, MAXIMUM_COLUMNS, Column, TabularSchema, validate_record
from node.errors import TransactionReason, TransactionRejected
from node.modules.accounts import credit, debit, require_role
from node.modules.contents import add_use, drop_use, require_content
from node.modules.context import BlobRef, Context, Resources, State
from node.modules.supply import burn_bond
from node.primitives.amount import Amount
from node.primitives.crypto import Address, Hash
from node.state.table import Reader, Table
from node.storage.schema import Prefix
from node.types.genesis import Role
from node.types.transaction import Height
from node.types.validator import Name

MOST_REVIEWERS = 16
MOST_DAMPINGS = 4
MOST_RECORDS_PER_CONTRIBUTION = 1_024
MOST_MODELS = 256
"""Models of a datanet that are not retired."""
LARGEST_COLUMN_VALUE = 2**40 + 1

Position = Annotated[int, range(2**32)]
"""A record's place among a datanet's accepted ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSpec:
    """One number of a record: fixed-point, inside bounds."""

    name: Name
    """What it measures."""
    decimals: Annotated[int, range(13)]
    """A value is the number times 10^decimals."""
    minimum: Annotated[int, range(-LARGEST_COLUMN_VALUE + 1, LARGEST_COLUMN_VALUE)]
    """Smallest value."""
    maximum: Annotated[int, range(-LARGEST_COLUMN_VALUE + 1, LARGEST_COLUMN_VALUE)]
    """Largest value."""


Columns = Annotated[tuple[ColumnSpec, ...], range(1, MAXIMUM_COLUMNS + 1)]
Classes = Annotated[tuple[Name, ...], range(2, MAXIMUM_CLASSES + 1)]
Reviewers = Annotated[tuple[Address, ...], range(1, MOST_REVIEWERS + 1)]
Damping = Annotated[int, range(MINIMUM_DAMPING, MAXIMUM_DAMPING + 1)]
"""λ in units of 2^-20."""
Dampings = Annotated[tuple[Damping, ...], range(1, MOST_DAMPINGS + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Datanet:
    """A collection of records of one form, with its reviewers."""

    name: Name
    """What people call it."""
    licence: Name
    """Under which terms its records are used."""
    owner: Address
    """Who created it."""
    columns: Columns
    """The form of a record."""
    classes: Classes
    """The names of the labels."""
    schema_id: Hash
    """The form's identity: datanets of one form share their records' seniority."""
    dampings: Dampings
    """The regularisations a model may be trained with: a model's owner does not choose freely."""
    reviewers: Reviewers
    """Who accepts records."""
    review_quorum: Annotated[int, range(1, MOST_REVIEWERS + 1)]
    """How many must agree."""
    created_height: Height
    """When."""
    accepted_count: Position
    """Records accepted so far, erased ones included."""
    boundary_epoch: Annotated[int, range(2**48)]
    """The epoch in which `boundary_count` was the count at the start."""
    boundary_count: Position
    """Records accepted before that epoch."""
    grouped_count: Position
    """Positions whose records are grouped."""
    erased_count: Position
    """Accepted records that were erased."""
    models: Annotated[tuple[Hash, ...], range(MOST_MODELS + 1)]
    """Models that are not retired."""

    def snapshot_count(self, epoch: int) -> int:
        """How many records stood at the last epoch boundary before a block of `epoch`."""
        return self.boundary_count if self.boundary_epoch == epoch else self.accepted_count


class RecordStatus(IntEnum):
    """Where a record stands."""

    PENDING = 0
    ACCEPTED = 1
    REJECTED = 2
    ERASED = 3
    HOLDOUT = 4
    """A revealed holdout point: never a record."""
    REVOKED = 5
    """Challenged with success: it stands where it stood, and earns nothing any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One contributed record; its content is a blob."""

    datanet: Hash
    """Where it was contributed."""
    contributor: Address
    """Who is paid."""
    contribution: Hash
    """The transaction it came in."""
    height: Height
    """Seniority: when it was admitted."""
    transaction_index: Annotated[int, range(2**16)]
    """Seniority within the block."""
    index: Annotated[int, range(2**16)]
    """Seniority within the transaction."""
    status: RecordStatus
    """Where it stands."""
    position: Position
    """Its place among the datanet's accepted records, once it is one."""
    leader: Hash
    """Content hash of its cluster's leader: the first of these near-copies that was grouped; its own otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordAt:
    """The record at a position."""

    content: Hash
    """Its content hash."""


class ContributionStatus(IntEnum):
    """What the reviewers said."""

    PENDING = 0
    ACCEPTED = 1
    REJECTED = 2


class RejectionReason(IntEnum):
    """Why a reviewer rejects."""

    NONE = 0
    WRONG_LABELS = 1
    NOT_GENUINE = 2
    NO_LICENCE = 3
    PERSONAL_DATA = 4
    OTHER = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """Records that came together and are judged together."""

    datanet: Hash
    """Where."""
    contributor: Address
    """By whom."""
    records: Annotated[tuple[Hash, ...], range(MOST_RECORDS_PER_CONTRIBUTION + 1)]
    """Content hashes of the records under review, duplicates left out."""
    record_bond_units: Amount
    """What is locked for each."""
    bonded_count: Annotated[int, range(2**16)]
    """For how many records it is locked still."""
    status: ContributionStatus
    """What the reviewers said."""
    accepted_by: Annotated[tuple[Address, ...], range(MOST_REVIEWERS + 1)]
    """Reviewers in favour."""
    rejected_by: Annotated[tuple[Address, ...], range(MOST_REVIEWERS + 1)]
    """Reviewers against."""


class PartyRole(IntEnum):
    """What an account is to a datanet, besides being its reviewer."""

    CONTRIBUTOR = 1
    MODEL_OWNER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """An account's part in a datanet: owner, contributors and reviewers of one model are distinct accounts."""

    role: PartyRole
    """Which part."""


DATANETS = Table(Prefix.DATANET, Datanet)
"""By id: the transaction that created it."""
RECORDS = Table(Prefix.RECORD, Record)
"""By schema id and content hash: seniority is global per schema."""
RECORDS_AT = Table(Prefix.RECORD_AT, RecordAt)
"""By datanet and position."""
CONTRIBUTIONS = Table(Prefix.CONTRIBUTION, Contribution)
"""By id: the transaction that made it."""
PARTIES = Table(Prefix.PARTY, Party)
"""By datanet and account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateDatanet:
    """Opens a datanet."""

    name: Name
    """What people call it."""
    licence: Name
    """Under which terms its records are used."""
    columns: Columns
    """The form of a record."""
    classes: Classes
    """The names of the labels."""
    dampings: Dampings
    """The regularisations a model may be trained with."""
    reviewers: Reviewers
    """Who accepts records; each has the role."""
    review_quorum: Annotated[int, range(1, MOST_REVIEWERS + 1)]
    """How many must agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribute:
    """Offers records; a bond is locked for each."""

    datanet: Hash
    """Where."""
    records: Annotated[tuple[BlobRef, ...], range(1, MOST_RECORDS_PER_CONTRIBUTION + 1)]
    """The records' contents, uploaded before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A reviewer accepts or rejects a contribution."""

    contribution: Hash
    """Which."""
    is_accepted: bool
    """The verdict."""
    reason: RejectionReason
    """Why it is rejected; NONE when it is accepted."""

    def __post_init__(self) -> None:
        """Raises: ValueError when the reason does not fit the verdict."""
        if self.is_accepted != (self.reason is RejectionReason.NONE):
            raise ValueError("a rejection has a reason, an acceptance has none")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatanetCreated:
    """A datanet is open."""

    NAME: ClassVar[str] = "datanet_created"

    datanet: Hash
    """Its id."""
    owner: Address
    """Who created it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributed:
    """Records were offered."""

    NAME: ClassVar[str] = "contributed"

    contribution: Hash
    """Its id."""
    datanet: Hash
    """Where."""
    contributor: Address
    """By whom."""
    record_count: Annotated[int, range(2**16)]
    """Records under review now."""
    duplicate_count: Annotated[int, range(2**16)]
    """Records that stood somewhere already."""
    burned_units: Amount
    """Half the duplicates' bonds."""
    bond_units: Amount
    """What is locked for the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateRejected:
    """A record stood somewhere already."""

    NAME: ClassVar[str] = "duplicate_rejected"

    contribution: Hash
    """What it came in."""
    content: Hash
    """The record."""
    elder: Hash
    """The contribution it stood in; the contribution itself when it named the record twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """A reviewer spoke."""

    NAME: ClassVar[str] = "reviewed"

    contribution: Hash
    """Which contribution."""
    contributor: Address
    """Whose."""
    reviewer: Address
    """Who spoke."""
    is_accepted: bool
    """The verdict."""
    reason: RejectionReason
    """Why it was rejected, if it was."""
    status: ContributionStatus
    """Where the contribution stands now."""
    burned_units: Amount
    """Half the bond, if it was rejected."""


def schema_of(datanet: Datanet) -> TabularSchema:
    """The form of a datanet's records, as the attribution engine knows it."""
    return _schema(datanet.columns, len(datanet.classes))


def position_key(datanet_id: bytes, position: int) -> bytes:
    """The key of a position."""
    return datanet_id + position.to_bytes(4, "big")


def snapshot_contents(state: Reader, datanet_id: bytes, count: int) -> tuple[tuple[int, bytes], ...]:
    """Position and content hash of each record that stands among a datanet's first `count`, in order."""
    found = []
    for position in range(count):
        entry = RECORDS_AT.get(state, position_key(datanet_id, position))
        if entry is not None:
            found.append((position, entry.content))
    return tuple(found)


def require_reviewer(datanet: Datanet, address: bytes) -> None:
    """Raises: TransactionRejected NOT_REVIEWER."""
    if address not in datanet.reviewers:
        raise TransactionRejected(TransactionReason.NOT_REVIEWER)


def become_party(state: State, datanet_id: bytes, datanet: Datanet, address: bytes, role: PartyRole) -> None:
    """Takes a part in a datanet. Raises: TransactionRejected CONFLICT_OF_INTEREST when it has another one."""
    if address in datanet.reviewers:
        raise TransactionRejected(TransactionReason.CONFLICT_OF_INTEREST, "the account reviews this datanet")
    party = PARTIES.get(state, datanet_id + address)
    if party is not None and party.role is not role:
        part = party.role.name.lower().replace("_", " ")
        raise TransactionRejected(TransactionReason.CONFLICT_OF_INTEREST, f"the account is a {part} here")
    if party is None:
        PARTIES.put(state, datanet_id + address, Party(role=role))


def apply_create_datanet(state: State, context: Context, payload: CreateDatanet) -> None:
    """Opens a datanet under the transaction's id."""
    require_role(state, context.sender, Role.CURATOR)
    for reviewer in payload.reviewers:
        require_role(state, reviewer, Role.REVIEWER)
    datanet = Datanet(
        name=payload.name,
        licence=payload.licence,
        owner=context.sender,
        columns=payload.columns,
        classes=payload.classes,
        schema_id=_schema_id(payload),
        dampings=payload.dampings,
        reviewers=payload.reviewers,
        review_quorum=payload.review_quorum,
        created_height=context.block.height,
        accepted_count=0,
        boundary_epoch=0,
        boundary_count=0,
        grouped_count=0,
        erased_count=0,
        models=(),
    )
    _validate_datanet(context, datanet)
    DATANETS.put(state, context.transaction_id, datanet)
    context.emit(DatanetCreated(datanet=context.transaction_id, owner=context.sender))


def meter_contribute(state: Reader, context: Context, payload: Contribute) -> int:
    """A contribution is checked against its datanet's form, so the datanet must be old enough to be everywhere."""
    if len(payload.records) > context.parameters.contribution_records:
        raise TransactionRejected(
            TransactionReason.BAD_PAYLOAD, f"at most {context.parameters.contribution_records} records at a time"
        )
    datanet = DATANETS.need(state, payload.datanet)
    require_age(context, datanet.created_height)
    return 0


def verify_contribute(state: Reader, _context: Context, payload: Contribute, resources: Resources) -> None:
    """Every record has its datanet's form. Raises: TransactionRejected BAD_CONTENT; Pending."""
    verify_records(DATANETS.need(state, payload.datanet), payload.records, resources)


def verify_records(datanet: Datanet, records: tuple[BlobRef, ...], resources: Resources) -> None:
    """Every blob is a record of the datanet's form. Raises: TransactionRejected BAD_CONTENT; Pending."""
    schema = schema_of(datanet)
    for index, record in enumerate(records):
        content = resources.blob(record.hash)
        try:
            validate_record(schema, content)
        except AttributionError as error:
            raise TransactionRejected(TransactionReason.BAD_CONTENT, f"record {index}: {error}") from error


def apply_contribute(state: State, context: Context, payload: Contribute) -> None:
    """Locks bonds; duplicates lose half of theirs at once, the others wait for the reviewers."""
    require_role(state, context.sender, Role.CONTRIBUTOR)
    datanet = DATANETS.need(state, payload.datanet)
    become_party(state, payload.datanet, datanet, context.sender, PartyRole.CONTRIBUTOR)
    bond_units = context.parameters.record_bond_units
    debit(state, context.sender, bond_units * len(payload.records))
    fresh: list[bytes] = []
    for index, reference in enumerate(payload.records):
        require_content(state, reference.hash)
        known = RECORDS.get(state, datanet.schema_id + reference.hash)
        if known is not None and known.status is not RecordStatus.REJECTED:
            context.emit(
                DuplicateRejected(contribution=context.transaction_id, content=reference.hash, elder=known.contribution)
            )
            continue
        record = Record(
            datanet=payload.datanet,
            contributor=context.sender,
            contribution=context.transaction_id,
            height=context.block.height,
            transaction_index=context.transaction_index,
            index=index,
            status=RecordStatus.PENDING,
            position=0,
            leader=reference.hash,
        )
        RECORDS.put(state, datanet.schema_id + reference.hash, record)
        add_use(state, reference.hash)
        fresh.append(reference.hash)
    duplicates = len(payload.records) - len(fresh)
    burned_units = burn_half(state, context.sender, bond_units * duplicates)
    contribution = Contribution(
        datanet=payload.datanet,
        contributor=context.sender,
        records=tuple(fresh),
        record_bond_units=bond_units,
        bonded_count=len(fresh),
        status=ContributionStatus.PENDING if fresh else ContributionStatus.REJECTED,
        accepted_by=(),
        rejected_by=(),
    )
    CONTRIBUTIONS.put(state, context.transaction_id, contribution)
    context.emit(
        Contributed(
            contribution=context.transaction_id,
            datanet=payload.datanet,
            contributor=context.sender,
            record_count=len(fresh),
            duplicate_count=duplicates,
            burned_units=burned_units,
            bond_units=bond_units * len(fresh),
        )
    )


def apply_review(state: State, context: Context, payload: Review) -> None:
    """Counts a reviewer's verdict; a quorum decides, and so does a minority that makes the quorum impossible."""
    contribution = CONTRIBUTIONS.need(state, payload.contribution)
    datanet = DATANETS.need(state, contribution.datanet)
    require_reviewer(datanet, context.sender)
    if contribution.status is not ContributionStatus.PENDING:
        status = contribution.status.name.lower()
        raise TransactionRejected(TransactionReason.WRONG_STATUS, f"the contribution is {status}")
    if context.sender in contribution.accepted_by + contribution.rejected_by:
        raise TransactionRejected(TransactionReason.ALREADY_DONE, "one verdict each")
    if payload.is_accepted:
        contribution = replace(contribution, accepted_by=(*contribution.accepted_by, context.sender))
    else:
        contribution = replace(contribution, rejected_by=(*contribution.rejected_by, context.sender))
    burned_units = 0
    if len(contribution.accepted_by) >= datanet.review_quorum:
        contribution = replace(contribution, status=ContributionStatus.ACCEPTED)
        _accept_records(state, context, contribution)
    elif len(contribution.rejected_by) > len(datanet.reviewers) - datanet.review_quorum:
        bond_units = contribution.record_bond_units * contribution.bonded_count
        burned_units = burn_half(state, contribution.contributor, bond_units)
        contribution = replace(contribution, status=ContributionStatus.REJECTED, bonded_count=0)
        _reject_records(state, datanet, contribution)
    CONTRIBUTIONS.put(state, payload.contribution, contribution)
    context.emit(
        Reviewed(
            contribution=payload.contribution,
            contributor=contribution.contributor,
            reviewer=context.sender,
            is_accepted=payload.is_accepted,
            reason=payload.reason,
            status=contribution.status,
            burned_units=burned_units,
        )
    )


def burn_half(state: State, owner: bytes, bond_units: int) -> int:
    """Burns half a locked bond and gives the rest back. Returns what was burned."""
    burned_units = bond_units - bond_units // 2
    if bond_units:
        burn_bond(state, burned_units)
        credit(state, owner, bond_units - burned_units)
    return burned_units


def require_age(context: Context, height: int) -> None:
    """Raises: TransactionRejected TOO_YOUNG when an object of a height may not be computed with yet."""
    first_height = height + context.parameters.claim_age_heights
    if context.block.height < first_height:
        raise TransactionRejected(TransactionReason.TOO_YOUNG, f"from height {first_height} on")


def _schema_id(payload: CreateDatanet) -> bytes:
    try:
        return _schema(payload.columns, len(payload.classes)).id()
    except AttributionError as error:
        raise TransactionRejected(TransactionReason.NOT_ADMISSIBLE, str(error)) from error


def _schema(columns: tuple[ColumnSpec, ...], classes: int) -> TabularSchema:
    of_engine = tuple(
        Column(name=each.name, decimals=each.decimals, minimum=each.minimum, maximum=each.maximum) for each in columns
    )
    return TabularSchema(columns=of_engine, classes=classes)


def _validate_datanet(context: Context, datanet: Datanet) -> None:
    problems = {
        "reviewers are distinct": len(set(datanet.reviewers)) < len(datanet.reviewers),
        "the reviewers can make the quorum": datanet.review_quorum > len(datanet.reviewers),
        "dampings are distinct and sorted": list(datanet.dampings) != sorted(set(datanet.dampings)),
        "class names are distinct": len(set(datanet.classes)) < len(datanet.classes),
        f"(columns + 1) x classes is at most {context.parameters.model_unknowns}": (
            schema_of(datanet).unknowns > context.parameters.model_unknowns
        ),
    }
    for rule, is_broken in problems.items():
        if is_broken:
            raise TransactionRejected(TransactionReason.NOT_ADMISSIBLE, rule)


def _accept_records(state: State, context: Context, contribution: Contribution) -> None:
    datanet = DATANETS.need(state, contribution.datanet)
    if datanet.boundary_epoch != context.block.epoch:
        datanet = replace(datanet, boundary_epoch=context.block.epoch, boundary_count=datanet.accepted_count)
    position = datanet.accepted_count
    for content in contribution.records:
        key = datanet.schema_id + content
        record = RECORDS.need(state, key)
        if record.status is not RecordStatus.PENDING:  # erased while under review
            continue
        RECORDS.put(state, key, replace(record, status=RecordStatus.ACCEPTED, position=position))
        RECORDS_AT.put(state, position_key(contribution.datanet, position), RecordAt(content=content))
        position += 1
    DATANETS.put(state, contribution.datanet, replace(datanet, accepted_count=position))


def _reject_records(state: State, datanet: Datanet, contribution: Contribution) -> None:
    for content in contribution.records:
        key = datanet.schema_id + content
        record = RECORDS.need(state, key)
        if record.status is RecordStatus.PENDING:
            RECORDS.put(state, key, replace(record, status=RecordStatus.REJECTED))
            drop_use(state, content)
