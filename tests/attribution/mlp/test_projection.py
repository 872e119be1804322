import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.mlp import reference
from attribution.mlp.projection import (
    INPUT_SIDE,
    OUTPUT_SIDE,
    count_bit_lengths,
    join_sides,
    percentile_scale,
    project_side,
    quantise,
    side_matrix,
)


@pytest.mark.parametrize("size", [1, 16, 17, 257])
def test_sides_equal_plain_integers(size: int) -> None:
    unit = [[int(i == j) for j in range(size)] for i in range(size)]
    for place in ((0, 0, INPUT_SIDE), (9, 2, OUTPUT_SIDE)):
        matrix = side_matrix(*place, size)
        assert matrix.shape == (size, min(size, 16))
        assert [matrix[i].tolist() for i in (0, size - 1)] == [reference.project(unit[i], *place) for i in (0, -1)]


def test_every_side_has_its_own_signs() -> None:
    places = [(checkpoint, layer, side) for checkpoint in (0, 1) for layer in (0, 1) for side in (0, 1)]
    assert len({side_matrix(*place, 40).tobytes() for place in places}) == len(places)


def test_inner_products_keep_their_sizes() -> None:
    """256 times, in the mean over many projections, whatever the sizes of the sides."""
    rng = np.random.default_rng(1)
    for outputs, inputs in ((40, 60), (10, 60), (10, 12)):
        d, a = rng.integers(-50, 51, (2, outputs)), rng.integers(-50, 51, (2, inputs))
        d[1] += d[0]
        a[1] += a[0]
        exact = int(d[0] @ d[1]) * int(a[0] @ a[1])
        products = []
        for checkpoint in range(200):
            projected = join_sides(project_side([d], checkpoint, 1), project_side([a], checkpoint, 0))
            products.append(int(projected[0] @ projected[1]) / 256)
        assert abs(np.mean(products) / exact - 1) < 0.2


def test_entries_saturate_and_round_half_to_even() -> None:
    entries = np.array([[4, 12, -4, -12, 8 * 127, 8 * 128, -8 * 128, -(1 << 62), 1 << 62]])
    assert quantise(entries, 3).tolist() == [[0, 2, 0, -2, 127, 127, -127, -127, 127]]
    assert quantise(entries, 3).tolist() == [reference.quantise(entries[0].tolist(), 3)]


def test_bit_lengths_at_powers_of_two() -> None:
    values = [0, 1, -2, 3, 4, (1 << 53) - 1, 1 << 53, -(1 << 53) - 1, (1 << 62) - 1, 1 << 62]
    counts = count_bit_lengths(np.array([values]))
    assert counts.shape == (64,)
    assert counts.tolist() == [sum(value.bit_length() == bits for value in values) for bits in range(64)]


@given(st.lists(st.integers(-(1 << 62), 1 << 62), min_size=1, max_size=40), st.integers(0, 2000))
def test_scale_equals_plain_integers(values: list[int], zeros: int) -> None:
    entries = values + [0] * zeros
    assert percentile_scale(count_bit_lengths(np.array(entries))) == reference.scale([entries])


def test_scale_lets_one_entry_of_a_thousand_saturate() -> None:
    large = [1 << 40]
    assert percentile_scale(count_bit_lengths(np.array(large + [127 << 5] * 999))) == 5
    assert percentile_scale(count_bit_lengths(np.array(large * 2 + [127 << 5] * 998))) == 34
    assert percentile_scale(count_bit_lengths(np.array([0, 0]))) == 1
