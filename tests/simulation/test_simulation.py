"""The whole node under faults, a seed a run. `python -m tests.simulation SEED` replays one with its options."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from node.errors import BlockReason
from tests.simulation.adversaries.lying_proposer import LIES
from tests.simulation.scenario import draw_options, run_scenario

FAST_SEEDS = range(6)
SEEDS = range(6, 206)
CHUNK = 20


def run_seed(seed: int) -> None:
    print(f"seed {seed}: {draw_options(random.Random(seed))}")
    run = run_scenario(seed)
    print(f"  digest {run.digest}, heights {run.heights}, lies {run.lies_told}")
    if run.options.adversary == "liar":
        assert run.evidence_count == 0, "a lie is no equivocation"


@pytest.mark.parametrize("seed", FAST_SEEDS)
def test_faults_never_split_the_chain_and_healing_makes_every_transaction_final_once(seed):
    run_seed(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", SEEDS[::CHUNK])
def test_faults_never_split_the_chain_over_many_seeds(first):
    for seed in range(first, first + CHUNK):
        run_seed(seed)


def test_twins_are_caught_and_nobody_else_is_accused():
    twins = [seed for seed in range(200) if draw_options(random.Random(seed)).adversary == "twins"][:5]
    found = [run_scenario(seed).evidence_count for seed in twins]
    print(dict(zip(twins, found, strict=True)))
    assert all(found), "each pair of twins equivocated and was caught"


@pytest.mark.slow
def test_every_lie_of_the_lying_proposer_is_told_somewhere_and_refused_for_its_reason():
    liars = [seed for seed in range(400) if draw_options(random.Random(seed)).adversary == "liar"][:25]
    runs = [run_scenario(seed) for seed in liars]
    assert {lie for run in runs for lie in run.lies_told} == set(LIES)
    assert {reason for run in runs for reason in run.rejected} == {
        BlockReason.WRONG_ROOT,
        BlockReason.WRONG_PARENT,
        BlockReason.WRONG_PROPOSER,
        BlockReason.WRONG_SET,
        BlockReason.BAD_TIME,
        BlockReason.BAD_TRANSACTION,
    }


def test_same_seed_gives_the_same_trace_under_two_hash_seeds():
    program = "from tests.simulation.scenario import run_scenario; print(run_scenario(14).digest)"
    digests = set()
    for hash_seed in ("1", "2", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout.splitlines()[-1])
    assert len(digests) == 1, digests
