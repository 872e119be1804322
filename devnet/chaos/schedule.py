"""What is done to the nodes, in which order and for how long: drawn from one seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

REST_S = 2.5
"""What a healing is reckoned to take; only to know how many steps are enough."""


class Fault(StrEnum):
    """One way to go wrong."""

    KILL = "kill -9"
    PAUSE = "pause"
    PARTITION = "partition"
    DEAF = "one-way loss, nothing in"
    MUTE = "one-way loss, nothing out"
    DELAY = "delay"
    CLOG = "clog"
    CUT = "cut connections"
    SLOW_DISK = "slow disk"
    CLOCK_STEP = "clock step"
    RESTART = "restart"
    WIPE = "wipe and resync"
    ROLLING_UPGRADE = "rolling upgrade"
    KILL_MANY = "kill -9 of more than f"
    KILL_ALL = "kill -9 of all"
    PAUSE_MANY = "pause of more than f"
    SPLIT = "split without a quorum"
    ISOLATE_ALL = "no links at all"


BEYOND = (Fault.KILL_MANY, Fault.KILL_ALL, Fault.PAUSE_MANY, Fault.SPLIT, Fault.ISOLATE_ALL)
"""Faults under which the protocol owes safety only."""
MOMENTARY = (Fault.RESTART, Fault.ROLLING_UPGRADE)
"""Faults that last as long as they take."""
AMOUNTS = {
    Fault.DELAY: ("{} ms more each way", (100, 200, 300, 500)),
    Fault.CLOG: ("{} bytes a second", (4_000, 16_000, 64_000)),
    Fault.SLOW_DISK: ("{} ms more a sync", (20, 100, 300)),
    Fault.CLOCK_STEP: ("{} ms", (-3_600_000, -30_000, -1_000, 1_000, 30_000, 3_600_000)),
}
"""What a fault can be drawn with, and how that is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One fault."""

    fault: Fault
    """What."""
    targets: tuple[str, ...]
    """To whom."""
    hold_s: float
    """For how long."""
    amount: int = 0
    """How much of it, where there is a measure."""

    @property
    def is_beyond(self) -> bool:
        """Whether it hits more nodes than the protocol tolerates."""
        return self.fault in BEYOND

    def describe(self) -> str:
        """The step in words."""
        amount = f", {AMOUNTS[self.fault][0].format(self.amount)}" if self.fault in AMOUNTS else ""
        held = f", {self.hold_s:.1f} s" if self.hold_s else ""
        return f"{self.fault.value}: {', '.join(self.targets)}{amount}{held}"


def draw_schedule(seed: int, nodes: Sequence[str], seconds: float, faults: Sequence[Fault] = ()) -> list[Step]:
    """Steps one after the other, enough for the time: every fault comes once before any comes again."""
    choose = random.Random(seed)
    known = list(faults) or list(Fault)
    longest_s = min(10.0, max(3.0, seconds / 20))
    steps: list[Step] = []
    deck: list[Fault] = []
    reckoned_s = 0.0
    while reckoned_s < seconds:
        if not deck:
            deck = choose.sample(known, len(known))
        step = _draw(choose, deck.pop(), nodes, longest_s)
        steps.append(step)
        reckoned_s += step.hold_s + REST_S
    return steps


def faulty_most(count: int) -> int:
    """f: how many of equal nodes may be at fault."""
    return (count - 1) // 3


def _draw(choose: random.Random, fault: Fault, nodes: Sequence[str], longest_s: float) -> Step:
    count, most = len(nodes), faulty_most(len(nodes))
    match fault:
        case Fault.ROLLING_UPGRADE | Fault.KILL_ALL | Fault.ISOLATE_ALL:
            hit = count
        case Fault.KILL_MANY | Fault.PAUSE_MANY:
            hit = choose.randint(most + 1, count)
        case Fault.SPLIT:
            hit = count // 2
        case Fault.WIPE:  # a node without its log counts as faulty until it has heard from a quorum of the others
            hit = 1
        case _:
            hit = choose.randint(1, most)
    amounts = AMOUNTS.get(fault)
    return Step(
        fault=fault,
        targets=tuple(sorted(choose.sample(list(nodes), hit))),
        hold_s=0.0 if fault in MOMENTARY else round(choose.uniform(longest_s / 2, longest_s), 1),
        amount=choose.choice(amounts[1]) if amounts else 0,
    )
