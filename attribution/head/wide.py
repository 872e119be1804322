"""Integers of up to 96 bits in arrays: two 64-bit halves, exact, and the ratio that relative influence needs of them.

A value is high·2**32 + low with 0 ≤ low < 2**32, so that its sign is that of high.

Shapes: those of numpy; `ratio_to_root` broadcasts (m, n) with (m, 1) and (1, n).

Source: estimate, then decide exactly: Shewchuk, "Adaptive precision floating-point arithmetic", 1997, section 1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from attribution.exact import Int64, ratio_to_root_reference

LOW_BITS = 32

_LOW_MASK = (1 << LOW_BITS) - 1
_UNDECIDED_DISTANCE = 2.0**-20
_SMALLEST_ESTIMATED_ROOT = 2.0**32
_LARGEST_SCALE = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wide:
    """An array of integers in two halves."""

    high: Int64
    """Floor of the value by 2**32; below 2**62 in magnitude."""
    low: Int64
    """What is left, from 0 to 2**32 - 1."""

    def __getitem__(self, key: Any) -> "Wide":
        """Part of the array, as numpy indexes it."""
        return Wide(high=self.high[key], low=self.low[key])

    def __len__(self) -> int:
        """Length of the first axis."""
        return len(self.high)

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        return self.high.nbytes + self.low.nbytes

    def tolist(self) -> list[int]:
        """The values as plain integers, flattened."""
        pairs = zip(self.high.ravel().tolist(), self.low.ravel().tolist(), strict=True)
        return [(high << LOW_BITS) + low for high, low in pairs]


def widen(high: Int64, low: Int64) -> Wide:
    """high·2**32 + low of any two arrays below 2**62 in magnitude."""
    return Wide(high=high + (low >> LOW_BITS), low=low & _LOW_MASK)


def split(value: Int64) -> tuple[Int64, Int64]:
    """Floor by 2**32, and the remainder."""
    return value >> LOW_BITS, value & _LOW_MASK


def is_any_negative(value: Wide) -> bool:
    """Whether one of the values is below 0."""
    return bool(value.high.size) and int(value.high.min()) < 0


def ratio_to_root(numerator: Wide, left: Wide, right: Wide, scale: int) -> Int64:
    """scale·numerator / isqrt(left·right) toward zero, and 0 where left·right = 0.

    Proof: an operand as a float is off by two roundings (of high, and of the sum; low is exact; a sum that cancels has
    a high below 2**53, which is exact). With a root of at least 2**32 and a ratio within ±2·scale ≤ 2**11, the estimate
    is within 2**-38 (ten roundings) + 2**-21 (the root's floor) of the ratio; so unless it is that close to an integer
    other than 0, its integer part is right. All others are decided by plain integers.

    Shapes: numerator (m, n), left (m, 1), right (1, n), left and right not negative -> (m, n).
    """
    assert scale <= _LARGEST_SCALE
    assert not is_any_negative(left)
    assert not is_any_negative(right)
    root = np.sqrt(_estimate(left)) * np.sqrt(_estimate(right))
    estimate = _estimate(numerator)
    estimate *= scale
    estimate /= np.maximum(root, 1.0)
    nearest = np.rint(estimate)
    is_undecided = (np.abs(estimate - nearest) < _UNDECIDED_DISTANCE) & (nearest != 0)
    is_undecided |= (root < _SMALLEST_ESTIMATED_ROOT) | (np.abs(estimate) > 2 * scale)
    estimate[is_undecided] = 0.0
    ratio = np.trunc(estimate).astype(np.int64)
    for row, column in np.argwhere(is_undecided).tolist():
        operands = _integer(numerator, row, column), _integer(left, row, 0), _integer(right, 0, column)
        ratio[row, column] = ratio_to_root_reference(*operands, scale)
    return ratio


def _estimate(value: Wide) -> npt.NDArray[np.float64]:
    """The values as floats: two correctly rounded operations; the product with a power of two is exact."""
    estimate: npt.NDArray[np.float64] = value.high.astype(np.float64) * 2.0**LOW_BITS + value.low.astype(np.float64)
    return estimate


def _integer(value: Wide, row: int, column: int) -> int:
    return (int(value.high[row, column]) << LOW_BITS) + int(value.low[row, column])
