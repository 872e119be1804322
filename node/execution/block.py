"""One block: from a parent's state and transactions to receipts, roots and what governs next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from node.errors import BlockReason, BlockRejected, TransactionReason, TransactionRejected
from node.execution.transaction import Candidate, authorize, context_for, execute, verify
from node.modules import holdouts, rewards, validators
from node.modules.accounts import ACCOUNTS, Account
from node.modules.context import BlockContext, Pending, Resources
from node.modules.engines import ENGINES, first_engines
from node.modules.supply import SUPPLY, Supply, add_to_treasury
from node.modules.validators import GOVERNING, REGISTRY, UPCOMING, Governing, Registry, Upcoming
from node.modules.validators import Candidate as ValidatorCandidate
from node.primitives.codec import encode
from node.primitives.merkle import merkle_root
from node.state.table import Reader
from node.state.view import Base, Layer, View
from node.types.block import PROTOCOL_VERSION, Block, Header
from node.types.genesis import Genesis
from node.types.receipt import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """A block and everything its execution gave."""

    block: Block
    """The block."""
    block_id: bytes
    """Its id."""
    candidates: tuple[Candidate, ...]
    """Its transactions, decoded."""
    receipts: tuple[Receipt, ...]
    """One per transaction."""
    layer: Layer
    """The state after it."""
    governing: Governing
    """What governs the next block."""
    is_epoch_end: bool
    """Whether it is the last of its epoch."""


def block_context(state: Reader, genesis_hash: bytes, height: int, parent_id: bytes) -> BlockContext:
    """What a block at a height may know, from its parent's state."""
    governing = GOVERNING.get(state)
    return BlockContext(
        genesis_hash=genesis_hash,
        height=height,
        epoch=governing.epoch,
        epoch_first_height=governing.first_height,
        parent_id=parent_id,
        parameters=governing.parameters,
        validators=governing.validators,
    )


def genesis_layer(base: Base, genesis: Genesis) -> Layer:
    """The state at height 0."""
    view = View(base)
    for account in genesis.accounts:
        ACCOUNTS.put(
            view,
            account.address,
            Account(
                balance_units=account.balance_units,
                bond_units=account.bond_units,
                nonce=0,
                public_key=b"",
                roles=account.roles,
            ),
        )
    SUPPLY.put(
        view,
        Supply(
            genesis_units=genesis.supply_units(),
            treasury_units=0,
            fee_burned_units=0,
            bond_burned_units=0,
            minted_units=0,
            epoch_cap_units=genesis.parameters.epoch_mint_cap_units,
        ),
    )
    governing = Governing(
        version=genesis.version,
        epoch=1,
        first_height=1,
        parameters=genesis.parameters,
        validators=genesis.validator_set(),
    )
    GOVERNING.put(view, governing)
    UPCOMING.put(view, Upcoming(version=genesis.version, parameters=genesis.parameters))
    candidates = tuple(
        ValidatorCandidate(operator=each.operator, consensus_key=each.consensus_key, power=each.power, node=each.node)
        for each in sorted(genesis.validators, key=lambda validator: validator.operator)
    )
    REGISTRY.put(view, Registry(candidates=candidates, observers=genesis.observers))
    ENGINES.put(view, first_engines(genesis.engines))
    return view.seal()


def genesis_block(genesis: Genesis, state_root: bytes) -> Block:
    """The first block: nobody proposed it, everybody starts from it."""
    empty_root = merkle_root(())
    validator_set_hash = genesis.validator_set().hash()
    header = Header(
        version=genesis.version,
        genesis_hash=genesis.hash(),
        height=genesis.height,
        epoch=genesis.epoch,
        view=0,
        parent_id=bytes(32),
        parent_view=0,
        time_ms=genesis.time_ms,
        proposer=bytes(20),
        transactions_root=empty_root,
        receipts_root=empty_root,
        state_root=state_root,
        validator_set_hash=validator_set_hash,
        parameters_hash=genesis.parameters.hash(),
        next_validator_set_hash=validator_set_hash,
    )
    return Block(header=header, transactions=())


def build_block(
    base: Base,
    parent: Header,
    *,
    view: int,
    parent_view: int,
    time_ms: int,
    proposer: bytes,
    candidates: Sequence[Candidate],
    resources: Resources,
    on_rejected: Callable[[Candidate, TransactionRejected], None],
) -> Executed:
    """A block of as many of the candidates, in their order, as fit and may stand in it.

    What cannot ever stand in one is told to `on_rejected`; so is, as CLAIM_PENDING, what lacks a content or a result.
    """
    context = block_context(base, parent.genesis_hash, parent.height + 1, parent.id())
    state = _begin(base, context)
    chosen: list[Candidate] = []
    receipts: list[Receipt] = []
    size_bytes = work_macs = 0
    passed_over: set[bytes] = set()
    """Senders whose next transaction has to wait: what follows it waits too."""
    for candidate in candidates:
        if len(chosen) >= context.parameters.block_transactions:
            break
        sender = candidate.transaction.sender
        if sender in passed_over:
            continue
        if size_bytes + len(candidate.data) > context.parameters.block_size_bytes:
            passed_over.add(sender)
            continue
        of_transaction = context_for(context, candidate, len(chosen))
        try:
            work = authorize(state, of_transaction, candidate)
            if work_macs + work > context.parameters.block_work_macs:
                passed_over.add(sender)
                continue
            verify(state, of_transaction, candidate, resources)
        except TransactionRejected as error:
            on_rejected(candidate, error)
            continue
        except Pending as pending:
            on_rejected(candidate, TransactionRejected(TransactionReason.CLAIM_PENDING, str(pending)))
            passed_over.add(sender)
            continue
        receipts.append(execute(state, of_transaction, candidate))
        chosen.append(candidate)
        size_bytes += len(candidate.data)
        work_macs += work
    layer, governing, is_epoch_end = _end(state, context, receipts)
    block_governing = GOVERNING.get(base)
    header = Header(
        version=block_governing.version,
        genesis_hash=parent.genesis_hash,
        height=context.height,
        epoch=context.epoch,
        view=view,
        parent_id=context.parent_id,
        parent_view=parent_view,
        time_ms=max(time_ms, parent.time_ms + 1),
        proposer=proposer,
        transactions_root=merkle_root([candidate.data for candidate in chosen]),
        receipts_root=merkle_root([encode(receipt) for receipt in receipts]),
        state_root=layer.root,
        validator_set_hash=block_governing.validators.hash(),
        parameters_hash=block_governing.parameters.hash(),
        next_validator_set_hash=governing.validators.hash(),
    )
    block = Block(header=header, transactions=tuple(candidate.data for candidate in chosen))
    return Executed(
        block=block,
        block_id=header.id(),
        candidates=tuple(chosen),
        receipts=tuple(receipts),
        layer=layer,
        governing=governing,
        is_epoch_end=is_epoch_end,
    )


def execute_block(
    base: Base,
    parent: Header,
    block: Block,
    candidates: Sequence[Candidate],
    resources: Resources | None,
) -> Executed:
    """Executes a block on its parent's state and compares every root with its header.

    `candidates` are the block's transactions, decoded and with verified signatures. `resources` is None below a
    finalization: a quorum verified the claims, the roots are compared all the same.

    Raises: BlockRejected; Pending when a claim's blob or result is not here yet.
    """
    header = block.header
    context = block_context(base, parent.genesis_hash, parent.height + 1, parent.id())
    governing = GOVERNING.get(base)
    _check_header(header, parent, context, governing)
    if header.transactions_root != block.transactions_root():
        raise BlockRejected(BlockReason.WRONG_ROOT, "transactions")
    size_bytes = sum(len(data) for data in block.transactions)
    if size_bytes > context.parameters.block_size_bytes:
        raise BlockRejected(BlockReason.TOO_LARGE, f"{size_bytes} bytes of transactions")
    if len(candidates) > context.parameters.block_transactions:
        raise BlockRejected(BlockReason.TOO_LARGE, f"{len(candidates)} transactions")
    state = _begin(base, context)
    receipts: list[Receipt] = []
    work_macs = 0
    for index, candidate in enumerate(candidates):
        of_transaction = context_for(context, candidate, index)
        try:
            work_macs += authorize(state, of_transaction, candidate)
            if resources is not None:
                verify(state, of_transaction, candidate, resources)
        except TransactionRejected as error:
            raise BlockRejected(BlockReason.BAD_TRANSACTION, f"transaction {index}: {error}") from error
        receipts.append(execute(state, of_transaction, candidate))
    if work_macs > context.parameters.block_work_macs:
        raise BlockRejected(BlockReason.TOO_MUCH_WORK, f"{work_macs} multiply-accumulates")
    layer, next_governing, is_epoch_end = _end(state, context, receipts)
    roots = {
        "receipts": (header.receipts_root, merkle_root([encode(receipt) for receipt in receipts])),
        "state": (header.state_root, layer.root),
        "next validator set": (header.next_validator_set_hash, next_governing.validators.hash()),
    }
    for name, (claimed, computed) in roots.items():
        if claimed != computed:
            detail = f"{name}: {claimed.hex()} claimed, {computed.hex()} computed"
            raise BlockRejected(BlockReason.WRONG_ROOT, detail)
    return Executed(
        block=block,
        block_id=header.id(),
        candidates=tuple(candidates),
        receipts=tuple(receipts),
        layer=layer,
        governing=next_governing,
        is_epoch_end=is_epoch_end,
    )


def _check_header(header: Header, parent: Header, context: BlockContext, governing: Governing) -> None:
    if governing.version > PROTOCOL_VERSION:
        raise BlockRejected(
            BlockReason.WRONG_VERSION, f"version {governing.version}; this program knows {PROTOCOL_VERSION}"
        )
    expected = {
        BlockReason.WRONG_VERSION: (header.version, governing.version),
        BlockReason.WRONG_CHAIN: (header.genesis_hash, parent.genesis_hash),
        BlockReason.WRONG_PARENT: (
            (header.height, header.epoch, header.parent_id),
            (context.height, context.epoch, context.parent_id),
        ),
        BlockReason.WRONG_SET: (
            (header.validator_set_hash, header.parameters_hash),
            (governing.validators.hash(), governing.parameters.hash()),
        ),
    }
    for reason, (claimed, computed) in expected.items():
        if claimed != computed:
            raise BlockRejected(reason)
    if header.time_ms <= parent.time_ms:
        raise BlockRejected(BlockReason.BAD_TIME)


def _begin(base: Base, context: BlockContext) -> View:
    state = View(base)
    if context.height == context.epoch_first_height:
        holdouts.begin_epoch(state, context)
    return state


def _end(state: View, context: BlockContext, receipts: Sequence[Receipt]) -> tuple[Layer, Governing, bool]:
    add_to_treasury(state, sum(receipt.fee_units for receipt in receipts))
    governing = GOVERNING.get(state)
    is_epoch_end = context.height == governing.last_height
    if is_epoch_end:
        rewards.end_epoch(state, context)
        governing = validators.end_epoch(state, context)
    return state.seal(), governing, is_epoch_end
