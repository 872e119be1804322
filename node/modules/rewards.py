"""Rewards: how a question's fee is split, burned and partly minted again, and how minted OPEN is claimed.

    burn   = ceil(F·beta / BPS)
    part_k = F·s_k // BPS for owner, data, reviewers, validators; the owner also gets the dust
    pay_r  = pool·e_r // W,  W = Σ e_r + sigma;  the pool's remainder goes to the datanet's escrow
    mint   = kappa·q·burn // BPS²,  split 70/15/10/5; what a split leaves over is not minted

Minting accrues per (epoch, beneficiary); a claim after the epoch's end pays floor(accrued · C / sum) when the epoch's
sum exceeds its cap C. No profitable wash: one more question costs any coalition burn - mint >= 1 unit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from node.errors import TransactionReason, TransactionRejected
from node.modules.accounts import credit
from node.modules.context import BlockContext, Context, State
from node.modules.datanets import DATANETS
from node.modules.escrow import add_to_escrow
from node.modules.models import Model
from node.modules.payout import excesses
from node.modules.supply import SUPPLY, add_to_treasury, burn_fee, mint
from node.modules.validators import UPCOMING, epoch_key, validator_set_of
from node.modules.vesting import vest
from node.primitives import amount
from node.primitives.amount import BPS, Amount
from node.primitives.crypto import ZERO_HASH, Address, Hash
from node.state.table import Table
from node.storage.schema import Prefix
from node.types.parameters import Parameters

EpochNumber = Annotated[int, range(1, 2**48)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MintEpoch:
    """What an epoch mints."""

    cap_units: Amount
    """C: the most that is paid."""
    accrued_units: Amount
    """What its questions earned, before the cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MintShare:
    """What a beneficiary earned in an epoch, before the cap."""

    accrued_units: Amount
    """How much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorPool:
    """What an epoch's validators share by power."""

    fee_units: Amount
    """Their part of the fees."""
    left_units: Amount
    """Of that, what was not taken yet."""
    accrued_units: Amount
    """Their part of what is minted, before the cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolClaim:
    """An operator took its part of a pool."""

    paid_units: Amount
    """How much."""


MINT_EPOCHS = Table(Prefix.MINT_EPOCH, MintEpoch)
"""By epoch."""
MINT_SHARES = Table(Prefix.MINT_SHARE, MintShare)
"""By epoch and address, until claimed."""
VALIDATOR_POOLS = Table(Prefix.VALIDATOR_POOL, ValidatorPool)
"""By epoch."""
POOL_CLAIMS = Table(Prefix.POOL_CLAIM, PoolClaim)
"""By epoch and operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Takes what the sender earned in a past epoch: minted OPEN, and an operator's part of the validators' pool."""

    epoch: EpochNumber
    """Which epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A question's fee was split."""

    NAME: ClassVar[str] = "settled"

    question: Hash
    """Which question."""
    model: Hash
    """Who answered."""
    fee_units: Amount
    """F."""
    burned_units: Amount
    """The burn."""
    owner_units: Amount
    """The owner's part, dust included."""
    data_units: Amount
    """The pool of the contributors."""
    reviewers_units: Amount
    """The reviewers' part."""
    validators_units: Amount
    """The validators' part."""
    escrow_units: Amount
    """What of the data and reviewers' parts went to the datanet's escrow."""
    mint_units: Amount
    """The most this question mints, before the epoch's cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """A record was paid for a question, and why: anyone can replay it from these numbers."""

    NAME: ClassVar[str] = "paid"

    question: Hash
    """Which question."""
    model: Hash
    """Who answered."""
    record: Hash
    """Whose content made the answer."""
    recipient: Address
    """Who contributed it."""
    pool_units: Amount
    """The contributors' part of the fee."""
    influence: Annotated[int, range(-1000, 1001)]
    """s_r: the record's relative influence."""
    excess: Annotated[int, range(1001)]
    """e_r: what it adds to its senior near-copies."""
    senior: Hash
    """The senior record that reduced it; zero when none did."""
    weight: Annotated[int, range(2**32)]
    """W: the sum of excesses and sigma."""
    clip: Annotated[int, range(1001)]
    """The clip that was applied; 0 when none was."""
    amount_units: Amount
    """pool·e_r // W."""
    mint_pool_units: Amount
    """The contributors' part of what the question mints."""
    accrued_units: Amount
    """mint_pool·e_r // W: what accrued, to be claimed after the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """Somebody took what they earned in an epoch."""

    NAME: ClassVar[str] = "claimed"

    beneficiary: Address
    """Who."""
    epoch: EpochNumber
    """Of which epoch."""
    accrued_units: Amount
    """Earned before the cap."""
    minted_units: Amount
    """Minted and paid."""
    pool_units: Amount
    """Paid from the validators' pool of fees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeSplit:
    """The parts of one question's fee: they add up to it exactly."""

    burn_units: int
    owner_units: int
    data_units: int
    reviewers_units: int
    validators_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Credited:
    """A record to be paid for one question."""

    record: bytes
    """Its content hash."""
    contributor: bytes
    """Who is paid."""
    influence: int
    """s_r."""
    leader: bytes
    """Whose near-copy it is: links of one cluster follow each other, the elder first."""
    key: bytes
    """Its key in the ledger."""
    is_paid: bool
    """Whether it may earn: a revoked record's part goes to the datanet's escrow."""


def split_fee(parameters: Parameters, fee_units: int) -> FeeSplit:
    """Burn and parts of a fee."""
    burn_units = -(-fee_units * parameters.beta_bps // BPS)
    data_units = fee_units * parameters.data_bps // BPS
    reviewers_units = fee_units * parameters.reviewers_bps // BPS
    validators_units = fee_units * parameters.validators_bps // BPS
    owner_units = fee_units - burn_units - data_units - reviewers_units - validators_units
    assert owner_units >= fee_units * parameters.owner_bps // BPS - 1, "only the burn's rounding comes before the owner"
    return FeeSplit(
        burn_units=burn_units,
        owner_units=owner_units,
        data_units=data_units,
        reviewers_units=reviewers_units,
        validators_units=validators_units,
    )


def mint_of(parameters: Parameters, eligibility_bps: int, burn_units: int) -> int:
    """What a burn mints, before the epoch's cap."""
    return parameters.kappa_bps * eligibility_bps * burn_units // BPS**2


def capped(epoch: MintEpoch, accrued_units: int) -> int:
    """What an accrual pays: scaled down when the epoch's sum exceeds its cap, never up."""
    if epoch.accrued_units <= epoch.cap_units:
        return accrued_units
    return accrued_units * epoch.cap_units // epoch.accrued_units


def settle(
    state: State,
    context: Context,
    question: bytes,
    model_id: bytes,
    model: Model,
    fee_units: int,
    clip: int,
    links: tuple[Credited, ...],
) -> None:
    """Splits an answered question's fee, which the caller holds; `links` as `payout.credited` orders them."""
    parameters = context.parameters
    datanet = DATANETS.need(state, model.datanet)
    split = split_fee(parameters, fee_units)
    mint_units = mint_of(parameters, model.eligibility_bps, split.burn_units)
    burn_fee(state, split.burn_units)
    credit(state, model.owner, split.owner_units)
    accrue(state, context, model.owner, mint_units * parameters.mint_owner_bps // BPS)
    is_stale = context.block.epoch > model.certified_epoch + parameters.certificate_epochs
    mint_pool_units = 0 if is_stale else mint_units * parameters.mint_data_bps // BPS
    paid_units = 0
    added = excesses(clip, [each.leader for each in links], [each.influence for each in links])
    weight = sum(each.units for each in added) + parameters.sigma
    for each, excess in () if is_stale else zip(links, added, strict=True):
        if excess.units and each.is_paid:
            paid = Paid(
                question=question,
                model=model_id,
                record=each.record,
                recipient=each.contributor,
                pool_units=split.data_units,
                influence=each.influence,
                excess=excess.units,
                senior=ZERO_HASH if excess.senior is None else links[excess.senior].record,
                weight=weight,
                clip=clip if each.influence > clip else 0,
                amount_units=split.data_units * excess.units // weight,
                mint_pool_units=mint_pool_units,
                accrued_units=mint_pool_units * excess.units // weight,
            )
            paid_units += paid.amount_units
            vest(state, context, each.key, paid.recipient, paid.amount_units)
            accrue(state, context, paid.recipient, paid.accrued_units)
            context.emit(paid)
    each_units = split.reviewers_units // len(datanet.reviewers)
    reviewer_mint_units = mint_units * parameters.mint_reviewers_bps // BPS // len(datanet.reviewers)
    for reviewer in datanet.reviewers:
        credit(state, reviewer, each_units)
        accrue(state, context, reviewer, reviewer_mint_units)
    escrow_units = split.data_units - paid_units + split.reviewers_units - each_units * len(datanet.reviewers)
    add_to_escrow(state, model.datanet, escrow_units)
    _add_to_pool(state, context, split.validators_units, mint_units * parameters.mint_validators_bps // BPS)
    context.emit(
        Settled(
            question=question,
            model=model_id,
            fee_units=fee_units,
            burned_units=split.burn_units,
            owner_units=split.owner_units,
            data_units=split.data_units,
            reviewers_units=split.reviewers_units,
            validators_units=split.validators_units,
            escrow_units=escrow_units,
            mint_units=mint_units,
        )
    )


def accrue(state: State, context: Context, beneficiary: bytes, units: int) -> None:
    """Notes minted OPEN to be claimed after the epoch."""
    if units == 0:
        return
    _add_to_epoch(state, context, units)
    key = epoch_key(context.block.epoch) + beneficiary
    share = MINT_SHARES.get(state, key) or MintShare(accrued_units=0)
    MINT_SHARES.put(state, key, MintShare(accrued_units=amount.add(share.accrued_units, units)))


def apply_claim(state: State, context: Context, payload: Claim) -> None:
    """Pays a past epoch's share and pool part, once."""
    if payload.epoch >= context.block.epoch:
        raise TransactionRejected(TransactionReason.NOT_YET, f"epoch {payload.epoch} has not ended")
    share_key = epoch_key(payload.epoch) + context.sender
    share = MINT_SHARES.get(state, share_key)
    pool_units, pool_accrued_units = _take_from_pool(state, context, payload.epoch)
    accrued_units = pool_accrued_units + (share.accrued_units if share is not None else 0)
    if accrued_units == 0 and pool_units == 0:
        raise TransactionRejected(TransactionReason.NOT_FOUND, f"nothing is left to claim of epoch {payload.epoch}")
    minted_units = 0
    if accrued_units:
        minted_units = capped(MINT_EPOCHS.need(state, epoch_key(payload.epoch)), accrued_units)
    if share is not None:
        MINT_SHARES.delete(state, share_key)
    mint(state, minted_units)
    credit(state, context.sender, minted_units + pool_units)
    context.emit(
        Claimed(
            beneficiary=context.sender,
            epoch=payload.epoch,
            accrued_units=accrued_units,
            minted_units=minted_units,
            pool_units=pool_units,
        )
    )


def end_epoch(state: State, block: BlockContext) -> None:
    """Shrinks the next epoch's cap, to its parameter if that is less; a long past pool's rest goes to the treasury."""
    supply = SUPPLY.get(state)
    cap_units = supply.epoch_cap_units - supply.epoch_cap_units * block.parameters.mint_decay_bps // BPS
    most_units = UPCOMING.get(state).parameters.epoch_mint_cap_units
    SUPPLY.put(state, replace(supply, epoch_cap_units=min(cap_units, most_units)))
    forgotten = block.epoch - block.parameters.evidence_epochs - 1
    pool = VALIDATOR_POOLS.get(state, epoch_key(forgotten)) if forgotten >= 1 else None
    if pool is not None:
        VALIDATOR_POOLS.delete(state, epoch_key(forgotten))
        add_to_treasury(state, pool.left_units)


def _add_to_epoch(state: State, context: Context, units: int) -> None:
    key = epoch_key(context.block.epoch)
    epoch = MINT_EPOCHS.get(state, key) or MintEpoch(cap_units=SUPPLY.get(state).epoch_cap_units, accrued_units=0)
    MINT_EPOCHS.put(state, key, replace(epoch, accrued_units=amount.add(epoch.accrued_units, units)))


def _add_to_pool(state: State, context: Context, fee_units: int, accrued_units: int) -> None:
    key = epoch_key(context.block.epoch)
    pool = VALIDATOR_POOLS.get(state, key) or ValidatorPool(fee_units=0, left_units=0, accrued_units=0)
    if accrued_units:
        _add_to_epoch(state, context, accrued_units)
    changed = ValidatorPool(
        fee_units=amount.add(pool.fee_units, fee_units),
        left_units=amount.add(pool.left_units, fee_units),
        accrued_units=amount.add(pool.accrued_units, accrued_units),
    )
    VALIDATOR_POOLS.put(state, key, changed)


def _take_from_pool(state: State, context: Context, epoch: int) -> tuple[int, int]:
    """An operator's part of a past epoch's pool: fees taken, and minting to be capped."""
    pool = VALIDATOR_POOLS.get(state, epoch_key(epoch))
    validators = validator_set_of(state, epoch)
    claim_key = epoch_key(epoch) + context.sender
    if pool is None or validators is None or POOL_CLAIMS.get(state, claim_key) is not None:
        return 0, 0
    power = sum(each.power for each in validators.validators if each.operator == context.sender)
    total = sum(each.power for each in validators.validators)
    if power == 0:
        return 0, 0
    fee_units = pool.fee_units * power // total
    VALIDATOR_POOLS.put(state, epoch_key(epoch), replace(pool, left_units=pool.left_units - fee_units))
    POOL_CLAIMS.put(state, claim_key, PoolClaim(paid_units=fee_units))
    return fee_units, pool.accrued_units * power // total
