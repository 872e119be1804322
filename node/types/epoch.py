"""What ends an epoch: kept for ever, so that whoever knows the genesis can follow the validators by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from consensus.types import Certificate
from node.types.block import Header

DEEPEST_PROOF = 65
"""Nodes on the longest path of the state's trie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnd:
    """An epoch's last block, why it is final, and who governs next.

    The header names the next set too, but only the state says that the epoch ends there: without its proof a block in
    the middle could stand for the end, and validators that left could go on.
    """

    header: Header
    """Header of the epoch's last block."""
    certificate: Certificate
    """Its finalization, by the epoch's own set; a later view's when the block was proposed again."""
    governing: Annotated[bytes, range(1, 2**16)]
    """Canonical bytes of `Governing` in the state after that block: the next epoch's."""
    proof_nodes: Annotated[tuple[Annotated[bytes, range(1, 516)], ...], range(DEEPEST_PROOF + 1)]
    """Why, under the block's state root: the nodes of the `StateProof`."""
