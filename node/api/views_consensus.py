"""What `consensus_state` answers: where consensus stands on this node, and why there is no block."""

from __future__ import annotations

from msgspec import Struct


class MemberView(Struct, frozen=True, kw_only=True):
    """A validator and what is known of it in the current view."""

    id: str
    """Consensus id."""
    operator: str
    """The account that answers for it."""
    name: str
    """What people call its node."""
    power: int
    """Its voting power."""
    is_connected: bool
    """Whether its node is connected, or is this one."""
    is_absent: bool
    """Whether it gave no vote in the last views a quorum voted in."""
    votes: list[str]
    """notarize, nullify, finalize: what it said in the current view."""


class VoteCount(Struct, frozen=True, kw_only=True):
    """Votes of one kind."""

    power: int
    """Power of those that gave it."""
    needed_power: int
    """The least power that is a quorum."""


class ConsensusStateView(Struct, frozen=True, kw_only=True):
    """Why there is, or is no block."""

    situation: str
    """A stable word for what the conclusion is about."""
    conclusion: str
    """One sentence."""
    sentences: list[str]
    """What it rests on."""
    height: int
    """The last final block."""
    seconds_since_final: float
    """Since then, or since the start."""
    epoch: int
    """The epoch."""
    view: int
    """The view."""
    view_age_ms: int
    """How long it has lasted here."""
    leader: str
    """Consensus id of its leader."""
    delta_ms: int
    """Δ in force."""
    is_proposed: bool
    """Whether the leader's proposal is here."""
    verdict: str | None
    """valid or invalid, once it is judged."""
    votes: dict[str, VoteCount]
    """Votes of the view by kind."""
    certificates: list[str]
    """Certificates of the view that are held, by kind."""
    entered_by: str | None
    """The certificate that let this node enter; null in an epoch's first view."""
    lacking_view: int | None
    """The view of which a certificate is missing."""
    final_view: int
    """The last final view."""
    notarized_view: int
    """The highest view with a certified block."""
    waits: list[str]
    """What a block needs that is not here."""
    validators: list[MemberView]
    """The set, by consensus id."""
    peer_count: int
    """Connected nodes."""
    ready_transactions: int
    """Transactions that could stand in a block."""
