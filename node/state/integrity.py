"""Whether a store that opens is whole where it must be: looked at once, before the node takes part.

Bytes that were changed are found when they are read, by the store's own checksums. What these cannot tell is whether
everything in the store is of one moment: that is told by the blocks, which are committed with their state.
"""

from __future__ import annotations

from node.errors import MessageRejected, StorageError
from node.primitives.crypto import sha256
from node.state.store import StateStore
from node.state.tree import EMPTY_ROOT
from node.storage.blocks import BlockStore


def require_whole(state: StateStore, blocks: BlockStore) -> None:
    """Raises: StorageError when tip, last block and root node do not belong together, or a late block is not there."""
    try:
        _require_tip(state, blocks)
    except MessageRejected as error:
        raise _damaged(f"what stands at height {state.tip.height} cannot be read: {error}") from error
    heights = state.undo_heights()
    if heights and heights != list(range(heights[0], state.tip.height + 1)):
        missing = sorted(set(range(heights[0], state.tip.height + 1)) - set(heights))
        raise _damaged(f"of the blocks up to {state.tip.height}, {len(missing)} were never written: {missing[:8]}")


def _require_tip(state: StateStore, blocks: BlockStore) -> None:
    height = state.tip.height
    header = blocks.header(height)
    if header is None or blocks.height_of(header.id()) != height:
        raise _damaged(f"the last final block, {height}, is not there")
    if header.state_root != state.root:
        raise _damaged(f"the state is not the one of the last final block, {height}")
    node = state.node("")
    if (EMPTY_ROOT if node is None else sha256(node)) != state.root:
        raise _damaged(f"the state's tree is not the one of the last final block, {height}")


def _damaged(what: str) -> StorageError:
    return StorageError(f"the store is damaged: {what}. Move the state directory away and let the node sync again.")
