"""What the engine costs here: `python -m tests.attribution.head.figures [records]`.

    question     100,000 records x 512 features x 10 classes, 5,120 unknowns, in milliseconds, and the bytes it reads
                 per second as a part of what a plain copy moves in the same run
    model        certify, prepare and fit at that many records x 2,048 unknowns (256 features, 8 classes): minutes

Set OPENBLAS_NUM_THREADS for the cores it may use. The numbers behind the question are pseudo-random: its cost does not
depend on them.
"""

import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from attribution.content import content_hash
from attribution.head.attribute import compute, prepare
from attribution.head.fit import fit
from attribution.head.forms import carrier, cross_forms, own_forms, pulls
from attribution.head.influence import class_residuals, relative_influence, unit_rows
from attribution.head.request import AttributeRequest, CertifyRequest, Model, Problem
from attribution.head.wide import widen
from attribution.record import Column, TabularSchema, encode_query, encode_record


def best_s(action: Callable[[], object], times: int) -> float:
    """Shortest of some runs: what others do on the machine only lengthens one."""
    lengths = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        lengths.append(time.perf_counter() - start)
    return min(lengths)


def question(records: int = 100_000, d: int = 512, classes: int = 10) -> None:
    """One question over prepared records, everything that depends on the question."""
    rng = np.random.default_rng(1)
    unknowns = d * classes
    units = np.empty((records, d), dtype=np.int16)
    for start in range(0, records, 4096):
        block = slice(start, min(records, start + 4096))
        units[block] = unit_rows(rng.normal(0, 4096, (block.stop - start, d)).clip(-32767, 32767).astype(np.int16))
    shares = class_residuals(rng.integers(-(1 << 44), 1 << 44, (records, classes)), rng.integers(0, classes, records))
    diagonal = rng.integers(1 << 29, 1 << 30, unknowns)
    inverse = rng.integers(-1000, 1000, (unknowns, unknowns))
    inverse = inverse + inverse.T
    inverse[np.diag_indices(unknowns)] = diagonal
    carried = carrier(inverse)
    # The largest they could be with this inverse, so that every ratio is admissible.
    forms = widen(np.full(records, 1 << 48), np.zeros(records, dtype=np.int64))

    def ask() -> object:
        asked, towards = units[:1], shares[:1]
        pulled = pulls(asked, towards, carried)
        return relative_influence(cross_forms(units, shares, pulled), forms, own_forms(asked, towards, pulled))

    ask()
    whole = best_s(ask, 15)
    # What the machine's other work does not lengthen; with one thread only, because waiting threads spin.
    start = time.process_time()
    for _ in range(5):
        ask()
    busy = (time.process_time() - start) / 5
    pull = best_s(lambda: pulls(units[:1], shares[:1], carried), 10)
    copy = np.empty_like(units)
    np.copyto(copy, units)
    copied = best_s(lambda: np.copyto(copy, units), 10)
    read_bytes = units.nbytes + shares.nbytes + carried.nbytes
    bandwidth = 2 * units.nbytes / copied
    print(f"question over {records:,} x {d} x {classes}: {whole * 1e3:.1f} ms, {busy * 1e3:.1f} ms of processor")
    print(f"  of which M·g {pull * 1e3:.1f} ms")
    print(f"  reads {read_bytes / 1e6:.0f} MB: {read_bytes / whole / 1e9:.1f} GB/s")
    print(
        f"  a plain copy moves {bandwidth / 1e9:.1f} GB/s, read and written: {read_bytes / whole / bandwidth:.2f} of it"
    )


def model(records: int, columns: int, classes: int) -> None:
    """Fit, certify, prepare, ask."""
    rng = np.random.default_rng(2)
    names = tuple(Column(name=f"c{i}", decimals=0, minimum=-(1 << 20), maximum=1 << 20) for i in range(columns))
    schema = TabularSchema(columns=names, classes=classes)
    labels = rng.integers(0, classes, records)
    values = rng.normal(0, 1000, (records, columns)) + rng.normal(0, 150, (classes, columns))[labels]
    labels = np.where(rng.random(records) < 0.05, rng.integers(0, classes, records), labels)
    rows = np.rint(values).astype(np.int64).clip(-(1 << 20), 1 << 20)
    materials, hashes = {}, []
    for label, row in zip(labels.tolist(), rows, strict=True):
        blob = encode_record(schema, label, row.tolist())
        hashes.append(content_hash(blob))
        materials[hashes[-1]] = blob
    problem = Problem(engine="head/1", schema=schema, damping=round(0.1 * 2**20), records=tuple(hashes))
    print(f"model of {records:,} records, {problem.unknowns:,} unknowns")
    stages: list[tuple[str, float]] = []

    def progress(stage: str, _done: float) -> None:
        if not stages or stages[-1][0] != stage:
            stages.append((stage, time.perf_counter()))

    start = time.perf_counter()
    posted = fit(problem, materials, progress=progress)
    print(f"  fit {time.perf_counter() - start:.1f} s, residual {posted.certificate.inverse_residual / 2**30:.1e}")
    for (stage, begun), (_, ended) in pairwise(stages):
        print(f"      {stage} {ended - begun:.1f} s")
    weights, inverse = content_hash(posted.weights), content_hash(posted.inverse)
    materials |= {weights: posted.weights, inverse: posted.inverse}
    made = Model(problem=problem, weights=weights, inverse=inverse)
    print(f"  certify {best_s(lambda: compute(CertifyRequest(model=made), materials), 1):.1f} s")
    start = time.perf_counter()
    prepared = prepare(made, materials)
    print(f"  prepare {time.perf_counter() - start:.1f} s, kept {prepared.size_bytes() / 1e6:.0f} MB", flush=True)
    asked = [encode_query(schema, row.tolist()) for row in rows[:64]]
    materials |= {content_hash(blob): blob for blob in asked}
    for count in (1, 64):
        request = AttributeRequest(model=made, queries=tuple(map(content_hash, asked[:count])))
        print(f"  {count} questions {best_s(lambda r=request: compute(r, materials, prepared), 3) * 1e3:.0f} ms")


if __name__ == "__main__":
    print(f"OPENBLAS_NUM_THREADS={os.environ.get('OPENBLAS_NUM_THREADS', 'unset')}, {os.cpu_count()} cores")
    question()
    if len(sys.argv) > 1:
        model(int(sys.argv[1]), 255, 8)
