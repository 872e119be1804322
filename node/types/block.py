"""Block headers, blocks, and the proofs that make one final."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from consensus.types import Certificate, Epoch, View
from node.primitives.codec import encode
from node.primitives.crypto import Hash, Tag, tagged_hash
from node.primitives.merkle import merkle_root
from node.types.parameters import LARGEST_TRANSACTION_SIZE_BYTES, MOST_BLOCK_TRANSACTIONS
from node.types.transaction import Height

PROTOCOL_VERSION = 1
"""The rules this program implements; a block of a later version stops it with a message."""

ValidatorId = Annotated[bytes, range(20, 21)]
"""Address of a consensus key."""
TransactionBytes = Annotated[bytes, range(1, LARGEST_TRANSACTION_SIZE_BYTES + 1)]
"""One encoded transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a block's id commits to."""

    version: Annotated[int, range(1, 2**16)]
    """Protocol version of the state the block extends."""
    genesis_hash: Hash
    """The chain."""
    height: Height
    """The parent's height plus one."""
    epoch: Epoch
    """The epoch the block belongs to."""
    view: View
    """The view it was first proposed in."""
    parent_id: Hash
    """The block it extends."""
    parent_view: View
    """The view whose certificate it builds on; 0 is the epoch's start."""
    time_ms: Annotated[int, range(2**48)]
    """Milliseconds since 1970 by the proposer's clock, later than the parent's."""
    proposer: ValidatorId
    """The leader of its view."""
    transactions_root: Hash
    """Merkle root over the full transaction bytes, signatures included."""
    receipts_root: Hash
    """Merkle root over the receipts."""
    state_root: Hash
    """Root of the state after the block."""
    validator_set_hash: Hash
    """The set that votes on the block."""
    parameters_hash: Hash
    """The parameters that govern the block."""
    next_validator_set_hash: Hash
    """The set that votes on the next block."""

    def id(self) -> bytes:
        """The block's identity."""
        return tagged_hash(Tag.BLOCK, encode(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A header and the transactions it commits to."""

    header: Header
    """The header."""
    transactions: Annotated[tuple[TransactionBytes, ...], range(MOST_BLOCK_TRANSACTIONS + 1)]
    """Encoded transactions in the order of execution."""

    def transactions_root(self) -> bytes:
        """The root the header must name."""
        return merkle_root(self.transactions)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalityProof:
    """Why a block is final: a finalization, of the block itself or of a descendant in its epoch."""

    headers: Annotated[tuple[Header, ...], range(1025)]
    """The chain from the block's child up to the certified block; empty when the block itself is certified."""
    certificate: Certificate
    """The finalization of the last header, or of the block itself."""
