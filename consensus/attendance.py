"""Which leaders are worth waiting for: rule 1's skipping of the long silent."""

from __future__ import annotations

from collections.abc import Iterable

from consensus.quorum import Quorum

SKIP_AFTER_VIEWS = 5
"""A leader silent in this many views that a quorum voted in is skipped."""


class Attendance:
    """Who voted lately, in views in which this node saw votes from a quorum."""

    __slots__ = ("_last_voted", "_quorum", "_quorum_views")

    def __init__(self, quorum: Quorum) -> None:
        self._quorum = quorum
        self._last_voted: dict[bytes, int] = {}
        self._quorum_views: list[int] = []

    def note(self, view: int, validators: Iterable[bytes], voters: set[bytes]) -> None:
        """Votes of some validators were seen in a view whose voters so far are `voters`."""
        for validator in validators:
            self._last_voted[validator] = max(view, self._last_voted.get(validator, 0))
        if view not in self._quorum_views and self._quorum.is_quorum(voters):
            self._quorum_views = sorted([*self._quorum_views, view])[-SKIP_AFTER_VIEWS:]

    def is_absent(self, validator: bytes) -> bool:
        """Whether a validator gave no vote in the last views that a quorum voted in; any fresh vote clears it."""
        if len(self._quorum_views) < SKIP_AFTER_VIEWS:
            return False
        return self._last_voted.get(validator, -1) < self._quorum_views[0]

    def forget(self) -> None:
        """A partition healed: judge nobody before enough views were seen again."""
        self._quorum_views = []
