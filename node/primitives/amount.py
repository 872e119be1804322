"""OPEN amounts: integers of base units, every sum checked. 1 OPEN = 10^9 base units."""

from __future__ import annotations

from typing import Annotated

from node.errors import TransactionReason, TransactionRejected

UNITS_PER_OPEN = 10**9
DECIMALS = 9
AMOUNT_END = 2**63
"""One past the largest amount; fits every database's signed 64-bit integer."""

BPS = 10_000
"""Basis points in a whole."""

Amount = Annotated[int, range(AMOUNT_END), "amount"]
"""Base units of OPEN; the marker has it shown as a string, because JSON readers round large numbers."""


def add(left_units: int, right_units: int) -> int:
    """The sum of two amounts.

    Raises: TransactionRejected AMOUNT_OVERFLOW when it is no amount any more.
    """
    total_units = left_units + right_units
    if total_units >= AMOUNT_END:
        raise TransactionRejected(TransactionReason.AMOUNT_OVERFLOW)
    return total_units


def subtract(left_units: int, right_units: int) -> int:
    """What is left of an amount.

    Raises: TransactionRejected INSUFFICIENT_BALANCE when it is too small.
    """
    if right_units > left_units:
        raise TransactionRejected(
            TransactionReason.INSUFFICIENT_BALANCE, f"{format_open(left_units)} held, {format_open(right_units)} needed"
        )
    return left_units - right_units


def format_open(units: int) -> str:
    """An amount as people read it: `1.5 OPEN`."""
    whole, fraction = divmod(abs(units), UNITS_PER_OPEN)
    digits = f"{fraction:09d}".rstrip("0")
    sign = "-" if units < 0 else ""
    return f"{sign}{whole}.{digits} OPEN" if digits else f"{sign}{whole} OPEN"


def parse_open(text: str) -> int:
    """Base units of an amount written in OPEN: `1.5`, `1.5 OPEN`.

    Raises: ValueError saying what is wrong with the text.
    """
    number = text.strip().removesuffix("OPEN").strip()
    whole, dot, fraction = number.partition(".")
    if not (whole + fraction).isascii() or not whole.isdigit() or (dot and not fraction.isdigit()):
        raise ValueError(f"{text!r} is not an amount: write it like 12 or 0.25")
    if len(fraction) > DECIMALS:
        raise ValueError(f"{text!r} has more than {DECIMALS} decimals: one base unit is 0.000000001 OPEN")
    units = int(whole) * UNITS_PER_OPEN + int(fraction.ljust(DECIMALS, "0") or "0")
    if units >= AMOUNT_END:
        raise ValueError(f"{text!r} is larger than any amount can be")
    return units
