"""The payout of economy.md as one pure function of integers, and the clusters that it pays by.

Step by step, for one question:

    1 gate        records that fail the model's holdout gate are out
    2 threshold   s_r ≥ theta
    3 clip        s_r = min(s_r, 2·S_ref), S_ref the lower median of the cluster scores that were paid before
    4 clusters    a cluster's score is the largest of its members; the best 16 are kept, ties to the elder leader
    5 seniority   e_r = max(0, s_r - max over senior members of its cluster), so that a cluster earns its best once
    6 payment     pay_r = pool·e_r // (Σ e + sigma)

Records are numbered by seniority, the eldest first. Each rule can be left out, to see what it is for.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attribution.exact import Int64, matmul
from attribution.head.encoder import Int16

RULES = ("gate", "threshold", "clip", "clusters", "seniority", "relative", "balance", "length")
"""What can be left out: five of the payout, relative influence and a gate that weighs classes equally, which are the
engine's, and the datanet's refusal of fragments."""
THETA = 50
SIGMA = 200
TOP_CLUSTERS = 16
SIMILAR = 970
FEWEST_FEATURES = 8
"""Below so many only equal records cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """What a record earned for one question, and why."""

    record: int
    influence: int
    """s_r after the clip."""
    excess: int
    """e_r."""
    weight: int
    """W."""
    amount_units: int


def pay(
    influences: Sequence[int],
    leaders: Sequence[int],
    blocked: Collection[int],
    pool_units: int,
    *,
    reference: int = 0,
    without: Collection[str] = (),
    ramp: Sequence[int] | None = None,
) -> list[Payment]:
    """The payments of one question.

    `leaders` names each record's cluster by its eldest member; `reference` is S_ref, 0 without a history; `ramp` is
    what is left of a record's excess in thousandths, by its likeness to its seniors.
    """
    clusters = _clusters(influences, leaders, blocked, reference, without)
    best = sorted(clusters, key=lambda leader: (-max(s for _, s in clusters[leader]), leader))[:TOP_CLUSTERS]
    excesses = []
    for leader in best:
        highest = 0
        for record, influence in clusters[leader]:
            excess = max(0, influence - highest) if "seniority" not in without else influence
            excess = excess * ramp[record] // 1000 if ramp is not None else excess
            highest = max(highest, influence)
            if excess:
                excesses.append((record, influence, excess))
    weight = sum(excess for _, _, excess in excesses) + SIGMA
    return [
        Payment(record=r, influence=s, excess=e, weight=weight, amount_units=pool_units * e // weight)
        for r, s, e in sorted(excesses)
    ]


def cluster_scores(
    influences: Sequence[int], leaders: Sequence[int], blocked: Collection[int], without: Collection[str] = ()
) -> list[int]:
    """Unclipped scores of the clusters that one question pays: what S_ref is the median of."""
    clusters = _clusters(influences, leaders, blocked, 0, without)
    return sorted((max(s for _, s in members) for members in clusters.values()), reverse=True)[:TOP_CLUSTERS]


def lower_median(scores: Sequence[int]) -> int:
    """The lower of the middle ones; 0 of none. Fees are equal here, so nothing is weighted."""
    return sorted(scores)[(len(scores) - 1) // 2] if scores else 0


def similarities(features: Int16) -> Int64:
    """floor(2000·x·y / (x·x + y·y)), 1000 where both are zero. Shapes: features (n, d) without bias -> (n, n)."""
    products = matmul(features, features.T)
    squares = np.diagonal(products)
    sums = squares[:, None] + squares[None, :]
    return np.where(sums == 0, 1000, 2000 * products // np.maximum(sums, 1))


def leaders_of(features: Int16, labels: Int64) -> list[int]:
    """The cluster of each record, named by its leader, the eldest first.

    A record joins the eldest leader of its label that is at least SIMILAR to it, and else leads. Replace this function
    to cluster otherwise.

    Shapes: features (n, d + 1) with the bias last, labels (n,) -> n indices.
    """
    found = similarities(features[:, :-1])
    limit = SIMILAR if features.shape[1] > FEWEST_FEATURES else 1000
    is_near = (found >= limit) & (labels[:, None] == labels[None, :])
    leads = np.zeros(len(labels), dtype=bool)
    leaders = []
    for record in range(len(labels)):
        near = np.flatnonzero(is_near[record, :record] & leads[:record])
        leads[record] = near.size == 0
        leaders.append(int(near[0]) if near.size else record)
    return leaders


def ramp_of(features: Int16, labels: Int64, honest: int) -> list[int]:
    """What is left of each record's excess, in thousandths: all at the honest 90th percentile of likeness, 0 at 970.

    Likeness is the largest similarity to a senior of the same label; the percentile is over the first `honest` records.
    """
    found = similarities(features[:, :-1])
    is_senior = np.tri(len(labels), k=-1, dtype=bool) & (labels[:, None] == labels[None, :])
    likeness = np.where(is_senior, found, -1000).max(axis=1).tolist()
    start = min(sorted(likeness[:honest])[honest * 9 // 10], SIMILAR - 1)
    return [1000 * min(max(SIMILAR - each, 0), SIMILAR - start) // (SIMILAR - start) for each in likeness]


def _clusters(
    influences: Sequence[int],
    leaders: Sequence[int],
    blocked: Collection[int],
    reference: int,
    without: Collection[str],
) -> Mapping[int, list[tuple[int, int]]]:
    """Records that pass gate and threshold with what they score, by cluster and seniority."""
    least = THETA if "threshold" not in without else 1
    clip = 2 * reference if reference and "clip" not in without else max(influences, default=0)
    clusters: dict[int, list[tuple[int, int]]] = {}
    for record, influence in enumerate(influences):
        if influence >= least and (record not in blocked or "gate" in without):
            leader = leaders[record] if "clusters" not in without else record
            clusters.setdefault(leader, []).append((record, min(influence, clip)))
    return clusters
