"""Snapshots: made from a state, each chunk proven by itself, restored to the same state or refused with what to do."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import CapturingLogger

from devnet.generate import Generator
from node import snapshot as module
from node.beginning import open_ledger
from node.cli.fork_genesis import export_fork
from node.epochs import Anchor
from node.errors import MessageRejected, StorageError
from node.modules.accounts import Transfer
from node.modules.contents import CONTENTS, Content
from node.modules.datanets import CONTRIBUTIONS, Contribution, ContributionStatus
from node.primitives.codec import decode, encode
from node.primitives.crypto import sha256
from node.snapshot import (
    RESTORING_KEY,
    SnapshotMaker,
    check_manifest,
    epoch_ends,
    make_snapshot,
    read_chunk,
    restore_incoming,
    restore_snapshot,
    save_epoch_ends,
    save_verified_epochs,
    settle_contents,
)
from node.state.range_proof import LAST_KEY_HASH
from node.state.store import StateStore
from node.state.view import View
from node.storage.blobs import BlobStore, Uses
from node.storage.blocks import BlockStore
from node.storage.kv import KeyValueStore, LevelStore, MemoryStore
from node.storage.schema import Column
from node.storage.snapshots import SnapshotDirectory, SnapshotShelf
from node.types.parameters import Parameters
from node.types.snapshot import Chunk, ChunkEntry, Manifest
from tests.factories import Chain, make_chain, make_key, make_transaction
from tests.node.ledger import Shelf

PARAMETERS = Parameters(delta_ms=100, epoch_length_heights=8)
TIME_MS = 1_900_000_000_000


def generate(
    heights: int, store: KeyValueStore | None = None, recipients: int = 20, parameters: Parameters = PARAMETERS
) -> tuple[Chain, Generator]:
    """A chain whose blocks pay people who were not there before."""
    chain = make_chain(users=1, parameters=parameters)
    generator = Generator(chain.genesis, chain.consensus_keys, store or MemoryStore(), Shelf())
    for height in range(heights):
        payments = [
            Transfer(recipient=make_key(f"{height} {number}").address, amount_units=1) for number in range(recipients)
        ]
        generator.add_block(
            [
                encode(make_transaction(chain, chain.users[0], payment, nonce=height * recipients + number))
                for number, payment in enumerate(payments)
            ]
        )
    return chain, generator


def payment_of(chain: Chain) -> bytes:
    return encode(make_transaction(chain, chain.operators[0], Transfer(recipient=bytes(20), amount_units=1), nonce=0))


def take(generator: Generator, path: Path) -> tuple[SnapshotShelf, SnapshotDirectory]:
    shelf = SnapshotShelf(path)
    certificate = generator.blocks.certificate(generator.tip.height)
    assert certificate is not None
    return shelf, make_snapshot(shelf, generator.store.freeze(), generator.tip, certificate, first_epoch=1)


def take_anywhere(
    generator: Generator, path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[SnapshotShelf, SnapshotDirectory]:
    """A snapshot as one would make it that does not look where the epoch ends."""
    with monkeypatch.context() as patched:
        patched.setattr(module, "require_epoch_end", lambda _frozen, _header: None)
        patched.setattr(module, "epoch_ends", lambda frozen, first, stop: epoch_ends(frozen, first, stop - 1))
        return take(generator, path)


def restore(directory: SnapshotDirectory, chain: Chain, store: KeyValueStore, anchor: Anchor | None = None) -> None:
    epochs = save_verified_epochs(directory, store, chain.genesis, anchor)
    restore_snapshot(directory, store, BlobStore(MemoryStore()), chain.genesis, epochs)


def column(store: KeyValueStore, which: Column) -> dict[bytes, bytes]:
    return dict(store.iterate(bytes((which,)), bytes((which + 1,))))


@pytest.mark.parametrize("heights", [16, 24])
def test_restored_state_is_the_same_to_the_last_node_and_goes_on(
    tmp_path: Path, heights: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_SIZE_BYTES", 2_000)
    chain, generator = generate(heights, LevelStore(tmp_path / "a"))
    _, made = take(generator, tmp_path / "snapshots")
    assert len(made.load().manifest.chunks) > 6
    store = LevelStore(tmp_path / "b")
    restore(made, chain, store)
    for which in (Column.STATE, Column.TREE, Column.EPOCH_END):
        assert column(store, which) == column(generator.store, which)
    state, blocks = open_ledger(store, chain.genesis), BlockStore(store)
    assert state.tip == generator.state.tip
    assert blocks.header(heights) == generator.tip
    assert (blocks.block(heights), blocks.lowest_height) == (None, heights + 1)
    assert blocks.certificate(heights) == generator.blocks.certificate(heights)
    again = Generator(chain.genesis, chain.consensus_keys, store, Shelf())
    for each in (generator, again):
        each.add_block(
            [
                encode(
                    make_transaction(chain, chain.operators[0], Transfer(recipient=bytes(20), amount_units=1), nonce=0)
                )
            ]
        )
    assert again.state.tip == generator.state.tip
    for each in (store, generator.store):
        each.close()


def test_same_state_gives_the_same_snapshot_whoever_signed(tmp_path: Path) -> None:
    chain, generator = generate(16)
    _, made = take(generator, tmp_path / "a")
    other = Generator(chain.genesis, chain.consensus_keys[::-1], MemoryStore(), Shelf())
    for height in range(1, 17):
        block = generator.blocks.block(height)
        assert block is not None
        other.add_block(block.transactions)
    _, again = take(other, tmp_path / "b")
    assert again.load().manifest == made.load().manifest
    assert again.path.name == made.path.name


def test_every_changed_byte_of_a_chunk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_SIZE_BYTES", 300)
    _, generator = generate(8, recipients=4)
    _, made = take(generator, tmp_path)
    manifest = made.load().manifest
    ranges = check_manifest(manifest)
    data = made.load_chunk(3)
    assert data is not None
    assert read_chunk(manifest, ranges, 3, data).entries
    for place in range(len(data)):
        forged = bytearray(data)
        forged[place] ^= 1 << place % 8
        lying = replace_hash(manifest, 3, sha256(bytes(forged)))  # a liar's manifest agrees with its chunks
        for each in (manifest, lying):
            with pytest.raises(MessageRejected):
                read_chunk(each, ranges, 3, bytes(forged))


def replace_hash(manifest: Manifest, index: int, new_hash: bytes) -> Manifest:
    chunks = list(manifest.chunks)
    chunks[index] = replace(chunks[index], hash=new_hash)
    return replace(manifest, chunks=tuple(chunks))


@pytest.mark.parametrize("seed", range(3))
def test_entry_left_out_added_or_moved_between_chunks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    print(f"seed {seed}")
    chooser = random.Random(seed)
    monkeypatch.setattr(module, "CHUNK_SIZE_BYTES", 500)
    _, generator = generate(8, recipients=6)
    _, made = take(generator, tmp_path)
    manifest = made.load().manifest
    ranges = check_manifest(manifest)
    chunks = [decode(Chunk, made.load_chunk(index) or b"") for index in range(len(manifest.chunks))]

    def is_refused(index: int, chunk: Chunk) -> bool:
        data = encode(chunk)
        try:
            read_chunk(replace_hash(manifest, index, sha256(data)), ranges, index, data)
        except MessageRejected:
            return True
        return False

    for index, chunk in enumerate(chunks):
        place = chooser.randrange(len(chunk.entries))
        entries = list(chunk.entries)
        stranger = ChunkEntry(key=chooser.randbytes(21), value=b"x")
        neighbour = chunks[(index + 1) % len(chunks)]
        lies = [
            entries[:place] + entries[place + 1 :],
            sorted([*entries, stranger], key=lambda entry: sha256(entry.key)),
            [*entries, neighbour.entries[0]],
            [replace(each, value=each.value + b"\0") if each is entries[place] else each for each in entries],
            [*entries[1:], entries[0]],
        ]
        assert not is_refused(index, chunk)
        for lie in lies:
            assert is_refused(index, replace(chunk, entries=tuple(lie)))
        assert is_refused(index, neighbour)


def test_ranges_that_overlap_leave_a_gap_or_end_early_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_SIZE_BYTES", 500)
    _, generator = generate(8, recipients=6)
    _, made = take(generator, tmp_path)
    manifest = made.load().manifest
    ranges = check_manifest(manifest)
    assert ranges[0].first == bytes(32)
    assert all(
        int.from_bytes(left.last, "big") + 1 == int.from_bytes(right.first, "big") for left, right in pairwise(ranges)
    )
    assert ranges[-1].last == LAST_KEY_HASH
    first, second, *rest = manifest.chunks
    lies = {
        "do not follow each other": [
            (second, first, *rest),
            (first, first, *rest),
            (*manifest.chunks, manifest.chunks[-1]),
        ],
        "end before the state does": [(first, second)],
    }
    for words, forgeries in lies.items():
        for chunks in forgeries:
            with pytest.raises(MessageRejected, match=words):
                check_manifest(replace(manifest, chunks=chunks))
    shifted = replace(manifest, chunks=(second, *rest))  # a gap: the first chunk's entries are nowhere
    with pytest.raises(MessageRejected):
        read_chunk(shifted, check_manifest(shifted), 0, made.load_chunk(1) or b"")


def test_damaged_chunk_is_named_thrown_away_and_leaves_a_store_that_begins_anew(tmp_path: Path) -> None:
    chain, generator = generate(16)
    _, made = take(generator, tmp_path / "snapshots")
    made.save_chunk(0, (made.load_chunk(0) or b"")[:-1] + b"\xff")
    store = MemoryStore()
    with pytest.raises(StorageError, match="chunk-000000 is damaged or forged"):
        restore(made, chain, store)
    assert not made.has_chunk(0)
    assert store.get(RESTORING_KEY) is not None
    state = open_ledger(store, chain.genesis)
    assert state.tip.height == 0
    assert column(store, Column.BLOCK).keys() == {bytes((Column.BLOCK,)) + bytes(8)}


def test_snapshot_of_another_chain_or_without_its_proof_is_refused(tmp_path: Path) -> None:
    chain, generator = generate(16)
    _, made = take(generator, tmp_path / "snapshots")
    snapshot = made.load()
    other = make_chain(powers=(1, 1, 1, 1, 1))
    with pytest.raises(StorageError, match="does not follow from the genesis or the trusted block: wrong_chain"):
        restore(made, other, MemoryStore())
    earlier = generator.blocks.certificate(15)
    assert earlier is not None
    made.save_manifest(replace(snapshot, certificate=earlier))
    with pytest.raises(StorageError, match="no snapshot of an epoch's last block of this chain: bad_certificate"):
        restore(made, chain, MemoryStore())
    few = replace(snapshot.certificate, signatures=snapshot.certificate.signatures[:2])
    made.save_manifest(replace(snapshot, certificate=few))
    with pytest.raises(StorageError, match="bad_certificate"):
        restore(made, chain, MemoryStore())


def test_trusted_block_must_be_on_the_snapshots_chain(tmp_path: Path) -> None:
    chain, generator = generate(16)
    _, made = take(generator, tmp_path / "snapshots")
    block = generator.blocks.block(8)
    assert block is not None
    restore(made, chain, MemoryStore(), Anchor(8, block.header.id()))
    with pytest.raises(StorageError, match="another block than the trusted one at 8"):
        restore(made, chain, MemoryStore(), Anchor(8, bytes(32)))
    with pytest.raises(StorageError, match="is not the last one of an epoch"):
        restore(made, chain, MemoryStore(), Anchor(7, bytes(32)))
    with pytest.raises(StorageError, match="height 16 is below the trusted block"):
        restore(made, chain, MemoryStore(), Anchor(24, bytes(32)))


@pytest.mark.parametrize("heights", [1, 19])
def test_snapshot_in_an_epochs_middle_is_not_made(tmp_path: Path, heights: int) -> None:
    _, generator = generate(heights)
    with pytest.raises(StorageError) as refusal:
        take(generator, tmp_path)
    epoch = (heights + 7) // 8
    assert str(refusal.value) == (
        f"height {heights} does not end an epoch, and a snapshot is one of an epoch's last block: "
        f"wait for the end of epoch {epoch} (height {8 * epoch}), or roll back to the end of the one before"
    )
    assert SnapshotShelf(tmp_path).all() == []


def test_snapshot_in_an_epochs_middle_is_not_restored_whoever_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, generator = generate(19)
    shelf, made = take_anywhere(generator, tmp_path / "snapshots", monkeypatch)
    store = MemoryStore()
    words = "wrong_set: height 19 is not proven to end epoch 3"
    with pytest.raises(StorageError, match=words):
        restore(made, chain, store)
    assert store.get(RESTORING_KEY) is None, "refused before anything was touched"
    made.path.rename(shelf.path / "incoming")
    assert restore_incoming(shelf, store, BlobStore(MemoryStore()), chain.genesis, None) is None
    while generator.tip.height < 24:
        generator.add_block([])
    save_epoch_ends(store, list(epoch_ends(generator.store, 1, 4)))
    assert restore_incoming(shelf, store, BlobStore(MemoryStore()), chain.genesis, None) is None, "24 ends epoch 3"
    assert store.get(RESTORING_KEY) is None


@pytest.mark.parametrize("batches", [1, 3, 6, 9])
def test_restoring_that_is_cut_short_is_done_again_from_what_was_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    monkeypatch.setattr(module, "CHUNK_SIZE_BYTES", 4_000)
    chain, generator = generate(16)
    shelf, made = take(generator, tmp_path / "snapshots")
    made.path.rename(shelf.path / "incoming")
    store = MemoryStore()
    open_ledger(store, chain.genesis)
    save_epoch_ends(store, list(epoch_ends(generator.store, 1, 3)))

    class Cut(Exception):
        pass

    writes = 0
    original = MemoryStore.write

    def write(self: MemoryStore, changes: dict[bytes, bytes | None]) -> None:
        nonlocal writes
        if self is store:
            writes += 1
            if writes > batches:
                raise Cut
        original(self, changes)

    monkeypatch.setattr(MemoryStore, "write", write)
    with pytest.raises(Cut):
        restore_incoming(shelf, store, BlobStore(MemoryStore()), chain.genesis, None)
    monkeypatch.setattr(MemoryStore, "write", original)
    restored = restore_incoming(shelf, store, BlobStore(MemoryStore()), chain.genesis, None)
    assert restored == generator.tip
    assert open_ledger(store, chain.genesis).tip == generator.state.tip
    assert not (shelf.path / "incoming").exists()


def test_contents_of_the_state_are_wanted_reviewed_ones_restricted_and_unknown_ones_erased() -> None:
    chain = make_chain()
    store, blobs = MemoryStore(), BlobStore(MemoryStore())
    state = open_ledger(store, chain.genesis)
    public, reviewed, erased, held, gone, waiting = (sha256(word) for word in (b"p", b"r", b"e", b"h", b"g", b"w"))
    blobs.put([b"h", b"g", b"e"], 0)
    blobs.apply_uses(Uses(height=1, referred=((held, False), (gone, False), (erased, False))))
    blobs.put([b"w"], 0)
    view = View(state)
    for content in (public, reviewed, held):
        CONTENTS.put(view, content, Content(uses=1, erased_height=0))
    CONTENTS.put(view, erased, Content(uses=0, erased_height=3))
    contribution = Contribution(
        datanet=bytes(32),
        contributor=bytes(20),
        records=(reviewed,),
        record_bond_units=0,
        bonded_count=1,
        status=ContributionStatus.PENDING,
        accepted_by=(),
        rejected_by=(),
    )
    CONTRIBUTIONS.put(view, bytes(32), contribution)
    state.commit(1, view.seal(), {})
    settle_contents(store, blobs, 7)
    assert set(blobs.wanted()) == {public, reviewed}
    blobs.put([b"p", b"r"], 0)
    assert [blobs.is_public(each) for each in (public, reviewed, held)] == [True, False, True]
    assert (blobs.has(gone), blobs.has(erased), blobs.has(waiting)) == (False, False, True)
    assert set(blobs.erased()) == {gone, erased}
    assert blobs.height == 7


def test_state_as_it_was_is_what_a_snapshot_holds_while_blocks_go_on(tmp_path: Path) -> None:
    chain, generator = generate(16, LevelStore(tmp_path / "store"))
    frozen, header = generator.store.freeze(), generator.tip
    certificate = generator.blocks.certificate(16)
    assert certificate is not None
    expected = generator.state.tip
    generator.add_block(
        [encode(make_transaction(chain, chain.operators[0], Transfer(recipient=bytes(20), amount_units=1), nonce=0))]
    )
    made = make_snapshot(SnapshotShelf(tmp_path / "snapshots"), frozen, header, certificate, first_epoch=1)
    frozen.close()
    store = MemoryStore()
    restore(made, chain, store)
    assert StateStore(store).tip == expected
    generator.store.close()


def fork(generator: Generator, chain: Chain) -> tuple[Chain, Generator]:
    """A chain that continues another with the same validators, each with a new key."""
    new_keys = [make_key(f"new {number}") for number in range(len(chain.consensus_keys))]
    validators = [
        replace(validator, consensus_key=key.public_key)
        for validator, key in zip(chain.genesis.validators, new_keys, strict=True)
    ]
    genesis, values = export_fork(generator.store, chain.genesis, "continued", validators, TIME_MS)
    store = MemoryStore()
    open_ledger(store, genesis, lambda: values)
    continued = replace(chain, genesis=genesis, genesis_hash=genesis.hash(), consensus_keys=tuple(new_keys))
    return continued, Generator(genesis, new_keys, store, Shelf())


def test_a_node_that_just_joined_by_a_snapshot_can_be_forked_from_like_any_other(tmp_path: Path) -> None:
    chain, generator = generate(16)
    _, made = take(generator, tmp_path / "snapshots")
    store = MemoryStore()
    restore(made, chain, store)
    assert BlockStore(store).block(16) is None
    forks = [
        export_fork(each, chain.genesis, "continued", chain.genesis.validators, TIME_MS)
        for each in (store, generator.store)
    ]
    assert forks[0] == forks[1]


def make_at_epoch_ends(maker: SnapshotMaker, generator: Generator, heights: int) -> None:
    """Goes on, and says at the end of each epoch that it is one."""
    for _ in range(heights):
        generator.add_block()
        end = generator.blocks.epoch_end(generator.tip.epoch)
        if end is not None and end.header.height == generator.tip.height:
            maker.on_epoch_end(end.header, end.certificate)


def run_at_once(work: Callable[[], None], on_done: Callable[[], None]) -> None:
    work()
    on_done()


def test_a_chain_that_continues_another_makes_snapshots_from_its_own_first_epoch_on(tmp_path: Path) -> None:
    chain, generator = fork(generate(21)[1], make_chain(users=1, parameters=PARAMETERS))
    assert (chain.genesis.height, chain.genesis.epoch) == (21, 4)
    shelf = SnapshotShelf(tmp_path / "snapshots")
    maker = SnapshotMaker(generator.store, shelf, 8, run_at_once, chain.genesis.epoch)
    make_at_epoch_ends(maker, generator, 16)
    assert [snapshot.manifest.header for _, snapshot in shelf.all()] == [
        generator.tip,
        generator.blocks.header(generator.tip.height - 8),
    ]
    newest = shelf.all()[0][0]
    assert [end.header.epoch for end in newest.load_epochs()] == [4, 5]
    assert maker.lowest_needed_height() == generator.tip.height + 1
    store = MemoryStore()
    restore(newest, chain, store)
    assert StateStore(store).tip == generator.state.tip


def left_on(shelf: SnapshotShelf) -> list[str]:
    return sorted(path.relative_to(shelf.path).parts[0] for path in shelf.path.glob("*"))


def fail_call(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, number: int, error: Exception) -> None:
    """Makes one call of a function fail, counted from 1."""
    real, calls = getattr(owner, name), count(1)

    def call(*arguments: Any, **named: Any) -> Any:
        if next(calls) == number:
            raise error
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize(("owner", "name", "number"), [
    (os, "fsync", 1), (os, "fsync", 6), (Path, "mkdir", 1), (Path, "rename", 1), (Path, "rename", 7),
])  # fmt: skip
def test_a_snapshot_without_room_leaves_nothing_and_the_next_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, number: int
) -> None:
    monkeypatch.setattr(module, "CHUNK_SIZE_BYTES", 2_000)
    _, generator = generate(7)
    shelf = SnapshotShelf(tmp_path / "snapshots")
    maker = SnapshotMaker(generator.store, shelf, 8, run_at_once, 1)
    said = CapturingLogger()
    monkeypatch.setattr(module, "log", said)
    with monkeypatch.context() as patch:
        fail_call(patch, owner, name, number, OSError(errno.ENOSPC, "No space left on device"))
        make_at_epoch_ends(maker, generator, 1)
    [(level, event, values)] = said.calls
    assert (level, event, values["height"]) == ("warning", ("snapshot_not_made",), 8)
    assert values["error"].startswith(f"cannot write {shelf.path}")
    assert values["error"].endswith("No space left on device. Make room on the disk and start again.")
    assert left_on(shelf) == []
    make_at_epoch_ends(maker, generator, 8)
    assert [snapshot.manifest.header.height for _, snapshot in shelf.all()] == [16]


def test_a_bug_while_making_leaves_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, generator = generate(8)
    fail_call(monkeypatch, module, "prove_range", 1, AssertionError("a bug"))
    with pytest.raises(AssertionError, match="a bug"):
        take(generator, tmp_path / "snapshots")
    assert left_on(SnapshotShelf(tmp_path / "snapshots")) == []


def test_what_a_killed_process_left_goes_at_start_and_what_was_fetched_stays(tmp_path: Path) -> None:
    shelf = SnapshotShelf(tmp_path / "snapshots")
    shelf.begin().save_chunk(0, b"a part")
    shelf.incoming.path.mkdir()
    SnapshotMaker(MemoryStore(), shelf, 0, run_at_once, 1)
    assert left_on(shelf) == ["incoming"]


def test_a_cancelled_snapshot_leaves_nothing_and_the_next_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = CapturingLogger()
    monkeypatch.setattr(module, "log", said)
    _, generator = generate(7)
    shelf = SnapshotShelf(tmp_path / "snapshots")
    waiting: list[tuple[Callable[[], None], Callable[[], None]]] = []
    maker = SnapshotMaker(generator.store, shelf, 8, lambda *both: waiting.append(both), 1)
    make_at_epoch_ends(maker, generator, 1)
    maker.cancel()
    run_at_once(*waiting.pop())
    assert said.calls == [("info", ("snapshot_cancelled",), {"height": 8})]
    assert left_on(shelf) == []
    make_at_epoch_ends(maker, generator, 8)
    run_at_once(*waiting.pop())
    assert [snapshot.manifest.header.height for _, snapshot in shelf.all()] == [16]
