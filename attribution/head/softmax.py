"""The head: softmax regression with L2 regularisation, in exact integers.

    loss(W) = mean over records of -log softmax(W·x)_y  +  (λ/2)·‖W‖²      (bias included)
    gradient = mean of (p - e_y) ⊗ x  +  λ·W
    Hessian  = mean of (diag(p) - p·pᵀ) ⊗ x·xᵀ  +  λ·I

diag(p) - p·pᵀ is the Laplacian of a graph that joins classes j and k with weight p_j·p_k. Only these weights are
rounded, so the matrix stays positive semidefinite whatever the rounding. Dividing the sum over records by n then
moves the Hessian by at most u ≤ 5,120 units, 2**-11.6 in spectral norm (each pair of classes by a symmetric d x d block
of entries below one unit, and the Laplacian of C joined classes is at most C), which is less than the smallest λ,
2**-10: H is positive definite for every admissible problem.

Shapes: n records, d features, C classes; u = C·d unknowns, ordered class first: unknown c·d + a is W[c, a].
Units: features 2**-12, weights 2**-30, logits 2**-42, probabilities and residuals 2**-28, gradient 2**-50 / n,
pair weights p_j·p_k 2**-24, Hessian 2**-24, damping λ 2**-20.

Error of a probability: 64 classes x 2**-32 (`exact.exp_negative`) + 2**-29 (its own rounding) + 2**-31 (logits
rounded to 2**-30) < 2**-25, inside the 2**-24 that the certificate's bound allows.
"""

import numpy as np

from attribution.exact import (
    EXPONENT_BITS,
    Int64,
    divide_half_up,
    exp_negative,
    matmul,
    shift_half_even,
)
from attribution.head.encoder import FEATURE_BITS, Int16
from attribution.head.request import DAMPING_BITS

WEIGHT_BITS = 30
LOGIT_BITS = FEATURE_BITS + WEIGHT_BITS
PROBABILITY_BITS = 28
GRADIENT_BITS = DAMPING_BITS + WEIGHT_BITS
PAIR_BITS = 24
HESSIAN_BITS = 24

_BLOCK_RECORDS = 512
_HALF_BITS = 11


def logits(features: Int16, weights: Int64) -> Int64:
    """W·x: at most 2**61 for weights up to 2**7, as 512 features of 2**15 allow, or 1,024 of length 2**16.

    Shapes: features (n, d), weights (C, d) -> (n, C).
    """
    return matmul(features, weights.T)


def classify(scores: Int64) -> Int64:
    """The class with the largest logit, the lowest of equals. Shapes: (n, C) -> (n,)."""
    labels: Int64 = scores.argmax(axis=1)
    return labels


def exponentials(scores: Int64, largest: Int64) -> Int64:
    """exp(score - largest), 1 where the score is above. Shapes: (n, C), (n, 1) -> (n, C). Units: 2**-34."""
    below = np.maximum(largest - scores, 0)
    return exp_negative(shift_half_even(below, LOGIT_BITS - EXPONENT_BITS))


def probabilities(scores: Int64) -> Int64:
    """Softmax. Shapes: (n, C) -> (n, C)."""
    parts = exponentials(scores, scores.max(axis=1, keepdims=True))
    return divide_half_up(parts << PROBABILITY_BITS, parts.sum(axis=1, keepdims=True))


def residuals(chances: Int64, labels: Int64) -> Int64:
    """p - e_y. Shapes: (n, C), (n,) -> (n, C)."""
    difference = chances.copy()
    difference[np.arange(len(labels)), labels] -= 1 << PROBABILITY_BITS
    return difference


def gradient(features: Int16, differences: Int64, weights: Int64, damping: int) -> list[int]:
    """n times the gradient of the loss, as plain integers, because λ·W·n does not fit in 64 bits.

    Shapes: features (n, d), differences (n, C), weights (C, d) -> u entries. Units: 2**-50.
    """
    # |sum| ≤ 2**18 records · 2**28 · 2**15 = 2**61.
    sums = matmul(differences.T, features)
    data = [value << (GRADIENT_BITS - FEATURE_BITS - PROBABILITY_BITS) for value in sums.ravel().tolist()]
    penalty = len(features) * damping
    return [value + penalty * weight for value, weight in zip(data, weights.ravel().tolist(), strict=True)]


def hessian(features: Int16, chances: Int64, damping: int) -> Int64:
    """The Hessian, symmetric, positive definite. Shapes: features (n, d), chances (n, C) -> (u, u)."""
    coupling = _couplings(features, chances)
    classes, d = coupling.shape[:2]
    matrix = -coupling
    matrix[np.arange(classes), :, np.arange(classes), :] = coupling.sum(axis=2)
    square: Int64 = matrix.reshape(classes * d, classes * d)
    square[np.diag_indices(classes * d)] += damping << (HESSIAN_BITS - DAMPING_BITS)
    return square


def _couplings(features: Int16, chances: Int64) -> Int64:
    """floor(mean of p_j·p_k·x·xᵀ) for each pair of classes, 0 for j = k. Shapes: (C, d, C, d)."""
    (n, d), classes = features.shape, chances.shape[1]
    upper = np.zeros((classes, d, classes, d), dtype=np.int64)
    lower = np.zeros_like(upper)
    for start in range(0, n, _BLOCK_RECORDS):
        x = features[start : start + _BLOCK_RECORDS].astype(np.float64)
        p = chances[start : start + _BLOCK_RECORDS]
        for j in range(classes - 1):
            pairs = (p[:, j, None] * p[:, j + 1 :]) >> (2 * PROBABILITY_BITS - PAIR_BITS)  # (b, C - 1 - j), ≤ 2**22
            for total, half in ((upper, pairs >> _HALF_BITS), (lower, pairs & ((1 << _HALF_BITS) - 1))):
                # Exact: a half is at most 2**11, with a feature 2**26; |sum| ≤ 2**9 records · 2**15 · 2**26 = 2**50.
                weighted = (half.astype(np.float64)[:, :, None] * x[:, None, :]).reshape(len(x), -1)
                # All 2**9 blocks together stay below 2**59.
                total[j, :, j + 1 :] += (x.T @ weighted).astype(np.int64).reshape(d, classes - 1 - j, d)
    # Units: 2**-48 for the whole sum, upper·2**11 + lower, of which the Hessian keeps 2**-24.
    mean: Int64 = ((upper + (lower >> _HALF_BITS)) >> (2 * FEATURE_BITS - _HALF_BITS)) // n
    both: Int64 = mean + mean.transpose(2, 1, 0, 3)
    return both
