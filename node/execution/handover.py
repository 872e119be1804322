"""What an epoch's last block leaves behind: who governs next, proven under that block's state root.

The state forgets old values and old validator sets, and old blocks may be pruned; this is kept for ever.
"""

from __future__ import annotations

from consensus.types import Certificate
from node.errors import BlockReason, BlockRejected, MessageRejected
from node.execution.block import Executed
from node.modules.validators import GOVERNING, Governing
from node.primitives.codec import decode
from node.primitives.crypto import sha256
from node.state import tree
from node.state.tree import StateProof
from node.types.epoch import EpochEnd


def make_epoch_end(executed: Executed, certificate: Certificate) -> EpochEnd:
    """What is written with an epoch's last block."""
    key, layer = GOVERNING.table.key(b""), executed.layer
    governing = layer.encoded[key]
    assert governing is not None, "an epoch's end writes what governs the next one"
    proof = tree.prove(layer.node, sha256(key))
    return EpochEnd(header=executed.block.header, certificate=certificate, governing=governing, proof_nodes=proof.nodes)


def read_governing(end: EpochEnd) -> Governing:
    """What governs the next epoch, if the end proves it. Raises: BlockRejected WRONG_SET."""
    header = end.header
    try:
        governing = decode(Governing, end.governing)
        proven = tree.verify(header.state_root, sha256(GOVERNING.table.key(b"")), StateProof(nodes=end.proof_nodes))
    except (MessageRejected, ValueError) as error:
        raise BlockRejected(BlockReason.WRONG_SET, f"what governs after epoch {header.epoch}: {error}") from error
    if proven != sha256(end.governing):
        raise BlockRejected(BlockReason.WRONG_SET, f"what governs after epoch {header.epoch} is not proven")
    if (governing.epoch, governing.first_height) != (header.epoch + 1, header.height + 1):
        raise BlockRejected(BlockReason.WRONG_SET, f"height {header.height} does not end epoch {header.epoch}")
    if governing.validators.hash() != header.next_validator_set_hash:
        raise BlockRejected(BlockReason.WRONG_SET, f"the set after epoch {header.epoch}")
    return governing
