"""Pieces of large contents on the disk: of whole ones, and of those that are on their way.

A content that is on its way is kept by its manifest, not by its name: a lying manifest spoils no true one. Pieces are
written as they come and survive a restart; the last step, from partial to whole, is one small batch. How many there may
be is bounded, in all and for each source.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from node.primitives.codec import decode, encode
from node.primitives.crypto import HASH_SIZE_BYTES
from node.storage.kv import KeyValueStore
from node.types.content import MOST_PIECES, PIECE_SIZE_BYTES, ContentManifest

MANIFEST = b"m"
"""Key prefix of the manifests of whole contents, by content."""
PIECE = b"p"
"""Key prefix of pieces, by manifest and index."""
PARTIAL = b"t"
"""Key prefix of what is on its way, by manifest: the source and the manifest."""
MARK = b"g"
"""Key prefix of the pieces that are here of what is on its way."""
INDEX_SIZE_BYTES = 2
UPLOAD = b"@"
"""Begins the source of what a client uploads: its address follows. Any other source is a peer's id."""
MOST_PARTIALS = 16
"""Contents on their way, of clients and of peers each."""
MOST_PARTIALS_OF_SOURCE = 4
LARGEST_PARTIALS_SIZE_BYTES = 512 * 2**20
"""Their declared sizes together, of clients and of peers each."""
IDLE_MS = 60_000
"""One that brought nothing for so long gives way when there is no room for another."""

Changes = dict[bytes, bytes | None]


@dataclass(slots=True)
class Partial:
    """A content on its way."""

    manifest: ContentManifest
    """What it will be made of, if the manifest is true."""
    id: bytes
    """The manifest's id."""
    source: bytes
    """For whom it counts."""
    used_ms: int
    """When it was begun or brought something last."""
    have: set[int] = field(default_factory=set)
    """The pieces that are here."""
    is_finishing: bool = False
    """Whether the whole is being checked against its name."""

    @property
    def missing(self) -> list[int]:
        """The pieces that are not here."""
        return [index for index in range(len(self.manifest.pieces)) if index not in self.have]

    @property
    def is_upload(self) -> bool:
        """Whether a client brings it."""
        return self.source.startswith(UPLOAD)


class PieceStore:
    """Pieces in the contents' key-value store. `write_piece`, `is_true` and reading may be done by any thread."""

    def __init__(self, store: KeyValueStore, now_ms: int = 0) -> None:
        self._store = store
        self.partials: dict[bytes, Partial] = {}
        """By manifest id."""
        for key, value in store.iterate(PARTIAL, _end_of(PARTIAL)):
            size = value[0]
            manifest = decode(ContentManifest, value[1 + size :])
            self.partials[key[1:]] = Partial(manifest=manifest, id=key[1:], source=value[1 : 1 + size], used_ms=now_ms)
        stray: Changes = {}
        for key, _ in store.iterate(MARK, _end_of(MARK)):
            partial = self.partials.get(key[1 : 1 + HASH_SIZE_BYTES])
            if partial is not None:
                partial.have.add(int.from_bytes(key[1 + HASH_SIZE_BYTES :], "big"))
            else:  # written while the rest was let go of
                stray |= {key: None, PIECE + key[1:]: None}
        if stray:
            store.write(stray)

    def manifest(self, content: bytes) -> ContentManifest | None:
        """Of a whole content in pieces."""
        data = self._store.get(MANIFEST + content)
        return None if data is None else decode(ContentManifest, data)

    def piece(self, manifest_id: bytes, index: int) -> bytes | None:
        """A piece, of a whole content or of one on its way."""
        return self._store.get(_piece_key(PIECE, manifest_id, index))

    def read(self, manifest: ContentManifest, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from start to stop, a piece at a time; ends early if the content is erased meanwhile."""
        manifest_id = manifest.id()
        for index in range(start // PIECE_SIZE_BYTES, -(-stop // PIECE_SIZE_BYTES)):
            piece = self.piece(manifest_id, index)
            if piece is None:
                return
            offset = index * PIECE_SIZE_BYTES
            yield piece[max(0, start - offset) : stop - offset]

    def has_room(self, manifest: ContentManifest, source: bytes, now_ms: int) -> bool:
        """Whether a content may be begun; lets go of one that brings nothing if that makes room."""
        while True:
            pool = [each for each in self.partials.values() if each.is_upload == source.startswith(UPLOAD)]
            own = [each for each in pool if each.source == source]
            size_bytes = manifest.size_bytes + sum(each.manifest.size_bytes for each in pool)
            if len(own) >= MOST_PARTIALS_OF_SOURCE:
                pool = own
            elif len(pool) < MOST_PARTIALS and size_bytes <= LARGEST_PARTIALS_SIZE_BYTES:
                return True
            oldest = min((each for each in pool if not each.is_finishing), key=lambda each: each.used_ms, default=None)
            if oldest is None or now_ms - oldest.used_ms < IDLE_MS:
                return False
            self.drop(oldest)

    def begin(self, manifest: ContentManifest, source: bytes, now_ms: int) -> Partial:
        """Keeps what comes of a content from now on."""
        partial = Partial(manifest=manifest, id=manifest.id(), source=source, used_ms=now_ms)
        assert partial.id not in self.partials, "begun once"
        self.partials[partial.id] = partial
        self._store.write({PARTIAL + partial.id: bytes([len(source)]) + source + encode(manifest)})
        return partial

    def write_piece(self, manifest_id: bytes, index: int, data: bytes) -> None:
        """Keeps a piece that was checked; `note_piece` follows once it is written."""
        self._store.write({_piece_key(PIECE, manifest_id, index): data, _piece_key(MARK, manifest_id, index): b""})

    def note_piece(self, partial: Partial, index: int, now_ms: int) -> Partial | None:
        """A piece is written. Returns what it belongs to, if that is still on its way; if not, it is let go of too."""
        known = self.partials.get(partial.id)
        if known is None:
            changes: Changes = {_piece_key(MARK, partial.id, index): None}
            if self.manifest(partial.manifest.content) != partial.manifest:
                changes[_piece_key(PIECE, partial.id, index)] = None
            self._store.write(changes)
            return None
        known.have.add(index)
        known.used_ms = now_ms
        return known

    def is_true(self, manifest: ContentManifest) -> bool:
        """Whether the pieces together are what the content's name says. Reads all of them."""
        whole = sha256()
        for piece in self.read(manifest, 0, manifest.size_bytes):
            whole.update(piece)
        return whole.digest() == manifest.content

    def finish(self, partial: Partial) -> Changes:
        """What makes a partial content a whole one, for the caller's batch."""
        del self.partials[partial.id]
        changes: Changes = {PARTIAL + partial.id: None, MANIFEST + partial.manifest.content: encode(partial.manifest)}
        return changes | {_piece_key(MARK, partial.id, index): None for index in partial.have}

    def drop(self, partial: Partial) -> None:
        """Lets go of a content on its way."""
        if self.partials.pop(partial.id, None) is not None:
            # If it came whole another way, the pieces are that one's.
            prefixes = (MARK,) if self.manifest(partial.manifest.content) == partial.manifest else (PIECE, MARK)
            changes: Changes = {PARTIAL + partial.id: None}
            for index in partial.have:
                changes |= {_piece_key(prefix, partial.id, index): None for prefix in prefixes}
            self._store.write(changes)

    def of_content(self, content: bytes) -> list[Partial]:
        """What is on its way to a content: more than one when manifests differ."""
        return [each for each in self.partials.values() if each.manifest.content == content]

    def drop_content(self, contents: Collection[bytes]) -> None:
        """Lets go of all that is on its way to some contents."""
        for partial in [each for each in self.partials.values() if each.manifest.content in contents]:
            self.drop(partial)

    def sweep(self, older_than_ms: int) -> list[Partial]:
        """Lets go of what brought nothing since a time, and returns it."""
        old = [each for each in self.partials.values() if each.used_ms < older_than_ms and not each.is_finishing]
        for partial in old:
            self.drop(partial)
        return old


def add_whole(manifest: ContentManifest, pieces: Collection[bytes]) -> Changes:
    """What keeps a content that came at once."""
    manifest_id = manifest.id()
    changes: Changes = {_piece_key(PIECE, manifest_id, index): piece for index, piece in enumerate(pieces)}
    return changes | {MANIFEST + manifest.content: encode(manifest)}


def forget_whole(manifest: ContentManifest) -> Changes:
    """What lets go of a whole content."""
    manifest_id = manifest.id()
    changes: Changes = {_piece_key(PIECE, manifest_id, index): None for index in range(len(manifest.pieces))}
    return changes | {MANIFEST + manifest.content: None}


def piece_range(manifest_id: bytes) -> tuple[bytes, bytes]:
    """Where the pieces of a manifest lie."""
    return PIECE + manifest_id, _end_of(PIECE + manifest_id)


def forget_pieces(manifest_id: bytes) -> Changes:
    """What deletes the pieces of a manifest, however many it has."""
    return {_piece_key(PIECE, manifest_id, index): None for index in range(MOST_PIECES)}


def _piece_key(prefix: bytes, manifest_id: bytes, index: int) -> bytes:
    return prefix + manifest_id + index.to_bytes(INDEX_SIZE_BYTES, "big")


def _end_of(prefix: bytes) -> bytes:
    return prefix + b"\xff" * (HASH_SIZE_BYTES + INDEX_SIZE_BYTES + 1)
