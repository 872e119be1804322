"""What the API answers: the one place that names JSON fields. Shapes only; `node.api.present` fills them.

Amounts are strings of base units (JSON readers round large numbers), hashes and keys hexadecimal, addresses `open1…`,
heights integers, times milliseconds since 1970. Payloads, events and actions are objects with the names of their
wire classes (`node.primitives.plain`).
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from msgspec import UNSET, Struct, UnsetType

T = TypeVar("T")
CallId = str | int | float | None
"""What a JSON-RPC caller names its call."""

# JSON-RPC 2.0.


class ErrorData(Struct, frozen=True, kw_only=True):
    """Why a call failed."""

    reason: str
    """A stable word."""
    hint: str
    """A sentence for people: what to do."""
    transaction_id: str | UnsetType = UNSET
    """The transaction it is about."""


class CallError(Struct, frozen=True, kw_only=True):
    """A failed call."""

    code: int
    """By the standard; -32000 for what this node refuses."""
    message: str
    """In two words."""
    data: ErrorData
    """Why."""


class Success(Struct, frozen=True, kw_only=True):
    """The answer to a call that worked."""

    jsonrpc: str = "2.0"
    """The protocol."""
    result: Any
    """What the method says."""
    id: CallId
    """The call's."""


class Failed(Struct, frozen=True, kw_only=True):
    """The answer to a call that failed."""

    jsonrpc: str = "2.0"
    """The protocol."""
    error: CallError
    """Why."""
    id: CallId
    """The call's; null when it could not be read."""


class NewsParams(Struct, frozen=True, kw_only=True):
    """What a subscription brings."""

    subscription: str
    """Which."""
    topic: str
    """What it follows."""
    result: Any
    """The news."""


class News(Struct, frozen=True, kw_only=True):
    """A notification to a subscriber."""

    jsonrpc: str = "2.0"
    """The protocol."""
    method: str = "subscription"
    """What it is."""
    params: NewsParams
    """The news."""


# REST errors.


class Problem(Struct, frozen=True, kw_only=True):
    """Why a request was refused."""

    reason: str
    """A stable word."""
    message: str
    """A sentence for people."""


class ErrorAnswer(Struct, frozen=True, kw_only=True):
    """What a refused REST request gets."""

    error: Problem
    """Why."""


# Pages.


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """A part of a listing."""

    items: list[T]
    """In the order asked for."""
    next_page_params: dict[str, str | int] | None
    """Query parameters of the next page; null on the last one."""


# Blocks.


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


# Transactions.


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


# Node and network.


class NodeView(Struct, frozen=True, kw_only=True):
    """This node."""

    id: str
    """Its identity among peers."""
    name: str
    """What people call it."""
    version: str
    """The program."""
    protocol_version: int
    """The rules the program implements."""
    chain_name: str
    """What people call the chain."""
    genesis_hash: str
    """The chain."""
    has_index: bool
    """Whether it answers for the explorer."""


class SyncView(Struct, frozen=True, kw_only=True):
    """Where this node stands."""

    latest_height: int
    """The last final block."""
    latest_block_id: str
    """Its id."""
    latest_state_root: str
    """The state after it."""
    latest_time_ms: int
    """Its time."""
    epoch: int
    """The epoch consensus is in."""
    view: int
    """The view consensus is in."""
    catching_up: bool
    """Whether peers are ahead."""
    seconds_since_final: float
    """Since this node last saw a block become final, or started."""
    index_height: int | None
    """The last block in the index; null without one."""


class OwnValidator(Struct, frozen=True, kw_only=True):
    """The validator this node votes for."""

    id: str
    """Consensus id."""
    operator: str
    """The account that answers for it; empty when it is not in the current set."""
    power: int
    """Its voting power; 0 when it is not in the current set."""


class StatusView(Struct, frozen=True, kw_only=True):
    """This node at a glance."""

    node: NodeView
    """Who it is."""
    sync: SyncView
    """Where it stands."""
    validator: OwnValidator | None
    """What it votes for; null when it only follows."""


class HealthView(Struct, frozen=True, kw_only=True):
    """Whether the node does its work."""

    is_ready: bool
    """Whether nothing is wrong."""
    reasons: list[str]
    """What is wrong."""


class PeerView(Struct, frozen=True, kw_only=True):
    """A registered node."""

    id: str
    """Its identity among peers."""
    name: str
    """What people call it."""
    endpoint: str
    """Where it listens; empty when it only connects out."""
    is_connected: bool
    """Whether this node is connected to it."""
    is_self: bool
    """Whether it is this node."""


class NetworkView(Struct, frozen=True, kw_only=True):
    """The registered nodes, and who is connected."""

    peer_count: int
    """Connected peers."""
    nodes: list[PeerView]
    """Every registered node."""


class ValidatorView(Struct, frozen=True, kw_only=True):
    """A member of a validator set."""

    id: str
    """Consensus id."""
    name: str
    """What people call its node; empty when it left the registry."""
    operator: str
    """The account that answers for it."""
    consensus_key: str
    """What it signs votes with."""
    power: int
    """Its voting power."""
    bond_units: str
    """What its operator has locked."""
    observed_proposals: int
    """Of the last blocks this node saw become final, how many it proposed: an observation, not state."""


class ValidatorSetView(Struct, frozen=True, kw_only=True):
    """Who votes in an epoch."""

    epoch: int
    """The epoch."""
    hash: str
    """What headers commit to."""
    total_power: int
    """All voting power."""
    quorum_power: int
    """The least power that is a quorum."""
    observed_blocks: int
    """How many blocks `observed_proposals` looks at."""
    validators: list[ValidatorView]
    """Sorted by consensus id."""


class ParametersView(Struct, frozen=True, kw_only=True):
    """What governs the current epoch, and the next one."""

    epoch: int
    """The epoch."""
    first_height: int
    """Its first block."""
    last_height: int
    """Its last block."""
    hash: str
    """What headers commit to."""
    parameters: dict[str, Any]
    """Its parameters."""
    next_parameters: dict[str, Any]
    """The next epoch's, as they are decided so far."""


class GenesisView(Struct, frozen=True, kw_only=True):
    """The first state."""

    hash: str
    """The chain's identity."""
    genesis: Any
    """The genesis file."""


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


class BlobHashes(Struct, frozen=True, kw_only=True):
    """Contents were stored."""

    hashes: list[str]
    """SHA-256 of each, in order."""


class BlobView(Struct, frozen=True, kw_only=True):
    """A content."""

    hash: str
    """SHA-256 of the bytes."""
    size_bytes: int
    """How many bytes."""
    content: str
    """The bytes, in base64."""


class SubscriptionView(Struct, frozen=True, kw_only=True):
    """A subscription of a WebSocket."""

    subscription: str
    """Its id."""


# The explorer.


class ReleaseView(Struct, frozen=True, kw_only=True):
    """A part of a bond on its way out."""

    amount_units: str
    """How much."""
    epoch: int
    """The first epoch it may be withdrawn in."""


class EarningView(Struct, frozen=True, kw_only=True):
    """What an account earned in an epoch and has not claimed."""

    epoch: int
    """The epoch."""
    accrued_units: str
    """Earned before the epoch's cap."""
    minted_units: str
    """What a claim would mint now; final once the epoch has ended."""
    pool_units: str
    """An operator's part of the validators' pool of fees."""
    is_claimable: bool
    """Whether the epoch has ended."""


class AccountView(Struct, frozen=True, kw_only=True):
    """An account."""

    address: str
    """Whose."""
    balance_units: str
    """What it can spend."""
    bond_units: str
    """What it has locked."""
    nonce: int
    """Its final transactions."""
    next_nonce: int
    """The nonce of the next transaction to send, waiting ones counted."""
    public_key: str
    """Its key after a rotation; empty while the address is the first key's hash."""
    roles: list[str]
    """What it may do."""
    unbonding: list[ReleaseView]
    """What it asked back."""
    earnings: list[EarningView]
    """What it may claim, of the last epochs."""


class ColumnView(Struct, frozen=True, kw_only=True):
    """One number of a record."""

    name: str
    """What it measures."""
    decimals: int
    """A value is the number times 10^decimals."""
    minimum: int
    """Smallest value."""
    maximum: int
    """Largest value."""


class HoldoutView(Struct, frozen=True, kw_only=True):
    """What a datanet's reviewers committed to."""

    root: str
    """Merkle root over the chunks."""
    chunk_count: int
    """How many chunks."""
    committed_height: int
    """When the quorum was reached; 0 before."""
    used: list[int]
    """Chunks revealed."""


class DatanetView(Struct, frozen=True, kw_only=True):
    """A datanet."""

    id: str
    """Its id."""
    name: str
    """What people call it."""
    licence: str
    """Under which terms its records are used."""
    owner: str
    """Who created it."""
    columns: list[ColumnView]
    """The form of a record."""
    classes: list[str]
    """The names of the labels."""
    schema_id: str
    """The form's identity."""
    dampings: list[int]
    """The regularisations a model may be trained with."""
    reviewers: list[str]
    """Who accepts records."""
    review_quorum: int
    """How many must agree."""
    created_height: int
    """When."""
    accepted_count: int
    """Records accepted so far, erased ones included."""
    models: list[str]
    """Models that are not retired."""
    escrow_units: str
    """What its questions paid and no record earned."""
    holdout: HoldoutView | None
    """What its models are measured on."""


class ContributionView(Struct, frozen=True, kw_only=True):
    """Records that came together."""

    id: str
    """The transaction that made it."""
    datanet: str
    """Where."""
    contributor: str
    """By whom."""
    status: str
    """`pending`, `accepted` or `rejected`."""
    record_count: int
    """Records under review, duplicates left out."""
    record_bond_units: str
    """What is locked for each."""
    bonded_count: int
    """For how many it is locked still."""
    accepted_by: list[str]
    """Reviewers in favour."""
    rejected_by: list[str]
    """Reviewers against."""


class ContributionDetail(Struct, frozen=True, kw_only=True):
    """A contribution with its records."""

    contribution: ContributionView
    """The contribution."""
    records: list[str]
    """Content hashes."""


class RecordView(Struct, frozen=True, kw_only=True):
    """A contributed record."""

    content: str
    """SHA-256 of its bytes."""
    datanet: str
    """Where it was contributed."""
    contributor: str
    """Who is paid."""
    contribution: str
    """The transaction it came in."""
    height: int
    """Seniority: when it was admitted."""
    transaction_index: int
    """Seniority within the block."""
    index: int
    """Seniority within the transaction."""
    status: str
    """`pending`, `accepted`, `rejected`, `erased` or `holdout`."""
    position: int
    """Its place among the datanet's accepted records, once it is one."""


class ContentView(Struct, frozen=True, kw_only=True):
    """A content and the records that are these bytes."""

    content: str
    """SHA-256 of the bytes."""
    uses: int
    """How often the ledger refers to it."""
    erased_height: int
    """Since when it is erased; 0 while it is not."""
    is_public: bool
    """Whether this node serves the bytes to everybody."""
    records: list[RecordView]
    """One per form it was contributed in."""


class CertificateOfModel(Struct, frozen=True, kw_only=True):
    """What a model's weights and inverse achieve."""

    record_count: int
    """Records in the snapshot."""
    gradient_norm: int
    """L2 norm of the exact gradient, in 2^-40."""
    inverse_residual: int
    """Largest row sum of |H·M - τ·I| over τ, in 2^-30."""


class ModelView(Struct, frozen=True, kw_only=True):
    """A model."""

    id: str
    """Its id."""
    name: str
    """What people call it."""
    owner: str
    """Who is paid for its answers."""
    datanet: str
    """Whose records it was trained on."""
    engine: str
    """Attribution engine with version."""
    damping: int
    """λ in 2^-20."""
    weights: str
    """Content hash of the weights."""
    inverse: str
    """Content hash of the certified inverse."""
    certificate: CertificateOfModel
    """What every validator verified."""
    snapshot_count: int
    """The datanet's records below this position."""
    certified_epoch: int
    """The epoch at whose start the snapshot was taken."""
    changed_height: int
    """When it was registered, certified again or measured."""
    price_units: str
    """Smallest fee of a question."""
    status: str
    """`awaiting_gate`, `active` or `retired`."""
    is_open: bool
    """Whether it takes questions now."""
    gate_deadline_height: int
    """Up to here it waits for its holdout."""
    is_gate_on: bool
    """Whether the holdout was large enough."""
    eligibility_bps: int
    """How far it beats the constant answer: what minting is multiplied by."""
    blocked: list[int]
    """Positions of the records its gate keeps out."""


class QuestionView(Struct, frozen=True, kw_only=True):
    """A paid question."""

    id: str
    """The transaction that asked."""
    model: str
    """Whom."""
    asker: str
    """Who asked."""
    query: str
    """Content hash of the features."""
    fee_units: str
    """What it pays."""
    asked_height: int
    """When."""
    status: str
    """`open`, `answered` or `refunded`."""
    label: int | None
    """The answer, once there is one."""
    answer: str | None
    """The answer's name in the datanet."""
    is_erased: bool
    """Whether the asker took its content back."""


class PaymentView(Struct, frozen=True, kw_only=True):
    """A payment to a record's contributor, and why: seven integers that anyone can replay."""

    id: str
    """Height, transaction index and event index."""
    height: int
    """Its block."""
    time_ms: int
    """The block's time."""
    transaction_id: str
    """The transaction that settled it."""
    question: str
    """Which question."""
    model: str
    """Who answered."""
    record: str
    """Whose content made the answer."""
    recipient: str
    """Who contributed it."""
    pool_units: str
    """The contributors' part of the fee."""
    influence: int
    """s_r: the record's relative influence; 1000 is the question itself."""
    excess: int
    """e_r: what it adds to its senior near-copies."""
    senior: str | None
    """The senior record that reduced it."""
    weight: int
    """W: the sum of excesses and sigma."""
    clip: int
    """The clip that was applied; 0 when none was."""
    amount_units: str
    """What was paid."""
    mint_pool_units: str
    """The contributors' part of what the question mints."""
    accrued_units: str
    """What accrued, to be claimed after the epoch."""


class PaymentWhy(Struct, frozen=True, kw_only=True):
    """A payment in words and as a formula."""

    payment: PaymentView
    """The payment."""
    sentence: str
    """Why, in words."""
    formula: str
    """Why, in numbers."""


class SettlementView(Struct, frozen=True, kw_only=True):
    """How a question's fee was split: the parts and the burn add up to it."""

    fee_units: str
    """F."""
    burned_units: str
    """The burn."""
    owner_units: str
    """The owner's part, dust included."""
    data_units: str
    """The pool of the contributors."""
    reviewers_units: str
    """The reviewers' part."""
    validators_units: str
    """The validators' part."""
    escrow_units: str
    """What of the data and reviewers' parts went to the datanet's escrow."""
    mint_units: str
    """The most this question mints, before the epoch's cap."""


class AttributionView(Struct, frozen=True, kw_only=True):
    """An answered question."""

    question: str
    """Which."""
    model: str
    """By which model."""
    asker: str
    """Whose question it was."""
    attributor: str
    """Who computed it."""
    label: int
    """The answer."""
    answer: str
    """The answer's name in the datanet."""
    influences_hash: str
    """Commitment to the influence of every record."""
    credit_count: int
    """How many records were credited."""
    height: int
    """The block that answered."""
    time_ms: int
    """The block's time."""
    transaction_id: str
    """The transaction that answered."""


class CreditView(Struct, frozen=True, kw_only=True):
    """A record that made an answer."""

    position: int
    """Its place in the datanet."""
    influence: int
    """Its relative influence."""
    record: str | None
    """Its content hash; null once it was erased."""


class AttributionDetail(Struct, frozen=True, kw_only=True):
    """An answered question with everything that follows from it."""

    attribution: AttributionView
    """The answer."""
    question: QuestionView
    """The question."""
    credits: list[CreditView]
    """The records that made the answer, most influential first."""
    settlement: SettlementView | None
    """How the fee was split."""
    payments: list[PaymentView]
    """Who was paid; empty when the model's certificate is too old."""


class ProposalView(Struct, frozen=True, kw_only=True):
    """A governance proposal."""

    id: str
    """The transaction that made it."""
    action: dict[str, Any]
    """What it would do."""
    proposer: str
    """The operator who proposed it."""
    epoch: int
    """When."""
    yes: list[str]
    """Operators in favour."""
    no: list[str]
    """Operators against."""
    status: str
    """`open`, `passed`, `rejected` or `failed`."""


class FoundView(Struct, frozen=True, kw_only=True):
    """Something a search found."""

    kind: str
    """`block`, `transaction`, `account`, `datanet`, `model`, `question`, `contribution`, `proposal` or `record`."""
    name: str
    """What people call it, or its id."""
    link: str
    """Where it is, on this API."""


class SearchAnswer(Struct, frozen=True, kw_only=True):
    """What a search found."""

    items: list[FoundView]
    """Best first."""


class ConservationView(Struct, frozen=True, kw_only=True):
    """Whether all holdings add up to the supply."""

    height: int
    """The block whose state was added up."""
    is_ok: bool
    """Whether they do, and minting is within its bound."""
    error: str
    """What is wrong, if something is."""


class StatsView(Struct, frozen=True, kw_only=True):
    """The chain in numbers."""

    height: int
    """The last final block."""
    time_ms: int
    """Its time."""
    epoch: int
    """The epoch."""
    transactions: int
    """Final transactions."""
    failed_transactions: int
    """Of these, the ones that took no effect."""
    questions: int
    """Questions asked."""
    answers: int
    """Questions answered."""
    payments: int
    """Payments to records."""
    paid_units: str
    """Their sum."""
    records: int
    """Records offered, duplicates left out."""
    contributors: int
    """Accounts that contributed."""
    genesis_units: str
    """All OPEN of the first day."""
    fee_burned_units: str
    """Burned from questions' fees."""
    bond_burned_units: str
    """Burned from bonds."""
    burned_units: str
    """All that was burned."""
    minted_units: str
    """All that was minted."""
    treasury_units: str
    """Network fees collected."""
    supply_units: str
    """All OPEN there is."""
    epoch_cap_units: str
    """Most OPEN the epoch may mint."""
    conservation: ConservationView
    """Whether all holdings add up, as of a little while ago."""


class DayView(Struct, frozen=True, kw_only=True):
    """One day in numbers."""

    day: str
    """The date, UTC."""
    blocks: int
    """Blocks."""
    transactions: int
    """Transactions."""
    failed_transactions: int
    """Of these, the ones that took no effect."""
    questions: int
    """Questions asked."""
    answers: int
    """Questions answered."""
    payments: int
    """Payments to records."""
    paid_units: str
    """Their sum."""
    records: int
    """Records offered."""
    contributors: int
    """Accounts that contributed for the first time."""


class TransactionNews(Struct, frozen=True, kw_only=True):
    """Transactions of one block that a subscriber follows."""

    height: int
    """The block."""
    time_ms: int
    """Its time."""
    transactions: list[TransactionView]
    """In order."""


class PaymentNews(Struct, frozen=True, kw_only=True):
    """Payments of one block."""

    height: int
    """The block."""
    time_ms: int
    """Its time."""
    payments: list[PaymentView]
    """In order."""
