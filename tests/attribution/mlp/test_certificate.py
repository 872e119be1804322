import random
from dataclasses import replace

import numpy as np
import pytest

from attribution.errors import AttributionError, Reason
from attribution.mlp import reference
from attribution.mlp.attribute import compute
from attribution.mlp.certificate import (
    MAXIMUM_ROW_SUM,
    certify,
    damped,
    decode_inverse,
    encode_inverse,
    fisher,
    inverse_residual,
    snapshot_scale,
)
from attribution.mlp.fit import Training, fit, propose
from attribution.mlp.request import ETA, MlpCertificate, MlpCertifyRequest, MlpModel
from tests.attribution.mlp.builders import Case, fitted, make_case, make_inverse, make_problem


def with_checkpoint(case: Case, **change: object) -> MlpModel:
    checkpoints = (case.model.checkpoints[0], replace(case.model.checkpoints[1], **change))
    return replace(case.model, checkpoints=checkpoints)


def refusal(case: Case, model: MlpModel) -> tuple[Reason, str]:
    with pytest.raises(AttributionError) as caught:
        compute(MlpCertifyRequest(model=model), case.materials)
    return caught.value.reason, caught.value.detail


def test_certificate_equals_plain_integers() -> None:
    case = fitted()
    points = reference.inputs(case.values, case.values)
    expected = []
    for index, checkpoint in enumerate(case.model.checkpoints):
        network = reference.Network(index=index, weights=[layer.tolist() for layer in case.weights(index)])
        margins = [
            reference.gradient(network, x, reference.margin_residual(reference.forward(network, x)[1], y))
            for x, y in zip(points, case.labels, strict=True)
        ]
        assert checkpoint.scale == reference.scale(margins)
        matrix, damping = reference.damped(reference.fisher(network, points, checkpoint.scale))
        inverse = decode_inverse(case.problem, case.materials[checkpoint.inverse]).tolist()
        expected.append(reference.inverse_residual(matrix, inverse, damping))
    certificate = compute(MlpCertifyRequest(model=case.model), case.materials)
    assert certificate == MlpCertificate(record_count=24, inverse_residuals=tuple(expected))
    assert max(expected) <= ETA // 16


@pytest.mark.parametrize(
    ("columns", "widths", "classes", "count"), [(17, (17,), 2, 4), (2, (3, 2), 3, 9), (1, (1,), 5, 1)]
)
def test_fisher_matrix_equals_plain_integers(columns: int, widths: tuple[int, ...], classes: int, count: int) -> None:
    case = make_case(7, columns=columns, widths=widths, classes=classes, count=count, checkpoints=2)
    inputs, labels = case.inputs()
    weights = case.weights(1)
    scale = snapshot_scale(weights, 1, inputs, labels)
    total = fisher(weights, 1, inputs, scale, case.problem.unknowns)
    network = reference.Network(index=1, weights=[layer.tolist() for layer in weights])
    plain = reference.fisher(network, inputs.tolist(), scale)
    assert total.tolist() == plain
    matrix, damping = damped(total)
    assert (matrix.tolist(), damping) == reference.damped(plain)
    assert np.array_equal(matrix, matrix.T)


def test_damping_is_a_quarter_of_the_mean_of_the_diagonal() -> None:
    assert [part.tolist() if isinstance(part, np.ndarray) else part for part in damped(np.diag([20, 60]))] == [
        [[31, 0], [0, 71]],
        11,
    ]
    matrix, damping = damped(np.array([[1 << 40, -5], [-5, 1 << 40]]))
    assert damping == 1 << 19
    assert matrix.tolist() == [[(1 << 21) + (1 << 19), -1], [-1, (1 << 21) + (1 << 19)]]
    assert damped(np.zeros((3, 3), dtype=np.int64))[0].tolist() == np.eye(3).tolist()


def test_a_network_that_passes_nothing_on_certifies() -> None:
    """All gradients of the first layer are 0, and those of the last are its biases'."""
    case = make_case(3)
    weights = tuple(np.zeros_like(layer) for layer in case.weights())
    inputs, labels = case.inputs()
    checkpoint, blobs, residual = propose(case.problem, 0, weights, inputs, labels)
    model = MlpModel(problem=case.problem, checkpoints=(checkpoint,))
    certificate = compute(MlpCertifyRequest(model=model), case.materials | blobs)
    assert certificate.inverse_residuals == (residual,)


def test_inverse_just_inside_the_bound_certifies_and_just_outside_does_not() -> None:
    case = fitted()
    inputs, labels = case.inputs()
    checkpoint = case.model.checkpoints[1]
    inverse = decode_inverse(case.problem, case.materials[checkpoint.inverse])
    matrix, damping = damped(fisher(case.weights(1), 1, inputs, checkpoint.scale, len(inverse)))
    # A unit on the diagonal of M adds a column of H to the product: so many reach the bound.
    step = ETA * damping // int(np.abs(matrix[:, 0]).max())
    near, far = inverse.copy(), inverse.copy()
    near[0, 0] += step * 98 // 100
    far[0, 0] += step * 102 // 100
    assert ETA * 96 // 100 < certify(case.weights(1), 1, checkpoint.scale, near, inputs, labels) <= ETA
    assert ETA < inverse_residual(matrix, far, damping) < ETA * 104 // 100
    model = with_checkpoint(case, inverse=case.put(encode_inverse(far)))
    reason, detail = refusal(case, model)
    assert reason is Reason.INVERSE_NOT_CERTIFIED
    assert detail.startswith("checkpoint 1: residual ")


def test_an_inverse_that_inverts_nothing_is_refused() -> None:
    case = fitted()
    inverse = make_inverse(np.random.default_rng(1), case.problem.unknowns)
    inverse[np.diag_indices(len(inverse))] += 20 << 30
    model = with_checkpoint(case, inverse=case.put(encode_inverse(inverse)))
    assert refusal(case, model) == (
        Reason.INVERSE_NOT_CERTIFIED,
        "the product with the matrix is far from the identity",
    )


def test_another_scale_than_the_records_fix_is_refused() -> None:
    case = fitted()
    fixed = case.model.checkpoints[1].scale
    for scale in (fixed - 1, fixed + 1):
        reason = refusal(case, with_checkpoint(case, scale=scale))
        assert reason == (Reason.SCALE_NOT_CERTIFIED, f"checkpoint 1: {scale}, not {fixed}")


def test_checkpoints_in_another_order_are_refused() -> None:
    """Each place has projections of its own, so an inverse belongs to its place."""
    problem, materials, values, labels = make_problem(random.Random(2), 18, (4,), 2, 30)
    posted = fit(problem, materials, Training(checkpoints=2, epochs=2))
    case = Case(posted.model, materials | posted.materials, values, labels)
    compute(MlpCertifyRequest(model=case.model), case.materials)
    reason, _ = refusal(case, replace(case.model, checkpoints=case.model.checkpoints[::-1]))
    assert reason in (Reason.INVERSE_NOT_CERTIFIED, Reason.SCALE_NOT_CERTIFIED)


def test_wrong_bytes_are_refused_before_any_work() -> None:
    case = fitted()
    size = case.problem.inverse_size_bytes
    model = with_checkpoint(case, inverse=case.put(bytes(size - 8)))
    assert refusal(case, model) == (Reason.INVERSE_MALFORMED, f"{size - 8} bytes, not {size}")
    entry = (MAXIMUM_ROW_SUM + 1).to_bytes(8, "big")
    model = with_checkpoint(case, inverse=case.put(entry + bytes(size - 8)))
    assert refusal(case, model) == (Reason.INVERSE_OUT_OF_RANGE, f"an entry above {MAXIMUM_ROW_SUM}")
    most = MAXIMUM_ROW_SUM.to_bytes(8, "big")
    model = with_checkpoint(case, inverse=case.put(most * 2 + bytes(size - 16)))
    assert refusal(case, model) == (Reason.INVERSE_OUT_OF_RANGE, f"a row sum above {MAXIMUM_ROW_SUM}")
    model = with_checkpoint(case, weights=case.put(b""))
    assert refusal(case, model)[0] is Reason.WEIGHTS_MALFORMED
    with pytest.raises(AttributionError) as caught:
        compute(MlpCertifyRequest(model=case.model), {})
    assert caught.value.reason is Reason.MISSING_MATERIAL
    name = case.model.checkpoints[0].weights
    flipped = bytes([case.materials[name][0] ^ 1]) + case.materials[name][1:]
    with pytest.raises(AttributionError) as caught:
        compute(MlpCertifyRequest(model=case.model), case.materials | {name: flipped})
    assert (caught.value.reason, caught.value.detail) == (Reason.MATERIAL_MISMATCH, name.hex())


def test_bytes_of_an_inverse_come_back() -> None:
    case = make_case(1)
    inverse = make_inverse(np.random.default_rng(3), case.problem.unknowns)
    assert np.array_equal(decode_inverse(case.problem, encode_inverse(inverse)), inverse)
