"""What `openledger doctor` finds in a stopped node's log and store. It reads, and changes nothing.

LevelDB knows no reading without writing: opening replays its log. So it is opened on a shadow: its tables by symbolic
link, they never change; the few small files that do are copied.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.audit import Audit
from node.cli.diagnosis import Finding, Ledger, fail, ok, warn
from node.config import CONSENSUS_KEY_FILE, Home
from node.errors import MessageRejected, StorageError
from node.modules.engines import ENGINES
from node.modules.validators import GOVERNING, REGISTRY
from node.primitives.codec import encode
from node.primitives.crypto import sha256
from node.primitives.merkle import merkle_root
from node.recall import recall
from node.state import tree
from node.state.store import StateStore
from node.storage.blocks import BlockStore
from node.storage.kv import KeyValueStore, LevelStore
from node.storage.schema import Column, Meta, column_key
from node.storage.wal import LogPosition, VoteCast, log_files, read_log_file
from node.types.block import Block

SAMPLED_BLOCKS = 64
"""Blocks that are hashed again without --deep: the last ones and some of all ages."""
AGAIN = "move the data directory away and let the node sync again; keep the log if it is good"


@contextmanager
def shadow_of(directory: Path) -> Iterator[LevelStore]:
    """A store, opened so that nothing in its directory changes. Raises: StorageError."""
    with tempfile.TemporaryDirectory(prefix="openledger-doctor-") as temporary:
        shadow = Path(temporary)
        for path in directory.iterdir():
            if path.suffix in (".ldb", ".sst"):
                (shadow / path.name).symlink_to(path.resolve())
            elif path.name not in ("LOCK", "LOG", "LOG.old"):
                shutil.copyfile(path, shadow / path.name)
        store = LevelStore(shadow)
        try:
            yield store
        finally:
            store.close()


def check_log(home: Home, genesis_hash: bytes, noted: LogPosition | None) -> Iterator[Finding]:
    """The write-ahead log, with the reader that the node starts with."""
    key = home.load_key(CONSENSUS_KEY_FILE)
    is_validator = key is not None
    files = log_files(home.data / "log")
    if not files:
        if is_validator:
            advice = "it signs nothing until a quorum told where it stands; `init --new-chain` if it never did"
            yield warn("log", "there is none", advice)
        return
    newest = files[-1]
    try:
        entries, good_bytes = read_log_file(newest, genesis_hash)
    except StorageError as error:
        yield fail("log", str(error), "see docs/runbook.md, a damaged log")
        return
    position = LogPosition(file_number=int(newest.name.removeprefix("log-")), size_bytes=good_bytes)
    torn_bytes = newest.stat().st_size - good_bytes
    votes = sum(isinstance(each, VoteCast) for each in entries)
    yield ok("log", f"{newest.name} holds {len(entries)} entries, {votes} votes of our own")
    if torn_bytes:
        yield warn("log", f"its last {torn_bytes} bytes are torn", "nothing to do: the node cuts them off")
    if len(files) > 1:
        yield ok("log", f"{len(files) - 1} older files are left over from a crash; the node removes them")
    if key is not None and not recall(entries, key.address).is_known:
        yield warn("log", "it holds no sign of this validator", "it signs nothing until a quorum told where it stands")
    if noted is not None and position < noted:
        advice = "never start a validator from an old copy of its log; it will ask the others where they stand first"
        yield warn("log", f"it ends at {_place(position)}, but the store saw it at {_place(noted)}", advice)
    elif noted is not None:
        yield ok("log", f"it ends at {_place(position)}, not before what the store noted")


def check_store(
    home: Home, genesis_hash: bytes, *, is_deep: bool
) -> tuple[list[Finding], Ledger | None, LogPosition | None]:
    """The state and the blocks; what the ledger says, and how far the log was noted, if it can be read."""
    directory = home.data / "state"
    if not (directory / "CURRENT").exists():
        return [ok("store", "there is none: the node begins with genesis and syncs")], None, None
    findings: list[Finding] = []
    try:
        with shadow_of(directory) as store:
            known = store.get(column_key(Column.META, bytes((Meta.GENESIS,))))
            if known != genesis_hash:
                what = "nothing of this program" if known is None else f"the chain {known.hex()[:16]}"
                return [fail("store", f"it holds {what}", "use a data directory of its own for each chain")], None, None
            state, blocks = StateStore(store), BlockStore(store)
            ledger = _read_ledger(state, blocks, findings)
            findings += _check_blocks(store, blocks, state, is_deep=is_deep)
            findings += _check_root(state)
            if is_deep:
                findings += _check_trie(store, state)
                findings += _check_audit(store, state)
            return findings, ledger, state.log_position
    except (StorageError, MessageRejected, OSError, AssertionError) as error:
        return [*findings, fail("store", f"it cannot be read: {error}", AGAIN)], None, None


def _read_ledger(state: StateStore, blocks: BlockStore, findings: list[Finding]) -> Ledger | None:
    tip = blocks.block(state.tip.height)
    if tip is None:
        findings.append(fail("store", f"the block of its tip {state.tip.height} is missing", AGAIN))
        return None
    if tip.header.state_root != state.tip.state_root:
        findings.append(fail("store", f"block {state.tip.height} has another state root than the state", AGAIN))
    else:
        findings.append(ok("store", f"height {state.tip.height}, state root {state.root.hex()[:16]}"))
    return Ledger(
        height=state.tip.height,
        time_ms=tip.header.time_ms,
        governing=GOVERNING.get(state),
        registry=REGISTRY.get(state),
        engines=ENGINES.get(state),
    )


def _check_blocks(store: KeyValueStore, blocks: BlockStore, state: StateStore, *, is_deep: bool) -> Iterator[Finding]:
    """Blocks hashed again: ids, parents, transactions; with `is_deep` all of them, receipts too."""
    first = next(store.iterate(bytes((Column.BLOCK,)), bytes((Column.BLOCK + 1,))), None)
    if first is None:
        yield fail("blocks", "there are none", AGAIN)
        return
    lowest, tip = int.from_bytes(first[0][1:], "big"), state.tip.height
    heights = list(range(lowest, tip + 1))
    if not is_deep and len(heights) > SAMPLED_BLOCKS:
        step = len(heights) // (SAMPLED_BLOCKS // 2)
        heights = sorted({*heights[::step], *heights[-SAMPLED_BLOCKS // 2 :]})
    # A snapshot's base and pruned chains begin above genesis, with blocks whose parents are not here.
    for height in heights:
        wrong = _wrong_with(blocks, height, lowest, is_deep=is_deep)
        if wrong is not None:
            yield fail("blocks", f"block {height} {wrong}", AGAIN)
            return
    which = "all" if len(heights) == tip - lowest + 1 else f"{len(heights)} of"
    yield ok("blocks", f"{which} {tip - lowest + 1} blocks from {lowest} to {tip} hash to their ids")


def _wrong_with(blocks: BlockStore, height: int, lowest: int, *, is_deep: bool) -> str | None:
    block = blocks.block(height)
    if block is None:
        return "is missing"
    header = block.header
    if header.height != height or blocks.height_of(header.id()) != height:
        return "is not what its id says"
    if block.transactions_root() != header.transactions_root:
        return "does not hold the transactions its header commits to"
    parent: Block | None = blocks.block(height - 1) if height > lowest else None
    if parent is not None and parent.header.id() != header.parent_id:
        return "does not continue the block before it"
    receipts = blocks.receipts(height) if is_deep else None
    if receipts is not None and merkle_root([encode(each) for each in receipts]) != header.receipts_root:
        return "has other receipts than its header commits to"
    return None


def _check_root(state: StateStore) -> Iterator[Finding]:
    node = state.node("")
    found = tree.EMPTY_ROOT if node is None else sha256(node)
    if found == state.root:
        yield ok("state", "the root node hashes to the state root")
    else:
        yield fail("state", f"the root node hashes to {found.hex()[:16]}, not to the state root", AGAIN)


def _check_trie(store: KeyValueStore, state: StateStore) -> Iterator[Finding]:
    """The whole trie, made again from the values, node for node."""
    values = store.iterate(bytes((Column.STATE,)), bytes((Column.STATE + 1,)))
    root, nodes = tree.update(lambda _: None, {sha256(key[1:]): sha256(value) for key, value in values})
    if root != state.root:
        yield fail("state", f"its values hash to {root.hex()[:16]}, not to the state root", AGAIN)
        return
    stored = dict(store.iterate(bytes((Column.TREE,)), bytes((Column.TREE + 1,))))
    made = {column_key(Column.TREE, path.encode("ascii")): node for path, node in nodes.items()}
    if stored != made:
        bad = sum(stored.get(key) != node for key, node in made.items()) + len(stored.keys() - made.keys())
        yield fail("state", f"{bad} of {len(made)} stored trie nodes are not those of its values", AGAIN)
        return
    yield ok("state", f"all {len(made)} trie nodes hash to the state root")


def _check_audit(store: KeyValueStore, state: StateStore) -> Iterator[Finding]:
    audit = Audit(store, state)
    while not audit.advance():
        pass
    error = audit.error()
    if error is None:
        yield ok("supply", "every OPEN stands somewhere, and the sum is the supply")
    else:
        yield fail("supply", error, "stop the validators and compare the state roots: docs/runbook.md")


def _place(position: LogPosition) -> str:
    return f"file {position.file_number}, byte {position.size_bytes}"
