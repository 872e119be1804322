"""One liar among those who offer snapshots holds nobody up; what was verified stays, what ended stays ended."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from node.epochs import EpochChain
from node.errors import MessageRejected
from node.joining import STALL_MS, Joining
from node.offers import Offers
from node.p2p.messages import (
    BlocksPruned,
    ChunkRequest,
    ChunkResponse,
    Message,
    Snapshots,
    SyncResponse,
)
from node.primitives.codec import encode
from node.primitives.crypto import sha256
from node.snapshot import epoch_ends, save_epoch_ends
from node.state.range_proof import LAST_KEY_HASH
from node.state.store import TIP_KEY, Tip
from node.storage.blocks import BlockStore
from node.storage.kv import MemoryStore
from node.storage.snapshots import SnapshotShelf
from node.types.snapshot import SNAPSHOT_VERSION, ChunkRef, Manifest, Snapshot
from tests.node.joining_world import SNAPSHOT_HEIGHT, World, only

pytestmark = [pytest.mark.usefixtures("small_chunks"), pytest.mark.slow]


def invented_offer(world: World, height: int, secret: bytes) -> Snapshots:
    """A true header with its true certificate, and a chunk list that is none of its state."""
    blocks = BlockStore(world.sources[0].store)
    header, certificate = blocks.header(height), blocks.certificate(height)
    assert header is not None
    assert certificate is not None
    chunks = (ChunkRef(hash=sha256(secret), last_key_hash=LAST_KEY_HASH),)
    manifest = Manifest(version=SNAPSHOT_VERSION, header=header, entry_count=1, chunks=chunks)
    return Snapshots(snapshots=(Snapshot(manifest=manifest, certificate=certificate),))


@pytest.mark.parametrize("is_pruned", [True, False])
@pytest.mark.parametrize("is_always_another", [True, False])
@pytest.mark.parametrize("is_silent", [True, False])
def test_invented_chunk_list_of_a_higher_block_is_given_up_and_its_source_rests(
    tmp_path: Path, is_pruned: bool, is_always_another: bool, is_silent: bool
) -> None:
    offers = 0

    def offer() -> Message:
        nonlocal offers
        offers += 1
        return invented_offer(world, 40, b"%d" % offers if is_always_another else b"same")

    def lie(message: Message) -> Sequence[Message]:
        if isinstance(message, ChunkResponse):
            return () if is_silent else (replace(message, data=b""), offer())
        return (offer(),) if isinstance(message, Snapshots) else (message,)

    world = World(tmp_path, lie, None, is_pruned=is_pruned, lag_heights=0 if is_pruned else 5)
    world.start()
    assert world.mesh.run_until(world.is_level, 60_000)
    assert world.joiner.restarts == is_pruned
    assert world.sources[1].peer_id not in world.joiner.barred
    world.check()


def test_verified_chunks_stay_when_a_snapshot_that_brings_nothing_is_tried(tmp_path: Path) -> None:
    def lie(message: Message) -> Sequence[Message]:
        if isinstance(message, ChunkResponse):
            return ()
        return (invented_offer(world, 40, b"invented"),) if isinstance(message, Snapshots) else (message,)

    world = World(tmp_path, lie, None)
    world.start()
    joiner, honest = world.joiner, world.sources[1]
    snapshot = honest.shelf.all()[0][1]
    indices = range(len(snapshot.manifest.chunks))

    def held() -> int:
        return sum(joiner.shelf.incoming.has_chunk(index) for index in indices)

    assert world.mesh.run_until(lambda: held() >= 2)
    before = held()
    assert before < len(indices), "stopped in the middle"
    honest.end()
    joiner.end()
    joiner.sent.clear()
    joiner.start()
    liar = world.sources[0].peer_id

    def is_liar_asked() -> bool:
        return any(peer == liar and isinstance(message, ChunkRequest) for peer, message in joiner.sent)

    assert world.mesh.run_until(is_liar_asked, 120_000)
    assert held() == before
    joiner.sent.clear()
    honest.start()
    assert world.mesh.run_until(world.is_level, 120_000)
    asked = {
        message.index for peer, message in joiner.sent if isinstance(message, ChunkRequest) and peer == honest.peer_id
    }
    assert len(asked) == len(indices) - before
    world.check()


def test_peer_that_never_answers_for_blocks_does_not_keep_a_node_from_joining(tmp_path: Path) -> None:
    def lie(message: Message) -> Sequence[Message]:
        return () if isinstance(message, BlocksPruned | SyncResponse | Snapshots) else (message,)

    world = World(tmp_path, lie, None)
    world.start()
    assert world.mesh.run_until(world.is_level, 60_000)
    assert world.joiner.restarts == 1
    world.check()


def test_snapshot_in_an_epochs_middle_is_not_taken_and_is_nobodys_lie(tmp_path: Path) -> None:
    def lie(message: Snapshots) -> Sequence[Message]:
        middle = invented_offer(world, 36, b"the middle of epoch 5")
        return (Snapshots(snapshots=(*middle.snapshots, *message.snapshots)),)

    world = World(tmp_path, only(Snapshots, lie), only(Snapshots, lie))
    world.start()
    began_ms = world.mesh.now_ms
    assert world.mesh.run_until(world.is_level)
    assert world.mesh.now_ms - began_ms < STALL_MS, "it was not tried first"
    assert world.joiner.penalties == []
    assert world.joiner.replica is not None
    assert world.joiner.replica.blocks.lowest_height == SNAPSHOT_HEIGHT + 1
    world.check()


@dataclass
class Bench:
    """The world of a node that only joins; what is done aside waits."""

    aside: list[tuple[Callable[[], None], Callable[[], None]]] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)
    now_ms: int = 0

    def monotonic_ms(self) -> int:
        return self.now_ms

    def send(self, peer: bytes, message: Message) -> None:
        self.sent.append(message)

    def peers(self) -> Sequence[bytes]:
        return [b"a" * 32]

    def penalize(self, peer: bytes, error: MessageRejected) -> None:
        raise AssertionError(str(error))

    def run_aside(self, work: Callable[[], None], on_done: Callable[[], None]) -> None:
        self.aside.append((work, on_done))

    def restart(self, why: str) -> None:
        self.restarts.append(why)

    def finish(self) -> None:
        """What is done aside is done."""
        while self.aside:
            work, on_done = self.aside.pop(0)
            work()
            on_done()


def make_joining(world: World, bench: Bench) -> tuple[Joining, MemoryStore]:
    """A node on whose disk a whole snapshot lies."""
    source, store = world.sources[0], MemoryStore()
    shelf = SnapshotShelf(world.mesh.directory / "bench")
    shelf.path.mkdir()
    shutil.copytree(source.shelf.all()[0][0].path, shelf.incoming.path)
    save_epoch_ends(store, list(epoch_ends(source.store.freeze(), 1, 5)))
    return Joining(genesis=world.chain.genesis, store=store, shelf=shelf, anchor=None, host=bench), store


def test_search_that_ends_while_the_epochs_are_checked_stays_ended(tmp_path: Path) -> None:
    bench = Bench()
    joining, _ = make_joining(World(tmp_path), bench)
    joining.begin(5)
    joining.end()
    bench.finish()
    joining.tick()
    assert (joining.is_active, joining.has_target, bench.sent, bench.restarts) == (False, False, [], [])
    joining.begin(5)
    joining.end()
    joining.begin(5)
    work, on_done = bench.aside.pop(0)  # the one that ended says nothing to the one that began since
    work()
    on_done()
    assert not joining.has_target
    bench.finish()
    assert joining.has_target
    joining.tick()
    assert bench.restarts == [f"the snapshot of height {SNAPSHOT_HEIGHT} is here"]


def test_snapshot_that_the_final_state_reached_meanwhile_restarts_nothing(tmp_path: Path) -> None:
    bench = Bench()
    joining, store = make_joining(World(tmp_path), bench)
    joining.begin(5)
    bench.finish()
    assert joining.has_target
    store.write({TIP_KEY: encode(Tip(height=SNAPSHOT_HEIGHT, state_root=bytes(32)))})
    joining.tick()
    assert (joining.has_target, bench.restarts) == (False, [])


def test_answer_counts_once_and_only_when_asked_for_and_two_peers_are_better_than_height(tmp_path: Path) -> None:
    world = World(tmp_path)
    frozen = world.sources[0].store.freeze()
    epochs = EpochChain(world.chain.genesis)
    epochs.extend(epoch_ends(frozen, 1, 6))
    (honest,) = (snapshot for _, snapshot in world.sources[0].shelf.all())
    invented = invented_offer(world, 40, b"invented").snapshots
    offers = Offers()
    first, second, liar = b"1" * 32, b"2" * 32, b"3" * 32

    def take(peer: bytes, snapshots: Sequence[Snapshot], now_ms: int = 0) -> bool:
        return offers.take(peer, snapshots, 5, now_ms, None)

    assert not take(liar, invented)
    for peer in (first, second, liar):
        offers.on_asked(peer)
    assert offers.is_awaited([liar])
    assert take(liar, invented)
    assert not offers.is_awaited([liar])
    assert not take(liar, invented)
    assert take(first, (honest,))
    offers.verify(epochs, refuse)
    best = offers.best()
    assert best is not None
    assert best.manifest == invented[0].manifest, "one peer each: the higher one"
    assert take(second, (honest,))
    assert offers.best() == honest
    assert offers.sources(honest.manifest.id()) == [first, second]
    offers.bar_peer(liar, 100)
    offers.on_asked(liar)
    assert take(liar, invented, 99)
    assert offers.sources(invented[0].manifest.id()) == []
    offers.on_asked(liar)
    assert take(liar, invented, 100)
    assert offers.sources(invented[0].manifest.id()) == [liar]
    offers.bar_snapshot(invented[0].manifest.id(), 200)
    offers.on_asked(liar)
    assert take(liar, invented, 199)
    assert offers.sources(invented[0].manifest.id()) == []
    offers.forget_up_to(SNAPSHOT_HEIGHT)
    assert offers.best() is None


def refuse(_peer: bytes, error: MessageRejected) -> None:
    raise AssertionError(str(error))
