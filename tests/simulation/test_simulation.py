"""The whole node under faults, a seed a run. `python -m tests.simulation replay SEED` shows one event by event."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from node.errors import BlockReason
from tests.simulation import scenario
from tests.simulation.adversaries.lying_proposer import LIES, LIES_TOLD
from tests.simulation.campaign import run_campaign, silence
from tests.simulation.disk import Moment
from tests.simulation.invariants import Violation
from tests.simulation.plan import BEHAVIOURS, Fault, Kind, Plan, Profile, draw_plan
from tests.simulation.scenario import Run, run_plan
from tests.simulation.shrink import shrink

CORE_CHUNKS = range(0, 500, 50)
FULL_CHUNKS = range(0, 20, 5)
FAILED_ONCE = (3860, 15959, 24179, 34030)
"""A store that crashed before its first block; two in which a block was asked for again and again, for ever; a
validator that had recovered its log, restarted before the next final block, and took it to be lost again."""
SMALL_SEEDS = [seed for seed in range(40) if len(draw_plan(seed, Profile.FULL).powers) == 4][:2]
"""Whose networks are quick to run."""


def run_seed(seed: int, profile: Profile) -> Run:
    plan = draw_plan(seed, profile)
    print(f"seed {seed}: {plan}")
    run = run_plan(plan)
    print(f"  digest {run.digest}, height {run.height}")
    return run


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    silence()
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("seed", range(8))
def test_core_faults_never_split_the_chain_and_a_healed_quorum_goes_on(seed: int) -> None:
    run_seed(seed, Profile.CORE)


@pytest.mark.parametrize("seed", SMALL_SEEDS)
def test_faults_never_split_the_chain_and_healing_makes_every_transaction_final_once(seed: int) -> None:
    run_seed(seed, Profile.FULL)


@pytest.mark.parametrize("seed", FAILED_ONCE)
def test_seed_that_once_failed_holds(seed: int) -> None:
    run_seed(seed, Profile.CORE)


@pytest.mark.slow
@pytest.mark.parametrize("first", CORE_CHUNKS)
def test_core_faults_never_split_the_chain_over_many_seeds(first: int) -> None:
    for seed in range(first, first + CORE_CHUNKS.step):
        run_seed(seed, Profile.CORE)


@pytest.mark.slow
@pytest.mark.parametrize("first", FULL_CHUNKS)
def test_faults_never_split_the_chain_over_many_seeds(first: int) -> None:
    for seed in range(first, first + FULL_CHUNKS.step):
        run_seed(seed, Profile.FULL)


@pytest.mark.slow
def test_real_signatures_give_the_same_traces() -> None:
    for seed in range(5):
        plan = draw_plan(seed, Profile.CORE)
        fast, real = run_plan(plan), run_plan(plan, are_signatures_real=True)
        assert (fast.events, fast.height) == (real.events, real.height)


@pytest.mark.parametrize("behaviour", ["twins", "equivocator"])
def test_validator_that_contradicts_itself_is_caught_and_nobody_else_is_accused(behaviour: str) -> None:
    caught = [run_plan(quiet_plan(seed, ((0, behaviour),))).accused for seed in range(5)]
    assert caught == [1] * 5


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", sorted(set(BEHAVIOURS) - {"twins", "equivocator", "forger", "usurper"}))
def test_one_byzantine_validator_of_four_stops_nothing_and_is_accused_of_nothing(behaviour: str) -> None:
    runs = [run_plan(quiet_plan(seed, ((0, behaviour),))) for seed in range(3)]
    assert [run.accused for run in runs] == [0] * 3


@pytest.mark.slow
def test_every_lie_of_the_lying_proposer_is_told_somewhere_and_refused_for_its_reason() -> None:
    LIES_TOLD.clear()
    runs = [
        run_plan(replace(quiet_plan(seed, ((0, "lying_proposer"),)), duration_ms=8_000, drop_percent=15))
        for seed in range(25)
    ]
    assert set(LIES_TOLD) == set(LIES)
    assert {reason for run in runs for reason in run.rejected} == {
        BlockReason.WRONG_ROOT,
        BlockReason.WRONG_PARENT,
        BlockReason.WRONG_PROPOSER,
        BlockReason.WRONG_SET,
        BlockReason.BAD_TIME,
        BlockReason.BAD_TRANSACTION,
    }


@pytest.mark.slow
@pytest.mark.parametrize("profile", [Profile.CORE, pytest.param(Profile.FULL, marks=pytest.mark.slow)])
def test_same_seed_gives_the_same_trace_under_two_hash_seeds(profile: Profile) -> None:
    program = (
        "from tests.simulation.campaign import silence; silence()\n"
        "from tests.simulation.plan import *; from tests.simulation.scenario import run_plan\n"
        f"print([run_plan(draw_plan(seed, Profile({profile.value!r}))).digest for seed in (4, 5)])"
    )
    digests = set()
    for hash_seed in ("1", "2", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout.splitlines()[-1])
    assert len(digests) == 1, digests


@pytest.mark.slow
def test_campaign_adds_up_the_same_with_one_process_and_with_two() -> None:
    one, two = (run_campaign(range(30), Profile.CORE, jobs=jobs) for jobs in (1, 2))
    assert (one.digest, one.events, one.failed) == (two.digest, two.events, [])


def test_failing_plan_is_shrunk_to_the_faults_it_needs() -> None:
    plan = draw_plan(7, Profile.CORE)
    needed = Fault(at_ms=900, kind=Kind.CRASH_AT_PERSIST, targets=(1,), amount=3, moment=Moment.TORN)
    other = [Fault(at_ms=100 * number, kind=Kind.SKEW, targets=(0,), amount=5) for number in range(5)]
    plan = replace(plan, faults=(*other, needed), drop_percent=15, adversaries=((0, "silent"),))
    smallest = shrink(plan, lambda each: needed in each.faults and bool(each.adversaries))
    assert (smallest.faults, smallest.adversaries, smallest.drop_percent) == ((needed,), ((0, "silent"),), 0)


def test_violation_is_found_when_a_rule_is_broken_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario, "FINAL_BLOCKS", 10_000)
    with pytest.raises(Violation, match=r"makes no 10000 blocks final above \d+ within 150 Δ"):
        run_plan(draw_plan(0, Profile.CORE))


def quiet_plan(seed: int, adversaries: tuple[tuple[int, str], ...]) -> Plan:
    """Nothing goes wrong but the lies."""
    return replace(
        draw_plan(seed, Profile.CORE),
        adversaries=adversaries,
        faults=(),
        drop_percent=0,
        delays_ms=(1, 30),
        duration_ms=3_000,
    )
