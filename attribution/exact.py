"""Exact integer kernels: the same bits on every machine, at floating-point speed.

Matrix products are those of `products`: a path proven exact for the operands at hand, else a refusal. Nothing wraps
silently.

Never here: BLAS on non-integers, libm, `numpy.linalg`, float sums. `ratio_to_root` estimates with correctly rounded
operations (conversion, product, quotient, root) and decides by integers wherever the estimate could be wrong.

Each fast form has a plain Python-integer `_reference` beside it, and `known_answer_test` compares them on this machine.

Source: estimate, then decide exactly: Shewchuk, "Adaptive precision floating-point arithmetic", 1997, section 1.
"""

import hashlib
import math
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache
from typing import TypeAlias

import numpy as np

from attribution.content import EXP_TABLE_SHA256
from attribution.errors import AttributionError, KernelError, Reason
from attribution.products import (
    INT64_MAXIMUM,
    PRODUCT_BOUND,
    Backend,
    Int64,
    Integers,
    Path,
    magnitude,
    paths,
    product,
)

__all__ = [
    "EXPONENTIAL_BITS",
    "EXPONENT_BITS",
    "EXP_TABLE_SHA256",
    "INT64_MAXIMUM",
    "PRODUCT_BOUND",
    "Int64",
    "Integers",
    "Matrix",
    "divide_half_up",
    "divide_half_up_reference",
    "exp_negative",
    "exp_negative_reference",
    "exp_table",
    "floor_log2",
    "isqrt",
    "known_answer_test",
    "magnitude",
    "matmul",
    "matmul_reference",
    "ratio_to_root",
    "ratio_to_root_reference",
    "shift_half_even",
    "shift_half_even_reference",
    "top",
    "top_reference",
]

Matrix: TypeAlias = Sequence[Sequence[int]]

EXPONENT_BITS = 30
"""Fraction bits of the argument of `exp_negative`."""
EXPONENTIAL_BITS = 34
"""Fraction bits of the value of `exp_negative`, whose error is below 2**-32."""

_COARSE_BITS = 24
"""One coarse entry per 2**-6 of the argument, up to 32."""
_FINE_BITS = 12
"""One fine entry per 2**-18 of the argument, up to 2**-6."""
_COARSE_ENTRIES = 32 << (EXPONENT_BITS - _COARSE_BITS)
_FINE_ENTRIES = 1 << (_COARSE_BITS - _FINE_BITS)
_UNDECIDED_DISTANCE = 2.0**-20
_SMALLEST_ESTIMATED_ROOT = 2.0**32


def matmul(left: Integers, right: Integers, *, backend: Backend = Backend.NUMPY) -> Int64:
    """Exact matrix product, whatever the operands' size; a large store belongs on the left and is read once.

    Shapes: left (m, k), right (k, n) -> (m, n).
    Raises: AttributionError(BOUND_EXCEEDED) when an entry does not fit in 64 bits: never while
        k · max|left| · max|right| < 2**63.
    """
    return product(left, right, backend=backend)


def matmul_reference(left: Matrix, right: Matrix) -> list[list[int]]:
    """`matmul` in plain integers."""
    columns = list(zip(*right, strict=True))
    return [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in left]


def shift_half_even(array: Int64, bits: int) -> Int64:
    """array / 2**bits, rounded half to even."""
    floor = array >> bits
    remainder, half = array & ((1 << bits) - 1), 1 << (bits - 1)
    is_up = (remainder > half) | ((remainder == half) & (floor % 2 == 1))
    rounded: Int64 = floor + is_up
    return rounded


def shift_half_even_reference(value: int, bits: int) -> int:
    """`shift_half_even` of one plain integer."""
    floor, remainder = divmod(value, 1 << bits)
    half = 1 << (bits - 1)
    return floor + (remainder > half or (remainder == half and floor % 2 == 1))


def divide_half_up(numerator: Int64, denominator: Int64) -> Int64:
    """numerator / denominator to the nearest integer, halves upwards; the denominator is positive.

    Raises: AttributionError(BOUND_EXCEEDED) when the sum does not fit in 64 bits.
    """
    if magnitude(numerator) + magnitude(denominator) > INT64_MAXIMUM:
        raise AttributionError(Reason.BOUND_EXCEEDED, "division")
    return (numerator + (denominator >> 1)) // denominator


def divide_half_up_reference(numerator: int, denominator: int) -> int:
    """`divide_half_up` of plain integers."""
    return (numerator + denominator // 2) // denominator


def isqrt(array: Int64) -> Int64:
    """Floor of the square root, for values from 0 to 2**62; the plain form is `math.isqrt`."""
    assert array.size == 0 or (int(array.min()) >= 0 and int(array.max()) <= 1 << 62)
    # The estimate of a root below 2**31 is off by less than one.
    root = np.sqrt(array.astype(np.float64)).astype(np.int64)
    root -= root * root > array
    root += (root + 1) * (root + 1) <= array
    return root


def floor_log2(array: Int64) -> Int64:
    """Floor of the binary logarithm, for values from 1; the plain form is `int.bit_length() - 1`.

    The exponent of a float64 is read, not computed: conversion may round up to the next power of two, never past it.
    """
    assert array.size == 0 or int(array.min()) >= 1
    exponent = np.minimum(np.frexp(array.astype(np.float64))[1].astype(np.int64) - 1, 62)
    return exponent - ((np.int64(1) << exponent) > array)


def top(values: Int64, count: int, ties: Integers) -> Int64:
    """Places of the `count` largest values, largest first; of equal values the lower tie comes first.

    Shapes: values (n,), ties (n,), all different where values are equal -> (min(count, n),).
    """
    assert values.shape == ties.shape
    assert count >= 0
    places = np.arange(len(values))
    if 0 < count < len(values):
        # Whatever is below the last place's value cannot be among them; the rest is sorted in full.
        places = np.flatnonzero(values >= np.partition(values, len(values) - count)[len(values) - count])
    # ~v is -v - 1, which does not overflow.
    order: Int64 = places[np.lexsort((ties[places], ~values[places]))][:count].astype(np.int64)
    return order


def top_reference(values: Sequence[int], count: int, ties: Sequence[int]) -> list[int]:
    """`top` of plain integers."""
    return sorted(range(len(values)), key=lambda place: (-values[place], ties[place]))[:count]


def ratio_to_root(numerator: Int64, left: Int64, right: Int64, scale: int) -> Int64:
    """scale·numerator / isqrt(left·right) toward zero, and 0 where left·right = 0.

    Proof: with a root of at least 2**32 and a ratio within ±2·scale ≤ 2**11, the estimate is within 2**-39 (eight
    roundings) + 2**-21 (the root's floor) of the ratio; so unless it is that close to an integer other than 0, its
    integer part is right. All others are decided by integers.

    Shapes: numerator (m, n), left (m, 1), right (1, n), left and right not negative -> (m, n).
    """
    assert scale <= 1 << 10
    assert left.size == 0 or right.size == 0 or min(int(left.min()), int(right.min())) >= 0
    root = np.sqrt(left.astype(np.float64)) * np.sqrt(right.astype(np.float64))
    estimate = scale * numerator.astype(np.float64) / np.maximum(root, 1.0)
    nearest = np.rint(estimate)
    is_undecided = (np.abs(estimate - nearest) < _UNDECIDED_DISTANCE) & (nearest != 0)
    is_undecided |= (root < _SMALLEST_ESTIMATED_ROOT) | (np.abs(estimate) > 2 * scale)
    ratio = np.trunc(np.where(is_undecided, 0.0, estimate)).astype(np.int64)
    for row, column in np.argwhere(is_undecided).tolist():
        operands = int(numerator[row, column]), int(left[row, 0]), int(right[0, column])
        ratio[row, column] = ratio_to_root_reference(*operands, scale)
    return ratio


def ratio_to_root_reference(numerator: int, left: int, right: int, scale: int) -> int:
    """`ratio_to_root` of plain integers."""
    root = math.isqrt(left * right)
    if root == 0:
        return 0
    quotient = scale * abs(numerator) // root
    return quotient if numerator >= 0 else -quotient


@cache
def exp_table() -> tuple[Int64, Int64]:
    """exp(-i·2**-6) for the coarse entries and 1 - exp(-i·2**-18) for the fine ones. Units: 2**-34.

    Raises: KernelError when this machine's decimal arithmetic gives another table.
    """
    # Every operation names its context: the surrounding program's may be set to anything.
    context = Context(prec=50, rounding=ROUND_HALF_EVEN)

    def exponential(index: int, bits: int) -> Decimal:
        return context.exp(context.divide(Decimal(-index), Decimal(1 << (EXPONENT_BITS - bits))))

    def rounded(value: Decimal) -> int:
        return int(context.multiply(value, Decimal(1 << EXPONENTIAL_BITS)).to_integral_value(ROUND_HALF_EVEN))

    coarse = [rounded(exponential(index, _COARSE_BITS)) for index in range(_COARSE_ENTRIES)]
    fine = [rounded(context.subtract(Decimal(1), exponential(index, _FINE_BITS))) for index in range(_FINE_ENTRIES)]
    table = np.array(coarse, dtype=np.int64), np.array(fine, dtype=np.int64)
    for part in table:
        part.setflags(write=False)
    digest = hashlib.sha256(b"".join(part.astype(">i8").tobytes() for part in table)).hexdigest()
    if digest != EXP_TABLE_SHA256:
        raise KernelError(f"the exponential table hashes to {digest}, not {EXP_TABLE_SHA256}")
    return table


def exp_negative(argument: Int64) -> Int64:
    """exp(-argument), 0 from 32 on: coarse·(1 - fine)·(1 - rest), where rest < 2**-18 is its own 1 - exp(-rest).

    Error in units: 1/2 for coarse, 1/2 for fine, 1/8 for rest (its square), and two floors: below 4, which is 2**-32.

    Units: argument 2**-30, not negative; value 2**-34.
    """
    coarse, fine = exp_table()
    inside = np.minimum(argument, (32 << EXPONENT_BITS) - 1)
    value = coarse[inside >> _COARSE_BITS]  # at most 2**34
    value = value - ((value * fine[(inside >> _FINE_BITS) % _FINE_ENTRIES]) >> EXPONENTIAL_BITS)  # fine < 2**28
    rest = (inside % (1 << _FINE_BITS)) << (EXPONENTIAL_BITS - EXPONENT_BITS)
    value = value - ((value * rest) >> EXPONENTIAL_BITS)
    return np.where(argument == inside, value, 0)


def exp_negative_reference(argument: int) -> int:
    """`exp_negative` of one plain integer."""
    if argument >= 32 << EXPONENT_BITS:
        return 0
    coarse, fine = exp_table()
    value = int(coarse[argument >> _COARSE_BITS])
    value -= (value * int(fine[(argument >> _FINE_BITS) % _FINE_ENTRIES])) >> EXPONENTIAL_BITS
    rest = (argument % (1 << _FINE_BITS)) << (EXPONENTIAL_BITS - EXPONENT_BITS)
    return value - ((value * rest) >> EXPONENTIAL_BITS)


def known_answer_test(backend: Backend = Backend.NUMPY) -> None:
    """Compare the fast kernels with plain integers on this machine; a node calls it before it validates.

    Every path of a product that the back end may choose is compared, whether or not it is the quickest.

    Raises: KernelError.
    """
    _product_test(backend)
    small, large = _sample(35, 20, 3).reshape(5, 7), _sample(21, 36, 4).reshape(7, 3)
    _expect(
        "small matmul",
        matmul(small, large, backend=backend).tolist() == matmul_reference(small.tolist(), large.tolist()),
    )
    values = np.abs(_sample(256, 62, 5))
    _expect("isqrt", isqrt(values).tolist() == [math.isqrt(value) for value in values.tolist()])
    arguments = np.abs(_sample(256, 35, 6))
    _expect("exp", exp_negative(arguments).tolist() == [exp_negative_reference(x) for x in arguments.tolist()])
    numerator, left, right = values[:64].reshape(8, 8), values[64:72, None], values[None, 72:80]
    expected = [
        [ratio_to_root_reference(int(numerator[i, j]), int(left[i, 0]), int(right[0, j]), 1000) for j in range(8)]
        for i in range(8)
    ]
    _expect("ratio", ratio_to_root(numerator, left, right, 1000).tolist() == expected)
    values = np.abs(_sample(64, 62, 7)) + 1 >> np.arange(64) % 62
    values = np.maximum(values, 1)
    _expect("log2", floor_log2(values).tolist() == [value.bit_length() - 1 for value in values.tolist()])
    values, ties = _sample(256, 4, 8), np.arange(256)[::-1]
    _expect("top", top(values, 40, ties).tolist() == top_reference(values.tolist(), 40, ties.tolist()))


def _product_test(backend: Backend) -> None:
    # Sizes at and around the blocks of BLAS kernels; operands of 15 to 37 bits, so that limbs are used too.
    tested: set[Path] = set()
    for rows, inner, columns, left_bits, bits in (
        (5, 31, 2, 15, 37),
        (67, 257, 33, 15, 24),
        (130, 512, 64, 15, 30),
        (33, 2000, 7, 20, 20),
        (19, 300, 3, 30, 22),
    ):
        left, right = _sample(rows * inner, left_bits, 1).reshape(rows, inner), _sample(inner * columns, bits, 2)
        right = right.reshape(inner, columns)
        # numpy's own integer product calls no BLAS.
        _expect("matmul", np.array_equal(matmul(left, right, backend=backend), left @ right))
        tested |= _expect_paths(left, right, backend)
    # Extreme entries, of equal signs in long runs: what saturates, saturates here.
    store = np.where(_sample(70 * 512, 1, 9) < 0, -128, 127).astype(np.int8).reshape(70, 512)
    store[:8], store[8:16], store[16:24, ::2], store[24:32, 1::2] = 127, -128, 127, -128
    for columns, bits in ((1, 6), (1, 17), (9, 17)):
        query = np.full((512, columns), (1 << bits) - 1)
        query[:, 1::2] *= -1
        tested |= _expect_paths(store, query, backend)
        query[::2] *= -1
        tested |= _expect_paths(store, query, backend)
    _expect("set of paths", tested == set(paths(backend)))


def _expect_paths(left: Integers, right: Integers, backend: Backend) -> set[Path]:
    expected = left.astype(np.int64) @ right
    proven = set(paths(backend, left, right))
    for path in sorted(proven):
        is_equal = np.array_equal(product(left, right, backend=backend, path=path), expected)
        _expect(f"{backend} product by {path}", is_equal)
    return proven


def _sample(count: int, bits: int, seed: int) -> Int64:
    """Signed integers below 2**bits from SHA-256 in counter mode."""
    blocks = (hashlib.sha256(bytes([seed]) + index.to_bytes(4, "big")).digest() for index in range((count + 3) // 4))
    words = np.frombuffer(b"".join(blocks), dtype=">i8").astype(np.int64)
    return words[:count] >> (63 - bits)


def _expect(name: str, is_equal: bool) -> None:
    if not is_equal:
        raise KernelError(f"{name} differs from plain integers on this machine: do not validate with it")
