"""Bonds: OPEN an account locks to answer for what it does as validator or attributor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from node.errors import TransactionReason, TransactionRejected
from node.modules.accounts import ACCOUNTS, credit, debit, load_account
from node.modules.context import Context, State
from node.modules.supply import burn_bond
from node.modules.validators import UPCOMING, is_candidate
from node.primitives import amount
from node.primitives.amount import AMOUNT_END, BPS, Amount
from node.primitives.crypto import Address
from node.state.table import Reader, Table
from node.storage.schema import Prefix

MOST_RELEASES = 32
"""Withdrawals of one account under way at a time."""

PositiveAmount = Annotated[int, range(1, AMOUNT_END), "amount"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A part of a bond on its way out."""

    amount_units: Amount
    """How much."""
    epoch: Annotated[int, range(2**48)]
    """The first epoch it may be withdrawn in; until it is withdrawn it can be slashed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unbonding:
    """What an account has asked back."""

    releases: Annotated[tuple[Release, ...], range(MOST_RELEASES + 1)]
    """In the order asked."""


UNBONDING = Table(Prefix.UNBONDING, Unbonding)
"""By owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bond:
    """Locks OPEN."""

    amount_units: PositiveAmount
    """How much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unbond:
    """Asks for locked OPEN back."""

    amount_units: PositiveAmount
    """How much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawBond:
    """Takes what is released."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BondChanged:
    """A bond was locked, asked back, withdrawn or slashed."""

    NAME: ClassVar[str] = "bond_changed"

    owner: Address
    """Whose."""
    what: Annotated[str, range(1, 17)]
    """`locked`, `unbonding`, `withdrawn` or `slashed`."""
    amount_units: Amount
    """How much."""
    bond_units: Amount
    """What is locked now."""


def bond_of(state: Reader, owner: bytes) -> int:
    """What an account has locked and not asked back."""
    return load_account(state, owner).bond_units


def require_attributor_bond(state: Reader, context: Context) -> None:
    """Raises: TransactionRejected INSUFFICIENT_BOND."""
    if bond_of(state, context.sender) < context.parameters.attributor_bond_units:
        needed = amount.format_open(context.parameters.attributor_bond_units)
        raise TransactionRejected(TransactionReason.INSUFFICIENT_BOND, f"{needed} are needed")


def apply_bond(state: State, context: Context, payload: Bond) -> None:
    """Balance to bond."""
    debit(state, context.sender, payload.amount_units)
    account = load_account(state, context.sender)
    bond_units = amount.add(account.bond_units, payload.amount_units)
    ACCOUNTS.put(state, context.sender, replace(account, bond_units=bond_units))
    _emit(context, context.sender, "locked", payload.amount_units, bond_units)


def apply_unbond(state: State, context: Context, payload: Unbond) -> None:
    """Bond to unbonding; a candidate keeps its minimum, this epoch's and the next one's."""
    account = load_account(state, context.sender)
    kept_units = 0
    if is_candidate(state, context.sender):
        upcoming = UPCOMING.get(state).parameters
        kept_units = max(context.parameters.validator_bond_units, upcoming.validator_bond_units)
    if account.bond_units - payload.amount_units < kept_units:
        raise TransactionRejected(TransactionReason.INSUFFICIENT_BOND, f"{amount.format_open(kept_units)} stay locked")
    releases = _releases(state, context.sender)
    if len(releases) >= MOST_RELEASES:
        raise TransactionRejected(TransactionReason.TOO_MANY, "withdraw what is released first")
    # An epoch's votes are evidence through evidence_epochs more: the bond outlasts the last of them.
    slashable_epochs = max(context.parameters.unbonding_epochs, context.parameters.evidence_epochs)
    release = Release(amount_units=payload.amount_units, epoch=context.block.epoch + slashable_epochs + 1)
    bond_units = account.bond_units - payload.amount_units
    ACCOUNTS.put(state, context.sender, replace(account, bond_units=bond_units))
    UNBONDING.put(state, context.sender, Unbonding(releases=(*releases, release)))
    _emit(context, context.sender, "unbonding", payload.amount_units, bond_units)


def apply_withdraw_bond(state: State, context: Context, _payload: WithdrawBond) -> None:
    """Released unbonding to balance."""
    releases = _releases(state, context.sender)
    due = [release for release in releases if release.epoch <= context.block.epoch]
    if not due:
        first = min((release.epoch for release in releases), default=None)
        detail = "nothing was asked back" if first is None else f"the first is released in epoch {first}"
        raise TransactionRejected(TransactionReason.NOT_YET, detail)
    _store_releases(state, context.sender, tuple(release for release in releases if release not in due))
    total_units = sum(release.amount_units for release in due)
    credit(state, context.sender, total_units)
    _emit(context, context.sender, "withdrawn", total_units, bond_of(state, context.sender))


def slash(state: State, context: Context, owner: bytes, share_bps: int) -> int:
    """Burns a share of an account's bond, what it has asked back included. Returns how much."""
    account = load_account(state, owner)
    burned_units = account.bond_units * share_bps // BPS
    bond_units = account.bond_units - burned_units
    ACCOUNTS.put(state, owner, replace(account, bond_units=bond_units))
    kept = []
    for release in _releases(state, owner):
        cut_units = release.amount_units * share_bps // BPS
        burned_units += cut_units
        kept.append(replace(release, amount_units=release.amount_units - cut_units))
    _store_releases(state, owner, tuple(kept))
    burn_bond(state, burned_units)
    _emit(context, owner, "slashed", burned_units, bond_units)
    return burned_units


def _releases(state: Reader, owner: bytes) -> tuple[Release, ...]:
    unbonding = UNBONDING.get(state, owner)
    return () if unbonding is None else unbonding.releases


def _store_releases(state: State, owner: bytes, releases: tuple[Release, ...]) -> None:
    if releases:
        UNBONDING.put(state, owner, Unbonding(releases=releases))
    elif UNBONDING.get(state, owner) is not None:
        UNBONDING.delete(state, owner)


def _emit(context: Context, owner: bytes, what: str, units: int, bond_units: int) -> None:
    context.emit(BondChanged(owner=owner, what=what, amount_units=units, bond_units=bond_units))
