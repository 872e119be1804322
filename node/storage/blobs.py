"""Content-addressed bytes outside blocks: records, weights, inverses, questions, holdouts.

A blob is named by its SHA-256. It comes before the transaction that refers to it and is swept away if none does; once
a final transaction refers to it, it stays until it is erased. Durable when `put` returns: a validator that votes for a
block holds what the block refers to. What a final block does to the blobs is one atomic batch that carries the block's
height, so that a node that stopped between block and batch knows what is left to do.

A content of more than one piece is kept in pieces (`node.storage.pieces`), and only what asks for its bytes reads them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

from node.primitives.crypto import HASH_SIZE_BYTES, sha256
from node.storage.kv import KeyValueStore
from node.storage.pieces import MANIFEST, Partial, PieceStore, add_whole, forget_pieces, forget_whole, piece_range
from node.types.content import PIECE_SIZE_BYTES, ContentManifest, cut, make_manifest

CONTENT = b"c"
"""Key prefix of contents of at most one piece."""
UNREFERENCED = b"u"
"""Key prefix of arrival times (ms) of blobs no final transaction refers to yet."""
RESTRICTED = b"r"
"""Key prefix of contents under review: served to validators and their reviewers only."""
WANTED = b"w"
"""Key prefix of contents the ledger refers to that are not here yet."""
ERASED = b"e"
"""Key prefix of contents that are deleted, but whose bytes may still lie in the files; their manifests, if any."""
HEIGHT = b"h"
"""Key of the last final block whose use of contents is noted here."""
TIME_SIZE_BYTES = 8
HEIGHT_SIZE_BYTES = 8
MOST_RANGES = 16
"""More contents than this are compacted as one range."""
LARGEST_UNREFERENCED_SIZE_BYTES = 512 * 2**20
"""Most content kept that no final transaction refers to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """What a final block does to the contents."""

    height: int
    """The block."""
    referred: tuple[tuple[bytes, bool], ...] = ()
    """Contents its transactions refer to, and whether they are under review."""
    released: tuple[bytes, ...] = ()
    """Contents that are no longer under review."""
    erased: tuple[bytes, ...] = ()
    """Contents that are erased."""


class BlobStore:
    """Blobs in a key-value store of their own."""

    def __init__(self, store: KeyValueStore, now_ms: int = 0) -> None:
        """What is on its way has an hour from `now_ms` on."""
        self._store = store
        self.pieces = PieceStore(store, now_ms)
        self._held: set[bytes] = set()
        """A memory of hashes known to be held: `has` is asked for each vote."""
        unreferenced = store.iterate(UNREFERENCED, UNREFERENCED + b"\xff" * (HASH_SIZE_BYTES + 1))
        self.unreferenced_size_bytes = sum(self.size_bytes(key[1:]) or 0 for key, _ in unreferenced)

    def has(self, blob_hash: bytes) -> bool:
        """Whether the bytes are held."""
        if blob_hash in self._held:
            return True
        if self.size_bytes(blob_hash) is None:
            return False
        self._held.add(blob_hash)
        return True

    def get(self, blob_hash: bytes) -> bytes | None:
        """The bytes, if held."""
        content = self._store.get(CONTENT + blob_hash)
        manifest = None if content is not None else self.pieces.manifest(blob_hash)
        if manifest is None:
            return content
        whole = BytesIO()  # gives its bytes away without a second copy
        for piece in self.pieces.read(manifest, 0, manifest.size_bytes):
            whole.write(piece)
        return whole.getvalue()

    def read(self, blob_hash: bytes, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from start to stop of a content that is held, a piece at a time."""
        manifest = self.pieces.manifest(blob_hash)
        if manifest is not None:
            return self.pieces.read(manifest, start, min(stop, manifest.size_bytes))
        return iter(((self._store.get(CONTENT + blob_hash) or b"")[start:stop],))

    def size_bytes(self, blob_hash: bytes) -> int | None:
        """How many bytes a content has, if held. Of a large one only the manifest is read."""
        manifest = self.pieces.manifest(blob_hash)
        if manifest is not None:
            return manifest.size_bytes
        content = self._store.get(CONTENT + blob_hash)
        return None if content is None else len(content)

    def put(self, contents: Sequence[bytes], now_ms: int) -> tuple[bytes, ...]:
        """Stores contents together and returns their hashes. What is wanted is kept, the rest waits for a use.

        What is being taken out of the files is not stored again.
        """
        hashes = tuple(sha256(content) for content in contents)
        changes: dict[bytes, bytes | None] = {}
        added: list[bytes] = []
        for blob_hash, content in zip(hashes, contents, strict=True):
            if blob_hash in added or self.has(blob_hash) or self.is_erased(blob_hash):
                continue
            added.append(blob_hash)
            if len(content) > PIECE_SIZE_BYTES:
                pieces = cut(content)
                changes |= add_whole(make_manifest(pieces), pieces)
            else:
                changes[CONTENT + blob_hash] = content
            self._note_arrival(blob_hash, len(content), now_ms, changes)
        if changes:
            self._store.write(changes)
            self._held.update(hashes)
            self.pieces.drop_content(added)
        return hashes

    def put_partial(self, partial: Partial, now_ms: int) -> None:
        """All pieces of a content are here, and are what its name says: it is a content like any other from now on."""
        manifest = partial.manifest
        if self.has(manifest.content) or self.is_erased(manifest.content):
            self.pieces.drop(partial)
            return
        changes = self.pieces.finish(partial)
        self._note_arrival(manifest.content, manifest.size_bytes, now_ms, changes)
        self._store.write(changes)
        self._held.add(manifest.content)
        self.pieces.drop_content((manifest.content,))

    def is_erased(self, blob_hash: bytes) -> bool:
        """Whether a content is being taken out of the files."""
        return self._store.get(ERASED + blob_hash) is not None

    @property
    def height(self) -> int:
        """The last final block whose use of contents is noted here; a later one may have none."""
        return int.from_bytes(self._store.get(HEIGHT) or b"", "big")

    def apply_uses(self, uses: Uses) -> tuple[bytes, ...]:
        """Notes what a final block does to the contents; the same again changes nothing. Returns what is missing.

        What is referred to is not swept away; a restriction is about contents nothing referred to before: what is
        public stays public. What is erased is deleted at once; `purge` then takes it out of the files too.
        """
        changes: dict[bytes, bytes | None] = {HEIGHT: uses.height.to_bytes(HEIGHT_SIZE_BYTES, "big")}
        missing: dict[bytes, None] = {}
        seen: set[bytes] = set()
        for blob_hash, is_restricted in uses.referred:
            if blob_hash in seen:  # the first use decides
                continue
            seen.add(blob_hash)
            if self.has(blob_hash):
                is_new = self._store.get(UNREFERENCED + blob_hash) is not None
                self._forget_unreferenced(blob_hash, changes)
            else:
                is_new = self._store.get(WANTED + blob_hash) is None
                changes[WANTED + blob_hash] = b""
                missing[blob_hash] = None
            if is_restricted and is_new:
                changes[RESTRICTED + blob_hash] = b""
        changes |= {RESTRICTED + blob_hash: None for blob_hash in uses.released}
        for blob_hash in dict.fromkeys(uses.erased):
            missing.pop(blob_hash, None)
            manifest = self._forget(blob_hash, changes)
            cut_by = {each.id for each in self.pieces.of_content(blob_hash)}
            if manifest is not None:
                cut_by.add(manifest.id())
            if cut_by or not self.is_erased(blob_hash):
                changes[ERASED + blob_hash] = b"".join(sorted(cut_by))
        self._store.write(changes)
        self._held.difference_update(uses.erased)
        self.pieces.drop_content(uses.erased)
        return tuple(missing)

    def is_public(self, blob_hash: bytes) -> bool:
        """Whether a content is served to everybody: the ledger refers to it, and it is not under review."""
        return self._store.get(UNREFERENCED + blob_hash) is None and self._store.get(RESTRICTED + blob_hash) is None

    def is_unused_in_pieces(self, blob_hash: bytes) -> bool:
        """Whether a content is a large one that no final transaction refers to."""
        return self._store.get(UNREFERENCED + blob_hash) is not None and self.pieces.manifest(blob_hash) is not None

    def wanted(self) -> list[bytes]:
        """Contents the ledger refers to that are not here."""
        return [key[1:] for key, _ in self._store.iterate(WANTED, WANTED + b"\xff" * (HASH_SIZE_BYTES + 1))]

    def referred(self) -> Iterator[bytes]:
        """Contents that are here and that a final transaction refers to. Reads through them all: at start only."""
        for prefix in (CONTENT, MANIFEST):
            for key, _ in self._store.iterate(prefix, prefix + b"\xff" * (HASH_SIZE_BYTES + 1)):
                if self._store.get(UNREFERENCED + key[1:]) is None:
                    yield key[1:]

    def erased(self) -> list[bytes]:
        """Contents whose bytes may still lie in the files."""
        return [key[1:] for key, _ in self._store.iterate(ERASED, ERASED + b"\xff" * (HASH_SIZE_BYTES + 1))]

    def purge(self, hashes: Sequence[bytes]) -> None:
        """Takes deleted contents out of the files. Takes a while; touches the store only, so any thread may do it."""
        if len(hashes) > MOST_RANGES:
            ranges = [(CONTENT, CONTENT + b"\xff" * (HASH_SIZE_BYTES + 1))]
        else:
            ranges = [(CONTENT + blob_hash, CONTENT + blob_hash + b"\0") for blob_hash in hashes]
        cut_by = b"".join(self._store.get(ERASED + blob_hash) or b"" for blob_hash in hashes)
        manifests = [cut_by[at : at + HASH_SIZE_BYTES] for at in range(0, len(cut_by), HASH_SIZE_BYTES)]
        ranges += map(piece_range, manifests)
        deletions: dict[bytes, bytes | None] = {CONTENT + blob_hash: None for blob_hash in hashes}
        for manifest_id in manifests:
            deletions |= forget_pieces(manifest_id)
        # A content and its deletion that reach a table together both stay in it: the second deletion meets the table.
        for _ in range(2):
            for start, stop in ranges:
                self._store.compact(start, stop)
            self._store.write(deletions)
        for start, stop in ranges:
            self._store.compact(start, stop)
        self._store.write({ERASED + blob_hash: None for blob_hash in hashes})

    def sweep(self, older_than_ms: int, in_use: Collection[bytes]) -> int:
        """Deletes blobs that came before a time and that nothing refers to: no final transaction, nor one that waits.

        Returns how many.
        """
        unreferenced = self._store.iterate(UNREFERENCED, UNREFERENCED + b"\xff" * (HASH_SIZE_BYTES + 1))
        old = [
            key[1:]
            for key, value in unreferenced
            if int.from_bytes(value, "big") < older_than_ms and key[1:] not in in_use
        ]
        changes: dict[bytes, bytes | None] = {}
        for blob_hash in old:
            self._forget(blob_hash, changes)
        if changes:
            self._store.write(changes)
            self._held.difference_update(old)
        return len(old)

    def _forget_unreferenced(self, blob_hash: bytes, changes: dict[bytes, bytes | None]) -> None:
        if self._store.get(UNREFERENCED + blob_hash) is not None:
            changes[UNREFERENCED + blob_hash] = None
            self.unreferenced_size_bytes -= self.size_bytes(blob_hash) or 0

    def _note_arrival(self, blob_hash: bytes, size_bytes: int, now_ms: int, changes: dict[bytes, bytes | None]) -> None:
        """What is wanted is kept, the rest waits for a use."""
        if self._store.get(WANTED + blob_hash) is not None:
            changes[WANTED + blob_hash] = None
        else:
            changes[UNREFERENCED + blob_hash] = now_ms.to_bytes(TIME_SIZE_BYTES, "big")
            self.unreferenced_size_bytes += size_bytes

    def _forget(self, blob_hash: bytes, changes: dict[bytes, bytes | None]) -> ContentManifest | None:
        """Lets go of a content; returns its manifest, if it had one."""
        self._forget_unreferenced(blob_hash, changes)
        manifest = self.pieces.manifest(blob_hash)
        if manifest is not None:
            changes |= forget_whole(manifest)
        for prefix in (CONTENT, UNREFERENCED, RESTRICTED, WANTED):
            changes[prefix + blob_hash] = None
        return manifest
