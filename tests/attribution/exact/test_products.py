import os
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attribution import products, products_torch
from attribution.errors import AttributionError, KernelError, Reason
from attribution.exact import known_answer_test, matmul, matmul_reference
from attribution.products import (
    DIGIT_MAXIMUM,
    INT64_MAXIMUM,
    PRODUCT_BOUND,
    SUM_BOUND,
    Backend,
    Path,
    digit_bound,
    magnitude,
    paths,
    product,
    proven_plans,
    split,
)

BOTH = [Backend.NUMPY, Backend.TORCH]
needs_cuda = pytest.mark.skipif(not products_torch.has_cuda(), reason="no CUDA device is there")
ALL = [*BOTH, pytest.param(Backend.CUDA, marks=needs_cuda)]
TYPES = {np.int8: 7, np.int16: 15, np.int32: 31, np.int64: 62}


def reference(left: np.ndarray, right: np.ndarray) -> list[list[int]] | None:
    """The product in plain integers; None where an entry does not fit."""
    told = matmul_reference(left.tolist(), right.tolist())
    return told if all(-INT64_MAXIMUM - 1 <= value <= INT64_MAXIMUM for row in told for value in row) else None


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_proven_path_gives_plain_integers_or_the_same_refusal(backend: Backend, seed: int) -> None:
    print(f"seed {seed}")
    rng, tested = random.Random(seed), set()
    for _ in range(60):
        m, k, n = rng.choice([(1, 1, 1), (3, 7, 2), (20, 64, 8), (17, 24, 9), (2, 300, 1)])
        kind = rng.choice(list(TYPES))
        left_bits, right_bits = rng.randint(1, TYPES[kind]), rng.randint(1, 62)
        make = np.random.default_rng(rng.randint(0, 1 << 30))
        left = make.integers(-(1 << left_bits), 1 << left_bits, (m, k)).astype(kind)
        right = make.integers(-(1 << right_bits), 1 << right_bits, (k, n))
        if k * magnitude(left) * magnitude(right) > SUM_BOUND:
            continue
        expected = reference(left, right)
        for path in paths(backend, left, right):
            tested.add(path)
            if expected is None:
                with pytest.raises(AttributionError) as caught:
                    product(left, right, backend=backend, path=path)
                assert caught.value.reason is Reason.BOUND_EXCEEDED
            else:
                assert product(left, right, backend=backend, path=path).tolist() == expected
    assert tested == set(paths(backend))


@given(
    left=st.lists(st.integers(-(1 << 63), INT64_MAXIMUM), min_size=2, max_size=2),
    right=st.lists(st.integers(-(1 << 37), 1 << 36), min_size=2, max_size=2),
)
@settings(max_examples=300)
@example(left=[INT64_MAXIMUM, 0], right=[1, 5])
@example(left=[-(1 << 62), -(1 << 62)], right=[1, 1])
@example(left=[1 << 62, 1 << 62], right=[1, 1])
def test_an_entry_is_given_exactly_if_it_fits_in_64_bits(left: list[int], right: list[int]) -> None:
    operands = np.array([left]), np.array(right)[:, None]
    expected = reference(*operands) if 2 * magnitude(operands[0]) * magnitude(operands[1]) <= SUM_BOUND else None
    if expected is not None:
        assert matmul(*operands).tolist() == expected
        return
    with pytest.raises(AttributionError) as caught:
        matmul(*operands)
    assert (caught.value.reason, caught.value.detail) == (Reason.BOUND_EXCEEDED, "(1, 2) by (2, 1)")


def test_bounds_of_which_no_sum_can_be_judged_are_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_parts", None)
    with pytest.raises(AttributionError) as caught:
        product(np.array([[1 << 50]]), np.array([[(1 << 50) + 1]]))
    assert caught.value.reason is Reason.BOUND_EXCEEDED


def test_a_path_that_is_not_proven_is_refused() -> None:
    wide = np.full((2, 2), 1 << 30)
    for backend, path in ((Backend.NUMPY, Path.FLOAT64), (Backend.NUMPY, Path.INT64), (Backend.TORCH, Path.INT8)):
        with pytest.raises(AttributionError) as caught:
            product(wide, wide, backend=backend, path=path)
        detail = f"{path} for (2, 2) by (2, 2) on {backend}"
        assert (caught.value.reason, caught.value.detail) == (Reason.PATH_NOT_PROVEN, detail)


def test_the_proof_ends_where_its_bound_does() -> None:
    assert PRODUCT_BOUND == (1 << 53) >> 3
    for over, expected in ((0, Path.FLOAT64), (1, None)):
        bounds = (1 << 20, (PRODUCT_BOUND >> 28) + over)
        names = {plan.path for plan in proven_plans((4, 256, 4), bounds, 8, Backend.NUMPY)}
        assert (Path.FLOAT64 in names) is (expected is Path.FLOAT64)
        assert (Path.BLOCKS in names) is (expected is None)
    for inner, is_offered in ((133_674, True), (133_675, False)):  # 2**31 / (255 · 63)
        names = {plan.path for plan in proven_plans((4, inner, 4), (128, 63), 1, Backend.TORCH)}
        assert (Path.INT8 in names) is is_offered
    assert Path.INT8 not in {plan.path for plan in proven_plans((4, 8, 4), (128, 63), 2, Backend.TORCH)}


@given(
    values=st.lists(st.integers(-(1 << 63), INT64_MAXIMUM), min_size=1, max_size=5),
    bits=st.integers(1, 22),
    limbs=st.integers(1, 4),
)
def test_digits_are_within_their_bound_and_make_the_value(values: list[int], bits: int, limbs: int) -> None:
    digits = split(np.array(values), bits, limbs)
    assert [sum(int(part[i]) << bits * j for j, part in enumerate(digits)) for i in range(len(values))] == values
    assert max(map(magnitude, digits)) <= digit_bound(max(map(abs, values)), bits, limbs)


def test_a_query_of_17_bits_becomes_three_digits_of_an_int8_product() -> None:
    for bound, digits in ((63, 1), (64, 2), (1 << 17, 3), (1 << 18, 4)):
        [plan] = [each for each in proven_plans((99, 512, 1), (128, bound), 1, Backend.TORCH) if each.path is Path.INT8]
        assert plan.right_limbs == digits
        assert digit_bound(bound, plan.right_bits, digits) <= DIGIT_MAXIMUM


def test_what_was_measured_to_be_quickest_is_chosen() -> None:
    def chosen(shape: tuple[int, int, int], bits: tuple[int, int], size_bytes: int, backend: Backend) -> Path:
        return proven_plans(shape, (1 << bits[0], 1 << bits[1]), size_bytes, backend)[0].path

    assert chosen((100_000, 512, 10), (15, 20), 2, Backend.NUMPY) is Path.FLOAT64
    assert chosen((100_000, 512, 10), (15, 37), 2, Backend.NUMPY) is Path.LIMBS
    assert chosen((1_000_000, 512, 1), (7, 17), 1, Backend.TORCH) is Path.INT8
    assert chosen((1024, 1024, 1024), (20, 22), 8, Backend.NUMPY) is Path.BLOCKS
    assert chosen((1024, 1024, 1024), (25, 27), 8, Backend.TORCH) is Path.INT64


@pytest.mark.parametrize("backend", ALL)
def test_a_store_at_rest_may_be_read_only_reversed_or_turned(backend: Backend) -> None:
    store = np.arange(-600, 600, dtype=np.int16).reshape(40, 30)
    right = np.arange(60).reshape(30, 2)
    store.setflags(write=False)
    turned = np.arange(80).reshape(40, 2)
    for left, other in ((store, right), (store[::-1], right), (store.T, turned), (store.astype(np.int8), right)):
        assert matmul(left, other, backend=backend).tolist() == matmul_reference(left.tolist(), other.tolist())


@pytest.mark.parametrize("shape", [(0, 3, 2), (3, 0, 2), (3, 2, 0)])
def test_a_product_of_nothing_is_zero(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    told = product(np.zeros((m, k), dtype=np.int64), np.zeros((k, n), dtype=np.int64))
    assert (told.dtype, told.tolist()) == (np.int64, [[0] * n] * m)


def test_a_large_store_is_never_copied_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    store, query = np.ones((200_000, 64), dtype=np.int8), np.ones((64, 1), dtype=np.int64)
    tracemalloc.start()
    product(store, query, path=Path.FLOAT64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < store.nbytes


@pytest.mark.parametrize("backend", BOTH)
def test_known_answers_hold_on_every_path_of_this_machine(backend: Backend) -> None:
    known_answer_test(backend)


@needs_cuda
def test_known_answers_hold_on_the_device() -> None:
    known_answer_test(Backend.CUDA)


@pytest.mark.skipif(products_torch.has_cuda(), reason="a CUDA device is there")
def test_a_device_that_is_not_there_is_an_error_and_never_replaced() -> None:
    with pytest.raises(KernelError, match="no CUDA device is there"):
        product(np.ones((2, 2), dtype=np.int64), np.ones((2, 2), dtype=np.int64), backend=Backend.CUDA)


@pytest.mark.parametrize("path", list(Path))
def test_a_path_that_computes_wrongly_is_found_by_the_known_answers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = products_torch.torch_parts

    def wrong(left: np.ndarray, other: np.ndarray, plan: products.Plan, device: str) -> np.ndarray:
        return right(left, other, plan, device) + (plan.path is path)

    monkeypatch.setattr(products_torch, "torch_parts", wrong)
    with pytest.raises(KernelError, match="differs from plain integers on this machine"):
        known_answer_test(Backend.TORCH)


def test_numpys_paths_do_not_load_torch() -> None:
    code = "from attribution.exact import *; known_answer_test(); import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


SATURATING = """
import numpy as np
from attribution.products import Backend, Path, product
for entry in (-128, 127):
    for query_entry in (-63, 63):
        for columns in (1, 2, 9):
            store, query = np.full((64, 512), entry, dtype=np.int8), np.full((512, columns), query_entry)
            told = product(store, query, backend=Backend.TORCH, path=Path.INT8)
            assert np.array_equal(told, store.astype(int) @ query), (entry, query_entry, columns)
"""


@pytest.mark.slow
@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE"])
def test_int8_products_do_not_saturate_without_dot_product_instructions(instructions: str) -> None:
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", SATURATING], env=environment, check=True)
