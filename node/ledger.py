"""Opens the ledger in a store: what is there must be this chain's, and whole where it must be."""

from __future__ import annotations

from node.errors import StorageError
from node.execution.block import genesis_block, genesis_layer
from node.state.integrity import require_whole
from node.state.store import StateStore
from node.storage.blocks import BlockStore, block_changes
from node.storage.kv import KeyValueStore
from node.storage.schema import Column, Meta, column_key
from node.types.genesis import Genesis


def open_ledger(store: KeyValueStore, genesis: Genesis) -> StateStore:
    """The state in a store; a new store begins with genesis.

    Raises: StorageError when it is another chain's, or damaged.
    """
    key = column_key(Column.META, bytes((Meta.GENESIS,)))
    known = store.get(key)
    if known is not None and known != genesis.hash():
        raise StorageError(
            f"the store belongs to the chain {known.hex()}, not to {genesis.hash().hex()}: "
            f"use a data directory of its own for each chain"
        )
    state = StateStore(store)
    if known is None:
        layer = genesis_layer(state, genesis)
        block = genesis_block(genesis, layer.root)
        changes = block_changes(block, block.header.id(), (), None)
        state.commit(0, layer, {**changes, key: genesis.hash()})
    require_whole(state, BlockStore(store))
    return state
