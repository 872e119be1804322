"""What a transaction did: fee, outcome, events. Receipts are committed to by the block's header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from node.primitives.amount import Amount
from node.primitives.crypto import Hash

MOST_EVENTS = 2**15
"""Events in one receipt: questions x clusters, and some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened, as the module that did it describes it."""

    name: Annotated[str, range(1, 33)]
    """Which event class the payload is; `node.execution.registry.EVENTS` lists them."""
    payload: Annotated[bytes, range(4097)]
    """Canonical bytes of that class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The outcome of one transaction."""

    transaction_id: Hash
    """Which transaction."""
    failure: Annotated[str, range(33)]
    """Empty when it took effect, else a TransactionReason: the fee is charged, everything else reverted."""
    fee_units: Amount
    """What it paid to the treasury."""
    events: Annotated[tuple[Event, ...], range(MOST_EVENTS + 1)]
    """What happened, in order."""
