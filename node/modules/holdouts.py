"""Holdouts: labelled points the reviewers commit to before a model is registered, and reveal after.

The reviewers commit to a Merkle root over chunks. The last block of an epoch draws, by its id, the chunk that measures
every model registered in that epoch; it is revealed in a later epoch, used for those models only, and never again. So
nobody can train on what will measure them, and no user's question can move the measure.

A chunk's leaf is salt ‖ content hashes of its points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from node.errors import TransactionReason, TransactionRejected
from node.modules.contents import add_use, require_content
from node.modules.context import BlobRef, BlockContext, Context, Resources, State
from node.modules.datanets import (
    DATANETS,
    MOST_REVIEWERS,
    RECORDS,
    Record,
    RecordStatus,
    require_age,
    require_reviewer,
    verify_records,
)
from node.modules.validators import epoch_key
from node.primitives.crypto import Address, Hash
from node.primitives.merkle import is_included
from node.state.table import Reader, Table
from node.storage.schema import Prefix
from node.types.transaction import Height

MOST_CHUNKS = 1_024
MOST_CHUNK_RECORDS = 1_024
SEED_EPOCHS = 64
"""For how many epochs the id of an epoch's last block is kept: a chunk is revealed within."""

ChunkIndex = Annotated[int, range(MOST_CHUNKS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdout:
    """What a datanet's reviewers committed to."""

    root: Hash
    """Merkle root over the chunks' leaves."""
    chunk_count: Annotated[int, range(1, MOST_CHUNKS + 1)]
    """How many chunks."""
    approved_by: Annotated[tuple[Address, ...], range(MOST_REVIEWERS + 1)]
    """Reviewers who committed to it."""
    committed_height: Height
    """When the quorum was reached; 0 before."""
    used: Annotated[tuple[ChunkIndex, ...], range(MOST_CHUNKS + 1)]
    """Chunks revealed, sorted."""

    @property
    def is_usable(self) -> bool:
        """Whether it is committed and has a chunk left."""
        return self.committed_height > 0 and len(self.used) < self.chunk_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed:
    """The chunk that measures the models of one epoch."""

    records: Annotated[tuple[Hash, ...], range(1, MOST_CHUNK_RECORDS + 1)]
    """Content hashes of its labelled points."""
    committed_height: Height
    """When the reviewers had committed to it: a model registered before is not measured with it."""
    height: Height
    """When it was revealed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSeed:
    """Randomness that nobody had before an epoch's end."""

    block_id: Hash
    """Id of the epoch's last block."""


HOLDOUTS = Table(Prefix.HOLDOUT, Holdout)
"""By datanet."""
REVEALED = Table(Prefix.REVEALED, Revealed)
"""By datanet and epoch."""
EPOCH_SEEDS = Table(Prefix.EPOCH_SEED, EpochSeed)
"""By epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitHoldout:
    """A reviewer commits to a holdout; it counts once the datanet's quorum sent the same."""

    datanet: Hash
    """Which datanet."""
    root: Hash
    """Merkle root over the chunks' leaves."""
    chunk_count: Annotated[int, range(1, MOST_CHUNKS + 1)]
    """How many chunks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevealHoldout:
    """A reviewer reveals the chunk drawn for an epoch."""

    datanet: Hash
    """Which datanet."""
    epoch: Annotated[int, range(1, 2**48)]
    """The epoch whose models it measures."""
    chunk_index: ChunkIndex
    """The chunk that the epoch's last block drew."""
    salt: Hash
    """What keeps the leaf secret until now."""
    records: Annotated[tuple[BlobRef, ...], range(1, MOST_CHUNK_RECORDS + 1)]
    """Its labelled points, uploaded before."""
    proof: Annotated[tuple[Hash, ...], range(11)]
    """Siblings from the leaf to the root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutCommitted:
    """A reviewer committed to a holdout."""

    NAME: ClassVar[str] = "holdout_committed"

    datanet: Hash
    """Which datanet."""
    reviewer: Address
    """Who."""
    root: Hash
    """To what."""
    is_quorum: bool
    """Whether it counts now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutRevealed:
    """An epoch's chunk is known."""

    NAME: ClassVar[str] = "holdout_revealed"

    datanet: Hash
    """Which datanet."""
    epoch: Annotated[int, range(1, 2**48)]
    """Which epoch's models it measures."""
    chunk_index: ChunkIndex
    """Which chunk."""
    record_count: Annotated[int, range(2**16)]
    """How many points it has."""


def chunk_leaf(salt: bytes, contents: tuple[bytes, ...]) -> bytes:
    """What the Merkle tree commits to for a chunk."""
    return salt + b"".join(contents)


def drawn_chunk(state: Reader, holdout: Holdout, epoch: int) -> int:
    """The chunk that an epoch's last block drew among the unused ones.

    Raises: TransactionRejected NOT_YET, TOO_OLD.
    """
    seed = EPOCH_SEEDS.get(state, epoch_key(epoch))
    if seed is None:
        raise TransactionRejected(TransactionReason.TOO_OLD, "the epoch is too long ago, or has not ended")
    unused = sorted(set(range(holdout.chunk_count)) - set(holdout.used))
    return unused[int.from_bytes(seed.block_id, "big") % len(unused)]


def begin_epoch(state: State, block: BlockContext) -> None:
    """The first block of an epoch keeps the id of the last one's last block."""
    if block.epoch > 1:
        EPOCH_SEEDS.put(state, epoch_key(block.epoch - 1), EpochSeed(block_id=block.parent_id))
    forgotten = block.epoch - 1 - SEED_EPOCHS
    if forgotten >= 1 and EPOCH_SEEDS.get(state, epoch_key(forgotten)) is not None:
        EPOCH_SEEDS.delete(state, epoch_key(forgotten))


def apply_commit_holdout(state: State, context: Context, payload: CommitHoldout) -> None:
    """Counts a reviewer's commitment; a new one replaces what has no quorum yet or no chunk left."""
    datanet = DATANETS.need(state, payload.datanet)
    require_reviewer(datanet, context.sender)
    known = HOLDOUTS.get(state, payload.datanet)
    if known is not None and known.is_usable:
        raise TransactionRejected(TransactionReason.ALREADY_EXISTS, "the committed holdout has chunks left")
    is_same = known is not None and (known.root, known.chunk_count) == (payload.root, payload.chunk_count)
    if known is not None and known.committed_height and known.root == payload.root:
        raise TransactionRejected(
            TransactionReason.ALREADY_DONE, "its chunks are revealed: everybody could train on them"
        )
    approved_by = known.approved_by if known is not None and is_same else ()
    if context.sender in approved_by:
        raise TransactionRejected(TransactionReason.ALREADY_DONE, "one commitment each")
    approved_by = (*approved_by, context.sender)
    is_quorum = len(approved_by) >= datanet.review_quorum
    holdout = Holdout(
        root=payload.root,
        chunk_count=payload.chunk_count,
        approved_by=approved_by,
        committed_height=context.block.height if is_quorum else 0,
        used=(),
    )
    HOLDOUTS.put(state, payload.datanet, holdout)
    context.emit(
        HoldoutCommitted(datanet=payload.datanet, reviewer=context.sender, root=payload.root, is_quorum=is_quorum)
    )


def meter_reveal_holdout(state: Reader, context: Context, payload: RevealHoldout) -> int:
    """The points are checked against the datanet's form."""
    require_age(context, DATANETS.need(state, payload.datanet).created_height)
    return 0


def verify_reveal_holdout(state: Reader, _context: Context, payload: RevealHoldout, resources: Resources) -> None:
    """Every point has its datanet's form. Raises: TransactionRejected BAD_CONTENT; Pending."""
    verify_records(DATANETS.need(state, payload.datanet), payload.records, resources)


def apply_reveal_holdout(state: State, context: Context, payload: RevealHoldout) -> None:
    """Checks the chunk against commitment and draw; its points can never be contributed as records."""
    datanet = DATANETS.need(state, payload.datanet)
    require_reviewer(datanet, context.sender)
    holdout = HOLDOUTS.need(state, payload.datanet)
    if payload.epoch >= context.block.epoch:
        raise TransactionRejected(TransactionReason.NOT_YET, f"epoch {payload.epoch} has not ended")
    key = payload.datanet + epoch_key(payload.epoch)
    if REVEALED.get(state, key) is not None:
        raise TransactionRejected(TransactionReason.ALREADY_DONE, "this epoch's chunk is revealed")
    if not holdout.is_usable:
        raise TransactionRejected(TransactionReason.WRONG_STATUS, "no committed chunk is left")
    drawn = drawn_chunk(state, holdout, payload.epoch)
    contents = tuple(reference.hash for reference in payload.records)
    leaf = chunk_leaf(payload.salt, contents)
    if payload.chunk_index != drawn:
        raise TransactionRejected(TransactionReason.NOT_ADMISSIBLE, f"the draw is chunk {drawn}")
    if not is_included(holdout.root, leaf, payload.chunk_index, holdout.chunk_count, payload.proof):
        raise TransactionRejected(TransactionReason.NOT_ADMISSIBLE, "the chunk is not what was committed to")
    HOLDOUTS.put(state, payload.datanet, replace(holdout, used=tuple(sorted((*holdout.used, drawn)))))
    revealed = Revealed(records=contents, committed_height=holdout.committed_height, height=context.block.height)
    REVEALED.put(state, key, revealed)
    for index, content in enumerate(contents):
        require_content(state, content)
        add_use(state, content)
        if RECORDS.get(state, datanet.schema_id + content) is None:
            point = Record(
                datanet=payload.datanet,
                contributor=context.sender,
                contribution=context.transaction_id,
                height=context.block.height,
                transaction_index=context.transaction_index,
                index=index,
                status=RecordStatus.HOLDOUT,
                position=0,
                leader=content,
            )
            RECORDS.put(state, datanet.schema_id + content, point)
    context.emit(
        HoldoutRevealed(datanet=payload.datanet, epoch=payload.epoch, chunk_index=drawn, record_count=len(contents))
    )
