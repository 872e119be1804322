import math
import random
from decimal import ROUND_UP, Context, Decimal, localcontext

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attribution import exact
from attribution.errors import AttributionError, KernelError, Reason
from attribution.exact import (
    EXP_TABLE_SHA256,
    EXPONENT_BITS,
    EXPONENTIAL_BITS,
    INT64_MAXIMUM,
    PRODUCT_BOUND,
    divide_half_up,
    divide_half_up_reference,
    exp_negative,
    exp_negative_reference,
    exp_table,
    floor_log2,
    isqrt,
    known_answer_test,
    magnitude,
    matmul,
    matmul_reference,
    ratio_to_root,
    ratio_to_root_reference,
    shift_half_even,
    shift_half_even_reference,
    top,
    top_reference,
)

SEEDS = [1, 2, 3]


def make_matrix(rng: random.Random, rows: int, columns: int, bits: int) -> np.ndarray:
    bound = (1 << bits) - 1
    values = [[rng.choice((-bound, bound, rng.randint(-bound, bound))) for _ in range(columns)] for _ in range(rows)]
    return np.array(values, dtype=np.int64).reshape(rows, columns)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("left_bits", "right_bits"), [(1, 1), (15, 15), (24, 23), (25, 25), (15, 45), (45, 15), (30, 30), (1, 60), (60, 1)]
)
def test_product_equals_plain_integers_at_every_width(left_bits: int, right_bits: int, seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    left, right = make_matrix(rng, 3, 7, left_bits), make_matrix(rng, 7, 2, right_bits)
    assert matmul(left, right).tolist() == matmul_reference(left.tolist(), right.tolist())


def test_product_is_exact_on_both_sides_of_the_bound() -> None:
    inner = 4
    for right_entry in (PRODUCT_BOUND // inner >> 20, (PRODUCT_BOUND // inner >> 20) + 1):
        left = np.full((1, inner), 1 << 20, dtype=np.int64)
        right = np.full((inner, 1), right_entry, dtype=np.int64)
        assert matmul(left, right).tolist() == [[inner * right_entry << 20]]


def test_product_spans_blocks_of_rows_and_of_the_inner_dimension() -> None:
    rng = np.random.default_rng(1)
    left = rng.integers(-1000, 1000, (4099, 3))
    assert np.array_equal(matmul(left, left.T[:, :5]), left @ left.T[:, :5])
    assert np.array_equal(matmul(left.T, left), left.T @ left)


def test_product_takes_small_integer_types() -> None:
    left = np.array([[-32768, 32767]], dtype=np.int16)
    right = np.array([[INT64_MAXIMUM >> 17], [-(INT64_MAXIMUM >> 17)]], dtype=np.int64)
    assert matmul(left, right).tolist() == matmul_reference(left.tolist(), right.tolist())


def test_product_as_large_as_the_type_is_given() -> None:
    one = np.array([[1]], dtype=np.int64)
    for value in (INT64_MAXIMUM, -(1 << 62)):
        assert matmul(np.array([[value]], dtype=np.int64), one).tolist() == [[value]]


@pytest.mark.parametrize(("left", "right"), [(1 << 40, 1 << 40), (1 << 62, 2), (-(1 << 62), 4), (-(1 << 63), 3)])
def test_product_that_does_not_fit_is_refused(left: int, right: int) -> None:
    with pytest.raises(AttributionError) as caught:
        matmul(np.array([[left]], dtype=np.int64), np.array([[right]], dtype=np.int64))
    assert (caught.value.reason, caught.value.detail) == (Reason.BOUND_EXCEEDED, "(1, 1) by (1, 1)")


@given(
    left=st.lists(st.integers(-(1 << 62), 1 << 62), min_size=2, max_size=2),
    right=st.lists(st.integers(-(1 << 62), 1 << 62), min_size=2, max_size=2),
)
@example(left=[-1, 1 << 47], right=[206_162_630_657, -16_383])
def test_product_is_exact_or_refused(left: list[int], right: list[int]) -> None:
    expected = matmul_reference([left], [[value] for value in right])[0][0]
    try:
        product = int(matmul(np.array([left]), np.array(right)[:, None])[0, 0])
    except AttributionError:
        # What fits with room to spare by the operands' largest entries is never refused.
        product = expected
        is_refusal_right = len(left) * max(map(abs, left)) * max(map(abs, right)) > 1 << 61
    else:
        is_refusal_right = True
    assert product == expected
    assert is_refusal_right


def test_magnitude_counts_the_most_negative_integer() -> None:
    assert magnitude(np.array([-(1 << 63), 5])) == 1 << 63
    assert magnitude(np.array([], dtype=np.int64)) == 0


@given(values=st.lists(st.integers(-(1 << 62), 1 << 62), min_size=1, max_size=9), bits=st.integers(1, 40))
def test_shift_equals_plain_integers(values: list[int], bits: int) -> None:
    expected = [shift_half_even_reference(value, bits) for value in values]
    assert shift_half_even(np.array(values), bits).tolist() == expected


def test_shift_rounds_halves_to_even() -> None:
    assert shift_half_even(np.array([-6, -2, 2, 6, 10]), 2).tolist() == [-2, 0, 0, 2, 2]


@given(values=st.lists(st.integers(-(1 << 61), 1 << 61), min_size=1, max_size=9), by=st.integers(1, 1 << 60))
def test_division_equals_plain_integers(values: list[int], by: int) -> None:
    expected = [divide_half_up_reference(value, by) for value in values]
    assert divide_half_up(np.array(values), np.array([by])).tolist() == expected
    assert all(abs(2 * (value - by * quotient)) <= by for value, quotient in zip(values, expected, strict=True))


def test_division_that_could_overflow_is_refused() -> None:
    with pytest.raises(AttributionError) as caught:
        divide_half_up(np.array([INT64_MAXIMUM]), np.array([1]))
    assert caught.value.reason is Reason.BOUND_EXCEEDED


@given(root=st.integers(0, 1 << 31), offset=st.integers(-2, 2))
def test_root_is_exact_next_to_squares(root: int, offset: int) -> None:
    value = min(max(root * root + offset, 0), 1 << 62)
    assert isqrt(np.array([value])).tolist() == [math.isqrt(value)]


@given(bits=st.integers(0, 62), offset=st.integers(-2, 2), other=st.integers(1, INT64_MAXIMUM))
def test_logarithm_is_exact_next_to_powers_of_two(bits: int, offset: int, other: int) -> None:
    values = [max(1, (1 << bits) + offset), other, INT64_MAXIMUM]
    assert floor_log2(np.array(values)).tolist() == [value.bit_length() - 1 for value in values]


@given(values=st.lists(st.integers(-3, 3), max_size=30), count=st.integers(0, 40), seed=st.integers(0, 99))
def test_top_equals_plain_integers_and_breaks_ties_by_their_key(values: list[int], count: int, seed: int) -> None:
    ties = random.Random(seed).sample(range(1000), len(values))
    places = top(np.array(values, dtype=np.int64), count, np.array(ties, dtype=np.int64))
    assert places.tolist() == top_reference(values, count, ties)


def test_top_orders_the_extreme_integers() -> None:
    values = np.array([-INT64_MAXIMUM - 1, INT64_MAXIMUM, 0, -INT64_MAXIMUM - 1])
    assert top(values, 4, np.array([3, 2, 1, 0])).tolist() == [1, 2, 3, 0]


forms = st.one_of(st.integers(0, 1 << 20), st.integers(0, (1 << 63) - 1))


@given(numerator=st.integers(-(1 << 62), 1 << 62), left=forms, right=forms)
@settings(max_examples=500)
def test_ratio_equals_plain_integers(numerator: int, left: int, right: int) -> None:
    if 1000 * abs(numerator) >= (math.isqrt(left * right) or 1) << 62:
        numerator = numerator % 1000  # the ratio itself must fit
    ratio = ratio_to_root(np.array([[numerator]]), np.array([[left]]), np.array([[right]]), 1000)
    assert ratio.tolist() == [[ratio_to_root_reference(numerator, left, right, 1000)]]


@given(left=st.integers(1 << 20, 1 << 62), right=st.integers(1 << 20, 1 << 62), step=st.integers(-1000, 1000))
@settings(max_examples=300)
def test_ratio_is_exact_next_to_each_integer(left: int, right: int, step: int) -> None:
    root = math.isqrt(left * right)
    numerators = [-(-step * root // 1000) + offset for offset in (-1, 0, 1)]
    ratios = ratio_to_root(np.array([numerators]).T, np.full((3, 1), left), np.array([[right]]), 1000)
    expected = [[ratio_to_root_reference(value, left, right, 1000)] for value in numerators]
    assert ratios.tolist() == expected


def test_ratio_to_itself_is_the_scale_and_to_nothing_is_zero() -> None:
    forms = np.array([[0], [1], [1 << 40], [INT64_MAXIMUM]])
    ratios = ratio_to_root(np.broadcast_to(forms, (4, 1)), forms, np.array([[0]]), 1000)
    assert ratios.tolist() == [[0]] * 4
    for value in (1, 1 << 40, INT64_MAXIMUM):
        one = np.array([[value]])
        assert ratio_to_root(one, one, one, 1000).tolist() == [[1000]]
        assert ratio_to_root(-one, one, one, 1000).tolist() == [[-1000]]


@given(arguments=st.lists(st.integers(0, 40 << EXPONENT_BITS), min_size=1, max_size=9))
def test_exponential_equals_plain_integers_and_is_within_its_error(arguments: list[int]) -> None:
    values = exp_negative(np.array(arguments)).tolist()
    assert values == [exp_negative_reference(argument) for argument in arguments]
    context = Context(prec=40)
    for argument, value in zip(arguments, values, strict=True):
        true = context.exp(Decimal(-argument) / (1 << EXPONENT_BITS)) * (1 << EXPONENTIAL_BITS)
        assert abs(value - true) < 4


def test_exponential_of_zero_is_one_and_from_32_on_it_is_zero() -> None:
    arguments = np.array([0, (32 << EXPONENT_BITS) - 1, 32 << EXPONENT_BITS, INT64_MAXIMUM])
    assert exp_negative(arguments).tolist() == [1 << EXPONENTIAL_BITS, 0, 0, 0]


def test_exponential_table_is_pinned() -> None:
    assert EXP_TABLE_SHA256 == "5bae487451270308cf384bba6f947b58ca395883417855eb147e802d9206eb1a"
    coarse, fine = exp_table()
    one = 1 << EXPONENTIAL_BITS
    assert (int(coarse[64]), int(fine[4095])) == (round(one * math.exp(-1)), round(one * -math.expm1(-4095 / 2**18)))


def test_exponential_table_does_not_depend_on_the_decimal_context() -> None:
    with localcontext() as context:
        context.prec, context.rounding = 3, ROUND_UP
        assert all(np.array_equal(a, b) for a, b in zip(exp_table.__wrapped__(), exp_table(), strict=True))


def test_known_answers_hold_on_this_machine() -> None:
    known_answer_test()


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        ("matmul", "matmul"),
        ("isqrt", "isqrt"),
        ("exp_negative", "exp"),
        ("ratio_to_root", "ratio"),
        ("floor_log2", "log2"),
        ("top", "top"),
    ],
)
def test_machine_with_a_wrong_kernel_must_not_validate(kernel: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(exact, kernel)
    monkeypatch.setattr(exact, kernel, lambda *operands, **named: right(*operands, **named) + 1)
    with pytest.raises(KernelError, match=f"^{name} differs from plain integers on this machine"):
        known_answer_test()


def test_machine_with_another_table_must_not_validate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "EXP_TABLE_SHA256", "0" * 64)
    with pytest.raises(KernelError, match="the exponential table hashes to 5bae4874"):
        exp_table.__wrapped__()
