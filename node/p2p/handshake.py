"""The first two messages after TLS: a signed hello, and a signed acknowledgement that can refuse.

TLS 1.3 has authenticated both certificates by then. The acknowledgement exists because a refused TLS 1.3 client sees a
clean handshake and then end-of-file: only the acknowledgement tells it that it is in, or why it is not. Both name the
two certificates, so that neither can be replayed to somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated

from node.errors import MessageReason, MessageRejected
from node.primitives.codec import decode, encode, encode_unsigned
from node.primitives.crypto import Hash, PrivateKey, Signature, Tag, is_valid_signature, sha256, signing_digest

NETWORK_VERSION = 1
"""Version of the messages nodes exchange."""
LARGEST_HANDSHAKE_SIZE_BYTES = 1024


class Step(IntEnum):
    """Which of the two messages."""

    HELLO = 1
    """The connecting end says who it is."""
    ACKNOWLEDGEMENT = 2
    """The other end lets it in, or says why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """Either message."""

    step: Step
    """Which."""
    network_version: Annotated[int, range(1, 2**16)]
    """What the sender speaks."""
    genesis_hash: Hash
    """The chain it follows."""
    sender: Hash
    """SHA-256 of its certificate."""
    recipient: Hash
    """SHA-256 of the certificate it sees."""
    refusal: Annotated[str, range(65)]
    """A MessageReason when an acknowledgement refuses; empty otherwise."""
    signature: Signature
    """By the key of its certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """The two ends of a connection as one of them sees it."""

    key: PrivateKey
    """Our node key."""
    own_certificate: bytes
    """Ours."""
    peer_certificate: bytes
    """What TLS showed us of the peer."""
    peer_key: bytes
    """The Ed25519 key in it."""
    genesis_hash: bytes
    """Our chain."""


def make_greeting(ends: Ends, step: Step, refusal: MessageReason | None = None) -> bytes:
    """Our message."""
    unsigned = Greeting(
        step=step,
        network_version=NETWORK_VERSION,
        genesis_hash=ends.genesis_hash,
        sender=sha256(ends.own_certificate),
        recipient=sha256(ends.peer_certificate),
        refusal="" if refusal is None else refusal.value,
        signature=bytes(64),
    )
    return encode(replace(unsigned, signature=ends.key.sign(_digest(unsigned))))


def check_greeting(ends: Ends, step: Step, data: bytes) -> None:
    """Raises: MessageRejected with what is wrong with the peer's message, or why it refuses us."""
    greeting = decode(Greeting, data)
    parties = (sha256(ends.peer_certificate), sha256(ends.own_certificate))
    is_signed = is_valid_signature(ends.peer_key, _digest(greeting), greeting.signature)
    if greeting.step is not step or (greeting.sender, greeting.recipient) != parties or not is_signed:
        raise MessageRejected(MessageReason.BAD_SIGNATURE, step.name.lower())
    if greeting.refusal:
        known = next((reason for reason in MessageReason if reason.value == greeting.refusal), None)
        raise MessageRejected(known or MessageReason.MALFORMED, "the peer refuses us")
    if greeting.genesis_hash != ends.genesis_hash:
        raise MessageRejected(MessageReason.WRONG_CHAIN, f"the peer's is {greeting.genesis_hash.hex()}")
    if greeting.network_version != NETWORK_VERSION:
        raise MessageRejected(MessageReason.WRONG_VERSION, f"the peer speaks {greeting.network_version}")


def _digest(greeting: Greeting) -> bytes:
    return signing_digest(Tag.HELLO, greeting.genesis_hash, encode_unsigned(greeting))
