"""Makes snapshots of the final state, and restores a store from one.

Made aside, from the store as it stood when the block became final; a restored store is whole only with its last batch.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import structlog

from consensus.types import Certificate
from node.epochs import Anchor, EpochChain
from node.errors import BlockRejected, MessageReason, MessageRejected, StorageError
from node.execution.block import genesis_block, genesis_layer
from node.modules.contents import CONTENTS
from node.modules.datanets import CONTRIBUTIONS, ContributionStatus
from node.modules.validators import GOVERNING
from node.primitives.codec import decode, encode
from node.primitives.crypto import sha256
from node.state import tree
from node.state.range_proof import FIRST_KEY_HASH, LAST_KEY_HASH, prove_range, verify_range
from node.state.store import TIP_KEY, StateStore, Tip
from node.storage.blobs import BlobStore, Uses
from node.storage.blocks import LOWEST_KEY, BlockStore, block_changes, epoch_end_changes
from node.storage.kv import Frozen, KeyValueStore, LevelStore, MemoryStore
from node.storage.schema import Column, Meta, column_key, height_key
from node.storage.snapshots import SnapshotDirectory, SnapshotShelf
from node.types.block import Header
from node.types.epoch import EpochEnd
from node.types.genesis import Genesis
from node.types.snapshot import (
    CHUNK_SIZE_BYTES,
    LARGEST_CHUNK_SIZE_BYTES,
    MOST_CHUNKS,
    SNAPSHOT_VERSION,
    Chunk,
    ChunkEntry,
    ChunkRef,
    Manifest,
    Snapshot,
)

BATCH = 2_000
"""Keys written or deleted together."""
ENTRY_OVERHEAD_BYTES = 16
GENESIS_KEY = column_key(Column.META, bytes((Meta.GENESIS,)))
RESTORING_KEY = column_key(Column.META, bytes((Meta.RESTORING,)))
REPLACED_COLUMNS = (
    Column.STATE, Column.TREE, Column.BLOCK, Column.HEIGHT, Column.RECEIPTS, Column.FINALITY, Column.UNDO,
    Column.HEADER,
)  # fmt: skip
"""What a restored snapshot replaces. The ends of epochs stay, and so does what is noted of the log."""

IsCancelled = Callable[[], bool]
RunAside = Callable[[Callable[[], None], Callable[[], None]], None]
"""Does something slow off the event loop, then calls back."""

log = structlog.get_logger(__name__)


class CancelledError(Exception):
    """The node stops: what was begun is thrown away."""


@dataclass(frozen=True, slots=True)
class Range:
    """The key hashes a chunk is about, both ends inclusive."""

    first: bytes
    last: bytes


class SnapshotMaker:
    """Makes the snapshots of one node while it runs."""

    def __init__(
        self, store: KeyValueStore, shelf: SnapshotShelf, interval_heights: int, run_aside: RunAside, first_epoch: int
    ) -> None:
        """`interval_heights` 0 makes none; `first_epoch` is the genesis' one."""
        self._store = store
        self._shelf = shelf
        self._interval_heights = interval_heights
        self._run_aside = run_aside
        self._first_epoch = first_epoch
        self._is_making = False
        self._is_cancelled = False
        self._is_stopped = False
        shelf.drop_making()  # left by a process that was killed
        self._newest_height = max((each.manifest.header.height for _, each in shelf.all()), default=0)

    def lowest_needed_height(self) -> int | None:
        """The lowest block that whoever joins by the newest snapshot needs; None when none are made."""
        return self._newest_height + 1 if self._interval_heights else None

    def on_epoch_end(self, header: Header, certificate: Certificate) -> None:
        """The last block of an epoch is final, and its state is the store's.

        At such a block all nodes have the proof of finality, so all make the same snapshots.
        """
        interval = self._interval_heights
        if not interval or self._is_making:
            return
        before = BlockStore(self._store).epoch_end(header.epoch - 1)
        if before is not None and header.height // interval == before.header.height // interval:
            return
        if before is None and header.height < interval:
            return
        self._is_making = True
        self._is_cancelled = False
        frozen = self._store.freeze()

        def make() -> None:
            try:
                make_snapshot(self._shelf, frozen, header, certificate, self._first_epoch, self._is_given_up)
                self._shelf.keep_newest()
                self._newest_height = header.height
                log.info("snapshot_made", height=header.height)
            except CancelledError:
                log.info("snapshot_cancelled", height=header.height)
            except (StorageError, OSError) as error:  # the node does without; what it needs to vote is elsewhere
                log.warning("snapshot_not_made", height=header.height, error=str(error))
            finally:
                frozen.close()

        def on_made() -> None:
            self._is_making = False

        self._run_aside(make, on_made)

    def cancel(self) -> None:
        """What is being made is thrown away; the next one is made when it is due."""
        self._is_cancelled = True

    def stop(self) -> None:
        """What is being made is thrown away, and no other follows."""
        self._is_stopped = True

    def _is_given_up(self) -> bool:
        return self._is_cancelled or self._is_stopped


# Making.


def make_snapshot(
    shelf: SnapshotShelf,
    frozen: Frozen,
    header: Header,
    certificate: Certificate,
    first_epoch: int,
    is_cancelled: IsCancelled = lambda: False,
) -> SnapshotDirectory:
    """Writes the snapshot of an epoch's last block, finalised directly, whose state `frozen` is. Touches nothing else.

    `first_epoch` is the genesis' one: a chain that continues another has no earlier ends.

    Raises: StorageError; CancelledError.
    """
    require_epoch_end(frozen, header)
    making = shelf.begin()
    try:
        snapshot = _write(making, frozen, header, certificate, first_epoch, is_cancelled)
        return shelf.finish(making, snapshot)
    finally:
        shelf.drop_making()


def _write(
    making: SnapshotDirectory,
    frozen: Frozen,
    header: Header,
    certificate: Certificate,
    first_epoch: int,
    is_cancelled: IsCancelled,
) -> Snapshot:
    """Writes the chunks and the ends of epochs."""
    references: list[ChunkRef] = []
    entry_count = 0
    first = FIRST_KEY_HASH
    for entries, is_last in _chunks_of(_sorted_entries(making, frozen, is_cancelled)):
        if is_cancelled():
            raise CancelledError
        last = LAST_KEY_HASH if is_last else sha256(entries[-1].key)
        proof = prove_range(lambda path: frozen.get(column_key(Column.TREE, path.encode("ascii"))), first, last)
        data = encode(Chunk(entries=tuple(entries), proof=proof))
        making.save_chunk(len(references), data)
        references.append(ChunkRef(hash=sha256(data), last_key_hash=last))
        if len(references) > MOST_CHUNKS:
            raise StorageError("the state is larger than a snapshot can be")
        entry_count += len(entries)
        first = _next(last)
    making.save_epochs(epoch_ends(frozen, first_epoch, header.epoch + 1))
    manifest = Manifest(version=SNAPSHOT_VERSION, header=header, entry_count=entry_count, chunks=tuple(references))
    return Snapshot(manifest=manifest, certificate=certificate)


def require_epoch_end(frozen: Frozen, header: Header) -> None:
    """Checks that a state is that of an epoch's last block: whoever begins with it knows the epoch's start.

    Raises: StorageError.
    """
    data = frozen.get(column_key(Column.STATE, GOVERNING.table.key(b"")))
    governing = None if data is None else decode(GOVERNING.table.value_class, data)
    if governing is None or governing.first_height != header.height + 1:
        last = "not known" if governing is None else f"height {governing.last_height}"
        raise StorageError(
            f"height {header.height} does not end an epoch, and a snapshot is one of an epoch's last block: "
            f"wait for the end of epoch {header.epoch} ({last}), or roll back to the end of the one before"
        )


def epoch_ends(frozen: Frozen, first_epoch: int, stop_epoch: int) -> Iterator[EpochEnd]:
    """What ended the epochs from one up to before another. Raises: StorageError when one is missing."""
    for epoch in range(first_epoch, stop_epoch):
        data = frozen.get(column_key(Column.EPOCH_END, height_key(epoch)))
        if data is None:
            raise StorageError(f"the end of epoch {epoch} is not in the store: let the node sync again from its peers")
        yield decode(EpochEnd, data)


def _sorted_entries(making: SnapshotDirectory, frozen: Frozen, is_cancelled: IsCancelled) -> Iterator[ChunkEntry]:
    """All entries in the order of the hashes of their keys. Sorted on the disk: the state may not fit the memory."""
    place = making.path / "sort"
    sorting = LevelStore(place, is_durable=False)
    try:
        entries = frozen.iterate(bytes((Column.STATE,)), bytes((Column.STATE + 1,)))
        while batch := list(islice(entries, BATCH)):
            if is_cancelled():
                raise CancelledError
            sorting.write({sha256(key[1:]): key[1:] for key, _ in batch})
        for _, key in sorting.iterate(b"", LAST_KEY_HASH + b"\0"):
            value = frozen.get(column_key(Column.STATE, key))
            assert value is not None, "what is frozen stays"
            yield ChunkEntry(key=key, value=value)
    finally:
        sorting.close()
        shutil.rmtree(place, ignore_errors=True)


def _chunks_of(entries: Iterator[ChunkEntry]) -> Iterator[tuple[list[ChunkEntry], bool]]:
    """The entries chunk by chunk, and whether it is the last one. Where a chunk ends follows from the entries alone."""
    chunk: list[ChunkEntry] = []
    size_bytes = 0
    for entry in entries:
        if size_bytes >= CHUNK_SIZE_BYTES:
            yield chunk, False
            chunk, size_bytes = [], 0
        chunk.append(entry)
        size_bytes += len(entry.key) + len(entry.value) + ENTRY_OVERHEAD_BYTES
    yield chunk, True


# Checking.


def check_manifest(manifest: Manifest) -> tuple[Range, ...]:
    """The range of each chunk. Raises: MessageRejected MALFORMED when they overlap, leave a gap or end early."""
    ranges: list[Range] = []
    first = FIRST_KEY_HASH
    for reference in manifest.chunks:
        if (ranges and ranges[-1].last == LAST_KEY_HASH) or reference.last_key_hash < first:
            raise MessageRejected(MessageReason.MALFORMED, "snapshot: the chunks' ranges do not follow each other")
        ranges.append(Range(first, reference.last_key_hash))
        first = _next(reference.last_key_hash)
    if ranges[-1].last != LAST_KEY_HASH:
        raise MessageRejected(MessageReason.MALFORMED, "snapshot: the chunks end before the state does")
    return tuple(ranges)


def read_chunk(manifest: Manifest, ranges: tuple[Range, ...], index: int, data: bytes) -> Chunk:
    """A chunk that is proven against the state root. Raises: MessageRejected."""
    if sha256(data) != manifest.chunks[index].hash:
        raise MessageRejected(MessageReason.MALFORMED, f"snapshot: chunk {index} is not the manifest's")
    if len(data) > LARGEST_CHUNK_SIZE_BYTES:
        raise MessageRejected(MessageReason.TOO_LARGE, f"snapshot: chunk {index}")
    chunk = decode(Chunk, data)
    leaves = [(sha256(entry.key), sha256(entry.value)) for entry in chunk.entries]
    verify_range(manifest.header.state_root, ranges[index].first, ranges[index].last, leaves, chunk.proof)
    return chunk


# Restoring.


def restore_snapshot(
    directory: SnapshotDirectory,
    store: KeyValueStore,
    blobs: BlobStore,
    genesis: Genesis,
    epochs: EpochChain,
    *,
    is_source_kept: bool = False,
) -> Header:
    """Makes a snapshot the store's final state, every chunk verified. `epochs` knows the set of its epoch.

    Stopped in the middle it leaves a store that says so: `wipe_unfinished` cleans it up. A chunk that is no good is
    thrown away, so that it is fetched again, unless the source is kept.

    Raises: StorageError saying which part is wrong.
    """
    snapshot = directory.load()
    manifest, header = snapshot.manifest, snapshot.manifest.header
    try:
        epochs.require_final(header, snapshot.certificate)
        epochs.require_trusted(header)
        epochs.require_epoch_end(header)
        ranges = check_manifest(manifest)
    except (BlockRejected, MessageRejected) as error:
        raise StorageError(
            f"{directory.path} is no snapshot of an epoch's last block of this chain: {error}"
        ) from error
    store.write({RESTORING_KEY: height_key(header.height)})
    _wipe(store)
    nodes = _Nodes(store)
    for index in range(len(manifest.chunks)):
        chunk = _load_chunk(directory, manifest, ranges, index, is_source_kept=is_source_kept)
        if chunk.entries:
            changes = nodes.add({sha256(entry.key): sha256(entry.value) for entry in chunk.entries})
            store.write(changes | {column_key(Column.STATE, entry.key): entry.value for entry in chunk.entries})
    if nodes.root != header.state_root:
        raise StorageError(f"{directory.path}: its chunks make another state than the block's. Fetch another one.")
    store.write({TIP_KEY: encode(Tip(height=header.height, state_root=header.state_root)), GENESIS_KEY: genesis.hash()})
    settle_contents(store, blobs, header.height)
    store.write(_last_changes(snapshot, genesis))
    return header


def wipe_unfinished(store: KeyValueStore) -> bool:
    """Empties a store whose restoring was cut short. Returns whether it was."""
    if store.get(RESTORING_KEY) is None:
        return False
    _wipe(store)
    store.write({TIP_KEY: None, GENESIS_KEY: None, LOWEST_KEY: None, RESTORING_KEY: None})
    log.warning("restoring_was_cut_short", hint="the store begins anew")
    return True


def restore_incoming(
    shelf: SnapshotShelf, store: KeyValueStore, blobs: BlobStore, genesis: Genesis, anchor: Anchor | None
) -> Header | None:
    """Restores the snapshot that was fetched, if it is whole and above the final state; what is damaged is dropped."""
    incoming = shelf.incoming
    try:
        manifest = incoming.load().manifest
        if not all(incoming.has_chunk(index) for index in range(len(manifest.chunks))):
            return None
        tip = store.get(TIP_KEY)
        is_whole = tip is not None and store.get(RESTORING_KEY) is None
        if is_whole and decode(Tip, tip or b"").height >= manifest.header.height:
            shelf.drop_incoming()
            return None
        restored = restore_snapshot(incoming, store, blobs, genesis, known_epochs(store, genesis, anchor))
    except StorageError as error:
        if incoming.path.exists():
            log.warning("snapshot_not_restored", reason=str(error))
        return None
    shelf.drop_incoming()
    log.info("snapshot_restored", height=restored.height)
    return restored


def save_verified_epochs(
    directory: SnapshotDirectory, store: KeyValueStore, genesis: Genesis, anchor: Anchor | None
) -> EpochChain:
    """The validator sets that a snapshot's own ends of epochs prove; keeps them in the store. Raises: StorageError."""
    epochs = EpochChain(genesis, anchor)
    ends = list(directory.load_epochs())
    try:
        epochs.extend(ends)
    except BlockRejected as error:
        raise StorageError(
            f"{directory.path} does not follow from the genesis or the trusted block: {error}. Get it elsewhere."
        ) from error
    save_epoch_ends(store, ends)
    return epochs


def known_epochs(store: KeyValueStore, genesis: Genesis, anchor: Anchor | None = None) -> EpochChain:
    """The validator sets as far as the ends of epochs in a store lead. Raises: StorageError when one is not good."""
    epochs = EpochChain(genesis, anchor)
    try:
        while (data := store.get(column_key(Column.EPOCH_END, height_key(epochs.epoch)))) is not None:
            epochs.extend((decode(EpochEnd, data),))
    except (BlockRejected, MessageRejected) as error:
        raise StorageError(
            f"the end of epoch {epochs.epoch} in the store is not of this chain, or not of the trusted one: {error}"
        ) from error
    return epochs


def settle_contents(store: KeyValueStore, blobs: BlobStore, height: int) -> None:
    """Notes which contents a state refers to: what is missing is wanted, what it no longer knows is erased.

    What is under review is restricted: a content goes to everybody only once this node knows that it may.
    """
    state = StateStore(store)
    public: set[bytes] = set()
    reviewed: set[bytes] = set()
    for _, value in _entries(store, CONTRIBUTIONS.prefix):
        contribution = decode(CONTRIBUTIONS.value_class, value)
        (reviewed if contribution.status is ContributionStatus.PENDING else public).update(contribution.records)
    keys = _entries(store, CONTENTS.prefix)
    while page := list(islice(keys, BATCH)):
        contents = [(key[2:], decode(CONTENTS.value_class, value)) for key, value in page]
        used = [key for key, content in contents if not content.erased_height]
        referred = tuple((key, key in reviewed and key not in public) for key in used)
        blobs.apply_uses(Uses(height=height, referred=referred))
    known = chain(blobs.referred(), blobs.wanted())
    while names := list(islice(known, BATCH)):
        contents_of = ((name, CONTENTS.get(state, name)) for name in names)
        gone = tuple(name for name, content in contents_of if content is None or content.erased_height)
        blobs.apply_uses(Uses(height=height, erased=gone))
    blobs.apply_uses(Uses(height=height))


class _Nodes:
    """The Merkle nodes of a state that grows from left to right."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._recent: dict[str, bytes | None] = {}
        self.root = tree.EMPTY_ROOT

    def load(self, path: str) -> bytes | None:
        """The node at a path."""
        if path in self._recent:
            return self._recent[path]
        return self._store.get(column_key(Column.TREE, path.encode("ascii")))

    def add(self, changes: dict[bytes, bytes | None]) -> dict[bytes, bytes | None]:
        """Adds key hashes with their values' hashes; returns what is to be written."""
        self.root, nodes = tree.update(self.load, changes)
        self._recent = nodes
        return {column_key(Column.TREE, path.encode("ascii")): node for path, node in nodes.items()}


def _load_chunk(
    directory: SnapshotDirectory, manifest: Manifest, ranges: tuple[Range, ...], index: int, *, is_source_kept: bool
) -> Chunk:
    data = directory.load_chunk(index)
    if data is None:
        raise StorageError(f"{directory.path}: chunk {index} is missing. Copy or fetch the snapshot again.")
    try:
        return read_chunk(manifest, ranges, index, data)
    except MessageRejected as error:
        if not is_source_kept:
            directory.drop_chunk(index)
        raise StorageError(f"{directory.chunk_file(index)} is damaged or forged: {error}. Fetch it again.") from error


def _last_changes(snapshot: Snapshot, genesis: Genesis) -> dict[bytes, bytes | None]:
    header = snapshot.manifest.header
    key = height_key(header.height)
    first: dict[bytes, bytes | None] = {}
    if genesis.continued is None:  # the first block of a chain that continues another one is not known here
        block = genesis_block(genesis, genesis_layer(StateStore(MemoryStore()), genesis).root)
        first = block_changes(block, block.header.id(), (), None)
    return {
        **first,
        column_key(Column.HEADER, key): encode(header),
        column_key(Column.HEIGHT, header.id()): key,
        column_key(Column.FINALITY, key): encode(snapshot.certificate),
        LOWEST_KEY: height_key(header.height + 1),
        RESTORING_KEY: None,
    }


def save_epoch_ends(store: KeyValueStore, ends: Iterable[EpochEnd]) -> None:
    """Keeps verified ends of epochs."""
    changes: dict[bytes, bytes | None] = {}
    for end in ends:
        changes |= epoch_end_changes(end)
    if changes:
        store.write(changes)


def _wipe(store: KeyValueStore) -> None:
    for column in REPLACED_COLUMNS:
        start, stop = bytes((column,)), bytes((column + 1,))
        entries = store.iterate(start, stop)
        while batch := [key for key, _ in islice(entries, BATCH)]:
            store.write(dict.fromkeys(batch))
        store.compact(start, stop)


def _entries(store: KeyValueStore, prefix: int) -> Iterator[tuple[bytes, bytes]]:
    start, stop = column_key(Column.STATE, bytes((prefix,))), column_key(Column.STATE, bytes((prefix + 1,)))
    return store.iterate(start, stop)


def _next(key_hash: bytes) -> bytes:
    """The key hash right after one; the last one has none and stays."""
    return min(int.from_bytes(key_hash, "big") + 1, 2**256 - 1).to_bytes(len(key_hash), "big")
