"""The transaction envelope: what every kind has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from node.errors import MessageRejected, TransactionReason, TransactionRejected
from node.primitives.amount import Amount
from node.primitives.codec import decode, encode_unsigned
from node.primitives.crypto import Address, PrivateKey, PublicKey, Signature, Tag, signing_digest
from node.types.parameters import LARGEST_TRANSACTION_SIZE_BYTES

HEIGHT_END = 2**48
"""One past the largest height; a chain of a block a millisecond lasts 8,900 years."""

Height = Annotated[int, range(HEIGHT_END)]
"""Blocks since genesis, which is 0."""
Nonce = Annotated[int, range(2**48)]
"""Transactions an account has made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One signed order of an account."""

    kind: Annotated[int, range(256)]
    """Which module executes the payload."""
    sender: Address
    """Whose balance, nonce and rights it uses."""
    public_key: PublicKey
    """The sender's current key."""
    nonce: Nonce
    """How many transactions the sender made before."""
    fee_units: Amount
    """What the sender pays for inclusion, all of it, to the treasury."""
    valid_until_height: Height
    """The last height whose block may carry it."""
    payload: Annotated[bytes, range(LARGEST_TRANSACTION_SIZE_BYTES + 1)]
    """Canonical bytes of the kind's own wire class."""
    signature: Signature
    """The public key's signature over everything above."""

    def id(self, genesis_hash: bytes) -> bytes:
        """The transaction's identity: the digest that is signed, so not malleable by another signature."""
        return signing_digest(Tag.TRANSACTION, genesis_hash, encode_unsigned(self))


def decode_transaction(data: bytes) -> Transaction:
    """The transaction some bytes are.

    Raises: TransactionRejected MALFORMED.
    """
    try:
        return decode(Transaction, data)
    except MessageRejected as error:
        raise TransactionRejected(TransactionReason.MALFORMED, error.detail or error.reason.value) from error


def sign_transaction(
    key: PrivateKey,
    genesis_hash: bytes,
    *,
    kind: int,
    nonce: int,
    fee_units: int,
    valid_until_height: int,
    payload: bytes,
    sender: bytes | None = None,
) -> Transaction:
    """A signed transaction; `sender` is needed once the account's key was rotated."""
    body = {
        "kind": kind,
        "sender": key.address if sender is None else sender,
        "public_key": key.public_key,
        "nonce": nonce,
        "fee_units": fee_units,
        "valid_until_height": valid_until_height,
        "payload": payload,
    }
    unsigned = Transaction(**body, signature=bytes(64))  # type: ignore[arg-type]
    return Transaction(**body, signature=key.sign(unsigned.id(genesis_hash)))  # type: ignore[arg-type]
