"""A node's home directory: where things lie, what its config file says, its own keys, the chain it follows."""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from node.errors import OpenLedgerError
from node.primitives.crypto import PrivateKey
from node.primitives.plain import from_plain, to_plain
from node.types.genesis import Genesis
from node.types.validator import NODE_ID_SIZE_BYTES

CONFIG_FILE = "config.toml"
GENESIS_FILE = "genesis.json"
STATE_FILE = "genesis.state"
"""Beside the genesis of a chain that continues another one: that chain's values."""
NODE_KEY_FILE = "node_key.json"
CONSENSUS_KEY_FILE = "consensus_key.json"
REPORTER_KEY_FILE = "reporter_key.json"
KEYSTORE_DIRECTORY = "keystore"
DATA_DIRECTORY = "data"
SNAPSHOTS_DIRECTORY = "snapshots"
ENDPOINT = re.compile(
    rf"(?P<id>[0-9a-f]{{{2 * NODE_ID_SIZE_BYTES}}})@(?P<endpoint>[^@\s]{{1,255}}:(?P<port>[0-9]{{1,5}}))"
)
"""A node's id and where it is reached."""

S = TypeVar("S")


class ConfigError(OpenLedgerError):
    """The home directory is not as a node needs it; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class P2pConfig:
    """How other nodes reach this one."""

    host: str = "0.0.0.0"  # noqa: S104 (a node is there to be reached; the registry decides by whom)
    """Address to listen on."""
    port: int = 26656
    """Port to listen on; 0 takes a free one."""
    dial: tuple[str, ...] = ()
    """Where to reach nodes in place of what the registry says, each `id@host:port`: a tunnel, another network."""

    def endpoints(self) -> dict[bytes, str]:
        """Endpoints by node id. Raises: ConfigError."""
        return dict(_endpoint(entry) for entry in self.dial)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """How people and programs reach this node."""

    host: str = "127.0.0.1"
    """Address to listen on: loopback, unless a reverse proxy is elsewhere."""
    port: int = 26657
    """Port to listen on; 0 takes a free one."""
    write_items_per_second: int = 5_000
    """Transactions and contents one client may send per second."""
    cors_origins: tuple[str, ...] = ()
    """Web origins that may read the API from a browser."""
    has_index: bool = True
    """Whether this node keeps the explorer's index."""


MOST_WORKERS = 8
LEAST_MEMORY_SIZE_BYTES = 512 * 2**20
"""With less a worker could not load what it computes with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionConfig:
    """The processes that compute attribution."""

    workers: int = 0
    """How many at most, 1 to 8; 0 takes one for each core but one. A process starts when it is first needed."""
    memory_size_bytes: int = 4 * 2**30
    """Memory of one; a request that wants more fails on this node, which then gives no verdict on it."""


RESERVE_SIZE_BYTES = 64 * 2**20
"""With less room than this on the data's disk a node is called full: a log file and some blocks still fit."""
LEAST_KEPT_HEIGHTS = 256
"""Fewer blocks than there are undo records are never kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """What a node keeps on its disk, and needs of it."""

    keep_heights: int = 0
    """Blocks and receipts kept below the last final one; 0 keeps all of them."""
    snapshot_interval_heights: int = 10_000
    """A snapshot of the state is made at the end of each epoch in which a multiple of this lies; 0 makes none."""
    snapshot_lag_heights: int = 0
    """A node further behind than this joins by a snapshot; 0 does so only when no peer has the blocks any more."""
    trusted_height: int = 0
    """The last block of an epoch that a snapshot's chain must go through; 0 trusts the genesis alone."""
    trusted_block_id: str = ""
    """That block's id, in hexadecimal."""
    reserve_size_bytes: int = RESERVE_SIZE_BYTES
    """Free space below which the node pauses: it takes nothing in and signs nothing until twice as much is free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What a node says."""

    level: str = "info"
    """debug, info, warning or error."""
    format: str = "json"
    """json or text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the config file says."""

    name: str = "node"
    """What people call this node."""
    p2p: P2pConfig = field(default_factory=P2pConfig)
    """How other nodes reach it."""
    api: ApiConfig = field(default_factory=ApiConfig)
    """How people and programs reach it."""
    storage: StorageConfig = field(default_factory=StorageConfig)
    """What it keeps."""
    attribution: AttributionConfig = field(default_factory=AttributionConfig)
    """What it computes with."""
    log: LogConfig = field(default_factory=LogConfig)
    """What it says."""


@dataclass(frozen=True, slots=True)
class Home:
    """A node's home directory."""

    path: Path
    """Where."""

    @property
    def data(self) -> Path:
        """State, blocks, contents, log, index."""
        return self.path / DATA_DIRECTORY

    @property
    def keystore(self) -> Path:
        """Encrypted account keys."""
        return self.path / KEYSTORE_DIRECTORY

    def load_config(self) -> Config:
        """What the config file says. Raises: ConfigError."""
        path = self.path / CONFIG_FILE
        try:
            raw = tomllib.loads(path.read_text())
        except FileNotFoundError as error:
            raise ConfigError(f"{path} is missing: run `openledger init` first, or name another --home") from error
        except (tomllib.TOMLDecodeError, OSError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        parts = {
            "p2p": P2pConfig,
            "api": ApiConfig,
            "storage": StorageConfig,
            "attribution": AttributionConfig,
            "log": LogConfig,
        }
        values: dict[str, Any] = {}
        for name, part in parts.items():
            values[name] = _section(path, name, part, raw.pop(name, {}))
        _check_storage(path, values["storage"])
        _check_attribution(path, values["attribution"])
        return replace(_section(path, "", Config, raw), **values)

    def save_config(self, config: Config) -> None:
        """Writes a config file with every setting in it."""
        lines = [f"name = {json.dumps(config.name)}", ""]
        for part in ("p2p", "api", "storage", "attribution", "log"):
            lines.append(f"[{part}]")
            section = getattr(config, part)
            for setting in fields(section):
                value = getattr(section, setting.name)
                lines.append(f"{setting.name} = {json.dumps(list(value) if isinstance(value, tuple) else value)}")
            lines.append("")
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / CONFIG_FILE).write_text("\n".join(lines))

    def load_genesis(self) -> Genesis:
        """The chain this node follows. Raises: ConfigError."""
        path = self.path / GENESIS_FILE
        if not path.exists():
            raise ConfigError(f"{path} is missing: get it from the network you join (`openledger init --genesis FILE`)")
        return load_genesis(path)

    def load_key(self, file_name: str) -> PrivateKey | None:
        """One of the node's own keys, if it has it. Raises: ConfigError."""
        path = self.path / file_name
        if not path.exists():
            return None
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} is readable by others: chmod 600 {path}")
        try:
            return PrivateKey(bytes.fromhex(json.loads(path.read_text())["seed"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is no key file: restore it from your copy") from error

    def save_key(self, file_name: str, key: PrivateKey) -> None:
        """Writes one of the node's own keys, readable by its owner only. Raises: ConfigError when there is one."""
        content = json.dumps({"public_key": key.public_key.hex(), "seed": key.seed.hex()}, indent=2)
        write_private(self.path / file_name, content)


def load_genesis(path: Path) -> Genesis:
    """A genesis file. Raises: ConfigError."""
    try:
        genesis = from_plain(Genesis, json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no genesis file: {error}") from error
    assert isinstance(genesis, Genesis), "from_plain gives what it is asked for"
    return genesis


def save_genesis(path: Path, genesis: Genesis) -> None:
    """Writes a genesis file that people can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(to_plain(genesis), indent=1) + "\n")


def write_private(path: Path, content: str) -> None:
    """Writes a new file that only its owner can read. Raises: ConfigError when it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigError(f"{path} exists already: it is not overwritten") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _endpoint(entry: str) -> tuple[bytes, str]:
    found = ENDPOINT.fullmatch(entry)
    if found is None or not 1 <= int(found["port"]) < 2**16:
        raise ConfigError(f"[p2p] dial: {entry!r} is not id@host:port; `net_info` of a node shows the ids")
    return bytes.fromhex(found["id"]), found["endpoint"]


def _section(path: Path, name: str, part: type[S], raw: dict[str, object]) -> S:
    """A section of the config file, every setting checked against its default's type."""
    known = {setting.name: setting for setting in fields(part)}  # type: ignore[arg-type]
    title = f"[{name}] " if name else ""
    values: dict[str, object] = {}
    for key, value in raw.items():
        if key not in known:
            raise ConfigError(f"{path}: {title}{key} is no setting; there are {', '.join(known)}")
        default = known[key].default
        converted = tuple(value) if isinstance(default, tuple) and isinstance(value, list) else value
        if type(converted) is not type(default):
            raise ConfigError(f"{path}: {title}{key} is a {type(default).__name__}")
        values[key] = converted
    return part(**values)


def _check_storage(path: Path, storage: StorageConfig) -> None:
    for name in (
        "keep_heights",
        "snapshot_interval_heights",
        "snapshot_lag_heights",
        "trusted_height",
        "reserve_size_bytes",
    ):
        if getattr(storage, name) < 0:
            raise ConfigError(f"{path}: [storage] {name} is not negative")
    if 0 < storage.keep_heights < LEAST_KEPT_HEIGHTS:
        raise ConfigError(f"{path}: [storage] keep_heights is 0 (all) or at least {LEAST_KEPT_HEIGHTS}")
    if bool(storage.trusted_height) != bool(storage.trusted_block_id):
        raise ConfigError(f"{path}: [storage] trusted_height and trusted_block_id go together")
    if storage.trusted_block_id and not re.fullmatch("[0-9a-fA-F]{64}", storage.trusted_block_id):
        raise ConfigError(f"{path}: [storage] trusted_block_id is 64 hexadecimal digits")


def _check_attribution(path: Path, attribution: AttributionConfig) -> None:
    if not 0 <= attribution.workers <= MOST_WORKERS:
        raise ConfigError(f"{path}: [attribution] workers is 0 (one for each core but one) to {MOST_WORKERS}")
    if attribution.memory_size_bytes < LEAST_MEMORY_SIZE_BYTES:
        raise ConfigError(f"{path}: [attribution] memory_size_bytes is at least {LEAST_MEMORY_SIZE_BYTES}")
