"""A validator run twice: two honest instances with one key, each with a log of its own, contradicting each other."""

from __future__ import annotations

from tests.simulation.adversaries import never_stop_at_own_signature
from tests.simulation.world import World


def add_twins(world: World, index: int) -> tuple[str, str]:
    """Two instances of a validator; each receives what is sent to it."""
    first = world.add_validator(index, name=f"v{index}", is_honest=False)
    second = world.add_validator(index, name=f"v{index}-twin", is_honest=False)
    for node in (first, second):
        node.prepare = never_stop_at_own_signature
    return first.name, second.name
