"""Longest matches of every place of a text in a suffix array, all places at once.

One binary search a place, all of them in step: each comparison reads one id, then windows of 8, 16, 32 … until one
differs. The search keeps how long the two neighbours of the interval agree with the place and skips what both agree on.

Cost. A place's search takes at most bit_length(n) comparisons; one that has to look at h + 1 ids, h at most the length
m of the text, reads windows of 1 + 8·(2^k - 1) < 2·(h + 1) + 8 ids in all, because the windows before the last held at
most h. So `search_work` is an upper bound, whatever the
ids are; `Cost` counts what is really read.

Source: Manber and Myers, 1993, section 2, simple accelerant.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from attribution.spans.sorting import Integers

Int64: TypeAlias = npt.NDArray[np.int64]

UNKNOWN = 1 << 40
"""Id of a token that the suffix array does not hold: above every id."""
_BEFORE, _AFTER = -1, 1 << 41
"""What stands behind a pattern: below every id for a lower bound, above every id for an upper bound."""
_SMALLEST_WINDOW, _LARGEST_WINDOW = 8, 512
_WINDOW = np.arange(_LARGEST_WINDOW)


@dataclass(slots=True)
class Cost:
    """Ids read so far."""

    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Haystack:
    """Ids in which matches are looked for. Shapes: n ids, v different ids with the separator."""

    ids: Integers
    """(n,): records' ids, each record followed by the separator 0, which no text that is looked for holds."""
    array: Integers
    """(n,): the suffix array of `ids`."""
    buckets: Int64
    """(v + 1,): the suffixes that begin with id i stand from buckets[i] to buckets[i + 1]."""


def longest_matches(haystack: Haystack, text: Int64, ends: Int64, cost: Cost) -> Int64:
    """Length of the longest match of each place of a text, up to its end. Shapes: text (m,), ends (m,) -> (m,)."""
    _, lengths = _search(haystack, text, np.arange(len(text)), ends, _BEFORE, cost)
    return lengths


def intervals(haystack: Haystack, text: Int64, begins: Int64, ends: Int64, cost: Cost) -> tuple[Int64, Int64]:
    """Suffixes that begin with text[begin:end], first and behind the last. Shapes: (s,), (s,) -> (s,), (s,)."""
    low, _ = _search(haystack, text, begins, ends, _BEFORE, cost)
    high, _ = _search(haystack, text, begins, ends, _AFTER, cost)
    return low, high


def _search(
    haystack: Haystack, text: Int64, begins: Int64, ends: Int64, behind: int, cost: Cost
) -> tuple[Int64, Int64]:
    """Where each pattern would be inserted, and how far it agrees with the nearer of the two neighbours there."""
    known = len(haystack.buckets) - 1
    padded = np.concatenate((text, np.full(_LARGEST_WINDOW, behind)))
    first = np.minimum(text[begins], known)
    is_known = first < known
    bucket = np.where(is_known, first, 0)
    low = np.where(is_known, haystack.buckets[bucket], 0)
    high = np.where(is_known, haystack.buckets[bucket + 1], 0)
    below, above = np.zeros_like(low), np.zeros_like(low)
    active = np.flatnonzero(low < high)
    while len(active):
        middle = (low[active] + high[active]) >> 1
        # All suffixes of the bucket have the first id of the pattern.
        skip = np.maximum(np.minimum(below[active], above[active]), 1)
        places = haystack.array[middle].astype(np.int64)
        agreed, is_less = _compare(haystack.ids, places, padded, begins[active], ends[active], skip, behind, cost)
        less, more = active[is_less], active[~is_less]
        low[less], below[less] = middle[is_less] + 1, agreed[is_less]
        high[more], above[more] = middle[~is_less], agreed[~is_less]
        active = active[low[active] < high[active]]
    return low, np.maximum(below, above)


def _compare(
    ids: Integers, places: Int64, padded: Int64, begins: Int64, ends: Int64, skip: Int64, behind: int, cost: Cost
) -> tuple[Int64, npt.NDArray[np.bool_]]:
    """How many ids a suffix and a pattern share, and whether the suffix is the lesser, knowing that they share `skip`.

    The last id is a separator, which is in no pattern: at the latest there they differ, and reading stops.
    """
    agreed = skip.copy()
    is_less = np.zeros(len(places), dtype=np.bool_)
    active = np.arange(len(places))
    # Most comparisons are decided by the next id alone.
    width, last = 1, len(ids) - 1
    while len(active):
        at = agreed[active, None] + _WINDOW[:width]
        ours = ids[np.minimum(places[active, None] + at, last)].astype(np.int64)
        index = begins[active, None] + at
        theirs = np.where(index < ends[active, None], padded[np.minimum(index, len(padded) - 1)], behind)
        cost.steps += ours.size
        differs = ours != theirs
        where = differs.argmax(axis=1)
        rows = np.arange(len(active))
        is_decided = differs[rows, where]
        decided = active[is_decided]
        is_less[decided] = (ours[rows, where] < theirs[rows, where])[is_decided]
        agreed[decided] += where[is_decided]
        active = active[~is_decided]
        agreed[active] += width
        width = min(max(2 * width, _SMALLEST_WINDOW), _LARGEST_WINDOW)
    return agreed, is_less
