"""Follows the validator sets from the genesis on, by nothing but what ended each epoch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from consensus.certificate import is_well_formed
from consensus.quorum import Quorum
from consensus.types import Certificate, VoteKind
from node.errors import BlockReason, BlockRejected
from node.execution.handover import read_governing
from node.types.block import Header
from node.types.epoch import EpochEnd
from node.types.genesis import Genesis
from node.types.signed import is_signed
from node.types.validator import ValidatorSet


@dataclass(frozen=True, slots=True)
class Anchor:
    """A block that somebody trusted named: the chain must go through it."""

    height: int
    """The last block of an epoch."""
    block_id: bytes
    """Its id."""


class EpochChain:
    """The sets of all epochs so far, each proven by the one before."""

    def __init__(self, genesis: Genesis, anchor: Anchor | None = None) -> None:
        self._genesis_hash = genesis.hash()
        self._anchor = anchor
        self.epoch = genesis.epoch
        """The epoch whose set is known last."""
        self.height = genesis.height
        """The block that epoch stands on."""
        self.validators = genesis.validator_set()
        """Its set."""
        self._sets = {self.epoch: self.validators}
        self._last_blocks: dict[int, bytes] = {}

    def extend(self, ends: Iterable[EpochEnd]) -> None:
        """Goes on by the ends of the epochs that follow, in order. Raises: BlockRejected; what was good stays."""
        for end in ends:
            header = end.header
            if header.epoch != self.epoch or header.height <= self.height:
                raise BlockRejected(BlockReason.WRONG_PARENT, f"epoch {header.epoch} where {self.epoch} ends")
            self.require_final(header, end.certificate)
            self._require_anchored(header)
            validators = read_governing(end).validators
            self.epoch, self.height, self.validators = header.epoch + 1, header.height, validators
            self._sets[self.epoch] = self.validators
            self._last_blocks[header.epoch] = header.id()

    def require_final(self, header: Header, certificate: Certificate) -> None:
        """Checks that a block of a known epoch was finalised directly.

        Raises: BlockRejected WRONG_CHAIN, WRONG_SET, BAD_CERTIFICATE.
        """
        validators = self._sets.get(header.epoch)
        if header.genesis_hash != self._genesis_hash:
            raise BlockRejected(BlockReason.WRONG_CHAIN)
        if validators is None or header.validator_set_hash != validators.hash():
            raise BlockRejected(BlockReason.WRONG_SET, f"height {header.height}")
        if not is_finalization(self._genesis_hash, validators, header, certificate):
            raise BlockRejected(BlockReason.BAD_CERTIFICATE, f"height {header.height}")

    def require_epoch_end(self, header: Header) -> None:
        """Checks that a block is the last one of its epoch, as far as the ends are known.

        Raises: BlockRejected WRONG_SET.
        """
        if self._last_blocks.get(header.epoch) != header.id():
            raise BlockRejected(
                BlockReason.WRONG_SET, f"height {header.height} is not proven to end epoch {header.epoch}"
            )

    def require_trusted(self, header: Header) -> None:
        """Checks that a block whose state is to be taken is not below the anchor. Raises: BlockRejected WRONG_CHAIN."""
        anchor = self._anchor
        if anchor is not None and header.height < anchor.height:
            raise BlockRejected(BlockReason.WRONG_CHAIN, f"height {header.height} is below the trusted block")
        self._require_anchored(header)

    def _require_anchored(self, header: Header) -> None:
        anchor = self._anchor
        if anchor is None or not self.height < anchor.height <= header.height:
            return
        if header.height > anchor.height:
            raise BlockRejected(BlockReason.WRONG_CHAIN, "the trusted block is not the last one of an epoch")
        if header.id() != anchor.block_id:
            raise BlockRejected(BlockReason.WRONG_CHAIN, f"another block than the trusted one at {anchor.height}")


def is_finalization(genesis_hash: bytes, validators: ValidatorSet, header: Header, certificate: Certificate) -> bool:
    """Whether a certificate is a set's finalization of a block."""
    statement = certificate.statement
    if (statement.kind, statement.epoch, statement.block_id) != (VoteKind.FINALIZE, header.epoch, header.id()):
        return False
    if not is_well_formed(certificate, Quorum(validators.for_consensus())):
        return False
    return is_signed(genesis_hash, certificate, {each.id: each.consensus_key for each in validators.validators})
