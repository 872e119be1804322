"""Blocks, transactions, certificates and proofs as JSON: the shapes that `node.api.present` fills.

Hashes, keys and ids are hexadecimal, amounts decimal strings of base units, times milliseconds since 1970.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class HeaderView(Struct, frozen=True, kw_only=True):
    """A block's header."""

    id: str
    """The block's id: SHA-256 over the tag `ol/block`, padded to 16 bytes, and `encoded`."""
    version: int
    """Protocol version."""
    genesis_hash: str
    """The chain."""
    height: int
    """Blocks since genesis."""
    epoch: int
    """The epoch it belongs to."""
    view: int
    """The view it was first proposed in."""
    parent_id: str
    """The block it extends."""
    parent_view: int
    """The view whose certificate it builds on."""
    time_ms: int
    """The proposer's time."""
    proposer: str
    """The leader of its view: a consensus id."""
    transactions_root: str
    """Merkle root over the transactions' bytes."""
    receipts_root: str
    """Merkle root over the receipts' bytes."""
    state_root: str
    """Root of the state after it."""
    validator_set_hash: str
    """The set that votes on it."""
    parameters_hash: str
    """The parameters that govern it."""
    next_validator_set_hash: str
    """The set that votes on the next block."""
    encoded: str
    """The canonical bytes."""


class BlockView(Struct, frozen=True, kw_only=True):
    """A block with its transactions' bytes."""

    header: HeaderView
    """Its header."""
    transactions: list[str]
    """Encoded transactions, in order."""


class BlockSummary(Struct, frozen=True, kw_only=True):
    """A block in a listing."""

    height: int
    """Blocks since genesis."""
    id: str
    """Its id."""
    epoch: int
    """Its epoch."""
    view: int
    """The view it was proposed in."""
    time_ms: int
    """Its time."""
    proposer: str
    """Consensus id of who proposed it."""
    transaction_count: int
    """Transactions in it."""
    failed_count: int
    """Of these, the ones that took no effect."""
    size_bytes: int
    """Bytes of its transactions."""


class BlockDetail(Struct, frozen=True, kw_only=True):
    """A block in full, without its transactions."""

    summary: BlockSummary
    """What a listing shows."""
    header: HeaderView
    """Its header."""
    is_finalised_directly: bool
    """Whether it has a finalization of its own; else a descendant's makes it final."""


class HeaderRange(Struct, frozen=True, kw_only=True):
    """Headers of consecutive blocks."""

    last_height: int
    """The last final block."""
    headers: list[HeaderView]
    """Newest first."""


class VoteSignatureView(Struct, frozen=True, kw_only=True):
    """One validator's signature in a certificate."""

    validator: str
    """Consensus id."""
    signature: str
    """Over the statement's digest."""


class CertificateView(Struct, frozen=True, kw_only=True):
    """A statement signed by a quorum."""

    kind: str
    """`notarize`, `nullify` or `finalize`."""
    epoch: int
    """The epoch."""
    view: int
    """The view."""
    block_id: str
    """The block."""
    signatures: list[VoteSignatureView]
    """Who signed, sorted by validator."""


class CommitView(Struct, frozen=True, kw_only=True):
    """A header and why it is final."""

    header: HeaderView
    """The header."""
    descendants: list[HeaderView]
    """From its child up to the block the certificate names; empty when that is the block itself."""
    certificate: CertificateView | None
    """The finalization; null for the genesis block, which needs none."""


class BlockNews(Struct, frozen=True, kw_only=True):
    """A block that became final, as followers learn of it."""

    height: int
    """Blocks since genesis."""
    id: str
    """Its id."""
    time_ms: int
    """Its time."""
    transactions: list[FinalTransaction]
    """Its transactions, in order."""


class FinalTransaction(Struct, frozen=True, kw_only=True):
    """A transaction that became final."""

    id: str
    """Which."""
    failure: str
    """Empty when it took effect, else the reason."""


class EventView(Struct, frozen=True, kw_only=True):
    """One thing that a transaction did."""

    name: str
    """What sort of thing."""
    payload: dict[str, Any]
    """What exactly."""


class ReceiptView(Struct, frozen=True, kw_only=True):
    """What a transaction did."""

    transaction_id: str
    """Which transaction."""
    failure: str
    """Empty when it took effect, else the reason."""
    hint: str
    """The reason's sentence."""
    fee_units: str
    """What it paid to the treasury."""
    events: list[EventView]
    """What happened, in order."""


class BlockResults(Struct, frozen=True, kw_only=True):
    """What a block's transactions did."""

    height: int
    """The block."""
    receipts: list[ReceiptView]
    """One per transaction, in order."""


class TransactionSummary(Struct, frozen=True, kw_only=True):
    """A final transaction in a listing: what it says and did is a question away."""

    id: str
    """Its id."""
    height: int
    """Its block."""
    index: int
    """Its place there."""
    time_ms: int
    """The block's time."""
    kind: str
    """What it is, in one word."""
    sender: str
    """Who sent it."""
    nonce: int
    """How many the sender made before."""
    fee_units: str
    """What was paid for it."""
    size_bytes: int
    """Its size."""
    failure: str
    """Why it had no effect; empty when it had."""
    event_count: int
    """How many things happened."""


class TransactionView(Struct, frozen=True, kw_only=True):
    """A final transaction and what it did."""

    id: str
    """Its id."""
    height: int
    """Its block."""
    index: int
    """Its place in the block."""
    time_ms: int
    """The block's time."""
    kind: str
    """What sort of order it is."""
    sender: str
    """Whose."""
    public_key: str
    """The key that signed it."""
    nonce: int
    """How many the sender made before."""
    fee_units: str
    """What it paid."""
    valid_until_height: int
    """The last height it was valid for."""
    size_bytes: int
    """Its size."""
    payload: dict[str, Any]
    """What it orders."""
    failure: str
    """Empty when it took effect, else the reason."""
    hint: str
    """The reason's sentence."""
    events: list[EventView]
    """What happened, in order."""


class MerkleProofView(Struct, frozen=True, kw_only=True):
    """Shows that bytes stand at a place under a root (RFC 9162, section 2.1.3.2)."""

    root: str
    """The root in the header."""
    leaf: str
    """The bytes."""
    index: int
    """Their place."""
    count: int
    """How many leaves there are."""
    siblings: list[str]
    """Hashes from the leaf up."""


class TransactionProof(Struct, frozen=True, kw_only=True):
    """Shows that a transaction stands in a block and what came of it."""

    header: HeaderView
    """The block's header."""
    transaction: MerkleProofView
    """Under the transactions root."""
    receipt: MerkleProofView
    """Under the receipts root."""


class TransactionAnswer(Struct, frozen=True, kw_only=True):
    """A transaction, with its proof if asked for."""

    transaction: TransactionView
    """The transaction."""
    proof: TransactionProof | None
    """Null unless asked for."""


class TransactionStatus(Struct, frozen=True, kw_only=True):
    """What this node knows of a transaction."""

    id: str
    """Which."""
    status: str
    """`pending`, `final`, `dropped` or `unknown`."""
    height: int | None
    """Its block, once it is final."""
    index: int | None
    """Its place in the block, once it is final."""
    reason: str
    """Why it was dropped."""
    hint: str
    """The reason's sentence."""


class UnconfirmedView(Struct, frozen=True, kw_only=True):
    """What waits for a block."""

    total: int
    """Transactions that wait."""
    ready: int
    """Of these, the ones that no missing nonce holds back."""
    arriving: int
    """Transactions that are still being verified."""
    size_bytes: int
    """Bytes of those that wait."""
    transactions: list[PendingTransaction]
    """The first of them, if asked for."""


class PendingTransaction(Struct, frozen=True, kw_only=True):
    """A transaction that waits for a block."""

    id: str
    """Its id."""
    kind: str
    """What sort of order it is."""
    sender: str
    """Whose."""
    nonce: int
    """How many the sender made before."""
    fee_units: str
    """What it pays."""
    size_bytes: int
    """Its size."""


class Admission(Struct, frozen=True, kw_only=True):
    """A transaction was taken in."""

    transaction_id: str
    """Its id."""
    status: str
    """`admitted`; `checking` while its claim is still computed: ask `tx_status`."""


class FeeView(Struct, frozen=True, kw_only=True):
    """What a transaction pays at least."""

    fee_units: str
    """base + bytes + started millions of metered multiply-accumulates."""
    size_bytes: int
    """Its size."""
    work_macs: int
    """Its metered work."""


class EvidenceView(Struct, frozen=True, kw_only=True):
    """Two votes that contradict each other."""

    validator: str
    """Who signed both."""
    epoch: int
    """The epoch."""
    view: int
    """The view."""
    first: dict[str, Any]
    """One vote."""
    second: dict[str, Any]
    """The other."""


class EvidenceList(Struct, frozen=True, kw_only=True):
    """Equivocations this node saw."""

    evidence: list[EvidenceView]
    """Oldest first."""


class StateProofView(Struct, frozen=True, kw_only=True):
    """Shows a state key's value, or its absence, under a state root."""

    key: str
    """The state key: one byte of table, then the table's key."""
    nodes: list[str]
    """Nodes on the path of SHA-256(key), from the root down."""


class QueryAnswer(Struct, frozen=True, kw_only=True):
    """A value of the ledger's state."""

    table: str
    """Which table."""
    key: str
    """The table's key."""
    value: str | None
    """The canonical bytes; null when there is none."""
    decoded: dict[str, Any] | None
    """The value's fields."""
    header: HeaderView
    """The final block whose state this is."""
    proof: StateProofView
    """Why, under the header's state root."""


class TransactionNews(Struct, frozen=True, kw_only=True):
    """Transactions of one block that a subscriber follows."""

    height: int
    """The block."""
    time_ms: int
    """Its time."""
    transactions: list[TransactionView]
    """In order."""
