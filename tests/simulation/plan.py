"""What a seed draws: who is there, what the network is like, who lies, and which faults come when.

A plan is data: the shrinker leaves faults out of it and runs it again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from enum import StrEnum

from consensus.quorum import is_quorum_power
from tests.simulation.disk import Moment


class Profile(StrEnum):
    """How much of the node a run exercises."""

    CORE = "core"
    """Four validators, empty blocks, messages as objects: the real engine, core, log, signer guard and sync."""
    FULL = "full"
    """4 to 31 validators, weighted powers, every message as bytes, transactions, joins and leaves."""


class Kind(StrEnum):
    """A sort of fault."""

    PARTITION = "partition"
    ONE_WAY = "one_way"
    CONNECT = "connect"
    CLOG = "clog"
    DELAY_SPIKE = "delay_spike"
    STORM = "storm"
    """Heavy loss for a while."""
    CRASH = "crash"
    CRASH_AT_PERSIST = "crash_at_persist"
    CRASH_ALL = "crash_all"
    RESTART = "restart"
    WIPE = "wipe"
    LOSE_LOG = "lose_log"
    STALE_LOG = "stale_log"
    SKEW = "skew"
    JOIN = "join"
    LEAVE = "leave"
    POWER = "power"


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong, or changes, at a time."""

    at_ms: int
    kind: Kind
    targets: tuple[int, ...] = ()
    """Indices of validators."""
    amount: int = 0
    """A delay, an offset, a power or a number of persist points, as the kind says."""
    moment: Moment = Moment.BEFORE
    part: float = 0.0

    def __str__(self) -> str:
        extra = f" {self.amount}" if self.amount else ""
        when = f" {self.moment.value}" if self.kind is Kind.CRASH_AT_PERSIST else ""
        return f"{self.at_ms} ms {self.kind.value} {','.join(map(str, self.targets))}{extra}{when}"


@dataclass(frozen=True)
class Plan:
    """One run."""

    seed: int
    profile: Profile
    powers: tuple[int, ...]
    adversaries: tuple[tuple[int, str], ...]
    """Index and behaviour of each Byzantine validator: less than a third of the power."""
    drop_percent: int
    duplicate_percent: int
    delays_ms: tuple[int, int]
    epoch_length_heights: int
    joiners: int
    """Nodes that follow from the start and may be made validators."""
    log_file_size_bytes: int
    """Above this the log is replaced by what is still needed."""
    duration_ms: int
    """How long the faults go on."""
    faults: tuple[Fault, ...]

    def without(self, fault: Fault) -> Plan:
        """The same run, one fault less."""
        return replace(self, faults=tuple(each for each in self.faults if each is not fault))

    def __str__(self) -> str:
        liars = " ".join(f"v{index}={name}" for index, name in self.adversaries) or "nobody lies"
        return (
            f"{self.profile.value} n={len(self.powers)} powers={','.join(map(str, self.powers))} {liars} "
            f"drop={self.drop_percent}% duplicate={self.duplicate_percent}% delay={self.delays_ms[0]}-"
            f"{self.delays_ms[1]}ms epoch={self.epoch_length_heights} joiners={self.joiners} "
            f"faults={len(self.faults)} in {self.duration_ms}ms"
        )


BEHAVIOURS = (
    "twins",
    "silent",
    "selective_sender",
    "withholder",
    "equivocator",
    "lying_proposer",
    "lying_sync_peer",
    "replayer",
    "forger",
    "heir",
    "usurper",
)
"""Each is a file of `adversaries`."""

SIZES = (4, 4, 4, 5, 6, 7, 7, 10, 13, 19, 31)
NETWORK_FAULTS = (Kind.PARTITION, Kind.ONE_WAY, Kind.CONNECT, Kind.CLOG, Kind.DELAY_SPIKE, Kind.STORM)
NODE_FAULTS = (
    Kind.CRASH,
    Kind.CRASH_AT_PERSIST,
    Kind.CRASH_AT_PERSIST,
    Kind.CRASH_ALL,
    Kind.RESTART,
    Kind.RESTART,
    Kind.WIPE,
    Kind.LOSE_LOG,
    Kind.STALE_LOG,
    Kind.SKEW,
)
MEMBERSHIP = (Kind.JOIN, Kind.LEAVE, Kind.POWER)


def draw_plan(seed: int, profile: Profile) -> Plan:
    """The run of a seed."""
    draw = random.Random(f"{profile.value} {seed}")
    is_core = profile is Profile.CORE
    size = 4 if is_core else draw.choice(SIZES)
    is_weighted = not is_core and draw.random() < 0.4
    powers = tuple(draw.randint(1, 4) if is_weighted else 1 for _ in range(size))
    joiners = 0 if is_core or size > 13 else draw.choice((0, 1, 2))
    duration_ms = draw.randint(1_500, 4_500) if is_core else draw.randint(2_000, 6_000)
    count = draw.randint(0, 7) if is_core else draw.randint(2, 12)
    times = sorted(draw.randrange(duration_ms) for _ in range(count))
    return Plan(
        seed=seed,
        profile=profile,
        powers=powers,
        adversaries=_draw_adversaries(draw, powers),
        drop_percent=draw.choice((0, 0, 5, 15, 30)),
        duplicate_percent=draw.choice((0, 0, 10)),
        delays_ms=(1, draw.choice((10, 50, 150, 400))),
        epoch_length_heights=draw.choice((4, 7, 12, 1000)),
        joiners=joiners,
        log_file_size_bytes=draw.choice((8_000, 40_000, 2**25)),
        duration_ms=duration_ms,
        faults=tuple(_draw_fault(draw, at_ms, size, joiners) for at_ms in times),
    )


def _draw_adversaries(draw: random.Random, powers: tuple[int, ...]) -> tuple[tuple[int, str], ...]:
    if draw.random() < 0.25:
        return ()
    found: list[tuple[int, str]] = []
    lying_power = 0
    for index in draw.sample(range(len(powers)), draw.randint(1, max(1, (len(powers) - 1) // 3))):
        if 3 * (lying_power + powers[index]) < sum(powers):
            lying_power += powers[index]
            found.append((index, draw.choice(BEHAVIOURS)))
    return tuple(sorted(found))


def _draw_fault(draw: random.Random, at_ms: int, size: int, joiners: int) -> Fault:
    kinds = NETWORK_FAULTS + NODE_FAULTS + (MEMBERSHIP * 2 if joiners else ())
    kind = draw.choice(kinds)
    everybody = list(range(size + joiners))
    draw.shuffle(everybody)
    match kind:
        case Kind.PARTITION | Kind.ONE_WAY:
            targets = everybody[: draw.randint(1, size - 1)]
        case Kind.CLOG:
            targets = everybody[:2]
        case Kind.CRASH:
            targets = everybody[: draw.choice((1, 1, 2, size))]
        case Kind.RESTART:
            targets = everybody[: draw.randint(1, size)]
        case Kind.JOIN:
            targets = [size + draw.randrange(joiners)]
        case Kind.LEAVE | Kind.POWER:
            targets = [draw.randrange(size)]
        case Kind.CONNECT | Kind.DELAY_SPIKE | Kind.STORM | Kind.CRASH_ALL:
            targets = []
        case _:
            targets = everybody[:1]
    amount = {
        Kind.CLOG: draw.randint(50, 1_500),
        Kind.DELAY_SPIKE: draw.randint(50, 800),
        Kind.STORM: draw.randint(10, 60),
        Kind.SKEW: draw.randint(-1_500, 1_500),
        Kind.CRASH_AT_PERSIST: draw.randint(1, 25),
        Kind.POWER: draw.randint(1, 3),
        Kind.JOIN: draw.randint(1, 2),
    }.get(kind, 0)
    moment = draw.choice(list(Moment))
    return Fault(at_ms=at_ms, kind=kind, targets=tuple(targets), amount=amount, moment=moment, part=draw.random())


def bare_quorum(draw: random.Random, powers: dict[int, int], candidates: list[int]) -> tuple[int, ...]:
    """As few of some validators as make a quorum of all the power, if they do."""
    chosen = list(candidates)
    draw.shuffle(chosen)
    for index in list(chosen):
        others = sum(powers[each] for each in chosen if each != index)
        if is_quorum_power(others, sum(powers.values())):
            chosen.remove(index)
    return tuple(sorted(chosen))
