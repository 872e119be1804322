"""Replays seeds: `python -m tests.simulation FIRST [COUNT]`."""

from __future__ import annotations

import random
import sys
import time

from tests.simulation.scenario import draw_options, run_scenario


def main() -> None:
    first = int(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    failed = []
    for seed in range(first, first + count):
        print(f"seed {seed}: {draw_options(random.Random(seed))}", flush=True)
        started = time.monotonic()
        try:
            run = run_scenario(seed)
        except AssertionError as error:
            if count == 1:
                raise
            failed.append(seed)
            print(f"  FAILED: {error}")
            continue
        print(f"  digest {run.digest} heights {run.heights} in {time.monotonic() - started:.1f} s")
    if failed:
        sys.exit(f"failed seeds: {failed}")


if __name__ == "__main__":
    main()
