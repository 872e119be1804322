"""What one peer may ask of this node: bytes and messages per second, where a request weighs what its answer takes.

No socket and no clock here. A peer that owes is not dropped: it is read again when it owes nothing.
"""

from __future__ import annotations

from node.p2p.messages import (
    BlobRequest,
    BlockRequest,
    CertificateRequest,
    ChunkRequest,
    EpochEndsRequest,
    Message,
    PieceRequest,
    SnapshotsRequest,
    StatusRequest,
    SyncRequest,
)

BYTES_PER_SECOND = 64 * 2**20
"""What a peer sends, and what is sent to it alone."""
MESSAGES_PER_SECOND = 5_000
BURST_S = 2.0
"""How much of a rate may be used at once."""
REQUEST_COST = 50
"""A few bytes of a request make this node read its disk and encode an answer: messages it counts as."""
SYNC_REQUEST_COST = 100
"""Its answer is up to 256 blocks, a chunk of a snapshot, or a piece of a content."""
HASHES_PER_MESSAGE = 8
"""Contents that are looked for at the cost of a message."""


class Allowance:
    """What one peer has left of its rates; below zero, what it owes."""

    __slots__ = ("_bytes", "_messages", "_refilled_s")

    def __init__(self, now_s: float) -> None:
        self._bytes = BYTES_PER_SECOND * BURST_S
        self._messages = MESSAGES_PER_SECOND * BURST_S
        self._refilled_s = now_s

    def charge(self, *, size_bytes: int = 0, messages: int = 0) -> None:
        """Takes something off; the caller asks for the pause."""
        self._bytes -= size_bytes
        self._messages -= messages

    def pause_s(self, now_s: float) -> float:
        """How long until nothing is owed; 0 when nothing is."""
        elapsed_s, self._refilled_s = now_s - self._refilled_s, now_s
        self._bytes = min(self._bytes + elapsed_s * BYTES_PER_SECOND, BYTES_PER_SECOND * BURST_S)
        self._messages = min(self._messages + elapsed_s * MESSAGES_PER_SECOND, MESSAGES_PER_SECOND * BURST_S)
        return max(0.0, -self._bytes / BYTES_PER_SECOND, -self._messages / MESSAGES_PER_SECOND)


def cost_of(message: Message) -> int:
    """How many messages a message counts as."""
    match message:
        case SyncRequest() | SnapshotsRequest() | ChunkRequest() | EpochEndsRequest() | PieceRequest():
            return SYNC_REQUEST_COST
        case BlobRequest(hashes=hashes):
            return REQUEST_COST + len(hashes) // HASHES_PER_MESSAGE
        case BlockRequest() | CertificateRequest() | StatusRequest():
            return REQUEST_COST
        case _:
            return 1
