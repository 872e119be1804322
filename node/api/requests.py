"""What the API is asked: the parameters of every method and route, checked before anything looks at them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from node.types.content import MOST_PIECES, PIECE_SIZE_BYTES
from node.types.parameters import LARGEST_BLOB_SIZE_BYTES

BASE = "/api/v1"
"""Where the explorer's routes are."""
MOST_CALLS = 500
"""Calls in a JSON-RPC batch."""
MOST_BLOBS = 1_024
"""Contents in one upload."""
LARGEST_READ_SIZE_BYTES = 4 * 2**20
"""Most bytes of a content in one answer of the RPC."""
LARGEST_PAGE = 100
MOST_HEADERS = 50
LONGEST_WAIT_MS = 60_000

# A length beside a pattern: `$` alone lets a last line feed pass.
Hex32 = Annotated[
    str, Meta(pattern="^[0-9a-fA-F]{64}$", min_length=64, max_length=64, description="32 bytes in hexadecimal.")
]
AddressText = Annotated[str, Meta(min_length=8, max_length=90, description="An address: open1…")]
HeightNumber = Annotated[int, Meta(ge=0, lt=2**48, description="Blocks since genesis.")]
HexBytes = Annotated[str, Meta(min_length=2, description="Bytes in hexadecimal.")]
Limit = Annotated[int, Meta(ge=1, le=LARGEST_PAGE, description=f"How many items, at most {LARGEST_PAGE}.")]
PlaceNumber = Annotated[int, Meta(ge=0, lt=2**32, description="The cluster's number to begin with.")]
Cursor = Annotated[str, Meta(max_length=200, description="Where the last page ended: from its next_page_params.")]
Sort = Annotated[Literal["newest", "oldest"], Meta(description="Which items come first.")]
BlockName = Annotated[
    str, Meta(pattern="^([0-9]{1,15}|[0-9a-fA-F]{64})$", max_length=64, description="A height or a block id.")
]
PaymentId = Annotated[str, Meta(pattern="^[0-9]{1,15}-[0-9]{1,5}-[0-9]{1,5}$", description="Height, index, event.")]

# JSON-RPC.


class NoParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A method that takes nothing."""


class BlockParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A final block; the last one when neither is given."""

    height: HeightNumber | None = None
    """Its height."""
    id: Hex32 | None = None
    """Its id."""


class LightBlockParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A final block; the last one when neither is given."""

    height: HeightNumber | None = None
    """Its height."""
    epoch: Annotated[int, Meta(ge=1, lt=2**48)] | None = None
    """The epoch it is the last block of."""


class RangeParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Consecutive blocks; the last ones when nothing is given."""

    min_height: HeightNumber | None = None
    """The lowest."""
    max_height: HeightNumber | None = None
    """The highest."""


class EpochParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An epoch; the current one when it is not given."""

    epoch: Annotated[int, Meta(ge=1, lt=2**48)] | None = None
    """Its number."""


class TransactionParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A final transaction."""

    id: Hex32
    """Its id."""
    prove: bool = False
    """Whether Merkle proofs are wanted."""


class TransactionIdParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A transaction."""

    id: Hex32
    """Its id."""


class PendingParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Waiting transactions."""

    limit: Limit = 30
    """How many are shown."""


class BroadcastParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed transaction."""

    transaction: HexBytes
    """Its canonical bytes."""


class CommitParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed transaction, and how long its receipt is waited for."""

    transaction: HexBytes
    """Its canonical bytes."""
    timeout_ms: Annotated[int, Meta(ge=1, le=LONGEST_WAIT_MS)] = 10_000
    """How long."""


class QueryParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A value of the state."""

    table: str
    """The table: a name of `node.storage.schema.Prefix` in lower case."""
    key: Annotated[str, Meta(max_length=2048)] = ""
    """The table's key in hexadecimal; an account's may be its address."""
    height: HeightNumber | None = None
    """The state after which block; only the last final one is kept."""


class AccountParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account."""

    address: AddressText
    """Its address."""


class RegisterParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A register."""

    owner: AddressText
    """Whose."""
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    """Which of the owner's."""


class FeeParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A transaction to be priced: its bytes, or what is known of it."""

    transaction: HexBytes | None = None
    """Its bytes; fee, nonce and signature may be placeholders."""
    size_bytes: Annotated[int, Meta(ge=0, lt=2**32)] | None = None
    """Its size, when the bytes are not given."""
    work_macs: Annotated[int, Meta(ge=0, lt=2**48)] = 0
    """Its metered work, when the bytes are not given."""


class UploadParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Contents that a transaction will refer to."""

    contents: Annotated[list[str], Meta(min_length=1, max_length=MOST_BLOBS)]
    """The contents."""
    encoding: Literal["base64", "hex"] = "base64"
    """How they are written."""


class BeginUploadParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A large content that comes piece by piece; begun again, it says what is missing."""

    hash: Hex32
    """SHA-256 of all its bytes."""
    size_bytes: Annotated[int, Meta(gt=PIECE_SIZE_BYTES, le=LARGEST_BLOB_SIZE_BYTES)]
    """How many they are: more than a piece; smaller ones are put at once."""
    pieces: Annotated[list[Hex32], Meta(min_length=2, max_length=MOST_PIECES)]
    """SHA-256 of each 1 MiB of it, in order; the last piece is what is left."""


class PieceParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A piece of a content whose upload was begun."""

    id: Hex32
    """The upload, as its beginning named it."""
    index: Annotated[int, Meta(ge=0, lt=MOST_PIECES)]
    """Which piece, from 0 on."""
    data: Annotated[str, Meta(max_length=2 * PIECE_SIZE_BYTES)]
    """Its bytes."""
    encoding: Literal["base64", "hex"] = "base64"
    """How they are written."""


class UploadStatusParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An upload that was begun, or is done."""

    hash: Hex32
    """SHA-256 of all the content's bytes."""
    id: Hex32
    """The upload, as its beginning named it."""


class ContentParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A content. One that is under review is shown to the datanet's reviewers, who sign for it.

    The signature is over SHA-256(`ol/read-content` padded to 16 bytes, genesis hash, content hash, the reviewer's 20
    address bytes, the height as 8 bytes).
    """

    hash: Hex32
    """SHA-256 of the bytes."""
    datanet: Hex32 | None = None
    """Where it is under review."""
    reviewer: AddressText | None = None
    """Who reads it."""
    public_key: Hex32 | None = None
    """The reviewer's key."""
    height: HeightNumber | None = None
    """One of the last 100 heights."""
    signature: Annotated[str, Meta(pattern="^[0-9a-fA-F]{128}$", max_length=128)] | None = None
    """The reviewer's signature."""
    offset_bytes: Annotated[int, Meta(ge=0, lt=LARGEST_BLOB_SIZE_BYTES)] | None = None
    """Where to begin, to read a content in parts of at most 4 MiB."""


class SubscribeParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a WebSocket wants to hear of."""

    topic: Literal["blocks", "transactions", "payments"]
    """Of what."""
    address: AddressText | None = None
    """Transactions or payments of one account only."""
    from_height: HeightNumber | None = None
    """From which block on; from now on when it is not given."""


class UnsubscribeParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A subscription to end."""

    subscription: Annotated[str, Meta(max_length=20)]
    """Its id."""


# REST: path and query parameters together.


class Listing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of a listing."""

    limit: Limit = 25
    cursor: Cursor | None = None
    sort: Sort = "newest"


class BlockPath(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A block."""

    block: BlockName


class BlockListing(Listing, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A listing of one block."""

    block: BlockName


class IdPath(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something with an id."""

    id: Hex32


class IdListing(Listing, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A listing of something with an id."""

    id: Hex32


class ClusterListing(IdPath, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of a datanet's clusters."""

    from_place: PlaceNumber = 0
    limit: Limit = 25


class AddressPath(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account."""

    address: AddressText


class AddressListing(Listing, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A listing of an account."""

    address: AddressText


class PaymentPath(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A payment."""

    id: PaymentId


class SearchQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A search."""

    q: Annotated[
        str,
        Meta(min_length=1, max_length=128, description="An address, a hash, a height, or how a name begins."),
    ]


class NoQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A route that takes nothing."""


class DaysQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last days."""

    days: Annotated[int, Meta(ge=1, le=366)] = 30
    """How many."""


class EventsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the events begin."""

    from_height: HeightNumber | None = None
    """The first block wanted; a Last-Event-ID header goes before it. Without both, the last one."""
