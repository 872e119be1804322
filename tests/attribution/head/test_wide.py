import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.exact import ratio_to_root_reference
from attribution.head.wide import Wide, is_any_negative, ratio_to_root, widen


def make_wide(values: list[list[int]]) -> Wide:
    high = np.array([[value >> 32 for value in row] for row in values])
    return Wide(high=high, low=np.array([[value & 0xFFFFFFFF for value in row] for row in values]))


@given(pairs=st.lists(st.tuples(*2 * [st.integers(-(1 << 61), 1 << 61)]), min_size=1, max_size=9))
def test_any_two_halves_become_one_value(pairs: list[tuple[int, int]]) -> None:
    wide = widen(*np.array(pairs).T)
    assert wide.tolist() == [(high << 32) + low for high, low in pairs]
    assert 0 <= int(wide.low.min()) <= int(wide.low.max()) < 1 << 32
    assert is_any_negative(wide) == (min(wide.tolist()) < 0)


@pytest.mark.parametrize("bits", [1, 20, 40, 70, 86])
@pytest.mark.parametrize("seed", [1, 2])
def test_ratio_equals_plain_integers(bits: int, seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    left, right = ([rng.randrange(1 << bits) for _ in range(12)] for _ in range(2))
    numerator = [[rng.randint(-(1 << bits), 1 << bits) for _ in right] for _ in left]
    # Values just at and beside an integer ratio, which an estimate alone would get wrong half of the time.
    left[0] = right[0] = 999_999_937 ** (bits // 30) if bits > 40 else 1
    numerator[0][0] = left[0] - rng.randrange(2)
    for i in range(1, 12):
        left[i] = left[0]
        numerator[i][0] = (left[0] * i * 83 + rng.choice((-1, 0, 999))) // 1000
    expected = [[ratio_to_root_reference(n, a, b, 1000) for n, b in zip(row, right, strict=True)]
                for row, a in zip(numerator, left, strict=True)]  # fmt: skip
    told = ratio_to_root(make_wide(numerator), make_wide([[a] for a in left]), make_wide([right]), 1000)
    assert told.tolist() == expected


def test_nothing_over_nothing_is_nothing() -> None:
    zero, one = make_wide([[0]]), make_wide([[1 << 80]])
    assert ratio_to_root(one, zero, one, 1000).tolist() == ratio_to_root(one, one, zero, 1000).tolist() == [[0]]
    assert ratio_to_root(one, one, one, 1000).tolist() == [[1000]]
    assert ratio_to_root(make_wide([[-(1 << 80)]]), one, one, 1000).tolist() == [[-1000]]
