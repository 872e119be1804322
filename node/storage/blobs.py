"""Content-addressed bytes outside blocks: records, weights, inverses, questions, holdouts.

A blob is named by its SHA-256. It comes before the transaction that refers to it and is swept away if none does; once
a final transaction refers to it, it stays until it is erased. Durable when `put` returns: a validator that votes for a
block holds what the block refers to. What a final block does to the blobs is one atomic batch that carries the block's
height, so that a node that stopped between block and batch knows what is left to do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from node.primitives.crypto import HASH_SIZE_BYTES, sha256
from node.storage.kv import KeyValueStore

CONTENT = b"c"
"""Key prefix of contents."""
UNREFERENCED = b"u"
"""Key prefix of arrival times (ms) of blobs no final transaction refers to yet."""
RESTRICTED = b"r"
"""Key prefix of contents under review: served to validators and their reviewers only."""
WANTED = b"w"
"""Key prefix of contents the ledger refers to that are not here yet."""
ERASED = b"e"
"""Key prefix of contents that are deleted, but whose bytes may still lie in the files."""
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

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._held: set[bytes] = set()
        """A memory of hashes known to be held: `has` is asked for each vote."""
        unreferenced = store.iterate(UNREFERENCED, UNREFERENCED + b"\xff" * (HASH_SIZE_BYTES + 1))
        self.unreferenced_size_bytes = sum(len(store.get(CONTENT + key[1:]) or b"") for key, _ in unreferenced)

    def has(self, blob_hash: bytes) -> bool:
        """Whether the bytes are held."""
        if blob_hash in self._held:
            return True
        if self._store.get(CONTENT + blob_hash) is None:
            return False
        self._held.add(blob_hash)
        return True

    def get(self, blob_hash: bytes) -> bytes | None:
        """The bytes, if held."""
        return self._store.get(CONTENT + blob_hash)

    def put(self, contents: Sequence[bytes], now_ms: int) -> tuple[bytes, ...]:
        """Stores contents together and returns their hashes. What is wanted is kept, the rest waits for a use.

        What is being taken out of the files is not stored again.
        """
        hashes = tuple(sha256(content) for content in contents)
        changes: dict[bytes, bytes | None] = {}
        for blob_hash, content in zip(hashes, contents, strict=True):
            if CONTENT + blob_hash in changes or self.has(blob_hash):
                continue
            if self._store.get(ERASED + blob_hash) is not None:
                continue
            changes[CONTENT + blob_hash] = content
            if self._store.get(WANTED + blob_hash) is not None:
                changes[WANTED + blob_hash] = None
            else:
                changes[UNREFERENCED + blob_hash] = now_ms.to_bytes(TIME_SIZE_BYTES, "big")
                self.unreferenced_size_bytes += len(content)
        if changes:
            self._store.write(changes)
            self._held.update(hashes)
        return hashes

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
            self._forget(blob_hash, changes)
            changes[ERASED + blob_hash] = b""
        self._store.write(changes)
        self._held.difference_update(uses.erased)
        return tuple(missing)

    def is_public(self, blob_hash: bytes) -> bool:
        """Whether a content is served to everybody: the ledger refers to it, and it is not under review."""
        return self._store.get(UNREFERENCED + blob_hash) is None and self._store.get(RESTRICTED + blob_hash) is None

    def wanted(self) -> list[bytes]:
        """Contents the ledger refers to that are not here."""
        return [key[1:] for key, _ in self._store.iterate(WANTED, WANTED + b"\xff" * (HASH_SIZE_BYTES + 1))]

    def referred(self) -> Iterator[bytes]:
        """Contents that are here and that a final transaction refers to. Reads through them all: at start only."""
        for key, _ in self._store.iterate(CONTENT, CONTENT + b"\xff" * (HASH_SIZE_BYTES + 1)):
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
        # A content and its deletion that reach a table together both stay in it: the second deletion meets the table.
        for _ in range(2):
            for start, stop in ranges:
                self._store.compact(start, stop)
            self._store.write({CONTENT + blob_hash: None for blob_hash in hashes})
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
            content = self._store.get(CONTENT + blob_hash)
            self.unreferenced_size_bytes -= len(content) if content is not None else 0

    def _forget(self, blob_hash: bytes, changes: dict[bytes, bytes | None]) -> None:
        self._forget_unreferenced(blob_hash, changes)
        for prefix in (CONTENT, UNREFERENCED, RESTRICTED, WANTED):
            changes[prefix + blob_hash] = None
