"""How many questions a node's workers answer per second: `python -m tests.node.bench_pool [--seconds 5]`.

Every question is another one, to a few models, from nothing prepared to everything prepared; blocks wait for them all,
so that no worker is spared. Prints a line per number of workers.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from queue import SimpleQueue

from node.observation import Work
from node.pool import Pool
from node.worker import Failure, Job, Urgency
from tests.node.questions import make_case

MODELS = 4
COLUMNS, RECORDS = 16, 4_000


def measure(workers: int, seconds: float) -> tuple[float, float]:
    """Questions per second, once every worker has every model prepared, and seconds until then."""
    cases = [make_case(seed=seed, columns=COLUMNS, records=RECORDS) for seed in range(MODELS)]
    calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
    pool = Pool(workers=workers, memory_size_bytes=4 * 2**30, post=calls.put, work=Work(), on_wrong_kernel=print)
    under_way = answered = asked = 0

    def ask() -> None:
        nonlocal under_way, asked
        case = cases[asked % MODELS]
        request, own = case.ask(asked % 101)
        asked, under_way = asked + 1, under_way + 1
        materials = own if asked > 4 * MODELS * workers else case.materials | own

        def on_done(outcome: object) -> None:
            nonlocal under_way, answered
            under_way, answered = under_way - 1, answered + 1
            if outcome is Failure.NEEDS_MATERIALS:
                answered -= 1
                pool.submit(Job(request, case.materials | own, on_done, Urgency.JUDGING))
                under_way += 1

        pool.submit(Job(request, materials, on_done, Urgency.JUDGING))

    def run(until: Callable[[], bool]) -> None:
        while not until():
            while under_way < 2 * workers:
                ask()
            calls.get()()

    start_s = time.monotonic()
    run(lambda: answered >= 8 * MODELS * workers)
    ready_s = time.monotonic()
    before = answered
    run(lambda: time.monotonic() - ready_s >= seconds)
    rate = (answered - before) / (time.monotonic() - ready_s)
    pool.close()
    return rate, ready_s - start_s


def main() -> None:
    """Measures one worker, then two."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=5.0)
    seconds = options.parse_args().seconds
    print(f"{MODELS} models of {RECORDS} records and {COLUMNS} columns, {os.cpu_count()} cores")
    for workers in (1, 2):
        rate, ready_s = measure(workers, seconds)
        print(f"{workers} worker(s): {rate:.0f} questions per second, all prepared after {ready_s:.1f} s")


if __name__ == "__main__":
    main()
