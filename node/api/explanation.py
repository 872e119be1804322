"""Why there is no block, in words: a pure function from where a node stands to sentences and one conclusion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from consensus.inputs import Verdict
from consensus.quorum import is_quorum_power
from consensus.snapshot import Snapshot
from consensus.types import VoteKind

MOST_NAMED = 8
"""Validators named in one sentence."""
WORD = {VoteKind.NOTARIZE: "notarize", VoteKind.NULLIFY: "nullify", VoteKind.FINALIZE: "finalize"}


class Situation(StrEnum):
    """What a conclusion is about; stable words for programs."""

    HALTED = "halted"
    """The node stopped for good."""
    DISK_FULL = "disk_full"
    """There is no room to write."""
    LOG_LOST = "log_lost"
    """This validator signs nothing yet."""
    CATCHING_UP = "catching_up"
    """Peers are ahead."""
    MOVING = "moving"
    """Blocks become final."""
    IDLE = "idle"
    """There is nothing to do."""
    NO_QUORUM = "no_quorum"
    """Too few validators are connected."""
    WAITING = "waiting"
    """Something that a block needs is not here."""
    LACKING_CERTIFICATE = "lacking_certificate"
    """A proof of an earlier view is not here."""
    UNFINAL = "unfinal"
    """A block is notarized, but not final."""
    LEADER_SILENT = "leader_silent"
    """The leader has not proposed."""
    VOTING = "voting"
    """A proposal has too few votes yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Everything the explanation is made from."""

    snapshot: Snapshot
    """Consensus."""
    now_ms: int
    """The time the snapshot's times are of."""
    height: int
    """The last final block."""
    seconds_since_final: float
    """Since then, or since the start."""
    patience_s: float
    """How long that may be."""
    names: Mapping[bytes, str]
    """What people call the validators."""
    reachable: frozenset[bytes]
    """Validators that are connected, and this one."""
    peer_count: int
    """Connected nodes."""
    lag_heights: int
    """How far the best peer is ahead."""
    is_catching_up: bool
    """Whether that is more than a block or two."""
    waits: Sequence[str]
    """What a judgement, a build or a delivery lacks, in words."""
    ready_transactions: int
    """Transactions that could stand in a block."""
    halted_why: str | None
    """Why the node stopped for good."""
    is_disk_full: bool
    """Whether there is no room to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is said."""

    situation: Situation
    """What it is about."""
    conclusion: str
    """One sentence."""
    sentences: tuple[str, ...]
    """What it rests on."""


def explain(standing: Standing) -> Explanation:
    """What the node waits for."""
    situation, conclusion = _conclude(standing)
    return Explanation(situation=situation, conclusion=conclusion, sentences=tuple(_describe(standing)))


def needed_power(total_power: int) -> int:
    """The least power that is a quorum."""
    return 2 * total_power // 3 + 1


def _conclude(standing: Standing) -> tuple[Situation, str]:
    """The first thing, from the gravest on, that explains why there is no block."""
    snapshot = standing.snapshot
    is_member = snapshot.me in snapshot.powers
    is_moving = standing.seconds_since_final <= standing.patience_s
    if standing.halted_why is not None:
        return Situation.HALTED, f"This node stopped for good: {standing.halted_why or 'its log says why'}."
    if standing.is_disk_full:
        return Situation.DISK_FULL, "This node's disk is full: it does not vote until there is room."
    if is_member and snapshot.is_log_lost:
        heard = _power(standing, snapshot.statuses)
        gone = _list(standing, set(snapshot.powers) - standing.reachable, "is not connected", "are not connected")
        return Situation.LOG_LOST, (
            f"This validator's log was lost, and it signs nothing until a quorum of the others told where they stand: "
            f"{heard} did{gone and f': {gone}'}."
        )
    if standing.is_catching_up:
        return Situation.CATCHING_UP, f"This node is {standing.lag_heights} blocks behind its peers and fetches them."
    if is_moving and _is_idle(standing):
        due_s = max(0, snapshot.hold_until_ms - standing.now_ms) / 1000
        return Situation.IDLE, (
            f"Nothing waits for a block: the chain is idle, and the next empty block is due in {due_s:.1f} s."
        )
    if is_moving:
        return Situation.MOVING, (
            f"Blocks become final: height {standing.height} did {standing.seconds_since_final:.1f} s ago."
            f"{_muted(snapshot)}"
        )
    situation, conclusion = _conclude_stuck(standing)
    return situation, conclusion + _muted(snapshot)


def _conclude_stuck(standing: Standing) -> tuple[Situation, str]:
    snapshot = standing.snapshot
    where = f"View {snapshot.view} of epoch {snapshot.epoch}"
    reachable = sum(snapshot.powers[each] for each in standing.reachable)
    if not is_quorum_power(reachable, sum(snapshot.powers.values())):
        kind = _decisive_kind(snapshot)
        voters = snapshot.voters[kind]
        return Situation.NO_QUORUM, f"{where} has {_votes(standing, kind, voters)}{_absentees(standing, voters)}."
    if standing.waits:
        return Situation.WAITING, f"{where} waits for {', and for '.join(standing.waits)}."
    if snapshot.lacking_view is not None:
        return Situation.LACKING_CERTIFICATE, (
            f"{where} cannot go on before a certificate of view {snapshot.lacking_view} is here."
        )
    if snapshot.notarized_view > snapshot.final_view and not snapshot.voters[VoteKind.NULLIFY]:
        votes = _votes(standing, VoteKind.FINALIZE, snapshot.finalizers)
        return Situation.UNFINAL, (
            f"The block of view {snapshot.notarized_view} is notarized but has {votes}"
            f"{_absentees(standing, snapshot.finalizers)}."
        )
    if not snapshot.is_proposed and snapshot.leader != snapshot.me:
        nullifiers = snapshot.voters[VoteKind.NULLIFY]
        is_there = "is connected" if snapshot.leader in standing.reachable else "is not connected"
        return Situation.LEADER_SILENT, (
            f"{where} has no proposal: its leader {_name(standing, snapshot.leader)} {is_there}; it has "
            f"{_votes(standing, VoteKind.NULLIFY, nullifiers)}{_absentees(standing, nullifiers)}."
        )
    kind = _decisive_kind(snapshot)
    voters = snapshot.voters[kind]
    return Situation.VOTING, f"{where} has {_votes(standing, kind, voters)}{_absentees(standing, voters)}."


def _describe(standing: Standing) -> Iterable[str]:
    """The facts, from the outside in."""
    snapshot = standing.snapshot
    age_s = (standing.now_ms - snapshot.entered_ms) / 1000
    yield f"Height {standing.height} is final, since {standing.seconds_since_final:.1f} s."
    if snapshot.me is None:
        yield "This node follows the chain without a vote."
    elif snapshot.me not in snapshot.powers:
        yield f"This node's consensus key is not in the validator set of epoch {snapshot.epoch}: it does not vote."
    yield (
        f"Epoch {snapshot.epoch}, view {snapshot.view}, entered {age_s:.1f} s ago"
        f"{_by(snapshot)}; its leader is {_name(standing, snapshot.leader)}{_own(snapshot)}."
    )
    yield _proposal(snapshot)
    for kind in (VoteKind.NOTARIZE, VoteKind.NULLIFY):
        voters = snapshot.voters[kind]
        silent = _absentees(standing, voters) if voters else ""
        yield f"It has {_votes(standing, kind, voters)}{silent}."
    if snapshot.notarized_view > snapshot.final_view:
        votes = _votes(standing, VoteKind.FINALIZE, snapshot.finalizers)
        yield f"The block of view {snapshot.notarized_view} is notarized and has {votes}."
    if snapshot.lacking_view is not None:
        yield f"A certificate of view {snapshot.lacking_view} is missing."
    for wait in standing.waits:
        yield f"It waits for {wait}."
    reachable = sum(snapshot.powers[each] for each in standing.reachable)
    yield (
        f"{_count(standing.peer_count, 'node')} connected; with this one they hold {reachable} of "
        f"{sum(snapshot.powers.values())} {_unit(snapshot)}."
    )
    yield f"{_count(standing.ready_transactions, 'transaction')} ready; Δ is {snapshot.delta_ms} ms."


def _muted(snapshot: Snapshot) -> str:
    """That this validator keeps silent in the view, because it may have spoken in it before its log was lost."""
    if snapshot.me not in snapshot.powers or snapshot.sign_floor < snapshot.view:
        return ""
    return f" This validator signs nothing up to view {snapshot.sign_floor}: its log was lost."


def _is_idle(standing: Standing) -> bool:
    snapshot = standing.snapshot
    is_quiet = snapshot.started_ms is None and snapshot.unfinal_since_ms is None
    return is_quiet and not standing.ready_transactions and not snapshot.is_proposed


def _decisive_kind(snapshot: Snapshot) -> VoteKind:
    """What the view is about: its block while there is one and nobody gave up, else its end."""
    has_block = snapshot.is_proposed or bool(snapshot.voters[VoteKind.NOTARIZE])
    gave_up = bool(snapshot.voters[VoteKind.NULLIFY])
    return VoteKind.NOTARIZE if has_block and not gave_up else VoteKind.NULLIFY


def _proposal(snapshot: Snapshot) -> str:
    if not snapshot.is_proposed:
        return "We build its block." if snapshot.is_building else "No proposal is here."
    if snapshot.leader == snapshot.me:
        return "We proposed its block."
    words = {None: "it is not judged yet", Verdict.VALID: "it is valid", Verdict.INVALID: "it is invalid"}
    return f"The proposal is here: {words[snapshot.verdict]}."


def _by(snapshot: Snapshot) -> str:
    if snapshot.entered_by is None:
        return ""
    words = {VoteKind.NOTARIZE: "notarization", VoteKind.NULLIFY: "nullification", VoteKind.FINALIZE: "finalization"}
    return f" by a {words[snapshot.entered_by]}"


def _own(snapshot: Snapshot) -> str:
    return " (this node)" if snapshot.leader == snapshot.me else ""


def _votes(standing: Standing, kind: VoteKind, voters: Iterable[bytes]) -> str:
    """`2 of 3 needed votes to nullify`."""
    total = sum(standing.snapshot.powers.values())
    power = sum(standing.snapshot.powers[each] for each in voters)
    return f"{power} of {needed_power(total)} needed {_unit(standing.snapshot)} to {WORD[kind]}"


def _power(standing: Standing, validators: Iterable[bytes]) -> str:
    total = sum(standing.snapshot.powers.values())
    power = sum(standing.snapshot.powers[each] for each in validators)
    return f"{power} of {needed_power(total)} needed {_unit(standing.snapshot)}"


def _unit(snapshot: Snapshot) -> str:
    return "votes" if all(power == 1 for power in snapshot.powers.values()) else "voting power"


def _absentees(standing: Standing, spoke: Iterable[bytes]) -> str:
    """Who did not speak: those that are not connected, and those that are."""
    silent = set(standing.snapshot.powers) - set(spoke)
    gone = _list(standing, silent - standing.reachable, "is not connected", "are not connected")
    mute = _list(standing, silent & standing.reachable, "has not voted", "have not voted")
    return f": {', and '.join(filter(None, (gone, mute)))}" if silent else ""


def _list(standing: Standing, validators: set[bytes], one: str, many: str) -> str:
    """`validators A and B are not connected`; nothing of nobody."""
    names = sorted(_name(standing, each) for each in validators)
    if not names:
        return ""
    shown = names[:MOST_NAMED] + ([f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else [])
    listed = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f"validator {listed} {one}" if len(names) == 1 else f"validators {listed} {many}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun} is" if number == 1 else f"{number} {noun}s are"


def _name(standing: Standing, validator: bytes) -> str:
    return standing.names.get(validator) or validator.hex()[:12]
