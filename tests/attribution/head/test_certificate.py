import math
from dataclasses import replace

import numpy as np
import pytest

from attribution.content import content_hash
from attribution.errors import AttributionError, Reason
from attribution.head import reference
from attribution.head.attribute import compute, read_problem
from attribution.head.certificate import (
    MAXIMUM_ROW_SUM,
    MAXIMUM_WEIGHT,
    certify,
    decode_inverse,
    decode_weights,
    encode_inverse,
    encode_weights,
    gradient_norm,
    identity_multiple,
    inverse_residual,
)
from attribution.head.request import EPSILON, ETA, MAXIMUM_UNKNOWNS, MINIMUM_DAMPING, Certificate, CertifyRequest
from attribution.head.softmax import gradient, hessian, logits, probabilities, residuals

UNIT = 2.0**-40


def make_parts(case):
    """Features, labels, weights and inverse of a case."""
    features, labels, _ = read_problem(case.problem, case.shelf.materials)
    weights = decode_weights(case.problem, case.shelf.materials[case.model.weights])
    inverse = decode_inverse(case.problem, case.shelf.materials[case.model.inverse])
    return features, labels, weights, inverse


def norm_at(features, labels, weights, damping) -> int:
    chances = probabilities(logits(features, weights))
    return gradient_norm(gradient(features, residuals(chances, labels), weights, damping), len(labels))


def test_certificate_equals_plain_integers(fitted) -> None:
    features, labels, weights, inverse = make_parts(fitted)
    x, y, w, damping = features.tolist(), labels.tolist(), weights.tolist(), fitted.problem.damping
    chances = [reference.softmax(row) for row in reference.logits(x, w)]
    expected = Certificate(
        record_count=40,
        gradient_norm=reference.gradient_norm(reference.gradient(x, chances, y, w, damping), 40),
        inverse_residual=reference.inverse_residual(reference.hessian(x, chances, damping), inverse.tolist(), damping),
    )
    assert compute(CertifyRequest(model=fitted.model), fitted.shelf.materials) == expected
    assert expected.gradient_norm <= EPSILON
    assert expected.inverse_residual <= ETA


@pytest.mark.parametrize("square", [0, 1, 2, 15, 16, 17, (40 << 10) ** 2, (40 << 10) ** 2 + 1])
def test_norm_is_rounded_up(square: int) -> None:
    total = [math.isqrt(square)] + [1] * (square - math.isqrt(square) ** 2)
    assert gradient_norm(total, 40) == reference.gradient_norm(total, 40) == math.ceil(math.sqrt(square) / (40 << 10))


@pytest.mark.parametrize("change", ["removed", "added", "relabelled"])
def test_model_of_other_records_is_refused(change: str, long_case) -> None:
    """The bound of the design: a record whose part of the gradient is above 2ε per record cannot come, go or change."""
    case = long_case
    features, labels, weights, inverse = make_parts(case)
    damping, n = case.problem.damping, len(labels)
    chances = probabilities(logits(features, weights))
    parts = [
        math.hypot(*gradient(features[i : i + 1], residuals(chances[i : i + 1], labels[i : i + 1]), weights, damping))
        / 2.0**50
        for i in range(n)
    ]
    certain = [i for i in range(256, n) if parts[i] / n > 2.1 * EPSILON * UNIT]
    assert len(certain) > 30
    for i in certain[:12]:
        if change == "removed":
            other = np.delete(features, i, axis=0), np.delete(labels, i)
        elif change == "added":
            other = np.vstack([features, features[i : i + 1]]), np.append(labels, labels[i])
        else:
            flipped = labels.copy()
            flipped[i] = (flipped[i] + 1) % 3
            other = features, flipped
        with pytest.raises(AttributionError) as caught:
            certify(case.problem, *other, weights, inverse)
        assert caught.value.reason is Reason.GRADIENT_TOO_LARGE


def test_change_of_the_gradient_is_what_the_bound_says(long_case) -> None:
    features, labels, weights, _ = make_parts(long_case)
    damping, n = long_case.problem.damping, len(labels)
    norm = norm_at(features, labels, weights, damping)
    chances = probabilities(logits(features, weights))
    for i in (256, 270, 299):
        part = gradient(features[i : i + 1], residuals(chances[i : i + 1], labels[i : i + 1]), weights, damping)
        length = math.hypot(*part) / 2**10
        removed = norm_at(np.delete(features, i, axis=0), np.delete(labels, i), weights, damping)
        added = norm_at(np.vstack([features, features[i : i + 1]]), np.append(labels, labels[i]), weights, damping)
        assert abs(removed * (n - 1) - length) <= n * norm + n
        assert abs(added * (n + 1) - length) <= n * norm + n + 1
        relabelled = labels.copy()
        relabelled[i] = (labels[i] + 1) % 3
        step = math.sqrt(2) * math.hypot(*features[i].tolist()) / 2**12
        assert abs(norm_at(features, relabelled, weights, damping) * UNIT - step / n) <= (norm + 1) * UNIT


def test_request_names_the_records_it_was_certified_on(fitted) -> None:
    problem = replace(fitted.problem, records=fitted.problem.records[:-1])
    model = replace(fitted.model, problem=problem)
    with pytest.raises(AttributionError) as caught:
        compute(CertifyRequest(model=model), fitted.shelf.materials)
    assert caught.value.reason is Reason.GRADIENT_TOO_LARGE


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_weights_further_from_the_optimum_than_the_bound_are_refused(seed: int, fitted) -> None:
    print(f"seed {seed}")
    features, labels, weights, inverse = make_parts(fitted)
    decay = fitted.problem.damping / 2**20
    step = np.random.default_rng(seed).normal(size=weights.shape)
    # Two points that both certify are within 2ε/λ of each other.
    step *= 2.01 * EPSILON * UNIT / decay / np.linalg.norm(step)
    moved = weights + np.rint(step * 2.0**30).astype(np.int64)
    with pytest.raises(AttributionError) as caught:
        certify(fitted.problem, features, labels, moved, inverse)
    assert caught.value.reason is Reason.GRADIENT_TOO_LARGE
    norm = norm_at(features, labels, moved, fitted.problem.damping)
    assert caught.value.detail == f"norm {norm}, at most {EPSILON} of 2**-40"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_certified_inverse_is_within_eta_in_every_direction(seed: int, fitted) -> None:
    print(f"seed {seed}")
    features, labels, weights, inverse = make_parts(fitted)
    damping = fitted.problem.damping
    matrix = hessian(features, probabilities(logits(features, weights)), damping)
    noise = np.random.default_rng(seed).normal(size=inverse.shape)
    noise = noise + noise.T
    scale = np.abs(matrix @ noise).sum(axis=1).max() / identity_multiple(damping)
    near = inverse + np.rint(noise * 0.9 / 256 / scale).astype(np.int64)
    residual = certify(fitted.problem, features, labels, weights, near).inverse_residual
    assert ETA // 2 < residual <= ETA
    eigenvalues = np.linalg.eigvals(matrix.astype(float) @ near / identity_multiple(damping)).real
    assert np.abs(eigenvalues - 1).max() <= 1 / 256
    assert np.linalg.eigvalsh(near.astype(float))[0] > 0
    far = inverse + np.rint(noise * 1.1 / 256 / scale).astype(np.int64)
    with pytest.raises(AttributionError) as caught:
        certify(fitted.problem, features, labels, weights, far)
    assert caught.value.reason is Reason.INVERSE_NOT_CERTIFIED


def test_residual_is_rounded_up_and_bounded_by_eta() -> None:
    damping = 1 << 10
    target, diagonal = identity_multiple(damping), damping << 4
    matrix = np.array([[diagonal, 0], [0, diagonal]])
    exact = target // diagonal
    for offset in (0, 1, -1, exact // 256):
        inverse = np.array([[exact, 0], [0, exact + offset]])
        expected = reference.inverse_residual(matrix.tolist(), inverse.tolist(), damping)
        assert inverse_residual(matrix, inverse, damping) == expected
    assert expected == ETA


@pytest.mark.parametrize("entry", [0, 1 << 31, -(1 << 33), MAXIMUM_ROW_SUM])
def test_matrix_that_is_no_inverse_is_refused_without_overflow(entry: int, fitted) -> None:
    features, labels, weights, _ = make_parts(fitted)
    inverse = np.zeros((12, 12), dtype=np.int64)
    inverse[0, 0] = entry
    with pytest.raises(AttributionError) as caught:
        certify(fitted.problem, features, labels, weights, inverse)
    assert caught.value.reason is Reason.INVERSE_NOT_CERTIFIED


def test_bytes_are_big_endian_rows_and_upper_triangle(fitted) -> None:
    weights = np.arange(-6, 6).reshape(3, 4)
    data = encode_weights(weights)
    assert data[:8].hex() == "fffffffffffffffa"
    assert decode_weights(fitted.problem, data).tolist() == weights.tolist()
    half = np.arange(144).reshape(12, 12)
    symmetric = half + half.T
    data = encode_inverse(symmetric)
    assert len(data) == fitted.problem.inverse_size_bytes == 5 * 78
    assert data[5:10] == (int(symmetric[0, 1])).to_bytes(5, "big")
    assert decode_inverse(fitted.problem, data).tolist() == symmetric.tolist()


def test_malformed_bytes_are_refused(fitted) -> None:
    for data in (b"", bytes(95), bytes(97)):
        with pytest.raises(AttributionError) as caught:
            decode_weights(fitted.problem, data)
        assert (caught.value.reason, caught.value.detail) == (
            Reason.WEIGHTS_MALFORMED,
            f"{len(data)} bytes, not 96",
        )
    for data in (b"", bytes(389), bytes(391)):
        with pytest.raises(AttributionError) as caught:
            decode_inverse(fitted.problem, data)
        assert (caught.value.reason, caught.value.detail) == (
            Reason.INVERSE_MALFORMED,
            f"{len(data)} bytes, not 390",
        )


@pytest.mark.parametrize("value", [MAXIMUM_WEIGHT + 1, -MAXIMUM_WEIGHT - 1, -(1 << 63)])
def test_weights_out_of_range_are_refused(value: int, fitted) -> None:
    weights = np.zeros((3, 4), dtype=np.int64)
    weights[1, 1] = value
    with pytest.raises(AttributionError) as caught:
        decode_weights(fitted.problem, encode_weights(weights))
    assert caught.value.reason is Reason.WEIGHTS_OUT_OF_RANGE


def test_inverse_out_of_range_is_refused(fitted) -> None:
    inverse = np.zeros((12, 12), dtype=np.int64)
    inverse[0, :] = inverse[:, 0] = MAXIMUM_ROW_SUM // 12
    assert decode_inverse(fitted.problem, encode_inverse(inverse)).tolist() == inverse.tolist()
    inverse[0, 0] += 1
    for wrong in (inverse, np.full((12, 12), 1 - (1 << 39))):
        with pytest.raises(AttributionError) as caught:
            decode_inverse(fitted.problem, encode_inverse(wrong))
        assert caught.value.reason is Reason.INVERSE_OUT_OF_RANGE


def test_any_certified_inverse_is_in_range() -> None:
    """sqrt(u)·(1 + η)·λ/(λ - u·2**-24) at the most unknowns and the smallest λ, in units of 2**30."""
    assert (MAXIMUM_UNKNOWNS, MINIMUM_DAMPING) == (5120, 1 << 10)
    assert math.sqrt(5120) * (1 + 1 / 256) / (1 - 5120 * 2**-24 / 2**-10) < MAXIMUM_ROW_SUM / 2**30


def test_weights_and_inverse_of_another_size_are_not_read(fitted) -> None:
    short = b"\0" * 8
    model = replace(fitted.model, weights=content_hash(short))
    with pytest.raises(AttributionError) as caught:
        compute(CertifyRequest(model=model), {**fitted.shelf.materials, content_hash(short): short})
    assert caught.value.reason is Reason.WEIGHTS_MALFORMED
