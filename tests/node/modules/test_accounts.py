"""Transfers, keys and roles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.errors import TransactionReason, TransactionRejected
from node.modules.accounts import (
    ACCOUNTS,
    EMPTY_ACCOUNT,
    Account,
    KeyRotated,
    RotateKey,
    Transfer,
    Transferred,
    credit,
    is_key_of,
    rotation_digest,
)
from node.modules.supply import SUPPLY
from node.primitives.amount import AMOUNT_END
from node.state.view import View
from tests.factories import RICH_UNITS, make_key
from tests.node.ledger import FEE_UNITS
from tests.node.modules.scenes import Scene, genesis_scene


@pytest.fixture(name="scene")
def scene_fixture() -> Scene:
    return genesis_scene()


def rotation(scene: Scene, name: str, new: str, nonce: int) -> RotateKey:
    """The payload by which somebody takes a new key."""
    key = make_key(new)
    digest = rotation_digest(scene.ledger.chain.genesis_hash, scene.who(name).address, nonce)
    return RotateKey(new_public_key=key.public_key, new_signature=key.sign(digest))


def test_transfer_moves_the_amount_and_pays_the_fee_to_the_treasury(scene: Scene) -> None:
    sender, recipient = scene.who("asker"), make_key("a stranger")
    receipt = scene.ledger.do(sender, Transfer(recipient=recipient.address, amount_units=5), fee_units=10**6)
    assert scene.ledger.account(sender) == Account(
        balance_units=RICH_UNITS - 5 - 10**6, bond_units=0, nonce=1, public_key=b"", roles=0
    )
    assert scene.ledger.account(recipient) == replace(EMPTY_ACCOUNT, balance_units=5)
    assert SUPPLY.get(scene.ledger.state).treasury_units == 10**6
    assert receipt.fee_units == 10**6
    assert scene.ledger.events(Transferred) == [
        Transferred(sender=sender.address, recipient=recipient.address, amount_units=5)
    ]


def test_transfer_to_oneself_changes_nothing_but_the_fee(scene: Scene) -> None:
    sender = scene.who("asker")
    scene.ledger.do(sender, Transfer(recipient=sender.address, amount_units=RICH_UNITS - FEE_UNITS))
    assert scene.ledger.account(sender).balance_units == RICH_UNITS - FEE_UNITS


def test_transfer_may_spend_everything_that_the_fee_leaves_and_not_one_unit_more(scene: Scene) -> None:
    sender, recipient = scene.who("asker"), scene.who("nobody").address
    most = RICH_UNITS - FEE_UNITS
    scene.ledger.fails(
        sender,
        Transfer(recipient=recipient, amount_units=most),
        TransactionReason.INSUFFICIENT_BALANCE,
        "999998.999999999 OPEN held, 999999 OPEN needed",
        fee_units=FEE_UNITS + 1,
    )
    left = scene.ledger.account(sender).balance_units - FEE_UNITS
    scene.ledger.do(sender, Transfer(recipient=recipient, amount_units=left))
    assert scene.ledger.account(sender).balance_units == 0


@pytest.mark.parametrize("amount_units", [RICH_UNITS, 2**62, AMOUNT_END - 1])
def test_transfer_of_more_than_there_is_fails(scene: Scene, amount_units: int) -> None:
    held = "999999 OPEN held"
    needed = {
        RICH_UNITS: "1000000 OPEN needed",
        2**62: "4611686018.427387904 OPEN needed",
        AMOUNT_END - 1: "9223372036.854775807 OPEN needed",
    }
    payload = Transfer(recipient=scene.who("nobody").address, amount_units=amount_units)
    reason = TransactionReason.INSUFFICIENT_BALANCE
    scene.ledger.fails(scene.who("asker"), payload, reason, f"{held}, {needed[amount_units]}")


def test_a_sum_that_is_no_amount_any_more_is_refused_and_leaves_the_balance(scene: Scene) -> None:
    # No supply makes this possible; the arithmetic refuses it all the same.
    view = View(scene.ledger.state)
    full = replace(EMPTY_ACCOUNT, balance_units=AMOUNT_END - 3)
    address = scene.who("nobody").address
    ACCOUNTS.put(view, address, full)
    credit(view, address, 2)
    with pytest.raises(TransactionRejected) as found:
        credit(view, address, 1)
    assert (found.value.reason, found.value.message) == (
        TransactionReason.AMOUNT_OVERFLOW,
        "The sum is larger than any amount can be.",
    )
    assert ACCOUNTS.get(view, address) == replace(full, balance_units=AMOUNT_END - 1)


def test_rotation_leaves_address_money_and_nonce_and_names_the_new_key(scene: Scene) -> None:
    owner = scene.who("asker")
    scene.ledger.do(owner, rotation(scene, "asker", "new", 0))
    assert scene.ledger.account(owner) == Account(
        balance_units=RICH_UNITS - FEE_UNITS, bond_units=0, nonce=1, public_key=make_key("new").public_key, roles=0
    )
    assert scene.ledger.last(KeyRotated) == KeyRotated(address=owner.address, public_key=make_key("new").public_key)


def test_after_a_rotation_only_the_new_key_signs(scene: Scene) -> None:
    owner, recipient = scene.who("asker"), scene.who("nobody").address
    scene.ledger.do(owner, rotation(scene, "asker", "new", 0))
    payload = Transfer(recipient=recipient, amount_units=7)
    scene.ledger.refuses(owner, payload, TransactionReason.WRONG_KEY)
    scene.ledger.do(make_key("new"), payload, sender=owner.address)
    assert scene.ledger.account(recipient).balance_units == RICH_UNITS + 7


def test_the_old_key_is_judged_against_the_state_before_its_transaction(scene: Scene) -> None:
    """In one block: the old key rotates, then the new one signs; the old one signed ahead and is too late."""
    owner, recipient = scene.who("asker"), scene.who("nobody").address
    first = scene.ledger.sign(owner, rotation(scene, "asker", "new", 0))
    late = scene.ledger.sign(owner, Transfer(recipient=recipient, amount_units=1), nonce=1)
    good = scene.ledger.sign(
        make_key("new"), Transfer(recipient=recipient, amount_units=2), nonce=1, sender=owner.address
    )
    refused: list[tuple[bytes, TransactionReason]] = []
    executed = scene.ledger.add_block(
        first, late, good, on_rejected=lambda candidate, error: refused.append((candidate.id, error.reason))
    )
    assert [receipt.failure for receipt in executed.receipts] == ["", ""]
    assert refused == [(late.id, TransactionReason.WRONG_KEY)]
    assert scene.ledger.account(recipient).balance_units == RICH_UNITS + 2


def test_the_new_key_does_not_sign_before_the_rotation(scene: Scene) -> None:
    payload = Transfer(recipient=scene.who("nobody").address, amount_units=1)
    scene.ledger.refuses(make_key("new"), payload, TransactionReason.WRONG_KEY, sender=scene.who("asker").address)


@pytest.mark.parametrize("signed_nonce", [1, 2**32])
def test_rotation_with_a_signature_for_another_nonce_fails(scene: Scene, signed_nonce: int) -> None:
    payload = rotation(scene, "asker", "new", signed_nonce)
    scene.ledger.fails(scene.who("asker"), payload, TransactionReason.BAD_SIGNATURE, "the new key's own signature")
    assert scene.ledger.account(scene.who("asker")).public_key == b""


def test_rotation_signed_for_another_account_or_by_another_key_fails(scene: Scene) -> None:
    for payload in (
        rotation(scene, "nobody", "new", 0),
        replace(rotation(scene, "asker", "new", 0), new_public_key=make_key("other").public_key),
    ):
        scene.ledger.fails(
            scene.who("asker"), payload, TransactionReason.BAD_SIGNATURE, "the new key's own signature", nonce=None
        )


def test_a_key_can_be_rotated_again_and_back(scene: Scene) -> None:
    owner = scene.who("asker")
    scene.ledger.do(owner, rotation(scene, "asker", "new", 0))
    back = rotation_digest(scene.ledger.chain.genesis_hash, owner.address, 1)
    payload = RotateKey(new_public_key=owner.public_key, new_signature=owner.sign(back))
    scene.ledger.do(make_key("new"), payload, sender=owner.address)
    assert is_key_of(scene.ledger.account(owner), owner.address, owner.public_key)
    scene.ledger.do(owner, Transfer(recipient=scene.who("nobody").address, amount_units=1))
