"""Evidence of equivocation: two votes no honest validator signs together cost it bond and seat, once per view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from consensus.evidence import find_conflict
from consensus.types import Vote
from node.errors import TransactionReason, TransactionRejected
from node.modules.bonds import slash
from node.modules.context import Context, State
from node.modules.validators import demote, validator_set_of
from node.primitives.amount import Amount
from node.primitives.crypto import Address, is_valid_signature
from node.state.table import Table
from node.storage.schema import Prefix
from node.types.signed import vote_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Punished:
    """An equivocation that was punished."""

    burned_units: Amount
    """What it cost."""


PUNISHED = Table(Prefix.EVIDENCE, Punished)
"""By consensus id, epoch and view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitEvidence:
    """Two votes of one validator that contradict each other."""

    first: Vote
    """The vote with the smaller kind, then the smaller block id."""
    second: Vote
    """The other one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivocated:
    """A validator was punished for equivocation."""

    NAME: ClassVar[str] = "equivocated"

    operator: Address
    """Who answers for it."""
    validator: Annotated[bytes, range(20, 21)]
    """Its consensus id."""
    epoch: Annotated[int, range(1, 2**48)]
    """The epoch of the votes."""
    view: Annotated[int, range(1, 2**48)]
    """The view of the votes."""
    burned_units: Amount
    """What it cost."""


def apply_submit_evidence(state: State, context: Context, payload: SubmitEvidence) -> None:
    """Checks both signatures, slashes the bond, takes the seat away at the epoch's end."""
    evidence = find_conflict(payload.first, payload.second)
    if evidence is None or evidence.first != payload.first:
        raise TransactionRejected(TransactionReason.BAD_EVIDENCE, "the two votes are no conflict in canonical order")
    statement = payload.first.statement
    # Through epoch + E: a bond asked back in the votes' epoch is released one later (bonds.apply_unbond).
    if statement.epoch + context.parameters.evidence_epochs < context.block.epoch:
        raise TransactionRejected(TransactionReason.TOO_OLD)
    known = validator_set_of(state, statement.epoch)
    validator = known.by_id().get(payload.first.validator) if known is not None else None
    if validator is None:
        raise TransactionRejected(TransactionReason.BAD_EVIDENCE, "no such validator voted in that epoch")
    for vote in (payload.first, payload.second):
        digest = vote_digest(context.block.genesis_hash, vote.statement)
        if not is_valid_signature(validator.consensus_key, digest, vote.signature):
            raise TransactionRejected(TransactionReason.BAD_EVIDENCE, "a signature does not verify")
    key = validator.id + statement.epoch.to_bytes(8, "big") + statement.view.to_bytes(8, "big")
    if PUNISHED.get(state, key) is not None:
        raise TransactionRejected(TransactionReason.ALREADY_DONE, "this equivocation is punished")
    burned_units = slash(state, context, validator.operator, context.parameters.slash_bps)
    demote(state, validator.operator)
    PUNISHED.put(state, key, Punished(burned_units=burned_units))
    context.emit(
        Equivocated(
            operator=validator.operator,
            validator=validator.id,
            epoch=statement.epoch,
            view=statement.view,
            burned_units=burned_units,
        )
    )
