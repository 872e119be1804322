import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import AttributionError, Reason
from attribution.mlp import reference
from attribution.mlp.certificate import margin_entries
from attribution.mlp.network import (
    MAXIMUM_INPUT,
    MAXIMUM_SIDE,
    MAXIMUM_WEIGHT,
    backward,
    class_residuals,
    classify,
    decode_weights,
    encode_weights,
    first_activations,
    forward,
    margin_residuals,
    probabilities,
    side_bound,
    validate_bounds,
)
from tests.attribution.mlp.builders import make_case, make_weights

SHAPES = st.tuples(
    st.integers(1, 18), st.lists(st.integers(1, 18), min_size=1, max_size=2).map(tuple), st.integers(2, 5)
)


@given(seed=st.integers(0, 1 << 32), shape=SHAPES)
@settings(max_examples=10)
def test_forward_and_back_equal_plain_integers(seed: int, shape: tuple[int, tuple[int, ...], int]) -> None:
    columns, widths, classes = shape
    case = make_case(seed, columns=columns, widths=widths, classes=classes, count=3, checkpoints=1)
    inputs, labels = case.inputs()
    weights = case.weights()
    network = reference.Network(index=3, weights=[layer.tolist() for layer in weights])
    assert inputs.tolist() == reference.inputs(case.values, case.values)
    activations, scores = forward(weights, inputs)
    entries = margin_entries(weights, 3, inputs, labels)
    for i, point in enumerate(inputs.tolist()):
        assert ([layer[i].tolist() for layer in activations], scores[i].tolist()) == reference.forward(network, point)
        assert classify(scores)[i] == reference.answer(scores[i].tolist())
        assert probabilities(scores)[i].tolist() == reference.probabilities(scores[i].tolist())
        residual = reference.margin_residual(scores[i].tolist(), int(labels[i]))
        assert margin_residuals(scores, labels)[i].tolist() == residual
        assert entries[i].tolist() == reference.gradient(network, point, residual)
        towards = class_residuals(probabilities(scores), classes - 1)[i].tolist()
        assert towards == reference.class_residual(scores[i].tolist(), classes - 1)


def test_gradient_is_that_of_the_margin() -> None:
    """The same network in torch's floats, differentiated by torch."""
    case = make_case(5, columns=6, widths=(9, 7), classes=4, count=10, checkpoints=1)
    inputs, labels = case.inputs()
    weights = case.weights()
    activations, scores = forward(weights, inputs)
    residuals = backward(weights, activations, margin_residuals(scores, labels))
    layers = [torch.tensor(layer / 2.0**14, requires_grad=True) for layer in weights]
    for i in range(10):
        values = torch.tensor(inputs[i] / 2.0**10)
        for layer in layers[:-1]:
            values = torch.cat([(layer @ values).relu(), torch.ones(1)])
        table = layers[-1] @ values
        others = torch.cat([table[: labels[i]], table[labels[i] + 1 :]])
        margin = table[labels[i]] - others.logsumexp(0)
        for slope, d, a in zip(torch.autograd.grad(margin, layers), residuals, activations, strict=True):
            ours = np.outer(d[i] / 2.0**16, a[i] / 2.0**10)
            assert np.abs(ours - slope.numpy()).max() < 5e-3


def test_inputs_are_features_without_two_bits() -> None:
    assert first_activations(np.array([[32767, -32767, 4096, 2, 6]], dtype=np.int16)).tolist() == [
        [MAXIMUM_INPUT, -MAXIMUM_INPUT, 1024, 0, 2]
    ]


def test_bytes_of_weights_come_back() -> None:
    case = make_case(1, widths=(4, 2))
    weights = make_weights(np.random.default_rng(2), case.problem)
    decoded = decode_weights(case.problem, encode_weights(weights))
    assert [layer.tolist() for layer in decoded] == [layer.tolist() for layer in weights]


def test_bytes_of_another_size_and_too_large_weights_are_refused() -> None:
    case = make_case(1)
    data = bytearray(encode_weights(case.weights()))
    with pytest.raises(AttributionError) as caught:
        decode_weights(case.problem, bytes(data[:-1]))
    assert (caught.value.reason, caught.value.detail) == (Reason.WEIGHTS_MALFORMED, "151 bytes, not 152")
    for value in (MAXIMUM_WEIGHT, -MAXIMUM_WEIGHT):
        data[:4] = value.to_bytes(4, "big", signed=True)
        decode_weights(case.problem, bytes(data))
    for value in (MAXIMUM_WEIGHT + 1, -MAXIMUM_WEIGHT - 1, -(1 << 31)):
        data[:4] = value.to_bytes(4, "big", signed=True)
        with pytest.raises(AttributionError) as caught:
            decode_weights(case.problem, bytes(data))
        assert caught.value.reason is Reason.PARAMETER_OUT_OF_RANGE
        assert caught.value.detail == f"{abs(value)}, at most 131072"


def full_weights(shapes: tuple[tuple[int, int], ...], values: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return tuple(np.full(shape, value, dtype=np.int64) for shape, value in zip(shapes, values, strict=True))


LARGE = ((256, 65), (256, 257), (64, 257))
SMALL = ((15, 257), (15, 16), (2, 16))
UNIT = 1 << 14
FIRST = (64 * MAXIMUM_INPUT + 1024) * 8 + 1
SECOND = (256 * FIRST + 1024) * 8 + 1
LAST = ((2 << 16) + 64) * 8 + 1
NARROW = (256 * MAXIMUM_INPUT + 1024) * 8 + 1


@pytest.mark.parametrize(
    ("shapes", "values", "detail"),
    [
        (LARGE, (8, 8, 8), f"inputs of layer 2: up to {256 * SECOND + 1024}"),
        (LARGE, (0, 1, 8), f"residuals of layer 0: up to {256 * (256 * LAST + 1)}"),
        (SMALL, (8, 8, 8), f"inputs of layer 2: up to {4 * ((15 * NARROW + 1024) * 8 + 1)}"),
    ],
)
def test_weights_with_which_a_sum_could_pass_its_bound_are_refused(
    shapes: tuple[tuple[int, int], ...], values: tuple[int, ...], detail: str
) -> None:
    validate_bounds(full_weights(shapes, (UNIT // 64,) * 3))
    with pytest.raises(AttributionError) as caught:
        validate_bounds(full_weights(shapes, tuple(value * UNIT for value in values)))
    assert caught.value.reason is Reason.ACTIVATION_OUT_OF_RANGE
    assert caught.value.detail == f"{detail}, at most {MAXIMUM_SIDE}"


def test_weights_out_of_their_bounds_are_refused_when_they_are_read() -> None:
    case = make_case(1, columns=20, widths=(256, 256), checkpoints=1)
    weights = full_weights(case.problem.layers, (8 * UNIT,) * 3)
    with pytest.raises(AttributionError) as caught:
        decode_weights(case.problem, encode_weights(weights))
    assert caught.value.reason is Reason.ACTIVATION_OUT_OF_RANGE


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=10)
def test_no_sum_passes_what_the_bounds_allow(seed: int) -> None:
    """The most that the weights allow is carried on exactly, so the worst point stays below it."""
    rng = np.random.default_rng(seed)
    weights = tuple(rng.integers(-30_000, 30_001, shape) for shape in ((20, 9), (18, 21), (3, 19)))
    validate_bounds(weights)
    inputs = np.hstack([rng.choice([-MAXIMUM_INPUT, MAXIMUM_INPUT], (50, 8)), np.full((50, 1), 1024)])
    # One point per unit of the first layer that drives it as far as it goes.
    inputs[:20, :8] = MAXIMUM_INPUT * np.sign(weights[0][:, :8])
    activations, scores = forward(weights, inputs)
    residuals = backward(weights, activations, margin_residuals(scores, rng.integers(0, 3, 50)))
    largest = np.append(np.full(8, MAXIMUM_INPUT), 1024)
    for layer, found in zip(weights[:-1], activations[1:], strict=True):
        largest = np.append((np.abs(layer) @ largest >> 14) + 1, 1024)
        assert (np.abs(found).max(axis=0) <= largest).all()
        assert side_bound(largest) <= MAXIMUM_SIDE
    assert np.abs(residuals[-1]).sum(axis=1).max() <= (2 << 16) + 3
    pushed = (((2 << 16) + 3) * np.abs(weights[-1][:, :-1]).max(axis=0) >> 14) + 1
    assert (np.abs(residuals[1]).max(axis=0) <= pushed).all()
    pushed = (pushed @ np.abs(weights[1][:, :-1]) >> 14) + 1
    assert (np.abs(residuals[0]).max(axis=0) <= pushed).all()


def test_largest_scores_keep_their_order_and_do_not_wrap() -> None:
    scores = np.array([[1 << 50, -(1 << 50), (1 << 50) - 1]])
    assert classify(scores).tolist() == [0]
    assert probabilities(scores).tolist() == [reference.probabilities(scores[0].tolist())]
    assert probabilities(scores)[0, 1] == 0
    assert margin_residuals(scores, np.array([1])).tolist() == [[-32768, 65536, -32768]]


def test_a_dead_unit_passes_nothing_back() -> None:
    weights = (np.array([[-(1 << 14), 0], [1 << 14, 0]]), np.array([[1 << 14, 1 << 14, 0], [0, 0, 0]]))
    activations, scores = forward(weights, np.array([[2048, 1024]]))
    assert activations[1].tolist() == [[0, 2048, 1024]]
    residuals = backward(weights, activations, margin_residuals(scores, np.array([0])))
    assert residuals[0].tolist() == [[0, 1 << 16]]
