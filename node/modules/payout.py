"""Who is paid for an answer, and how much of it: the rule of the economy in plain integers, without state.

    1 gate        records that fail the model's holdout gate are out
    2 threshold   s_r >= theta
    3 links       of each cluster, elder members first, the records whose s_r is above that of all elder ones
    4 score       min(s of the cluster's last link, clip); the clusters with the highest, ties to the elder first link
    5 excess      e_r = min(s_r, clip) - min(s of the link before, clip)
    6 payment     pool·e_r // W,  W = Σ e_r + sigma

A cluster's excesses add up to its score: a copy adds nothing to it and takes nothing from its elder. Clipping keeps the
order of influences, so clipping before or after step 3 gives the same excesses; the claim therefore carries influences
as they were computed, and the clip is applied when it is settled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

MOST_CREDITS = 64
"""Links that one answer pays at most, over all clusters."""
NO_CLIP = 1_000
"""The clip that changes nothing: no relative influence is above it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A record that an answer might pay."""

    position: int
    """Its place in the datanet."""
    influence: int
    """s_r: its relative influence."""
    seniority: tuple[int, int, int]
    """(height, transaction index, record index): smaller is elder."""
    content: bytes
    """Its content hash."""
    leader: bytes
    """Content hash of its cluster's leader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """What a record adds to its elder near-copies."""

    units: int
    """e_r."""
    senior: int | None
    """Place, among the links of the answer, of the link that reduced it."""


def credited(theta: int, top_clusters: int, clip: int, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Steps 2 to 4: the links that are paid, cluster by cluster, in the clusters' order and by seniority in each.

    A cluster pays for at most MOST_CREDITS // top_clusters links: what its younger members add beyond is not paid.
    """
    clusters: dict[bytes, list[Candidate]] = {}
    for each in sorted(candidates, key=lambda each: (each.seniority, each.content)):
        if each.influence >= max(theta, 1):
            links = clusters.setdefault(each.leader, [])
            if not links or each.influence > links[-1].influence:
                links.append(each)
    most_links = MOST_CREDITS // top_clusters
    shortened = [links[:most_links] for links in clusters.values()]
    shortened.sort(key=lambda links: (-min(links[-1].influence, clip), links[0].seniority, links[0].content))
    return tuple(each for links in shortened[:top_clusters] for each in links)


def excesses(clip: int, leaders: Sequence[bytes], influences: Sequence[int]) -> tuple[Excess, ...]:
    """Step 5, for links as `credited` orders them."""
    found: list[Excess] = []
    for index, influence in enumerate(influences):
        has_senior = index > 0 and leaders[index - 1] == leaders[index]
        before = influences[index - 1] if has_senior else 0
        units = min(influence, clip) - min(before, clip)
        found.append(Excess(units=units, senior=index - 1 if has_senior else None))
    return tuple(found)


def scores(leaders: Sequence[bytes], influences: Sequence[int]) -> tuple[int, ...]:
    """The unclipped score of each cluster that is paid."""
    pairs = zip(leaders, influences, strict=True)
    return tuple(max(influence for _, influence in links) for _, links in groupby(pairs, key=lambda pair: pair[0]))


def clip_of(weights: Mapping[int, int]) -> int:
    """2·S_ref, S_ref the lower median of past scores weighted by fees; `NO_CLIP` when there are none."""
    total = sum(weights.values())
    below = 0
    for score in sorted(weights):
        below += weights[score]
        if 2 * below >= total:
            return min(2 * score, NO_CLIP)
    return NO_CLIP
