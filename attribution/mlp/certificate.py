"""Float code proposes, integers verify: each checkpoint's scale and the inverse of its expected Fisher matrix.

    F = Σ over records and classes of p_c · f_c·f_cᵀ,   f_c the projected, quantised gradient of log p_c
    λ = floor(trace F / 4k) + 1,   H = F + λ·I, both shifted right until λ is below 2**20

λ follows by rule, a quarter of the mean of the diagonal: nobody chooses it. The posted M is symmetric, because only its
upper triangle is posted, and with τ = λ·2**30 it is accepted iff

    the largest row sum of |H·M - τ·I| is at most η·τ,  η = 1/256

H is positive definite: F is positive semidefinite, and where it is shifted the floor moves it by at most k ≤ 768 in
spectral norm, while λ is at least 2**19. Then M is positive definite as in `head.certificate`, the Cauchy-Schwarz
inequality holds exactly in its metric, and ‖M‖ ≤ (1 + η)·2**30·λ/(λ - 768) < 1.006·2**30: its largest row sum is below
sqrt(768) times that, below 28·2**30. A larger one could not be certified and is refused when it is read.

Bounds: |F| ≤ 2**15 records · (2**12 + 32) · 127² < 2**42, and |H| ≤ trace H < 2**32.

Bytes of an inverse, big-endian:   k·(k + 1)/2 i64, the upper triangle row by row

Shapes: n records, C classes, k unknowns.
Units: weights p_c of the sum 2**-12, M 2**30·λ times the inverse of H, residual 2**-30 of τ.

Source: the expected Fisher matrix as curvature: Martens, "New insights and perspectives on the natural gradient
method", 2020, section 5; the projected form: Park et al., "TRAK", 2023, section 3; verification: Rump, "Verification
methods", 2010, section 10.
"""

from collections.abc import Iterator

import numpy as np

from attribution.errors import AttributionError, Reason
from attribution.exact import Int64, magnitude, matmul, shift_half_even
from attribution.mlp.network import (
    PROBABILITY_BITS,
    Weights,
    backward,
    class_residuals,
    forward,
    margin_residuals,
    probabilities,
)
from attribution.mlp.projection import (
    INPUT_SIDE,
    OUTPUT_SIDE,
    count_bit_lengths,
    join_sides,
    percentile_scale,
    project_side,
    quantise,
)
from attribution.mlp.request import ETA, INVERSE_RESIDUAL_BITS, MlpProblem

INVERSE_BITS = 30
CHANCE_BITS = 12
DAMPING_BITS = 20
"""λ is shifted to fewer bits than this plus one."""
MAXIMUM_ROW_SUM = 28 << INVERSE_BITS

_BLOCK_RECORDS = 1024
_WIRE_INTEGER = np.dtype(">i8")


def margin_entries(weights: Weights, checkpoint: int, inputs: Int64, labels: Int64) -> Int64:
    """Projected gradient of each point's log-odds margin, not quantised. Shapes: (n, i_0), (n,) -> (n, k)."""
    activations, scores = forward(weights, inputs)
    residuals = backward(weights, activations, margin_residuals(scores, labels))
    return join_sides(
        project_side(residuals, checkpoint, OUTPUT_SIDE), project_side(activations, checkpoint, INPUT_SIDE)
    )


def snapshot_scale(weights: Weights, checkpoint: int, inputs: Int64, labels: Int64) -> int:
    """The scale that the records fix. Shapes: inputs (n, i_0), labels (n,)."""
    counts = np.zeros(64, dtype=np.int64)
    for block in record_blocks(len(labels)):
        counts += count_bit_lengths(margin_entries(weights, checkpoint, inputs[block], labels[block]))
    return percentile_scale(counts)


def fisher(weights: Weights, checkpoint: int, inputs: Int64, scale: int, unknowns: int) -> Int64:
    """The expected Fisher matrix. Shapes: inputs (n, i_0) -> (k, k)."""
    total = np.zeros((unknowns, unknowns), dtype=np.int64)
    for block in record_blocks(len(inputs)):
        activations, scores = forward(weights, inputs[block])
        chances = probabilities(scores)
        shares = shift_half_even(chances, PROBABILITY_BITS - CHANCE_BITS)
        columns = project_side(activations, checkpoint, INPUT_SIDE)
        for label in range(chances.shape[1]):
            # Most classes of most records are impossible: what would be multiplied by 0 is not computed.
            (rows,) = np.nonzero(shares[:, label])
            if len(rows) == 0:
                continue
            residuals = backward(weights, [part[rows] for part in activations], class_residuals(chances[rows], label))
            outputs = project_side(residuals, checkpoint, OUTPUT_SIDE)
            entries = quantise(join_sides(outputs, [part[rows] for part in columns]), scale)
            weighted = entries * shares[rows, label, None]
            # 2**10 records · 2**7 · 2**19 = 2**36.
            total += matmul(weighted.T, entries)
    return total


def damped(total: Int64) -> tuple[Int64, int]:
    """H and its λ. Shapes: (k, k) -> (k, k)."""
    raw = int(np.trace(total)) // (4 * len(total)) + 1
    shift = max(0, raw.bit_length() - DAMPING_BITS)
    damping = raw >> shift
    matrix = total >> shift
    matrix[np.diag_indices(len(matrix))] += damping
    return matrix, damping


def certify(weights: Weights, checkpoint: int, scale: int, inverse: Int64, inputs: Int64, labels: Int64) -> int:
    """Check one checkpoint's scale and inverse; the inverse's residual. Shapes: inverse (k, k), inputs (n, i_0), (n,).

    Raises: AttributionError(SCALE_NOT_CERTIFIED | INVERSE_NOT_CERTIFIED | BOUND_EXCEEDED).
    """
    fixed = snapshot_scale(weights, checkpoint, inputs, labels)
    if scale != fixed:
        raise AttributionError(Reason.SCALE_NOT_CERTIFIED, f"checkpoint {checkpoint}: {scale}, not {fixed}")
    matrix, damping = damped(fisher(weights, checkpoint, inputs, scale, len(inverse)))
    residual = inverse_residual(matrix, inverse, damping)
    if residual > ETA:
        detail = f"checkpoint {checkpoint}: residual {residual}, at most {ETA} of 2**-30"
        raise AttributionError(Reason.INVERSE_NOT_CERTIFIED, detail)
    return residual


def inverse_residual(matrix: Int64, inverse: Int64, damping: int) -> int:
    """Largest row sum of |H·M - τ·I| over τ, rounded up. Shapes: (k, k) both. Units: 2**-30.

    Raises: AttributionError(INVERSE_NOT_CERTIFIED) where the product is too large to be summed.
    """
    target = damping << INVERSE_BITS
    product = matmul(matrix, inverse)
    # τ < 2**50, so that subtracting it fits; entries must pass the next check before they may be summed.
    if magnitude(product) > 2 * target:
        raise AttributionError(Reason.INVERSE_NOT_CERTIFIED, "the product with the matrix is far from the identity")
    product[np.diag_indices(len(product))] -= target
    # 768 entries of at most 2**52.
    largest = int(np.abs(product).sum(axis=1).max())
    return -((-largest << INVERSE_RESIDUAL_BITS) // target)


def encode_inverse(inverse: Int64) -> bytes:
    """Bytes of a symmetric matrix: its upper triangle. Shapes: (k, k)."""
    return inverse[np.triu_indices(len(inverse))].astype(_WIRE_INTEGER).tobytes()


def decode_inverse(problem: MlpProblem, data: bytes) -> Int64:
    """Symmetric matrix of bytes. Shapes: (k, k). Raises: AttributionError(INVERSE_MALFORMED | INVERSE_OUT_OF_RANGE)."""
    if len(data) != problem.inverse_size_bytes:
        raise AttributionError(Reason.INVERSE_MALFORMED, f"{len(data)} bytes, not {problem.inverse_size_bytes}")
    triangle = np.frombuffer(data, dtype=_WIRE_INTEGER).astype(np.int64)
    if magnitude(triangle) > MAXIMUM_ROW_SUM:
        raise AttributionError(Reason.INVERSE_OUT_OF_RANGE, f"an entry above {MAXIMUM_ROW_SUM}")
    inverse = np.zeros((problem.unknowns, problem.unknowns), dtype=np.int64)
    rows, columns = np.triu_indices(problem.unknowns)
    inverse[rows, columns] = triangle
    inverse[columns, rows] = triangle
    if int(np.abs(inverse).sum(axis=1).max()) > MAXIMUM_ROW_SUM:
        raise AttributionError(Reason.INVERSE_OUT_OF_RANGE, f"a row sum above {MAXIMUM_ROW_SUM}")
    return inverse


def record_blocks(count: int) -> Iterator[slice]:
    """Slices that cover the records, so that the memory of what is computed on the way does not grow with them."""
    return (slice(start, start + _BLOCK_RECORDS) for start in range(0, count, _BLOCK_RECORDS))
