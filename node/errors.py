"""Errors, by who is at fault, and every stable reason a stranger can be given.

    OpenLedgerError
    ├── Rejected                     someone else: their bytes are refused, the node goes on
    │   ├── TransactionRejected      answered in a receipt or by the RPC
    │   ├── BlockRejected            answered by a nullify vote
    │   ├── MessageRejected          answered by dropping the peer
    │   └── RequestRejected          answered by an RPC or HTTP error
    ├── StorageError                 the disk: fatal, with what to do
    ├── NetworkError                 the network: retried
    └── DivergenceError              a block this node judged invalid became final: fatal, with a dump

A bug of ours is an `assert`, never caught.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """A stable word for programs, with a sentence for people."""

    sentence: str

    def __new__(cls, word: str, sentence: str) -> Reason:
        member = str.__new__(cls, word)
        member._value_ = word
        member.sentence = sentence
        return member


class MessageReason(Reason):
    """Why a peer's bytes were refused."""

    MALFORMED = "malformed", "The bytes are not a MessagePack value of the expected shape."
    NOT_CANONICAL = "not_canonical", "The bytes decode, but are not the one canonical encoding of their value."
    OUT_OF_RANGE = "out_of_range", "A field's value or length is outside its limits."
    TOO_LARGE = "too_large", "The message is larger than this node accepts."
    WRONG_CHAIN = "wrong_chain", "The peer runs another chain: compare the genesis hashes."
    WRONG_VERSION = "wrong_version", "The peer speaks another protocol version: upgrade the older of the two."
    NOT_REGISTERED = "not_registered", "The peer's certificate is not in the chain's registry: governance admits nodes."
    BAD_SIGNATURE = "bad_signature", "The signature does not verify for this chain."
    TOO_FAST = "too_fast", "The peer sends more than its rate allows."
    DUPLICATE_CONNECTION = "duplicate_connection", "The two nodes are connected already."
    SELF = "self", "A node does not connect to itself."


class TransactionReason(Reason):
    """Why a transaction was refused, or failed with a receipt."""

    # Refused: makes a block invalid that carries it.
    MALFORMED = "malformed", "The bytes are not a canonical transaction."
    TOO_LARGE = "too_large", "The transaction is larger than the chain's limit."
    UNKNOWN_KIND = "unknown_kind", "No transaction kind has this number."
    BAD_PAYLOAD = "bad_payload", "The payload is not canonical for this kind, or a field is outside its limits."
    BAD_SIGNATURE = "bad_signature", "The signature does not verify for this chain: check the key and the genesis hash."
    WRONG_KEY = "wrong_key", "The public key is not the account's: it does not hash to the address, or was rotated."
    NONCE_TOO_LOW = "nonce_too_low", "The account has used this nonce already: ask the account for its next nonce."
    NONCE_TOO_HIGH = "nonce_too_high", "The nonce is ahead of the account's next one: send the earlier ones first."
    EXPIRED = "expired", "The chain is past the transaction's valid-until height: sign it again with a later one."
    FEE_TOO_LOW = "fee_too_low", "The fee is below base + bytes + metered work: query the fee schedule."
    FEE_UNPAYABLE = "fee_unpayable", "The account's balance does not cover the fee."
    FALSE_CLAIM = "false_claim", "The validators' own computation gives another result than the transaction claims."
    CLAIM_UNCOMPUTABLE = "claim_uncomputable", "The claimed computation cannot be run on these inputs."
    BAD_CONTENT = "bad_content", "A record, query or model file does not have the shape its datanet declares."
    TOO_YOUNG = "too_young", "The transaction refers to an object that is not old enough yet: wait some blocks."
    TOO_MUCH_WORK = "too_much_work", "The computation is larger than one transaction may ask for."
    # Refused by this node's mempool only.
    DUPLICATE = "duplicate", "This node holds this transaction already."
    REPLACEMENT_UNDERPRICED = (
        "replacement_underpriced",
        "Another transaction has this nonce: a replacement pays at least a tenth more.",
    )
    MEMPOOL_FULL = "mempool_full", "The mempool is full of better-paying transactions: raise the fee or try later."
    BLOB_MISSING = "blob_missing", "The node does not hold the bytes the transaction refers to: upload the blob first."
    CLAIM_PENDING = "claim_pending", "One computation of a sender runs at a time: wait for the earlier one."
    SENDER_BARRED = "sender_barred", "The sender made a false claim on this node a short while ago."
    WORKER_BUSY = "worker_busy", "The node's queue of computations is full: try later."
    NO_ROOM = "no_room", "The node's disk is nearly full and it takes nothing in: send it to another node, or later."
    EVICTED = "evicted", "The transaction made room for better-paying ones: send it again with a higher fee."
    # Failed: in a block, fee charged, everything else reverted.
    AMOUNT_OVERFLOW = "amount_overflow", "The sum is larger than any amount can be."
    INSUFFICIENT_BALANCE = "insufficient_balance", "The account's balance does not cover the amount."
    INSUFFICIENT_BOND = "insufficient_bond", "The account's bond is smaller than the chain asks for."
    ROLE_REQUIRED = "role_required", "The account lacks the role: governance grants roles."
    NOT_VALIDATOR = "not_validator", "Only a validator's operator may do this."
    NOT_FOUND = "not_found", "The object referred to does not exist."
    ALREADY_EXISTS = "already_exists", "The object exists already."
    ALREADY_DONE = "already_done", "This was done already and counts once."
    NOT_OWNER = "not_owner", "Only the object's owner may do this."
    NOT_WRITER = "not_writer", "Only the register's owner and its writers may do this."
    NOT_REVIEWER = "not_reviewer", "Only a reviewer of the datanet may do this."
    CONFLICT_OF_INTEREST = (
        "conflict_of_interest",
        "Owner, contributors and reviewers of one model are distinct accounts.",
    )
    NOT_ADMISSIBLE = "not_admissible", "The proposal would break a bound of the chain or leave no bonded quorum."
    ENGINE_INACTIVE = "engine_inactive", "The attribution engine takes no new models at this height."
    WRONG_STATUS = "wrong_status", "The object is not in the state this needs."
    STALE_SNAPSHOT = (
        "stale_snapshot",
        "What it was computed from has changed since: compute it again.",
    )
    STALE_REGISTER = "stale_register", "The register was set since: read it again and decide anew."
    FEE_BELOW_PRICE = "fee_below_price", "The question's fee is below the model's price."
    NOT_YET = "not_yet", "It is too early for this: see the height or epoch named."
    BAD_EVIDENCE = "bad_evidence", "The two votes do not prove equivocation by a known validator."
    TOO_OLD = "too_old", "The object is older than the chain looks back."
    TOO_MANY = "too_many", "The chain's limit for such objects is reached."


class BlockReason(Reason):
    """Why a proposed or synced block was refused."""

    TOO_LARGE = "too_large", "The block is larger than the chain's limit."
    WRONG_VERSION = "wrong_version", "The block's protocol version is not the state's: upgrade this node."
    WRONG_CHAIN = "wrong_chain", "The block belongs to another chain."
    WRONG_PARENT = "wrong_parent", "Height, epoch or parent do not continue the chain."
    WRONG_PROPOSER = "wrong_proposer", "The proposer does not lead the block's view."
    BAD_TIME = "bad_time", "The block's time is not after its parent's."
    WRONG_SET = "wrong_set", "The validator set or the parameters named are not those that govern the block."
    BAD_TRANSACTION = "bad_transaction", "A transaction that makes a block invalid is in it."
    TOO_MUCH_WORK = "too_much_work", "The block's metered work is above the chain's limit."
    WRONG_ROOT = "wrong_root", "Executing the block gives another root than its header states."
    BAD_CERTIFICATE = "bad_certificate", "The certificate does not prove that the block is final."


class RequestReason(Reason):
    """Why an API request was refused."""

    MALFORMED = "malformed", "The request cannot be read: compare it with the documentation."
    UNKNOWN_METHOD = "unknown_method", "The node has no such method."
    UNKNOWN_PARAMETER = "unknown_parameter", "The method takes no such parameter."
    INVALID_PARAMETER = "invalid_parameter", "A parameter's value cannot be used."
    INVALID_CURSOR = "invalid_cursor", "The cursor belongs to another listing: start again without it."
    NOT_FOUND = "not_found", "The node knows no such object."
    PRUNED = "pruned", "The node keeps only recent state: ask for the latest."
    TOO_LARGE = "too_large", "The request is larger than the node accepts."
    TOO_MANY_REQUESTS = "too_many_requests", "Too many requests: wait as long as the answer's Retry-After says."
    TIMEOUT = "timeout", "The transaction is accepted but not final yet: ask again by its id."
    NOT_PERMITTED = "not_permitted", "The content is served to validators and its reviewers until it is accepted."
    NO_ROOM = "no_room", "The node's disk is nearly full and it takes nothing in: ask another node, or later."
    SHUTTING_DOWN = "shutting_down", "The node is stopping."
    ERASED = "erased", "The content was erased; its hash and its tombstone remain."
    TOO_MANY_UPLOADS = "too_many_uploads", "Too many contents are on their way here: finish some, or try again later."
    BAD_PIECE = "bad_piece", "The bytes are not what the upload was begun with: read the file again and begin anew."
    INTERNAL = "internal", "The node failed on this request; the failure is in its log."


class OpenLedgerError(Exception):
    """Root of every error that is not a bug."""


class Rejected(OpenLedgerError):
    """Someone else's input is refused, for a stable reason."""

    reason: Reason
    detail: str

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail or reason.sentence}")
        self.reason = reason
        self.detail = detail

    @property
    def message(self) -> str:
        """The sentence for people, with what is particular to this case."""
        return f"{self.reason.sentence} ({self.detail})" if self.detail else self.reason.sentence


class TransactionRejected(Rejected):
    """A transaction is refused or fails."""

    reason: TransactionReason


class BlockRejected(Rejected):
    """A block is invalid by its own content."""

    reason: BlockReason


class MessageRejected(Rejected):
    """A peer's message is refused."""

    reason: MessageReason


class RequestRejected(Rejected):
    """An API request is refused."""

    reason: RequestReason


class StorageError(OpenLedgerError):
    """The disk failed or holds something impossible; the message says what to do."""


class NetworkError(OpenLedgerError):
    """The network failed; the caller retries."""


class DivergenceError(OpenLedgerError):
    """A block this node judged invalid became final: the node must stop."""
