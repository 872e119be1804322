"""A whole node as its process runs it: what the replica says reaches those beside it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from node import app as module
from node.app import App
from node.config import (
    NODE_KEY_FILE,
    ApiConfig,
    Config,
    ConfigError,
    Home,
    LogConfig,
    P2pConfig,
    StorageConfig,
    save_genesis,
)
from node.logs import Logs
from node.modules.engines import Engine
from node.storage.kv import LevelStore
from tests.factories import make_key
from tests.node.test_snapshot import generate

MORE_THAN_ANY_DISK_BYTES = 2**62


@pytest.mark.parametrize(("reserve_size_bytes", "kept"), [(0, 1), (MORE_THAN_ANY_DISK_BYTES, 0)])
async def test_a_node_that_pauses_for_room_gives_up_the_snapshot_it_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reserve_size_bytes: int, kept: int
) -> None:
    home = Home(tmp_path)
    store = LevelStore(home.data / "state")
    chain, generator = generate(8, store)
    end = generator.blocks.epoch_end(1)
    assert end is not None
    store.close()
    save_genesis(tmp_path / "genesis.json", chain.genesis)
    home.save_key(NODE_KEY_FILE, make_key("node"))
    config = Config(
        p2p=P2pConfig(port=0),
        api=ApiConfig(port=0, has_index=False),
        storage=StorageConfig(snapshot_interval_heights=8, reserve_size_bytes=reserve_size_bytes),
    )
    tables = {engine.name: engine.tables_hash for engine in chain.genesis.engines}
    monkeypatch.setattr(module, "TABLES_HASHES", tables)
    app = App(home, config, Logs(LogConfig()))
    gate = threading.Event()
    app._aside.submit(gate.wait)
    app._snapshots.on_epoch_end(end.header, end.certificate)
    app._on_tick()
    gate.set()
    await asyncio.wrap_future(app._aside.submit(lambda: None))  # one thread: what came before is done
    snapshots = home.data / "snapshots"
    assert len(list(snapshots.glob("*"))) == kept
    assert (app.replica.paused_for is None) == (kept == 1)
    await app._stop()


async def test_a_node_stops_before_an_engine_that_it_does_not_know_and_does_not_start_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    store = LevelStore(home.data / "state")
    chain, _ = generate(8, store)
    store.close()
    save_genesis(tmp_path / "genesis.json", chain.genesis)
    home.save_key(NODE_KEY_FILE, make_key("node"))
    config = Config(p2p=P2pConfig(port=0), api=ApiConfig(port=0, has_index=False))
    tables = {engine.name: engine.tables_hash for engine in chain.genesis.engines}
    monkeypatch.setattr(module, "TABLES_HASHES", tables)
    app = App(home, config, Logs(LogConfig()))
    height = app.replica.tree.tip.height
    coming = Engine(name="new/1", tables_hash=bytes(32), cost_permille=1, from_height=height + 2, is_retired=False)
    for first, words in (
        (coming, None),
        (replace(coming, from_height=height + 1), "engine new/1 is not this program's"),
    ):
        monkeypatch.setattr(module, "lacking", lambda _engines, _tables, first=first: (first,))
        found = app._lacking_engines()
        assert found is words is None or words in str(found)
    last = app.replica.blocks.block(height)
    assert last is not None
    executed = SimpleNamespace(block=last, is_epoch_end=False)
    app._keep_house(SimpleNamespace(executed=executed, certificate=None))  # type: ignore[arg-type]
    assert app._failure is not None
    assert "install one with its tables " + bytes(32).hex() in app._failure
    await app._stop()
    with pytest.raises(ConfigError, match="engine new/1 is not this program's"):
        await App(home, config, Logs(LogConfig())).run()
