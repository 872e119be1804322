"""`python -m tests.crash`: kills a node at every persist point, and prints what became of it."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.crash.campaign import be_quiet, make_plans, perform, survey, table


def run(every: int, offset: int, power_seed: int | None, jobs: int) -> bool:
    """One campaign. Returns whether each run came to the same root."""
    begun = time.monotonic()
    points = survey()
    plans = make_plans(points, every=every, offset=offset, power_seed=power_seed)
    what = "kill" if power_seed is None else f"kill and power cut, seed {power_seed}"
    print(f"{what}: {len(points)} persist points, {len(plans)} runs (every {every}, from {offset})", flush=True)
    # Clean processes: each starts the lives of its own runs.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=be_quiet) as pool:
        results = list(pool.map(perform, plans))
    print(table(results))
    for each in results:
        if each.refused:
            print(f"refused: {each.plan}: {each.refused}")
    print(f"{time.monotonic() - begun:.0f} s on {jobs} processes")
    return not any(each.refused for each in results)


def main() -> None:
    be_quiet()
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only each so many of the points and moments")
    parser.add_argument("--offset", type=int, default=0, help="the first of them")
    parser.add_argument("--power-seed", type=int, default=1, help="what a power cut leaves follows from it")
    parser.add_argument("--only", choices=["kill", "power"], help="one of the two campaigns")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    is_good = True
    for what, seed in (("kill", None), ("power", arguments.power_seed)):
        if arguments.only in (None, what):
            is_good = run(arguments.every, arguments.offset, seed, arguments.jobs) and is_good
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
