"""Frames: a big-endian length and that many bytes. Bytes in, messages out; no socket here."""

from __future__ import annotations

import struct

from node.errors import MessageReason, MessageRejected
from node.p2p.messages import LARGEST_MESSAGE_SIZE_BYTES

LENGTH = struct.Struct(">I")


def encode_frame(payload: bytes) -> bytes:
    """A payload as it travels."""
    assert len(payload) <= LARGEST_MESSAGE_SIZE_BYTES, "nothing larger is ever sent"
    return LENGTH.pack(len(payload)) + payload


class FrameReader:
    """Cuts a stream into payloads, one when it is asked. Holds what was fed and not taken."""

    __slots__ = ("_buffer", "_largest_size_bytes", "_position")

    def __init__(self, largest_size_bytes: int = LARGEST_MESSAGE_SIZE_BYTES) -> None:
        self._buffer = bytearray()
        self._position = 0
        self._largest_size_bytes = largest_size_bytes

    def set_limit(self, largest_size_bytes: int) -> None:
        """A peer that has shown who it is may send larger frames."""
        self._largest_size_bytes = largest_size_bytes

    def feed(self, data: bytes) -> None:
        """Takes what arrived."""
        del self._buffer[: self._position]
        self._position = 0
        self._buffer += data

    def take(self) -> bytes | None:
        """The next payload, or None until more arrives. Raises: MessageRejected TOO_LARGE, MALFORMED."""
        start = self._position + LENGTH.size
        if len(self._buffer) < start:
            return None
        (size,) = LENGTH.unpack_from(self._buffer, self._position)
        if size > self._largest_size_bytes:
            raise MessageRejected(MessageReason.TOO_LARGE, f"a frame of {size} bytes")
        if size == 0:
            raise MessageRejected(MessageReason.MALFORMED, "an empty frame")
        if len(self._buffer) < start + size:
            return None
        self._position = start + size
        return bytes(self._buffer[start : start + size])
