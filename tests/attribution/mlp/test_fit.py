import random
from dataclasses import replace

import numpy as np
import pytest

from attribution.errors import AttributionError, Reason
from attribution.mlp import fit as fitting
from attribution.mlp.attribute import compute
from attribution.mlp.fit import Training, fit, invert, train
from attribution.mlp.network import classify, forward
from attribution.mlp.request import ETA, MlpCertifyRequest
from tests.attribution.mlp.builders import fitted, make_problem


@pytest.mark.parametrize(
    ("columns", "widths", "classes", "count"), [(1, (1,), 2, 1), (20, (17,), 2, 30), (3, (4, 3), 20, 60)]
)
def test_what_is_fitted_certifies(columns: int, widths: tuple[int, ...], classes: int, count: int) -> None:
    problem, materials, _, _ = make_problem(random.Random(1), columns, widths, classes, count)
    posted = fit(problem, materials, Training(checkpoints=2, epochs=3))
    certificate = compute(MlpCertifyRequest(model=posted.model), materials | posted.materials)
    assert certificate == posted.certificate
    assert certificate.record_count == count
    assert max(certificate.inverse_residuals) <= ETA // 16


def test_a_trained_network_answers_better_than_the_largest_class() -> None:
    case = fitted()
    inputs, labels = case.inputs()
    for index in range(2):
        correct = int((classify(forward(case.weights(index), inputs)[1]) == labels).sum())
        assert correct > np.bincount(labels).max() + 3


def test_progress_is_told_every_step() -> None:
    case = fitted()
    told: list[tuple[int, int]] = []
    fit(case.problem, case.materials, Training(checkpoints=2, epochs=3), lambda *step: told.append(step))
    assert told == [(done, 5) for done in range(1, 6)]


def test_runs_see_their_own_records_only() -> None:
    case = fitted()
    inputs, labels = case.inputs()
    half = np.array([range(12), range(12)])
    changed = labels.copy()
    changed[12:] = 0
    training = Training(checkpoints=2, epochs=2)
    one = train(case.problem, inputs, labels, training, lambda _: None, half)
    two = train(case.problem, inputs, changed, training, lambda _: None, half)
    for before, after in zip(one, two, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_training_that_diverges_says_what_to_do() -> None:
    case = fitted()
    with pytest.raises(AttributionError) as caught:
        fit(case.problem, case.materials, Training(checkpoints=1, epochs=30, rate=1e20))
    assert (caught.value.reason, caught.value.detail) == (
        Reason.NOT_CONVERGED,
        "a weight is not finite; lower the rate",
    )


def test_a_proposal_that_does_not_certify_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    case = fitted()
    monkeypatch.setattr(fitting, "invert", lambda matrix, damping: invert(matrix, damping) * 102 // 100)
    with pytest.raises(AttributionError) as caught:
        fit(case.problem, case.materials, Training(checkpoints=1, epochs=1))
    assert caught.value.reason is Reason.NOT_CONVERGED
    assert "inverse_not_certified" in caught.value.detail
    assert caught.value.detail.endswith("raise the decay or lower the rate")


def test_fit_needs_the_records_only() -> None:
    case = fitted()
    few = {name: case.materials[name] for name in case.problem.records}
    assert fit(case.problem, few, Training(checkpoints=1, epochs=1)).certificate.record_count == 24
    with pytest.raises(AttributionError) as caught:
        fit(replace(case.problem), {})
    assert caught.value.reason is Reason.MISSING_MATERIAL
