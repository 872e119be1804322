"""Releases: what has vested of records' earnings is paid to their contributors, on anybody's request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from node.errors import TransactionReason, TransactionRejected
from node.modules.challenges import require_unchallenged
from node.modules.context import Context, State
from node.modules.datanets import DATANETS, RECORDS
from node.modules.vesting import pay_vested
from node.primitives.amount import Amount
from node.primitives.crypto import Address, Hash

MOST_RELEASED = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseEarnings:
    """Pays out what has vested of records' earnings, to their contributors; anybody may ask for it."""

    datanet: Hash
    """Where the records are."""
    records: Annotated[tuple[Hash, ...], range(1, MOST_RELEASED + 1)]
    """Content hashes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarningsReleased:
    """A record's vested earnings were paid out."""

    NAME: ClassVar[str] = "earnings_released"

    record: Hash
    """Whose."""
    recipient: Address
    """To whom."""
    amount_units: Amount
    """How much."""
    left_units: Amount
    """What still vests."""


def apply_release(state: State, context: Context, payload: ReleaseEarnings) -> None:
    """Pays out what has vested of each record: of none, while one of them is challenged or has nothing vested."""
    datanet = DATANETS.need(state, payload.datanet)
    for content in payload.records:
        key = datanet.schema_id + content
        require_unchallenged(state, context, content, RECORDS.need(state, key), key)
        released_units, left_units, recipient = pay_vested(state, context, key)
        if released_units == 0:
            detail = f"nothing of record {content.hex()} has vested that was not paid out"
            raise TransactionRejected(TransactionReason.NOT_FOUND, detail)
        context.emit(
            EarningsReleased(record=content, recipient=recipient, amount_units=released_units, left_units=left_units)
        )
