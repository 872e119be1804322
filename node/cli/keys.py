"""keys: account keys, encrypted in the home's keystore."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from node.cli.setup import HOME_OPTION
from node.config import ConfigError, Home
from node.keystore import Keystore, StoredKey
from node.primitives.address import format_address
from node.primitives.crypto import PrivateKey

PASSPHRASE_OPTION = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the passphrase in its first line; else OPENLEDGER_PASSPHRASE, else a prompt.",
)
JSON_OPTION = click.option("--json", "is_json", is_flag=True, help="Print JSON for programs.")


def read_passphrase(file: Path | None, *, is_new: bool = False) -> str:
    """The passphrase from a file, the environment, or whoever sits there. Raises: ConfigError."""
    if file is not None:
        try:
            return file.expanduser().read_text().splitlines()[0]
        except (OSError, IndexError) as error:
            raise ConfigError(f"{file} holds no passphrase: {error}") from error
    if (known := os.environ.get("OPENLEDGER_PASSPHRASE")) is not None:
        return known
    entered: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=is_new, err=True)
    return entered


@click.group()
def keys() -> None:
    """Make, list, show and import account keys."""


@keys.command()
@click.argument("name")
@HOME_OPTION
@PASSPHRASE_OPTION
@JSON_OPTION
def new(name: str, home: Path, passphrase_file: Path | None, is_json: bool) -> None:
    """Make a new key NAME."""
    store = _store(home)
    _print(store.add(name, PrivateKey.generate(), read_passphrase(passphrase_file, is_new=True)), is_json)


@keys.command(name="list")
@HOME_OPTION
@JSON_OPTION
def list_keys(home: Path, is_json: bool) -> None:
    """List all keys."""
    store = _store(home)
    found = [store.show(name) for name in store.names()]
    if is_json:
        click.echo(json.dumps([_plain(key) for key in found]))
        return
    for key in found:
        click.echo(f"{key.name:<20} {format_address(key.address)}")
    if not found:
        click.echo("there is no key yet: `openledger keys new NAME` makes one")


@keys.command()
@click.argument("name")
@HOME_OPTION
@JSON_OPTION
def show(name: str, home: Path, is_json: bool) -> None:
    """Show address and public key of NAME."""
    _print(_store(home).show(name), is_json)


@keys.command(name="import")
@click.argument("name")
@click.option("--seed-file", type=click.Path(path_type=Path, dir_okay=False), help="File with the seed in hexadecimal.")
@HOME_OPTION
@PASSPHRASE_OPTION
@JSON_OPTION
def import_key(name: str, seed_file: Path | None, home: Path, passphrase_file: Path | None, is_json: bool) -> None:
    """Import a key from its 32-byte seed, in a file or typed at the prompt, never on the command line."""
    text = seed_file.read_text() if seed_file is not None else click.prompt("Seed (hex)", hide_input=True, err=True)
    try:
        key = PrivateKey(bytes.fromhex(str(text).strip().removeprefix("0x")))
    except ValueError as error:
        raise ConfigError(f"that is no seed: {error}") from error
    _print(_store(home).add(name, key, read_passphrase(passphrase_file, is_new=True)), is_json)


def _store(home: Path) -> Keystore:
    return Keystore(Home(home.expanduser()).keystore)


def _plain(key: StoredKey) -> dict[str, str]:
    return {"name": key.name, "address": format_address(key.address), "public_key": key.public_key.hex()}


def _print(key: StoredKey, is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps(_plain(key)))
    else:
        click.echo("\n".join(f"{field:<11} {value}" for field, value in _plain(key).items()))


COMMANDS = {"keys": keys}
