"""Challenges: somebody doubts an accepted record, its datanet's reviewers rule, and one of the two loses a bond.

An upheld challenge takes the record's bond and what has not vested of its earnings, and it earns nothing any more; a
rejected one costs the challenger's bond. Half of a bond that is lost is burned, the other half goes to the winner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, ClassVar

from node.errors import TransactionReason, TransactionRejected
from node.modules.accounts import credit, debit
from node.modules.context import Context, State
from node.modules.datanets import (
    CONTRIBUTIONS,
    DATANETS,
    MOST_REVIEWERS,
    RECORDS,
    Record,
    RecordStatus,
    RejectionReason,
    burn_half,
    require_reviewer,
)
from node.modules.escrow import add_to_escrow
from node.modules.vesting import forfeit
from node.primitives.amount import Amount
from node.primitives.crypto import Address, Hash
from node.state.table import Table
from node.storage.schema import Prefix
from node.types.transaction import Height


class ChallengeStatus(IntEnum):
    """What became of a challenge."""

    OPEN = 0
    UPHELD = 1
    REJECTED = 2
    VOID = 3
    """The record was erased meanwhile, or nobody ruled in time: the challenger has its bond back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """Somebody's doubt about a record; a record has one at a time."""

    datanet: Hash
    """Where the record stands."""
    challenger: Address
    """Who doubts."""
    reason: RejectionReason
    """Why."""
    bond_units: Amount
    """What the challenger loses when it is rejected."""
    height: Height
    """Since when."""
    status: ChallengeStatus
    """What became of it."""
    upheld_by: Annotated[tuple[Address, ...], range(MOST_REVIEWERS + 1)]
    """Reviewers for the challenger."""
    rejected_by: Annotated[tuple[Address, ...], range(MOST_REVIEWERS + 1)]
    """Reviewers for the contributor."""

    @property
    def held_units(self) -> int:
        """What is held for it."""
        return self.bond_units if self.status is ChallengeStatus.OPEN else 0


CHALLENGES = Table(Prefix.CHALLENGE, Challenge)
"""By schema id and content hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeRecord:
    """Doubts a record; a bond as large as the record's is locked."""

    datanet: Hash
    """Where it stands."""
    record: Hash
    """Its content hash."""
    reason: RejectionReason
    """Why it should never have been accepted."""

    def __post_init__(self) -> None:
        """Raises: ValueError without a reason."""
        if self.reason is RejectionReason.NONE:
            raise ValueError("a challenge has a reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOnChallenge:
    """A reviewer rules on a challenge."""

    datanet: Hash
    """Where the record stands."""
    record: Hash
    """Its content hash."""
    is_upheld: bool
    """Whether the challenger is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeChanged:
    """A record was challenged, or its reviewers ruled."""

    NAME: ClassVar[str] = "challenge_changed"

    datanet: Hash
    """Where the record stands."""
    record: Hash
    """Its content hash."""
    challenger: Address
    """Who doubts."""
    contributor: Address
    """Whose record it is."""
    status: ChallengeStatus
    """Where the challenge stands."""
    burned_units: Amount
    """Half the loser's bond."""
    forfeited_units: Amount
    """What had not vested: it goes to the datanet's escrow."""


def require_unchallenged(state: State, context: Context, content: bytes, record: Record, key: bytes) -> None:
    """A challenge that nobody ruled on in time is void from here on.

    Raises: TransactionRejected WRONG_STATUS while a challenge is open.
    """
    challenge = CHALLENGES.get(state, key)
    if challenge is not None and challenge.status is ChallengeStatus.OPEN:
        due_height = challenge.height + context.parameters.challenge_timeout_heights
        if context.block.height < due_height:
            detail = f"the record is challenged, until height {due_height} at most"
            raise TransactionRejected(TransactionReason.WRONG_STATUS, detail)
        void_challenge(state, context, content, record, key)


def apply_challenge_record(state: State, context: Context, payload: ChallengeRecord) -> None:
    """Locks the challenger's bond."""
    datanet = DATANETS.need(state, payload.datanet)
    key = datanet.schema_id + payload.record
    record = _standing(state, key, payload.datanet)
    require_unchallenged(state, context, payload.record, record, key)
    if context.sender == record.contributor or context.sender in datanet.reviewers:
        detail = "neither the contributor nor a reviewer challenges a record"
        raise TransactionRejected(TransactionReason.CONFLICT_OF_INTEREST, detail)
    bond_units = context.parameters.record_bond_units
    debit(state, context.sender, bond_units)
    challenge = Challenge(
        datanet=payload.datanet,
        challenger=context.sender,
        reason=payload.reason,
        bond_units=bond_units,
        height=context.block.height,
        status=ChallengeStatus.OPEN,
        upheld_by=(),
        rejected_by=(),
    )
    _store(state, context, payload.record, record, key, challenge)


def apply_rule_on_challenge(state: State, context: Context, payload: RuleOnChallenge) -> None:
    """Counts a reviewer's ruling; a quorum upholds, and a minority that makes the quorum impossible rejects."""
    datanet = DATANETS.need(state, payload.datanet)
    require_reviewer(datanet, context.sender)
    key = datanet.schema_id + payload.record
    challenge, record = CHALLENGES.need(state, key), RECORDS.need(state, key)
    if challenge.status is not ChallengeStatus.OPEN or challenge.datanet != payload.datanet:
        raise TransactionRejected(TransactionReason.WRONG_STATUS, f"the challenge is {challenge.status.name.lower()}")
    if context.sender in challenge.upheld_by + challenge.rejected_by:
        raise TransactionRejected(TransactionReason.ALREADY_DONE, "one ruling each")
    if payload.is_upheld:
        challenge = replace(challenge, upheld_by=(*challenge.upheld_by, context.sender))
    else:
        challenge = replace(challenge, rejected_by=(*challenge.rejected_by, context.sender))
    burned_units = forfeited_units = 0
    if len(challenge.upheld_by) >= datanet.review_quorum:
        challenge = replace(challenge, status=ChallengeStatus.UPHELD)
        forfeited_units = forfeit(state, context, key)
        add_to_escrow(state, payload.datanet, forfeited_units)
        burned_units = _take_bond(state, record, challenge.challenger)
        credit(state, challenge.challenger, challenge.bond_units)
        RECORDS.put(state, key, replace(record, status=RecordStatus.REVOKED))
    elif len(challenge.rejected_by) > len(datanet.reviewers) - datanet.review_quorum:
        challenge = replace(challenge, status=ChallengeStatus.REJECTED)
        burned_units = burn_half(state, record.contributor, challenge.bond_units)
    _store(state, context, payload.record, record, key, challenge, burned_units, forfeited_units)


def void_challenge(state: State, context: Context, content: bytes, record: Record, key: bytes) -> None:
    """Nobody is to rule on it any more: an open challenge binds nobody, and the challenger has its bond back."""
    challenge = CHALLENGES.get(state, key)
    if challenge is not None and challenge.status is ChallengeStatus.OPEN:
        credit(state, challenge.challenger, challenge.bond_units)
        _store(state, context, content, record, key, replace(challenge, status=ChallengeStatus.VOID))


def _take_bond(state: State, record: Record, winner: bytes) -> int:
    contribution = CONTRIBUTIONS.need(state, record.contribution)
    if contribution.bonded_count == 0:
        return 0
    CONTRIBUTIONS.put(state, record.contribution, replace(contribution, bonded_count=contribution.bonded_count - 1))
    return burn_half(state, winner, contribution.record_bond_units)


def _standing(state: State, key: bytes, datanet_id: bytes) -> Record:
    record = RECORDS.need(state, key)
    if record.datanet != datanet_id:
        raise TransactionRejected(TransactionReason.NOT_FOUND, "the record stands in another datanet")
    if record.status is not RecordStatus.ACCEPTED:
        raise TransactionRejected(TransactionReason.WRONG_STATUS, f"the record is {record.status.name.lower()}")
    return record


def _store(
    state: State,
    context: Context,
    content: bytes,
    record: Record,
    key: bytes,
    challenge: Challenge,
    burned_units: int = 0,
    forfeited_units: int = 0,
) -> None:
    CHALLENGES.put(state, key, challenge)
    context.emit(
        ChallengeChanged(
            datanet=challenge.datanet,
            record=content,
            challenger=challenge.challenger,
            contributor=record.contributor,
            status=challenge.status,
            burned_units=burned_units,
            forfeited_units=forfeited_units,
        )
    )
