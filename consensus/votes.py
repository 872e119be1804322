"""The votes of one view, counted by (kind, block, validator)."""

from __future__ import annotations

from consensus.certificate import make_certificate
from consensus.evidence import Evidence, find_conflict
from consensus.quorum import Quorum
from consensus.types import Certificate, Statement, Vote, VoteKind

MOST_BLOCKS_PER_VALIDATOR = 2
"""An equivocator's votes count for two blocks of a kind in a view; more would only cost memory."""


class VoteTally:
    """Votes of one view: at most five per validator, conflicts found as they arrive."""

    __slots__ = ("_by_statement", "_by_validator", "_quorum")

    def __init__(self, quorum: Quorum) -> None:
        self._quorum = quorum
        self._by_statement: dict[Statement, dict[bytes, bytes]] = {}
        self._by_validator: dict[bytes, list[Vote]] = {}

    def add(self, vote: Vote) -> tuple[bool, Evidence | None]:
        """Counts a vote. Returns whether it is new, and the evidence it completes with an earlier one."""
        earlier = self._by_validator.setdefault(vote.validator, [])
        if any(vote.statement == other.statement for other in earlier):
            return False, None
        same_kind = sum(other.statement.kind is vote.statement.kind for other in earlier)
        if same_kind >= MOST_BLOCKS_PER_VALIDATOR:
            return False, None
        evidence = next((found for other in earlier if (found := find_conflict(other, vote)) is not None), None)
        earlier.append(vote)
        self._by_statement.setdefault(vote.statement, {})[vote.validator] = vote.signature
        return True, evidence

    def certificate_for(self, statement: Statement) -> Certificate | None:
        """The certificate of a statement, once its votes hold a quorum."""
        signatures = self._by_statement.get(statement, {})
        return make_certificate(statement, signatures) if self._quorum.is_quorum(signatures) else None

    def voters(self) -> set[bytes]:
        """Validators of which any vote of this view is known."""
        return set(self._by_validator)

    def has_voted(self, validator: bytes, kind: VoteKind) -> bool:
        """Whether a validator's vote of a kind is known."""
        return any(vote.statement.kind is kind for vote in self._by_validator.get(validator, ()))

    def voters_of(self, kind: VoteKind) -> frozenset[bytes]:
        """Validators of which a vote of a kind is known."""
        return frozenset(each for each in self._by_validator if self.has_voted(each, kind))

    def votes_of(self, validator: bytes) -> tuple[Vote, ...]:
        """A validator's votes of this view, in the order they came."""
        return tuple(self._by_validator.get(validator, ()))
