"""`python -m tests.simulation run FIRST COUNT | replay SEED | figures`: campaigns, one run to read, and the speeds."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from tests.simulation.campaign import Result, Summary, run_campaign, silence
from tests.simulation.figures import print_figures
from tests.simulation.plan import Plan, Profile, draw_plan
from tests.simulation.scenario import run_plan
from tests.simulation.shrink import shrink

SAVED_SEEDS = 100
"""After so many seeds a campaign says how far it is, and saves."""
VERBOSE_SEEDS = 200
"""A campaign up to this size prints a line per seed."""
PROFILE = click.option(
    "--profile", type=click.Choice([each.value for each in Profile]), default=Profile.FULL.value, show_default=True
)


@click.group()
def cli() -> None:
    """The deterministic simulator."""


@cli.command()
@click.argument("first", type=int)
@click.argument("count", type=int, default=1)
@PROFILE
@click.option("--jobs", type=int, default=os.cpu_count() or 1, show_default=True)
@click.option("--real-signatures", is_flag=True, help="Ed25519 behind the one function: slower, the same traces.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Writes the summary there as it grows.")
def run(*, first: int, count: int, profile: str, jobs: int, real_signatures: bool, json_file: Path | None) -> None:
    """Runs COUNT seeds from FIRST on; a violation is shrunk and its replay printed."""
    silence()
    chosen = Profile(profile)

    def on_result(result: Result, so_far: Summary) -> None:
        if so_far.seeds % SAVED_SEEDS == 0 and json_file is not None:
            json_file.write_text(json.dumps(so_far.to_json(), indent=1) + "\n")
            click.echo(f"{so_far.seeds:,} seeds, {so_far.events:,} events, {len(so_far.failed)} violations")
        if count <= VERBOSE_SEEDS:
            click.echo(f"seed {result.seed}: {result.plan}\n  digest {result.digest} height {result.height}")
        if result.violation is not None:
            click.echo(f"seed {result.seed} VIOLATION: {result.violation}")
            _print_smallest(draw_plan(result.seed, chosen))

    summary = run_campaign(
        range(first, first + count),
        chosen,
        jobs=min(jobs, max(1, count // 10)),
        are_signatures_real=real_signatures,
        on_result=on_result,
    )
    click.echo(str(summary))
    if json_file is not None:
        json_file.write_text(json.dumps(summary.to_json(), indent=1) + "\n")
    sys.exit(1 if summary.failed else 0)


@cli.command()
@click.argument("seed", type=int)
@PROFILE
@click.option("--keep", help="Numbers of the plan's faults to keep, with commas between; all by default.")
@click.option("--nobody-lies", is_flag=True)
def replay(*, seed: int, profile: str, keep: str | None, nobody_lies: bool) -> None:
    """Runs one seed and prints a line per event."""
    silence()
    plan = draw_plan(seed, Profile(profile))
    if keep is not None:
        kept = {int(number) for number in keep.split(",") if number}
        plan = replace(plan, faults=tuple(fault for number, fault in enumerate(plan.faults) if number in kept))
    if nobody_lies:
        plan = replace(plan, adversaries=())
    lines: list[str] = []
    try:
        finished = run_plan(plan, transcript=lines)
    except AssertionError as error:
        click.echo("".join(lines) + f"{plan}\nVIOLATION: {error}")
        sys.exit(1)
    click.echo("".join(lines) + f"{plan}\ndigest {finished.digest}")


@cli.command()
def figures() -> None:
    """Block interval, finality, a silent leader's cost: in units of the network's delay."""
    silence()
    print_figures(click.echo)


def _print_smallest(plan: Plan) -> None:
    smallest = shrink(plan, _fails)
    numbers = ",".join(str(number) for number, fault in enumerate(plan.faults) if fault in smallest.faults)
    lies = " --nobody-lies" if plan.adversaries and not smallest.adversaries else ""
    click.echo(f"  still fails as: {smallest}")
    for fault in smallest.faults:
        click.echo(f"    {fault}")
    click.echo(
        f"  read it: python -m tests.simulation replay {plan.seed} --profile {plan.profile.value} "
        f"--keep {numbers or ','}{lies}"
    )


def _fails(plan: Plan) -> bool:
    try:
        run_plan(plan)
    except Exception:  # noqa: BLE001 (whatever the code under test raises)
        return True
    return False


if __name__ == "__main__":
    cli()
