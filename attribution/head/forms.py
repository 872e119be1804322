"""Forms gᵀ·M·g in exact integers, without ever writing a gradient out: g is a product x̂ ⊗ r of two short vectors.

A record keeps x̂ (d integers of 16 bits, length 2**13) and r (C integers, ±2**11): 2·(d + C) bytes instead of 2·d·C.
Both sides of every form are built from those very integers and nothing is rounded in between, so that with a positive
definite M the Cauchy-Schwarz inequality holds exactly. What it costs for n records, m questions, u = C·d:

    pull       V = M·g(q), reshaped (C, d):  M·x̂ class by class, then with r    m·u²
    cross      x̂ᵀ·(V·r):  X̂·Vᵀ in floats, then row by row with r                n·m·u
    self       Σ over j ≤ k of r_j·r_k·x̂ᵀ·M_jk·x̂, M_jk a d x d block            n·u²·(C + 1)/(2·C)

Bounds, with R = 105·2**30 < 2**36.72 the largest row sum of M, ‖x̂‖ ≤ 2**13 + 18, |x̂_a| ≤ 2**13, |r_c| ≤ 2**11,
‖r‖₁ ≤ 2**12 + 32 and ‖r‖ < 2**11.51; a symmetric matrix is no longer than its row sum, and neither are its blocks:

    M·x̂             a row sum times 2**13          < 2**49.72, in floats, exact in any order
    V               R·2**13·2**11                  < 2**60.72
    limbs of V      32 bits, the lower in ±2**31;  ‖V‖ < 2**61.3, so the upper's length is below 2**29.4
    X̂·limb          ‖x̂‖·‖limb of one class‖         ≤ 2**13.01·32·2**31 = 2**49.01, in floats, exact in any order
    ... · r         ‖x̂‖·‖limb‖·‖r‖                  ≤ 2**13.01·sqrt(5120)·2**31·2**11.51 < 2**61.8
    x̂ᵀ·M_jk·x̂       R·‖x̂‖²                          < 2**62.73
    ... · r_j·r_k   halves of 32 bits times ‖r‖₁²  < 2**56.1

Each holds for every partial sum as well: dropping terms shortens a vector and a row.

Shapes: n records, m questions, d features, C classes, u = C·d unknowns, class first.
Units: x̂ 2**-13, r 2**-11, M 2**-30/λ, forms 2**-78/λ.
"""

import numpy as np
import numpy.typing as npt

from attribution.errors import AttributionError, Reason
from attribution.exact import Int64, magnitude
from attribution.head.certificate import MAXIMUM_ROW_SUM
from attribution.head.encoder import Int16
from attribution.head.wide import LOW_BITS, Wide, is_any_negative, split, widen

UNIT_BITS = 13
RESIDUAL_BITS = 11

Float64 = npt.NDArray[np.float64]

_BLOCK_CROSS = 1024
_BLOCK_SELF = 512
_HALF = 1 << (LOW_BITS - 1)


def carrier(inverse: Int64) -> Float64:
    """The inverse as integers carried in float64, its bound checked. Shapes: (u, u) -> (u, u).

    Raises: AttributionError(INVERSE_OUT_OF_RANGE).
    """
    if magnitude(inverse) > MAXIMUM_ROW_SUM or int(np.abs(inverse).sum(axis=1).max()) > MAXIMUM_ROW_SUM:
        raise AttributionError(Reason.INVERSE_OUT_OF_RANGE, f"a row sum above {MAXIMUM_ROW_SUM}")
    return inverse.astype(np.float64)


def pulls(units: Int16, shares: Int16, inverse: Float64) -> Int64:
    """M·g of each point. Shapes: units (m, d), shares (m, C), inverse (u, u) -> (m, u)."""
    _check(units, shares, inverse)
    u, (m, classes) = len(inverse), shares.shape
    by_class = inverse.reshape(u * classes, -1) @ units.T.astype(np.float64)  # (u·C, m), exact
    pulled: Int64 = np.einsum("ukm,mk->mu", by_class.astype(np.int64).reshape(u, classes, m), shares.astype(np.int64))
    return pulled


def cross_forms(units: Int16, shares: Int16, pulled: Int64) -> Wide:
    """g(z_i)ᵀ·M·g(q_j), of records with what M makes of the questions.

    Shapes: units (n, d), shares (n, C), pulled (m, u) -> (n, m).
    """
    (n, d), m, classes = units.shape, len(pulled), shares.shape[1]
    upper = (pulled + _HALF) >> LOW_BITS
    limbs = np.stack([upper, pulled - (upper << LOW_BITS)], axis=1)  # (m, 2, u)
    right = limbs.reshape(m * 2 * classes, d).T.astype(np.float64)  # (d, m·2·C)
    high, low = np.empty((n, m), dtype=np.int64), np.empty((n, m), dtype=np.int64)
    left = np.empty((min(n, _BLOCK_CROSS), d))
    product = np.empty((len(left), right.shape[1]))
    for start in range(0, n, _BLOCK_CROSS):
        rows = slice(start, min(n, start + _BLOCK_CROSS))
        count = rows.stop - start
        np.copyto(left[:count], units[rows])
        np.matmul(left[:count], right, out=product[:count])
        sums = np.einsum(
            "nmlc,nc->lnm",
            product[:count].astype(np.int64).reshape(count, m, 2, classes),
            shares[rows].astype(np.int64),
        )
        high[rows], low[rows] = sums[0], sums[1]
    return widen(high, low)


def self_forms(units: Int16, shares: Int16, inverse: Float64) -> Wide:
    """gᵀ·M·g of each point. Shapes: units (n, d), shares (n, C), inverse (u, u) -> (n,).

    Raises: AttributionError(INVERSE_NOT_CERTIFIED) when a form is negative, as no certified inverse allows.
    """
    _check(units, shares, inverse)
    (n, d), classes = units.shape, shares.shape[1]
    high, low = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    for start in range(0, n, _BLOCK_SELF):
        rows = slice(start, start + _BLOCK_SELF)
        x, r = units[rows].astype(np.int64), shares[rows].astype(np.int64)
        carried = x.astype(np.float64)
        for j in range(classes):
            # M is symmetric: the pairs (j, k) and (k, j) have the same form, so k > j counts twice.
            pulled = (carried @ inverse[j * d : (j + 1) * d, j * d :]).astype(np.int64)
            quadratic = np.einsum("nkd,nd->nk", pulled.reshape(len(x), classes - j, d), x)
            weights = r[:, j, None] * r[:, j:]
            weights[:, 1:] *= 2
            upper, lower = split(quadratic)
            high[rows] += (weights * upper).sum(axis=1)
            low[rows] += (weights * lower).sum(axis=1)
    return _validate(widen(high, low))


def own_forms(units: Int16, shares: Int16, pulled: Int64) -> Wide:
    """`self_forms` of few points whose pulls are known. Shapes: units (m, d), shares (m, C), pulled (m, u) -> (m,).

    Raises: AttributionError(INVERSE_NOT_CERTIFIED), as `self_forms`.
    """
    each = np.arange(len(units))
    return _validate(cross_forms(units, shares, pulled)[each, each])


def _validate(forms: Wide) -> Wide:
    if is_any_negative(forms):
        raise AttributionError(Reason.INVERSE_NOT_CERTIFIED, "a form of a vector with itself is negative")
    return forms


def _check(units: Int16, shares: Int16, inverse: Float64) -> None:
    """The operands are what the bounds were proven for; the inverse's are checked where it becomes a carrier."""
    assert inverse.dtype == np.float64
    assert magnitude(units) <= 1 << UNIT_BITS
    assert magnitude(shares) <= 1 << RESIDUAL_BITS
