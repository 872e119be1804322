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
    """Cuts a stream into payloads. Holds at most one unfinished frame."""

    __slots__ = ("_buffer", "_largest_size_bytes")

    def __init__(self, largest_size_bytes: int = LARGEST_MESSAGE_SIZE_BYTES) -> None:
        self._buffer = bytearray()
        self._largest_size_bytes = largest_size_bytes

    def set_limit(self, largest_size_bytes: int) -> None:
        """A peer that has shown who it is may send larger frames."""
        self._largest_size_bytes = largest_size_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Takes what arrived; gives the payloads it completes. Raises: MessageRejected TOO_LARGE, MALFORMED."""
        self._buffer += data
        payloads = []
        position = 0
        while len(self._buffer) - position >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._buffer, position)
            if size > self._largest_size_bytes:
                raise MessageRejected(MessageReason.TOO_LARGE, f"a frame of {size} bytes")
            if size == 0:
                raise MessageRejected(MessageReason.MALFORMED, "an empty frame")
            start = position + LENGTH.size
            if len(self._buffer) < start + size:
                break
            payloads.append(bytes(self._buffer[start : start + size]))
            position = start + size
        del self._buffer[:position]
        return payloads
