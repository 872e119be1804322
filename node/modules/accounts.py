"""Accounts: balances, nonces, keys, roles; transfers and key rotation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from node.errors import TransactionReason, TransactionRejected
from node.modules.context import Context, State
from node.primitives import amount
from node.primitives.amount import Amount
from node.primitives.crypto import Address, PublicKey, Signature, Tag, address_of, is_valid_signature, signing_digest
from node.state.table import Reader, Table
from node.storage.schema import Prefix
from node.types.genesis import Role, Roles
from node.types.transaction import Nonce


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the ledger knows of an address."""

    balance_units: Amount
    """What it can spend."""
    bond_units: Amount
    """What it has locked; see `node.modules.bonds`."""
    nonce: Nonce
    """Transactions it made."""
    public_key: Annotated[bytes, range(33)]
    """The key after a rotation; empty while the address is the first key's hash."""
    roles: Roles
    """What it may do."""


ACCOUNTS = Table(Prefix.ACCOUNT, Account)
"""Accounts by address."""
EMPTY_ACCOUNT = Account(balance_units=0, bond_units=0, nonce=0, public_key=b"", roles=0)
"""An address nobody has used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Sends OPEN to another account."""

    recipient: Address
    """Who gets it."""
    amount_units: Annotated[int, range(1, amount.AMOUNT_END), "amount"]
    """How much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateKey:
    """Replaces the account's key: the address stays, and with it every reward."""

    new_public_key: PublicKey
    """The key that signs from the next transaction on."""
    new_signature: Signature
    """The new key's own signature over genesis, address and nonce: nobody can be locked out by a typing error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred:
    """OPEN changed hands."""

    NAME: ClassVar[str] = "transferred"

    sender: Address
    """Who paid."""
    recipient: Address
    """Who got it."""
    amount_units: Amount
    """How much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRotated:
    """An account has a new key."""

    NAME: ClassVar[str] = "key_rotated"

    address: Address
    """Whose."""
    public_key: PublicKey
    """The new key."""


def load_account(state: Reader, address: bytes) -> Account:
    """An account; an unused address is an empty one."""
    return ACCOUNTS.get(state, address) or EMPTY_ACCOUNT


def credit(state: State, address: bytes, units: int) -> None:
    """Adds to a balance. Raises: TransactionRejected AMOUNT_OVERFLOW."""
    account = load_account(state, address)
    ACCOUNTS.put(state, address, replace(account, balance_units=amount.add(account.balance_units, units)))


def debit(state: State, address: bytes, units: int) -> None:
    """Takes from a balance. Raises: TransactionRejected INSUFFICIENT_BALANCE."""
    account = load_account(state, address)
    ACCOUNTS.put(state, address, replace(account, balance_units=amount.subtract(account.balance_units, units)))


def require_role(state: Reader, address: bytes, role: Role) -> None:
    """Raises: TransactionRejected ROLE_REQUIRED."""
    if not load_account(state, address).roles & role:
        raise TransactionRejected(TransactionReason.ROLE_REQUIRED, f"the role {str(role.name).lower()}")


def is_key_of(account: Account, address: bytes, public_key: bytes) -> bool:
    """Whether a public key is the account's current one."""
    return account.public_key == public_key if account.public_key else address_of(public_key) == address


def rotation_digest(genesis_hash: bytes, address: bytes, nonce: int) -> bytes:
    """What the new key signs."""
    return signing_digest(Tag.ROTATE_KEY, genesis_hash, address + nonce.to_bytes(8, "big"))


def apply_transfer(state: State, context: Context, payload: Transfer) -> None:
    """Moves OPEN."""
    debit(state, context.sender, payload.amount_units)
    credit(state, payload.recipient, payload.amount_units)
    context.emit(Transferred(sender=context.sender, recipient=payload.recipient, amount_units=payload.amount_units))


def apply_rotate_key(state: State, context: Context, payload: RotateKey) -> None:
    """Sets the key, if the new one agrees."""
    account = load_account(state, context.sender)
    # The nonce was counted up before: the new key signed the transaction's own.
    digest = rotation_digest(context.block.genesis_hash, context.sender, account.nonce - 1)
    if not is_valid_signature(payload.new_public_key, digest, payload.new_signature):
        raise TransactionRejected(TransactionReason.BAD_SIGNATURE, "the new key's own signature")
    ACCOUNTS.put(state, context.sender, replace(account, public_key=payload.new_public_key))
    context.emit(KeyRotated(address=context.sender, public_key=payload.new_public_key))
