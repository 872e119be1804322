"""What is known of one view, and what this validator said in it."""

from __future__ import annotations

from consensus.inputs import Verdict
from consensus.quorum import Quorum
from consensus.types import Certificate, Proposal, Vote, VoteKind
from consensus.votes import VoteTally


class ViewState:
    """One view: the leader's proposal, the votes, the certificates, and our own three booleans."""

    __slots__ = (
        "finalization",
        "is_building",
        "is_judging",
        "notarization",
        "nullification",
        "own",
        "proposal",
        "tally",
        "verdict",
        "view",
        "voters",
    )

    def __init__(self, view: int, quorum: Quorum) -> None:
        self.view = view
        self.proposal: Proposal | None = None
        self.is_building = False
        self.is_judging = False
        self.verdict: Verdict | None = None
        self.own: dict[VoteKind, bytes] = {}
        """What this validator signed here, with the block: the three booleans."""
        self.tally = VoteTally(quorum)
        self.voters: set[bytes] = set()
        """Validators of which any vote, also inside a certificate, was seen here."""
        self.notarization: Certificate | None = None
        self.nullification: Certificate | None = None
        self.finalization: Certificate | None = None

    @property
    def certified_block(self) -> bytes | None:
        """The block that a notarization or finalization certifies in this view."""
        certificate = self.finalization or self.notarization
        return certificate.statement.block_id if certificate is not None else None

    def certificate(self, kind: VoteKind) -> Certificate | None:
        """The certificate of a kind, if known."""
        match kind:
            case VoteKind.NOTARIZE:
                return self.notarization
            case VoteKind.NULLIFY:
                return self.nullification
            case VoteKind.FINALIZE:
                return self.finalization

    def store(self, certificate: Certificate) -> None:
        """Keeps a certificate."""
        match certificate.statement.kind:
            case VoteKind.NOTARIZE:
                self.notarization = certificate
            case VoteKind.NULLIFY:
                self.nullification = certificate
            case VoteKind.FINALIZE:
                self.finalization = certificate
        self.voters.update(entry.validator for entry in certificate.signatures)

    def certificates(self) -> tuple[Certificate, ...]:
        """All certificates known of this view."""
        known = (self.notarization, self.nullification, self.finalization)
        return tuple(certificate for certificate in known if certificate is not None)

    def contradiction(self) -> str | None:
        """What two of this view's certificates say that only a third of Byzantine power can make them say."""
        if self.nullification is not None and self.finalization is not None:
            return f"view {self.view} is both finalised and nullified"
        if self.notarization is None or self.finalization is None:
            return None
        if self.notarization.statement.block_id != self.finalization.statement.block_id:
            return f"view {self.view} finalises another block than it notarizes"
        return None

    def finalizes_of(self, validator: bytes) -> tuple[Vote, ...]:
        """A validator's finalize votes of this view."""
        return tuple(vote for vote in self.tally.votes_of(validator) if vote.statement.kind is VoteKind.FINALIZE)
