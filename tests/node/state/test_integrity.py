"""A store is opened only when tip, last block, root node and late blocks belong together."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from node.beginning import open_ledger
from node.errors import StorageError
from node.primitives.codec import decode, encode
from node.state.store import Tip
from node.storage.kv import MemoryStore
from node.storage.schema import Column, Meta, column_key, height_key
from tests.factories import make_chain
from tests.simulation.invariants import Invariants
from tests.simulation.world import World

SYNC_AGAIN = ". Move the state directory away and let the node sync again."


@pytest.fixture(scope="module")
def stored() -> dict[bytes, bytes]:
    invariants = Invariants()
    world = World(make_chain(), 1, invariants)
    for index in range(4):
        world.add_node(index)
    for index in range(4):
        world.start(f"v{index}")
    assert world.run_until(lambda: invariants.heights["v0"] >= 6, 20_000)
    return world.nodes["v0"].disk.store.values


def said_of(values: dict[bytes, bytes]) -> str:
    store = MemoryStore()
    store.values = values
    with pytest.raises(StorageError) as caught:
        open_ledger(store, make_chain().genesis)
    assert str(caught.value).endswith(SYNC_AGAIN)
    return str(caught.value).removesuffix(SYNC_AGAIN).removeprefix("the store is damaged: ")


def tip_of(values: dict[bytes, bytes]) -> Tip:
    return decode(Tip, values[column_key(Column.META, bytes((Meta.TIP,)))])


def test_whole_store_opens(stored: dict[bytes, bytes]) -> None:
    store = MemoryStore()
    store.values = dict(stored)
    assert open_ledger(store, make_chain().genesis).tip == tip_of(stored)


def lose_block(values: dict[bytes, bytes], height: int) -> str:
    del values[column_key(Column.BLOCK, height_key(height))]
    return f"the last final block, {height}, is not there"


def change_root(values: dict[bytes, bytes], height: int) -> str:
    values[column_key(Column.META, bytes((Meta.TIP,)))] = encode(Tip(height=height, state_root=bytes(32)))
    return f"the state is not the one of the last final block, {height}"


def change_root_node(values: dict[bytes, bytes], height: int) -> str:
    values[column_key(Column.TREE, b"")] += b"x"
    return f"the state's tree is not the one of the last final block, {height}"


def lose_batch(values: dict[bytes, bytes], height: int) -> str:
    del values[column_key(Column.UNDO, height_key(height - 2))]
    return f"of the blocks up to {height}, 1 were never written: [{height - 2}]"


@pytest.mark.parametrize("damage", [lose_block, change_root, change_root_node, lose_batch])
def test_store_that_is_not_of_one_moment_is_refused(
    stored: dict[bytes, bytes], damage: Callable[[dict[bytes, bytes], int], str]
) -> None:
    values = dict(stored)
    expected = damage(values, tip_of(values).height)
    assert said_of(values) == expected


def test_block_that_does_not_read_is_refused(stored: dict[bytes, bytes]) -> None:
    values = dict(stored)
    height = tip_of(values).height
    values[column_key(Column.BLOCK, height_key(height))] = b"\xc1"
    assert said_of(values).startswith(f"what stands at height {height} cannot be read: ")
