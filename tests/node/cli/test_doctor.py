"""`openledger doctor` on real homes of stopped nodes: each damage has its line, and nothing is changed."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from attribution.request import TABLES_HASHES
from node.__main__ import cli
from node.app import lock_data
from node.beginning import open_ledger
from node.cli.diagnosis import Level, check_engines
from node.cli.doctor import examine
from node.config import CONSENSUS_KEY_FILE, NODE_KEY_FILE, ApiConfig, Config, Home, P2pConfig, save_genesis
from node.execution.block import build_block, genesis_block
from node.modules.accounts import EMPTY_ACCOUNT
from node.modules.engines import Engine, Engines
from node.primitives.codec import encode
from node.primitives.crypto import PrivateKey, make_node_certificate
from node.state.view import Layer
from node.storage.blocks import block_changes
from node.storage.kv import LevelStore
from node.storage.schema import Column, column_key, height_key
from node.storage.wal import Born, FileLog, log_files
from node.types.genesis import EngineEntry
from node.types.validator import NodeEntry
from tests.factories import make_chain, make_key
from tests.node.ledger import Shelf

BLOCKS = 12


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A validator's home with a short real chain, a log, and everything as it should be."""
    home = Home(tmp_path_factory.mktemp("patient"))
    chain = make_chain(powers=(1,))
    node_key = make_key("node of the doctor's patient")
    entry = NodeEntry(name="patient", certificate=make_node_certificate(node_key), endpoint="")
    genesis = replace(
        chain.genesis,
        time_ms=time.time_ns() // 1_000_000 - 60_000,
        engines=tuple(EngineEntry(name=name, tables_hash=each) for name, each in sorted(TABLES_HASHES.items())),
        validators=(replace(chain.genesis.validators[0], node=entry),),
    )
    home.save_key(NODE_KEY_FILE, node_key)
    home.save_key(CONSENSUS_KEY_FILE, chain.consensus_keys[0])
    save_genesis(home.path / "genesis.json", genesis)
    home.save_config(Config(p2p=P2pConfig(port=free_port()), api=ApiConfig(port=free_port())))
    log = FileLog(home.data / "log", genesis.hash())
    log.append([Born(genesis_hash=genesis.hash(), validator=chain.consensus_keys[0].address)])
    store = LevelStore(home.data / "state")
    state = open_ledger(store, genesis)
    parent = genesis_block(genesis, state.root).header
    for view in range(1, BLOCKS + 1):
        done = build_block(
            state,
            parent,
            view=view,
            parent_view=view - 1,
            time_ms=genesis.time_ms + view,
            proposer=chain.consensus_keys[0].address,
            candidates=(),
            resources=Shelf(),
            on_rejected=lambda *_: None,
        )
        also = block_changes(done.block, done.block_id, done.receipts, None)
        layer: Layer = done.layer
        state.commit(view, layer, also, log.position)
        parent = done.block.header
    log.close()
    store.close()
    return home.path


@pytest.fixture
def home(tmp_path: Path, template: Path) -> Home:
    shutil.copytree(template, tmp_path / "home")
    return Home(tmp_path / "home")


def found(home: Home, *, is_deep: bool = True, others: tuple[Home, ...] = ()) -> dict[str, list[tuple[Level, str]]]:
    """Findings by check."""
    lines: dict[str, list[tuple[Level, str]]] = {}
    for each in examine(home, others, is_deep=is_deep):
        assert (each.advice == "") == (each.level is Level.OK), each
        lines.setdefault(each.check, []).append((each.level, each.words))
    return lines


def troubles(home: Home, **options: Any) -> list[tuple[Level, str, str]]:
    return [
        (level, check, words)
        for check, lines in found(home, **options).items()
        for level, words in lines
        if level is not Level.OK
    ]


def files(home: Home) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(home.path.rglob("*")) if path.is_file()}


def test_a_home_that_is_well_has_no_trouble_and_is_not_changed(home: Home) -> None:
    before = files(home)
    lines = found(home)
    assert files(home) == before
    assert troubles(home) == []
    assert (Level.OK, f"all {BLOCKS + 1} blocks from 0 to {BLOCKS} hash to their ids") in lines["blocks"]
    assert any("trie nodes hash to the state root" in words for _, words in lines["state"])
    assert (Level.OK, "every OPEN stands somewhere, and the sum is the supply") in lines["supply"]
    assert any("votes with power 1" in words for _, words in lines["keys"])
    assert set(lines) >= {
        "config",
        "genesis",
        "node",
        "store",
        "log",
        "clock",
        "ports",
        "disk",
        "descriptors",
        "engines",
    }


def edit_store(home: Home, change: Callable[[LevelStore], dict[bytes, bytes | None]]) -> None:
    store = LevelStore(home.data / "state")
    store.write(change(store))
    store.close()


def other_value(store: LevelStore) -> dict[bytes, bytes | None]:
    key, _ = next(store.iterate(bytes((Column.STATE, 0x10)), bytes((Column.STATE, 0x11))))
    return {key: encode(replace(EMPTY_ACCOUNT, balance_units=10**18))}


def other_node(store: LevelStore) -> dict[bytes, bytes | None]:
    entries = list(store.iterate(bytes((Column.TREE,)), bytes((Column.TREE + 1,))))
    return {entries[-1][0]: bytes(65)}


def swapped_block(store: LevelStore) -> dict[bytes, bytes | None]:
    key = column_key(Column.BLOCK, height_key(5))
    return {key: store.get(column_key(Column.BLOCK, height_key(6)))}


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        (other_value, "state", "its values hash to"),
        (other_node, "state", "stored trie nodes are not those of its values"),
        (swapped_block, "blocks", "block 5 is not what its id says"),
        (lambda _: {column_key(Column.BLOCK, height_key(7)): None}, "blocks", "block 7 is missing"),
        (lambda _: {column_key(Column.TREE, b""): bytes(65)}, "state", "the root node hashes to"),
        (lambda _: {column_key(Column.BLOCK, height_key(BLOCKS)): b"x"}, "store", "it cannot be read"),
    ],
)
def test_a_damaged_store_is_named(
    home: Home, change: Callable[[LevelStore], dict[bytes, bytes | None]], check: str, words: str
) -> None:
    edit_store(home, change)
    assert any(level is Level.FAIL and check == named and words in said for level, named, said in troubles(home))


def test_a_table_of_leveldb_that_is_cut_is_named(home: Home) -> None:
    edit_store(home, lambda store: {b"\xff" * 8: bytes(100)})
    for path in (home.data / "state").glob("MANIFEST-*"):
        path.write_bytes(path.read_bytes()[:10] + b"\xff" * 30)
    [(level, _check, words)] = [each for each in troubles(home) if each[1] == "store"]
    assert level is Level.FAIL
    assert "cannot be read: cannot open the store" in words


def test_a_torn_log_is_a_warning_and_a_damaged_one_a_failure(home: Home) -> None:
    [path] = log_files(home.data / "log")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[40:60])
    assert troubles(home) == [(Level.WARN, "log", "its last 20 bytes are torn")]
    assert path.read_bytes() == whole + whole[40:60], "it is left to the node"
    path.write_bytes(whole[:44] + b"\xff" + whole[45:] + whole[40:])
    [(level, check, words)] = troubles(home)
    assert (level, check) == (Level.FAIL, "log")
    assert "is damaged at byte 40" in words


def test_a_log_that_forgot_or_is_gone_is_a_warning(home: Home) -> None:
    [path] = log_files(home.data / "log")
    path.write_bytes(path.read_bytes()[:40])
    said = troubles(home)
    assert (Level.WARN, "log", "it holds no sign of this validator") in said
    assert any("but the store saw it at file 1, byte" in words for _, _, words in said)
    path.unlink()
    assert troubles(home) == [(Level.WARN, "log", "there is none")]


def test_keys_that_are_open_missing_strange_or_shared_are_named(home: Home, tmp_path: Path, template: Path) -> None:
    (home.path / NODE_KEY_FILE).chmod(0o644)
    assert any(level is Level.FAIL and "is readable by others" in words for level, _, words in troubles(home))
    (home.path / NODE_KEY_FILE).unlink()
    assert any(level is Level.FAIL and "node_key.json is missing" in words for level, _, words in troubles(home))
    home.save_key(NODE_KEY_FILE, make_key("somebody else"))
    shutil.copytree(home.path, tmp_path / "twin")
    (home.path / CONSENSUS_KEY_FILE).unlink()
    home.save_key(CONSENSUS_KEY_FILE, PrivateKey.generate())
    said = [words for _, _, words in troubles(home)]
    assert any("does not know this node" in words for words in said)
    assert any("is not in the validator set" in words for words in said)
    twin = Home(tmp_path / "twin")
    shared = troubles(Home(template), others=(twin,))
    assert shared == [(Level.FAIL, "keys", f"{twin.path} has the same consensus key")]
    assert troubles(Home(template), others=(home,)) == []


@pytest.mark.slow
def test_a_port_somebody_has_is_named_with_who_has_it(home: Home) -> None:
    config = home.load_config()
    with socket.create_server(("127.0.0.1", config.api.port)):
        said = [each for each in troubles(home) if each[1] == "ports"]
    [(level, _, words)] = said
    assert level is Level.FAIL
    assert f"api 127.0.0.1:{config.api.port} is taken by process" in words


def test_a_block_from_the_future_accuses_the_clock(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    early_ns = time.time_ns() - 50_000 * 1_000_000
    monkeypatch.setattr(time, "time_ns", lambda: early_ns)
    monkeypatch.setattr(time, "time", lambda: early_ns / 1e9 + time.monotonic() - started)
    started = time.monotonic()
    assert troubles(home) == []
    late_ns = time.time_ns() - 100_000 * 1_000_000
    monkeypatch.setattr(time, "time_ns", lambda: late_ns)
    [(level, check, words)] = troubles(home)
    assert (level, check) == (Level.FAIL, "clock")
    assert "before the chain's genesis" in words


def test_a_locked_home_whose_node_does_not_answer_is_left_alone(home: Home) -> None:
    with lock_data(home.data):
        said = troubles(home)
    assert (Level.FAIL, "node", "a process holds the data's lock, but no API answers") in said


def test_what_is_no_home_says_so_and_exits_with_1(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["doctor", "--home", str(tmp_path / "nowhere"), "--json"])
    assert done.exit_code == 1
    answer = json.loads(done.output)
    assert answer["is_ok"] is False
    assert [each["check"] for each in answer["findings"]] == ["config", "genesis"]


def test_a_home_that_is_well_exits_with_0(home: Home) -> None:
    done = CliRunner().invoke(cli, ["doctor", "--home", str(home.path)])
    assert done.exit_code == 0, done.output
    assert "OK    store" in done.output


def test_an_engine_that_is_voted_on_is_a_warning_before_its_height_and_a_failure_from_it_on() -> None:
    coming = Engine(name="new/1", tables_hash=bytes(32), cost_permille=1_000, from_height=2, is_retired=False)
    [finding] = check_engines(Engines(engines=(coming,)), None)
    assert (finding.level, finding.words) == (Level.WARN, "new/1 is active from height 2, and unknown here")
    [finding] = check_engines(Engines(engines=(replace(coming, from_height=1),)), None)
    assert (finding.level, finding.words) == (Level.FAIL, "new/1 is not this program's")
