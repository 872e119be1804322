"""The envelope: what is signed, what an id names, what is no transaction."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.errors import TransactionReason, TransactionRejected
from node.primitives.codec import encode
from node.primitives.crypto import Tag, is_valid_signature, sha256, signing_digest
from node.types.transaction import decode_transaction, sign_transaction
from tests.factories import make_key

GENESIS_HASH = sha256(b"a chain")
ALICE = make_key("alice")


def make(**changes: object) -> object:
    body: dict[str, object] = {"kind": 1, "nonce": 0, "fee_units": 5, "valid_until_height": 9, "payload": b"\x90"}
    return sign_transaction(ALICE, GENESIS_HASH, **{**body, **changes})  # type: ignore[arg-type]


def test_the_signature_covers_everything_before_it() -> None:
    transaction = make()
    digest = transaction.id(GENESIS_HASH)  # type: ignore[attr-defined]
    body = encode(transaction)
    unsigned = b"\x97" + body[1:-66]
    assert digest == signing_digest(Tag.TRANSACTION, GENESIS_HASH, unsigned)
    assert is_valid_signature(ALICE.public_key, digest, transaction.signature)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "changes",
    [{"kind": 2}, {"nonce": 1}, {"fee_units": 6}, {"valid_until_height": 10}, {"payload": b""}, {"sender": bytes(20)}],
)
def test_another_field_is_another_transaction(changes: dict[str, object]) -> None:
    assert make(**changes).id(GENESIS_HASH) != make().id(GENESIS_HASH)  # type: ignore[attr-defined]


def test_another_signature_or_chain_leaves_or_changes_the_id() -> None:
    transaction = make()
    other = replace(transaction, signature=bytes(64))  # type: ignore[type-var]
    assert other.id(GENESIS_HASH) == transaction.id(GENESIS_HASH)  # type: ignore[attr-defined]
    assert transaction.id(sha256(b"another")) != transaction.id(GENESIS_HASH)  # type: ignore[attr-defined]


def test_the_sender_is_the_keys_address_unless_it_is_told() -> None:
    assert make().sender == ALICE.address  # type: ignore[attr-defined]
    assert make(sender=b"a" * 20).sender == b"a" * 20  # type: ignore[attr-defined]


def test_bytes_come_back_as_the_transaction() -> None:
    assert decode_transaction(encode(make())) == make()


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "Unpack failed: incomplete input"),
        (b"\x90", "Transaction is an array of 8"),
        (encode(make())[:-1], "Unpack failed: incomplete input"),
        (b"\xdc\x00\x08" + encode(make())[1:], "not_canonical"),
        (encode(make()).replace(b"\x98\x01", b"\x98\xc3", 1), "Transaction.kind is an int"),
    ],
)
def test_other_bytes_are_malformed(data: bytes, detail: str) -> None:
    with pytest.raises(TransactionRejected) as caught:
        decode_transaction(data)
    assert (caught.value.reason, caught.value.detail) == (TransactionReason.MALFORMED, detail)
