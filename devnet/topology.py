"""What a devnet is made of: homes, keys, ports, accounts, genesis. Made once, then resumed."""

from __future__ import annotations

import json
import random
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attribution.request import TABLES_HASHES
from node.config import (
    CONSENSUS_KEY_FILE,
    GENESIS_FILE,
    NODE_KEY_FILE,
    REPORTER_KEY_FILE,
    ApiConfig,
    Config,
    Home,
    LogConfig,
    P2pConfig,
    load_genesis,
    save_genesis,
)
from node.primitives.address import format_address
from node.primitives.amount import UNITS_PER_OPEN
from node.primitives.crypto import PrivateKey, address_of, make_node_certificate
from node.types.block import PROTOCOL_VERSION
from node.types.genesis import EngineEntry, Genesis, GenesisAccount, GenesisValidator, Role
from node.types.parameters import Parameters
from node.types.validator import NodeEntry

VALIDATORS = 4
FIRST_PORT = 27_000
BALANCE_UNITS = 1_000_000 * UNITS_PER_OPEN
PARAMETERS = Parameters(
    delta_ms=400,
    empty_block_interval_ms=300,
    epoch_length_heights=24,
    certificate_epochs=1_000_000,
    holdout_reveal_heights=100_000,
    vesting_epochs=1,
)
"""A hurried chain: short epochs, so that a story of several epochs takes a minute."""

ROLES = {
    "curator": Role.CURATOR,
    **{f"clinic{number}": Role.CONTRIBUTOR for number in range(1, 7)},
    **{f"reviewer{number}": Role.REVIEWER for number in range(1, 4)},
    "developer": Role.DEVELOPER,
    "impostor": Role.DEVELOPER,
    "attributor": Role.ATTRIBUTOR,
    "forger1": Role.ATTRIBUTOR,
    "forger2": Role.ATTRIBUTOR,
    "user1": Role(0),
    "user2": Role(0),
    "alice": Role(0),
    "bob": Role(0),
}
"""Funded accounts, and what each may do."""


class NotADevnetError(Exception):
    """A directory is not a devnet's; the message says what to do."""


@dataclass(frozen=True)
class Place:
    """Where a validator runs."""

    host: str
    """Address it listens on."""
    p2p_port: int
    api_port: int
    endpoint: str
    """Where the others reach it."""


@dataclass(frozen=True)
class Node:
    """One validator of the devnet."""

    name: str
    home: Path
    api_port: int

    @property
    def url(self) -> str:
        """Where its RPC and explorer are."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def log_file(self) -> Path:
        """What it says."""
        return self.home / "node.log"


@dataclass(frozen=True)
class Devnet:
    """A devnet on disk."""

    directory: Path
    genesis: Genesis
    nodes: tuple[Node, ...]
    accounts: dict[str, PrivateKey]
    operators: tuple[PrivateKey, ...]

    def describe(self) -> dict[str, object]:
        """What `devnet.json` holds: everything needed to use it."""
        return {
            "chain": self.genesis.chain_name,
            "genesis_hash": self.genesis.hash().hex(),
            "nodes": [
                {
                    "name": node.name,
                    "rpc": node.url,
                    "explorer": f"{node.url}/api/v1",
                    "home": str(node.home),
                    "operator": format_address(operator.address),
                    "operator_seed": operator.seed.hex(),
                }
                for node, operator in zip(self.nodes, self.operators, strict=True)
            ],
            "accounts": [
                {
                    "name": name,
                    "address": format_address(key.address),
                    "seed": key.seed.hex(),
                    "roles": [str(role.name).lower() for role in Role if role & ROLES.get(name, Role(0))],
                }
                for name, key in self.accounts.items()
            ],
        }


def open_devnet(
    directory: Path,
    *,
    is_reset: bool = False,
    bench_accounts: int = 0,
    first_port: int = FIRST_PORT,
    validators: int = VALIDATORS,
    places: Sequence[Place] = (),
) -> tuple[Devnet, bool]:
    """The devnet in a directory, made if it is not there. Returns it and whether it is new.

    Its validators run on loopback, on ports from `first_port` on (0: on any that are free), unless places are given.

    Raises: NotADevnetError when something else lies in the directory: it is neither deleted nor written to.
    """
    keys_file = directory / "keys.json"
    if directory.exists() and any(directory.iterdir()) and not keys_file.exists():
        raise NotADevnetError(f"{directory} holds something else than a devnet: name another --directory")
    if is_reset and directory.exists():
        shutil.rmtree(directory)
    is_new = not keys_file.exists()
    if is_new:
        _make(directory, bench_accounts, places or loopback_places(first_port, validators))
    raw = json.loads(keys_file.read_text())
    accounts = {name: PrivateKey(bytes.fromhex(seed)) for name, seed in raw["accounts"].items()}
    operators = tuple(PrivateKey(bytes.fromhex(seed)) for seed in raw["operators"])
    homes = sorted(path for path in directory.glob("node*") if path.is_dir())
    nodes = tuple(Node(name=home.name, home=home, api_port=Home(home).load_config().api.port) for home in homes)
    return Devnet(directory, load_genesis(homes[0] / GENESIS_FILE), nodes, accounts, operators), is_new


def free_ports(count: int, first: int) -> list[int]:
    """Ports on loopback that nobody listens on; from `first` on, or from anywhere when that is 0."""
    found: list[int] = []
    # Below those that systems lend to outgoing connections: a node that was stopped must find its port again.
    port = first or random.randrange(10_000, 30_000)
    while len(found) < count:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                found.append(port)
            except OSError:
                pass
        port += 1
        assert port < 2**16, "some ports are free"
    return found


def loopback_places(first_port: int, validators: int = VALIDATORS) -> tuple[Place, ...]:
    """Ports on loopback for each validator."""
    ports = free_ports(2 * validators, first_port)
    pairs = zip(ports[::2], ports[1::2], strict=True)
    return tuple(Place(host="127.0.0.1", p2p_port=p2p, api_port=api, endpoint=f"127.0.0.1:{p2p}") for p2p, api in pairs)


def container_places() -> tuple[Place, ...]:
    """As in compose.yaml: each validator in a container of its own, under its own name, on the usual ports."""
    p2p, api = P2pConfig().port, ApiConfig().port
    return tuple(
        Place(host="0.0.0.0", p2p_port=p2p, api_port=api, endpoint=f"node{number}:{p2p}")  # noqa: S104 (a container's)
        for number in range(1, VALIDATORS + 1)
    )


def _make(directory: Path, bench_accounts: int, places: Sequence[Place]) -> None:
    from node.storage.wal import Born, FileLog  # only when a devnet is made

    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    accounts = {name: PrivateKey.generate() for name in ROLES}
    accounts |= {f"bench{number}": PrivateKey.generate() for number in range(bench_accounts)}
    operators = [PrivateKey.generate() for _ in places]
    validators = []
    for index, (operator, place) in enumerate(zip(operators, places, strict=True)):
        home = Home(directory / f"node{index + 1}")
        node_key, consensus_key = PrivateKey.generate(), PrivateKey.generate()
        home.save_key(NODE_KEY_FILE, node_key)
        home.save_key(CONSENSUS_KEY_FILE, consensus_key)
        home.save_key(REPORTER_KEY_FILE, operator)
        home.save_config(
            Config(
                name=home.path.name,
                p2p=P2pConfig(host=place.host, port=place.p2p_port),
                api=ApiConfig(host=place.host, port=place.api_port, write_items_per_second=100_000),
                log=LogConfig(level="info", format="text"),
            )
        )
        entry = NodeEntry(
            name=home.path.name,
            certificate=make_node_certificate(node_key),
            endpoint=place.endpoint,
        )
        validators.append(
            GenesisValidator(operator=operator.address, consensus_key=consensus_key.public_key, power=1, node=entry)
        )
    entries = [
        GenesisAccount(
            address=key.address, balance_units=BALANCE_UNITS, bond_units=0, roles=int(ROLES.get(name, Role(0)))
        )
        for name, key in accounts.items()
    ] + [
        GenesisAccount(
            address=key.address, balance_units=BALANCE_UNITS, bond_units=PARAMETERS.validator_bond_units, roles=0
        )
        for key in operators
    ]
    genesis = Genesis(
        chain_name="devnet",
        version=PROTOCOL_VERSION,
        time_ms=time.time_ns() // 1_000_000,
        parameters=PARAMETERS,
        engines=tuple(EngineEntry(name=name, tables_hash=each) for name, each in sorted(TABLES_HASHES.items())),
        accounts=tuple(sorted(entries, key=lambda entry: entry.address)),
        validators=tuple(validators),
        observers=(),
    )
    for index in range(len(places)):
        home = Home(directory / f"node{index + 1}")
        save_genesis(home.path / GENESIS_FILE, genesis)
        log = FileLog(home.data / "log", genesis.hash())
        validator = address_of(validators[index].consensus_key)
        log.append([Born(genesis_hash=genesis.hash(), validator=validator)])
        log.close()
    content = {
        "accounts": {name: key.seed.hex() for name, key in accounts.items()},
        "operators": [key.seed.hex() for key in operators],
    }
    (directory / "keys.json").write_text(json.dumps(content, indent=1))
    (directory / "keys.json").chmod(0o600)
    print(f"made a devnet of {len(places)} validators in {directory}", file=sys.stderr)
