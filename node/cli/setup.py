"""init, start, genesis, index, completion: everything about a node's own home."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import click

from node.config import (
    CONSENSUS_KEY_FILE,
    GENESIS_FILE,
    NODE_KEY_FILE,
    STATE_FILE,
    ApiConfig,
    Config,
    ConfigError,
    Home,
    P2pConfig,
    load_genesis,
    save_genesis,
)

HOME_OPTION = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("~/.openledger"),
    envvar="OPENLEDGER_HOME",
    show_default=True,
    help="The node's home directory.",
)


@click.command()
@HOME_OPTION
@click.option("--name", default="node", show_default=True, help="What people call this node.")
@click.option("--endpoint", default="", help="host:port under which other nodes reach this one.")
@click.option("--p2p-port", default=26656, show_default=True, help="Port for other nodes.")
@click.option("--api-port", default=26657, show_default=True, help="Port for RPC and explorer, on loopback.")
@click.option("--operator", default="", help="Address of the account that answers for the validator (open1…).")
@click.option("--observer", is_flag=True, help="Follow the chain without a vote: no consensus key.")
@click.option("--genesis", type=click.Path(path_type=Path, dir_okay=False), help="The chain's genesis file.")
@click.option(
    "--new-chain",
    is_flag=True,
    help="The chain in --genesis starts now and this key has never signed on it: vote from the first view.",
)
def init(
    home: Path,
    name: str,
    endpoint: str,
    p2p_port: int,
    api_port: int,
    operator: str,
    observer: bool,
    genesis: Path | None,
    new_chain: bool,
) -> None:
    """Make a home directory with keys and config.

    Writes validator.json, the public part that a genesis (`openledger genesis assemble`) or a governance proposal
    needs. Run again with --genesis to add the chain's genesis file to an existing home.
    """
    # Keys and certificates need the cryptography library, --help does not.
    from node.primitives.address import parse_address
    from node.primitives.crypto import PrivateKey

    if operator:
        try:
            parse_address(operator)
        except ValueError as error:
            raise ConfigError(f"--operator: {error}; `openledger keys show NAME` prints an address") from error
    place = Home(home.expanduser())
    if not (place.path / NODE_KEY_FILE).exists():
        place.path.mkdir(parents=True, exist_ok=True)
        place.path.chmod(0o700)
        place.save_key(NODE_KEY_FILE, PrivateKey.generate())
        if not observer:
            place.save_key(CONSENSUS_KEY_FILE, PrivateKey.generate())
        place.save_config(Config(name=name, p2p=P2pConfig(port=p2p_port), api=ApiConfig(port=api_port)))
        click.echo(f"made {place.path} with a node key{'' if observer else ', a consensus key'} and config.toml")
    elif genesis is None:
        raise ConfigError(f"{place.path} is a home already: nothing was changed")
    if genesis is not None:
        _adopt_genesis(place, genesis, is_new_chain=new_chain)
    if operator or observer:
        _write_validator_file(place, name, endpoint, operator)
    elif genesis is None:
        click.echo("no --operator given: validator.json is not written")


@click.command()
@HOME_OPTION
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Overrides config.toml.")
@click.option("--log-format", type=click.Choice(["json", "text"]), help="Overrides config.toml.")
def start(home: Path, log_level: str | None, log_format: str | None) -> None:
    """Run the node until it is told to stop (SIGTERM, SIGINT)."""
    from dataclasses import replace

    from node.app import run  # the whole node is loaded only to run it

    place = Home(home.expanduser())
    config = place.load_config()
    log = replace(config.log, level=log_level or config.log.level, format=log_format or config.log.format)
    run(place, replace(config, log=log))


@click.group()
def genesis() -> None:
    """Assemble and check genesis files."""


@genesis.command()
@click.argument("validator_files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--chain-name", required=True, help="What people call the chain.")
@click.option("--account", "accounts", multiple=True, help="address=balance in OPEN[:role,role…]; repeat.")
@click.option("--power", default=1, show_default=True, help="Voting power of each validator.")
@click.option("--parameter", "parameters", multiple=True, help="name=value; repeat. See `openledger query parameters`.")
@click.option("--time-ms", type=int, help="Milliseconds since 1970 before which no block is; now by default.")
@click.option("--output", default="genesis.json", type=click.Path(path_type=Path), show_default=True)
def assemble(
    validator_files: Sequence[Path],
    chain_name: str,
    accounts: Sequence[str],
    power: int,
    parameters: Sequence[str],
    time_ms: int | None,
    output: Path,
) -> None:
    """Make a genesis file from the validators' validator.json files.

    Every operator gets its bond on top of the balance named with --account.
    """
    from node.cli.genesis import assemble_genesis

    made = assemble_genesis(validator_files, chain_name, accounts, power, parameters, time_ms)
    save_genesis(output, made)
    click.echo(f"{output}: chain {chain_name}, genesis hash {made.hash().hex()}")


@genesis.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def show(file: Path) -> None:
    """Check a genesis file and print its hash and who is in it."""
    from node.primitives.amount import format_open

    found = load_genesis(file)
    click.echo(f"chain         {found.chain_name}")
    click.echo(f"genesis hash  {found.hash().hex()}")
    if found.continued is None:
        click.echo(f"supply        {format_open(found.supply_units())} in {len(found.accounts)} accounts")
    else:
        fork = found.continued
        click.echo(f"continues     {fork.genesis_hash.hex()} from height {fork.height}, epoch {fork.epoch}")
        click.echo(f"state root    {fork.state_root.hex()}")
    for validator in found.validators:
        click.echo(f"validator     {validator.node.name} power {validator.power} at {validator.node.endpoint}")


@click.group()
def index() -> None:
    """The explorer's index."""


@index.command()
@HOME_OPTION
def rebuild(home: Path) -> None:
    """Drop the index of a stopped node; it is built again from the blocks at the next start."""
    place = Home(home.expanduser())
    from node.app import lock_data  # the lock shows that the node is stopped

    with lock_data(place.data):
        shutil.rmtree(place.data / "index", ignore_errors=True)
    click.echo("dropped: the node builds it again when it starts")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print shell completion: source it, or put it where your shell looks."""
    from click.shell_completion import get_completion_class

    from node.__main__ import cli

    found = get_completion_class(shell)
    assert found is not None, "click knows these shells"
    click.echo(found(cli, {}, "openledger", "_OPENLEDGER_COMPLETE").source())


def _adopt_genesis(place: Home, source: Path, *, is_new_chain: bool) -> None:
    from node.storage.wal import Born, FileLog

    found = load_genesis(source)
    target = place.path / GENESIS_FILE
    if target.exists() and load_genesis(target).hash() != found.hash():
        raise ConfigError(f"{target} is of another chain: use a home of its own for each chain")
    if found.continued is not None:
        _adopt_state(source.with_suffix(".state"), place.path / STATE_FILE)
    shutil.copyfile(source, target)
    click.echo(f"follows {found.chain_name}, genesis hash {found.hash().hex()}")
    key = place.load_key(CONSENSUS_KEY_FILE)
    is_validator = key is not None and any(each.consensus_key == key.public_key for each in found.validators)
    if not is_new_chain:
        if is_validator:
            click.echo("this validator signs nothing until a quorum of the others told where they stand (--new-chain)")
        return
    if (place.data / "state").exists():
        raise ConfigError(
            f"{place.data / 'state'} is there: this node ran before, so --new-chain is not for it. Start it without"
        )
    if key is None:  # it will never sign
        return
    log = FileLog(place.data / "log", found.hash())
    if not log.replay():
        log.append([Born(genesis_hash=found.hash(), validator=key.address)])
    log.close()


def _adopt_state(source: Path, target: Path) -> None:
    """The values a chain that continues another one begins with; the node compares their root when it starts."""
    if not source.exists():
        raise ConfigError(f"{source} is missing: it belongs to the genesis of a chain that continues another one")
    shutil.copyfile(source, target)


def _write_validator_file(place: Home, name: str, endpoint: str, operator: str) -> None:
    from node.modules.validators import possession_digest
    from node.primitives.address import parse_address
    from node.primitives.crypto import make_node_certificate

    node_key, consensus_key = place.load_key(NODE_KEY_FILE), place.load_key(CONSENSUS_KEY_FILE)
    assert node_key is not None, "just made"
    content: dict[str, object] = {
        "node": {"name": name, "certificate": make_node_certificate(node_key).hex(), "endpoint": endpoint}
    }
    if consensus_key is not None and operator:
        address = parse_address(operator)
        content |= {"operator": operator, "consensus_key": consensus_key.public_key.hex()}
        genesis_file = place.path / GENESIS_FILE
        if genesis_file.exists():
            digest = possession_digest(load_genesis(genesis_file).hash(), address)
            content["possession"] = consensus_key.sign(digest).hex()
    path = place.path / "validator.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    click.echo(f"wrote {path}: give it to whoever assembles the genesis or proposes the validator")


COMMANDS = {"init": init, "start": start, "genesis": genesis, "index": index, "completion": completion}
