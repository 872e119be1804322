"""The text encoder once more, in plain Python: slow, short, and what `text` is tested against."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from attribution.exact import divide_half_up_reference
from attribution.head.characters import LOWER_LIMIT, SEPARATORS, lower_table

_MASK = (1 << 64) - 1
_MULTIPLIER = 0x9E3779B97F4A7C15


def features(snapshot: Sequence[str], texts: Sequence[str], dimensions: int) -> list[list[int]]:
    """Features of texts with the encoder that a snapshot fixes."""
    first = snapshot[:256]
    frequency = Counter(bucket for text in first for bucket in {token >> 28 for token in tokens(text)})
    return [_feature_row(text, len(first), frequency, dimensions) for text in texts]


def tokens(text: str) -> Counter[int]:
    """The 48-bit hashes of words, of pairs of neighbouring words, and of runs of 3 to 5 code points."""
    found: list[int] = []
    split = words(text)
    hashes = [_polynomial(word) for word in split]
    found += [_mix(value + 1) for value in hashes]
    found += [_mix(left * _MULTIPLIER + right + 2) for left, right in pairwise(hashes)]
    for word in split:
        padded = [0x20, *word, 0x20]
        for size in (3, 4, 5):
            found += [_mix(_polynomial(padded[i : i + size]) + size) for i in range(len(padded) - size + 1)]
    return Counter(value >> 16 for value in found)


def words(text: str) -> list[list[int]]:
    """Longest runs of code points that are no separators, in small letters."""
    lower = lower_table()
    runs: list[list[int]] = [[]]
    for character in map(ord, text):
        code = lower[character] if character < LOWER_LIMIT else character
        if any(first <= code <= last for first, last in SEPARATORS):
            runs.append([])
        else:
            runs[-1].append(code)
    return [run for run in runs if run]


def _feature_row(text: str, records: int, frequency: Counter[int], dimensions: int) -> list[int]:
    sums = [0] * dimensions
    for token, count in tokens(text).items():
        common = frequency[token >> 28]
        weight = ((records + 1) ** 16 // (common + 1) ** 16).bit_length() - 1
        random = _mix(token)
        for slot in range(4):
            word = random >> (16 * slot) & 0xFFFF
            sums[((word >> 1) * dimensions) >> 15] += weight * count.bit_length() * (-1 if word & 1 else 1)
    length = max(math.isqrt(sum(value * value for value in sums)), 1)
    row = [divide_half_up_reference(value << 15, length) for value in sums]
    return [*(min(max(value, -32767), 32767) for value in row), 1 << 12]


def _polynomial(codes: Sequence[int]) -> int:
    return sum(_mix(code) * pow(_MULTIPLIER, place, 1 << 64) for place, code in enumerate(codes)) & _MASK


def _mix(value: int) -> int:
    value &= _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31
