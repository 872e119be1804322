"""What light clients are served: bytes that `node.light` believes, of old epochs too."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from node.api.rpc import INVALID_PARAMS, REFUSED
from node.light import LightClient, check_account
from node.modules.validators import GOVERNING
from node.primitives.address import format_address
from node.primitives.codec import decode
from node.storage.schema import Column, column_key, height_key
from node.types.parameters import Parameters
from tests.factories import make_chain
from tests.node.api.host import Client, Node, serving

EPOCH_LENGTH_HEIGHTS = 4


@pytest.fixture(name="client")
async def client_fixture() -> AsyncIterator[Client]:
    """A node in its third epoch."""
    chain = make_chain(powers=(1,), users=2, parameters=Parameters(epoch_length_heights=EPOCH_LENGTH_HEIGHTS))
    async with serving(Node(chain)) as client:
        await client.node.mine(2 * EPOCH_LENGTH_HEIGHTS + 2)
        yield client


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


async def follow(client: Client) -> LightClient:
    """A light client that was told everything over the socket."""
    told = await client.call("light_genesis")
    light = LightClient.from_genesis(hexed(told["encoded"]), hexed(told["hash"]))
    for epoch in (1, 2):
        told = await client.call("light_block", epoch=epoch)
        handover = told["handover"]
        nodes = [hexed(node) for node in handover["nodes"]]
        light.follow(hexed(told["header"]), hexed(told["finality"]), hexed(handover["governing"]), nodes)
    return light


async def test_a_light_client_needs_nothing_but_what_is_served(client: Client) -> None:
    light = await follow(client)
    newest = await client.call("light_block")
    final = light.check_final(hexed(newest["header"]), hexed(newest["finality"]), is_latest=True)
    assert (newest["height"], newest["epoch"], newest["handover"]) == (client.node.height, 3, None)
    assert newest["epoch_end_height"] == 2 * EPOCH_LENGTH_HEIGHTS
    assert newest["id"] == final.block_id.hex() == client.node.replica.tree.tip_id.hex()
    address = client.node.chain.users[0].address
    answer = await client.call("query", table="account", key=format_address(address))
    nodes = [hexed(node) for node in answer["proof"]["nodes"]]
    assert check_account(final, address, hexed(answer["value"]), nodes).balance_units == 10**15


async def test_an_epochs_last_block_is_the_same_by_height_and_by_epoch(client: Client) -> None:
    by_epoch = await client.call("light_block", epoch=2)
    assert by_epoch == await client.call("light_block", height=2 * EPOCH_LENGTH_HEIGHTS)
    assert (by_epoch["height"], by_epoch["epoch_end_height"]) == (2 * EPOCH_LENGTH_HEIGHTS, EPOCH_LENGTH_HEIGHTS)
    assert (await client.call("light_block", epoch=1))["epoch_end_height"] is None


async def test_an_old_epochs_end_is_served_when_its_blocks_are_gone(client: Client) -> None:
    before = await client.call("light_block", epoch=1)
    store = client.node.disk.store
    for height in range(1, EPOCH_LENGTH_HEIGHTS + 1):
        key = height_key(height)
        store.write({column_key(column, key): None for column in (Column.BLOCK, Column.FINALITY, Column.RECEIPTS)})
    assert await client.call("light_block", epoch=1) == before
    await follow(client)


async def test_what_cannot_be_served_is_said(client: Client) -> None:
    assert await client.fails("light_block", height=1, epoch=1) == (INVALID_PARAMS, "invalid_parameter")
    assert await client.fails("light_block", epoch=0) == (INVALID_PARAMS, "invalid_parameter")
    assert await client.fails("light_block", height=0) == (REFUSED, "not_found")
    assert await client.fails("light_block", height=client.node.height + 1) == (REFUSED, "not_found")
    assert await client.fails("light_block", epoch=3) == (REFUSED, "not_found")
    error = (await client.answer("light_block", epoch=3))["error"]
    assert "epoch 3 has not ended: the chain is in epoch 3" in error["data"]["hint"]
    client.node.disk.store.write({column_key(Column.EPOCH_END, height_key(1)): None})
    error = (await client.answer("light_block", epoch=1))["error"]
    assert "did not execute epoch 1 itself" in error["data"]["hint"]


async def test_a_handover_is_written_with_the_block_and_survives_a_restart(client: Client) -> None:
    node = client.node
    await node.close()
    again = Node(node.chain, node.disk.copy())
    found = again.replica.blocks.epoch_end(2)
    assert found is not None
    assert decode(type(GOVERNING.get(again.replica.state)), found.governing).epoch == 3
    assert found.header == decode_header(again, 2 * EPOCH_LENGTH_HEIGHTS)
    assert [again.replica.blocks.epoch_end(epoch) for epoch in (0, 3)] == [None, None]
    await again.close()


def decode_header(node: Node, height: int) -> object:
    block = node.replica.blocks.block(height)
    assert block is not None
    return block.header
