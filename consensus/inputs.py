"""Everything that can happen to the state machine. Signatures in here are verified by the host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from consensus.types import Certificate, Proposal, ValidatorSet, Vote


class Verdict(Enum):
    """What the host's execution says of a proposed block."""

    VALID = "valid"
    """It executes to the roots it claims."""
    INVALID = "invalid"
    """It is wrong by its own content. Never given for a clock, a missing blob or an uncached result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The log is replayed: begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time passed; the host sends it when a WakeAt is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkAvailable:
    """There is something to put into a block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalReceived:
    """A leader's block arrived."""

    proposal: Proposal
    """The block and the leader's vote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteReceived:
    """A vote arrived, or the host signed one of our own."""

    vote: Vote
    """The vote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateReceived:
    """A certificate arrived; the host has checked its quorum too."""

    certificate: Certificate
    """The certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockBuilt:
    """The host answers BuildBlock."""

    epoch: int
    """The epoch it was asked for."""
    view: int
    """The view it was asked for."""
    block_id: bytes
    """The new block; the parent itself when that is the last of its epoch (rule 12)."""
    is_work_left: bool
    """Whether something waits that did not fit in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockJudged:
    """The host answers JudgeBlock, as late as it needs."""

    view: int
    """The view of the proposal."""
    block_id: bytes
    """The block judged."""
    verdict: Verdict
    """What execution says."""
    is_work_left: bool
    """Whether something waits that is not in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificatesRequested:
    """A peer lacks proofs of some views."""

    peer: bytes
    """Who asks; opaque."""
    from_view: int
    """The first view it lacks."""
    to_view: int
    """The view after the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConnected:
    """A peer is reachable (again)."""

    peer: bytes
    """Who; opaque."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReceived:
    """A validator answers AskStatus: the position it stands at."""

    validator: bytes
    """Who answers."""
    epoch: int
    """The epoch it is in."""
    view: int
    """The view it is in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochBegan:
    """The last block of an epoch is final and executed; the next epoch's set is known."""

    epoch: int
    """The new epoch."""
    validators: ValidatorSet
    """Who votes in it."""
    parent_id: bytes
    """The last block of the epoch before."""
    delta_ms: int
    """Δ in the new epoch."""
    empty_block_interval_ms: int
    """How long a leader with nothing to do waits."""
    parent_view: int = 0
    """The view of the epoch before in which its last block was first proposed; 0 when that is not known."""


Input = (
    Start
    | Tick
    | WorkAvailable
    | ProposalReceived
    | VoteReceived
    | CertificateReceived
    | BlockBuilt
    | BlockJudged
    | CertificatesRequested
    | PeerConnected
    | StatusReceived
    | EpochBegan
)
