"""chaos: real processes are killed, paused, cut off and slowed down under load, and a checker judges what they said."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from pathlib import Path

import click
import msgspec

from devnet.chaos.report import make_figures, print_report
from devnet.chaos.run import Result, run_chaos
from devnet.chaos.schedule import Fault, draw_schedule, faulty_most
from devnet.proxy import Conditions
from devnet.topology import open_devnet

FAULT_NAMES = {fault.name.lower().replace("_", "-"): fault for fault in Fault}


@click.command()
@click.option("--seed", default=1, show_default=True, help="Draws the faults, their order, and the load.")
@click.option("--minutes", type=click.FloatRange(0.1, 1440), default=1.0, show_default=True, help="How long.")
@click.option("--nodes", type=click.IntRange(4, 9), default=4, show_default=True, help="Validators.")
@click.option(
    "--clients", type=click.IntRange(1, 50), default=4, show_default=True, help="One operation each at a time."
)
@click.option("--pause-ms", default=200, show_default=True, help="A client's mean pause between operations.")
@click.option("--delay-ms", default=5.0, show_default=True, help="Delay of every link at best, and its jitter.")
@click.option(
    "--bound-s",
    default=30.0,
    show_default=True,
    help="Within how many seconds of a healing every node must have new blocks.",
)
@click.option("--fault", "faults", multiple=True, type=click.Choice(list(FAULT_NAMES)), help="Only these; repeat.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".devnet-chaos"),
    show_default=True,
    help="Where the devnet lies; made anew, deleted after a good run.",
)
@click.option("--keep", is_flag=True, help="Keep the directory after a good run too.")
@click.option("--json", "is_json", is_flag=True, help="The last line is one object for programs.")
def chaos(
    *,
    seed: int,
    minutes: float,
    nodes: int,
    clients: int,
    pause_ms: int,
    delay_ms: float,
    bound_s: float,
    faults: tuple[str, ...],
    directory: Path,
    keep: bool,
    is_json: bool,
) -> None:
    """Break and mend real nodes under load; status 0 only if nothing that is promised was broken.

    docs/consistency.md says what is promised. Faults come one after the other; each is healed, and every node must have
    new blocks within the bound before the next one. Those that hit more than f nodes suspend progress, never safety.
    """
    started_s = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - started_s:6.1f} s  {text}")

    devnet, _ = open_devnet(directory, is_reset=True, bench_accounts=clients, first_port=0, validators=nodes)
    steps = draw_schedule(
        seed, [node.name for node in devnet.nodes], 60 * minutes, [FAULT_NAMES[name] for name in faults]
    )
    click.echo(f"seed {seed}, {nodes} nodes of which {faulty_most(nodes)} may fail, {clients} clients; the schedule:")
    for number, step in enumerate(steps, start=1):
        click.echo(f"{number:>4}  {step.describe()}")
    result = asyncio.run(
        run_chaos(
            devnet,
            steps,
            seed=seed,
            seconds=60 * minutes,
            bound_s=bound_s,
            pause_s=pause_ms / 1000,
            calm=Conditions(delay_ms=delay_ms, jitter_ms=delay_ms),
            say=say,
        )
    )
    figures = {"seed": seed, "nodes": nodes, "steps_done": len(result.happened), **make_figures(result)}
    print_report(result, figures, click.echo)
    _leave(directory, result, is_kept=keep or bool(result.violations))
    if is_json:
        click.echo(json.dumps(figures))
    if result.violations:
        click.echo(f"{len(result.violations)} violations; everything is kept in {directory}", err=True)
        sys.exit(1)
    click.echo("no violation")


def _leave(directory: Path, result: Result, *, is_kept: bool) -> None:
    if not is_kept:
        shutil.rmtree(directory)
        return
    (directory / "history.json").write_bytes(msgspec.json.encode(result.history))
    (directory / "answers.json").write_bytes(msgspec.json.encode(result.answers))
