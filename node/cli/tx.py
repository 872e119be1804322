"""tx: a command per transaction kind, its options made from the payload's fields."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from node.cli.keys import JSON_OPTION, PASSPHRASE_OPTION, read_passphrase
from node.cli.options import make_options, make_payload
from node.cli.records import read_question, read_records
from node.cli.setup import HOME_OPTION
from node.client import Client, Terms
from node.config import CONSENSUS_KEY_FILE, ConfigError, Home
from node.execution.registry import KIND_NAMED, Kind
from node.keystore import Keystore
from node.modules.accounts import RotateKey, rotation_digest
from node.modules.attributions import Ask
from node.modules.datanets import Contribute
from node.modules.validators import RotateConsensusKey, possession_digest
from node.primitives.address import format_address, parse_address
from node.primitives.amount import format_open, parse_open
from node.primitives.crypto import PrivateKey

NODE_OPTION = click.option(
    "--node",
    "node_url",
    default="http://127.0.0.1:26657",
    envvar="OPENLEDGER_NODE",
    show_default=True,
    help="The node's RPC address.",
)
COMMON = [
    click.Option(["--from", "sender"], required=True, envvar="OPENLEDGER_FROM", help="Name of the key that signs."),
    click.Option(["--sender-address"], help="The account, when its key was rotated: its address is another key's."),
    click.Option(
        ["--payload", "payload_file"], type=click.Path(path_type=Path), help="JSON file with fields; - reads stdin."
    ),
    click.Option(["--fee", "fee"], help="Fee in OPEN; by default what the chain asks for."),
    click.Option(["--valid-until", "valid_until"], type=int, help="Last height whose block may carry it."),
    click.Option(["--wait/--no-wait"], default=False, help="Wait until it is final."),
]


class KindsGroup(click.Group):
    """A command per kind, made when called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The kinds' names."""
        return [name.replace("_", "-") for name in KIND_NAMED]

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a kind."""
        kind = KIND_NAMED.get(cmd_name.replace("-", "_"))
        return None if kind is None else _command(kind)


@click.group(cls=KindsGroup)
def tx() -> None:
    """Send transactions of every kind."""


def _command(kind: Kind) -> click.Command:
    options: list[click.Parameter] = [*COMMON, *_field_options(kind)]
    for decorate in (HOME_OPTION, NODE_OPTION, PASSPHRASE_OPTION, JSON_OPTION):
        carrier = decorate(lambda: None)
        options += carrier.__click_params__  # type: ignore[attr-defined]
    summary = (kind.payload_class.__doc__ or "").strip()
    return click.Command(
        kind.name.replace("_", "-"), params=options, help=summary, callback=lambda **given: _send(kind, given)
    )


def _field_options(kind: Kind) -> list[click.Parameter]:
    if kind.payload_class is RotateKey:
        return [click.Option(["--new-key"], required=True, help="Name of the key that signs from now on.")]
    if kind.payload_class is RotateConsensusKey:
        return [
            click.Option(
                ["--new-home"], required=True, type=click.Path(path_type=Path), help="Home with the new consensus key."
            )
        ]
    options: list[click.Parameter] = list(make_options(kind.payload_class))
    if kind.payload_class in (Contribute, Ask):
        path = click.Path(path_type=Path, dir_okay=False)
        options.append(
            click.Option(["--jsonl"], type=path, help="JSON Lines in the datanet's columns, in place of files.")
        )
    if kind.payload_class is Contribute:
        options.append(click.Option(["--label"], default="label", show_default=True, help="The field with the class."))
    return options


def _send(kind: Kind, given: dict[str, Any]) -> None:
    keystore = Keystore(Home(given["home"].expanduser()).keystore)
    passphrase = read_passphrase(given["passphrase_file"])
    key = keystore.unlock(given["sender"], passphrase)
    try:
        sender = parse_address(given["sender_address"]) if given["sender_address"] else key.address
        fee_units = parse_open(given["fee"]) if given["fee"] else None
    except ValueError as error:
        raise ConfigError(f"--sender-address or --fee: {error}") from error
    with Client(given["node_url"]) as client:
        payload, contents = _payload(kind, given, keystore, client, sender, passphrase)
        terms: Terms = {"fee_units": fee_units, "valid_until_height": given["valid_until"], "sender": sender}
        if not given["wait"]:
            transaction_id = client.send(key, payload, blobs=contents, **terms)
            _print({"transaction": transaction_id, "status": "accepted"}, given["is_json"])
            return
        found = client.submit_and_wait(key, payload, blobs=contents, **terms)
        result = {
            "transaction": found.id,
            "status": "final",
            "height": found.height,
            "fee": format_open(int(found.fee_units)),
        }
        _print(result, given["is_json"])


def _payload(
    kind: Kind, given: dict[str, Any], keystore: Keystore, client: Client, sender: bytes, passphrase: str
) -> tuple[Any, tuple[bytes, ...]]:
    if kind.payload_class is RotateKey:
        new_key = keystore.unlock(given["new_key"], passphrase)
        nonce = client.account(sender).next_nonce
        digest = rotation_digest(client.genesis_hash(), sender, nonce)
        return RotateKey(new_public_key=new_key.public_key, new_signature=new_key.sign(digest)), ()
    if kind.payload_class is RotateConsensusKey:
        consensus_key = Home(given["new_home"].expanduser()).load_key(CONSENSUS_KEY_FILE)
        if consensus_key is None:
            raise ConfigError(f"{given['new_home']} holds no consensus key: `openledger init --home …` makes one")
        return _rotate_consensus(consensus_key, client.genesis_hash(), sender), ()

    def resolve(text: str) -> str:
        return text if text.startswith("open1") else format_address(keystore.show(text).address)

    made = _contents(kind, given, client)
    return make_payload(kind.payload_class, given, given["payload_file"], resolve, made)


def _contents(kind: Kind, given: dict[str, Any], client: Client) -> dict[str, Sequence[bytes]]:
    """Contents made from JSON Lines, by field."""
    if given.get("jsonl") is None:
        return {}
    if kind.payload_class is Contribute:
        if given["datanet"] is None:
            raise ConfigError("--jsonl needs --datanet")
        return {"records": read_records(client, given["datanet"], given["jsonl"], given["label"])}
    if given["model"] is None:
        raise ConfigError("--jsonl needs --model")
    return {"query": [read_question(client, given["model"], given["jsonl"])]}


def _rotate_consensus(key: PrivateKey, genesis_hash: bytes, operator: bytes) -> RotateConsensusKey:
    return RotateConsensusKey(
        new_consensus_key=key.public_key, possession=key.sign(possession_digest(genesis_hash, operator))
    )


def _print(result: dict[str, Any], is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps(result))
    else:
        click.echo("\n".join(f"{name:<12} {value}" for name, value in result.items()))


COMMANDS = {"tx": tx}
