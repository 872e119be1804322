"""fork-genesis: a new chain from a stopped node's final state, with a new validator set, for when a quorum is lost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from node.audit import Audit
from node.beginning import open_ledger
from node.cli.diagnosis_store import shadow_of
from node.cli.genesis import read_validator
from node.cli.setup import HOME_OPTION
from node.config import ConfigError, Home, save_genesis
from node.errors import StorageError
from node.execution.fork import Exported
from node.modules.validators import GOVERNING, REGISTRY, UPCOMING
from node.primitives.amount import format_open
from node.state.store import StateStore
from node.storage.blocks import BlockStore
from node.storage.export import write_values
from node.storage.kv import KeyValueStore, MemoryStore
from node.storage.schema import Column
from node.types.genesis import Fork, Genesis, GenesisValidator


@click.command("fork-genesis")
@click.argument("validator_files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--chain-name", required=True, help="What people call the new chain.")
@HOME_OPTION
@click.option("--power", default=1, show_default=True, help="Voting power of each validator.")
@click.option("--time-ms", type=int, help="Milliseconds since 1970 before which no block is; now by default.")
@click.option("--output", default="genesis.json", type=click.Path(path_type=Path), show_default=True)
def fork_genesis(
    validator_files: Sequence[Path], chain_name: str, home: Path, power: int, time_ms: int | None, output: Path
) -> None:
    """Export the final state of the stopped node in --home to a new chain with the validators of VALIDATOR_FILES.

    For when the old validators can make no quorum any more, and never will. Writes a genesis file and, beside it, the
    state (.state): give both to everybody, who adopt them with `openledger init --genesis`. Balances, bonds, datanets,
    models, questions and rewards go on; the new validators' bonds are taken from their operators' balances. Nothing
    signed for the old chain is valid on the new one. Anyone who keeps the old chain's last header can compare its state
    root with the new genesis.
    """
    from node.app import lock_data  # the lock shows that the node is stopped

    place = Home(home.expanduser())
    state_file = output.with_suffix(".state")
    for path in (output, state_file):
        if path.exists():
            raise ConfigError(f"{path} exists already: it is not overwritten; name another --output")
    if not (place.data / "state" / "CURRENT").exists():
        raise ConfigError(f"{place.data} holds no state to export: name the --home of a node that followed the chain")
    validators = [read_validator(path, power) for path in validator_files]
    with lock_data(place.data), shadow_of(place.data / "state") as store:
        genesis, values = export_fork(store, place.load_genesis(), chain_name, validators, time_ms)
        made = check_fork(genesis, values)
    write_values(state_file, sorted(values.items()))
    save_genesis(output, genesis)
    fork = genesis.forks[0]
    click.echo(f"{output} and {state_file}: chain {chain_name}, genesis hash {genesis.hash().hex()}")
    click.echo(f"continues height {fork.height} of {fork.genesis_hash.hex()}, state root {fork.state_root.hex()}")
    click.echo(f"supply {format_open(made)}, checked: every holding adds up to it")


def export_fork(
    store: KeyValueStore,
    old: Genesis,
    chain_name: str,
    validators: Sequence[GenesisValidator],
    time_ms: int | None,
) -> tuple[Genesis, dict[bytes, bytes]]:
    """The new genesis and the values it begins with. Raises: StorageError, ConfigError."""
    state, blocks = StateStore(store), BlockStore(store)
    tip = blocks.header(state.tip.height)  # a node that just joined by a snapshot has no more of it
    if tip is None or tip.state_root != state.root or tip.genesis_hash != old.hash():
        raise StorageError("the store does not hold this home's chain as a whole: `openledger doctor --deep` says more")
    if state.tip.height == old.height:
        raise ConfigError("the chain has no block yet: assemble a new genesis instead")
    values = {key[1:]: value for key, value in store.iterate(bytes((Column.STATE,)), bytes((Column.STATE + 1,)))}
    if Exported(values).root != state.root:
        raise StorageError("the state's values are not those its root commits to: take another node's home")
    governing, upcoming = GOVERNING.get(state), UPCOMING.get(state)
    certificates = {each.node.certificate for each in validators}
    observers = tuple(each for each in REGISTRY.get(state).observers if each.certificate not in certificates)
    now_ms = time.time_ns() // 1_000_000 if time_ms is None else time_ms
    try:
        genesis = replace(
            old,
            chain_name=chain_name,
            version=upcoming.version,
            time_ms=max(now_ms, tip.time_ms + 1),
            parameters=upcoming.parameters,
            accounts=(),
            validators=tuple(validators),
            observers=observers,
            forks=(
                Fork(
                    genesis_hash=old.hash(),
                    height=state.tip.height,
                    block_id=tip.id(),
                    epoch=governing.epoch,
                    state_root=state.root,
                ),
            ),
        )
    except ValueError as error:
        raise ConfigError(f"the new validators do not hold together: {error}") from error
    return genesis, values


def check_fork(genesis: Genesis, values: dict[bytes, bytes]) -> int:
    """Begins the chain in memory, as every node will, and adds all holdings up; returns the supply.

    Raises: StorageError.
    """
    store = MemoryStore()
    state = open_ledger(store, genesis, lambda: values)
    audit = Audit(store, state)
    while not audit.advance():
        pass
    error = audit.error()
    if error is not None:
        raise StorageError(f"the new chain's ledger would not add up: {error}")
    return audit.supply_units


COMMANDS = {"fork-genesis": fork_genesis}
