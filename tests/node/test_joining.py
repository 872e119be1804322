"""A node with an empty store joins by a snapshot, whatever some of its peers send, and goes on with blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.types import Certificate
from devnet.generate import Generator
from node.following import QUIET_MS
from node.modules.validators import Governing
from node.p2p.messages import (
    BlockResponse,
    BlocksPruned,
    ChunkRequest,
    ChunkResponse,
    EpochEnds,
    Message,
    Snapshots,
    SnapshotsRequest,
    SyncResponse,
)
from node.primitives.codec import decode, encode
from node.primitives.crypto import sha256
from node.storage.snapshots import SnapshotShelf
from node.types.snapshot import SNAPSHOT_VERSION, Snapshot
from tests.node.joining_world import SNAPSHOT_HEIGHT, World, flipped, only, silent
from tests.node.ledger import Shelf

pytestmark = [pytest.mark.usefixtures("small_chunks"), pytest.mark.slow]


def test_empty_node_joins_by_a_snapshot_when_no_peer_has_the_blocks(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.start()
    sent = world.joiner.sent
    assert world.mesh.run_until(lambda: any(isinstance(message, SnapshotsRequest) for _, message in sent))
    assert world.mesh.now_ms > QUIET_MS, "blocks may come yet"
    assert world.mesh.run_until(world.is_level)
    assert world.joiner.restarts == 1
    assert world.joiner.replica is not None
    assert world.joiner.replica.blocks.lowest_height == SNAPSHOT_HEIGHT + 1
    assert world.joiner.penalties == []
    world.check()
    by_source = [sum(isinstance(message, ChunkResponse) for _, message in source.sent) for source in world.sources]
    assert all(count > 0 for count in by_source), f"both were asked: {by_source}"


def test_empty_node_that_is_far_behind_joins_by_a_snapshot_although_peers_have_the_blocks(tmp_path: Path) -> None:
    world = World(tmp_path, is_pruned=False, lag_heights=20)
    world.start()
    assert world.mesh.run_until(world.is_level)
    assert world.joiner.restarts == 1
    world.check()


def test_node_that_is_not_far_behind_replays_the_blocks(tmp_path: Path) -> None:
    world = World(tmp_path, is_pruned=False, lag_heights=100)
    world.start()
    assert world.mesh.run_until(world.is_level)
    assert world.joiner.restarts == 0
    world.check()


def bad_chunk(message: ChunkResponse) -> Sequence[Message]:
    return (replace(message, data=flipped(message.data)),)


def foreign_chunk(message: ChunkResponse) -> Sequence[Message]:
    return (replace(message, index=message.index ^ 1),)


def gone_chunk(message: ChunkResponse) -> Sequence[Message]:
    return (replace(message, data=b""),)


def forged_certificate(snapshot: Snapshot) -> Certificate:
    signatures = tuple(replace(each, signature=flipped(each.signature)) for each in snapshot.certificate.signatures)
    return replace(snapshot.certificate, signatures=signatures)


def bad_certificate(message: Snapshots) -> Sequence[Message]:
    lies = (replace(each, certificate=forged_certificate(each)) for each in message.snapshots)
    return (Snapshots(snapshots=tuple(lies)),)


def higher_state(message: Snapshots) -> Sequence[Message]:
    """A block nobody finalised, of an epoch far ahead and of one that is known."""
    lies = []
    for each in message.snapshots:
        for epoch in (each.manifest.header.epoch, 10**6):
            header = replace(each.manifest.header, height=10**9, epoch=epoch, state_root=bytes(32))
            lies.append(replace(each, manifest=replace(each.manifest, header=header)))
    return (Snapshots(snapshots=tuple(lies)),)


def bad_chunk_list(message: Snapshots) -> Sequence[Message]:
    """A final block, and chunks that are none of its state."""
    lies = []
    for each in message.snapshots:
        chunks = tuple(replace(chunk, hash=sha256(chunk.hash)) for chunk in each.manifest.chunks)
        lies.append(replace(each, manifest=replace(each.manifest, chunks=chunks)))
    return (Snapshots(snapshots=tuple(lies)),)


def bad_ranges(message: Snapshots) -> Sequence[Message]:
    manifests = [replace(each.manifest, chunks=each.manifest.chunks[:1]) for each in message.snapshots]
    lies = (replace(each, manifest=lie) for each, lie in zip(message.snapshots, manifests, strict=True))
    return (Snapshots(snapshots=tuple(lies)),)


def bad_set(message: EpochEnds) -> Sequence[Message]:
    """Others govern next than the state says."""
    if not message.ends:
        return (message,)
    ends = list(message.ends)
    ends[-1] = replace(ends[-1], governing=encode(replace(decode(Governing, ends[-1].governing), epoch=77)))
    return (replace(message, ends=tuple(ends)),)


def bad_epoch_certificate(message: EpochEnds) -> Sequence[Message]:
    ends = tuple(
        replace(
            each,
            certificate=replace(each.certificate, signatures=each.certificate.signatures[:2]),
        )
        for each in message.ends
    )
    return (replace(message, ends=ends),)


def no_epochs(message: EpochEnds) -> Sequence[Message]:
    return (replace(message, ends=()),)


@pytest.mark.parametrize(
    ("kind", "lie", "penalty"),
    [
        (ChunkResponse, bad_chunk, "is not the manifest's"),
        (ChunkResponse, foreign_chunk, None),
        (ChunkResponse, gone_chunk, None),
        (ChunkResponse, silent, None),
        (Snapshots, bad_certificate, "snapshot: bad_certificate"),
        (Snapshots, higher_state, "snapshot: bad_certificate"),
        (Snapshots, bad_chunk_list, None),
        (Snapshots, bad_ranges, "the chunks end before the state does"),
        (Snapshots, silent, None),
        (EpochEnds, bad_set, "what governs after epoch"),
        (EpochEnds, bad_epoch_certificate, "bad_certificate"),
        (EpochEnds, no_epochs, None),
        (EpochEnds, silent, None),
    ],
)
def test_lying_slow_and_silent_peers_do_not_keep_a_node_from_joining(
    tmp_path: Path, kind: type, lie: Callable[..., Sequence[Message]], penalty: str | None
) -> None:
    is_first = kind is not EpochEnds  # so that the liar is asked first
    twists = (only(kind, lie), None) if is_first else (None, only(kind, lie))
    world = World(tmp_path, *twists)
    world.start()
    assert world.mesh.run_until(world.is_level, 120_000)
    honest = world.sources[is_first]
    assert honest.peer_id not in world.joiner.barred
    if penalty is not None:
        assert any(penalty in each for each in world.joiner.penalties), world.joiner.penalties
    world.check()


def test_two_liars_of_three_change_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, only(ChunkResponse, bad_chunk), only(Snapshots, bad_chunk_list), None)
    world.start()
    assert world.mesh.run_until(world.is_level, 120_000)
    world.check()


def test_node_that_starts_again_in_the_middle_goes_on_with_the_chunks_on_its_disk(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.start()
    joiner = world.joiner
    total = len(world.sources[0].shelf.all()[0][1].manifest.chunks)

    def held() -> int:
        return sum(joiner.shelf.incoming.has_chunk(index) for index in range(total))

    assert world.mesh.run_until(lambda: held() >= 2)
    before = held()
    assert before < total, "stopped in the middle"
    joiner.end()
    joiner.sent.clear()
    joiner.start()
    assert world.mesh.run_until(world.is_level)
    asked = {message.index for _, message in joiner.sent if isinstance(message, ChunkRequest)}
    assert len(asked) <= total - before
    world.check()


def test_chunk_that_rots_on_the_disk_is_fetched_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.start()
    joiner = world.joiner
    assert world.mesh.run_until(lambda: joiner.shelf.incoming.has_chunk(1))
    joiner.end()
    joiner.shelf.incoming.save_chunk(1, b"rot")
    joiner.start()
    assert world.mesh.run_until(world.is_level, 120_000)
    assert joiner.restarts == 2
    world.check()


def test_node_with_an_old_state_is_told_pruned_and_takes_a_snapshot(tmp_path: Path) -> None:
    world = World(tmp_path)
    generator = Generator(
        world.chain.genesis, (*world.chain.consensus_keys, world.new_key), world.joiner.store, Shelf()
    )
    for height in range(5):
        generator.add_block(world.transactions(height))
    world.start()
    assert world.joiner.height == 5
    assert world.mesh.run_until(world.is_level)
    answers = [message for source in world.sources for _, message in source.sent if isinstance(message, BlocksPruned)]
    assert answers[0] == BlocksPruned(from_height=6, lowest_height=SNAPSHOT_HEIGHT + 1)
    world.check()


def test_snapshot_of_another_format_is_left_alone(tmp_path: Path) -> None:
    def newer(message: Snapshots) -> Sequence[Message]:
        manifests = [replace(each.manifest, version=SNAPSHOT_VERSION + 1) for each in message.snapshots]
        lies = (replace(each, manifest=lie) for each, lie in zip(message.snapshots, manifests, strict=True))
        return (Snapshots(snapshots=tuple(lies)),)

    world = World(tmp_path, only(Snapshots, newer), None)
    world.start()
    assert world.mesh.run_until(world.is_level)
    assert world.joiner.penalties == []


def test_node_without_a_good_snapshot_among_its_peers_replays_the_blocks_after_a_while(tmp_path: Path) -> None:
    twists = only(Snapshots, silent), only(Snapshots, bad_certificate), only(Snapshots, silent)
    world = World(tmp_path, *twists, is_pruned=False, lag_heights=5)
    world.start()
    assert world.mesh.run_until(world.is_level, 120_000)
    assert world.joiner.restarts == 0
    world.check()


def test_unasked_answers_change_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, is_pruned=False)
    world.start()
    joiner, peer = world.joiner, world.sources[0].peer_id
    replica = joiner.replica
    assert replica is not None
    snapshot = world.sources[0].shelf.all()[0][1]
    replica.on_message(peer, ChunkResponse(snapshot_id=snapshot.manifest.id(), index=0, data=b"x"))
    replica.on_message(peer, Snapshots(snapshots=(snapshot,)))
    replica.on_message(peer, EpochEnds(from_epoch=1, ends=()))
    replica.on_message(peer, BlocksPruned(from_height=1, lowest_height=2))
    assert SnapshotShelf(joiner.directory / "snapshots").incoming.path.exists() is False
    assert world.mesh.run_until(world.is_level)
    assert joiner.restarts == 0


def liar_bodies(message: SyncResponse) -> Sequence[Message]:
    blocks = tuple(replace(each, transactions=(b"forged", *each.transactions[1:])) for each in message.blocks)
    return (replace(message, blocks=blocks),)


def liar_headers(message: SyncResponse) -> Sequence[Message]:
    blocks = tuple(replace(each, header=replace(each.header, state_root=bytes(32))) for each in message.blocks)
    return (replace(message, blocks=blocks),)


def liar_gap(message: SyncResponse) -> Sequence[Message]:
    return (replace(message, blocks=(message.blocks[0], *message.blocks[2:])),)


def liar_order(message: SyncResponse) -> Sequence[Message]:
    return (replace(message, blocks=(message.blocks[0], *message.blocks[:0:-1])),)


def liar_certificate(message: SyncResponse) -> Sequence[Message]:
    return (replace(message, certificate=replace(message.certificate, signatures=message.certificate.signatures[:2])),)


def liar_far_ends(message: SyncResponse) -> Sequence[Message]:
    last = replace(message.blocks[-1].header, height=10**6)
    ends = tuple(replace(message.blocks[0], header=each, transactions=()) for each in (message.blocks[0].header, last))
    return (replace(message, blocks=ends),)


def liar_pruned(message: SyncResponse) -> Sequence[Message]:
    return (BlocksPruned(from_height=message.blocks[0].header.height, lowest_height=10**6),)


def liar_short(message: SyncResponse) -> Sequence[Message]:
    return (replace(message, blocks=message.blocks[:1]),)


@pytest.mark.parametrize(
    ("lie", "penalty"),
    [
        (liar_bodies, "sync: wrong_root"),
        (liar_headers, "sync: wrong_"),
        (liar_gap, "sync: wrong_parent"),
        (liar_order, "sync: wrong_parent"),
        (liar_certificate, "sync: bad_certificate"),
        (liar_far_ends, "sync: too_large"),
        (liar_short, "sync: bad_certificate"),
        (liar_pruned, None),
        (silent, None),
    ],
)
def test_lying_and_silent_peers_do_not_keep_block_sync_from_the_tip(
    tmp_path: Path, lie: Callable[..., Sequence[Message]], penalty: str | None
) -> None:
    world = World(tmp_path, only(SyncResponse, lie), None, is_pruned=False)
    world.start()
    assert world.mesh.run_until(world.is_level)
    assert world.sources[1].peer_id not in world.joiner.barred
    if penalty is not None:
        assert any(penalty in each for each in world.joiner.penalties) or not any(
            isinstance(message, SyncResponse) for _, message in world.sources[0].sent
        ), world.joiner.penalties
    assert world.joiner.restarts == 0
    world.check()


def test_silent_peer_that_claims_the_greatest_height_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node import serving
    from node.p2p.messages import Status

    monkeypatch.setattr(serving, "make_sync_response", limited(serving.make_sync_response))

    def boasts(message: Message) -> Sequence[Message]:
        if isinstance(message, Status):
            return (replace(message, height=10**9),)
        return () if isinstance(message, SyncResponse | BlockResponse) else (message,)

    world = World(tmp_path, boasts, None, is_pruned=False)
    world.start()
    began_ms = world.mesh.now_ms
    assert world.mesh.run_until(world.is_level)
    assert world.mesh.now_ms - began_ms < 12_000, "one time-out, not one for each range"


def limited(original: Callable[..., SyncResponse | None]) -> Callable[..., SyncResponse | None]:
    """Ranges of two blocks."""

    def make(blocks: object, from_height: int, tip_height: int) -> SyncResponse | None:
        return original(blocks, from_height, min(tip_height, from_height + 1))

    return make
