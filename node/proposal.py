"""Blocks above the final one: their bodies, what executing them gave, building new ones, making them final.

Everything above the final state lives in overlays; the store is written only when a block is final, in one batch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consensus.types import Certificate, Statement
from node.errors import (
    BlockReason,
    BlockRejected,
    DivergenceError,
    MessageReason,
    MessageRejected,
    TransactionRejected,
)
from node.execution.block import Executed, build_block, execute_block
from node.execution.handover import make_epoch_end
from node.execution.transaction import Candidate, read_transaction, require_signature
from node.modules.accounts import load_account
from node.modules.context import Pending, Resources
from node.modules.validators import GOVERNING, Governing
from node.primitives.merkle import merkle_root
from node.state.store import StateStore
from node.state.view import Base
from node.storage.blocks import BlockStore, block_changes, epoch_end_changes
from node.storage.wal import LogPosition
from node.types.block import Block, Header
from node.types.parameters import Parameters

MOST_JUDGED_INVALID = 1_000
MOST_COMMITTED_TOGETHER = 32
"""Blocks written in one batch while this node catches up: each batch waits for the disk."""
NO_TRANSACTIONS_ROOT = merkle_root(())


class ParentPending(Pending):
    """A block cannot be judged before its ancestor's body is here."""

    def __init__(self, block_id: bytes) -> None:
        super().__init__(block_id.hex())
        self.block_id = block_id


class BlobsPending(Pending):
    """A block is not executed before all the contents its transactions refer to are here."""

    def __init__(self, hashes: tuple[bytes, ...]) -> None:
        super().__init__(f"{len(hashes)} contents")
        self.hashes = hashes


class TimePending(Pending):
    """A block's time is ahead of this node's clock: no verdict."""

    def __init__(self, time_ms: int) -> None:
        super().__init__(str(time_ms))
        self.time_ms = time_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A block to build on."""

    header: Header
    """Its header."""
    base: Base
    """The state after it."""
    governing: Governing
    """What governs its child."""
    is_epoch_end: bool
    """Whether it is the last of its epoch."""


class BlockTree:
    """Bodies and executions of the blocks that are not final yet."""

    def __init__(
        self,
        state: StateStore,
        blocks: BlockStore,
        resources: Resources,
        find_verified: Callable[[bytes], Candidate | None],
    ) -> None:
        self._state = state
        self._blocks = blocks
        self._resources = resources
        self._find_verified = find_verified
        self._bodies: dict[bytes, Block] = {}
        self._decoded: dict[bytes, tuple[Candidate, ...]] = {}
        self._executed: dict[bytes, Executed] = {}
        self._invalid: OrderedDict[bytes, BlockRejected] = OrderedDict()
        tip = blocks.header(state.tip.height)
        assert tip is not None, "the final state belongs to a stored block"
        self.tip = tip
        """Header of the last final block."""
        self.tip_id = tip.id()
        self._is_tip_epoch_end = GOVERNING.get(state).epoch > tip.epoch

    @property
    def log_position(self) -> LogPosition | None:
        """How far the log had come when a block became final last."""
        return self._state.log_position

    def note_log(self, position: LogPosition) -> None:
        """The log is whole up to here, though no block became final since it was not."""
        self._state.note_log(position)

    def body(self, block_id: bytes) -> Block | None:
        """A block, final or not."""
        block = self._bodies.get(block_id)
        if block is None and (height := self._blocks.height_of(block_id)) is not None:
            block = self._blocks.block(height)
        return block

    def has_body(self, block_id: bytes) -> bool:
        """Whether a block's body is here."""
        return block_id in self._bodies or block_id == self.tip_id or self._blocks.height_of(block_id) is not None

    def add_body(self, block: Block, block_id: bytes) -> None:
        """Keeps the body of a block that is not final. The caller has compared the transactions root, or says nothing
        of them: a header alone is not kept.
        """
        is_header_only = not block.transactions and block.header.transactions_root != NO_TRANSACTIONS_ROOT
        if not is_header_only and self._blocks.height_of(block_id) is None:
            self._bodies.setdefault(block_id, block)

    def check_proposed(self, block: Block, statement: Statement, parameters: Parameters) -> None:
        """Raises: MessageRejected MALFORMED when a block cannot be one of this view, or its body is not its own."""
        header = block.header
        if header.epoch != statement.epoch or header.view > statement.view:
            raise MessageRejected(MessageReason.MALFORMED, "the block is of another epoch or a later view")
        if header.height > self.highest_height(header.view):
            raise MessageRejected(MessageReason.MALFORMED, "the block is higher than there were views for")
        size_bytes = sum(map(len, block.transactions))
        if size_bytes > parameters.block_size_bytes or len(block.transactions) > parameters.block_transactions:
            raise MessageRejected(MessageReason.MALFORMED, f"a body of {size_bytes} bytes is above the chain's limit")
        if block.transactions_root() != header.transactions_root:
            raise MessageRejected(MessageReason.MALFORMED, "the body is not the header's")

    def is_open(self, block_id: bytes) -> bool:
        """Whether a block's body is here and it is not final."""
        return block_id in self._bodies

    def drop(self, block_id: bytes) -> None:
        """Lets go of a block that nothing will be built on."""
        self._bodies.pop(block_id, None)
        self._decoded.pop(block_id, None)
        self._executed.pop(block_id, None)

    def highest_height(self, view: int) -> int:
        """The greatest height of a block of a view in the tip's epoch, or the one it ends: a view has one block."""
        passed_view = 0 if self._is_tip_epoch_end else self.tip.view
        return self.tip.height + max(0, view - passed_view)

    def parent(self, block_id: bytes) -> Parent:
        """A block to build on or to judge a child of.

        Raises: ParentPending naming the nearest ancestor whose body is missing; BlockRejected when it is invalid.
        """
        if block_id == self.tip_id:
            return Parent(
                header=self.tip,
                base=self._state,
                governing=GOVERNING.get(self._state),
                is_epoch_end=self._is_tip_epoch_end,
            )
        executed = self._executed.get(block_id)
        if executed is None:
            body = self._bodies.get(block_id)
            if body is None:
                raise ParentPending(block_id)
            # A certified block whose claims this node has not verified itself: a quorum has, the roots are compared.
            executed = self._execute(body, block_id, None)
        return Parent(
            header=executed.block.header,
            base=executed.layer,
            governing=executed.governing,
            is_epoch_end=executed.is_epoch_end,
        )

    def judge(self, block_id: bytes, now_ms: int, has_blob: Callable[[bytes], bool]) -> Executed:
        """Executes a proposed block, once all contents it refers to are held.

        Raises: BlockRejected when it is wrong by its own content; Pending when it cannot be told yet.
        """
        block = self._bodies.get(block_id)
        if block is None:
            raise ParentPending(block_id)
        if block_id in self._invalid:
            raise _again(self._invalid[block_id])
        parent = self.parent(block.header.parent_id)
        try:
            missing = () if block_id in self._executed else self._missing_blobs(block, block_id, has_blob)
            if missing:
                raise BlobsPending(missing)
            executed = self._execute(block, block_id, self._resources)
        except BlockRejected as error:
            # A new one: what was raised holds on to all that stood on the stack, the block included.
            self._invalid[block_id] = _again(error)
            if len(self._invalid) > MOST_JUDGED_INVALID:
                self._invalid.popitem(last=False)
            raise
        limit_ms = now_ms + GOVERNING.get(parent.base).parameters.clock_drift_ms
        if block.header.time_ms > max(limit_ms, parent.header.time_ms + 1):
            raise TimePending(block.header.time_ms)
        return executed

    def build(
        self,
        parent_id: bytes,
        *,
        view: int,
        parent_view: int,
        now_ms: int,
        proposer: bytes,
        select: Callable[[Parent], Sequence[Candidate]],
        on_rejected: Callable[[Candidate, TransactionRejected], None],
    ) -> Executed:
        """A new block of what `select` gives for the parent. Raises: ParentPending, BlockRejected as `parent`."""
        parent = self.parent(parent_id)
        executed = build_block(
            parent.base,
            parent.header,
            view=view,
            parent_view=parent_view,
            time_ms=now_ms,
            proposer=proposer,
            candidates=select(parent),
            resources=self._resources,
            on_rejected=on_rejected,
        )
        self.adopt(executed)
        return executed

    def adopt(self, executed: Executed) -> None:
        """Keeps a block that this node executed while building it."""
        self._bodies[executed.block_id] = executed.block
        self._executed[executed.block_id] = executed

    def next_nonce(self, parent: Parent, address: bytes) -> int:
        """An account's next nonce after a block."""
        return load_account(parent.base, address).nonce

    def unfinal_ancestors(self, block_id: bytes) -> tuple[Executed, ...]:
        """The executed blocks from a block down to the final one, the block itself included."""
        found = []
        while (executed := self._executed.get(block_id)) is not None:
            found.append(executed)
            block_id = executed.block.header.parent_id
        return tuple(found)

    def finalize(
        self, block_id: bytes, certificate: Certificate | None, log_position: LogPosition | None = None
    ) -> tuple[Executed, ...]:
        """Makes a block and its ancestors final, in order; returns them. Nothing to do if it is final already.

        `log_position` is how far the log has come, if it is whole: noted with each block.

        Raises: ParentPending naming a missing body; DivergenceError when a block this node judged invalid is among
        them, or executes to other roots than its header's.
        """
        if self._blocks.height_of(block_id) is not None:
            return ()
        path: list[bytes] = []
        walk = block_id
        while walk != self.tip_id:
            body = self._bodies.get(walk)
            if body is None:
                raise ParentPending(walk)
            if body.header.height <= self.tip.height:
                raise DivergenceError(f"block {walk.hex()} is final and conflicts with the final {self.tip_id.hex()}")
            path.append(walk)
            walk = body.header.parent_id
        done: list[Executed] = []
        waiting: list[Executed] = []
        """Executed, and not in the store yet."""
        for each in reversed(path):
            if each in self._invalid:
                raise DivergenceError(f"block {each.hex()} is final, but this node judged it: {self._invalid[each]}")
            try:
                executed = self._execute(self._bodies[each], each, None)
            except BlockRejected as error:
                raise DivergenceError(f"block {each.hex()} is final, but does not execute here: {error}") from error
            waiting.append(executed)
            if each == block_id or len(waiting) == MOST_COMMITTED_TOGETHER:
                self._commit(waiting, certificate if each == block_id else None, log_position)
                done += waiting
                waiting.clear()
        return tuple(done)

    def _execute(self, block: Block, block_id: bytes, resources: Resources | None) -> Executed:
        known = self._executed.get(block_id)
        if known is not None:
            return known
        parent = self.parent(block.header.parent_id)
        candidates = self._decode(block, block_id)
        executed = execute_block(parent.base, parent.header, block, candidates, resources)
        self._executed[block_id] = executed
        return executed

    def _missing_blobs(self, block: Block, block_id: bytes, has_blob: Callable[[bytes], bool]) -> tuple[bytes, ...]:
        references = (
            reference.hash
            for candidate in self._decode(block, block_id)
            for reference in candidate.kind.blobs(candidate.payload)
        )
        return tuple(each for each in dict.fromkeys(references) if not has_blob(each))

    def _decode(self, block: Block, block_id: bytes) -> tuple[Candidate, ...]:
        known = self._decoded.get(block_id)
        if known is not None:
            return known
        candidates = []
        for index, data in enumerate(block.transactions):
            candidate = self._find_verified(data)
            if candidate is None:
                try:
                    candidate = read_transaction(data, block.header.genesis_hash)
                    require_signature(candidate)
                except TransactionRejected as error:
                    raise BlockRejected(BlockReason.BAD_TRANSACTION, f"transaction {index}: {error}") from error
            candidates.append(candidate)
        self._decoded[block_id] = tuple(candidates)
        return self._decoded[block_id]

    def _commit(
        self, done: Sequence[Executed], certificate: Certificate | None, log_position: LogPosition | None
    ) -> None:
        """Writes blocks that became final together; the certificate is the last one's own."""
        last = done[-1]
        self._state.commit_all(
            [
                (each.block.header.height, each.layer, _changes_of(each, certificate if each is last else None))
                for each in done
            ],
            log_position,
        )
        self.tip, self.tip_id, self._is_tip_epoch_end = last.block.header, last.block_id, last.is_epoch_end
        self._prune()

    def _prune(self) -> None:
        """Keeps what descends from the new tip, on the final state, and bodies that may; drops everything else."""
        descendants: dict[bytes, Executed] = {}
        for block_id, executed in sorted(self._executed.items(), key=lambda item: item[1].block.header.height):
            parent_id = executed.block.header.parent_id
            if parent_id == self.tip_id:
                executed.layer.base = self._state
            if parent_id == self.tip_id or parent_id in descendants:
                descendants[block_id] = executed
        self._executed = descendants
        self._bodies = {block_id: body for block_id, body in self._bodies.items() if self._may_follow(body.header)}
        self._decoded = {block_id: each for block_id, each in self._decoded.items() if block_id in self._bodies}

    def _may_follow(self, header: Header) -> bool:
        """Whether a block can descend from the tip: of the same epoch, and of a later view for each height above."""
        epoch = self.tip.epoch + self._is_tip_epoch_end
        return header.epoch == epoch and self.tip.height < header.height <= self.highest_height(header.view)


def _changes_of(executed: Executed, certificate: Certificate | None) -> dict[bytes, bytes | None]:
    """What is written for a final block besides its state."""
    changes = block_changes(executed.block, executed.block_id, executed.receipts, certificate)
    if executed.is_epoch_end:
        assert certificate is not None, "rule 12: nothing of the epoch is above its last block"
        changes |= epoch_end_changes(make_epoch_end(executed, certificate))
    return changes


def _again(error: BlockRejected) -> BlockRejected:
    """The same reason, without the stack it was raised on before."""
    return BlockRejected(error.reason, error.detail)
