"""The network in fixed point: forward, and back from a residual at its answer, every sum exact.

    a_0 = the features,   z_l = W_l·(a_l, 1),   a_(l+1) = max(0, z_l) rounded half to even,   scores = the last z
    d_l = W_lᵀ·d_(l+1) rounded half to even, where a_l > 0
    gradient of W_l = d_(l+1) ⊗ (a_l, 1)

The bias is the last column of each W. The features are those of `head.encoder`, of which two bits are dropped.

Bounds: they are proven for the weights at hand, whatever is asked. `validate_bounds` carries the largest possible
magnitude of every unit forward and back, as exactly as the arithmetic itself, and refuses weights with which the sum of
a layer's inputs or of its residuals could pass 2**31 (or the largest of 16 or fewer 2**29). Products of two projected
sides are then at most 2**62, and sums of products with weights, scores among them, at most 16·2**29·2**17 = 2**50.

Shapes: n points, C classes; layer l has o_l outputs and i_l inputs, bias included.
Units: weights 2**-14, activations 2**-10, scores 2**-24, residuals 2**-16, probabilities 2**-28.

Bytes of weights, big-endian:   layer by layer, output by output: i_l i32 each, |w| ≤ 2**17, which is 8 in units.
"""

import numpy as np

from attribution.errors import AttributionError, Reason
from attribution.exact import EXPONENT_BITS, Int64, divide_half_up, exp_negative, magnitude, matmul, shift_half_even
from attribution.head.encoder import FEATURE_BITS, Int16
from attribution.mlp.request import PROJECTED, MlpProblem

WEIGHT_BITS = 14
ACTIVATION_BITS = 10
SCORE_BITS = ACTIVATION_BITS + WEIGHT_BITS
RESIDUAL_BITS = 16
PROBABILITY_BITS = 28
MAXIMUM_WEIGHT = 1 << 17
MAXIMUM_INPUT = 1 << 13
"""Features saturate at eight deviations."""
MAXIMUM_SIDE = 1 << 31
"""Largest entry of either projected side of a layer's gradient."""
IDENTITY = 4
"""A side that is not projected is multiplied by the root of `PROJECTED`: lengths grow alike in every layer."""

_WIRE_WEIGHT = np.dtype(">i4")
_OUT_OF_THE_WAY = -(1 << 62)

Weights = tuple[Int64, ...]
Layers = list[Int64]


def encode_weights(weights: Weights) -> bytes:
    """Bytes of weights. Shapes: (o_l, i_l) for each layer."""
    return b"".join(layer.astype(_WIRE_WEIGHT).tobytes() for layer in weights)


def decode_weights(problem: MlpProblem, data: bytes) -> Weights:
    """Weights of bytes, with which no sum can leave its bound. Shapes: (o_l, i_l) for each layer.

    Raises: AttributionError(WEIGHTS_MALFORMED | PARAMETER_OUT_OF_RANGE | ACTIVATION_OUT_OF_RANGE).
    """
    if len(data) != problem.weights_size_bytes:
        raise AttributionError(Reason.WEIGHTS_MALFORMED, f"{len(data)} bytes, not {problem.weights_size_bytes}")
    values = np.frombuffer(data, dtype=_WIRE_WEIGHT).astype(np.int64)
    if magnitude(values) > MAXIMUM_WEIGHT:
        raise AttributionError(Reason.PARAMETER_OUT_OF_RANGE, f"{magnitude(values)}, at most {MAXIMUM_WEIGHT}")
    layers, start = [], 0
    for outputs, inputs in problem.layers:
        layers.append(values[start : start + outputs * inputs].reshape(outputs, inputs))
        start += outputs * inputs
    weights = tuple(layers)
    validate_bounds(weights)
    return weights


def validate_bounds(weights: Weights) -> None:
    """Raise unless no question can lead out of the bounds above.

    Raises: AttributionError(ACTIVATION_OUT_OF_RANGE).
    """
    one = np.array([1 << ACTIVATION_BITS], dtype=np.int64)
    largest = np.full(weights[0].shape[1] - 1, MAXIMUM_INPUT, dtype=np.int64)
    for i, layer in enumerate(weights):
        inputs = np.append(largest, one)
        _check_bound(side_bound(inputs), MAXIMUM_SIDE, f"inputs of layer {i}")
        # numpy's own integer product: inputs that passed sum to at most 2**33, so this to at most 2**50.
        largest = ((np.abs(layer) @ inputs) >> WEIGHT_BITS) + 1
    # Residuals at the scores: their magnitudes sum to 2, and rounding adds less than one unit to each.
    total = (2 << RESIDUAL_BITS) + len(weights[-1])
    largest = ((total * np.abs(weights[-1][:, :-1]).max(axis=0)) >> WEIGHT_BITS) + 1
    for i, layer in reversed(list(enumerate(weights[:-1]))):
        _check_bound(side_bound(largest), MAXIMUM_SIDE, f"residuals of layer {i}")
        largest = ((largest @ np.abs(layer[:, :-1])) >> WEIGHT_BITS) + 1


def side_bound(largest: Int64) -> int:
    """Largest entry that a side of a gradient can have after projection, from the magnitudes of its entries."""
    return int(largest.sum()) if len(largest) > PROJECTED else IDENTITY * int(largest.max())


def first_activations(features: Int16) -> Int64:
    """The network's inputs, the bias last. Shapes: features (n, d + 1) -> (n, d + 1)."""
    return shift_half_even(features.astype(np.int64), FEATURE_BITS - ACTIVATION_BITS)


def forward(weights: Weights, inputs: Int64) -> tuple[Layers, Int64]:
    """Inputs of every layer, the bias last, and the scores. Shapes: (n, i_0) -> (n, i_l) for each layer, (n, C)."""
    activations = [inputs]
    for layer in weights[:-1]:
        units = np.maximum(shift_half_even(matmul(activations[-1], layer.T), WEIGHT_BITS), 0)
        bias = np.full((len(units), 1), 1 << ACTIVATION_BITS, dtype=np.int64)
        activations.append(np.hstack([units, bias]))
    return activations, matmul(activations[-1], weights[-1].T)


def backward(weights: Weights, activations: Layers, residuals: Int64) -> Layers:
    """Residuals at every layer's outputs from those at the scores. Shapes: (n, C) -> (n, o_l) for each layer."""
    found = [residuals]
    for layer, inputs in zip(weights[:0:-1], activations[:0:-1], strict=True):
        below = shift_half_even(matmul(found[-1], layer[:, :-1]), WEIGHT_BITS)
        found.append(np.where(inputs[:, :-1] > 0, below, 0))
    return found[::-1]


def classify(scores: Int64) -> Int64:
    """The class with the largest score, the lowest of equals. Shapes: (n, C) -> (n,)."""
    labels: Int64 = scores.argmax(axis=1)
    return labels


def probabilities(scores: Int64) -> Int64:
    """Softmax. Shapes: (n, C) -> (n, C)."""
    parts = _exponentials(scores, scores.max(axis=1, keepdims=True))
    return divide_half_up(parts << PROBABILITY_BITS, parts.sum(axis=1, keepdims=True))


def margin_residuals(scores: Int64, labels: Int64) -> Int64:
    """Gradient of log(p_y / (1 - p_y)) by the scores: 1 at the label, minus the softmax over the others elsewhere.

    Shapes: scores (n, C), labels (n,) -> (n, C).
    """
    rows = np.arange(len(labels))
    others = scores.copy()
    others[rows, labels] = _OUT_OF_THE_WAY
    parts = _exponentials(scores, others.max(axis=1, keepdims=True))
    parts[rows, labels] = 0
    residuals = -divide_half_up(parts << RESIDUAL_BITS, parts.sum(axis=1, keepdims=True))
    residuals[rows, labels] = 1 << RESIDUAL_BITS
    return residuals


def class_residuals(chances: Int64, label: int) -> Int64:
    """Gradient of log(p_label) by the scores: 1 at the label, minus the softmax. Shapes: (n, C) -> (n, C)."""
    residuals = -chances
    residuals[:, label] += 1 << PROBABILITY_BITS
    return shift_half_even(residuals, PROBABILITY_BITS - RESIDUAL_BITS)


def _exponentials(scores: Int64, largest: Int64) -> Int64:
    """exp(score - largest), 1 where the score is above. Shapes: (n, C), (n, 1) -> (n, C). Units: 2**-34."""
    # Differences are at most 2**51.
    return exp_negative(np.maximum(largest - scores, 0) << (EXPONENT_BITS - SCORE_BITS))


def _check_bound(largest: int, maximum: int, place: str) -> None:
    if largest > maximum:
        raise AttributionError(Reason.ACTIVATION_OUT_OF_RANGE, f"{place}: up to {largest}, at most {maximum}")
