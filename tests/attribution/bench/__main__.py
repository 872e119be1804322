"""`python -m tests.attribution.bench`: is attribution faithful, and does its payout survive those who game it?

Exit codes: 0 every gate is met; 1 one is missed; 2 wrong usage.
"""

import os
import sys
from pathlib import Path

import click

SECTIONS = ("scores", "left-out", "mislabelled", "attacks")


@click.command()
@click.option("--only", multiple=True, type=click.Choice(SECTIONS), help="A part to measure. Repeatable.")
@click.option("--quick", is_flag=True, help="A minute: smaller data, fewer retrainings and seeds.")
@click.option("--seed", default=1, show_default=True, help="Fixes splits, subsets and attacks.")
@click.option("--damping", default=0.1, show_default=True, help="λ of every head.")
@click.option("--threads", default=2, show_default=True, help="Threads of every library.")
@click.option(
    "--without", multiple=True, help="A rule of the payout to switch off, to see a gate turn red. Repeatable."
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), default=Path("bench-attribution.json"))
@click.option("--png", "png_path", type=click.Path(path_type=Path), default=Path("bench-attribution.png"))
def main(
    only: tuple[str, ...],
    quick: bool,
    seed: int,
    damping: float,
    threads: int,
    without: tuple[str, ...],
    json_path: Path,
    png_path: Path,
) -> None:
    """Measures fidelity against other libraries and attacks on the payout: tables, JSON and a PNG."""
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    os.environ["TQDM_DISABLE"] = "1"
    # numpy and torch read those once.
    from tests.attribution.bench.run import measure

    report = measure(only or SECTIONS, quick, seed, damping, threads, without)
    report.save_json(json_path)
    click.echo(f"\nwritten: {json_path}")
    try:
        from tests.attribution.bench.chart import save_chart  # matplotlib belongs to the bench extra

        save_chart(report, png_path)
        click.echo(f"written: {png_path}")
    except ImportError as error:
        click.echo(f"no chart: {error}")
    if report.missed:
        click.secho(f"{len(report.missed)} of {len(report.gates)} gates missed", fg="red", bold=True)
        sys.exit(1)
    click.echo(f"all {len(report.gates)} gates met")


if __name__ == "__main__":
    main(prog_name="python -m tests.attribution.bench")
