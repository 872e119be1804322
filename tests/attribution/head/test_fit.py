import pytest
import torch

from attribution.errors import AttributionError, Reason
from attribution.head import fit as fitting
from attribution.head.attribute import compute
from attribution.head.fit import fit
from attribution.head.request import EPSILON, ETA, MAXIMUM_DAMPING, MINIMUM_DAMPING, CertifyRequest


@pytest.mark.parametrize(
    ("seed", "columns", "classes", "count", "damping"),
    [
        (1, 3, 3, 40, 1 << 17),
        (2, 1, 2, 1, 1 << 17),
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


def test_the_largest_head_certifies(make_case) -> None:
    case = make_case(seed=1, columns=255, classes=2, count=100)
    assert case.problem.unknowns == 512
    compute(CertifyRequest(model=case.model), case.shelf.materials)


def test_separable_records_at_the_smallest_damping_stay_in_the_range_of_a_weight(make_case) -> None:
    case = make_case(seed=1, columns=1, classes=2, count=2, damping=MINIMUM_DAMPING)
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
