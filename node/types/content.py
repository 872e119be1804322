"""A large content in pieces: what it is made of, so that each piece can be checked when it comes.

A content's name stays the SHA-256 of its bytes. How it is cut is a function of the bytes alone: of one content there is
one true manifest, and all who hold it cut it alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated

from node.primitives.codec import encode
from node.primitives.crypto import Hash, Tag, tagged_hash
from node.types.parameters import LARGEST_BLOB_SIZE_BYTES

PIECE_SIZE_BYTES = 2**20
"""A larger content is kept and sent in pieces of this size; the last one is what is left."""
MOST_PIECES = LARGEST_BLOB_SIZE_BYTES // PIECE_SIZE_BYTES
PieceIndex = Annotated[int, range(MOST_PIECES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentManifest:
    """What a content of more than one piece is made of."""

    content: Hash
    """The content's name: SHA-256 of all its bytes."""
    size_bytes: Annotated[int, range(PIECE_SIZE_BYTES + 1, LARGEST_BLOB_SIZE_BYTES + 1)]
    """How many they are."""
    pieces: Annotated[tuple[Hash, ...], range(2, MOST_PIECES + 1)]
    """SHA-256 of each piece, in order."""

    def id(self) -> bytes:
        """Names the manifest itself: two that differ in a piece are two contents to whoever collects pieces."""
        return tagged_hash(Tag.CONTENT_MANIFEST, encode(self))

    @property
    def is_consistent(self) -> bool:
        """Whether there are as many pieces as the size has."""
        return len(self.pieces) == -(-self.size_bytes // PIECE_SIZE_BYTES)

    def piece_size_bytes(self, index: int) -> int:
        """How large a piece is."""
        return min(PIECE_SIZE_BYTES, self.size_bytes - index * PIECE_SIZE_BYTES)

    def is_piece(self, index: int, data: bytes) -> bool:
        """Whether some bytes are a piece."""
        return (
            index < len(self.pieces)
            and len(data) == self.piece_size_bytes(index)
            and sha256(data).digest() == self.pieces[index]
        )


def cut(content: bytes) -> list[bytes]:
    """A content's pieces."""
    return [content[start : start + PIECE_SIZE_BYTES] for start in range(0, len(content), PIECE_SIZE_BYTES)]


def make_manifest(pieces: Iterable[bytes]) -> ContentManifest:
    """The manifest of a content that comes piece by piece: none of them is kept."""
    whole, hashes, size_bytes = sha256(), [], 0
    for piece in pieces:
        whole.update(piece)
        hashes.append(sha256(piece).digest())
        size_bytes += len(piece)
    return ContentManifest(content=whole.digest(), size_bytes=size_bytes, pieces=tuple(hashes))
