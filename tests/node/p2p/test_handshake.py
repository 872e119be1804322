"""The signed hello and acknowledgement: who, which chain, which version, and why not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.errors import MessageReason, MessageRejected
from node.p2p.handshake import Ends, Greeting, Step, _digest, check_greeting, make_greeting
from node.primitives.codec import decode, encode
from node.primitives.crypto import make_node_certificate, node_key_of_certificate, sha256
from tests.factories import make_key

ALICE, BOB, EVE = make_key("alice"), make_key("bob"), make_key("eve")
CERTIFICATES = {key.address: make_node_certificate(key) for key in (ALICE, BOB, EVE)}
CHAIN = sha256(b"chain")


def ends(own, peer, genesis_hash=CHAIN) -> Ends:
    certificate = CERTIFICATES[peer.address]
    return Ends(
        key=own,
        own_certificate=CERTIFICATES[own.address],
        peer_certificate=certificate,
        peer_key=node_key_of_certificate(certificate),
        genesis_hash=genesis_hash,
    )


def refused(own_ends: Ends, step: Step, data: bytes) -> MessageRejected:
    with pytest.raises(MessageRejected) as caught:
        check_greeting(own_ends, step, data)
    return caught.value


def test_both_messages_are_accepted_by_the_end_they_are_for():
    check_greeting(ends(BOB, ALICE), Step.HELLO, make_greeting(ends(ALICE, BOB), Step.HELLO))
    check_greeting(ends(ALICE, BOB), Step.ACKNOWLEDGEMENT, make_greeting(ends(BOB, ALICE), Step.ACKNOWLEDGEMENT))


def test_hello_to_somebody_else_cannot_be_replayed():
    to_eve = make_greeting(ends(ALICE, EVE), Step.HELLO)
    assert refused(ends(BOB, ALICE), Step.HELLO, to_eve).reason is MessageReason.BAD_SIGNATURE


def test_hello_does_not_pass_for_an_acknowledgement():
    hello = make_greeting(ends(BOB, ALICE), Step.HELLO)
    assert refused(ends(ALICE, BOB), Step.ACKNOWLEDGEMENT, hello).reason is MessageReason.BAD_SIGNATURE


def test_hello_signed_by_another_key_is_refused():
    forged = make_greeting(replace(ends(ALICE, BOB), key=EVE), Step.HELLO)
    assert refused(ends(BOB, ALICE), Step.HELLO, forged).reason is MessageReason.BAD_SIGNATURE


def test_wrong_chain_is_refused_with_both_hashes_to_compare():
    other = sha256(b"other chain")
    hello = make_greeting(ends(ALICE, BOB, other), Step.HELLO)
    error = refused(ends(BOB, ALICE), Step.HELLO, hello)
    assert error.reason is MessageReason.WRONG_CHAIN
    assert other.hex() in error.detail


def test_wrong_version_is_refused():
    greeting = decode(Greeting, make_greeting(ends(ALICE, BOB), Step.HELLO))
    changed = replace(greeting, network_version=99)
    signed = replace(changed, signature=ALICE.sign(_digest(changed)))
    error = refused(ends(BOB, ALICE), Step.HELLO, encode(signed))
    assert str(error) == "wrong_version: the peer speaks 99"


@pytest.mark.parametrize("reason", list(MessageReason))
def test_refusal_arrives_with_its_reason(reason):
    refusal = make_greeting(ends(BOB, ALICE), Step.ACKNOWLEDGEMENT, reason)
    assert refused(ends(ALICE, BOB), Step.ACKNOWLEDGEMENT, refusal).reason is reason


def test_garbage_is_malformed():
    assert refused(ends(BOB, ALICE), Step.HELLO, b"\xc1garbage").reason is MessageReason.MALFORMED


def test_node_certificate_is_a_function_of_the_key():
    assert make_node_certificate(ALICE) == make_node_certificate(ALICE)
    assert node_key_of_certificate(make_node_certificate(ALICE)) == ALICE.public_key
    assert len(make_node_certificate(ALICE)) < 1024


def test_certificate_that_is_none_is_refused_with_a_sentence():
    with pytest.raises(ValueError, match=r"these bytes are no X\.509 certificate"):
        node_key_of_certificate(b"\x30\x03\x02\x01\x01")
