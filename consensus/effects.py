"""Everything the state machine asks of its host. Performed strictly in the order given: log, sign, send."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from consensus.evidence import Evidence
from consensus.types import Certificate, Proposal, Statement, Vote


class NullifyReason(Enum):
    """Why a view was given up; a metric."""

    NO_PROPOSAL = "no_proposal"
    """Rule 4a: nothing acceptable came in 2Δ."""
    NO_CERTIFICATE = "no_certificate"
    """Rule 4b: no certificate formed in 3Δ."""
    INVALID_BLOCK = "invalid_block"
    """Rule 4c: the block is wrong by its own content."""
    LEADER_NULLIFIED = "leader_nullified"
    """Rule 4d: the leader itself gave up."""
    LEADER_SKIPPED = "leader_skipped"
    """Rule 1: the leader was silent for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CastVote:
    """Sign a statement, log it (a notarize together with the block's body), sync, send it to all, feed it back."""

    statement: Statement
    """What to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CastProposal:
    """As CastVote, for our own block: sent with the body and the proofs its acceptance needs."""

    statement: Statement
    """Our notarize of the block."""
    parent_id: bytes
    """The block it extends; the block itself when the epoch's last is re-proposed."""
    parent_view: int
    """The view that certified the parent."""
    certificates: tuple[Certificate, ...]
    """The parent's certificate and the nullifications since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCertificate:
    """Log a certificate; no sync needed, it proves itself."""

    certificate: Certificate
    """The certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendCertificates:
    """Send certificates to one peer, or to all."""

    peer: bytes | None
    """Whom; None is everybody."""
    certificates: tuple[Certificate, ...]
    """What."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendVotes:
    """Send votes of our own again, to all."""

    votes: tuple[Vote, ...]
    """What."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildBlock:
    """Build a block; answer with BlockBuilt when the parent is known."""

    epoch: int
    """The epoch it is for."""
    view: int
    """The view it is for."""
    parent_id: bytes
    """What it extends."""
    parent_view: int
    """The view that certified the parent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeBlock:
    """Execute a proposed block; answer with BlockJudged when everything it needs is here."""

    proposal: Proposal
    """The proposal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalizeBlock:
    """A block and all its ancestors are final: deliver them in order.

    When that ends the epoch, the host answers with EpochBegan at once and drops what stands behind this effect in the
    same step: nobody signs in an epoch whose last block is final (rule 12).
    """

    certificate: Certificate
    """The proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchCertificates:
    """Ask a peer for proofs of views (rule 9); rate-limited by the host."""

    from_view: int
    """The first view lacking."""
    to_view: int
    """The view after the last."""
    first_peer: bytes
    """The validator to ask first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskStatus:
    """Ask all validators where they stand (rule 10: our log is gone)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRecovery:
    """Log, with a sync, that our log was lost before: our votes up to this view may be missing from it (rule 10)."""

    epoch: int
    """The epoch."""
    view: int
    """The highest view of it in which nothing is signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeAt:
    """Send a Tick at this time; replaces the one asked for before."""

    at_ms: int
    """When."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportEvidence:
    """A validator equivocated."""

    evidence: Evidence
    """The proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportNullified:
    """This validator gives a view up."""

    view: int
    """Which."""
    reason: NullifyReason
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Stop the node: something happened that must not."""

    why: str
    """The sentence for the operator."""


Effect = (
    CastVote
    | CastProposal
    | StoreCertificate
    | SendCertificates
    | SendVotes
    | BuildBlock
    | JudgeBlock
    | FinalizeBlock
    | FetchCertificates
    | AskStatus
    | StoreRecovery
    | WakeAt
    | ReportEvidence
    | ReportNullified
    | Halt
)
