"""`python -m tests.attribution.exact_figures`: how quick each path of an exact product is on this machine.

Processor time of all threads together, the best of some runs: `make bench-exact` gives BLAS one thread. Gop/s counts
two operations for each multiply-accumulate of the product asked for, however many the path needs. The chooser's costs
in `attribution.products` come from here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import click
import numpy as np

from attribution.products import Backend, paths, product

CASES = {
    "100,000 x 512 int16, 10 queries of 20 bits": (np.int16, (100_000, 512, 10), 15, 20),
    "100,000 x 512 int16, 10 queries of 37 bits": (np.int16, (100_000, 512, 10), 15, 37),
    "1,000,000 x 512 int8, 1 query of 17 bits": (np.int8, (1_000_000, 512, 1), 7, 17),
    "1,000,000 x 512 int8, 1 query of 6 bits": (np.int8, (1_000_000, 512, 1), 7, 5),
    "1,024 x 1,024 x 1,024, 15 by 20 bits": (np.int64, (1024, 1024, 1024), 15, 20),
    "1,024 x 1,024 x 1,024, 20 by 22 bits": (np.int64, (1024, 1024, 1024), 20, 22),
    "1,024 x 1,024 x 1,024, 25 by 27 bits": (np.int64, (1024, 1024, 1024), 25, 27),
}
"""Type of the left operand, shape (m, k, n), bits of the entries."""


def best(function: Callable[[], object], runs: int) -> float:
    """Processor seconds of the quickest run."""
    taken = []
    for _ in range(runs):
        begun = time.process_time()
        function()
        taken.append(time.process_time() - begun)
    return min(taken)


def measure(name: str, runs: int, share: int) -> None:
    """Prints a case's lines."""
    kind, (m, k, n), left_bits, right_bits = CASES[name]
    m //= share
    rng = np.random.default_rng(1)
    left = rng.integers(-(1 << left_bits), 1 << left_bits, (m, k), dtype=kind)
    right = rng.integers(-(1 << right_bits), 1 << right_bits, (k, n))
    sample = max(1, m // 20)  # numpy's own product is slow: a part of the rows tells its speed
    expected = left[:sample].astype(np.int64) @ right
    plain = best(lambda: left[:sample].astype(np.int64) @ right, 1) * m / sample
    print(f"\n{name}" + (f" (1/{share} of the rows)" if share > 1 else ""))
    print(f"  {'numpy int64':20} {plain * 1e3:9.1f} ms {2 * m * k * n / plain / 1e9:8.1f} Gop/s")
    for backend in (Backend.NUMPY, Backend.TORCH):
        for place, path in enumerate(paths(backend, left, right)):
            assert np.array_equal(product(left, right, backend=backend, path=path)[:sample], expected)
            seconds = best(lambda backend=backend, path=path: product(left, right, backend=backend, path=path), runs)  # type: ignore[misc]
            print(
                f"  {backend + ' ' + path:20} {seconds * 1e3:9.1f} ms {2 * m * k * n / seconds / 1e9:8.1f} Gop/s"
                f" {plain / seconds:7.1f} times{'' if place else '   chosen'}"
            )


@click.command(help=__doc__)
@click.option("--runs", default=3, show_default=True, help="The best of so many.")
@click.option("--share", default=1, show_default=True, help="Only this fraction of the rows: 10 for a tenth.")
def main(runs: int, share: int) -> None:
    print(f"threads: OPENBLAS_NUM_THREADS={os.environ.get('OPENBLAS_NUM_THREADS')}")
    for name in CASES:
        measure(name, runs, share)


if __name__ == "__main__":
    main()
