"""What an epoch's last block leaves to light clients: who governs next, proven under that block's state root.

The state forgets old values and old validator sets, and old blocks may be pruned; these records are kept for ever, so
that a light client can follow the validators from the first epoch on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from consensus.types import Certificate
from node.execution.block import Executed
from node.modules.validators import GOVERNING
from node.primitives.codec import decode, encode
from node.primitives.crypto import sha256
from node.state import tree
from node.state.tree import StateProof
from node.storage.kv import KeyValueStore
from node.storage.schema import Column, column_key, height_key
from node.types.block import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """Why the validators of the next epoch are who they are."""

    header: Header
    """The last block of the epoch."""
    certificate: Certificate
    """Its finalization: rule 12 has the next epoch start with one."""
    governing: Annotated[bytes, range(1, 2**16)]
    """Canonical bytes of `Governing` in the state after that block: the next epoch's."""
    proof: StateProof
    """Why, under the block's state root."""


def handover_changes(executed: Executed, certificate: Certificate) -> dict[bytes, bytes | None]:
    """What is written with an epoch's last block."""
    key, header, layer = GOVERNING.table.key(b""), executed.block.header, executed.layer
    governing = layer.encoded[key]
    assert governing is not None, "an epoch's end writes what governs the next one"
    proof = tree.prove(layer.node, sha256(key))
    handover = Handover(header=header, certificate=certificate, governing=governing, proof=proof)
    return {column_key(Column.HANDOVER, height_key(header.epoch)): encode(handover)}


def load_handover(store: KeyValueStore, epoch: int) -> Handover | None:
    """What an epoch's last block left, if this node has executed it."""
    data = store.get(column_key(Column.HANDOVER, height_key(epoch)))
    return None if data is None else decode(Handover, data)
