"""The views of one epoch that still matter, and which block a view may extend: rules 2 and 3.

A view may extend the block certified in view p only if every view between is proven skipped by a nullification:
otherwise a final block could be bypassed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from consensus.quorum import Quorum
from consensus.types import Certificate, Proposal, Statement, Vote
from consensus.view import ViewState

KEPT_VIEWS = 32
"""Views kept below the last final one, so that late double votes still become evidence."""
CERTIFICATES_PER_MESSAGE = 32
"""Page size of repair and retransmission."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """The highest final block of the epoch."""

    view: int
    """The view that finalised it; 0 is the epoch's first parent."""
    block_id: bytes
    """The block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A block that may be extended, with the proofs of it."""

    parent_view: int
    """The view that certified it."""
    parent_id: bytes
    """The block."""
    certificates: tuple[Certificate, ...]
    """Its certificate, if it is not the epoch's first parent, and the nullifications since, latest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """A proof is missing: it can be fetched."""

    view: int
    """The view of which a proof is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """The proposal can never become acceptable."""

    why: str
    """What it contradicts."""


class Views:
    """Everything known of an epoch's views, from a little below the last final one upward."""

    def __init__(self, quorum: Quorum, final: Final) -> None:
        self.quorum = quorum
        self.final = final
        self.highest_notarized = final.view
        """The highest view with a certified block."""
        self._states: dict[int, ViewState] = {}

    def at(self, view: int) -> ViewState:
        """What is known of a view; starts to remember it."""
        state = self._states.get(view)
        if state is None:
            state = self._states[view] = ViewState(view, self.quorum)
        return state

    def known(self, view: int) -> ViewState | None:
        """What is known of a view, if anything."""
        return self._states.get(view)

    def store(self, certificate: Certificate) -> None:
        """Keeps a certificate."""
        state = self.at(certificate.statement.view)
        state.store(certificate)
        if state.certified_block is not None:
            self.highest_notarized = max(self.highest_notarized, state.view)

    def finalize(self, final: Final) -> None:
        """A higher block is final: what lies well below is forgotten."""
        self.final = final
        self.highest_notarized = max(self.highest_notarized, final.view)
        self._states = {view: state for view, state in self._states.items() if view >= final.view - KEPT_VIEWS}

    def latest_finalization(self) -> Certificate | None:
        """The finalization of the highest finalised view."""
        finalizations = (self._states[view].finalization for view in sorted(self._states, reverse=True))
        return next((each for each in finalizations if each is not None), None)

    def holds(self, statement: Statement) -> bool:
        """Whether a certificate of this very statement is known."""
        state = self._states.get(statement.view)
        certificate = state.certificate(statement.kind) if state is not None else None
        return certificate is not None and certificate.statement == statement

    def certifies(self, block_id: bytes) -> bool:
        """Whether a block is certified in one of the views."""
        return any(state.certified_block == block_id for state in self._states.values())

    def holds_vote(self, vote: Vote) -> bool:
        """Whether this very vote is known."""
        state = self._states.get(vote.statement.view)
        return state is not None and any(
            known.statement == vote.statement for known in state.tally.votes_of(vote.validator)
        )

    def entering_certificate(self, view: int) -> Certificate | None:
        """A certificate that lets a node enter a view; None in the epoch's first."""
        state = self._states.get(view - 1)
        return None if state is None else state.finalization or state.notarization or state.nullification

    def certificates(self, from_view: int, to_view: int) -> list[Certificate]:
        """All certificates known of some views, in order of views."""
        known = (self._states.get(view) for view in range(from_view, to_view))
        return [certificate for state in known if state is not None for certificate in state.certificates()]

    def own_finalizes(self, me: bytes, to_view: int) -> list[Vote]:
        """Our finalize votes of views above the last final one."""
        views: Iterable[int] = range(self.final.view + 1, to_view)
        known = (self._states.get(view) for view in views)
        return [vote for state in known if state is not None for vote in state.finalizes_of(me)]

    def find_base(self, view: int) -> Base | Lacking:
        """Rule 2: the highest certified block below `view` with a nullification of every view in between."""
        proofs: list[Certificate] = []
        for candidate in range(view - 1, self.final.view, -1):
            state = self._states.get(candidate)
            parent = (state.finalization or state.notarization) if state is not None else None
            if parent is not None:
                block_id = parent.statement.block_id
                return Base(parent_view=candidate, parent_id=block_id, certificates=(parent, *proofs))
            if state is None or state.nullification is None:
                return Lacking(view=candidate)
            proofs.append(state.nullification)
        state = self._states.get(self.final.view)
        if state is not None and state.finalization is not None:
            proofs.insert(0, state.finalization)
        return Base(parent_view=self.final.view, parent_id=self.final.block_id, certificates=tuple(proofs))

    def check_ancestry(self, proposal: Proposal) -> Lacking | Contradiction | None:
        """Rule 3: None when the parent's certificate and a nullification of every view in between are known."""
        if not self.final.view <= proposal.parent_view < proposal.view:
            return Contradiction(why="the parent's view is below the last final view, or not below the proposal's")
        if proposal.parent_view == self.final.view:
            certified: bytes | None = self.final.block_id
        else:
            parent = self._states.get(proposal.parent_view)
            certified = parent.certified_block if parent is not None else None
        if certified is None:
            return Lacking(view=proposal.parent_view)
        if certified != proposal.parent_id:
            return Contradiction(why="another block is certified in the parent's view")
        for view in range(proposal.parent_view + 1, proposal.view):
            state = self._states.get(view)
            if state is None or state.nullification is None:
                return Lacking(view=view)
        return None
