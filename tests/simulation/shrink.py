"""The smallest plan that still fails: faults, lies and loss are left out one after another as long as it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.plan import Plan


def shrink(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """A plan no part of which can be left out. `fails` tells whether a plan does."""
    assert fails(plan), "what does not fail is not shrunk"
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for candidate in _smaller(plan):
            if fails(candidate):
                plan, is_smaller = candidate, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    for fault in plan.faults:
        yield plan.without(fault)
    for adversary in plan.adversaries:
        yield replace(plan, adversaries=tuple(each for each in plan.adversaries if each is not adversary))
    if plan.drop_percent:
        yield replace(plan, drop_percent=0)
    if plan.duplicate_percent:
        yield replace(plan, duplicate_percent=0)
    if plan.delays_ms != (1, 10):
        yield replace(plan, delays_ms=(1, 10))
