"""Validators and the nodes of the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import consensus.types
from node.primitives.codec import encode
from node.primitives.crypto import Address, PublicKey, Tag, address_of, sha256, tagged_hash

MOST_VALIDATORS = 100
"""Validators in a set."""
LARGEST_POWER = 10_000
"""Total voting power of a set."""

Name = Annotated[str, range(1, 65)]
"""A name people see."""
Endpoint = Annotated[str, range(256)]
"""`host:port` other nodes connect to; empty when the node only connects out."""
NodeCertificate = Annotated[bytes, range(1, 1025)]
"""A self-signed X.509 certificate (DER) of an Ed25519 node key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validator:
    """One member of a validator set."""

    operator: Address
    """The account that answers for it: bond, rewards, governance votes."""
    consensus_key: PublicKey
    """What it signs votes with."""
    power: Annotated[int, range(1, LARGEST_POWER + 1)]
    """Its voting power."""

    @property
    def id(self) -> bytes:
        """Its identity in consensus: the address of its consensus key."""
        return address_of(self.consensus_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorSet:
    """Who votes in an epoch, sorted by consensus id."""

    validators: Annotated[tuple[Validator, ...], range(1, MOST_VALIDATORS + 1)]
    """The members."""

    def __post_init__(self) -> None:
        """Raises: ValueError when members are unsorted, double, or too powerful together."""
        ids = [validator.id for validator in self.validators]
        if ids != sorted(set(ids)):
            raise ValueError("validators are distinct and sorted by consensus id")
        if sum(validator.power for validator in self.validators) > LARGEST_POWER:
            raise ValueError(f"total voting power is at most {LARGEST_POWER}")

    def hash(self) -> bytes:
        """What a block's header commits to."""
        return tagged_hash(Tag.VALIDATOR_SET, encode(self))

    def for_consensus(self) -> consensus.types.ValidatorSet:
        """The set as the state machine knows it: identities and powers."""
        members = tuple(consensus.types.Validator(id=each.id, power=each.power) for each in self.validators)
        return consensus.types.ValidatorSet(validators=members)

    def by_id(self) -> dict[bytes, Validator]:
        """Members by consensus id."""
        return {validator.id: validator for validator in self.validators}


def sorted_validator_set(validators: tuple[Validator, ...]) -> ValidatorSet:
    """A set from members in any order."""
    return ValidatorSet(validators=tuple(sorted(validators, key=lambda validator: validator.id)))


NODE_ID_SIZE_BYTES = 20


def node_id_of(certificate: bytes) -> bytes:
    """A node's identity among peers: from its pinned certificate."""
    return sha256(certificate)[:NODE_ID_SIZE_BYTES]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEntry:
    """A node the others accept connections from."""

    name: Name
    """What people call it."""
    certificate: NodeCertificate
    """Its pinned TLS certificate."""
    endpoint: Endpoint
    """Where it listens."""
