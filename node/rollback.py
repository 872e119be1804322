"""Takes final blocks back, one atomic batch each, as far as the undo records reach.

Touches no log: what was signed stays signed. For a disk that holds what it should not; the node then fetches the blocks
again from its peers. The chain itself is never rolled back: its blocks are as final as before.
"""

from __future__ import annotations

from node.errors import StorageError
from node.primitives.codec import decode, encode
from node.primitives.crypto import sha256
from node.state import tree
from node.state.store import TIP_KEY, StateStore, Tip, Undo
from node.storage.blocks import BlockStore
from node.storage.kv import KeyValueStore
from node.storage.schema import Column, column_key, height_key
from node.types.block import Header


def lowest_rollback_height(store: KeyValueStore) -> int:
    """The lowest height a store can go back to."""
    state, blocks = StateStore(store), BlockStore(store)
    height = state.tip.height
    while (
        height > 0
        and store.get(column_key(Column.UNDO, height_key(height))) is not None
        and blocks.header(height - 1) is not None
    ):
        height -= 1
    return height


def roll_back(store: KeyValueStore, to_height: int) -> Header:
    """Makes the block at a height the last final one again; returns its header.

    Raises: StorageError when the height is above the last final block or the undo records do not reach it.
    """
    tip = StateStore(store).tip
    lowest_height = lowest_rollback_height(store)
    if not lowest_height <= to_height <= tip.height:
        raise StorageError(
            f"this store can go back from height {tip.height} to {lowest_height}, not to {to_height}: "
            f"for a lower height restore a snapshot"
        )
    for height in range(tip.height, to_height, -1):
        _take_back(store, height)
    header = BlockStore(store).header(to_height)
    assert header is not None, "looked for above"
    return header


def _take_back(store: KeyValueStore, height: int) -> None:
    blocks = BlockStore(store)
    header, below = blocks.header(height), blocks.header(height - 1)
    data = store.get(column_key(Column.UNDO, height_key(height)))
    assert header is not None, "the final state belongs to a stored block"
    assert below is not None, "looked for before"
    assert data is not None, "looked for before"
    undo = decode(Undo, data)
    before = {each.key: each.values[0] if each.values else None for each in undo.replaced}
    root, nodes = tree.update(
        StateStore(store).node,
        {sha256(key): None if value is None else sha256(value) for key, value in before.items()},
    )
    root = root if before else header.state_root
    if root != below.state_root:
        raise StorageError(
            f"undoing height {height} does not lead to the state of height {height - 1}: the store is damaged. "
            f"Restore a snapshot, or move the store away and let the node sync again."
        )
    changes: dict[bytes, bytes | None] = {column_key(Column.STATE, key): value for key, value in before.items()}
    changes |= {column_key(Column.TREE, path.encode("ascii")): node for path, node in nodes.items()}
    for column in (Column.BLOCK, Column.RECEIPTS, Column.FINALITY, Column.UNDO, Column.HEADER):
        changes[column_key(column, height_key(height))] = None
    changes[column_key(Column.HEIGHT, header.id())] = None
    changes[TIP_KEY] = encode(Tip(height=height - 1, state_root=root))
    store.write(changes)
