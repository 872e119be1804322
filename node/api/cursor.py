"""Cursors: where a page of a listing ended, bound to the listing, its filter and its order.

base64url(position ‖ first 8 bytes of SHA-256 over scope and position). A cursor of another listing, or one that was
changed, does not fit; it is no secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from node.errors import RequestReason, RequestRejected

CHECK_SIZE_BYTES = 8


def make_scope(genesis_hash: bytes, *words: object) -> bytes:
    """What a cursor is bound to."""
    return genesis_hash + "\0".join(map(str, words)).encode()


def encode_cursor(scope: bytes, position: bytes) -> str:
    """The cursor of a position."""
    return base64.urlsafe_b64encode(position + _check(scope, position)).decode().rstrip("=")


def decode_cursor(scope: bytes, cursor: str, size_bytes: int) -> bytes:
    """The position of a cursor. Raises: RequestRejected INVALID_CURSOR."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestRejected(RequestReason.INVALID_CURSOR) from error
    position, check = data[:-CHECK_SIZE_BYTES], data[-CHECK_SIZE_BYTES:]
    # One position has one cursor: what base64 ignores in the last character is compared too.
    if len(position) != size_bytes or check != _check(scope, position) or encode_cursor(scope, position) != cursor:
        raise RequestRejected(RequestReason.INVALID_CURSOR)
    return position


def _check(scope: bytes, position: bytes) -> bytes:
    return hashlib.sha256(scope + b"\0" + position).digest()[:CHECK_SIZE_BYTES]
