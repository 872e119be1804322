"""verify: what a node says, checked from a trusted start against its validators' signatures; nobody is believed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from node.cli.keys import JSON_OPTION
from node.cli.setup import HOME_OPTION
from node.cli.tx import NODE_OPTION
from node.cli.verifier import Trust, Verifier
from node.client import Client
from node.light import Final, LightRefused
from node.primitives.amount import format_open

OLD_S = 60
"""An account's state older than this is shown with a warning."""


@click.group()
def verify() -> None:
    """Check what a node says, against its validators' signatures from a trusted start.

    The start is the chain's genesis file (--genesis, or the home's), or the last block of an epoch whose height and id
    you have from somebody you trust (--trust). Epochs that were followed are remembered under --home.
    """


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """What every check takes; the command gets a `Trust` and whether JSON is wanted."""

    @wraps(command)
    def run(
        node_url: str,
        home: Path,
        genesis: Path | None,
        start: str | None,
        witness_urls: tuple[str, ...],
        max_age_s: int | None,
        is_json: bool,
        **given: str,
    ) -> None:
        trust = Trust(home.expanduser(), node_url, genesis, start, witness_urls, max_age_s)
        command(trust, is_json, **given)

    decorators = (
        NODE_OPTION,
        HOME_OPTION,
        click.option("--genesis", type=click.Path(path_type=Path, dir_okay=False), help="The chain's genesis file."),
        click.option("--trust", "start", metavar="HEIGHT:BLOCK_ID", help="Start at an epoch's last block instead."),
        click.option("--witness", "witness_urls", multiple=True, help="Another node that must agree; repeat."),
        click.option("--max-age", "max_age_s", type=click.IntRange(0), help="Refuse a state older than these seconds."),
        JSON_OPTION,
    )
    for decorate in reversed(decorators):
        run = decorate(run)
    return run


@verify.command()
@click.argument("address")
@_options
def account(trust: Trust, is_json: bool, address: str) -> None:
    """Check an account's balance, bond and nonce, or that nobody has used ADDRESS."""
    _run(trust, is_json, lambda verifier: verifier.account(address))


@verify.command()
@click.argument("transaction_id", metavar="ID")
@_options
def tx(trust: Trust, is_json: bool, transaction_id: str) -> None:
    """Check that the transaction ID is in a final block, and what came of it."""
    _run(trust, is_json, lambda verifier: verifier.transaction(transaction_id))


def _run(trust: Trust, is_json: bool, check: Callable[[Verifier], tuple[Final, dict[str, Any]]]) -> None:
    started_s = time.monotonic()
    try:
        with Client(trust.node_url) as node:
            verifier = Verifier(trust, node)
            final, shown = check(verifier)
    except LightRefused as error:
        if is_json:
            click.echo(json.dumps({"is_proven": False, "reason": error.reason.value, "hint": str(error)}))
        click.echo(f"refused ({error.reason.value}): {trust.node_url} proves nothing: {error}", err=True)
        sys.exit(1)
    checked = _checked(verifier, final, time.monotonic() - started_s)
    if is_json:
        click.echo(json.dumps({"is_proven": True, **shown, "checked": checked}))
    else:
        click.echo("\n".join([*_said(shown), *_said_of_proof(checked)]))


def _checked(verifier: Verifier, final: Final, took_s: float) -> dict[str, Any]:
    header = final.header
    return {
        "trusted_start": verifier.store.root,
        "genesis_hash": header.genesis_hash.hex(),
        "height": header.height,
        "epoch": header.epoch,
        "block_id": final.block_id.hex(),
        "time_ms": header.time_ms,
        "epochs_followed": verifier.light.newest.number - verifier.first_epoch,
        "epochs_known": len(verifier.light.epochs),
        "certified_height": final.certified_height,
        "signers": [signer.hex() for signer in final.signers],
        "power": final.power,
        "total_power": final.total_power,
        "witnesses": list(verifier.trust.witness_urls),
        "seconds": round(took_s, 3),
    }


def _said(shown: dict[str, Any]) -> list[str]:
    if "transaction_id" in shown:
        came = "took effect" if shown["took_effect"] else f"failed: {shown['failure']}"
        return [
            f"transaction {shown['transaction_id']} is final, and {came}",
            f"  fee      {format_open(int(shown['fee_units']))}",
            f"  events   {', '.join(shown['events']) or '-'}",
        ]
    lines = [
        f"account {shown['address']}" + ("" if shown["exists"] else ": nobody has used this address"),
        f"  balance  {format_open(int(shown['balance_units']))}",
        f"  bond     {format_open(int(shown['bond_units']))}",
        f"  nonce    {shown['nonce']}",
    ]
    if shown["age_seconds"] > OLD_S:
        lines.append(f"  warning  this state is {shown['age_seconds']} s old: there may be a later one")
    return lines


def _said_of_proof(checked: dict[str, Any]) -> list[str]:
    at, certified = checked["height"], checked["certified_height"]
    through = "" if certified == at else f", through the certificate of block {certified} and the headers between"
    witnesses, known = ", ".join(checked["witnesses"]), checked["epochs_known"]
    return [
        "checked",
        f"  start    {checked['trusted_start']}",
        f"  epochs   {checked['epochs_followed']} followed now, each by a certificate of the one before; {known} known",
        f"  block    {at} of epoch {checked['epoch']}, {checked['block_id']}{through}",
        f"  signed   by {len(checked['signers'])} validators with {checked['power']} of {checked['total_power']} power",
        f"  agreed   by {witnesses}" if witnesses else "  agreed   no other node was asked: --witness URL",
        f"  took     {checked['seconds']} s",
    ]


COMMANDS = {"verify": verify}
