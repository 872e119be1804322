"""Names of content: every byte string that a request mentions is named by its SHA-256. Standard library only."""

import hashlib
import struct
from collections.abc import Sequence

from attribution.errors import AttributionError, Reason

HASH_SIZE_BYTES = 32


def content_hash(data: bytes) -> bytes:
    """Name of content: SHA-256 of its bytes."""
    return hashlib.sha256(data).digest()


def encode_list(hashes: Sequence[bytes]) -> bytes:
    """Canonical bytes of a list of names: a u32 count, big-endian, then the names."""
    return struct.pack(">I", len(hashes)) + b"".join(hashes)


def validate_hashes(hashes: tuple[bytes, ...]) -> None:
    """Raise unless each is 32 bytes. Raises: AttributionError(HASH_MALFORMED)."""
    if any(not isinstance(item, bytes) or len(item) != HASH_SIZE_BYTES for item in hashes):
        raise AttributionError(Reason.HASH_MALFORMED)
