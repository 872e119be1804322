"""Vesting: what a record earns becomes its contributor's over some epochs, in equal parts, and is paid on request.

Until then it can be lost to an upheld challenge. What was earned long ago is paid out when the record earns again; the
rest when somebody asks for it (`releases`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from node.modules.accounts import credit
from node.modules.context import Context, State
from node.primitives.amount import Amount
from node.primitives.amount import add as add_amounts
from node.primitives.crypto import Address
from node.state.table import Table
from node.storage.schema import Prefix
from node.types.parameters import MOST_VESTING_EPOCHS


@dataclass(frozen=True, slots=True, kw_only=True)
class Earned:
    """What a record earned in an epoch."""

    epoch: Annotated[int, range(1, 2**48)]
    """When."""
    earned_units: Amount
    """How much."""
    released_units: Amount
    """Of that, what was paid out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vesting:
    """What a record earned and its contributor was not paid yet."""

    recipient: Address
    """Who contributed it."""
    parts: Annotated[tuple[Earned, ...], range(1, MOST_VESTING_EPOCHS + 2)]
    """By epoch, earliest first."""

    @property
    def held_units(self) -> int:
        """What is held for it."""
        return sum(each.earned_units - each.released_units for each in self.parts)


VESTING = Table(Prefix.VESTING, Vesting)
"""By schema id and content hash."""


def vested_units(part: Earned, epoch: int, vesting_epochs: int) -> int:
    """How much of what was earned in an epoch has vested by the start of another."""
    age = epoch - part.epoch
    return part.earned_units if age >= vesting_epochs else part.earned_units * age // vesting_epochs


def vest(state: State, context: Context, record_key: bytes, recipient: bytes, units: int) -> None:
    """Adds to what a record earned in this epoch; without vesting it is paid at once."""
    epoch, vesting_epochs = context.block.epoch, context.parameters.vesting_epochs
    if vesting_epochs == 0:
        credit(state, recipient, units)
        return
    if units == 0:
        return
    known = VESTING.get(state, record_key)
    parts = list(known.parts) if known is not None else []
    while parts and epoch - parts[0].epoch >= vesting_epochs:
        old = parts.pop(0)
        credit(state, recipient, old.earned_units - old.released_units)
    if parts and parts[-1].epoch == epoch:
        parts[-1] = replace(parts[-1], earned_units=add_amounts(parts[-1].earned_units, units))
    else:
        parts.append(Earned(epoch=epoch, earned_units=units, released_units=0))
    VESTING.put(state, record_key, Vesting(recipient=recipient, parts=tuple(parts)))


def forfeit(state: State, context: Context, record_key: bytes) -> int:
    """Takes what has not vested of a record's earnings, and pays out the rest. Returns what was taken."""
    if VESTING.get(state, record_key) is None:
        return 0
    _, left_units, _ = pay_vested(state, context, record_key)
    if VESTING.get(state, record_key) is not None:
        VESTING.delete(state, record_key)
    return left_units


def pay_vested(state: State, context: Context, record_key: bytes) -> tuple[int, int, bytes]:
    """Pays out what has vested of a record's earnings. Returns what was paid, what is left, and to whom."""
    known = VESTING.get(state, record_key)
    if known is None:
        return 0, 0, b""
    parts: list[Earned] = []
    released_units = 0
    for part in known.parts:
        due_units = vested_units(part, context.block.epoch, context.parameters.vesting_epochs) - part.released_units
        due_units = max(due_units, 0)  # a vote may have made vesting slower since
        released_units += due_units
        changed = replace(part, released_units=part.released_units + due_units)
        if changed.released_units < changed.earned_units:
            parts.append(changed)
    credit(state, known.recipient, released_units)
    if parts:
        VESTING.put(state, record_key, Vesting(recipient=known.recipient, parts=tuple(parts)))
    else:
        VESTING.delete(state, record_key)
    left_units = sum(each.earned_units - each.released_units for each in parts)
    return released_units, left_units, known.recipient
