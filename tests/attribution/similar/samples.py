"""Records with near-copies among them, from seeds."""

import numpy as np

from attribution.similar.records import Batch, encode_features, make_key
from attribution.similar.reference import TabularReference
from attribution.similar.request import TabularRule, Verdict
from attribution.similar.tabular import TabularClusters

RULE = TabularRule()


def make_features(seed: int, count: int, width: int, spread: int = 3000) -> np.ndarray:
    """Half fresh records, half noisy copies of earlier ones, some of them exact, some zero."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((count, width), dtype=np.int64)
    for i in range(count):
        kind = rng.integers(0, 10)
        if kind == 0 or (i == 0 and kind == 1):
            rows[i] = 0
        elif kind < 5 or i == 0:
            rows[i] = rng.normal(0, spread, width)
        elif kind < 9:
            rows[i] = rows[rng.integers(0, i)] + rng.normal(0, spread * rng.choice([0.02, 0.17, 0.25, 0.3]), width)
        else:
            rows[i] = rows[rng.integers(0, i)]
    return np.clip(rows, -32767, 32767).astype(np.int16)


def make_batch(features: np.ndarray, labels: np.ndarray, first: int = 0) -> Batch:
    keys = tuple(make_key(int(y), encode_features(x)) for x, y in zip(features, labels, strict=True))
    return Batch(
        seniorities=tuple(range(first, first + len(labels))),
        labels=labels.astype(np.int64),
        features=features,
        keys=keys,
    )


def make_case(seed: int, count: int, width: int, classes: int = 2, spread: int = 3000) -> Batch:
    print(f"seed {seed}")
    labels = np.random.default_rng(seed + 1000).integers(0, classes, count)
    return make_batch(make_features(seed, count, width, spread), labels)


def judge_plainly(batch: Batch, rule: TabularRule = RULE) -> tuple[Verdict, ...]:
    plain = TabularReference(rule)
    return tuple(feed(plain, batch, i) for i in range(len(batch)))


def feed(plain: TabularReference, batch: Batch, i: int, is_founding: bool = False) -> Verdict:
    row = batch.seniorities[i], int(batch.labels[i]), batch.features[i].tolist(), batch.keys[i]
    return plain.admit(*row, is_founding=is_founding)


def admit_singly(clusters: TabularClusters, batch: Batch) -> tuple[Verdict, ...]:
    return tuple(clusters.admit(batch.part(slice(i, i + 1)))[0] for i in range(len(batch)))
