"""Large contents on the disk: what came stays, what is let go of leaves nothing, and there is never too much of it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from node.storage import pieces as module
from node.storage.blobs import BlobStore, Uses
from node.storage.kv import LevelStore, MemoryStore
from node.storage.pieces import IDLE_MS, MOST_PARTIALS, MOST_PARTIALS_OF_SOURCE, UPLOAD, Partial
from node.types.content import PIECE_SIZE_BYTES, ContentManifest, cut, make_manifest

CONTENT = random.Random(8).randbytes(3 * PIECE_SIZE_BYTES + 1)
MANIFEST = make_manifest(cut(CONTENT))
NAME = MANIFEST.content


def bring(blobs: BlobStore, *indices: int, manifest: ContentManifest = MANIFEST) -> Partial:
    known = blobs.pieces.partials.get(manifest.id())
    partial = known or blobs.pieces.begin(manifest, b"peer", 0)
    for index in indices:
        blobs.pieces.write_piece(partial.id, index, cut(CONTENT)[index])
        assert blobs.pieces.note_piece(partial, index, 0) is partial
    return partial


def test_manifest_is_a_function_of_the_bytes() -> None:
    assert MANIFEST.size_bytes == len(CONTENT)
    assert MANIFEST.is_consistent
    assert [MANIFEST.piece_size_bytes(index) for index in range(4)] == [2**20, 2**20, 2**20, 1]
    assert all(MANIFEST.is_piece(index, piece) for index, piece in enumerate(cut(CONTENT)))
    assert not MANIFEST.is_piece(0, cut(CONTENT)[1])
    assert not MANIFEST.is_piece(4, b"")
    assert not replace(MANIFEST, size_bytes=3 * 2**20).is_consistent


@pytest.mark.parametrize("size_bytes", [PIECE_SIZE_BYTES, PIECE_SIZE_BYTES + 1, 2 * PIECE_SIZE_BYTES])
def test_content_of_any_size_is_read_as_it_was_put(size_bytes: int) -> None:
    store = MemoryStore()
    blobs = BlobStore(store)
    content = random.Random(size_bytes).randbytes(size_bytes)
    [name] = blobs.put([content], 0)
    for each in (blobs, BlobStore(store)):
        assert (each.has(name), each.size_bytes(name), each.get(name)) == (True, size_bytes, content)
        assert each.unreferenced_size_bytes == size_bytes
        middle = (PIECE_SIZE_BYTES - 3, PIECE_SIZE_BYTES + 3)
        assert b"".join(each.read(name, *middle)) == content[slice(*middle)]
    assert len(store.get(b"c" + name) or b"") == (size_bytes if size_bytes == PIECE_SIZE_BYTES else 0)
    assert blobs.sweep(older_than_ms=1, in_use=()) == 1
    assert (store.values, blobs.unreferenced_size_bytes) == ({}, 0)


def test_pieces_survive_a_restart_and_become_a_content_in_one_batch(tmp_path: Path) -> None:
    store = LevelStore(tmp_path)
    bring(BlobStore(store), 2, 0)
    store.close()
    store = LevelStore(tmp_path)
    blobs = BlobStore(store, now_ms=70)
    [partial] = blobs.pieces.partials.values()
    assert (partial.manifest, partial.have, partial.missing, partial.used_ms) == (MANIFEST, {0, 2}, [1, 3], 70)
    assert not blobs.has(NAME)
    bring(blobs, 1, 3)
    assert blobs.pieces.is_true(MANIFEST)
    blobs.put_partial(partial, 80)
    assert blobs.get(NAME) == CONTENT
    assert blobs.unreferenced_size_bytes == len(CONTENT)
    assert list(store.iterate(b"t", b"u")) == list(store.iterate(b"g", b"h")) == []
    store.close()


def test_false_manifest_spoils_no_true_one() -> None:
    blobs = BlobStore(MemoryStore())
    false = replace(MANIFEST, pieces=MANIFEST.pieces[:3] + MANIFEST.pieces[:1])
    lie, truth = bring(blobs, 0, 1, 2, manifest=false), bring(blobs, 0, 1, 2, 3)
    assert not blobs.pieces.is_true(false)
    blobs.pieces.drop(lie)
    blobs.put_partial(truth, 0)
    assert blobs.get(NAME) == CONTENT


def test_content_that_came_whole_meanwhile_keeps_its_pieces() -> None:
    blobs = BlobStore(MemoryStore())
    partial = bring(blobs, 0, 1)
    blobs.put([CONTENT], 0)
    assert blobs.pieces.partials == {}
    blobs.pieces.write_piece(partial.id, 2, cut(CONTENT)[2])  # it was being written
    assert blobs.pieces.note_piece(partial, 2, 0) is None
    assert blobs.get(NAME) == CONTENT


def test_piece_that_was_being_written_when_the_rest_was_let_go_of_goes_too() -> None:
    store = MemoryStore()
    blobs = BlobStore(store)
    partial = bring(blobs, 0)
    blobs.pieces.drop(partial)
    blobs.pieces.write_piece(partial.id, 1, cut(CONTENT)[1])
    assert blobs.pieces.note_piece(partial, 1, 0) is None
    assert store.values == {}
    blobs.pieces.write_piece(partial.id, 1, cut(CONTENT)[1])  # and when the node stopped before it could
    BlobStore(store)
    assert store.values == {}


@pytest.mark.parametrize("is_whole", [True, False])
def test_erased_content_leaves_no_byte_in_the_files(tmp_path: Path, is_whole: bool) -> None:
    store = LevelStore(tmp_path)
    blobs = BlobStore(store)
    if is_whole:
        blobs.put([CONTENT], 0)
    else:
        bring(blobs, 0, 1)
    store.compact(b"", b"\xff")
    needle = CONTENT[500_000:500_040]
    assert any(needle in path.read_bytes() for path in tmp_path.iterdir())
    blobs.apply_uses(Uses(height=1, erased=(NAME,)))
    assert not blobs.has(NAME)
    blobs.put([CONTENT], 0)
    assert not blobs.has(NAME)
    blobs.purge([NAME])
    blobs.put([b"something else" * 1_000_000], 0)  # the log moves on
    store.close()
    LevelStore(tmp_path).close()
    assert not any(needle in path.read_bytes() for path in tmp_path.iterdir())


def test_wanted_content_that_comes_in_pieces_is_not_swept() -> None:
    blobs = BlobStore(MemoryStore())
    assert blobs.apply_uses(Uses(height=1, referred=((NAME, False),))) == (NAME,)
    blobs.put_partial(bring(blobs, 0, 1, 2, 3), 0)
    assert blobs.wanted() == []
    assert blobs.sweep(older_than_ms=10**9, in_use=()) == 0
    assert list(blobs.referred()) == [NAME]
    assert not blobs.is_unused_in_pieces(NAME)


def numbered(number: int) -> ContentManifest:
    return replace(MANIFEST, content=number.to_bytes(32, "big"))


def test_sources_and_all_together_have_room_for_a_few_and_the_idlest_gives_way() -> None:
    store = BlobStore(MemoryStore()).pieces
    for number in range(MOST_PARTIALS):
        source = UPLOAD + bytes([number // MOST_PARTIALS_OF_SOURCE])
        assert store.has_room(numbered(number), source, number)
        store.begin(numbered(number), source, number)
        if number == MOST_PARTIALS_OF_SOURCE - 1:
            assert not store.has_room(numbered(99), source, number)
    assert not store.has_room(numbered(99), UPLOAD + b"new", MOST_PARTIALS)
    assert store.has_room(numbered(99), b"a peer", MOST_PARTIALS), "clients take no room of peers"
    assert store.has_room(numbered(99), UPLOAD + b"new", IDLE_MS)
    assert [each.used_ms for each in store.partials.values()] == list(range(1, MOST_PARTIALS))


def test_declared_sizes_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_PARTIALS_SIZE_BYTES", 2 * len(CONTENT))
    store = BlobStore(MemoryStore()).pieces
    for number in range(2):
        assert store.has_room(numbered(number), bytes([number]), 0)
        store.begin(numbered(number), bytes([number]), 0)
    assert not store.has_room(numbered(2), b"third", 0)
    assert {each.manifest.content for each in store.sweep(older_than_ms=1)} == {
        numbered(0).content,
        numbered(1).content,
    }
    assert store.has_room(numbered(2), b"third", 0)
