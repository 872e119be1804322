"""Whether a node does its work: a pure judgement over facts, with a stable word and a sentence for each thing amiss."""

from __future__ import annotations

from dataclasses import dataclass

from consensus.quorum import is_quorum_power
from node.config import RESERVE_SIZE_BYTES
from node.errors import Reason

STALLED_DELTAS = 20
"""Without a final block for the empty block interval and this many Δ, the chain or this node stands still."""


class HealthReason(Reason):
    """Why a node is not ready. docs/runbook.md says what to do about each."""

    HALTED = "halted", "The node stopped on something that must not happen: its log says what."
    RECOVERING = "recovering", "The validator's log was lost: it signs nothing until a quorum told where it stands."
    CATCHING_UP = "catching_up", "Peers are ahead: the node fetches final blocks from them."
    NO_FINALIZATION = "no_finalization", "No block became final for too long: ask `openledger explain`."
    TOO_FEW_PEERS = "too_few_peers", "The connected validators are no quorum: nothing becomes final with these alone."
    NOT_ADMITTED = "not_admitted", "The registry does not know this node: others refuse its connections."
    DISK_FULL = "disk_full", "The disk is full: make room, the data's directory must be writable."
    ENGINE_UNKNOWN = (
        "engine_unknown",
        "An engine that this program does not know becomes active soon: install one that does, or the node stops.",
    )
    INDEXING = "indexing", "The explorer's index is being built: listings are not complete yet."
    STOPPING = "stopping", "The node is stopping."


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the judgement is made from."""

    is_halted: bool
    """Whether consensus stopped for good."""
    is_recovering: bool
    """Whether nothing is signed because the log was lost."""
    lag_heights: int
    """How far the best peer is ahead."""
    is_catching_up: bool
    """Whether that is more than a block or two."""
    seconds_since_final: float
    """Since a block became final here."""
    patience_s: float
    """How long that may be."""
    reachable_power: int
    """Voting power of the connected validators, and of this one."""
    total_power: int
    """Voting power of all."""
    is_admitted: bool
    """Whether the registry has this node."""
    free_bytes: int | None
    """Room on the data's disk; None when nobody looks."""
    is_paused_for_disk: bool
    """Whether the node itself stopped voting for lack of room."""
    next_unknown_engine: str
    """The first engine to become active that this program does not know, and when; empty without one."""
    index_height: int | None
    """How far the index is; None without one, or when it is complete."""
    height: int
    """The last final block."""
    is_stopping: bool
    """Whether the node is told to stop."""


def find_problems(facts: Facts) -> dict[HealthReason, str]:
    """What is amiss, with what is particular to it; empty when the node is ready."""
    found: dict[HealthReason, str | None] = {
        HealthReason.HALTED: "" if facts.is_halted else None,
        HealthReason.RECOVERING: "" if facts.is_recovering else None,
        HealthReason.CATCHING_UP: f"{facts.lag_heights} blocks behind" if facts.is_catching_up else None,
        HealthReason.NO_FINALIZATION: (
            f"{facts.seconds_since_final:.1f} s, {facts.patience_s:.1f} s are expected at most"
            if facts.seconds_since_final > facts.patience_s
            else None
        ),
        HealthReason.TOO_FEW_PEERS: (
            None
            if is_quorum_power(facts.reachable_power, facts.total_power)
            else f"{facts.reachable_power} of {facts.total_power} votes are here"
        ),
        HealthReason.NOT_ADMITTED: None if facts.is_admitted else "",
        HealthReason.DISK_FULL: _disk(facts),
        HealthReason.ENGINE_UNKNOWN: facts.next_unknown_engine or None,
        HealthReason.INDEXING: (
            None if facts.index_height is None else f"at height {facts.index_height} of {facts.height}"
        ),
        HealthReason.STOPPING: "" if facts.is_stopping else None,
    }
    return {reason: _sentence(reason, detail) for reason, detail in found.items() if detail is not None}


def _disk(facts: Facts) -> str | None:
    if facts.free_bytes is not None and facts.free_bytes < RESERVE_SIZE_BYTES:
        return f"{facts.free_bytes} bytes are free"
    return "it does not vote until there is" if facts.is_paused_for_disk else None


def _sentence(reason: HealthReason, detail: str) -> str:
    return f"{reason.sentence} ({detail})" if detail else reason.sentence
