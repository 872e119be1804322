"""Content-addressed bytes outside blocks: records, weights, inverses, questions, holdouts.

A blob is named by its SHA-256. It comes before the transaction that refers to it and is swept away if none does; once
a final transaction refers to it, it stays until it is erased. Durable when `put` returns: a validator that votes for a
block holds what the block refers to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from node.primitives.crypto import HASH_SIZE_BYTES, sha256
from node.storage.kv import KeyValueStore

CONTENT = b"c"
"""Key prefix of contents."""
UNREFERENCED = b"u"
"""Key prefix of arrival times (ms) of blobs no final transaction refers to yet."""
TIME_SIZE_BYTES = 8


class BlobStore:
    """Blobs in a key-value store of their own."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._held: set[bytes] = set()
        """A memory of hashes known to be held: `has` is asked for each vote."""

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
        """Stores contents together and returns their hashes."""
        hashes = tuple(sha256(content) for content in contents)
        changes: dict[bytes, bytes | None] = {}
        for blob_hash, content in zip(hashes, contents, strict=True):
            if not self.has(blob_hash):
                changes[CONTENT + blob_hash] = content
                changes[UNREFERENCED + blob_hash] = now_ms.to_bytes(TIME_SIZE_BYTES, "big")
        if changes:
            self._store.write(changes)
            self._held.update(hashes)
        return hashes

    def keep(self, hashes: Iterable[bytes]) -> None:
        """A final transaction refers to these: they are not swept away."""
        changes = {UNREFERENCED + blob_hash: None for blob_hash in hashes}
        if changes:
            self._store.write(changes)

    def erase(self, hashes: Sequence[bytes]) -> None:
        """Deletes bytes and compacts, so that they are gone from the disk too."""
        self._delete(hashes)
        for blob_hash in hashes:
            self._store.compact(CONTENT + blob_hash, CONTENT + blob_hash + b"\0")

    def sweep(self, older_than_ms: int) -> int:
        """Deletes blobs that came before a time and that no final transaction refers to. Returns how many."""
        unreferenced = self._store.iterate(UNREFERENCED, UNREFERENCED + b"\xff" * (HASH_SIZE_BYTES + 1))
        old = [key[1:] for key, value in unreferenced if int.from_bytes(value, "big") < older_than_ms]
        self._delete(old)
        return len(old)

    def unreferenced(self) -> Iterator[tuple[bytes, int]]:
        """Hash and arrival time (ms) of each blob that no final transaction refers to."""
        for key, value in self._store.iterate(UNREFERENCED, UNREFERENCED + b"\xff" * (HASH_SIZE_BYTES + 1)):
            yield key[1:], int.from_bytes(value, "big")

    def _delete(self, hashes: Sequence[bytes]) -> None:
        changes: dict[bytes, bytes | None] = {}
        for blob_hash in hashes:
            changes[CONTENT + blob_hash] = changes[UNREFERENCED + blob_hash] = None
        if changes:
            self._store.write(changes)
            self._held.difference_update(hashes)
