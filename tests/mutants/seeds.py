"""Seeds for mutants: the simulator's own, and two sorts drawn for rules that only some sets or liars touch."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.campaign import run_seed, silence
from tests.simulation.plan import Plan, Profile, draw_plan
from tests.simulation.scenario import run_plan

__all__ = ["silence", "violation_of"]

SIX = (1,) * 6


def violation_of(seed: int, profile: str) -> str | None:
    """What a seed finds wrong, if anything."""
    if profile in list(Profile):
        return run_seed(seed, Profile(profile)).violation
    try:
        return {"thirds": _thirds, "caught": _caught, "heir": _heir}[profile](seed)
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


def _caught(seed: int) -> str | None:
    """Nothing goes wrong but that one validator contradicts itself: somebody must hold evidence."""
    plan = replace(
        draw_plan(seed, Profile.CORE), adversaries=((0, "equivocator"),), faults=(), drop_percent=0, duration_ms=3_000
    )
    return None if run_plan(plan).accused else "an equivocator was not caught"
