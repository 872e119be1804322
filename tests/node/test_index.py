"""The explorer's index follows from the blocks alone: however it was built, the same keys hold the same bytes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from node.api.requests import BASE
from node.index import (
    DAY_MS,
    Entry,
    Index,
    IndexTip,
    Named,
    Shelf,
    Totals,
    place_of,
    position_of,
    split_position,
)
from node.modules.accounts import Transfer
from node.modules.context import BlobRef
from node.modules.datanets import RECORDS, Contribute, RejectionReason, Review
from node.primitives.codec import decode, encode
from node.storage.blocks import BlockStore
from node.storage.kv import KeyValueStore, LevelStore, MemoryStore
from tests.node.api.host import WAIT_S, Client, Disk, Node, serving
from tests.node.api.story import Story, retell, story_chain, tell


@pytest.fixture
def told() -> Story:
    """The story: not to be changed."""
    return tell()


@pytest.fixture
def story() -> Story:
    """The story on a disk of its own."""
    return retell()


@pytest.fixture
async def client(story: Story) -> AsyncIterator[Client]:
    """A client of a node on which the story was played."""
    async with serving(Node(story.chain, story.disk)) as client:
        yield client


def content(store: KeyValueStore) -> dict[bytes, bytes]:
    """Everything in a store."""
    return dict(store.iterate(b"", b"\xff" * 64))


@pytest.fixture
def disk_store(tmp_path: Path) -> Iterator[LevelStore]:
    store = LevelStore(tmp_path / "index", is_durable=False)
    yield store
    store.close()


def test_an_index_built_from_blocks_equals_the_one_that_followed_them(told: Story, disk_store: LevelStore) -> None:
    Index(disk_store, BlockStore(told.disk.store)).catch_up()
    assert content(disk_store) == content(told.disk.index)
    assert len(content(disk_store)) > 500


def test_an_index_that_was_stopped_anywhere_goes_on_to_the_same_bytes(told: Story) -> None:
    blocks = BlockStore(told.disk.store)
    for stopped_at in (1, 2, 7, told.height // 2, told.height, told.height + 1):
        store = MemoryStore()
        assert not Index(store, blocks).advance(stopped_at)
        index = Index(store, blocks)
        assert index.height == stopped_at - 1
        assert not index.is_live
        index.catch_up()
        assert (index.height, index.is_live) == (told.height, True)
        assert content(store) == content(told.disk.index)


def test_progress_of_a_long_catch_up_is_told(told: Story) -> None:
    told_heights: list[int] = []
    index = Index(MemoryStore(), BlockStore(told.disk.store))
    index.catch_up(told_heights.append)
    assert told_heights == []  # fewer than a hundred blocks
    assert index.height == told.height


@pytest.mark.parametrize(
    "tip",
    [
        b"\xff",
        encode(IndexTip(version=9, height=3, block_id=bytes(32))),
        encode(IndexTip(version=1, height=3, block_id=bytes(32))),
        None,
    ],
    ids=["damaged", "another layout", "another chain", "lost"],
)
def test_an_index_that_does_not_fit_is_built_anew(told: Story, tip: bytes | None) -> None:
    store = MemoryStore()
    store.write(content(told.disk.index))
    store.write({bytes((Shelf.TIP,)): tip, bytes((Shelf.NAME,)) + b"left over": b"\x01" * 33})
    index = Index(store, BlockStore(told.disk.store))
    assert index.height == -1
    assert index.totals() == Totals()
    index.catch_up()
    assert content(store) == content(told.disk.index)


async def test_blocks_final_before_the_index_is_live_are_indexed_once() -> None:
    node = Node(story_chain())
    async with serving(node, is_caught_up=False):
        assert node.index is not None
        await node.mine(30)
        async with asyncio.timeout(WAIT_S):
            while not node.index.is_live:
                await asyncio.sleep(0)
        await node.mine(2)
        assert node.index.height == node.height == 32
        rebuilt = MemoryStore()
        Index(rebuilt, node.replica.blocks).catch_up()
        assert content(rebuilt) == content(node.disk.index)


async def test_an_index_under_construction_is_told_from_an_empty_one(story: Story) -> None:
    story.disk.index = MemoryStore()
    async with serving(Node(story.chain, story.disk), is_caught_up=False) as client:
        answer = await client.get(BASE + "/payments")
        ready = await client.get("/readyz")
        if answer.status == 404:
            assert "the index is being built, at height" in answer.json["error"]["message"]
        async with asyncio.timeout(WAIT_S):
            while "indexing" in ready.json["reasons"]:
                ready = await client.get("/readyz")
        assert len((await client.get(BASE + "/payments")).json["items"]) > 10


async def test_a_node_that_crashed_behind_its_chain_indexes_the_rest(story: Story, tmp_path: Path) -> None:
    disk = Disk(LevelStore(tmp_path / "state"), LevelStore(tmp_path / "blobs"), LevelStore(tmp_path / "index"))
    async with serving(Node(story.chain, disk)) as one:
        await one.node.mine(3)
        behind = content(disk.index)
        await one.node.mine(3)
        ahead = content(disk.index)
    assert behind != ahead
    disk.index.write(dict.fromkeys(ahead))
    disk.index.write(behind)
    async with serving(Node(story.chain, disk)) as again:
        assert again.node.index is not None
        assert again.node.index.height == 6
        assert content(disk.index) == ahead
    for store in (disk.store, disk.blobs, disk.index):
        store.close()


# What it counts.


def test_totals_are_those_of_the_blocks(told: Story) -> None:
    blocks = BlockStore(told.disk.store)
    index = Index(told.disk.index, blocks)
    counted: Counter[str] = Counter()
    for height in range(told.height + 1):
        receipts = blocks.receipts(height)
        assert receipts is not None
        counted.update(["blocks", *("transactions" for _ in receipts)])
        counted["failed_transactions"] += sum(each.failure != "" for each in receipts)
        counted.update(event.name for each in receipts for event in each.events)
        entry = index.block(height)
        assert entry is not None
        assert (entry.transaction_count, entry.block_id) == (len(receipts), blocks.block(height).header.id())  # type: ignore[union-attr]
    totals = index.totals()
    assert (totals.blocks, totals.transactions, totals.failed_transactions) == (
        counted["blocks"],
        counted["transactions"],
        counted["failed_transactions"],
    )
    assert (totals.questions, totals.answers) == (counted["asked"], counted["answered"])
    assert totals.payments == counted["paid"]
    assert (totals.records, totals.contributors) == (51, 3)


async def test_days_add_up_to_the_totals_over_restarts() -> None:
    disk, chain = Disk(), story_chain()
    users = chain.users
    for _ in range(2):
        node = Node(chain, disk)
        async with serving(node):
            for _ in range(2):
                await node.order(users[0], Transfer(recipient=users[1].address, amount_units=1))
                node._time_ms += DAY_MS // 2
                await node.mine()
    index = Index(disk.index, BlockStore(disk.store))
    last = node.replica.tree.tip.time_ms // DAY_MS
    first = chain.genesis.time_ms // DAY_MS
    days = [index.day(each) for each in range(first, last + 1)]
    assert sum(each.blocks for each in days) == index.totals().blocks == node.height + 1
    assert sum(each.transactions for each in days) == index.totals().transactions == 4
    assert sum(each.blocks > 0 for each in days) >= 3


def test_every_party_of_a_transaction_lists_it(told: Story) -> None:
    index = Index(told.disk.index, BlockStore(told.disk.store))
    place = index.find_transaction(told.answers)
    assert place is not None
    names = ("developer", "asker", "clinic a", "clinic b", "clinic c")
    for name in names:
        entries = index.page(Shelf.ACCOUNT_TRANSACTIONS, told.chain.people[name].address, None, 100)
        assert Entry(place_of(*place), b"") in entries, name
    stranger = told.chain.people["stranger"].address
    assert index.page(Shelf.ACCOUNT_TRANSACTIONS, stranger, None, 100) == []
    assert index.find_transaction(bytes(32)) is None


def test_names_are_found_by_how_they_begin_whatever_their_case(told: Story) -> None:
    index = Index(told.disk.index, BlockStore(told.disk.store))
    assert index.named("biopsies", 9) == [Named(True, told.datanet)]
    assert set(index.named("BIO", 9)) == {
        Named(True, told.datanet),
        Named(True, told.empty_datanet),
        Named(False, told.model),
    }
    assert len(index.named("bio", 2)) == 2
    assert index.named("x", 9) == []


async def test_a_record_offered_again_after_a_rejection_is_listed_where_it_stands(client: Client, story: Story) -> None:
    node, people = client.node, story.chain.people
    size_bytes = len(node.replica.blobs.get(story.rejected_record) or b"")
    reference = BlobRef(hash=story.rejected_record, size_bytes=size_bytes)
    offer = Contribute(datanet=story.datanet, records=(reference, reference))
    offered = (await node.order(people["clinic c"], offer)).transaction_id
    verdict = Review(contribution=offered, is_accepted=True, reason=RejectionReason.NONE)
    await node.order(people["reviewer"], verdict)
    shown = (await client.get(f"{BASE}/records/{story.rejected_record.hex()}")).json["records"]
    assert [(each["status"], each["contribution"]) for each in shown] == [("accepted", offered.hex())]
    rebuilt = MemoryStore()
    Index(rebuilt, node.replica.blocks).catch_up()
    assert content(rebuilt) == content(node.disk.index)


async def test_records_listed_are_those_the_ledger_knows(client: Client, story: Story) -> None:
    assert client.node.index is not None
    entries = client.node.index.page(Shelf.RECORDS_OF_DATANET, story.datanet, None, 1_000)
    state = client.node.replica.state
    listed = {each.value[32:] for each in entries}
    assert len(listed) == len(entries) == 51
    schema_id = (await client.get(f"{BASE}/datanets/{story.datanet.hex()}")).json["schema_id"]
    for each in entries:
        record = RECORDS.need(state, bytes.fromhex(schema_id) + each.value[32:])
        assert position_of(record.height, record.transaction_index, record.index) == each.position


# Positions.


def test_positions_sort_as_the_chain_does() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    drawn = random.Random(seed)
    places = [(drawn.randrange(2**48), drawn.randrange(2**16), drawn.randrange(2**16)) for _ in range(200)]
    places += [(0, 0, 0), (2**48 - 1, 2**16 - 1, 2**16 - 1)]
    assert sorted(places) == [split_position(each) for each in sorted(position_of(*place) for place in places)]
    for height, index, _ in places:
        assert split_position(place_of(height, index)) == (height, index, 0)


def test_pages_of_both_stores_and_both_orders_are_the_same(told: Story, disk_store: LevelStore) -> None:
    disk_store.write(content(told.disk.index))
    blocks = BlockStore(told.disk.store)
    on_disk, in_memory = Index(disk_store, blocks), Index(told.disk.index, blocks)
    for shelf, owner in ((Shelf.PAYMENTS, b""), (Shelf.RECORDS_OF_DATANET, told.datanet), (Shelf.MODELS, b"")):
        whole = in_memory.page(shelf, owner, None, 1_000)
        for index in (on_disk, in_memory):
            for is_oldest_first in (False, True):
                walked: list[Entry] = []
                while page := index.page(
                    shelf, owner, walked[-1].position if walked else None, 7, is_oldest_first=is_oldest_first
                ):
                    walked += page
                assert walked == (whole[::-1] if is_oldest_first else whole)


def test_transactions_are_walked_over_busy_and_empty_blocks(told: Story) -> None:
    index = Index(told.disk.index, BlockStore(told.disk.store))
    whole = index.transactions(None, 10_000)
    assert whole == sorted(whole, reverse=True)
    assert len(whole) == index.totals().transactions
    for limit in (1, 3, 50):
        walked: list[bytes] = []
        while page := index.transactions(walked[-1] if walked else None, limit, is_oldest_first=True):
            walked += page
        assert walked == whole[::-1]


def test_the_stored_totals_are_canonical_bytes(told: Story) -> None:
    data = content(told.disk.index)[bytes((Shelf.TOTALS,))]
    assert encode(decode(Totals, data)) == data
