from decimal import Context, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.head import reference
from attribution.head.certificate import MAXIMUM_WEIGHT
from attribution.head.request import DAMPING_BITS, MAXIMUM_RECORDS, MINIMUM_DAMPING
from attribution.head.softmax import (
    HESSIAN_BITS,
    LOGIT_BITS,
    PROBABILITY_BITS,
    classify,
    gradient,
    hessian,
    logits,
    probabilities,
    residuals,
)

DAMPING = 1 << 17


def make_head(seed: int, n: int, d: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and weights."""
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    x = np.clip(rng.normal(0, 4096, (n, d)), -32767, 32767).astype(np.int16)
    x[:, -1] = 4096
    return x, rng.integers(0, classes, n), rng.integers(-(1 << 31), 1 << 31, (classes, d))


@pytest.mark.parametrize(("seed", "n", "d", "classes"), [(1, 9, 4, 2), (2, 7, 3, 5), (3, 1, 1, 2), (4, 11, 2, 3)])
def test_every_quantity_equals_plain_integers(seed: int, n: int, d: int, classes: int) -> None:
    x, y, w = make_head(seed, n, d, classes)
    scores = logits(x, w)
    assert scores.tolist() == reference.logits(x.tolist(), w.tolist())
    assert classify(scores).tolist() == [reference.answer(row) for row in scores.tolist()]
    chances = probabilities(scores)
    assert chances.tolist() == [reference.softmax(row) for row in scores.tolist()]
    total = gradient(x, residuals(chances, y), w, DAMPING)
    assert total == reference.gradient(x.tolist(), chances.tolist(), y.tolist(), w.tolist(), DAMPING)
    matrix = hessian(x, chances, DAMPING)
    assert matrix.tolist() == reference.hessian(x.tolist(), chances.tolist(), DAMPING)


def test_hessian_sums_over_blocks_of_records() -> None:
    x, _, w = make_head(1, 1100, 2, 3)
    chances = probabilities(logits(x, w))
    assert hessian(x, chances, DAMPING).tolist() == reference.hessian(x.tolist(), chances.tolist(), DAMPING)


def test_equal_logits_are_answered_with_the_lowest_class() -> None:
    assert classify(np.array([[1, 3, 3], [2, 2, 2]])).tolist() == [1, 0]


logit_rows = st.lists(st.integers(-(1 << 46), 1 << 46), min_size=2, max_size=64)


@given(row=logit_rows)
def test_probability_is_within_its_proven_error(row: list[int]) -> None:
    context = Context(prec=50)
    parts = [context.exp(Decimal(score - max(row)) / (1 << LOGIT_BITS)) for score in row]
    for chance, part in zip(probabilities(np.array([row]))[0].tolist(), parts, strict=True):
        assert abs(Decimal(chance) / (1 << PROBABILITY_BITS) - part / sum(parts)) < Decimal(2) ** -25


def test_probability_of_64_equal_classes_is_within_its_proven_error() -> None:
    row = [0] + [1] * 63
    assert probabilities(np.array([row]))[0].tolist() == [1 << (PROBABILITY_BITS - 6)] * 64


def test_largest_admissible_logits_do_not_overflow() -> None:
    x = np.full((1, 256), 32767, dtype=np.int16)
    w = np.full((2, 256), MAXIMUM_WEIGHT)
    w[1] = -MAXIMUM_WEIGHT
    scores = logits(x, w)
    assert scores.tolist() == [[256 * 32767 * MAXIMUM_WEIGHT, -256 * 32767 * MAXIMUM_WEIGHT]]
    assert probabilities(scores).tolist() == [[1 << PROBABILITY_BITS, 0]]


def test_largest_admissible_sums_over_records_do_not_overflow() -> None:
    x = np.full((MAXIMUM_RECORDS, 2), -32767, dtype=np.int16)
    differences = np.full((MAXIMUM_RECORDS, 2), 1 << PROBABILITY_BITS)
    total = gradient(x, differences, np.zeros((2, 2), dtype=np.int64), DAMPING)
    assert total == [-(MAXIMUM_RECORDS * 32767 << PROBABILITY_BITS) << 10] * 4
    halves = np.full((MAXIMUM_RECORDS, 2), 1 << (PROBABILITY_BITS - 1))
    coupling = (32767**2 << (2 * PROBABILITY_BITS - 2 - 32)) >> 24
    matrix = hessian(x, halves, DAMPING) - np.diag([DAMPING << (HESSIAN_BITS - DAMPING_BITS)] * 4)
    assert matrix.tolist() == (coupling * np.kron([[1, -1], [-1, 1]], np.ones((2, 2), dtype=np.int64))).tolist()


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("spread", [1, 1 << 33, MAXIMUM_WEIGHT])
def test_hessian_is_symmetric_and_positive_definite_at_the_smallest_damping(seed: int, spread: int) -> None:
    x, _, _ = make_head(seed, 40, 6, 4)
    w = np.random.default_rng(seed).integers(-spread, spread + 1, (4, 6))
    matrix = hessian(x, probabilities(logits(x, w)), MINIMUM_DAMPING)
    assert np.array_equal(matrix, matrix.T)
    smallest = np.linalg.eigvalsh(matrix / 2.0**HESSIAN_BITS)[0]
    assert smallest >= MINIMUM_DAMPING / 2**DAMPING_BITS - 2.0**-15


@pytest.mark.parametrize("seed", [1, 2])
def test_gradient_and_hessian_are_the_derivatives_of_the_loss(seed: int) -> None:
    x, y, w = make_head(seed, 30, 3, 3)
    features, weights, decay = x / 4096, w / 2.0**30, DAMPING / 2**20

    def slope(flat: np.ndarray) -> np.ndarray:
        scores = features @ flat.reshape(3, 3).T
        parts = np.exp(scores - scores.max(1, keepdims=True))
        p = parts / parts.sum(1, keepdims=True)
        p[np.arange(30), y] -= 1
        return (p.T @ features / 30).ravel() + decay * flat

    chances = probabilities(logits(x, w))
    exact = np.array([value / (30 << 50) for value in gradient(x, residuals(chances, y), w, DAMPING)])
    assert np.abs(exact - slope(weights.ravel())).max() < 2e-8
    steps = 1e-5 * np.eye(9)
    numeric = np.array([(slope(weights.ravel() + e) - slope(weights.ravel() - e)) / 2e-5 for e in steps])
    assert np.abs(hessian(x, chances, DAMPING) / 2.0**24 - numeric).max() < 1e-6
