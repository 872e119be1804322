"""Float code proposes, integers verify: the weights are the optimum of exactly these records, and M is H's inverse.

Weights. The loss is strongly convex, so a small gradient means a near optimum:

    ‖W - W*‖ ≤ (‖g‖ + δ·sqrt(C)·mean‖x‖) / λ,   g the exact gradient at W, δ < 2**-25 the error of a probability

accepted iff ‖g‖ ≤ ε = 2**-22. It refuses other records: with h = (p - e_y) ⊗ x + λ·W the part that one record has in
the gradient, so that g is the mean of the h,

    removing record i gives  (n·g - h_i) / (n - 1),  refused if ‖h_i‖ > (2n - 1)·ε
    adding record i gives    (n·g + h_i) / (n + 1),  refused if ‖h_i‖ > (2n + 1)·ε
    relabelling it gives     g + (h_i' - h_i) / n,   refused if √2·‖x_i‖ > 2n·ε, which holds up to 2**21 records

(exactly so, because p is a function of W and x alone). Below these two models are the same within the bound, and both
are valid. The encoder is held fixed here; a change among the 256 records that fix it changes every feature besides.

Inverse. M is symmetric because only its upper triangle is posted. With τ = damping·2**34 it is accepted iff

    the largest row sum of |H·M - τ·I| is at most η·τ,  η = 1/256

Then the eigenvalues of H·M are within η·τ of τ. They are those of the symmetric √H·M·√H, so M is positive definite,
the Cauchy-Schwarz inequality holds exactly in its metric, and ‖M‖ ≤ (1 + η)·2**30·λ/(λ - 5120·2**-24), which is at
most 1.4605·2**30 at the smallest λ. Its largest row sum is at most sqrt(5120) times that, below 105·2**30 < 2**36.72.
A larger one could not be certified and is refused when it is read.

Bytes, big-endian:   weights   C·d i64, class first, |w| ≤ 2**37, which is 2**7 in units
                     inverse   u·(u + 1)/2 integers of 5 bytes, two's complement, the upper triangle row by row:
                               65,548,800 bytes at 5,120 unknowns, inside 64 MiB

Units: weights 2**-30, gradient norm 2**-40, M 2**30·λ times the inverse of the Hessian, residual 2**-30 of τ.

Source: strong convexity bound: Boyd and Vandenberghe, Convex Optimization, section 9.1.2; an approximate inverse that
is verified by its residual: Rump, "Verification methods", 2010, section 10.
"""

import math

import numpy as np

from attribution.errors import AttributionError, Reason
from attribution.exact import Int64, magnitude, matmul
from attribution.head.encoder import Int16
from attribution.head.request import (
    DAMPING_BITS,
    EPSILON,
    ETA,
    GRADIENT_NORM_BITS,
    INVERSE_ENTRY_SIZE_BYTES,
    INVERSE_RESIDUAL_BITS,
    Certificate,
    Problem,
)
from attribution.head.softmax import GRADIENT_BITS, HESSIAN_BITS, gradient, hessian, logits, probabilities, residuals

INVERSE_BITS = 30
"""M is 2**30·λ times the inverse of the Hessian, which has eigenvalues up to 1/λ."""
MAXIMUM_WEIGHT = 1 << 37
MAXIMUM_ROW_SUM = 105 << INVERSE_BITS

_WIRE_INTEGER = np.dtype(">i8")
_ENTRY_SHIFT = 8 * (_WIRE_INTEGER.itemsize - INVERSE_ENTRY_SIZE_BYTES)


def certify(problem: Problem, features: Int16, labels: Int64, weights: Int64, inverse: Int64) -> Certificate:
    """Check both, in one exact pass over the records.

    Shapes: features (n, d), labels (n,), weights (C, d), inverse (u, u).
    Raises: AttributionError(GRADIENT_TOO_LARGE | INVERSE_NOT_CERTIFIED | BOUND_EXCEEDED), and as `validate_snapshot`.
    """
    validate_snapshot(features, labels, problem.schema.classes)
    chances = probabilities(logits(features, weights))
    total = gradient(features, residuals(chances, labels), weights, problem.damping)
    # The gradient first: it is quick, and what it refuses needs no Hessian.
    validate_gradient(total, len(labels))
    return judge(len(labels), total, hessian(features, chances, problem.damping), inverse, problem.damping)


def validate_snapshot(features: Int16, labels: Int64, classes: int) -> None:
    """Refuse records that nothing can be learnt from. Shapes: features (n, d), labels (n,).

    Raises: AttributionError(TOO_FEW_RECORDS | ONE_CLASS_ONLY | NOTHING_VARIES).
    """
    if len(labels) < classes:
        raise AttributionError(Reason.TOO_FEW_RECORDS, f"{len(labels)} records, {classes} classes")
    if int(labels.min()) == int(labels.max()):
        raise AttributionError(Reason.ONE_CLASS_ONLY, f"label {int(labels[0])}")
    if not np.any(features[:, :-1]):
        raise AttributionError(Reason.NOTHING_VARIES, f"{len(labels)} records")


def judge(record_count: int, total: list[int], matrix: Int64, inverse: Int64, damping: int) -> Certificate:
    """The certificate of a gradient and of a Hessian that are at hand. Shapes: total u, matrix (u, u), inverse (u, u).

    Raises: as `certify`.
    """
    steepness = validate_gradient(total, record_count)
    residual = inverse_residual(matrix, inverse, damping)
    if residual > ETA:
        raise AttributionError(Reason.INVERSE_NOT_CERTIFIED, f"residual {residual}, at most {ETA} of 2**-30")
    return Certificate(record_count=record_count, gradient_norm=steepness, inverse_residual=residual)


def validate_gradient(total: list[int], record_count: int) -> int:
    """The gradient's norm. Raises: AttributionError(GRADIENT_TOO_LARGE)."""
    steepness = gradient_norm(total, record_count)
    if steepness > EPSILON:
        raise AttributionError(Reason.GRADIENT_TOO_LARGE, f"norm {steepness}, at most {EPSILON} of 2**-40")
    return steepness


def gradient_norm(total: list[int], record_count: int) -> int:
    """L2 norm of the mean gradient, rounded up. Units: total 2**-50 summed over records, norm 2**-40."""
    square = sum(value * value for value in total)
    root = math.isqrt(square)
    root += root * root < square
    return -(-root // (record_count << (GRADIENT_BITS - GRADIENT_NORM_BITS)))


def inverse_residual(matrix: Int64, inverse: Int64, damping: int) -> int:
    """Largest row sum of |H·M - τ·I| over τ, rounded up. Shapes: (u, u) both. Units: 2**-30.

    Raises: AttributionError(INVERSE_NOT_CERTIFIED) where the product is too large to be summed.
    """
    target = identity_multiple(damping)
    product = matmul(matrix, inverse)
    # τ ≤ 2**56, so that subtracting it fits; entries must pass the next check before they may be summed.
    if magnitude(product) > 2 * target:
        raise AttributionError(Reason.INVERSE_NOT_CERTIFIED, "the product with the Hessian is far from the identity")
    product[np.diag_indices(len(product))] -= target
    if magnitude(product) > target // 256:
        raise AttributionError(Reason.INVERSE_NOT_CERTIFIED, "the product with the Hessian is far from the identity")
    # 5,120 entries of at most 2**48.
    largest = int(np.abs(product).sum(axis=1).max())
    return -(-largest // (target >> INVERSE_RESIDUAL_BITS))


def identity_multiple(damping: int) -> int:
    """τ: what H·M is for the exact inverse, λ in the units of H times those of M."""
    return damping << (HESSIAN_BITS + INVERSE_BITS - DAMPING_BITS)


def encode_weights(weights: Int64) -> bytes:
    """Bytes of weights. Shapes: weights (C, d)."""
    return weights.astype(_WIRE_INTEGER).tobytes()


def decode_weights(problem: Problem, data: bytes) -> Int64:
    """Weights of bytes. Shapes: (C, d). Raises: AttributionError(WEIGHTS_MALFORMED | WEIGHTS_OUT_OF_RANGE)."""
    if len(data) != problem.weights_size_bytes:
        raise AttributionError(Reason.WEIGHTS_MALFORMED, f"{len(data)} bytes, not {problem.weights_size_bytes}")
    weights = np.frombuffer(data, dtype=_WIRE_INTEGER).astype(np.int64)
    if magnitude(weights) > MAXIMUM_WEIGHT:
        raise AttributionError(Reason.WEIGHTS_OUT_OF_RANGE, f"{magnitude(weights)}, at most {MAXIMUM_WEIGHT}")
    return weights.reshape(problem.schema.classes, -1)


def encode_inverse(inverse: Int64) -> bytes:
    """Bytes of a symmetric matrix: its upper triangle. Shapes: inverse (u, u); entries of 40 bits with the sign."""
    assert magnitude(inverse) < 1 << (8 * INVERSE_ENTRY_SIZE_BYTES - 1)
    shifted = (inverse[np.triu_indices(len(inverse))] << _ENTRY_SHIFT).astype(_WIRE_INTEGER)
    return shifted.view(np.uint8).reshape(-1, _WIRE_INTEGER.itemsize)[:, :INVERSE_ENTRY_SIZE_BYTES].tobytes()


def decode_inverse(problem: Problem, data: bytes) -> Int64:
    """Symmetric matrix of bytes. Shapes: (u, u). Raises: AttributionError(INVERSE_MALFORMED | INVERSE_OUT_OF_RANGE)."""
    if len(data) != problem.inverse_size_bytes:
        raise AttributionError(Reason.INVERSE_MALFORMED, f"{len(data)} bytes, not {problem.inverse_size_bytes}")
    entries = np.frombuffer(data, dtype=np.uint8).reshape(-1, INVERSE_ENTRY_SIZE_BYTES)
    padded = np.zeros((len(entries), _WIRE_INTEGER.itemsize), dtype=np.uint8)
    padded[:, :INVERSE_ENTRY_SIZE_BYTES] = entries
    # The shift brings the sign down with it.
    triangle = padded.view(_WIRE_INTEGER).ravel().astype(np.int64) >> _ENTRY_SHIFT
    if magnitude(triangle) > MAXIMUM_ROW_SUM:
        raise AttributionError(Reason.INVERSE_OUT_OF_RANGE, f"an entry above {MAXIMUM_ROW_SUM}")
    inverse = np.zeros((problem.unknowns, problem.unknowns), dtype=np.int64)
    rows, columns = np.triu_indices(problem.unknowns)
    inverse[rows, columns] = triangle
    inverse[columns, rows] = triangle
    if int(np.abs(inverse).sum(axis=1).max()) > MAXIMUM_ROW_SUM:
        raise AttributionError(Reason.INVERSE_OUT_OF_RANGE, f"a row sum above {MAXIMUM_ROW_SUM}")
    return inverse
