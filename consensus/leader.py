"""Who leads a view: smooth weighted round robin over the epoch's set, ties by id, computed once as a cycle.

Source: the "smooth weighted round-robin" of nginx's upstream balancer, here over integers without failures.
"""

from __future__ import annotations

import math

from consensus.types import ValidatorSet


def leader_cycle(validators: ValidatorSet) -> tuple[bytes, ...]:
    """One cycle of leaders: each appears in proportion to its power, as evenly spread as can be."""
    divisor = math.gcd(*(validator.power for validator in validators.validators))
    weights = {validator.id: validator.power // divisor for validator in validators.validators}
    total = sum(weights.values())
    current = dict.fromkeys(weights, 0)
    cycle = []
    for _ in range(total):
        for validator, weight in weights.items():
            current[validator] += weight
        # Sorted by id, and max keeps the first: ties go to the smallest id.
        chosen = max(current, key=current.__getitem__)
        current[chosen] -= total
        cycle.append(chosen)
    return tuple(cycle)


def leader_of(cycle: tuple[bytes, ...], view: int) -> bytes:
    """The leader of a view of the epoch the cycle was computed for."""
    assert view >= 1, "views count from 1"
    return cycle[(view - 1) % len(cycle)]
