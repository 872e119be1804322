"""What the API answers: `views*` are the only places that name JSON fields. Shapes only; `node.api.present` fills them.

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


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """A part of a listing."""

    items: list[T]
    """In the order asked for."""
    next_page_params: dict[str, str | int] | None
    """Query parameters of the next page; null on the last one."""


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
    """What is wrong, as stable words."""
    details: dict[str, str]
    """A sentence for each of them: what it means, and what to do."""


class LivenessView(Struct, frozen=True, kw_only=True):
    """Whether the node lives: an answer says that its event loop does."""

    is_alive: bool
    """Always true: a dead node does not answer."""
    event_loop_lag_ms: float
    """How late the event loop was last."""


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


class EngineView(Struct, frozen=True, kw_only=True):
    """An attribution engine."""

    name: str
    """Name with version."""
    tables_hash: str
    """Hash of the constant tables it computes with."""
    cost_permille: int
    """What its work counts, in 1/1000 of its multiply-accumulates."""
    from_height: int
    """Models are registered with it from this block on."""
    status: str
    """coming, active or retired (no new models)."""
    is_known: bool
    """Whether this node's program knows it."""


class EnginesView(Struct, frozen=True, kw_only=True):
    """The engines of the chain."""

    height: int
    """The last final block."""
    engines: list[EngineView]
    """Sorted by name."""


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


class BlobHashes(Struct, frozen=True, kw_only=True):
    """Contents were stored."""

    hashes: list[str]
    """SHA-256 of each, in order."""


class UploadView(Struct, frozen=True, kw_only=True):
    """A large content on its way."""

    id: str
    """Names the upload."""
    hash: str
    """SHA-256 of all the content's bytes."""
    size_bytes: int
    """How many they are."""
    piece_size_bytes: int
    """How large a piece is; the last one is what is left."""
    missing: list[int]
    """The pieces that are to come, from 0 on."""
    is_complete: bool
    """Whether the whole is here and checked."""
    validators: int
    """How many other validators are known to hold it."""


class BlobView(Struct, frozen=True, kw_only=True):
    """A content, or a part of it."""

    hash: str
    """SHA-256 of the bytes."""
    size_bytes: int
    """How many bytes the whole has."""
    content: str
    """The bytes, in base64."""
    offset_bytes: int = 0
    """Where in the content they begin."""


class SubscriptionView(Struct, frozen=True, kw_only=True):
    """A subscription of a WebSocket."""

    subscription: str
    """Its id."""


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


class RegisterView(Struct, frozen=True, kw_only=True):
    """A compare-and-set register."""

    height: int
    """The block after which it is so."""
    owner: str
    """Whose."""
    name: str
    """Which of the owner's."""
    writers: list[str]
    """Who may set it besides its owner."""
    version: int
    """How often it was set; who sets it next names this."""
    value: str
    """What it holds."""
    set_height: int
    """The block that set it last, or created it."""


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
