"""`python -m tests.mutants [NAME ...]`: runs each mutant's seeds in a process of its own until one is caught."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click

from tests.mutants.mutant import Mutant, Mutator
from tests.mutants.table import MUTANTS

MOST_SEEDS = {
    "core": 1_000,
    "full": 100,
    "thirds": 300,
    "caught": 50,
    "heir": 1_000,
    "logs": 300,
    "storm": 100,
    "lies": 200,
}
EQUIVALENT_SEEDS = 100
"""Of a mutant that nothing can catch: the argument says why, the seeds only that it runs."""
LINE_CHARACTERS = 110


@dataclass(frozen=True)
class Outcome:
    """How a mutant fared."""

    name: str
    seeds: int
    """Seeds until it was caught; all that were run if it was not."""
    seconds: float
    violation: str
    """What caught it; empty if nothing did."""


@click.command()
@click.argument("names", nargs=-1)
@click.option("--jobs", type=int, default=os.cpu_count() or 1, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Writes the table there.")
@click.option("--seeds", "most_seeds", type=int, help="Most seeds of each; by default as many as its profile has.")
@click.option("--hunt", help="Runs one mutant's seeds in this very process (for the processes that this one starts).")
def main(
    *, names: tuple[str, ...], jobs: int, json_file: Path | None, most_seeds: int | None, hunt: str | None
) -> None:
    """Takes rules away, one at a time, and counts the seeds until the simulator notices."""
    if hunt is not None:
        click.echo(json.dumps(_hunt(_named(hunt), most_seeds).__dict__))
        return
    chosen = [_named(name) for name in names] or list(MUTANTS)
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        outcomes = []
        for mutant, outcome in zip(chosen, pool.map(lambda each: _start(each, most_seeds), chosen), strict=True):
            outcomes.append(outcome)
            click.echo(_line(mutant, outcome))
    caught = [outcome.seeds for outcome in outcomes if outcome.violation]
    missed = [
        mutant.name
        for mutant, outcome in zip(chosen, outcomes, strict=True)
        if not outcome.violation and not mutant.equivalent
    ]
    median = statistics.median(caught) if caught else 0
    click.echo(f"{len(caught)} of {len(chosen)} caught, median {median:g} seeds, worst {max(caught, default=0)}")
    if json_file is not None:
        json_file.write_text(json.dumps([outcome.__dict__ for outcome in outcomes], indent=1) + "\n")
    sys.exit(f"not caught: {', '.join(missed)}" if missed else 0)


def _named(name: str) -> Mutant:
    found = next((mutant for mutant in MUTANTS if mutant.name == name), None)
    if found is None:
        raise click.UsageError(f"no mutant is named {name}: {', '.join(mutant.name for mutant in MUTANTS)}")
    return found


def _start(mutant: Mutant, most_seeds: int | None) -> Outcome:
    command = [sys.executable, "-m", "tests.mutants", "--hunt", mutant.name]
    command += [] if most_seeds is None else ["--seeds", str(most_seeds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return Outcome(mutant.name, 1, 0.0, f"does not even start: {done.stderr.strip().splitlines()[-1]}")
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def _hunt(mutant: Mutant, most_seeds: int | None) -> Outcome:
    sys.meta_path.insert(0, Mutator(mutant))
    # What is mutated must be imported after the mutator is there.
    from tests.mutants.seeds import silence, violation_of

    silence()
    started = time.monotonic()
    most = most_seeds or (EQUIVALENT_SEEDS if mutant.equivalent else MOST_SEEDS[mutant.profile])
    for seed in range(most):
        violation = violation_of(seed, mutant.profile)
        if violation is not None:
            return Outcome(mutant.name, seed + 1, round(time.monotonic() - started, 1), violation)
    return Outcome(mutant.name, most, round(time.monotonic() - started, 1), "")


def _line(mutant: Mutant, outcome: Outcome) -> str:
    if not outcome.violation:
        verdict = f"equivalent: {mutant.equivalent}" if mutant.equivalent else "NOT CAUGHT"
    else:
        verdict = outcome.violation.splitlines()[0][:LINE_CHARACTERS]
    return f"{mutant.name:<34} {outcome.seeds:>5} seeds {outcome.seconds:>7.1f} s  {verdict}"


if __name__ == "__main__":
    main()
