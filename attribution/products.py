"""Exact products of integer matrices: a few paths behind one function, chosen by proof of a bound, then by cost.

    float64   k·|a|·|b| ≤ 2**50: every partial sum is an integer below 2**53, exact in any order of summation
    blocks    the same for each block of the inner dimension, blocks summed in int64
    limbs     operands split into balanced digits whose products satisfy the above, recombined in int64
    int8      left int8 at rest, right split into digits within ±63: int32 sums (torch only)
    int64     integer arithmetic throughout, where the library's is quick enough to pay (torch only)

`left` may be at rest in int8 or int16: it is carried to float64 a block of rows at a time, never whole. The store
belongs on the left. Every path gives the same bits and the same refusals, because neither depends on the plan:

* An entry is summed modulo 2**64, which is exact. While k·|a|·|b| < 2**63 no entry can differ from that.
* Above it, up to 2**100, an estimate in correctly rounded float64 steps is within 2**61 of the entry (at most 9 parts,
  absolute sum below 2**110, 10 roundings), which tells whether the entry fits: one that does not is 2**64 or more off.

Costs are nanoseconds on one core for each entry of `left`, measured by `make bench-exact`. They are constants: the
plan may be slow on another machine, and is the same there.

Sources: balanced limbs: Ozaki et al., "Error-free transformations of matrix multiplication", 2012, section 3; K-blocks
and int8 digits: Ootomo, Ozaki and Yokota, "DGEMM on integer matrix multiplication unit", 2024, section 3.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from attribution.errors import AttributionError, Reason

Integers: TypeAlias = npt.NDArray[np.integer[Any]]
Int64: TypeAlias = npt.NDArray[np.int64]

PRODUCT_BOUND = 1 << 50
"""Largest proven sum of one float64 product: 2**53 less three bits for kernels that add inputs first."""
INT64_MAXIMUM = (1 << 63) - 1
SUM_BOUND = 1 << 100
"""Largest k·|a|·|b| whose entries can be told to fit in 64 bits."""
DIGIT_BITS = 6
DIGIT_MAXIMUM = 63
"""Right operand of int8 products: with 255, the left's largest entry as unsigned, two products fit in 16 bits."""

_MOST_LIMBS = 3
"""Digits of 22 bits leave blocks of at least 256."""
_MOST_DIGITS = 4
_MOST_INNER = 4096
_BLOCK_ENTRIES = 1 << 18
"""Entries of the block that is carried to float64: 2 MiB."""


class Backend(StrEnum):
    """Library and device that compute."""

    NUMPY = "numpy"
    TORCH = "torch"
    CUDA = "cuda"


class Path(StrEnum):
    """How a product is computed."""

    FLOAT64 = "float64"
    BLOCKS = "blocks"
    LIMBS = "limbs"
    INT8 = "int8"
    INT64 = "int64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One proven way to compute a product."""

    path: Path
    left_limbs: int = 1
    """Digits that each left entry is split into."""
    left_bits: int = 0
    """Bits of a left digit."""
    right_limbs: int = 1
    """Digits that each right entry is split into."""
    right_bits: int = 0
    """Bits of a right digit."""
    inner: int = 0
    """Length of a block of the inner dimension."""
    cost: float
    """Units: nanoseconds for each entry of the left operand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Measured costs. Units: nanoseconds on one core."""

    narrow: float
    """Carrying an int8 or int16 entry to float64."""
    wide: float
    """Carrying an int64 entry to float64."""
    entry: float
    """A float64 product, for each entry of the left operand, from two columns on."""
    multiply: float
    """A float64 product, for each entry of the left operand and column."""
    gather: float = 2.0
    """Adding one entry of one block's product."""
    int8: tuple[float, float] | None = None
    """`entry` and `multiply` of the int8 product; None where there is none."""
    int64: tuple[float, float] | None = None
    """`entry` and `multiply` of the int64 product; None where it never pays."""


COSTS = {
    Backend.NUMPY: Costs(narrow=0.2, wide=0.5, entry=0.35, multiply=0.038),
    Backend.TORCH: Costs(narrow=0.25, wide=0.5, entry=0.8, multiply=0.05, int8=(0.06, 0.003), int64=(3.3, 0.062)),
    Backend.CUDA: Costs(narrow=0.02, wide=0.05, entry=0.01, multiply=0.0005, int8=(0.01, 0.0001)),
}


def product(left: Integers, right: Integers, *, backend: Backend = Backend.NUMPY, path: Path | None = None) -> Int64:
    """Exact matrix product; `path` is chosen unless it is named.

    Shapes: left (m, k), right (k, n) -> (m, n).
    Raises: AttributionError(BOUND_EXCEEDED) when an entry does not fit in 64 bits, or k·|left|·|right| > 2**100;
        AttributionError(PATH_NOT_PROVEN) when the named path cannot be proven exact for these operands.
    """
    shape = (*left.shape, right.shape[1])
    assert left.shape[1] == right.shape[0], f"{left.shape} by {right.shape}"
    assert left.dtype.kind == right.dtype.kind == "i", "exact products are of signed integers"
    if 0 in shape:
        return np.zeros((shape[0], shape[2]), dtype=np.int64)
    bounds, bound = _bounds(left, right)
    plans = proven_plans(shape, bounds, left.dtype.itemsize, backend)
    plan = next((each for each in plans if path in (None, each.path)), None)
    if plan is None:
        raise AttributionError(Reason.PATH_NOT_PROVEN, f"{path} for {left.shape} by {right.shape} on {backend}")
    return _join(_parts(left, right, plan, backend), shape[2], plan, bound, f"{left.shape} by {right.shape}")


@lru_cache(maxsize=1024)
def proven_plans(
    shape: tuple[int, int, int], bounds: tuple[int, int], left_size_bytes: int, backend: Backend
) -> tuple[Plan, ...]:
    """The cheapest plan of every path that is proven exact, cheapest first.

    Shapes: shape is (m, k, n), none of them 0; bounds are those of the left and right entries.
    """
    every = [*_float_plans(shape, bounds, left_size_bytes, COSTS[backend])]
    every += _int8_plans(shape, bounds, left_size_bytes, backend)
    every += _int64_plans(shape, bounds, COSTS[backend])
    every.sort(key=lambda plan: plan.cost)
    return tuple({plan.path: plan for plan in reversed(every)}[path] for path in dict.fromkeys(p.path for p in every))


def paths(backend: Backend, left: Integers | None = None, right: Integers | None = None) -> tuple[Path, ...]:
    """Paths that a back end has; with operands, those proven for them, cheapest first. Raises: as `product`."""
    if left is None or right is None:
        costs = COSTS[backend]
        optional = [(Path.INT8, costs.int8), (Path.INT64, costs.int64)]
        return (Path.FLOAT64, Path.BLOCKS, Path.LIMBS, *(path for path, cost in optional if cost is not None))
    shape = (*left.shape, right.shape[1])
    bounds, _ = _bounds(left, right)
    return tuple(plan.path for plan in proven_plans(shape, bounds, left.dtype.itemsize, backend))


def magnitude(array: Integers) -> int:
    """Largest absolute value."""
    return max(int(array.max()), -int(array.min())) if array.size else 0


def split(values: Any, bits: int, limbs: int) -> list[Any]:
    """Balanced digits of int64 entries, lowest first, of numpy or torch; the last is what is left."""
    digits = []
    for _ in range(limbs - 1):
        # The lowest bits, their sign extended; nothing here can pass 64 bits.
        low = ((values & ((1 << bits) - 1)) ^ (1 << (bits - 1))) - (1 << (bits - 1))
        digits.append(low)
        values = (values >> bits) + (low < 0)
    return [*digits, values]


def digit_bound(bound: int, bits: int, limbs: int) -> int:
    """Largest digit that `split` makes of entries within ±bound."""
    top = bound
    for _ in range(limbs - 1):
        top = (top + (1 << (bits - 1))) >> bits
    return max(top, 1 << (bits - 1)) if limbs > 1 else bound


def row_blocks(rows: int, inner: int) -> Iterator[slice]:
    """Slices of rows whose float64 copies stay in the processor's cache."""
    size = max(16, _BLOCK_ENTRIES // inner)
    return (slice(start, start + size) for start in range(0, rows, size))


def _bounds(left: Integers, right: Integers) -> tuple[tuple[int, int], int]:
    """Bounds of the entries and of a sum: by the types where that is enough, else by the entries.

    Raises: AttributionError(BOUND_EXCEEDED).
    """
    by_type = [1 << (8 * each.dtype.itemsize - 1) if each.dtype.itemsize <= 2 else None for each in (left, right)]
    pair = by_type[0] or magnitude(left), by_type[1] or magnitude(right)
    if left.shape[1] * pair[0] * pair[1] > INT64_MAXIMUM:
        pair = magnitude(left), magnitude(right)
    bound = left.shape[1] * pair[0] * pair[1]
    if bound > SUM_BOUND:
        raise AttributionError(Reason.BOUND_EXCEEDED, f"{left.shape} by {right.shape}")
    return pair, bound


def _float_plans(
    shape: tuple[int, int, int], bounds: tuple[int, int], left_size_bytes: int, costs: Costs
) -> Iterator[Plan]:
    _, k, n = shape
    for left_limbs in range(1, _MOST_LIMBS + 1):
        left_bits = _digit_bits(bounds[0], left_limbs)
        for right_limbs in range(1, _MOST_LIMBS + 1):
            right_bits = _digit_bits(bounds[1], right_limbs)
            term = digit_bound(bounds[0], left_bits, left_limbs) * digit_bound(bounds[1], right_bits, right_limbs)
            proven = PRODUCT_BOUND // max(term, 1)
            if proven == 0 or k * term > INT64_MAXIMUM:
                continue
            inner = min(k, proven, _MOST_INNER)
            columns, blocks = n * right_limbs, -(-k // inner)
            carry = costs.wide if left_limbs > 1 or left_size_bytes > 2 else costs.narrow
            once = carry + (costs.entry if columns > 1 else 0) + columns * costs.multiply
            path = Path.LIMBS if left_limbs * right_limbs > 1 else Path.BLOCKS if k > proven else Path.FLOAT64
            yield Plan(
                path=path,
                left_limbs=left_limbs,
                left_bits=left_bits,
                right_limbs=right_limbs,
                right_bits=right_bits,
                inner=inner,
                cost=left_limbs * (once + costs.gather * columns * blocks / k),
            )


def _int8_plans(
    shape: tuple[int, int, int], bounds: tuple[int, int], left_size_bytes: int, backend: Backend
) -> Iterator[Plan]:
    m, k, n = shape
    costs = COSTS[backend]
    # Kernels without 8-bit dot products add 128 to the left operand first; on CUDA the shape is the library's rule.
    if costs.int8 is None or left_size_bytes > 1 or k * 255 * DIGIT_MAXIMUM >= 1 << 31:
        return
    if backend is Backend.CUDA and (m <= 16 or k % 8):
        return
    for digits in range(1, _MOST_DIGITS + 1):
        if digit_bound(bounds[1], DIGIT_BITS, digits) <= DIGIT_MAXIMUM:
            cost = costs.int8[0] + costs.int8[1] * padded(n * digits) + costs.gather * n * digits / k
            yield Plan(path=Path.INT8, right_limbs=digits, right_bits=DIGIT_BITS, inner=k, cost=cost)
            return


def padded(columns: int) -> int:
    """Columns of an int8 product, never one: a lone column has a kernel that saturates (see `products_torch`)."""
    return -(-columns // 8) * 8


def _int64_plans(shape: tuple[int, int, int], bounds: tuple[int, int], costs: Costs) -> Iterator[Plan]:
    _, k, n = shape
    if costs.int64 is not None and k * bounds[0] * bounds[1] <= INT64_MAXIMUM:
        yield Plan(path=Path.INT64, inner=k, cost=costs.int64[0] + costs.int64[1] * n)


def _digit_bits(bound: int, limbs: int) -> int:
    """The fewest bits for which the last digit is no larger than the others."""
    bits = max(1, bound.bit_length() // limbs)
    while limbs > 1 and digit_bound(bound, bits, limbs) > 1 << (bits - 1):
        bits += 1
    return bits


def _parts(left: Integers, right: Integers, plan: Plan, backend: Backend) -> Int64:
    """Products of each left digit with all right digits side by side. Shapes: (left digits, m, right digits · n).

    int8 products come joined: (1, m, n).
    """
    digits = [right] if plan.right_limbs == 1 else split(right.astype(np.int64), plan.right_bits, plan.right_limbs)
    stacked = np.hstack(digits)
    multiply: Callable[[Integers, Integers, Plan, str], Int64] = _numpy_parts
    if backend is not Backend.NUMPY:
        # torch takes seconds to load and numpy's path must not wait for it.
        from attribution.products_torch import torch_parts

        multiply = torch_parts
    return multiply(left, stacked, plan, "cuda" if backend is Backend.CUDA else "cpu")


def _numpy_parts(left: Integers, right: Integers, plan: Plan, _device: str) -> Int64:
    (m, k), columns = left.shape, right.shape[1]
    parts = np.zeros((plan.left_limbs, m, columns), dtype=np.int64)
    for first in range(0, k, plan.inner):
        inner = slice(first, first + plan.inner)
        carrier = right[inner].astype(np.float64)
        for rows in row_blocks(m, plan.inner):
            block = left[rows, inner]
            digits = [block] if plan.left_limbs == 1 else split(block.astype(np.int64), plan.left_bits, plan.left_limbs)
            for part, digit in zip(parts, digits, strict=True):
                part[rows] += (digit.astype(np.float64) @ carrier).astype(np.int64)
    return parts


def _join(parts: Int64, n: int, plan: Plan, bound: int, operands: str) -> Int64:
    """The product from its parts. Raises: AttributionError(BOUND_EXCEEDED)."""
    if parts.shape[::2] == (1, n):
        whole: Int64 = parts[0]
        return whole
    total: Int64 = np.zeros((parts.shape[1], n), dtype=np.int64)
    estimate = np.zeros(total.shape if bound > INT64_MAXIMUM else (0, 0))
    for i, row in enumerate(parts):
        for j in range(plan.right_limbs):
            part, shift = row[:, j * n : (j + 1) * n], plan.left_bits * i + plan.right_bits * j
            if shift < 64:  # what is above 64 bits is 0 modulo 2**64
                total += part << shift
            if estimate.size:
                estimate += np.ldexp(part.astype(np.float64), shift)
    if estimate.size and np.abs(estimate - total.astype(np.float64)).max() >= 2.0**63:
        raise AttributionError(Reason.BOUND_EXCEEDED, operands)
    return total
