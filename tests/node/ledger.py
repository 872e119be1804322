"""A ledger without a network: transactions in, blocks made by one node and checked by another, every sum audited."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest

from attribution.errors import AttributionError
from attribution.request import REQUEST, RESULT
from node.errors import BlockReason, BlockRejected, TransactionReason, TransactionRejected
from node.execution.block import Executed, block_context, build_block, execute_block, genesis_block, genesis_layer
from node.execution.registry import EVENTS, KIND_OF
from node.execution.transaction import Candidate, context_for, read_transaction, require_signature
from node.modules import holdouts
from node.modules.accounts import ACCOUNTS, Account, load_account
from node.modules.attributions import QUESTIONS, Question
from node.modules.bonds import UNBONDING, Unbonding
from node.modules.challenges import CHALLENGES, Challenge
from node.modules.context import BlobPending, BlobRef, BlockContext
from node.modules.datanets import CONTRIBUTIONS, Contribution
from node.modules.escrow import ESCROWS, Escrow
from node.modules.rewards import VALIDATOR_POOLS, ValidatorPool
from node.modules.supply import SUPPLY, conservation_error
from node.modules.validators import GOVERNING
from node.modules.vesting import VESTING, Vesting
from node.primitives.codec import decode, encode
from node.primitives.crypto import PrivateKey, sha256
from node.primitives.merkle import merkle_root
from node.state.store import StateStore
from node.state.table import Table
from node.state.view import View
from node.storage.blocks import block_changes
from node.storage.kv import MemoryStore
from node.storage.schema import Column, Prefix
from node.types.block import Block, Header
from node.types.parameters import Parameters
from node.types.receipt import Receipt
from node.types.transaction import Transaction, sign_transaction
from node.worker import compute_here
from tests.factories import FAR_HEIGHT, Chain

M = TypeVar("M")

FEE_UNITS = 10**9
KAPPA_BPS_MAX = 8_000
"""The most that `Parameters.kappa_bps` can be."""

_RESULTS: dict[bytes, RESULT | AttributionError] = {}
"""Results by request id, for the whole session: they are pure functions of their requests."""


class Shelf:
    """Contents, results and memory of one node (`node.modules.context.Resources`)."""

    def __init__(self, contents: dict[bytes, bytes] | None = None) -> None:
        self.contents: dict[bytes, bytes] = {} if contents is None else contents
        self._memos: dict[bytes, Any] = {}

    def put(self, content: bytes) -> BlobRef:
        """Keeps a content and says how a transaction refers to it."""
        self.contents[sha256(content)] = content
        return BlobRef(hash=sha256(content), size_bytes=len(content))

    def blob(self, blob_hash: bytes) -> bytes:
        if blob_hash not in self.contents:
            raise BlobPending(blob_hash)
        return self.contents[blob_hash]

    def blob_size_bytes(self, blob_hash: bytes) -> int:
        return len(self.blob(blob_hash))

    def result(self, request: REQUEST) -> RESULT:
        key = request.request_id()
        outcome = _RESULTS.get(key)
        if outcome is None:
            outcome = _RESULTS[key] = compute_here(request, self.contents)
        if isinstance(outcome, AttributionError):
            raise AttributionError(outcome.reason, outcome.detail)
        return outcome

    def memo(self, key: bytes, build: Callable[[], M]) -> M:
        if key not in self._memos:
            self._memos[key] = build()
        return self._memos[key]  # type: ignore[no-any-return]


@dataclass
class Happened:
    """An event and where it stands."""

    height: int
    transaction_id: bytes
    event: Any


@dataclass
class Node:
    """A ledger's state on one store."""

    disk: MemoryStore
    state: StateStore
    shelf: Shelf


def open_node(chain: Chain, contents: dict[bytes, bytes]) -> tuple[Node, Header]:
    """A node at genesis."""
    disk = MemoryStore()
    state = StateStore(disk)
    layer = genesis_layer(state, chain.genesis)
    block = genesis_block(chain.genesis, layer.root)
    state.commit(0, layer, block_changes(block, block.header.id(), (), None))
    return Node(disk, state, Shelf(contents)), block.header


@dataclass
class Ledger:
    """The chain so far."""

    chain: Chain
    node: Node
    mirror: Node
    """Another node that checks every block from its bytes."""
    tip: Header
    blocks: list[Block] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)
    receipts: dict[bytes, Receipt] = field(default_factory=dict)
    is_audited: bool = True

    @property
    def state(self) -> StateStore:
        return self.node.state

    @property
    def shelf(self) -> Shelf:
        return self.node.shelf

    @property
    def context(self) -> BlockContext:
        """What the next block may know."""
        return block_context(self.state, self.chain.genesis_hash, self.tip.height + 1, self.tip.id())

    @property
    def parameters(self) -> Parameters:
        return self.context.parameters

    @property
    def height(self) -> int:
        return self.tip.height

    @property
    def epoch(self) -> int:
        """The next block's epoch."""
        return GOVERNING.get(self.state).epoch

    def fork(self) -> Ledger:
        """A ledger that goes its own way from here."""
        contents = dict(self.shelf.contents)

        def copied(node: Node) -> Node:
            disk = MemoryStore()
            disk.values = dict(node.disk.values)
            return Node(disk, StateStore(disk), Shelf(contents))

        return replace(
            self,
            node=copied(self.node),
            mirror=copied(self.mirror),
            blocks=list(self.blocks),
            happened=list(self.happened),
            receipts=dict(self.receipts),
        )

    # Transactions.

    def account(self, who: PrivateKey | bytes) -> Account:
        return load_account(self.state, who if isinstance(who, bytes) else who.address)

    def sign(
        self,
        key: PrivateKey,
        payload: object,
        *,
        nonce: int | None = None,
        fee_units: int = FEE_UNITS,
        valid_until_height: int = FAR_HEIGHT,
        sender: bytes | None = None,
        genesis_hash: bytes | None = None,
        is_checked: bool = True,
    ) -> Candidate:
        """A transaction by its bytes, with the account's next nonce."""
        address = key.address if sender is None else sender
        transaction = sign_transaction(
            key,
            genesis_hash or self.chain.genesis_hash,
            kind=KIND_OF[type(payload)].number,
            nonce=self.account(address).nonce if nonce is None else nonce,
            fee_units=fee_units,
            valid_until_height=valid_until_height,
            payload=encode(payload),
            sender=address,
        )
        candidate = read_transaction(encode(transaction), self.chain.genesis_hash)
        if is_checked:
            require_signature(candidate)
        return candidate

    def unreadable(self, key: PrivateKey, payload: object) -> tuple[TransactionReason, str]:
        """Why a transaction whose payload breaks a limit of its class is none at all."""
        wire = Transaction(
            kind=KIND_OF[type(payload)].number,
            sender=key.address,
            public_key=key.public_key,
            nonce=0,
            fee_units=FEE_UNITS,
            valid_until_height=FAR_HEIGHT,
            payload=encode(payload),
            signature=bytes(64),
        )
        with pytest.raises(TransactionRejected) as found:
            read_transaction(encode(wire), self.chain.genesis_hash)
        return found.value.reason, found.value.detail

    def do(self, key: PrivateKey, payload: object, **options: Any) -> Receipt:
        """A transaction in a block of its own, which takes effect."""
        candidate = self.sign(key, payload, **options)
        [receipt] = self.add_block(candidate).receipts
        assert receipt.failure == "", f"{receipt.failure}: {self.happened[-1:]}"
        return receipt

    def do_all(self, orders: Sequence[tuple[PrivateKey, object]]) -> list[Receipt]:
        """Transactions in one block, which all take effect."""
        nonces: dict[bytes, int] = {}
        candidates = []
        for key, payload in orders:
            nonce = nonces.get(key.address, self.account(key).nonce)
            nonces[key.address] = nonce + 1
            candidates.append(self.sign(key, payload, nonce=nonce))
        receipts = self.add_block(*candidates).receipts
        assert [receipt.failure for receipt in receipts] == [""] * len(orders)
        return list(receipts)

    def fails(
        self, key: PrivateKey, payload: object, reason: TransactionReason, detail: str = "", **options: Any
    ) -> None:
        """A transaction that is included and fails: fee and nonce are spent, nothing else changes."""
        candidate = self.sign(key, payload, **options)
        error = self._why(candidate)
        assert (error.reason, error.detail) == (reason, detail), str(error)
        before = self.content()
        [receipt] = self.add_block(candidate).receipts
        fee_units = candidate.transaction.fee_units
        assert receipt == Receipt(transaction_id=candidate.id, failure=reason.value, fee_units=fee_units, events=())
        if self.tip.epoch == self.epoch:
            sender = candidate.transaction.sender
            account = decode(Account, before[ACCOUNTS.key(sender)])
            charged = replace(account, balance_units=account.balance_units - fee_units, nonce=account.nonce + 1)
            supply = decode(type(SUPPLY.get(self.state)), before[SUPPLY.table.key(b"")])
            paid = replace(supply, treasury_units=supply.treasury_units + fee_units)
            expected = {**before, ACCOUNTS.key(sender): encode(charged), SUPPLY.table.key(b""): encode(paid)}
            seed_key = bytes((Prefix.EPOCH_SEED,))
            after = {each: data for each, data in self.content().items() if each[:1] != seed_key}
            assert after == {each: data for each, data in expected.items() if each[:1] != seed_key}

    def refuses(
        self, key: PrivateKey, payload: object, reason: TransactionReason, detail: str = "", **options: Any
    ) -> None:
        """A transaction that no block may carry: its builder leaves it out, and whoever judges refuses the block."""
        self.refuses_candidate(self.sign(key, payload, **options), reason, detail)

    def refuses_candidate(self, candidate: Candidate, reason: TransactionReason, detail: str = "") -> None:
        """The same for a candidate."""
        rejected: list[TransactionRejected] = []
        built = self.build([candidate], lambda _candidate, error: rejected.append(error))
        assert built.candidates == ()
        if reason is not TransactionReason.NONCE_TOO_HIGH:  # another block's builder takes it later
            assert [(each.reason, each.detail) for each in rejected] == [(reason, detail)], rejected
        forged = self.forge(built.block, [candidate])
        expected = TransactionRejected(reason, detail)
        with pytest.raises(BlockRejected) as found:
            execute_block(self.state, self.tip, forged, [candidate], self.shelf)
        assert found.value.reason is BlockReason.BAD_TRANSACTION
        assert found.value.detail == f"transaction 0: {expected}", found.value.detail

    # Blocks.

    def build(
        self, candidates: Sequence[Candidate], on_rejected: Callable[[Candidate, TransactionRejected], None]
    ) -> Executed:
        """A block on the tip, as a leader builds it."""
        return build_block(
            self.state,
            self.tip,
            view=self.tip.height + 1,
            parent_view=self.tip.height,
            time_ms=0,
            proposer=bytes(20),
            candidates=candidates,
            resources=self.shelf,
            on_rejected=on_rejected,
        )

    def forge(self, block: Block, candidates: Sequence[Candidate], **header: Any) -> Block:
        """A block with other transactions or another header."""
        transactions = tuple(candidate.data for candidate in candidates)
        changed = replace(block.header, **{"transactions_root": merkle_root(transactions), **header})
        return Block(header=changed, transactions=transactions)

    def add_block(self, *candidates: Candidate, on_rejected: Any = None) -> Executed:
        """Builds a block, has the mirror check it from its bytes, and makes it final on both."""
        executed = self.build(candidates, on_rejected or _unexpected)
        block = decode(Block, encode(executed.block))
        read = [read_transaction(data, self.chain.genesis_hash) for data in block.transactions]
        for each in read:
            require_signature(each)
        checked = execute_block(self.mirror.state, self.tip, block, read, self.mirror.shelf)
        assert checked.block_id == executed.block_id
        assert checked.layer.root == executed.layer.root == block.header.state_root
        assert checked.receipts == executed.receipts
        for node, layer in ((self.node, executed.layer), (self.mirror, checked.layer)):
            node.state.commit(
                block.header.height, layer, block_changes(block, executed.block_id, executed.receipts, None)
            )
        self.tip = block.header
        self.blocks.append(block)
        for receipt in executed.receipts:
            self.receipts[receipt.transaction_id] = receipt
            decode(Receipt, encode(receipt))
            for event in receipt.events:
                happened = decode(EVENTS[event.name], event.payload)
                self.happened.append(Happened(block.header.height, receipt.transaction_id, happened))
        if self.is_audited:
            self.audit()
        return executed

    def overwrite(self, view: View) -> None:
        """Puts what a test wrote to a view into both nodes, without a block: for states that no transaction makes."""
        layer = view.seal()
        assert layer.base is self.node.state
        mirrored = View(self.mirror.state)
        for key, value in layer.values.items():
            mirrored.write(key, value)
        for node, each in ((self.node, layer), (self.mirror, mirrored.seal())):
            node.state.commit(self.tip.height, each, {})
        assert self.node.state.root == self.mirror.state.root

    def wait(self, heights: int) -> None:
        """Empty blocks."""
        for _ in range(heights):
            self.add_block()

    def wait_for_height(self, height: int) -> None:
        """Empty blocks until the next one has a height."""
        while self.tip.height + 1 < height:
            self.add_block()

    def next_epoch(self) -> int:
        """Empty blocks up to and including the epoch's last one. Returns the epoch that begins."""
        epoch = self.epoch
        while self.epoch == epoch:
            self.add_block()
        return self.epoch

    def replay(self) -> bytes:
        """The root after executing every block again from genesis, claims not verified again."""
        node, tip = open_node(self.chain, {})
        for block in self.blocks:
            read = [read_transaction(data, self.chain.genesis_hash) for data in block.transactions]
            executed = execute_block(node.state, tip, block, read, None)
            node.state.commit(block.header.height, executed.layer, {})
            tip = block.header
        return node.state.root

    # Looking.

    def events(self, event_class: type[M]) -> list[M]:
        """What happened of one sort."""
        return [each.event for each in self.happened if isinstance(each.event, event_class)]

    def last(self, event_class: type[M]) -> M:
        """The last event of one sort."""
        return self.events(event_class)[-1]

    def content(self) -> dict[bytes, bytes]:
        """Every state key with its encoded value."""
        stored = self.node.disk.iterate(bytes((Column.STATE,)), bytes((Column.STATE + 1,)))
        return {key[1:]: data for key, data in stored}

    def rows(self, table: Table[M]) -> Iterator[tuple[bytes, M]]:
        """Keys and values of a table."""
        start = bytes((Column.STATE, table.prefix))
        for key, data in self.node.disk.iterate(start, bytes((Column.STATE, table.prefix + 1))):
            yield key[2:], decode(table.value_class, data)

    def holdings(self) -> Iterator[int]:
        """Everything that holds OPEN, besides the treasury."""
        values: dict[Prefix, Callable[[Any], tuple[int, ...]]] = {
            Prefix.ACCOUNT: lambda each: (each.balance_units, each.bond_units),
            Prefix.UNBONDING: lambda each: tuple(release.amount_units for release in each.releases),
            Prefix.CONTRIBUTION: lambda each: (each.bonded_count * each.record_bond_units,),
            Prefix.QUESTION: lambda each: (each.held_units,),
            Prefix.ESCROW: lambda each: (each.balance_units,),
            Prefix.VALIDATOR_POOL: lambda each: (each.left_units,),
            Prefix.VESTING: lambda each: tuple(part.earned_units - part.released_units for part in each.parts),
            Prefix.CHALLENGE: lambda each: (each.held_units,),
        }
        classes = {
            Prefix.ACCOUNT: Account,
            Prefix.UNBONDING: Unbonding,
            Prefix.CONTRIBUTION: Contribution,
            Prefix.QUESTION: Question,
            Prefix.ESCROW: Escrow,
            Prefix.VALIDATOR_POOL: ValidatorPool,
            Prefix.VESTING: Vesting,
            Prefix.CHALLENGE: Challenge,
        }
        tables = (ACCOUNTS, UNBONDING, CONTRIBUTIONS, QUESTIONS, ESCROWS, VALIDATOR_POOLS, VESTING, CHALLENGES)
        assert {table.prefix for table in tables} == set(classes)
        for key, data in self.content().items():
            prefix = Prefix(key[0])
            if prefix in values:
                yield from values[prefix](decode(classes[prefix], data))

    def audit(self) -> None:
        """Raises: AssertionError when OPEN was made or lost, or too much was minted."""
        error = conservation_error(SUPPLY.get(self.state), KAPPA_BPS_MAX, self.holdings())
        assert error is None, error

    def _why(self, candidate: Candidate) -> TransactionRejected:
        """Why a transaction fails, in full: a receipt has only the word."""
        context = context_for(self.context, candidate, 0)
        view = View(self.state)
        if self.context.height == self.context.epoch_first_height:
            holdouts.begin_epoch(view, self.context)
        sender = candidate.transaction.sender
        account = load_account(view, sender)
        charged = account.balance_units - candidate.transaction.fee_units
        ACCOUNTS.put(view, sender, replace(account, balance_units=charged, nonce=account.nonce + 1))
        try:
            candidate.kind.apply(view, context, copy.deepcopy(candidate.payload))
        except TransactionRejected as error:
            return error
        raise AssertionError(f"{candidate.kind.name} takes effect")


def make_ledger(chain: Chain) -> Ledger:
    """A ledger at genesis."""
    contents: dict[bytes, bytes] = {}
    node, tip = open_node(chain, contents)
    mirror, _ = open_node(chain, contents)
    return Ledger(chain=chain, node=node, mirror=mirror, tip=tip)


def _unexpected(candidate: Candidate, error: TransactionRejected) -> None:
    raise AssertionError(f"{candidate.kind.name} was refused: {error}")
