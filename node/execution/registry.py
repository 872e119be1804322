"""Every transaction kind, a row each, and every event. A new kind is a module's functions and a row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from node.modules import (
    accounts,
    attributions,
    bonds,
    challenges,
    contents,
    datanets,
    equivocation,
    erasure,
    governance,
    grouping,
    holdouts,
    models,
    registers,
    releases,
    rewards,
    validators,
)
from node.modules.context import BlobRef, Context, Resources, State
from node.primitives.plain import tag_name
from node.state.table import Reader


def _no_work(_state: Reader, _context: Context, _payload: Any) -> int:
    return 0


def _nothing_to_verify(_state: Reader, _context: Context, _payload: Any, _resources: Resources) -> None:
    return


def _no_blobs(_payload: Any) -> tuple[BlobRef, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How one kind of transaction is understood and executed."""

    number: int
    """What the envelope says."""
    payload_class: type
    """Wire class of the payload."""
    apply: Callable[[State, Context, Any], None]
    """Changes the state; a TransactionRejected reverts it and fails the transaction, with its fee charged."""
    meter: Callable[[Reader, Context, Any], int] = _no_work
    """Multiply-accumulates the transaction asks for; a TransactionRejected keeps it out of any block."""
    verify: Callable[[Reader, Context, Any, Resources], None] = _nothing_to_verify
    """Recomputes what the payload claims about contents; a TransactionRejected makes a block invalid that carries it.

    Skipped below a finalization, because a quorum verified it: it reads only what never changes."""
    is_computed: bool = False
    """Whether verification runs the attribution engine."""
    blobs: Callable[[Any], tuple[BlobRef, ...]] = _no_blobs
    """Contents that must be held before the transaction is admitted and before a vote."""

    @property
    def name(self) -> str:
        """What people call it."""
        return tag_name(self.payload_class)


KINDS: dict[int, Kind] = {
    kind.number: kind
    for kind in (
        Kind(number=1, payload_class=accounts.Transfer, apply=accounts.apply_transfer),
        Kind(number=2, payload_class=accounts.RotateKey, apply=accounts.apply_rotate_key),
        Kind(number=10, payload_class=bonds.Bond, apply=bonds.apply_bond),
        Kind(number=11, payload_class=bonds.Unbond, apply=bonds.apply_unbond),
        Kind(number=12, payload_class=bonds.WithdrawBond, apply=bonds.apply_withdraw_bond),
        Kind(number=20, payload_class=governance.Propose, apply=governance.apply_propose),
        Kind(number=21, payload_class=governance.CastBallot, apply=governance.apply_ballot),
        Kind(
            number=22,
            payload_class=validators.RotateConsensusKey,
            apply=validators.apply_rotate_consensus_key,
        ),
        Kind(number=23, payload_class=equivocation.SubmitEvidence, apply=equivocation.apply_submit_evidence),
        Kind(number=30, payload_class=datanets.CreateDatanet, apply=datanets.apply_create_datanet),
        Kind(
            number=31,
            payload_class=datanets.Contribute,
            apply=datanets.apply_contribute,
            meter=datanets.meter_contribute,
            verify=datanets.verify_contribute,
            blobs=lambda payload: payload.records,
        ),
        Kind(number=32, payload_class=datanets.Review, apply=datanets.apply_review),
        Kind(number=33, payload_class=holdouts.CommitHoldout, apply=holdouts.apply_commit_holdout),
        Kind(
            number=34,
            payload_class=holdouts.RevealHoldout,
            apply=holdouts.apply_reveal_holdout,
            meter=holdouts.meter_reveal_holdout,
            verify=holdouts.verify_reveal_holdout,
            blobs=lambda payload: payload.records,
        ),
        Kind(number=35, payload_class=erasure.EraseRecord, apply=erasure.apply_erase_record),
        Kind(number=36, payload_class=erasure.EraseQuestion, apply=erasure.apply_erase_question),
        Kind(
            number=37,
            payload_class=grouping.Group,
            apply=grouping.apply_group,
            meter=grouping.meter_group,
            verify=grouping.verify_group,
            is_computed=True,
        ),
        Kind(number=38, payload_class=challenges.ChallengeRecord, apply=challenges.apply_challenge_record),
        Kind(number=39, payload_class=challenges.RuleOnChallenge, apply=challenges.apply_rule_on_challenge),
        Kind(
            number=40,
            payload_class=models.RegisterModel,
            apply=models.apply_register_model,
            meter=models.meter_register_model,
            verify=models.verify_register_model,
            is_computed=True,
            blobs=lambda payload: (payload.weights, payload.inverse),
        ),
        Kind(
            number=41,
            payload_class=models.MeasureModel,
            apply=models.apply_measure_model,
            meter=models.meter_measure_model,
            verify=models.verify_measure_model,
            is_computed=True,
        ),
        Kind(number=42, payload_class=models.SetPrice, apply=models.apply_set_price),
        Kind(number=43, payload_class=models.TransferModel, apply=models.apply_transfer_model),
        Kind(number=44, payload_class=models.RetireModel, apply=models.apply_retire_model),
        Kind(
            number=50,
            payload_class=attributions.Ask,
            apply=attributions.apply_ask,
            meter=attributions.meter_ask,
            verify=attributions.verify_ask,
            blobs=lambda payload: (payload.query,),
        ),
        Kind(
            number=51,
            payload_class=attributions.Attribute,
            apply=attributions.apply_attribute,
            meter=attributions.meter_attribute,
            verify=attributions.verify_attribute,
            is_computed=True,
        ),
        Kind(number=52, payload_class=attributions.Refund, apply=attributions.apply_refund),
        Kind(number=60, payload_class=rewards.Claim, apply=rewards.apply_claim),
        Kind(number=61, payload_class=releases.ReleaseEarnings, apply=releases.apply_release),
        Kind(number=70, payload_class=registers.CreateRegister, apply=registers.apply_create_register),
        Kind(number=71, payload_class=registers.SetRegister, apply=registers.apply_set_register),
    )
}
"""Kinds by number."""

KIND_OF = {kind.payload_class: kind for kind in KINDS.values()}
"""Kinds by payload class."""

KIND_NAMED = {kind.name: kind for kind in KINDS.values()}
"""Kinds by name."""

EVENTS: dict[str, type] = {
    event.NAME: event
    for event in (
        accounts.Transferred,
        accounts.KeyRotated,
        bonds.BondChanged,
        validators.ConsensusKeyRotated,
        governance.ProposalChanged,
        equivocation.Equivocated,
        contents.ContentErased,
        datanets.DatanetCreated,
        datanets.Contributed,
        datanets.DuplicateRejected,
        datanets.Reviewed,
        grouping.Grouped,
        holdouts.HoldoutCommitted,
        holdouts.HoldoutRevealed,
        models.ModelChanged,
        attributions.Asked,
        attributions.Answered,
        attributions.Refunded,
        rewards.Settled,
        rewards.Paid,
        rewards.Claimed,
        releases.EarningsReleased,
        challenges.ChallengeChanged,
        registers.RegisterChanged,
    )
}
"""Event classes by name."""
