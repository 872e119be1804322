"""Block sync: what a peer answers is believed only with a proof; what is missing is asked for peer after peer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consensus.types import Certificate, Statement, VoteKind, VoteSignature
from node import sync as module
from node.errors import BlockReason, BlockRejected
from node.execution.block import genesis_block
from node.p2p.messages import SyncResponse
from node.storage.blocks import BlockStore, block_changes
from node.storage.kv import MemoryStore
from node.storage.schema import Column, column_key, height_key
from node.sync import (
    Fetcher,
    check_sync_response,
    make_sync_response,
)
from node.types.block import Block
from node.types.parameters import Parameters
from tests.factories import make_chain
from tests.simulation.invariants import Invariants
from tests.simulation.world import World

A, B, C = b"a" * 20, b"b" * 20, b"c" * 20


def chain_of(count: int) -> tuple[Block, list[Block]]:
    """A genesis block and empty blocks above it; nobody executes them here."""
    genesis = genesis_block(make_chain().genesis, bytes(32))
    blocks, parent = [], genesis
    for height in range(1, count + 1):
        header = replace(
            genesis.header, height=height, epoch=1, view=height, parent_id=parent.header.id(), time_ms=height
        )
        parent = replace(genesis, header=replace(header, transactions_root=genesis.transactions_root()))
        blocks.append(parent)
    return genesis, blocks


def finalization(block: Block, **changes: object) -> Certificate:
    statement = Statement(
        kind=VoteKind.FINALIZE, epoch=block.header.epoch, view=block.header.view, block_id=block.header.id()
    )
    return Certificate(
        statement=replace(statement, **changes),
        signatures=(VoteSignature(validator=A, signature=bytes(64)),),
    )


def check(genesis: Block, response: SyncResponse, *, is_valid: bool = True) -> list[int]:
    found = check_sync_response(response, genesis.header, genesis.header.id(), 1, lambda _certificate: is_valid)
    return [block.header.height for _, block in found]


def test_proven_run_of_blocks_is_taken_and_what_is_known_is_skipped() -> None:
    genesis, blocks = chain_of(3)
    response = SyncResponse(blocks=tuple(blocks), certificate=finalization(blocks[-1]))
    assert check(genesis, response) == [1, 2, 3]
    assert check(blocks[0], response) == [2, 3]
    assert check(blocks[2], response) == []


@pytest.mark.parametrize("is_gap_first", [True, False])
def test_gap_is_refused(is_gap_first: bool) -> None:
    genesis, blocks = chain_of(4)
    kept = blocks[1:] if is_gap_first else [blocks[0], *blocks[2:]]
    with pytest.raises(BlockRejected) as caught:
        check(genesis, SyncResponse(blocks=tuple(kept), certificate=finalization(blocks[-1])))
    assert caught.value.reason is BlockReason.WRONG_PARENT


def test_body_that_is_not_the_headers_is_refused() -> None:
    genesis, blocks = chain_of(2)
    forged = replace(blocks[1], transactions=(b"forged",))
    with pytest.raises(BlockRejected) as caught:
        check(genesis, SyncResponse(blocks=(blocks[0], forged), certificate=finalization(blocks[1])))
    assert caught.value.reason is BlockReason.WRONG_ROOT


def test_certificate_for_another_block_kind_or_epoch_is_refused() -> None:
    genesis, blocks = chain_of(2)
    for certificate in (
        finalization(blocks[0]),
        finalization(blocks[1], kind=VoteKind.NOTARIZE),
        finalization(blocks[1], epoch=2),
    ):
        with pytest.raises(BlockRejected) as caught:
            check(genesis, SyncResponse(blocks=tuple(blocks), certificate=certificate))
        assert caught.value.reason is BlockReason.BAD_CERTIFICATE


def test_certificate_without_a_quorums_signatures_is_refused() -> None:
    genesis, blocks = chain_of(2)
    with pytest.raises(BlockRejected) as caught:
        check(genesis, SyncResponse(blocks=tuple(blocks), certificate=finalization(blocks[1])), is_valid=False)
    assert caught.value.reason is BlockReason.BAD_CERTIFICATE


def test_peers_are_asked_one_after_the_other_and_around_again() -> None:
    asked: list[tuple[bytes, tuple[int, ...]]] = []
    fetcher: Fetcher[int] = Fetcher(lambda peer, things: asked.append((peer, tuple(things))), 100, 10)
    fetcher.want([7], B)
    for now_ms in (0, 50, 100, 200, 300, 400):
        fetcher.run(now_ms, [A, B, C])
    peers = [peer for peer, _ in asked]
    assert peers[0] == B
    assert set(peers[:3]) == {A, B, C}
    assert len(peers) == 5  # nobody is asked again before its time is up
    assert fetcher.was_asked(7, A)
    assert not fetcher.was_asked(8, A)
    assert fetcher.got(7)
    assert not fetcher.got(7)
    assert not fetcher.was_asked(7, A)


def test_bad_answer_moves_on_to_the_next_peer_at_once() -> None:
    asked: list[bytes] = []
    fetcher: Fetcher[int] = Fetcher(lambda peer, _things: asked.append(peer), 1_000, 10)
    fetcher.want([7], A)
    fetcher.run(0, [A, B])
    fetcher.retry(7)
    fetcher.run(1, [A, B])
    assert asked == [A, B]


def test_one_request_asks_for_no_more_than_a_message_takes() -> None:
    asked: list[tuple[int, ...]] = []
    fetcher: Fetcher[int] = Fetcher(lambda _peer, things: asked.append(tuple(things)), 1_000, 3)
    fetcher.want(range(7), A)
    for now_ms in (0, 1, 2):
        fetcher.run(now_ms, [A])
    assert asked == [(0, 1, 2), (3, 4, 5), (6,)]


def stored(genesis: Block, blocks: list[Block], finalised: set[int]) -> BlockStore:
    """A store of final blocks of which some were finalised directly."""
    store = MemoryStore()
    for block in (genesis, *blocks):
        is_direct = block.header.height in finalised
        store.write(block_changes(block, block.header.id(), (), finalization(block) if is_direct else None))
    return BlockStore(store)


def test_answer_ends_at_a_directly_finalised_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SYNC_BLOCKS", 4)
    genesis, blocks = chain_of(9)
    response = make_sync_response(stored(genesis, blocks, {2, 3, 9}), 1, 9)
    assert response == SyncResponse(blocks=tuple(blocks[:3]), certificate=finalization(blocks[2]))


@pytest.mark.parametrize("limit", ["MOST_SYNC_BLOCKS", "LARGEST_SYNC_SIZE_BYTES"])
def test_run_that_no_message_holds_is_answered_with_the_headers_of_its_ends(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(module, limit, {"MOST_SYNC_BLOCKS": 4, "LARGEST_SYNC_SIZE_BYTES": 4_500}[limit])
    genesis, blocks = chain_of(9)
    blocks_store = stored(genesis, blocks, {1, 9})
    response = make_sync_response(blocks_store, 2, 9)
    assert response == SyncResponse(blocks=(blocks[1], blocks[8]), certificate=finalization(blocks[8]))
    assert make_sync_response(blocks_store, 10, 9) is None
    found = check_sync_response(response, blocks[0].header, blocks[0].header.id(), 1, lambda _certificate: True)
    assert found == ((blocks[8].header.id(), blocks[8]),)


def test_ends_of_a_run_are_believed_only_with_their_certificate() -> None:
    genesis, blocks = chain_of(9)
    ends = (blocks[0], blocks[8])
    for certificate, is_valid in ((finalization(blocks[8]), False), (finalization(blocks[7]), True)):
        with pytest.raises(BlockRejected) as caught:
            check(genesis, SyncResponse(blocks=ends, certificate=certificate), is_valid=is_valid)
        assert caught.value.reason is BlockReason.BAD_CERTIFICATE
    forged = replace(blocks[8], transactions=(b"forged",))
    response = SyncResponse(blocks=(blocks[0], forged), certificate=finalization(blocks[8]))
    [(_, last)] = check_sync_response(response, genesis.header, genesis.header.id(), 1, lambda _certificate: True)
    assert last.transactions == ()
    response = SyncResponse(blocks=ends, certificate=finalization(blocks[8]))
    assert check(blocks[8], response) == []
    assert check(blocks[7], response) == [9]


def test_node_gets_over_a_past_epoch_whose_run_of_blocks_no_message_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SYNC_BLOCKS", 4)
    chain = make_chain(parameters=Parameters(delta_ms=50, empty_block_interval_ms=200, epoch_length_heights=12))
    invariants = Invariants()
    world = World(chain, 1, invariants)
    for index in range(4):
        world.add_node(index)
    for index in range(3):
        world.start(f"v{index}")
    assert world.run_until(lambda: min(invariants.heights[f"v{index}"] for index in range(3)) > 30, 60_000)
    for index in range(3):
        store = world.nodes[f"v{index}"].disk.store
        store.write({column_key(Column.FINALITY, height_key(height)): None for height in range(3, 12)})
    world.start("v3")
    assert world.run_until(lambda: invariants.heights["v3"] > 30, 10_000)
    invariants.check(world)
