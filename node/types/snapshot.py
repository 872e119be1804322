"""A snapshot of the state: a manifest, and chunks that are each proven against the state root by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from consensus.types import Certificate
from node.primitives.codec import encode
from node.primitives.crypto import Hash, Tag, tagged_hash
from node.types.block import Header

SNAPSHOT_VERSION = 1
"""Of the format below, chunk limits included."""
CHUNK_SIZE_BYTES = 512 * 2**10
"""A chunk ends with the entry that brings it to this; a larger one only because of its last entry."""
MOST_CHUNKS = 16_384
MOST_CHUNK_ENTRIES = 2**17
LARGEST_VALUE_SIZE_BYTES = 2**22
LARGEST_CHUNK_SIZE_BYTES = 6 * 2**20
"""A chunk with a largest value, its proof, and room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkEntry:
    """A state key and its value."""

    key: Annotated[bytes, range(1, 1025)]
    """The state key."""
    value: Annotated[bytes, range(LARGEST_VALUE_SIZE_BYTES + 1)]
    """Its encoded value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """All entries of a range of key hashes, with what shows that they are all."""

    entries: Annotated[tuple[ChunkEntry, ...], range(MOST_CHUNK_ENTRIES + 1)]
    """In the order of the hashes of their keys."""
    proof: Annotated[tuple[Annotated[bytes, range(1, 516)], ...], range(131)]
    """`node.state.range_proof`, for the range that the manifest gives the chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRef:
    """A chunk as the manifest names it."""

    hash: Hash
    """SHA-256 of its bytes."""
    last_key_hash: Hash
    """The end of its range, inclusive; it begins right after the end of the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a snapshot is made of: equal on all nodes that take one at a height."""

    version: Annotated[int, range(1, 2**16)]
    """Format."""
    header: Header
    """The final block whose state it is."""
    entry_count: Annotated[int, range(2**48)]
    """Entries in all chunks."""
    chunks: Annotated[tuple[ChunkRef, ...], range(1, MOST_CHUNKS + 1)]
    """The chunks; the last one's range ends with the last key hash there is."""

    def id(self) -> bytes:
        """The snapshot's identity: peers that have it have the same chunks."""
        return tagged_hash(Tag.SNAPSHOT, encode(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A manifest with the proof that its block is final. The proof differs from node to node, the rest does not."""

    manifest: Manifest
    """What it is made of."""
    certificate: Certificate
    """The finalization of its block, by the set of the block's epoch."""
