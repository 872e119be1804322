"""Escrows: what no record earned."""

from __future__ import annotations

import pytest

from node.errors import TransactionReason, TransactionRejected
from node.modules.escrow import ESCROWS, Escrow, add_to_escrow, take_from_escrow
from node.primitives.amount import AMOUNT_END
from node.state.view import View
from tests.node.modules.scenes import genesis_scene

DATANET = b"d" * 32


@pytest.fixture(name="view")
def view_fixture() -> View:
    return View(genesis_scene().ledger.state)


def test_an_escrow_adds_up_and_gives_back(view: View) -> None:
    add_to_escrow(view, DATANET, 5)
    add_to_escrow(view, DATANET, 7)
    take_from_escrow(view, DATANET, 4)
    assert ESCROWS.get(view, DATANET) == Escrow(balance_units=8)
    assert ESCROWS.get(view, b"e" * 32) is None


def test_nothing_added_leaves_no_trace_in_the_state(view: View) -> None:
    add_to_escrow(view, DATANET, 0)
    assert ESCROWS.get(view, DATANET) is None


def test_no_more_than_it_holds_is_taken(view: View) -> None:
    add_to_escrow(view, DATANET, 10**9)
    with pytest.raises(TransactionRejected) as found:
        take_from_escrow(view, DATANET, 10**9 + 1)
    assert (found.value.reason, found.value.detail) == (
        TransactionReason.INSUFFICIENT_BALANCE,
        "1 OPEN held, 1.000000001 OPEN needed",
    )


def test_more_than_an_amount_can_be_is_refused(view: View) -> None:
    add_to_escrow(view, DATANET, AMOUNT_END - 1)
    with pytest.raises(TransactionRejected) as found:
        add_to_escrow(view, DATANET, 1)
    assert found.value.reason is TransactionReason.AMOUNT_OVERFLOW
