"""The chain's own things as views: blocks, transactions, validators, accounts, totals. Pure functions, one per view.

The names of the fields are `node.api.views`'s.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from consensus.evidence import Evidence
from consensus.types import Certificate
from node.api import views, views_chain
from node.api.health import HealthReason
from node.api.history import StoredBlock
from node.errors import TransactionReason
from node.execution.registry import EVENTS, KINDS
from node.execution.transaction import Candidate
from node.index import DAY_MS, BlockEntry, Totals
from node.modules.accounts import load_account
from node.modules.bonds import UNBONDING
from node.modules.engines import Engine, Engines
from node.modules.governance import Proposal
from node.modules.registers import Register
from node.modules.rewards import MINT_EPOCHS, MINT_SHARES, POOL_CLAIMS, VALIDATOR_POOLS, MintEpoch, capped
from node.modules.supply import Supply
from node.modules.validators import GOVERNING, REGISTRY, epoch_key, validator_set_of
from node.primitives import address as addresses
from node.primitives.codec import decode, encode
from node.primitives.merkle import inclusion_proof
from node.primitives.plain import to_plain
from node.state.table import Reader
from node.types.block import FinalityProof, Header
from node.types.genesis import Role
from node.types.receipt import Event, Receipt
from node.types.transaction import Transaction, decode_transaction
from node.types.validator import ValidatorSet

EARNING_EPOCHS = 16
"""For how many past epochs an account's unclaimed earnings are looked up."""
CACHED_ADDRESSES = 65_536

format_address = functools.lru_cache(CACHED_ADDRESSES)(addresses.format_address)
"""`open1…` of an address; its checksum takes as long as the rest of a view."""

_SENTENCES = {"": "", **{reason.value: reason.sentence for reason in TransactionReason}}


def health(problems: Mapping[HealthReason, str]) -> views.HealthView:
    """Whether the node does its work."""
    details = {reason.value: sentence for reason, sentence in problems.items()}
    return views.HealthView(is_ready=not problems, reasons=list(details), details=details)


def plain(value: object) -> dict[str, Any]:
    """A wire object's fields."""
    shown = to_plain(value)
    assert isinstance(shown, dict), "wire objects are shown as objects"
    return shown


# Blocks.


def header(each: Header, block_id: bytes | None = None) -> views_chain.HeaderView:
    """A header."""
    return views_chain.HeaderView(
        id=(each.id() if block_id is None else block_id).hex(),
        version=each.version,
        genesis_hash=each.genesis_hash.hex(),
        height=each.height,
        epoch=each.epoch,
        view=each.view,
        parent_id=each.parent_id.hex(),
        parent_view=each.parent_view,
        time_ms=each.time_ms,
        proposer=each.proposer.hex(),
        transactions_root=each.transactions_root.hex(),
        receipts_root=each.receipts_root.hex(),
        state_root=each.state_root.hex(),
        validator_set_hash=each.validator_set_hash.hex(),
        parameters_hash=each.parameters_hash.hex(),
        next_validator_set_hash=each.next_validator_set_hash.hex(),
        encoded=encode(each).hex(),
    )


def block(stored: StoredBlock) -> views_chain.BlockView:
    """A block with its transactions' bytes."""
    return views_chain.BlockView(
        header=header(stored.header, stored.block_id), transactions=[data.hex() for data in stored.transactions]
    )


def block_summary(height: int, entry: BlockEntry) -> views_chain.BlockSummary:
    """A block in a listing."""
    return views_chain.BlockSummary(
        height=height,
        id=entry.block_id.hex(),
        epoch=entry.epoch,
        view=entry.view,
        time_ms=entry.time_ms,
        proposer=entry.proposer.hex(),
        transaction_count=entry.transaction_count,
        failed_count=entry.failed_count,
        size_bytes=entry.size_bytes,
    )


def block_news(stored: StoredBlock) -> views_chain.BlockNews:
    """A block for its followers."""
    return views_chain.BlockNews(
        height=stored.header.height,
        id=stored.block_id.hex(),
        time_ms=stored.header.time_ms,
        transactions=[
            views_chain.FinalTransaction(id=receipt.transaction_id.hex(), failure=receipt.failure)
            for receipt in stored.receipts
        ],
    )


def certificate(each: Certificate) -> views_chain.CertificateView:
    """A certificate."""
    statement = each.statement
    return views_chain.CertificateView(
        kind=statement.kind.name.lower(),
        epoch=statement.epoch,
        view=statement.view,
        block_id=statement.block_id.hex(),
        signatures=[
            views_chain.VoteSignatureView(validator=signed.validator.hex(), signature=signed.signature.hex())
            for signed in each.signatures
        ],
    )


def commit(each: Header, proof: FinalityProof | None) -> views_chain.CommitView:
    """A header and why it is final."""
    return views_chain.CommitView(
        header=header(each),
        descendants=[] if proof is None else [header(above) for above in proof.headers],
        certificate=None if proof is None else certificate(proof.certificate),
    )


# Transactions.


def hint_of(failure: str) -> str:
    """The sentence of a failure."""
    return _SENTENCES[failure]


def event(each: Event) -> views_chain.EventView:
    """One thing that happened."""
    return views_chain.EventView(name=each.name, payload=plain(decode(EVENTS[each.name], each.payload)))


def receipt(each: Receipt) -> views_chain.ReceiptView:
    """What a transaction did."""
    return views_chain.ReceiptView(
        transaction_id=each.transaction_id.hex(),
        failure=each.failure,
        hint=hint_of(each.failure),
        fee_units=str(each.fee_units),
        events=[event(happened) for happened in each.events],
    )


def block_results(stored: StoredBlock) -> views_chain.BlockResults:
    """What a block's transactions did."""
    return views_chain.BlockResults(height=stored.header.height, receipts=[receipt(each) for each in stored.receipts])


def transaction(stored: StoredBlock, index: int) -> views_chain.TransactionView:
    """A final transaction."""
    data, outcome = stored.transactions[index], stored.receipts[index]
    envelope: Transaction = decode_transaction(data)
    kind = KINDS[envelope.kind]
    return views_chain.TransactionView(
        id=outcome.transaction_id.hex(),
        height=stored.header.height,
        index=index,
        time_ms=stored.header.time_ms,
        kind=kind.name,
        sender=format_address(envelope.sender),
        public_key=envelope.public_key.hex(),
        nonce=envelope.nonce,
        fee_units=str(envelope.fee_units),
        valid_until_height=envelope.valid_until_height,
        size_bytes=len(data),
        payload=plain(decode(kind.payload_class, envelope.payload)),
        failure=outcome.failure,
        hint=hint_of(outcome.failure),
        events=[event(each) for each in outcome.events],
    )


def transaction_summary(stored: StoredBlock, index: int) -> views_chain.TransactionSummary:
    """A final transaction in a listing."""
    data, outcome = stored.transactions[index], stored.receipts[index]
    envelope: Transaction = decode_transaction(data)
    return views_chain.TransactionSummary(
        id=outcome.transaction_id.hex(),
        height=stored.header.height,
        index=index,
        time_ms=stored.header.time_ms,
        kind=KINDS[envelope.kind].name,
        sender=format_address(envelope.sender),
        nonce=envelope.nonce,
        fee_units=str(envelope.fee_units),
        size_bytes=len(data),
        failure=outcome.failure,
        event_count=len(outcome.events),
    )


def transaction_proof(stored: StoredBlock, index: int) -> views_chain.TransactionProof:
    """Why a transaction and its receipt stand in a block."""
    receipts = [encode(each) for each in stored.receipts]
    return views_chain.TransactionProof(
        header=header(stored.header, stored.block_id),
        transaction=_merkle_proof(stored.header.transactions_root, stored.transactions, index),
        receipt=_merkle_proof(stored.header.receipts_root, receipts, index),
    )


def pending(candidate: Candidate) -> views_chain.PendingTransaction:
    """A waiting transaction."""
    envelope = candidate.transaction
    return views_chain.PendingTransaction(
        id=candidate.id.hex(),
        kind=candidate.kind.name,
        sender=format_address(envelope.sender),
        nonce=envelope.nonce,
        fee_units=str(envelope.fee_units),
        size_bytes=len(candidate.data),
    )


# Validators and governance.


def validator_set(
    state: Reader, epoch: int, members: ValidatorSet, observed: Mapping[bytes, int], observed_blocks: int
) -> views.ValidatorSetView:
    """Who votes in an epoch; `observed` is what this node saw them propose."""
    registry = REGISTRY.get(state)
    names = {candidate.operator: candidate.node.name for candidate in registry.candidates}
    total = sum(each.power for each in members.validators)
    return views.ValidatorSetView(
        epoch=epoch,
        hash=members.hash().hex(),
        total_power=total,
        quorum_power=2 * total // 3 + 1,
        observed_blocks=observed_blocks,
        validators=[
            views.ValidatorView(
                id=each.id.hex(),
                name=names.get(each.operator, ""),
                operator=format_address(each.operator),
                consensus_key=each.consensus_key.hex(),
                power=each.power,
                bond_units=str(load_account(state, each.operator).bond_units),
                observed_proposals=observed.get(each.id, 0),
            )
            for each in members.validators
        ],
    )


def evidence(each: Evidence) -> views_chain.EvidenceView:
    """Two votes that contradict each other."""
    statement = each.first.statement
    return views_chain.EvidenceView(
        validator=each.first.validator.hex(),
        epoch=statement.epoch,
        view=statement.view,
        first=plain(each.first),
        second=plain(each.second),
    )


def proposal(proposal_id: bytes, each: Proposal) -> views.ProposalView:
    """A governance proposal."""
    return views.ProposalView(
        id=proposal_id.hex(),
        action=plain(each.action),
        proposer=format_address(each.proposer),
        epoch=each.epoch,
        yes=[format_address(operator) for operator in each.yes],
        no=[format_address(operator) for operator in each.no],
        status=each.status.name.lower(),
    )


# Accounts.


def account(state: Reader, address: bytes, next_nonce: Callable[[bytes, int], int]) -> views.AccountView:
    """An account; an unused address is an empty one."""
    known = load_account(state, address)
    unbonding = UNBONDING.get(state, address)
    return views.AccountView(
        address=format_address(address),
        balance_units=str(known.balance_units),
        bond_units=str(known.bond_units),
        nonce=known.nonce,
        next_nonce=next_nonce(address, known.nonce),
        public_key=known.public_key.hex(),
        roles=[str(role.name).lower() for role in Role if known.roles & role],
        unbonding=[
            views.ReleaseView(amount_units=str(each.amount_units), epoch=each.epoch)
            for each in (unbonding.releases if unbonding is not None else ())
        ],
        earnings=earnings(state, address),
    )


def register(height: int, owner: bytes, name: str, found: Register) -> views.RegisterView:
    """A register as a block left it."""
    return views.RegisterView(
        height=height,
        owner=format_address(owner),
        name=name,
        writers=[format_address(each) for each in found.writers],
        version=found.version,
        value=found.value.hex(),
        set_height=found.set_height,
    )


def earnings(state: Reader, address: bytes) -> list[views.EarningView]:
    """What an account earned in the last epochs and has not claimed."""
    current = GOVERNING.get(state).epoch
    found = []
    for epoch in range(max(1, current - EARNING_EPOCHS), current + 1):
        share = MINT_SHARES.get(state, epoch_key(epoch) + address)
        pool_units, pool_accrued_units = _pool_part(state, epoch, address)
        accrued_units = pool_accrued_units + (share.accrued_units if share is not None else 0)
        if accrued_units == 0 and pool_units == 0:
            continue
        of_epoch = MINT_EPOCHS.get(state, epoch_key(epoch)) or MintEpoch(cap_units=0, accrued_units=0)
        found.append(
            views.EarningView(
                epoch=epoch,
                accrued_units=str(accrued_units),
                minted_units=str(capped(of_epoch, accrued_units)),
                pool_units=str(pool_units),
                is_claimable=epoch < current,
            )
        )
    return found


# Totals.


def day(number: int, totals: Totals) -> views.DayView:
    """One day in numbers."""
    return views.DayView(
        day=datetime.fromtimestamp(number * DAY_MS // 1000, UTC).date().isoformat(),
        blocks=totals.blocks,
        transactions=totals.transactions,
        failed_transactions=totals.failed_transactions,
        questions=totals.questions,
        answers=totals.answers,
        payments=totals.payments,
        paid_units=str(totals.paid_units),
        records=totals.records,
        contributors=totals.contributors,
    )


def stats(
    tip: Header, epoch: int, totals: Totals, supply: Supply, conservation: views.ConservationView
) -> views.StatsView:
    """The chain in numbers."""
    return views.StatsView(
        height=tip.height,
        time_ms=tip.time_ms,
        epoch=epoch,
        transactions=totals.transactions,
        failed_transactions=totals.failed_transactions,
        questions=totals.questions,
        answers=totals.answers,
        payments=totals.payments,
        paid_units=str(totals.paid_units),
        records=totals.records,
        contributors=totals.contributors,
        genesis_units=str(supply.genesis_units),
        fee_burned_units=str(supply.fee_burned_units),
        bond_burned_units=str(supply.bond_burned_units),
        burned_units=str(supply.fee_burned_units + supply.bond_burned_units),
        minted_units=str(supply.minted_units),
        treasury_units=str(supply.treasury_units),
        supply_units=str(supply.total_units),
        epoch_cap_units=str(supply.epoch_cap_units),
        conservation=conservation,
    )


def _merkle_proof(root: bytes, leaves: Sequence[bytes], index: int) -> views_chain.MerkleProofView:
    return views_chain.MerkleProofView(
        root=root.hex(),
        leaf=leaves[index].hex(),
        index=index,
        count=len(leaves),
        siblings=[sibling.hex() for sibling in inclusion_proof(leaves, index)],
    )


def _pool_part(state: Reader, epoch: int, operator: bytes) -> tuple[int, int]:
    """What a claim would take of an epoch's validators' pool: fees, and minting before the cap."""
    pool, members = VALIDATOR_POOLS.get(state, epoch_key(epoch)), validator_set_of(state, epoch)
    if pool is None or members is None or POOL_CLAIMS.get(state, epoch_key(epoch) + operator) is not None:
        return 0, 0
    power = sum(each.power for each in members.validators if each.operator == operator)
    total = sum(each.power for each in members.validators)
    return pool.fee_units * power // total, pool.accrued_units * power // total


def engines(height: int, found: Engines, unknown: Sequence[Engine]) -> views.EnginesView:
    """The engines as they are after a block."""

    def status(each: Engine) -> str:
        if each.is_retired:
            return "retired"
        return "active" if each.from_height <= height + 1 else "coming"

    return views.EnginesView(
        height=height,
        engines=[
            views.EngineView(
                name=each.name,
                tables_hash=each.tables_hash.hex(),
                cost_permille=each.cost_permille,
                from_height=each.from_height,
                status=status(each),
                is_known=each not in unknown,
            )
            for each in found.engines
        ],
    )
