"""The engine head/1 once more, in plain Python integers: slow, short, and what the fast form is tested against.

Read this to know what is computed, and the other files to know how it is computed quickly and why nothing overflows.
Lists are vectors, lists of lists are matrices; `weights` is C rows of d, `inverse` u rows of u with u = C·d, ordered
class first. Units are those of `head`, `certificate` and `influence`.
"""

import math
from collections.abc import Sequence

from attribution.exact import (
    divide_half_up_reference,
    exp_negative_reference,
    matmul_reference,
    ratio_to_root_reference,
    shift_half_even_reference,
)

Vector = list[int]
Matrix = list[list[int]]


def features(snapshot: Sequence[Sequence[int]], values: Sequence[Sequence[int]]) -> Matrix:
    """Features of values with the encoder that a snapshot fixes."""
    first = snapshot[:256]
    columns = [_feature_column([row[a] for row in first], [row[a] for row in values]) for a in range(len(first[0]))]
    return [[*row, 1 << 12] for row in zip(*columns, strict=True)]


def _feature_column(first: Vector, column: Vector) -> Vector:
    count, total = len(first), sum(first)
    spread = math.isqrt(count * sum(value * value for value in first) - total * total)
    if spread == 0:
        return [0] * len(column)
    shift = max(0, spread.bit_length() - 32)
    quotients = [((((count * value - total) >> shift) << 12) // (spread >> shift)) for value in column]
    return [min(max(quotient, -32767), 32767) for quotient in quotients]


def logits(x: Matrix, weights: Matrix) -> Matrix:
    """W·x of each record. Units: 2**-42."""
    return matmul_reference(x, list(zip(*weights, strict=True)))


def answer(scores: Vector) -> int:
    """The class with the largest logit, the lowest of equals."""
    return scores.index(max(scores))


def softmax(scores: Vector) -> Vector:
    """Probabilities. Units: 2**-28."""
    parts = [_exponential(score, max(scores)) for score in scores]
    return [divide_half_up_reference(part << 28, sum(parts)) for part in parts]


def gradient(x: Matrix, chances: Matrix, labels: Vector, weights: Matrix, damping: int) -> Vector:
    """n times the gradient. Units: 2**-50."""
    total = []
    for c, row in enumerate(weights):
        residual = [p[c] - ((y == c) << 28) for p, y in zip(chances, labels, strict=True)]
        for a, weight in enumerate(row):
            data = sum(r * record[a] for r, record in zip(residual, x, strict=True))
            total.append((data << 10) + len(x) * damping * weight)
    return total


def hessian(x: Matrix, chances: Matrix, damping: int) -> Matrix:
    """Minus the coupling of two classes off the diagonal, the sum of a class's couplings and λ on it. Units: 2**-24."""
    classes, d = len(chances[0]), len(x[0])
    matrix = [[0] * (classes * d) for _ in range(classes * d)]
    for j in range(classes):
        for k in range(classes):
            if j == k:
                continue
            pairs = [(p[j] * p[k]) >> 32 for p in chances]
            for a in range(d):
                for b in range(d):
                    total = sum(pair * record[a] * record[b] for pair, record in zip(pairs, x, strict=True))
                    coupling = total // (len(x) << 24)
                    matrix[j * d + a][k * d + b] -= coupling
                    matrix[j * d + a][j * d + b] += coupling
    for i in range(classes * d):
        matrix[i][i] += damping << 4
    return matrix


def gradient_norm(total: Vector, record_count: int) -> int:
    """Length of the mean gradient, rounded up. Units: 2**-40."""
    square = sum(value * value for value in total)
    norm = math.isqrt(square) // (record_count << 10)
    while (norm * (record_count << 10)) ** 2 < square:
        norm += 1
    return norm


def inverse_residual(matrix: Matrix, inverse: Matrix, damping: int) -> int:
    """Largest row sum of |H·M - τ·I| over τ, rounded up. Units: 2**-30."""
    target = damping << 34
    product = matmul_reference(matrix, inverse)
    sums = [sum(abs(value - target * (i == j)) for j, value in enumerate(row)) for i, row in enumerate(product)]
    return -((-max(sums) << 30) // target)


def direction(x: Vector, scores: Vector, label: int) -> Vector:
    """The direction of the gradient of one labelled point: r ⊗ x̂, class first. Units: 2**-24."""
    largest = max(score for c, score in enumerate(scores) if c != label)
    parts = [0 if c == label else _exponential(score, largest) for c, score in enumerate(scores)]
    shares = [divide_half_up_reference(part << 11, sum(parts)) for part in parts]
    shares[label] = -(1 << 11)
    length = math.isqrt(sum(feature * feature for feature in x))
    unit = [divide_half_up_reference(feature << 13, length) for feature in x]
    return [share * feature for share in shares for feature in unit]


def form(left: Vector, inverse: Matrix, right: Vector) -> int:
    """leftᵀ·M·right."""
    pulled = [sum(m * r for m, r in zip(row, right, strict=True)) for row in inverse]
    return sum(value * pull for value, pull in zip(left, pulled, strict=True))


def relative_influence(record: Vector, question: Vector, inverse: Matrix) -> int:
    """Relative influence of one record on one question, from their directions. Units: 1/1000."""
    own, asked = form(record, inverse, record), form(question, inverse, question)
    return ratio_to_root_reference(form(record, inverse, question), own, asked, 1000)


def holdout_score(relative: Vector, labels: Vector) -> int:
    """Quality of one record, from its relative influence on each holdout point."""
    score = 0
    for c in sorted(set(labels)):
        of_class = [value for value, label in zip(relative, labels, strict=True) if label == c]
        score += sum(of_class) // len(of_class)
    return score


def _exponential(score: int, largest: int) -> int:
    return exp_negative_reference(shift_half_even_reference(max(largest - score, 0), 12))
