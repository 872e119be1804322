"""The schedule follows from the seed, holds every fault, and never hits more nodes than it says."""

from __future__ import annotations

import pytest

from devnet.chaos.schedule import BEYOND, MOMENTARY, Fault, Step, draw_schedule, faulty_most

NODES = tuple(f"node{number}" for number in range(1, 8))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_same_seed_gives_the_same_schedule_and_another_one_another(seed: int) -> None:
    assert draw_schedule(seed, NODES, 600) == draw_schedule(seed, NODES, 600)
    assert draw_schedule(seed, NODES, 600) != draw_schedule(seed + 1, NODES, 600)


@pytest.mark.parametrize("count", [4, 7])
def test_every_fault_comes_before_any_comes_again(count: int) -> None:
    steps = draw_schedule(5, NODES[:count], 600)
    first = [step.fault for step in steps[: len(Fault)]]
    assert sorted(first) == sorted(Fault)


@pytest.mark.parametrize("count", [4, 5, 7])
def test_only_the_faults_that_say_so_hit_more_than_f(count: int) -> None:
    for step in draw_schedule(7, NODES[:count], 3_000):
        assert set(step.targets) <= set(NODES[:count])
        if step.fault is Fault.SPLIT:
            assert 3 * len(step.targets) < 2 * count, "neither side is a quorum"
            assert 3 * (count - len(step.targets)) <= 2 * count, "neither side is a quorum"
        elif step.fault in BEYOND:
            assert len(step.targets) > faulty_most(count)
        elif step.fault is not Fault.ROLLING_UPGRADE:
            assert 1 <= len(step.targets) <= faulty_most(count)
        assert (step.hold_s == 0) == (step.fault in MOMENTARY)


def test_only_the_faults_asked_for_are_drawn() -> None:
    steps = draw_schedule(1, NODES, 100, [Fault.WIPE, Fault.CUT])
    assert {step.fault for step in steps} == {Fault.WIPE, Fault.CUT}


def test_step_is_said_with_its_measure() -> None:
    step = Step(fault=Fault.SLOW_DISK, targets=("node1", "node3"), hold_s=4.25, amount=100)
    assert step.describe() == "slow disk: node1, node3, 100 ms more a sync, 4.2 s"
    assert Step(fault=Fault.RESTART, targets=("node2",), hold_s=0.0).describe() == "restart: node2"
