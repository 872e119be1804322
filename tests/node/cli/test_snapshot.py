"""snapshot and rollback on real homes: what they write, what they refuse, and that the log stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.app import lock_data
from node.beginning import open_ledger
from node.config import Config, Home, StorageConfig, save_genesis
from node.storage.kv import LevelStore
from node.storage.wal import Born, FileLog
from tests.factories import Chain
from tests.node.cli.test_cli import run
from tests.node.test_snapshot import generate

pytestmark = pytest.mark.slow


def make_home(path: Path, chain: Chain) -> Home:
    home = Home(path)
    home.save_config(Config())
    save_genesis(path / "genesis.json", chain.genesis)
    log = FileLog(home.data / "log", chain.genesis_hash)
    log.append([Born(genesis_hash=chain.genesis_hash, validator=chain.consensus_keys[0].address)])
    log.close()
    return home


def make_source(path: Path, heights: int) -> tuple[Chain, Home]:
    """A stopped node with a chain."""
    store = LevelStore(path / "data" / "state")
    chain, _ = generate(heights, store)
    store.close()
    return chain, make_home(path, chain)


def logs(home: Home) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (home.data / "log").iterdir()}


def tip_of(home: Home, chain: Chain) -> tuple[int, bytes]:
    store = LevelStore(home.data / "state")
    state = open_ledger(store, chain.genesis)
    store.close()
    return state.tip.height, state.root


def test_snapshot_goes_from_one_home_to_another_and_nothing_else_changes(tmp_path: Path) -> None:
    chain, source = make_source(tmp_path / "source", 24)
    target = make_home(tmp_path / "target", chain)
    before = logs(source), logs(target)
    assert run("snapshot", "list", "--home", str(source.path), cwd=tmp_path) == "none\n"
    said = run("snapshot", "create", "--home", str(source.path), "--to", "carried", cwd=tmp_path)
    assert said.startswith("height 24, ")
    assert run("snapshot", "list", "--home", str(source.path), cwd=tmp_path).split()[0] == "24"
    said = run("snapshot", "restore", "--home", str(target.path), "carried", cwd=tmp_path)
    assert said.startswith("restored height 24, state root ")
    assert tip_of(target, chain) == tip_of(source, chain)
    assert (logs(source), logs(target)) == before
    again = run("snapshot", "restore", "--home", str(target.path), "carried", cwd=tmp_path, code=1)
    assert "holds a state already: move it away first" in again
    assert "exists already: name a new directory" in run(
        "snapshot", "create", "--home", str(source.path), "--to", "carried", cwd=tmp_path, code=1
    )


def test_damaged_snapshot_is_refused_named_and_leaves_the_home_empty(tmp_path: Path) -> None:
    chain, source = make_source(tmp_path / "source", 24)
    target = make_home(tmp_path / "target", chain)
    run("snapshot", "create", "--home", str(source.path), "--to", "carried", cwd=tmp_path)
    chunk = tmp_path / "carried" / "chunk-000000"
    good = chunk.read_bytes()
    chunk.write_bytes(good[:-1] + bytes((good[-1] ^ 1,)))
    said = run("snapshot", "restore", "--home", str(target.path), "carried", cwd=tmp_path, code=1)
    assert "chunk-000000 is damaged or forged" in said
    chunk.write_bytes(good)
    run("snapshot", "restore", "--home", str(target.path), "carried", cwd=tmp_path)
    assert tip_of(target, chain)[0] == 24


def test_snapshot_of_another_chain_or_past_the_trusted_block_is_refused(tmp_path: Path) -> None:
    chain, source = make_source(tmp_path / "source", 24)
    run("snapshot", "create", "--home", str(source.path), "--to", "carried", cwd=tmp_path)
    target = make_home(tmp_path / "target", chain)
    target.save_config(Config(storage=StorageConfig(trusted_height=8, trusted_block_id="00" * 32)))
    said = run("snapshot", "restore", "--home", str(target.path), "carried", cwd=tmp_path, code=1)
    assert "another block than the trusted one at 8" in said


def test_snapshot_in_an_epochs_middle_is_refused_until_it_is_rolled_back_to_the_end_before(tmp_path: Path) -> None:
    _, source = make_source(tmp_path / "source", 20)
    said = run("snapshot", "create", "--home", str(source.path), "--to", "carried", cwd=tmp_path, code=1)
    assert "height 20 does not end an epoch" in said
    assert "wait for the end of epoch 3 (height 24), or roll back to the end of the one before" in said
    assert not (tmp_path / "carried").exists()
    assert run("snapshot", "list", "--home", str(source.path), cwd=tmp_path) == "none\n"
    run("rollback", "--home", str(source.path), "--to", "16", cwd=tmp_path)
    said = run("snapshot", "create", "--home", str(source.path), "--to", "carried", cwd=tmp_path)
    assert said.startswith("height 16, ")


def test_rollback_goes_back_and_refuses_what_undo_does_not_cover(tmp_path: Path) -> None:
    chain, source = make_source(tmp_path / "source", 20)
    before = logs(source)
    said = run("rollback", "--home", str(source.path), "--to", "13", cwd=tmp_path)
    assert said.startswith("the last final block is 13 again, id ")
    assert tip_of(source, chain)[0] == 13
    assert logs(source) == before
    assert "can go back from height 13 to 0, not to 14" in run(
        "rollback", "--home", str(source.path), "--to", "14", cwd=tmp_path, code=1
    )


def test_running_node_is_left_alone(tmp_path: Path) -> None:
    _, source = make_source(tmp_path / "source", 3)
    commands = [("rollback", "--to", "1"), ("snapshot", "create"), ("snapshot", "restore", str(tmp_path))]
    with lock_data(source.data):
        for words in commands:
            said = run(*words, "--home", str(source.path), cwd=tmp_path, code=1)
            assert "another process uses" in said
