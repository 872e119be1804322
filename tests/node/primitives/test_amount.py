"""Amounts: every sum checked, every text exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import TransactionReason, TransactionRejected
from node.primitives.amount import AMOUNT_END, UNITS_PER_OPEN, add, format_open, parse_open, subtract

amounts = st.integers(0, AMOUNT_END - 1)


@given(amounts, amounts)
def test_a_sum_is_exact_or_refused(left: int, right: int) -> None:
    if left + right < AMOUNT_END:
        assert add(left, right) == left + right
    else:
        with pytest.raises(TransactionRejected) as caught:
            add(left, right)
        assert caught.value.reason is TransactionReason.AMOUNT_OVERFLOW
        assert caught.value.message == "The sum is larger than any amount can be."


def test_the_largest_amount_can_be_reached_and_not_passed() -> None:
    assert add(AMOUNT_END - 2, 1) == AMOUNT_END - 1
    with pytest.raises(TransactionRejected):
        add(AMOUNT_END - 1, 1)


@given(amounts, amounts)
def test_a_difference_is_exact_or_refused(left: int, right: int) -> None:
    if right <= left:
        assert subtract(left, right) == left - right
    else:
        with pytest.raises(TransactionRejected) as caught:
            subtract(left, right)
        assert caught.value.reason is TransactionReason.INSUFFICIENT_BALANCE
        assert caught.value.detail == f"{format_open(left)} held, {format_open(right)} needed"


@given(amounts)
def test_what_is_shown_is_read_back(units: int) -> None:
    assert parse_open(format_open(units)) == units


@pytest.mark.parametrize(
    ("units", "text"),
    [
        (0, "0 OPEN"),
        (1, "0.000000001 OPEN"),
        (UNITS_PER_OPEN, "1 OPEN"),
        (1_500_000_000, "1.5 OPEN"),
        (-1_500_000_000, "-1.5 OPEN"),
        (AMOUNT_END - 1, "9223372036.854775807 OPEN"),
    ],
)
def test_amounts_are_shown_without_rounding(units: int, text: str) -> None:
    assert format_open(units) == text


@pytest.mark.parametrize(
    ("text", "units"),
    [("12", 12 * UNITS_PER_OPEN), ("0.25", 250_000_000), (" 1.5 OPEN ", 1_500_000_000), ("0.000000001", 1)],
)
def test_amounts_are_read_as_people_write_them(text: str, units: int) -> None:
    assert parse_open(text) == units


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not an amount"),
        ("OPEN", "is not an amount"),
        ("-1", "is not an amount"),
        ("+1", "is not an amount"),
        ("1.", "is not an amount"),
        (".5", "is not an amount"),
        ("1,5", "is not an amount"),
        ("1e9", "is not an amount"),
        ("1 000", "is not an amount"),
        ("٣", "is not an amount"),
        ("1.٣", "is not an amount"),
        ("1.5.5", "is not an amount"),
        ("0.0000000001", "has more than 9 decimals"),
        ("9223372036.854775808", "is larger than any amount can be"),
    ],
)
def test_other_texts_are_refused_with_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_open(text)
