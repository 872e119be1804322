"""One transaction: may it stand in a block, and what does it do there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from node.errors import MessageRejected, TransactionReason, TransactionRejected
from node.execution.registry import KINDS, Kind
from node.modules.accounts import ACCOUNTS, is_key_of, load_account
from node.modules.context import BlockContext, Context, Resources, State
from node.primitives.amount import format_open
from node.primitives.codec import decode
from node.primitives.crypto import is_valid_signature
from node.state.table import Reader
from node.types.parameters import Parameters
from node.types.receipt import Receipt
from node.types.transaction import Transaction, decode_transaction

MEGA = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A transaction that stands on its own: decoded, of a known kind, signed."""

    transaction: Transaction
    """The envelope."""
    payload: Any
    """The decoded payload."""
    kind: Kind
    """How it is executed."""
    id: bytes
    """Its identity."""
    data: bytes
    """Its bytes."""

    @property
    def signed(self) -> tuple[bytes, bytes, bytes]:
        """Public key, digest and signature: what remains to be verified."""
        return self.transaction.public_key, self.id, self.transaction.signature


def read_transaction(data: bytes, genesis_hash: bytes) -> Candidate:
    """The transaction some bytes are, its signature still unverified.

    Raises: TransactionRejected MALFORMED, UNKNOWN_KIND, BAD_PAYLOAD.
    """
    transaction = decode_transaction(data)
    kind = KINDS.get(transaction.kind)
    if kind is None:
        raise TransactionRejected(TransactionReason.UNKNOWN_KIND, f"kind {transaction.kind}")
    try:
        payload: Any = decode(kind.payload_class, transaction.payload)
    except MessageRejected as error:
        detail = error.detail or error.reason.value
        raise TransactionRejected(TransactionReason.BAD_PAYLOAD, f"{kind.name}: {detail}") from error
    return Candidate(transaction=transaction, payload=payload, kind=kind, id=transaction.id(genesis_hash), data=data)


def require_signature(candidate: Candidate) -> None:
    """Raises: TransactionRejected BAD_SIGNATURE."""
    if not is_valid_signature(*candidate.signed):
        raise TransactionRejected(TransactionReason.BAD_SIGNATURE)


def required_fee(parameters: Parameters, size_bytes: int, work_macs: int) -> int:
    """What a transaction of a size and work pays at least."""
    started_mega = -(-work_macs // MEGA)
    return (
        parameters.fee_base_units
        + parameters.fee_per_byte_units * size_bytes
        + parameters.fee_per_mega_mac_units * started_mega
    )


def context_for(block: BlockContext, candidate: Candidate, index: int) -> Context:
    """The context a transaction runs in."""
    return Context(
        block=block,
        transaction_id=candidate.id,
        transaction_index=index,
        sender=candidate.transaction.sender,
    )


def authorize(state: Reader, context: Context, candidate: Candidate, *, is_nonce_exact: bool = True) -> int:
    """Whether a transaction may stand in a block at this point. Returns its metered work.

    A mempool passes `is_nonce_exact=False` and queues what is ahead of the account itself.

    Raises: TransactionRejected TOO_LARGE, EXPIRED, WRONG_KEY, NONCE_TOO_LOW, NONCE_TOO_HIGH, TOO_MUCH_WORK,
    FEE_TOO_LOW, FEE_UNPAYABLE, or what the kind's meter says.
    """
    transaction, parameters = candidate.transaction, context.parameters
    if len(candidate.data) > parameters.transaction_size_bytes:
        raise TransactionRejected(
            TransactionReason.TOO_LARGE,
            f"{len(candidate.data)} bytes; the limit is {parameters.transaction_size_bytes}",
        )
    if transaction.valid_until_height < context.block.height:
        raise TransactionRejected(TransactionReason.EXPIRED, f"the chain is at height {context.block.height}")
    account = load_account(state, transaction.sender)
    if not is_key_of(account, transaction.sender, transaction.public_key):
        raise TransactionRejected(TransactionReason.WRONG_KEY)
    if transaction.nonce < account.nonce:
        raise TransactionRejected(TransactionReason.NONCE_TOO_LOW, f"the next nonce is {account.nonce}")
    if is_nonce_exact and transaction.nonce > account.nonce:
        raise TransactionRejected(TransactionReason.NONCE_TOO_HIGH, f"the next nonce is {account.nonce}")
    work_macs = candidate.kind.meter(state, context, candidate.payload)
    if work_macs > parameters.transaction_work_macs:
        raise TransactionRejected(
            TransactionReason.TOO_MUCH_WORK,
            f"{work_macs} multiply-accumulates; the limit is {parameters.transaction_work_macs}",
        )
    required_units = required_fee(parameters, len(candidate.data), work_macs)
    if transaction.fee_units < required_units:
        raise TransactionRejected(TransactionReason.FEE_TOO_LOW, f"{format_open(required_units)} are needed")
    if transaction.fee_units > account.balance_units:
        raise TransactionRejected(
            TransactionReason.FEE_UNPAYABLE, f"the balance is {format_open(account.balance_units)}"
        )
    return work_macs


def verify(state: Reader, context: Context, candidate: Candidate, resources: Resources) -> None:
    """Recomputes what a transaction claims about contents.

    Raises: TransactionRejected BAD_CONTENT, FALSE_CLAIM, CLAIM_UNCOMPUTABLE; Pending.
    """
    for reference in candidate.kind.blobs(candidate.payload):
        if reference.size_bytes > context.parameters.blob_size_bytes:
            limit = context.parameters.blob_size_bytes
            raise TransactionRejected(TransactionReason.BAD_CONTENT, f"a blob has at most {limit} bytes")
        if resources.blob_size_bytes(reference.hash) != reference.size_bytes:
            raise TransactionRejected(TransactionReason.BAD_CONTENT, f"blob {reference.hash.hex()} has another size")
    candidate.kind.verify(state, context, candidate.payload, resources)


def execute(state: State, context: Context, candidate: Candidate) -> Receipt:
    """Charges the fee, counts the nonce, and does what the transaction says, or nothing. It must be authorized.

    The caller adds the fee to the treasury: one write per block instead of one per transaction.
    """
    transaction = candidate.transaction
    account = load_account(state, transaction.sender)
    charged = replace(account, balance_units=account.balance_units - transaction.fee_units, nonce=account.nonce + 1)
    ACCOUNTS.put(state, transaction.sender, charged)
    mark = state.mark()
    failure = ""
    try:
        candidate.kind.apply(state, context, candidate.payload)
    except TransactionRejected as error:
        state.revert(mark)
        context.events.clear()
        failure = error.reason.value
    return Receipt(
        transaction_id=candidate.id,
        failure=failure,
        fee_units=transaction.fee_units,
        events=tuple(context.events),
    )
