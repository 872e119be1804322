"""Suffix arrays: built by whichever program is there, and checked in linear time, so that no builder is trusted.

The suffix array of a sequence is unique, so what builds it cannot matter to a result: libdivsufsort where the package
`pydivsufsort` is installed, prefix doubling in numpy where it is not. `validate_suffix_array` decides in a few passes.

Sources: doubling after Manber and Myers, "Suffix arrays: a new method for on-line string searches", 1993, section 3;
the check after Burkhardt and Kärkkäinen, "Fast lightweight suffix array construction and checking", 2003, section 8.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from attribution.errors import AttributionError, Reason

Integers: TypeAlias = npt.NDArray[np.integer[Any]]
UInt32: TypeAlias = npt.NDArray[np.uint32]

MAXIMUM_LENGTH = 1 << 29
"""Ids of one suffix array: five code bytes each stay below 2**32, and a place fits an entry of four bytes."""

_LIMITS = (192, 48 << 8, 15 << 16)
"""How many ids have a code of one, two and three bytes; the others have five."""
_LEADS = (0, 192, 240, 255)
"""First byte of the first code of each size: codes are ordered as their ids, and none begins another."""


def suffix_array(ids: Integers) -> UInt32:
    """Begins of all suffixes in ascending order; one that begins another comes first.

    Shapes: ids (n,), below 2**32 -> (n,).
    """
    assert len(ids) < MAXIMUM_LENGTH
    try:
        # Optional and compiled: a node without it builds the same array, more slowly.
        from pydivsufsort import divsufsort
    except ImportError:
        return doubled(ids)
    code, begins = byte_code(ids)
    if not len(code):
        return np.empty(0, dtype=np.uint32)
    order = divsufsort(code)
    # Suffixes of the code that begin inside an id are passed over.
    place = np.full(len(code), -1, dtype=np.int32)
    place[begins] = np.arange(len(ids), dtype=np.int32)
    places = place[order]
    built: UInt32 = places[places >= 0].astype(np.uint32)
    validate_suffix_array(ids, built)
    return built


def doubled(ids: Integers) -> UInt32:
    """`suffix_array` by prefix doubling in numpy: at most log2(n) + 1 sorts of 64-bit keys."""
    count = len(ids)
    _, named = np.unique(ids, return_inverse=True)
    rank = named.astype(np.uint64) + np.uint64(1)  # 0 stands behind the end
    order = np.argsort(rank, kind="stable")
    width = 1
    while width < count:
        key = rank << np.uint64(32)
        key[:-width] |= rank[width:]
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        is_new = np.concatenate(([True], ordered[1:] != ordered[:-1]))
        rank[order] = np.cumsum(is_new).astype(np.uint64)
        if bool(is_new.all()):
            break
        width *= 2
    return order.astype(np.uint32)


def validate_suffix_array(ids: Integers, array: Integers) -> None:
    """Raise unless `array` is the suffix array of `ids`, in time linear in its length.

    Proof: it is a permutation, first ids do not descend, and where two neighbours' first ids are equal, the suffixes
    behind them stand in the same order. By induction over the shorter suffix's length every neighbour is in order.

    Raises: AttributionError(INDEX_MALFORMED).
    """
    count = len(ids)
    if len(array) != count or (count and int(array.max()) >= count):
        raise AttributionError(Reason.INDEX_MALFORMED, "the suffix array is of another length")
    rank = np.zeros(count + 1, dtype=np.uint32)
    rank[array] = np.arange(1, count + 1, dtype=np.uint32)  # the empty suffix, behind the end, keeps rank 0
    # count values were written to count places: a value written twice leaves some place at 0.
    if count and int(rank[:count].min()) == 0:
        raise AttributionError(Reason.INDEX_MALFORMED, "the suffix array is no permutation")
    first = ids[array]
    behind = rank[array.astype(np.int64) + 1]
    is_ordered = first[:-1] < first[1:]
    is_ordered |= (first[:-1] == first[1:]) & (behind[:-1] < behind[1:])
    if not bool(is_ordered.all()):
        raise AttributionError(Reason.INDEX_MALFORMED, "the suffix array is not in order")


def byte_code(ids: Integers) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """A byte code of the ids that keeps their order, and where each id begins in it.

    No code begins another and codes are ordered as ids, so suffixes of the code that begin at an id are ordered as
    suffixes of ids. Frequent ids are small and take one byte.

    Shapes: ids (n,) -> (k,), (n,).
    """
    values = ids.astype(np.int64)
    lows = np.cumsum((0, *_LIMITS))
    size = np.searchsorted(lows, values, side="right")  # 1, 2, 3, and 4 for a lead with four bytes behind it
    lengths = np.where(size == 4, 5, size)
    begins = np.cumsum(lengths) - lengths
    code = np.zeros(int(lengths.sum()), dtype=np.uint8)
    for kind in range(1, 5):
        chosen = np.flatnonzero(size == kind)
        rest = values[chosen] - lows[kind - 1]
        tail = 4 if kind == 4 else kind - 1
        code[begins[chosen]] = _LEADS[kind - 1] + (rest >> (8 * tail))
        for index in range(tail):
            code[begins[chosen] + 1 + index] = (rest >> (8 * (tail - 1 - index))) & 0xFF
    return code, begins
