"""Equivocation: what two votes of one validator an honest one never signs together.

Exactly: two different notarizes, two different finalizes, or a finalize and a nullify, of the same epoch and view.
Legal, and no evidence: notarize + nullify, notarize(b') + finalize(b), the same vote twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.types import Vote, VoteKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Two votes that prove a validator equivocated; the host has verified both signatures."""

    first: Vote
    """The vote with the smaller kind, then the smaller block id."""
    second: Vote
    """The other one."""


def find_conflict(one: Vote, other: Vote) -> Evidence | None:
    """The evidence two votes make, in its one canonical order, or None."""
    first, second = sorted((one, other), key=lambda vote: (vote.statement.kind, vote.statement.block_id))
    left, right = first.statement, second.statement
    if first.validator != second.validator or (left.epoch, left.view) != (right.epoch, right.view):
        return None
    if left.kind is right.kind:
        is_conflict = left.kind is not VoteKind.NULLIFY and left.block_id != right.block_id
    else:
        is_conflict = (left.kind, right.kind) == (VoteKind.NULLIFY, VoteKind.FINALIZE)
    return Evidence(first=first, second=second) if is_conflict else None
