"""Speeds of clusters and retrieval, printed: `python -m tests.attribution.similar.figures [leaders] [rows]`.

Seconds of wall-clock time on this machine as it is loaded now; the best of some runs.
"""

import platform
import sys
import time
from collections.abc import Callable

import numpy as np

from attribution.content import content_hash
from attribution.retrieval.attribute import compute, prepare
from attribution.retrieval.request import Index, RetrievalRequest
from attribution.similar.leaders import signs
from attribution.similar.records import Batch
from attribution.similar.request import TabularRule, TextRule, tabular_work, text_work
from attribution.similar.shingles import shingles
from attribution.similar.tabular import TabularClusters
from attribution.similar.text import TextClusters

WIDTH = 512
BATCH = 1024


def best(runs: int, action: Callable[[], object]) -> float:
    """Seconds of the fastest run."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def line(name: str, seconds: float, note: str = "") -> None:
    print(f"{name:<68} {1000 * seconds:10.2f} ms  {note}")


def make_batch(features: np.ndarray, first: int) -> Batch:
    """Keys are numbers here: making them is not what is measured."""
    count = len(features)
    return Batch(
        seniorities=tuple(range(first, first + count)),
        labels=np.zeros(count, dtype=np.int64),
        features=features,
        keys=tuple((first + i).to_bytes(32, "big") for i in range(count)),
    )


def tabular(count: int) -> None:
    """One label, so that every record meets every leader."""
    rng = np.random.default_rng(1)
    clusters = TabularClusters(TabularRule(), WIDTH)
    start = time.perf_counter()
    for first in range(0, count, BATCH):
        size = min(BATCH, count - first)
        clusters.admit(make_batch(rng.normal(0, 4096, (size, WIDTH)).clip(-32767, 32767).astype(np.int16), first))
    assert len(clusters) == count
    line(
        f"tabular: admit {count:,} leaders x {WIDTH}, {BATCH:,} at a time, each", (time.perf_counter() - start) / count
    )
    fresh = make_batch(rng.normal(0, 4096, (BATCH, WIDTH)).clip(-32767, 32767).astype(np.int16), count)
    near = make_batch(np.full((1, WIDTH), 1, dtype=np.int16), count)
    line(f"tabular: one new record against {count:,} leaders", best(5, lambda: clusters.propose(fresh.part(slice(1)))),
         f"{tabular_work(count, 1, WIDTH):,} multiply-accumulates at most")  # fmt: skip
    line(f"tabular: {BATCH:,} new records against {count:,} leaders, each",
         best(2, lambda: clusters.propose(fresh)) / BATCH)  # fmt: skip
    line("tabular: one record that is near to none and short", best(3, lambda: clusters.propose(near)))
    print(f"{'memory of the leaders':<68} {clusters.size_bytes() / 1e6:10.1f} MB")


def worst_tabular(count: int) -> None:
    """Leaders that pass the filter without being similar: the folded features of the record are equal to theirs."""
    rng = np.random.default_rng(2)
    pairs = rng.normal(0, 4096, (count, WIDTH // 2)).clip(-16000, 16000).astype(np.int64)
    # Neighbours with signs that cancel fold to nothing.
    features = np.stack([pairs, -pairs], axis=2).reshape(count, WIDTH) * signs()
    clusters = TabularClusters(TabularRule(), WIDTH)
    for first in range(0, count, BATCH):
        clusters.admit(make_batch(features[first : first + BATCH].astype(np.int16), first))
    asked = rng.normal(0, 4096, WIDTH // 2).clip(-16000, 16000).astype(np.int64)
    record = np.stack([asked, -asked], axis=1).reshape(1, WIDTH) * signs()
    one = make_batch(record.astype(np.int16), count)
    line(
        f"tabular: one record, all of {count:,} leaders made to pass the filter", best(3, lambda: clusters.propose(one))
    )


def text(count: int, size: int) -> None:
    """Texts of random words."""
    rng = np.random.default_rng(3)
    rule = TextRule()
    texts = [" ".join(map(str, row)).encode() for row in rng.integers(0, 30_000, (count, size))]
    clusters = TextClusters(rule)
    start = time.perf_counter()
    clusters.admit_all(list(enumerate(texts)))
    line(f"text: admit {count:,} texts of {size} words, each", (time.perf_counter() - start) / count)
    asked = texts[7] + b" and more"
    line("text: the verdict on a copy", best(5, lambda: clusters.propose(count, asked)),
         f"{text_work(len(shingles(asked, rule.tag)), rule):,} steps at most")  # fmt: skip


def retrieval(rows: int) -> None:
    """One blob, one question."""
    rng = np.random.default_rng(4)
    blob = rng.integers(-127, 128, (rows, WIDTH), dtype=np.int8).tobytes()
    query = rng.integers(-127, 128, WIDTH, dtype=np.int8).tobytes()
    index = Index(
        engine="retrieval/1", dimensions=WIDTH, top=16, embeddings=content_hash(blob),
        records=tuple(content_hash(i.to_bytes(4, "big")) for i in range(rows)),
    )  # fmt: skip
    start = time.perf_counter()
    ready = prepare(index, {index.embeddings: blob})
    line(f"retrieval: prepare {rows:,} x {WIDTH}", time.perf_counter() - start)
    request = RetrievalRequest(index=index, queries=(content_hash(query),))
    line(f"retrieval: one question over {rows:,} x {WIDTH}",
         best(5, lambda: compute(request, {content_hash(query): query}, ready)))  # fmt: skip


def main() -> None:
    """Print every figure."""
    leaders, rows = (int(word) for word in (*sys.argv[1:], *("100000", "1000000")[len(sys.argv) - 1 :]))
    print(platform.machine(), "numpy", np.__version__)
    tabular(leaders)
    worst_tabular(leaders // 10)
    text(2000, 400)
    retrieval(rows)


if __name__ == "__main__":
    main()
