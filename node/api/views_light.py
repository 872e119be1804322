"""What light clients are served: bytes in hexadecimal that prove themselves. `node.light` checks them."""

from __future__ import annotations

from msgspec import Struct


class LightGenesisView(Struct, frozen=True, kw_only=True):
    """The first state as the bytes that the chain's identity is the hash of."""

    hash: str
    """The chain's identity: SHA-256 over the tag `ol/genesis`, padded to 16 bytes, and `encoded`."""
    encoded: str
    """The canonical bytes of `Genesis`."""


class HandoverView(Struct, frozen=True, kw_only=True):
    """Who governs the next epoch, under the state root of an epoch's last block."""

    governing: str
    """The canonical bytes of `Governing`: epoch, first height, parameters, validators."""
    nodes: list[str]
    """Nodes of the state's tree on the path of SHA-256(0x20), from the root down."""


class LightBlockView(Struct, frozen=True, kw_only=True):
    """A header, why it is final, and what follows from it."""

    height: int
    """Its height."""
    epoch: int
    """Its epoch."""
    id: str
    """The block's id."""
    header: str
    """The canonical bytes of `Header`."""
    finality: str
    """The canonical bytes of `FinalityProof`: headers up to the certified block, and the finalization."""
    handover: HandoverView | None
    """Who governs the next epoch; null unless the block is its epoch's last one."""
    epoch_end_height: int | None
    """The last block of the epoch before, where a light client can start; null in the first epoch."""
