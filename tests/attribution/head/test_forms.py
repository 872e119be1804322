import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import AttributionError, Reason
from attribution.head import forms, reference
from attribution.head.certificate import MAXIMUM_ROW_SUM
from attribution.head.forms import carrier, cross_forms, own_forms, pulls, self_forms


def make_vectors(rng: np.random.Generator, n: int, d: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Units and residuals at the ends of their ranges and between."""
    units = rng.integers(-(1 << 13), (1 << 13) + 1, (n, d)) // rng.integers(1, 1 << 12, (n, 1))
    shares = rng.integers(-(1 << 11), (1 << 11) + 1, (n, classes))
    return units.astype(np.int16), shares.astype(np.int16)


def make_inverse(rng: np.random.Generator, unknowns: int) -> np.ndarray:
    """Positive definite, its rows as long as they may be."""
    half = rng.integers(-(1 << 12), 1 << 12, (unknowns, unknowns))
    square = half @ half.T
    scale = MAXIMUM_ROW_SUM // int(np.abs(square).sum(axis=1).max())
    return square * scale


def product(unit: np.ndarray, share: np.ndarray) -> list[int]:
    return [int(r) * int(x) for r in share for x in unit]


@given(seed=st.integers(0, 1 << 32), n=st.integers(1, 6), d=st.integers(1, 5), classes=st.integers(2, 4))
@settings(max_examples=60)
def test_forms_equal_plain_integers(seed: int, n: int, d: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    units, shares = make_vectors(rng, n, d, classes)
    inverse = make_inverse(rng, d * classes)
    vectors = [product(*pair) for pair in zip(units, shares, strict=True)]
    carried = carrier(inverse)
    pulled = pulls(units, shares, carried)
    told = cross_forms(units, shares, pulled).tolist()
    assert told == [reference.form(a, inverse.tolist(), b) for a in vectors for b in vectors]
    own = [reference.form(a, inverse.tolist(), a) for a in vectors]
    assert self_forms(units, shares, carried).tolist() == own_forms(units, shares, pulled).tolist() == own


@pytest.mark.parametrize("seed", [1, 2])
def test_blocks_of_records_change_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    units, shares = make_vectors(rng, 70, 6, 3)
    carried = carrier(make_inverse(rng, 18))
    pulled = pulls(units[:5], shares[:5], carried)
    whole = cross_forms(units, shares, pulled).tolist(), self_forms(units, shares, carried).tolist()
    for name in ("_BLOCK_CROSS", "_BLOCK_SELF"):
        monkeypatch.setattr(forms, name, 16)
    assert (cross_forms(units, shares, pulled).tolist(), self_forms(units, shares, carried).tolist()) == whole


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=30)
def test_no_form_is_above_its_two_own(seed: int) -> None:
    """Cauchy-Schwarz, exactly, because every form is of the same integer vectors."""
    rng = np.random.default_rng(seed)
    units, shares = make_vectors(rng, 8, 4, 3)
    carried = carrier(make_inverse(rng, 12))
    own = self_forms(units, shares, carried).tolist()
    cross = cross_forms(units, shares, pulls(units, shares, carried)).tolist()
    assert all(cross[8 * i + j] ** 2 <= own[i] * own[j] for i in range(8) for j in range(8))


def test_operands_outside_their_proven_range_are_our_own_mistake() -> None:
    carried = carrier(np.eye(2, dtype=np.int64))
    good = np.ones((1, 1), dtype=np.int16), np.ones((1, 2), dtype=np.int16)
    assert self_forms(*good, carried).tolist() == [2]
    for units, shares in ((good[0] << 14, good[1]), (good[0], good[1] << 12)):
        with pytest.raises(AssertionError):
            self_forms(units, shares, carried)
        with pytest.raises(AssertionError):
            pulls(units, shares, carried)


def test_inverse_whose_rows_are_too_long_is_no_carrier() -> None:
    with pytest.raises(AttributionError) as caught:
        carrier(np.full((3, 3), MAXIMUM_ROW_SUM // 3 + 1))
    assert caught.value.reason is Reason.INVERSE_OUT_OF_RANGE
    with pytest.raises(AttributionError) as caught:
        carrier(np.full((3, 3), 1 << 62))
    assert caught.value.reason is Reason.INVERSE_OUT_OF_RANGE
