"""`python -m attribution`: attribution on files of one's own, without a chain.

Exit codes: 0 done; 1 the data cannot be used, or no model certifies; 2 wrong usage.
"""

import os

import click

from attribution.cli.bench import bench
from attribution.cli.cluster import cluster
from attribution.cli.explain import explain
from attribution.cli.training import certify, fit


@click.group()
def main() -> None:
    """Which records made this answer, and how much: exact attribution on JSON Lines, CSV, Parquet and text files."""


for command in (fit, certify, explain, cluster, bench):
    main.add_command(command)


if __name__ == "__main__":
    # The products are small: on a busy machine more threads only wait for each other.
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    main(prog_name="python -m attribution")
