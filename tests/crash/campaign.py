"""Kills the node at persist points, one run each, and says what became of it."""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from tests.crash.life import Home
from tests.crash.points import TORN, Kill, Mirror, Moment
from tests.crash.world import Died, Refused, World, be_born

TARGET_HEIGHT = 16
"""How high a run goes: two epochs' ends, an erasure, logs begun anew."""
DOWN_MS = 60
"""How long the node is down after a kill, in simulated time."""
SECOND_POINTS = 12
"""The second life ends within so many points: what a start does is hit too."""


@dataclass(frozen=True)
class Plan:
    """One run."""

    kill: Kill
    """Where the first life ends; the second ends soon after it began."""
    label: str
    """What the first point is."""
    power_seed: int | None = None
    """Not only the process ends: the power goes too, and what is left of the log follows from this seed."""


@dataclass(frozen=True)
class Result:
    """What became of a run."""

    plan: Plan
    """The run."""
    kills: int
    """Lives that were ended."""
    refused: str
    """What the node said when it did not start; empty when it came to the roots of the others."""
    seconds: float
    """How long it took."""


def be_quiet() -> None:
    """A run says what became of it, not what the node says on the way."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def survey() -> list[str]:
    """The persist points of a run that nobody disturbs, in order."""
    with _home() as home:
        world = World(home)
        be_born(home, world.chain)
        world.disk.start(None)
        try:
            world.run_until(lambda: min(world.height, world.disk.height) >= TARGET_HEIGHT)
            world.check_equal()
            return world.disk.points
        finally:
            world.disk.end()


def make_plans(points: list[str], *, every: int, offset: int, power_seed: int | None = None) -> list[Plan]:
    """A run for each point and moment, or for each so many of them."""
    plans = [
        Plan(kill=Kill(point=number, moment=moment), label=label, power_seed=power_seed)
        for number, label in enumerate(points, start=1)
        for moment in Moment
        if moment is not Moment.DURING or label == TORN
    ]
    return plans[offset::every]


def perform(plan: Plan) -> Result:
    """Runs a plan to its end. Raises: AssertionError when a state, a block or a signature is not what it must be."""
    begun = time.monotonic()
    with _home() as home:
        world = World(home)
        be_born(home, world.chain)
        second = Kill(
            point=1 + plan.kill.point % SECOND_POINTS, moment=Moment.AFTER if plan.kill.point % 2 else Moment.BEFORE
        )
        kills = 0
        try:
            for kill in (plan.kill, second, None):
                try:
                    world.disk.start(kill)
                    world.run_until(lambda: min(world.height, world.disk.height) >= TARGET_HEIGHT)
                    world.check_equal()
                    break
                except Died:
                    kills += 1
                    if plan.power_seed is not None:
                        _cut_power(home, random.Random(f"{plan.power_seed} {plan.kill} {kills}"))
                    _wait(world)
        except Refused as refused:
            return Result(plan, kills, str(refused), time.monotonic() - begun)
        except AssertionError as error:
            raise AssertionError(f"{plan}, after {kills} kills: {error}") from error
        finally:
            world.disk.end()
        return Result(plan, kills, "", time.monotonic() - begun)


def table(results: list[Result]) -> str:
    """The results by kind of point."""
    lines = [f"{'persist point':22}{'points':>7}{'runs':>6}{'kills':>7}{'same root':>11}{'refused':>9}{'seconds':>9}"]
    labels = sorted({each.plan.label for each in results})
    for label in [*labels, ""]:
        found = [each for each in results if each.plan.label == label or not label]
        points = len({each.plan.kill.point for each in found})
        refused = sum(bool(each.refused) for each in found)
        seconds = sum(each.seconds for each in found)
        lines.append(
            f"{label or 'all':22}{points:>7}{len(found):>6}{sum(each.kills for each in found):>7}"
            f"{len(found) - refused:>11}{refused:>9}{seconds:>9.1f}"
        )
    return "\n".join(lines)


def _wait(world: World) -> None:
    """Lets the others go on a while without the node."""
    until_ms = world.now_ms + DOWN_MS
    world.run_until(lambda: world.now_ms >= until_ms)


def _cut_power(home: Home, chooser: random.Random) -> None:
    """The log's directory as it was last synced, with a part of what was written since; the index loses its end."""
    mirror = Mirror(home.data / "log", home.mirror)
    kept: Callable[[int], int] = chooser.choice([lambda _size: 0, lambda size: chooser.randint(0, size)])
    mirror.lose_power(kept, is_zeroed=chooser.random() < 0.3)
    mirror.note_all()
    for path in (home.data / "index").glob("*.log"):
        path.write_bytes(path.read_bytes()[: chooser.randint(0, path.stat().st_size)])


@contextlib.contextmanager
def _home():  # type: ignore[no-untyped-def]
    place = Path(tempfile.mkdtemp(prefix="crash-"))
    try:
        (place / "data").mkdir()
        yield Home(data=place / "data", mirror=place / "mirror")
    finally:
        shutil.rmtree(place)
