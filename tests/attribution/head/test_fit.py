import numpy as np
import pytest
import torch

from attribution.content import content_hash
from attribution.errors import AttributionError, Reason
from attribution.head import fit as fitting
from attribution.head.attribute import compute, read_problem
from attribution.head.certificate import certify, decode_inverse, decode_weights, encode_inverse, encode_weights
from attribution.head.fit import fit
from attribution.head.request import EPSILON, ETA, MAXIMUM_DAMPING, MINIMUM_DAMPING, CertifyRequest, Model, Problem
from attribution.record import encode_record


@pytest.mark.parametrize(
    ("seed", "columns", "classes", "count", "damping"),
    [
        (1, 3, 3, 40, 1 << 17),
        (2, 1, 2, 4, 1 << 17),
        (3, 30, 2, 100, MINIMUM_DAMPING),
        (4, 5, 10, 60, MAXIMUM_DAMPING),
        (5, 7, 64, 200, 1 << 14),
    ],
)
def test_what_is_fitted_certifies(seed: int, columns: int, classes: int, count: int, damping: int, make_case) -> None:
    case = make_case(seed=seed, columns=columns, classes=classes, count=count, damping=damping)
    certificate = compute(CertifyRequest(model=case.model), case.shelf.materials)
    assert certificate.record_count == count
    assert certificate.gradient_norm <= EPSILON // 16
    assert certificate.inverse_residual <= ETA // 16
    assert fit(case.problem, case.shelf.materials).certificate.record_count == count


def test_a_wide_head_certifies(make_case) -> None:
    case = make_case(seed=1, columns=255, classes=2, count=100)
    assert case.problem.unknowns == 512
    compute(CertifyRequest(model=case.model), case.shelf.materials)


def test_separable_records_at_the_smallest_damping_stay_in_the_range_of_a_weight(make_case) -> None:
    case = make_case(seed=5, columns=1, classes=2, count=2, damping=MINIMUM_DAMPING)
    compute(CertifyRequest(model=case.model), case.shelf.materials)


def test_training_that_does_not_certify_says_what_to_do(fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "train", lambda *_: torch.zeros((3, 4), dtype=torch.float64))
    monkeypatch.setattr(fitting, "_NEWTON_STEPS", 0)
    with pytest.raises(AttributionError) as caught:
        fit(fitted.problem, fitted.shelf.materials)
    assert caught.value.reason is Reason.NOT_CONVERGED
    assert "gradient_too_large" in caught.value.detail
    assert caught.value.detail.endswith("raise the damping or drop redundant columns")


def test_fit_needs_the_records_only(fitted) -> None:
    few = {name: fitted.shelf.materials[name] for name in fitted.problem.records}
    assert fit(fitted.problem, few).certificate.record_count == 40
    with pytest.raises(AttributionError) as caught:
        fit(fitted.problem, {})
    assert caught.value.reason is Reason.MISSING_MATERIAL


def test_fit_tells_how_far_it_is(fitted) -> None:
    told: list[tuple[str, float]] = []
    fit(fitted.problem, fitted.shelf.materials, progress=lambda stage, done: told.append((stage, done)))
    shares = [done for _, done in told]
    assert shares == sorted(shares)
    assert (told[0], told[-1]) == (("reading", 0.0), ("done", 1.0))
    assert {"training", "curvature", "polish", "Hessian", "inverse", "certificate"} <= {stage for stage, _ in told}


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_device_that_is_not_there_is_told_before_any_work(device: str, fitted) -> None:
    with pytest.raises(AttributionError) as caught:
        fit(fitted.problem, {}, device=device)
    assert caught.value.reason is Reason.DEVICE_UNAVAILABLE
    assert caught.value.detail.startswith(repr(device))


def test_records_that_teach_nothing_are_refused(make_schema) -> None:
    schema = make_schema(1, 3)
    for rows, reason, detail in (
        ([(0, 5), (1, 6)], Reason.TOO_FEW_RECORDS, "2 records, 3 classes"),
        ([(1, 5), (1, 6), (1, 7)], Reason.ONE_CLASS_ONLY, "label 1"),
        ([(0, 5), (1, 5), (2, 5)], Reason.NOTHING_VARIES, "3 records"),
    ):
        blobs = [encode_record(schema, label, [value]) for label, value in rows]
        names = tuple(map(content_hash, blobs))
        materials = dict(zip(names, blobs, strict=True))
        problem = Problem(engine="head/1", schema=schema, damping=1 << 17, records=names)
        weights, inverse = (
            encode_weights(np.zeros((3, 2), dtype=np.int64)),
            encode_inverse(np.eye(6, dtype=np.int64) << 30),
        )
        materials |= {content_hash(blob): blob for blob in (weights, inverse)}
        model = Model(problem=problem, weights=content_hash(weights), inverse=content_hash(inverse))
        for action in (
            lambda problem=problem, materials=materials: fit(problem, materials),
            lambda model=model, materials=materials: compute(CertifyRequest(model=model), materials),
        ):
            with pytest.raises(AttributionError) as caught:
                action()
            assert (caught.value.reason, caught.value.detail) == (reason, detail)


@pytest.mark.slow
def test_a_head_of_two_thousand_unknowns_certifies_and_forgets_no_record(make_case) -> None:
    case = make_case(seed=1, columns=255, classes=8, count=600)
    assert case.problem.unknowns == 2048
    assert compute(CertifyRequest(model=case.model), case.shelf.materials).inverse_residual <= ETA // 16
    features, labels, _ = read_problem(case.problem, case.shelf.materials)
    weights = decode_weights(case.problem, case.shelf.materials[case.model.weights])
    inverse = decode_inverse(case.problem, case.shelf.materials[case.model.inverse])
    flipped = labels.copy()
    flipped[300] = (flipped[300] + 1) % 8
    for other in (
        (np.delete(features, 300, axis=0), np.delete(labels, 300)),
        (np.vstack([features, features[300:301]]), np.append(labels, labels[300])),
        (features, flipped),
    ):
        with pytest.raises(AttributionError) as caught:
            certify(case.problem, *other, weights, inverse)
        assert caught.value.reason is Reason.GRADIENT_TOO_LARGE
