"""The engine mlp/1 once more, in plain Python integers: slow, short, and what the fast form is tested against.

Read this to know what is computed, and the other files to know how it is computed quickly and why nothing overflows.
Lists are vectors, lists of lists are matrices. `weights` is one matrix per layer, a row for each output, the bias last;
`inverse` is k rows of k. Units are those of `network`, `projection`, `certificate` and `influence`. Features are those
of `head.reference`.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from attribution.exact import (
    divide_half_up_reference,
    exp_negative_reference,
    matmul_reference,
    ratio_to_root_reference,
    shift_half_even_reference,
)
from attribution.head import reference as head

Vector = list[int]
Matrix = list[list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One checkpoint of a model."""

    index: int
    """Its place among the checkpoints, which fixes its projections."""
    weights: list[Matrix]
    """Of each layer."""


def inputs(snapshot: Sequence[Sequence[int]], values: Sequence[Sequence[int]]) -> Matrix:
    """The network's inputs, the bias last."""
    return [[shift_half_even_reference(value, 2) for value in row] for row in head.features(snapshot, values)]


def forward(network: Network, point: Vector) -> tuple[Matrix, Vector]:
    """Inputs of every layer and the scores, of one point."""
    activations = [point]
    for layer in network.weights[:-1]:
        units = [shift_half_even_reference(_dot(row, activations[-1]), 14) for row in layer]
        activations.append([*(max(unit, 0) for unit in units), 1 << 10])
    return activations, [_dot(row, activations[-1]) for row in network.weights[-1]]


def answer(scores: Vector) -> int:
    """The class with the largest score, the lowest of equals."""
    return scores.index(max(scores))


def probabilities(scores: Vector) -> Vector:
    """Softmax. Units: 2**-28."""
    parts = [_exponential(score, max(scores)) for score in scores]
    return [divide_half_up_reference(part << 28, sum(parts)) for part in parts]


def margin_residual(scores: Vector, label: int) -> Vector:
    """Gradient of the log-odds margin by the scores. Units: 2**-16."""
    largest = max(score for c, score in enumerate(scores) if c != label)
    parts = [0 if c == label else _exponential(score, largest) for c, score in enumerate(scores)]
    residual = [-divide_half_up_reference(part << 16, sum(parts)) for part in parts]
    residual[label] = 1 << 16
    return residual


def class_residual(scores: Vector, label: int) -> Vector:
    """Gradient of log p_label by the scores. Units: 2**-16."""
    chances = probabilities(scores)
    return [shift_half_even_reference(((c == label) << 28) - chance, 12) for c, chance in enumerate(chances)]


def gradient(network: Network, point: Vector, residual: Vector) -> Vector:
    """Projected gradient of one point, not quantised. Units: 2**-26."""
    activations, _ = forward(network, point)
    residuals = [residual]
    for layer, below in zip(network.weights[:0:-1], activations[:0:-1], strict=True):
        pulled = [_dot(column, residuals[-1]) for column in zip(*layer, strict=True)]
        live = [shift_half_even_reference(p, 14) if a > 0 else 0 for p, a in zip(pulled, below, strict=True)]
        residuals.append(live[:-1])
    entries = []
    for layer_index, (output, below) in enumerate(zip(residuals[::-1], activations, strict=True)):
        left = project(output, network.index, layer_index, 1)
        right = project(below, network.index, layer_index, 0)
        entries += [a * b for a in left for b in right]
    return entries


def project(side: Vector, checkpoint: int, layer: int, which: int) -> Vector:
    """±1 projection to 16 entries, or four times a side that has no more."""
    if len(side) <= 16:
        return [4 * value for value in side]
    projected = [0] * 16
    for row, value in enumerate(side):
        for column in range(16):
            projected[column] += value * _sign(checkpoint, layer, which, 16 * row + column)
    return projected


def _sign(checkpoint: int, layer: int, side: int, position: int) -> int:
    seed = b"openledger/mlp-projection/1" + bytes([checkpoint, layer, side])
    block = hashlib.sha256(seed + (position // 256).to_bytes(4, "big")).digest()
    bit = block[position % 256 // 8] >> (7 - position % 8) & 1
    return 2 * bit - 1


def quantise(entries: Vector, scale: int) -> Vector:
    """entries / 2**scale, within ±127."""
    return [min(max(shift_half_even_reference(entry, scale), -127), 127) for entry in entries]


def scale(gradients: Matrix) -> int:
    """The scale that the records' gradients fix."""
    magnitudes = sorted(abs(entry) for row in gradients for entry in row)
    percentile = magnitudes[(999 * len(magnitudes) + 999) // 1000 - 1]
    return max(1, percentile.bit_length() - 7)


def fisher(network: Network, points: Matrix, shift: int) -> Matrix:
    """The expected Fisher matrix of quantised gradients. Units: 2**-12."""
    total: Matrix = []
    for point in points:
        scores = forward(network, point)[1]
        for label, chance in enumerate(probabilities(scores)):
            entries = quantise(gradient(network, point, class_residual(scores, label)), shift)
            weight = shift_half_even_reference(chance, 16)
            total = total or [[0] * len(entries) for _ in entries]
            for row, left in zip(total, entries, strict=True):
                for column, right in enumerate(entries):
                    row[column] += weight * left * right
    return total


def damped(total: Matrix) -> tuple[Matrix, int]:
    """H and its λ."""
    raw = sum(total[i][i] for i in range(len(total))) // (4 * len(total)) + 1
    shift = max(0, raw.bit_length() - 20)
    matrix = [
        [(value >> shift) + (i == j) * (raw >> shift) for j, value in enumerate(row)] for i, row in enumerate(total)
    ]
    return matrix, raw >> shift


def inverse_residual(matrix: Matrix, inverse: Matrix, damping: int) -> int:
    """Largest row sum of |H·M - τ·I| over τ, rounded up. Units: 2**-30."""
    target = damping << 30
    product = matmul_reference(matrix, inverse)
    sums = [sum(abs(value - target * (i == j)) for j, value in enumerate(row)) for i, row in enumerate(product)]
    return -((-max(sums) << 30) // target)


def form(left: Matrix, inverses: Sequence[Matrix], right: Matrix) -> int:
    """Sum over the checkpoints of leftᵀ·M·right, from one vector of each checkpoint."""
    return sum(head.form(a, inverse, b) for a, inverse, b in zip(left, inverses, right, strict=True))


def relative_influence(record: Matrix, question: Matrix, inverses: Sequence[Matrix]) -> int:
    """Relative influence of one record on one question. Units: 1/1000."""
    own, asked = form(record, inverses, record), form(question, inverses, question)
    return ratio_to_root_reference(form(record, inverses, question), own, asked, 1000)


def record_weights(doubts: Vector) -> Vector:
    """isqrt(1 - p_y), winsorised. Units: 2**-28 -> 2**-14."""
    roots = [math.isqrt(doubt) for doubt in doubts]
    cap = sorted(roots)[(9 * len(roots) + 9) // 10 - 1]
    return [min(root, cap) for root in roots]


def raw_influence(record: Matrix, question: Matrix, inverses: Sequence[Matrix], weights: Vector) -> int:
    """Raw influence of one record on one question, from its weight at each checkpoint."""
    parts = zip(record, inverses, question, weights, strict=True)
    return sum(weight * head.form(a, inverse, b) for a, inverse, b, weight in parts) // (len(weights) << 44)


def _dot(left: Sequence[int], right: Sequence[int]) -> int:
    return sum(a * b for a, b in zip(left, right, strict=True))


def _exponential(score: int, largest: int) -> int:
    return exp_negative_reference(max(largest - score, 0) << 6)
