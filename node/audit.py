"""Conservation, checked once per epoch: every OPEN there is stands somewhere, and the sum is the supply.

Walks over the final state as it stood at the epoch's end, a slice per tick, so that the event loop is never held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import TypeVar

from node.modules.accounts import ACCOUNTS
from node.modules.attributions import QUESTIONS
from node.modules.bonds import UNBONDING
from node.modules.challenges import CHALLENGES
from node.modules.datanets import CONTRIBUTIONS
from node.modules.escrow import ESCROWS
from node.modules.rewards import VALIDATOR_POOLS
from node.modules.supply import SUPPLY, conservation_error
from node.modules.vesting import VESTING
from node.primitives.codec import decode
from node.state.store import StateStore
from node.state.table import Table
from node.storage.kv import KeyValueStore
from node.storage.schema import Column, column_key

V = TypeVar("V")

SLICE = 2_000
"""Holdings looked at per call."""
KAPPA_BPS_MAX = 8_000
"""The hard bound of the parameter kappa."""


def holdings(store: KeyValueStore) -> Iterator[int]:
    """Base units held by whatever holds OPEN besides the treasury, as they stand at the call."""
    walks = [
        _held(store, ACCOUNTS, lambda account: account.balance_units + account.bond_units),
        _held(store, UNBONDING, lambda unbonding: sum(each.amount_units for each in unbonding.releases)),
        _held(store, CONTRIBUTIONS, lambda each: each.record_bond_units * each.bonded_count),
        _held(store, QUESTIONS, lambda question: question.held_units),
        _held(store, ESCROWS, lambda escrow: escrow.balance_units),
        _held(store, VALIDATOR_POOLS, lambda pool: pool.left_units),
        _held(store, VESTING, lambda vesting: vesting.held_units),
        _held(store, CHALLENGES, lambda challenge: challenge.held_units),
    ]
    return chain.from_iterable(walks)


class Audit:
    """One walk."""

    def __init__(self, store: KeyValueStore, state: StateStore) -> None:
        self.height = state.tip.height
        self._supply = SUPPLY.get(state)
        self._holdings = holdings(store)
        self._held_units = 0
        self._lowest_units = 0

    @property
    def supply_units(self) -> int:
        """All OPEN there should be."""
        return self._supply.total_units

    def advance(self) -> bool:
        """Looks at a slice. Returns whether the walk is over."""
        part = list(islice(self._holdings, SLICE))
        self._held_units += sum(part)
        self._lowest_units = min([self._lowest_units, *part])
        return len(part) < SLICE

    def error(self) -> str | None:
        """What is wrong, once the walk is over; None when everything adds up."""
        return conservation_error(self._supply, KAPPA_BPS_MAX, (self._held_units, self._lowest_units))


def _held(store: KeyValueStore, table: Table[V], held: Callable[[V], int]) -> Iterator[int]:
    start = column_key(Column.STATE, bytes((table.prefix,)))
    stop = column_key(Column.STATE, bytes((table.prefix + 1,)))
    # The walk begins here, at the call; only its steps are taken later.
    entries = store.iterate(start, stop)
    return (held(decode(table.value_class, value)) for _, value in entries)
