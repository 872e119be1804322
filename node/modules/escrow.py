"""Escrows: what a datanet's questions paid and no record earned. Governance spends it on bounties."""

from __future__ import annotations

from dataclasses import dataclass

from node.modules.context import State
from node.primitives import amount
from node.primitives.amount import Amount
from node.state.table import Table
from node.storage.schema import Prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Escrow:
    """What a datanet holds."""

    balance_units: Amount
    """How much."""


ESCROWS = Table(Prefix.ESCROW, Escrow)
"""By datanet."""


def add_to_escrow(state: State, datanet: bytes, units: int) -> None:
    """Raises: TransactionRejected AMOUNT_OVERFLOW."""
    if units:
        escrow = ESCROWS.get(state, datanet) or Escrow(balance_units=0)
        ESCROWS.put(state, datanet, Escrow(balance_units=amount.add(escrow.balance_units, units)))


def take_from_escrow(state: State, datanet: bytes, units: int) -> None:
    """Raises: TransactionRejected INSUFFICIENT_BALANCE."""
    escrow = ESCROWS.get(state, datanet) or Escrow(balance_units=0)
    ESCROWS.put(state, datanet, Escrow(balance_units=amount.subtract(escrow.balance_units, units)))
