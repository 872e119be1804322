"""Names of content: every byte string that a request mentions is named by its SHA-256, and so is a pinned table.

Standard library only.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence

from attribution.errors import AttributionError, Reason

HASH_SIZE_BYTES = 32
EXP_TABLE_SHA256 = "5bae487451270308cf384bba6f947b58ca395883417855eb147e802d9206eb1a"
"""Pinned hash of the exponential table: the coarse and then the fine entries, 8 bytes each, big-endian."""

Materials = Mapping[bytes, bytes]
"""Bytes by their names."""


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


def read_material(materials: Materials, name: bytes) -> bytes:
    """Bytes of a content hash. Raises: AttributionError(MISSING_MATERIAL | MATERIAL_MISMATCH)."""
    data = materials.get(name)
    if data is None:
        raise AttributionError(Reason.MISSING_MATERIAL, name.hex())
    if content_hash(data) != name:
        raise AttributionError(Reason.MATERIAL_MISMATCH, name.hex())
    return data
