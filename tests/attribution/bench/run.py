"""The order of the measurements and their sizes, in full and quick."""

from collections.abc import Collection

import click
import torch

from tests.attribution.bench.attacks import measure_attacks, measure_clinics, measure_dust
from tests.attribution.bench.fidelity import DATASETS, measure_left_out, measure_mislabelled, measure_scores
from tests.attribution.bench.payout import RULES
from tests.attribution.bench.report import Report

QUICK = ("wine", "breast-cancer")
ATTACKED = ("breast-cancer", "digits", "text")


def measure(
    sections: Collection[str], quick: bool, seed: int, decay: float, threads: int, without: Collection[str]
) -> Report:
    """Everything that was asked for. Raises: click.UsageError for a rule that the payout does not have."""
    unknown = sorted(set(without) - set(RULES))
    if unknown:
        raise click.UsageError(f"no rule is called {', '.join(unknown)}; there are {', '.join(RULES)}")
    torch.set_num_threads(threads)
    settings = {"seed": seed, "damping": decay, "threads": threads, "quick": quick, "without": sorted(without)}
    click.echo("  ".join(f"{name} {value}" for name, value in settings.items()))
    report = Report(settings=settings)
    if "scores" in sections:
        names = QUICK if quick else DATASETS
        measure_scores(report, seed, decay, 40 if quick else 100, 30 if quick else 60, names)
    if "left-out" in sections:
        measure_left_out(report, seed, decay, QUICK if quick else DATASETS)
    if "mislabelled" in sections:
        measure_mislabelled(report, seed, decay, ("digits",) if quick else DATASETS)
    if "attacks" in sections:
        for name in ATTACKED[:1] if quick else ATTACKED:
            measure_attacks(report, seed, decay, name, without)
        measure_dust(report, without)
        measure_clinics(report, seed, decay, 3 if quick else 20, without)
    return report
