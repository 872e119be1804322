"""Signs consensus statements, and refuses what would contradict an earlier one, whoever asks.

The state machine never asks for that; this is the second lock on the door. It remembers what the log remembers.
"""

from __future__ import annotations

from consensus.evidence import find_conflict
from consensus.types import Statement, Vote
from node.primitives.crypto import PrivateKey
from node.types.signed import vote_digest

KEPT_VIEWS = 10_000
"""Views remembered; older ones are final, and their epoch's or view's number alone refuses them."""


class Signer:
    """The consensus key of one validator."""

    def __init__(self, key: PrivateKey, genesis_hash: bytes) -> None:
        self._key = key
        self._genesis_hash = genesis_hash
        self._votes: dict[tuple[int, int], list[Vote]] = {}
        self._forgotten = (0, 0)
        """Nothing is signed at or below this (epoch, view) any more."""

    @property
    def id(self) -> bytes:
        """The validator."""
        return self._key.address

    @property
    def public_key(self) -> bytes:
        """What verifies its votes."""
        return self._key.public_key

    def remember(self, vote: Vote) -> None:
        """A vote from the log."""
        position = (vote.statement.epoch, vote.statement.view)
        self._votes.setdefault(position, []).append(vote)
        if len(self._votes) > KEPT_VIEWS:
            for old in sorted(self._votes)[: KEPT_VIEWS // 2]:
                del self._votes[old]
                self._forgotten = old

    def votes_since(self, epoch: int, view: int) -> tuple[Vote, ...]:
        """Every vote signed in a view or a later one."""
        return tuple(
            vote for position in sorted(self._votes) if position >= (epoch, view) for vote in self._votes[position]
        )

    def sign(self, statement: Statement) -> Vote:
        """Our vote for a statement; the same one again for the same statement."""
        position = (statement.epoch, statement.view)
        assert position > self._forgotten, "a statement about a view long gone is never asked for"
        digest = vote_digest(self._genesis_hash, statement)
        vote = Vote(statement=statement, validator=self.id, signature=self._key.sign(digest))
        for earlier in self._votes.get(position, ()):
            if earlier.statement == statement:
                return earlier
            assert find_conflict(earlier, vote) is None, f"refusing to equivocate: {earlier.statement} and {statement}"
        self.remember(vote)
        return vote
