"""The home directory: every setting checked, every refusal says what to do, keys for their owner only."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from node.app import lock_data
from node.config import (
    CONFIG_FILE,
    NODE_KEY_FILE,
    ApiConfig,
    AttributionConfig,
    Config,
    ConfigError,
    Home,
    LogConfig,
    P2pConfig,
    StorageConfig,
    load_genesis,
    save_genesis,
)
from tests.factories import make_chain, make_key


def test_config_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    config = Config(
        name='ünï "quoted"',
        p2p=P2pConfig(host="::1", port=1, dial=("ab" * 20 + "@relay.example:9",)),
        api=ApiConfig(port=2, cors_origins=("https://a.example", "*"), has_index=False),
        storage=StorageConfig(keep_heights=1_000, trusted_height=8, trusted_block_id="ab" * 32),
        attribution=AttributionConfig(workers=2, memory_size_bytes=2**30),
        log=LogConfig(level="debug", format="text"),
    )
    Home(tmp_path).save_config(config)
    assert Home(tmp_path).load_config() == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense = 1", "nonsense is no setting; there are name, p2p, api, storage, attribution, log"),
        ("[api]\nprot = 1", r"\[api\] prot is no setting; there are host, port"),
        ('[api]\nport = "1"', r"\[api\] port is a int"),
        ("[api]\nhas_index = 1", r"\[api\] has_index is a bool"),
        ("[api", "cannot be read"),
        ("[storage]\nkeep_heights = 10", r"\[storage\] keep_heights is 0 \(all\) or at least 256"),
        ("[storage]\nsnapshot_interval_heights = -1", r"\[storage\] snapshot_interval_heights is not negative"),
        ("[storage]\ntrusted_height = 8", "trusted_height and trusted_block_id go together"),
        ("[attribution]\nworkers = 9", r"\[attribution\] workers is 0 \(one for each core but one\) to 8"),
        ("[attribution]\nmemory_size_bytes = 1", r"\[attribution\] memory_size_bytes is at least 536870912"),
        ('[storage]\ntrusted_height = 8\ntrusted_block_id = "x"', "trusted_block_id is 64 hexadecimal digits"),
    ],
)
def test_mistake_in_the_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(ConfigError, match=words):
        Home(tmp_path).load_config()


def test_dialled_endpoints_are_read_by_node_id() -> None:
    config = P2pConfig(dial=("ab" * 20 + "@relay.example:9", "cd" * 20 + "@[::1]:65535"))
    assert config.endpoints() == {b"\xab" * 20: "relay.example:9", b"\xcd" * 20: "[::1]:65535"}


@pytest.mark.parametrize(
    "entry", ["", "relay.example:9", "ab@relay.example:9", "ab" * 20 + "@relay.example", "ab" * 20 + "@relay:65536"]
)
def test_mistake_in_a_dialled_endpoint_is_named(entry: str) -> None:
    with pytest.raises(ConfigError, match="is not id@host:port; `net_info` of a node shows the ids"):
        P2pConfig(dial=(entry,)).endpoints()


def test_missing_home_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run `openledger init` first, or name another --home"):
        Home(tmp_path).load_config()
    with pytest.raises(ConfigError, match="get it from the network you join"):
        Home(tmp_path).load_genesis()


def test_nodes_own_key_is_for_its_owner_only_and_is_never_overwritten(tmp_path: Path) -> None:
    home, key = Home(tmp_path), make_key("node")
    assert home.load_key(NODE_KEY_FILE) is None
    home.save_key(NODE_KEY_FILE, key)
    path = tmp_path / NODE_KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = home.load_key(NODE_KEY_FILE)
    assert loaded is not None
    assert loaded.seed == key.seed
    with pytest.raises(ConfigError, match="exists already"):
        home.save_key(NODE_KEY_FILE, key)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="is readable by others: chmod 600"):
        home.load_key(NODE_KEY_FILE)
    path.chmod(0o600)
    path.write_text("{}")
    with pytest.raises(ConfigError, match="is no key file: restore it from your copy"):
        home.load_key(NODE_KEY_FILE)


def test_genesis_comes_back_with_the_same_hash(tmp_path: Path) -> None:
    genesis = make_chain().genesis
    save_genesis(tmp_path / "genesis.json", genesis)
    assert load_genesis(tmp_path / "genesis.json").hash() == genesis.hash()


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.pop("chain_name"),
        lambda raw: raw["parameters"].update(delta_ms=1),
        lambda raw: raw["accounts"].append(raw["accounts"][0]),
        lambda raw: raw.update(validators=[]),
        lambda raw: raw["accounts"][0].update(balance_units="-1"),
        lambda raw: raw["accounts"][0].update(balance_units=1.5),
    ],
)
def test_genesis_that_does_not_hold_together_is_refused(tmp_path: Path, change) -> None:
    path = tmp_path / "genesis.json"
    save_genesis(path, make_chain().genesis)
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match="is no genesis file: "):
        load_genesis(path)


def test_second_process_on_one_home_is_kept_away(tmp_path: Path) -> None:
    with lock_data(tmp_path), pytest.raises(ConfigError, match="two nodes with one key would sign twice"):  # noqa: SIM117
        with lock_data(tmp_path):
            pass
    with lock_data(tmp_path):
        pass
