"""Where the machine stands, for people: a copy of what it knows of the current view. Nothing is decided from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consensus.inputs import Verdict
from consensus.types import VoteKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One moment of the state machine. Times are the host's monotonic milliseconds."""

    epoch: int
    """The epoch."""
    view: int
    """The view."""
    me: bytes | None
    """This validator; None for a node that only follows."""
    leader: bytes
    """Who leads the view."""
    entered_ms: int
    """When the view was entered."""
    started_ms: int | None
    """Since when its 2Δ and 3Δ timers run; None while idle."""
    hold_until_ms: int
    """Until when an idle leader holds back."""
    delta_ms: int
    """Δ in force, grown after failed windows."""
    is_proposed: bool
    """Whether the leader's proposal is here."""
    is_building: bool
    """Whether we build the view's block."""
    is_judging: bool
    """Whether the proposal is being judged, or waits for what that needs."""
    verdict: Verdict | None
    """What the proposal was judged to be."""
    voters: Mapping[VoteKind, frozenset[bytes]]
    """Whose votes of the view are known, by kind."""
    certificates: tuple[VoteKind, ...]
    """Certificates of the view that are held."""
    entered_by: VoteKind | None
    """The certificate that let us enter; None in the epoch's first view."""
    lacking_view: int | None
    """The view of which a proof is missing that the next step needs."""
    final_view: int
    """The last final view."""
    notarized_view: int
    """The highest view with a certified block."""
    finalizers: frozenset[bytes]
    """Whose finalize votes of that view are known."""
    unfinal_since_ms: int | None
    """Since when a notarized block waits for its finalization."""
    is_log_lost: bool
    """Whether a quorum of others has still to tell where it stands (rule 10)."""
    statuses: frozenset[bytes]
    """Who told so far."""
    sign_floor: int
    """Nothing is signed in views up to this one (rule 10)."""
    powers: Mapping[bytes, int]
    """The epoch's voting power by validator."""
