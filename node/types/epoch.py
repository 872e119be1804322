"""What ends an epoch: kept for ever, so that whoever knows the genesis can follow the validator sets by it."""

from __future__ import annotations

from dataclasses import dataclass

from consensus.types import Certificate
from node.types.block import Header
from node.types.validator import ValidatorSet


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnd:
    """An epoch's last block, why it is final, and who votes next."""

    header: Header
    """Header of the epoch's last block."""
    certificate: Certificate
    """Its finalization, by the epoch's own set; a later view's when the block was proposed again."""
    next_validators: ValidatorSet
    """The next epoch's set, whose hash the header names."""
