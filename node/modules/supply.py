"""Where every OPEN is: the treasury, the totals of what was minted and burned, and the audit of all of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from node.modules.context import State
from node.primitives import amount
from node.primitives.amount import Amount
from node.state.table import Singleton
from node.storage.schema import Prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """Totals since genesis."""

    genesis_units: Amount
    """All OPEN of the first day."""
    treasury_units: Amount
    """Network fees collected."""
    fee_burned_units: Amount
    """Burned from questions' fees: what minting is measured against."""
    bond_burned_units: Amount
    """Burned from bonds: rejected records, equivocation."""
    minted_units: Amount
    """Minted and paid."""
    epoch_cap_units: Amount
    """Most OPEN the current epoch may mint."""

    @property
    def total_units(self) -> int:
        """All OPEN there is."""
        return self.genesis_units - self.fee_burned_units - self.bond_burned_units + self.minted_units


SUPPLY = Singleton(Prefix.SUPPLY, Supply)
"""The one value."""


def add_to_treasury(state: State, units: int) -> None:
    """Network fees."""
    if units:
        supply = SUPPLY.get(state)
        SUPPLY.put(state, replace(supply, treasury_units=amount.add(supply.treasury_units, units)))


def burn_fee(state: State, units: int) -> None:
    """Part of a question's fee."""
    supply = SUPPLY.get(state)
    SUPPLY.put(state, replace(supply, fee_burned_units=amount.add(supply.fee_burned_units, units)))


def burn_bond(state: State, units: int) -> None:
    """Part of a bond."""
    supply = SUPPLY.get(state)
    SUPPLY.put(state, replace(supply, bond_burned_units=amount.add(supply.bond_burned_units, units)))


def mint(state: State, units: int) -> None:
    """New OPEN, which the caller credits."""
    supply = SUPPLY.get(state)
    SUPPLY.put(state, replace(supply, minted_units=amount.add(supply.minted_units, units)))


def conservation_error(supply: Supply, kappa_bps_max: int, holdings_units: Iterable[int]) -> str | None:
    """What is wrong with the sum of all holdings and the bound on minting, or None.

    Invariant: balances + bonds + escrows + pools + open questions + treasury = genesis - burned + minted;
    minted · BPS <= kappa_max · burned by fees.
    """
    held_units = supply.treasury_units
    for units in holdings_units:
        if units < 0:
            return f"a holding is negative: {units}"
        held_units += units
    if held_units != supply.total_units:
        return f"holdings add up to {held_units} base units, the supply is {supply.total_units}"
    if supply.minted_units * amount.BPS > kappa_bps_max * supply.fee_burned_units:
        return f"minted {supply.minted_units} base units for {supply.fee_burned_units} burned"
    return None
