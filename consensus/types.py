"""What validators say to each other: statements, votes, certificates, proposals; and who they are.

A `range` in an annotation bounds an int's value and anything else's length; the host's codec enforces it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

MOST_VALIDATORS = 100
"""Validators in a set."""
LARGEST_TOTAL_POWER = 10_000
"""Voting power of a whole set."""

BlockId = Annotated[bytes, range(32, 33)]
"""A block, opaque to consensus."""
ValidatorId = Annotated[bytes, range(20, 21)]
"""Who votes."""
Epoch = Annotated[int, range(1, 2**48)]
"""A run of heights under one validator set."""
View = Annotated[int, range(2**48)]
"""An attempt at a block; counted from 1 in each epoch, 0 is the epoch's first parent."""

NO_BLOCK = bytes(32)
"""The block id of a statement that is about no block."""


class VoteKind(IntEnum):
    """The three things a validator says."""

    NOTARIZE = 1
    """This block is valid in this view."""
    NULLIFY = 2
    """Skip this view."""
    FINALIZE = 3
    """I saw this block notarized and never asked to skip its view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What one vote says and one certificate proves."""

    kind: VoteKind
    """Which of the three."""
    epoch: Epoch
    """The epoch it belongs to."""
    view: Annotated[int, range(1, 2**48)]
    """The view it belongs to."""
    block_id: BlockId
    """The block; NO_BLOCK when kind is NULLIFY."""

    def __post_init__(self) -> None:
        """Raises: ValueError when a nullify names a block."""
        if self.kind is VoteKind.NULLIFY and self.block_id != NO_BLOCK:
            raise ValueError("a nullify names no block")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A statement signed by one validator; the host has verified the signature."""

    statement: Statement
    """What is said."""
    validator: ValidatorId
    """Who says it."""
    signature: Annotated[bytes, range(64, 65)]
    """Opaque to consensus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteSignature:
    """One validator's signature inside a certificate."""

    validator: ValidatorId
    """Who signed."""
    signature: Annotated[bytes, range(64, 65)]
    """Opaque to consensus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A statement signed by a quorum of distinct validators, sorted by id."""

    statement: Statement
    """What is proven."""
    signatures: Annotated[tuple[VoteSignature, ...], range(1, MOST_VALIDATORS + 1)]
    """Who signed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A leader's block as consensus sees it; the leader's notarize vote comes with it.

    Rule 12: a proposal whose parent is the block itself re-proposes the last block of the epoch.
    """

    vote: Vote
    """The leader's own notarize of the block: epoch, view and block id stand there."""
    parent_id: BlockId
    """The block it extends."""
    parent_view: View
    """The view in which that block was certified; 0 is the epoch's first parent."""

    @property
    def view(self) -> int:
        """The view it is proposed in."""
        return self.vote.statement.view

    @property
    def block_id(self) -> bytes:
        """The block proposed."""
        return self.vote.statement.block_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Validator:
    """A member of a validator set."""

    id: ValidatorId
    """Who it is."""
    power: Annotated[int, range(1, LARGEST_TOTAL_POWER + 1)]
    """Its voting power."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorSet:
    """Who votes in an epoch, sorted by id."""

    validators: Annotated[tuple[Validator, ...], range(1, MOST_VALIDATORS + 1)]
    """The members."""

    def __post_init__(self) -> None:
        """Raises: ValueError when members are unsorted, double, or too powerful together."""
        ids = [validator.id for validator in self.validators]
        if ids != sorted(set(ids)):
            raise ValueError("validators are distinct and sorted by id")
        if sum(validator.power for validator in self.validators) > LARGEST_TOTAL_POWER:
            raise ValueError(f"total voting power is at most {LARGEST_TOTAL_POWER}")
