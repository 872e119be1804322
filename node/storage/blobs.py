"""Content-addressed bytes outside blocks: records, weights, inverses, questions, holdouts.

A blob is named by its SHA-256. It comes before the transaction that refers to it and is swept away if none does; once
a final transaction refers to it, it stays until it is erased. Durable when `put` returns: a validator that votes for a
block holds what the block refers to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
TIME_SIZE_BYTES = 8
LARGEST_UNREFERENCED_SIZE_BYTES = 512 * 2**20
"""Most content kept that no final transaction refers to."""


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
        """Stores contents together and returns their hashes. What is wanted is kept, the rest waits for a use."""
        hashes = tuple(sha256(content) for content in contents)
        changes: dict[bytes, bytes | None] = {}
        for blob_hash, content in zip(hashes, contents, strict=True):
            if CONTENT + blob_hash in changes or self.has(blob_hash):
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

    def refer(self, hashes: Iterable[bytes], *, is_restricted: bool) -> tuple[bytes, ...]:
        """A final transaction refers to these: they are not swept away. Returns the ones that are missing.

        `is_restricted` is about contents nothing referred to before: what is public stays public."""
        changes: dict[bytes, bytes | None] = {}
        missing = []
        for blob_hash in dict.fromkeys(hashes):
            if self.has(blob_hash):
                is_new = self._store.get(UNREFERENCED + blob_hash) is not None
                self._forget_unreferenced(blob_hash, changes)
            else:
                is_new = self._store.get(WANTED + blob_hash) is None
                changes[WANTED + blob_hash] = b""
                missing.append(blob_hash)
            if is_restricted and is_new:
                changes[RESTRICTED + blob_hash] = b""
        if changes:
            self._store.write(changes)
        return tuple(missing)

    def release(self, hashes: Iterable[bytes]) -> None:
        """These are no longer under review: they are served to everybody."""
        changes: dict[bytes, bytes | None] = {RESTRICTED + blob_hash: None for blob_hash in hashes}
        if changes:
            self._store.write(changes)

    def is_public(self, blob_hash: bytes) -> bool:
        """Whether a content is served to everybody: the ledger refers to it, and it is not under review."""
        return self._store.get(UNREFERENCED + blob_hash) is None and self._store.get(RESTRICTED + blob_hash) is None

    def wanted(self) -> list[bytes]:
        """Contents the ledger refers to that are not here."""
        return [key[1:] for key, _ in self._store.iterate(WANTED, WANTED + b"\xff" * (HASH_SIZE_BYTES + 1))]

    def erase(self, hashes: Sequence[bytes]) -> None:
        """Deletes bytes and compacts, so that they are gone from the disk too."""
        # Before too: a content and its deletion that reach a table together both stay in it.
        for blob_hash in hashes:
            self._store.compact(CONTENT + blob_hash, CONTENT + blob_hash + b"\0")
        self._delete(hashes)
        for blob_hash in hashes:
            self._store.compact(CONTENT + blob_hash, CONTENT + blob_hash + b"\0")

    def sweep(self, older_than_ms: int) -> int:
        """Deletes blobs that came before a time and that no final transaction refers to. Returns how many."""
        unreferenced = self._store.iterate(UNREFERENCED, UNREFERENCED + b"\xff" * (HASH_SIZE_BYTES + 1))
        old = [key[1:] for key, value in unreferenced if int.from_bytes(value, "big") < older_than_ms]
        self._delete(old)
        return len(old)

    def _forget_unreferenced(self, blob_hash: bytes, changes: dict[bytes, bytes | None]) -> None:
        if self._store.get(UNREFERENCED + blob_hash) is not None:
            changes[UNREFERENCED + blob_hash] = None
            content = self._store.get(CONTENT + blob_hash)
            self.unreferenced_size_bytes -= len(content) if content is not None else 0

    def _delete(self, hashes: Sequence[bytes]) -> None:
        changes: dict[bytes, bytes | None] = {}
        for blob_hash in dict.fromkeys(hashes):
            self._forget_unreferenced(blob_hash, changes)
            for prefix in (CONTENT, UNREFERENCED, RESTRICTED, WANTED):
                changes[prefix + blob_hash] = None
        if changes:
            self._store.write(changes)
            self._held.difference_update(hashes)
