"""The blocks above the final one: only what may still become final is held, and nothing holds on to what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.errors import BlockReason, BlockRejected
from node.execution.block import Executed
from node.modules.accounts import Transfer
from node.modules.context import BlobRef
from node.modules.datanets import Contribute
from node.primitives.merkle import merkle_root
from node.proposal import BlobsPending, BlockTree
from node.storage.blocks import BlockStore
from node.storage.wal import LogPosition
from node.types.block import Block, Header
from tests.factories import make_chain
from tests.node.ledger import Ledger, open_node


def make_tree() -> BlockTree:
    ledger = make_ledger()
    return BlockTree(ledger.state, BlockStore(ledger.node.disk), ledger.shelf, lambda _data: None)


def make_ledger() -> Ledger:
    chain = make_chain()
    node, header = open_node(chain, {})
    mirror, _ = open_node(chain, {})
    return Ledger(chain, node, mirror, header)


def build(tree: BlockTree, parent_id: bytes, view: int) -> Executed:
    return tree.build(
        parent_id,
        view=view,
        parent_view=view - 1,
        now_ms=0,
        proposer=bytes(20),
        select=lambda _parent: (),
        on_rejected=lambda _candidate, _error: None,
    )


def other(header: Header, **changes: int) -> Block:
    return Block(header=replace(header, **changes), transactions=())


def add(tree: BlockTree, block: Block) -> bytes:
    tree.add_body(block, block.header.id())
    return block.header.id()


def test_final_block_drops_every_body_that_cannot_descend_from_it() -> None:
    tree = make_tree()
    first = build(tree, tree.tip_id, 3)
    second = build(tree, first.block_id, 4)
    header = second.block.header
    sibling = add(tree, other(first.block.header, view=2))
    too_high = add(tree, other(header, height=2**40, view=9))
    earlier_view = add(tree, other(header, height=2, view=2))
    other_epoch = add(tree, other(header, epoch=2))
    possible = add(tree, other(header, height=3, view=6))
    tree.finalize(first.block_id, None)
    assert tree.is_open(second.block_id)
    assert tree.is_open(possible)
    for block_id in (first.block_id, sibling, too_high, earlier_view, other_epoch):
        assert not tree.is_open(block_id)
    assert tree.unfinal_ancestors(second.block_id) == (second,)


def test_block_of_a_view_is_at_most_as_high_as_there_were_views() -> None:
    tree = make_tree()
    assert tree.highest_height(5) == 5
    first = build(tree, tree.tip_id, 3)
    tree.finalize(first.block_id, None)
    assert [tree.highest_height(view) for view in (1, 3, 4, 10)] == [1, 1, 2, 8]


def test_header_alone_is_no_body() -> None:
    tree = make_tree()
    header = replace(tree.tip, height=1, transactions_root=merkle_root((b"\x01",)))
    assert not tree.is_open(add(tree, Block(header=header, transactions=())))
    assert tree.is_open(add(tree, other(tree.tip, height=1)))


def test_block_judged_invalid_is_refused_again_for_its_reason_and_holds_on_to_nothing() -> None:
    tree = make_tree()
    built = build(tree, tree.tip_id, 1)
    lie = add(tree, other(built.block.header, time_ms=0))
    for _ in range(2):
        with pytest.raises(BlockRejected) as caught:
            tree.judge(lie, 0, lambda _hash: True)
        assert caught.value.reason is BlockReason.BAD_TIME
    kept = tree._invalid[lie]
    assert (kept.__traceback__, kept.__cause__, kept.__context__) == (None, None, None)


def test_block_that_lacks_contents_names_them_all_before_it_is_executed() -> None:
    ledger = make_ledger()
    tree = BlockTree(ledger.state, BlockStore(ledger.node.disk), ledger.shelf, lambda _data: None)
    refers = [ledger.sign(ledger.chain.users[0], payload_with(bytes([index]) * 32)) for index in (1, 2)]
    plain = ledger.sign(ledger.chain.users[1], Transfer(recipient=bytes(20), amount_units=1))
    data = tuple(each.data for each in (plain, *refers))
    built = build(tree, tree.tip_id, 1)
    block = Block(header=replace(built.block.header, transactions_root=merkle_root(data)), transactions=data)
    block_id = add(tree, block)
    with pytest.raises(BlobsPending) as caught:
        tree.judge(block_id, 0, lambda blob_hash: blob_hash == bytes([1]) * 32)
    assert caught.value.hashes == (bytes([2]) * 32,)
    with pytest.raises(BlockRejected):
        tree.judge(block_id, 0, lambda _hash: True)


def test_position_of_the_log_is_written_with_the_block_and_stays_where_it_is_not_known() -> None:
    tree = make_tree()
    assert tree.log_position is None
    noted = LogPosition(file_number=2, size_bytes=77)
    tree.finalize(build(tree, tree.tip_id, 1).block_id, None, noted)
    assert tree.log_position == noted
    tree.finalize(build(tree, tree.tip_id, 2).block_id, None)
    assert tree.log_position == noted
    tree.finalize(build(tree, tree.tip_id, 3).block_id, None, LogPosition(file_number=1, size_bytes=99))
    assert tree.log_position == LogPosition(file_number=1, size_bytes=99)


def payload_with(blob_hash: bytes) -> object:
    return Contribute(datanet=bytes(32), records=(BlobRef(hash=blob_hash, size_bytes=10),))
