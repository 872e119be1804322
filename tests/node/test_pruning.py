"""Pruning: the disk really shrinks, what ended an epoch stays, the node goes on, peers and people are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from devnet.generate import Generator
from node.beginning import open_ledger
from node.pruning import LEAST_SLACK_HEIGHTS, Pruner, prune
from node.storage.blocks import BlockStore
from node.storage.kv import LevelStore, MemoryStore
from node.types.parameters import Parameters
from tests.factories import make_chain
from tests.node.ledger import Shelf
from tests.node.mesh import Mesh
from tests.node.test_snapshot import generate

PARAMETERS = Parameters(delta_ms=100, epoch_length_heights=50)


def size_bytes(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


@pytest.mark.slow
def test_directory_is_really_smaller_after_pruning(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "state")
    chain, _ = generate(400, store, recipients=60, parameters=PARAMETERS)
    store.compact(b"\x00", b"\xff")  # what was written in the meantime does not count
    before = size_bytes(tmp_path)
    prune(store, 301)
    after = size_bytes(tmp_path)
    blocks = BlockStore(store)
    print(f"{before} bytes before, {after} bytes after")
    assert blocks.lowest_height == 301
    store.close()
    assert after < before * 0.65
    again = LevelStore(tmp_path / "state")
    assert open_ledger(again, chain.genesis).tip.height == 400
    again.close()


def test_ends_of_epochs_and_the_genesis_stay_and_everything_else_goes() -> None:
    _, generator = generate(20)
    ends = [generator.blocks.epoch_end(epoch) for epoch in (1, 2)]
    assert None not in ends
    gone = [generator.blocks.block(height) for height in range(1, 18)]
    prune(generator.store, 18)
    blocks = generator.blocks
    assert [blocks.epoch_end(epoch) for epoch in (1, 2)] == ends
    assert [height for height in range(21) if blocks.block(height) is not None] == [0, 18, 19, 20]
    assert [height for height in range(1, 21) if blocks.receipts(height) is not None] == [18, 19, 20]
    assert [height for height in range(1, 21) if blocks.certificate(height) is not None] == [18, 19, 20]
    assert all(block is not None and blocks.height_of(block.header.id()) is None for block in gone)
    assert blocks.lowest_height == 18
    generator.add_block()
    assert generator.tip.height == 21


def test_stopped_after_a_batch_it_says_how_far_it_came_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from node import pruning

    monkeypatch.setattr(pruning, "BATCH_HEIGHTS", 4)
    _, generator = generate(20)
    calls = iter([False, False, True])
    prune(generator.store, 18, lambda: next(calls))
    assert generator.blocks.lowest_height == 9
    assert [height for height in range(1, 21) if generator.blocks.block(height) is not None] == list(range(9, 21))
    prune(generator.store, 18)
    assert generator.blocks.lowest_height == 18


def test_pruner_runs_aside_one_run_at_a_time_and_only_for_enough_heights() -> None:
    waiting: list[tuple[Callable[[], None], Callable[[], None]]] = []
    pruner = Pruner(MemoryStore(), 256, lambda work, on_done: waiting.append((work, on_done)))
    least = 256 + LEAST_SLACK_HEIGHTS
    for height in range(1, least + 20):
        pruner.on_final(height)
    assert len(waiting) == 1, "it is not begun again while it runs"
    work, on_done = waiting.pop()
    work()
    on_done()
    pruner.on_final(least + 20)
    assert waiting == []
    archive = Pruner(MemoryStore(), 0, lambda work, on_done: waiting.append((work, on_done)))
    archive.on_final(10**6)
    assert waiting == []


def test_blocks_since_the_newest_snapshot_stay_for_whoever_joins_by_it() -> None:
    runs: list[int] = []
    newest = 0
    _, generator = generate(20)
    pruner = Pruner(
        generator.store, 256, lambda work, on_done: (work(), runs.append(1), on_done())[0], lambda: newest + 1
    )
    pruner.on_final(1_000)
    assert (runs, generator.blocks.lowest_height) == ([], 1), "nobody could join any more"
    newest = 600
    pruner.on_final(1_000)
    assert (runs, generator.blocks.lowest_height) == ([1], 601)


def test_node_starts_again_wherever_in_the_epoch_its_blocks_were_pruned(tmp_path: Path) -> None:
    chain = make_chain(users=1, parameters=Parameters(delta_ms=100, epoch_length_heights=8))
    member = Mesh(chain, tmp_path).add(MemoryStore())
    generator = Generator(chain.genesis, chain.consensus_keys, member.store, Shelf())
    for _ in range(43):
        generator.add_block()
    for lowest in (40, 41, 42):  # the epoch stands on 40
        prune(member.store, lowest)
        member.start()
        member.end()
    assert BlockStore(member.store).block(40) is None
