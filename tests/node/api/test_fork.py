"""A chain that continues another one: nothing is lost or made, only who governs is new, and nothing replays."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from node.beginning import open_ledger
from node.cli.fork_genesis import check_fork, export_fork
from node.config import ConfigError
from node.errors import StorageError, TransactionReason, TransactionRejected
from node.modules.accounts import Transfer, load_account
from node.modules.datanets import DATANETS
from node.modules.governance import PROPOSALS, Proposal, ProposalStatus
from node.modules.holdouts import EPOCH_SEEDS
from node.modules.supply import SUPPLY
from node.modules.validators import GOVERNING, PAST_SETS, REGISTRY, UPCOMING, epoch_key
from node.primitives.codec import decode
from node.state.view import View
from node.storage.blocks import BlockStore, block_changes
from node.storage.kv import MemoryStore
from node.storage.schema import Prefix
from node.types.genesis import Genesis, GenesisValidator
from node.types.validator import NodeEntry
from tests.factories import Chain, make_key
from tests.node.api.host import WAIT_S, Client, Disk, Node, serving
from tests.node.api.story import Story

TIME_MS = 1_900_000_000_000


def validators(story: Story, *operators: str) -> list[GenesisValidator]:
    """People of the story who validate from now on, with keys nobody had before."""
    return [
        GenesisValidator(
            operator=story.chain.people[name].address,
            consensus_key=make_key(f"fork consensus {name}").public_key,
            power=1,
            node=NodeEntry(name=f"fork {name}", certificate=f"fork certificate {name}".encode(), endpoint=""),
        )
        for name in operators
    ]


def forked(story: Story, *operators: str) -> tuple[Genesis, dict[bytes, bytes]]:
    return export_fork(story.disk.store, story.chain.genesis, "continued", validators(story, *operators), TIME_MS)


def continued_chain(story: Story, genesis: Genesis, operator: str) -> Chain:
    return replace(
        story.chain,
        genesis=genesis,
        genesis_hash=genesis.hash(),
        operators=(story.chain.people[operator],),
        consensus_keys=(make_key(f"fork consensus {operator}"),),
    )


class Continued(Node):
    """A node of the new chain, on an empty disk with the old contents."""

    def __init__(self, story: Story, genesis: Genesis, values: dict[bytes, bytes]) -> None:
        disk = Disk(blobs=story.disk.copy().blobs)
        open_ledger(disk.store, genesis, lambda: values)
        super().__init__(continued_chain(story, genesis, "asker"), disk)


async def first_heights(client: Client) -> tuple[int, int]:
    """The first block told to who follows from the very beginning: over the WebSocket, and by event stream."""
    async with client.session.ws_connect(client.node.url + "/websocket") as socket, asyncio.timeout(WAIT_S):
        call = {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": {"topic": "blocks", "from_height": 0}}
        await socket.send_json(call)
        while "params" not in (news := await socket.receive_json()):
            pass
    async with client.session.get(client.node.url + "/api/v1/events?from_height=0") as stream, asyncio.timeout(WAIT_S):
        while not (line := await stream.content.readline()).startswith(b"id:"):
            pass
    return news["params"]["result"]["height"], int(line.removeprefix(b"id:"))


async def test_the_new_chain_makes_blocks_and_everything_owned_is_still_there(story: Story) -> None:
    old = open_ledger(story.disk.store, story.chain.genesis)
    genesis, values = forked(story, "asker")
    people = story.chain.people
    before = {name: load_account(old, key.address) for name, key in people.items()}
    async with serving(Continued(story, genesis, values)) as client:
        node, state = client.node, client.node.replica.state
        assert node.height == genesis.height == story.height
        bond_units = genesis.parameters.validator_bond_units
        for name, account in before.items():
            moved = bond_units if name == "asker" else 0
            assert load_account(state, people[name].address) == replace(
                account, balance_units=account.balance_units - moved, bond_units=account.bond_units + moved
            )
        assert DATANETS.need(state, story.datanet) == DATANETS.need(old, story.datanet)
        assert await node.mine(3) == story.height + 3
        receipt = await node.order(people["stranger"], Transfer(recipient=people["heir"].address, amount_units=7))
        assert receipt.failure == ""
        assert load_account(state, people["heir"].address).balance_units == before["heir"].balance_units + 7
        supply = await client.get("/api/v1/stats")
        assert supply.status == 200
        assert node.replica.audit().supply_units == SUPPLY.get(old).total_units
        blocks = (await client.get("/api/v1/blocks?limit=100&sort=oldest")).json["items"]
        assert [each["height"] for each in blocks] == list(range(story.height, node.height + 1))
        commit = await client.call("commit", height=story.height)
        assert (commit["certificate"], commit["descendants"]) == (None, [])
        assert (await client.call("blockchain"))["headers"][-1]["height"] == story.height
        assert await first_heights(client) == (story.height, story.height)


async def test_an_epoch_of_the_new_chain_ends_and_its_ledger_adds_up(story: Story) -> None:
    genesis, values = forked(story, "asker")
    async with serving(Continued(story, genesis, values)) as client:
        node = client.node
        epoch = GOVERNING.get(node.replica.state).epoch
        await node.mine(genesis.parameters.epoch_length_heights)
        assert GOVERNING.get(node.replica.state).epoch == epoch + 1
        audit = node.replica.audit()
        while not audit.advance():
            pass
        assert audit.error() is None


async def test_nothing_signed_for_the_old_chain_is_valid_on_the_new_one(story: Story) -> None:
    genesis, values = forked(story, "asker")
    stranger = story.chain.people["stranger"]
    async with serving(Node(story.chain, story.disk)) as client:
        old = client.node.sign(stranger, Transfer(recipient=bytes(20), amount_units=1))
    refused: list[TransactionRejected | None] = []
    async with serving(Continued(story, genesis, values)) as client:
        client.node.is_verifying_at_once = True
        client.node.replica.submit(old, refused.append)
        client.node.replica.flush()
        await client.node.mine()
        [error] = refused
        assert error is not None
        assert error.reason is TransactionReason.BAD_SIGNATURE


def test_who_governs_is_new_and_heights_and_epochs_go_on(story: Story) -> None:
    old = open_ledger(story.disk.store, story.chain.genesis)
    before = GOVERNING.get(old)
    genesis, values = forked(story, "asker", "heir")
    state = open_ledger(MemoryStore(), genesis, lambda: values)
    governing = GOVERNING.get(state)
    assert (governing.epoch, governing.first_height) == (before.epoch + 1, story.height + 1)
    assert governing.validators == genesis.validator_set()
    assert [each.operator for each in REGISTRY.get(state).candidates] == sorted(
        story.chain.people[name].address for name in ("asker", "heir")
    )
    assert UPCOMING.get(state).parameters == genesis.parameters == UPCOMING.get(old).parameters
    assert PAST_SETS.get(state, epoch_key(before.epoch)) == before.validators, "they may claim what they earned"


def test_an_open_proposal_does_not_outlive_those_it_was_put_to(story: Story) -> None:
    _, values = forked(story, "asker")
    [key] = [key[1:] for key in values if key[0] == Prefix.PROPOSAL]
    decided = decode(Proposal, values[bytes((Prefix.PROPOSAL,)) + key])
    assert decided.status is not ProposalStatus.OPEN
    store = story.disk.copy().store
    state = open_ledger(store, story.chain.genesis)
    view = View(state)
    PROPOSALS.put(view, bytes(32), replace(decided, status=ProposalStatus.OPEN))
    layer = view.seal()
    tip = BlockStore(store).block(story.height)
    assert tip is not None
    block = replace(tip, header=replace(tip.header, state_root=layer.root))
    state.commit(story.height, layer, block_changes(block, block.header.id(), (), None))
    genesis, values = export_fork(store, story.chain.genesis, "continued", validators(story, "asker"), TIME_MS)
    assert bytes((Prefix.PROPOSAL,)) + bytes(32) in values
    begun = open_ledger(MemoryStore(), genesis, lambda: values)
    assert (PROPOSALS.get(begun, bytes(32)), PROPOSALS.get(begun, key)) == (None, decided)


@pytest.mark.parametrize("is_between", [False, True])
async def test_the_seed_of_the_last_whole_epoch_is_not_lost_wherever_the_chain_broke_off(
    story: Story, is_between: bool
) -> None:
    """An epoch's seed is the id of its last block; the next epoch's first block writes it, here or there."""
    async with serving(Node(story.chain, story.disk)) as client:
        node = client.node
        await node.mine()
        while (GOVERNING.get(node.replica.state).first_height == node.height + 1) != is_between:
            await node.mine()
        tip_id, epoch = node.replica.tree.tip_id, GOVERNING.get(node.replica.state).epoch
        first_height = GOVERNING.get(node.replica.state).first_height
    genesis, values = forked(story, "asker")
    assert (genesis.forks[0].block_id, genesis.forks[0].epoch) == (tip_id, epoch)
    state = open_ledger(MemoryStore(), genesis, lambda: values)
    last_id = tip_id if is_between else client.node.replica.blocks.block(first_height - 1).header.id()  # type: ignore[union-attr]
    assert EPOCH_SEEDS.need(state, epoch_key(epoch - 1)).block_id == last_id
    async with serving(Continued(story, genesis, values)) as client:
        first_id = client.node.replica.tree.tip_id
        await client.node.mine()
        assert EPOCH_SEEDS.need(client.node.replica.state, epoch_key(epoch)).block_id == first_id


def test_the_check_before_writing_begins_the_chain_and_adds_it_up(story: Story) -> None:
    genesis, values = forked(story, "asker")
    assert check_fork(genesis, values) == SUPPLY.get(open_ledger(story.disk.store, story.chain.genesis)).total_units


@pytest.mark.parametrize("fault", ["a value", "a key more", "a key less"])
def test_a_state_file_that_is_not_the_old_chains_state_is_refused(story: Story, fault: str) -> None:
    genesis, values = forked(story, "asker")
    account = bytes((0x10,)) + story.chain.people["stranger"].address
    changed: dict[str, Any] = {
        "a value": {**values, account: values[bytes((0x10,)) + story.chain.people["developer"].address]},
        "a key more": {**values, bytes((0x10,)) + b"z" * 20: values[account]},
        "a key less": {key: value for key, value in values.items() if key != account},
    }
    with pytest.raises(StorageError, match="get the file that belongs to this genesis"):
        open_ledger(MemoryStore(), genesis, lambda: changed[fault])


def test_a_fork_without_its_state_file_does_not_begin(story: Story) -> None:
    genesis, _ = forked(story, "asker")
    with pytest.raises(StorageError, match="its state file is needed beside genesis"):
        open_ledger(MemoryStore(), genesis)


def test_an_operator_that_cannot_pay_the_bond_is_named(story: Story) -> None:
    poor = make_key("nobody")
    [entry] = validators(story, "asker")
    genesis, values = export_fork(
        story.disk.store, story.chain.genesis, "continued", [replace(entry, operator=poor.address)], TIME_MS
    )
    with pytest.raises(StorageError, match=f"the operator {poor.address.hex()} has 0 OPEN, its bond is 10000 OPEN"):
        check_fork(genesis, values)


def test_validators_that_contradict_each_other_are_refused(story: Story) -> None:
    with pytest.raises(ConfigError, match="each validator has an operator of its own"):
        forked(story, "asker", "asker")


def test_a_fork_can_be_forked_again(story: Story) -> None:
    genesis, values = forked(story, "asker")
    store = MemoryStore()
    open_ledger(store, genesis, lambda: values)
    with pytest.raises(ConfigError, match="the chain has no block yet"):
        export_fork(store, genesis, "again", validators(story, "heir"), TIME_MS)
