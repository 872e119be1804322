"""What nodes say to each other, as one closed union of wire objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from consensus.types import Certificate, Epoch, View, Vote
from node.primitives.codec import decode_union, encode_union
from node.primitives.crypto import Hash
from node.types.block import Block, TransactionBytes
from node.types.content import PIECE_SIZE_BYTES, ContentManifest, PieceIndex
from node.types.epoch import EpochEnd
from node.types.parameters import LARGEST_BLOCK_SIZE_BYTES
from node.types.snapshot import LARGEST_CHUNK_SIZE_BYTES, MOST_CHUNKS, Snapshot
from node.types.transaction import Height

LARGEST_MESSAGE_SIZE_BYTES = 2 * LARGEST_BLOCK_SIZE_BYTES
"""Largest message: a block with its proofs, or contents, and room. A large content travels in pieces."""
MOST_TRANSACTIONS_PER_BATCH = 1_000
MOST_CERTIFICATES = 64
MOST_VOTES = 64
MOST_BLOBS_PER_MESSAGE = 1_024
MOST_SYNC_BLOCKS = 256
MOST_SNAPSHOTS = 2
MOST_EPOCH_ENDS = 16
LARGEST_BLOBS_SIZE_BYTES = 4 * 2**20
"""Most content one blob message carries."""
MOST_MANIFESTS = 16
"""Large contents that are told of in answer to one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """Votes in consensus."""

    TAG: ClassVar[int] = 1

    votes: Annotated[tuple[Vote, ...], range(1, MOST_VOTES + 1)]
    """The votes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Certificates: news, or the answer to a request."""

    TAG: ClassVar[int] = 2

    certificates: Annotated[tuple[Certificate, ...], range(1, MOST_CERTIFICATES + 1)]
    """The certificates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockProposal:
    """A leader's block, with the proofs its acceptance needs."""

    TAG: ClassVar[int] = 3

    vote: Vote
    """The leader's notarize."""
    parent_view: View
    """The view that certified the parent; of a re-proposed block, the view that certified the block itself."""
    block: Block
    """The block."""
    certificates: Annotated[tuple[Certificate, ...], range(MOST_CERTIFICATES + 1)]
    """The parent's certificate and the nullifications since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transactions:
    """Transactions the sender has verified."""

    TAG: ClassVar[int] = 4

    transactions: Annotated[tuple[TransactionBytes, ...], range(1, MOST_TRANSACTIONS_PER_BATCH + 1)]
    """Encoded transactions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRequest:
    """Asks for proofs of views."""

    TAG: ClassVar[int] = 5

    epoch: Epoch
    """The epoch."""
    from_view: View
    """The first view."""
    to_view: View
    """The view after the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRequest:
    """Asks for a block that may not be final."""

    TAG: ClassVar[int] = 6

    block_id: Hash
    """Which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockResponse:
    """A block that was asked for."""

    TAG: ClassVar[int] = 7

    block: Block
    """The block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """Asks for final blocks."""

    TAG: ClassVar[int] = 8

    from_height: Height
    """The first one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResponse:
    """Final blocks of one epoch, consecutive, with the finalization of the last one."""

    TAG: ClassVar[int] = 9

    blocks: Annotated[tuple[Block, ...], range(1, MOST_SYNC_BLOCKS + 1)]
    """The blocks."""
    certificate: Certificate
    """Why the last one is final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRequest:
    """Asks for contents."""

    TAG: ClassVar[int] = 10

    hashes: Annotated[tuple[Hash, ...], range(1, MOST_BLOBS_PER_MESSAGE + 1)]
    """Their hashes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobResponse:
    """Contents of at most one piece that were asked for: as many as the sender holds and one message takes."""

    TAG: ClassVar[int] = 11

    contents: Annotated[tuple[Annotated[bytes, range(1, PIECE_SIZE_BYTES + 1)], ...], range(MOST_BLOBS_PER_MESSAGE + 1)]
    """The contents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRequest:
    """Asks where a node stands."""

    TAG: ClassVar[int] = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a node stands: sent when asked, on connecting, and now and then."""

    TAG: ClassVar[int] = 13

    height: Height
    """Its last final block."""
    epoch: Epoch
    """Its epoch."""
    view: View
    """Its view."""
    entered_by: Annotated[tuple[Certificate, ...], range(2)]
    """The certificate that let it enter that view; none in an epoch's first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocksPruned:
    """The answer to a request for final blocks that are not here any more."""

    TAG: ClassVar[int] = 14

    from_height: Height
    """What was asked for."""
    lowest_height: Height
    """The lowest one that is here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotsRequest:
    """Asks which snapshots of the state a node has."""

    TAG: ClassVar[int] = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshots:
    """The snapshots a node has, the newest first."""

    TAG: ClassVar[int] = 16

    snapshots: Annotated[tuple[Snapshot, ...], range(MOST_SNAPSHOTS + 1)]
    """Their manifests, with the proofs that their blocks are final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRequest:
    """Asks for a chunk of a snapshot."""

    TAG: ClassVar[int] = 17

    snapshot_id: Hash
    """Which snapshot."""
    index: Annotated[int, range(MOST_CHUNKS)]
    """Which chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkResponse:
    """A chunk that was asked for."""

    TAG: ClassVar[int] = 18

    snapshot_id: Hash
    """Of which snapshot."""
    index: Annotated[int, range(MOST_CHUNKS)]
    """Which chunk."""
    data: Annotated[bytes, range(LARGEST_CHUNK_SIZE_BYTES + 1)]
    """Its bytes; none when the snapshot is not here any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEndsRequest:
    """Asks for what ended an epoch and the ones after it."""

    TAG: ClassVar[int] = 19

    from_epoch: Epoch
    """The first one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnds:
    """Ends of consecutive epochs."""

    TAG: ClassVar[int] = 20

    from_epoch: Epoch
    """What was asked for."""
    ends: Annotated[tuple[EpochEnd, ...], range(MOST_EPOCH_ENDS + 1)]
    """In order from there; none when that epoch has not ended here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentHeld:
    """The sender holds a large content: said when asked for it, and to validators when it has come."""

    TAG: ClassVar[int] = 21

    manifest: ContentManifest
    """What it is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceRequest:
    """Asks for a piece of a large content."""

    TAG: ClassVar[int] = 22

    content: Hash
    """Which content."""
    manifest_id: Hash
    """By which manifest: one that holds it by another has no such piece."""
    index: PieceIndex
    """Which piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceResponse:
    """A piece that was asked for."""

    TAG: ClassVar[int] = 23

    manifest_id: Hash
    """By which manifest."""
    index: PieceIndex
    """Which piece."""
    data: Annotated[bytes, range(PIECE_SIZE_BYTES + 1)]
    """Its bytes; none when the sender does not hold the content by this manifest, or not for the one that asks."""


Message = (
    Votes
    | Certificates
    | BlockProposal
    | Transactions
    | CertificateRequest
    | BlockRequest
    | BlockResponse
    | SyncRequest
    | SyncResponse
    | BlobRequest
    | BlobResponse
    | StatusRequest
    | Status
    | BlocksPruned
    | SnapshotsRequest
    | Snapshots
    | ChunkRequest
    | ChunkResponse
    | EpochEndsRequest
    | EpochEnds
    | ContentHeld
    | PieceRequest
    | PieceResponse
)


def encode_message(message: Message) -> bytes:
    """The bytes of a message."""
    return encode_union(Message, message)


def decode_message(data: bytes) -> Message:
    """The message some bytes are. Raises: MessageRejected."""
    return decode_union(Message, data)  # type: ignore[no-any-return]
