"""Seeds for mutants: the simulator's own, and two sorts drawn for rules that only some sets or liars touch."""

from __future__ import annotations

import random
from dataclasses import replace

from tests.simulation.campaign import run_seed, silence
from tests.simulation.disk import Moment
from tests.simulation.plan import Fault, Kind, Plan, Profile, draw_plan
from tests.simulation.scenario import run_plan

__all__ = ["silence", "violation_of"]

SIX = (1,) * 6


def violation_of(seed: int, profile: str) -> str | None:
    """What a seed finds wrong, if anything."""
    if profile in list(Profile):
        return run_seed(seed, Profile(profile)).violation
    try:
        return {"thirds": _thirds, "caught": _caught, "heir": _heir, "logs": _logs, "storm": _storm, "lies": _lies}[
            profile
        ](seed)
    except Exception as error:  # noqa: BLE001 (whatever the mutant raises)
        return f"{type(error).__name__}: {error}"


def _thirds(seed: int) -> str | None:
    """Six equal validators, where two thirds are one vote less than a quorum, and one of them lies."""
    plan = draw_plan(seed, Profile.CORE)
    liars: Plan = replace(plan, powers=SIX, adversaries=((seed % 6, "equivocator"),))
    run_plan(liars)
    return None


def _heir(seed: int) -> str | None:
    """The core's seeds, in each of which a leader builds on what is not certified."""
    run_plan(replace(draw_plan(seed, Profile.CORE), adversaries=((seed % 4, "heir"),)))
    return None


def _logs(seed: int) -> str | None:
    """The core's seeds with logs that are replaced every few views, and crashes at persist points only."""
    draw = random.Random(seed)
    crashes = tuple(
        Fault(
            at_ms=at_ms,
            kind=Kind.CRASH_AT_PERSIST,
            targets=(draw.randrange(4),),
            amount=draw.randint(1, 12),
            moment=Moment.AFTER,
            part=0.0,
        )
        for at_ms in range(200, 4_000, 200)
    )
    plan = draw_plan(seed, Profile.CORE)
    run_plan(replace(plan, adversaries=(), faults=crashes, log_file_size_bytes=1_000, duration_ms=4_000))
    return None


def _lies(seed: int) -> str | None:
    """Four validators with transactions to lie about, and one that lies in most of the views it leads."""
    plan = draw_plan(seed, Profile.FULL)
    liars = ((seed % 4, "lying_proposer"),)
    run_plan(replace(plan, powers=(1,) * 4, joiners=0, adversaries=liars, faults=(), drop_percent=0, delays_ms=(1, 20)))
    return None


def _storm(seed: int) -> str | None:
    """A minute in which half of everything is lost: view after view fails."""
    plan = draw_plan(seed, Profile.CORE)
    run_plan(replace(plan, adversaries=(), faults=(), drop_percent=55, delays_ms=(1, 400), duration_ms=90_000))
    return None


def _caught(seed: int) -> str | None:
    """Nothing goes wrong but that one validator contradicts itself: somebody must hold evidence."""
    plan = replace(
        draw_plan(seed, Profile.CORE), adversaries=((0, "equivocator"),), faults=(), drop_percent=0, duration_ms=3_000
    )
    return None if run_plan(plan).accused else "an equivocator was not caught"
