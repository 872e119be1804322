"""How a chain begins in a store: from genesis, or from the values of the chain that it continues."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from node.errors import StorageError
from node.execution.block import genesis_block, genesis_layer
from node.execution.fork import fork_layer
from node.snapshot import wipe_unfinished
from node.state.integrity import require_whole
from node.state.store import StateStore
from node.storage.blocks import LOWEST_KEY, BlockStore, block_changes
from node.storage.kv import KeyValueStore
from node.storage.schema import Column, Meta, column_key, height_key
from node.types.genesis import Genesis

LoadFork = Callable[[], Mapping[bytes, bytes]]
"""Gives the values of the chain that this one continues."""


def open_ledger(store: KeyValueStore, genesis: Genesis, load_fork: LoadFork | None = None) -> StateStore:
    """The state in a store; a new store begins with genesis, and with the values of the chain it continues.

    Raises: StorageError when it is another chain's, or damaged.
    """
    wipe_unfinished(store)
    key = column_key(Column.META, bytes((Meta.GENESIS,)))
    known = store.get(key)
    if known is not None and known != genesis.hash():
        raise StorageError(
            f"the store belongs to the chain {known.hex()}, not to {genesis.hash().hex()}: "
            f"use a data directory of its own for each chain"
        )
    state = StateStore(store)
    if known is None:
        if genesis.continued is None:
            layer = genesis_layer(state, genesis)
        elif load_fork is None:
            raise StorageError("the chain continues another one: its state file is needed beside genesis")
        else:
            layer = fork_layer(state, genesis, load_fork())
        block = genesis_block(genesis, layer.root)
        changes = block_changes(block, block.header.id(), (), None)
        state.commit(
            genesis.height, layer, {**changes, key: genesis.hash(), LOWEST_KEY: height_key(genesis.height + 1)}
        )
    require_whole(state, BlockStore(store))
    return state
