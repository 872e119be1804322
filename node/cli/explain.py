"""explain: why there is no block. log-level: how much a running node says."""

from __future__ import annotations

import json
from pathlib import Path

import click

from node.cli.keys import JSON_OPTION
from node.cli.setup import HOME_OPTION
from node.cli.tx import NODE_OPTION
from node.client import Client
from node.config import Home
from node.control import ask


@click.command()
@NODE_OPTION
@JSON_OPTION
def explain(node_url: str, is_json: bool) -> None:
    """Why is there no block: the view, its leader, who voted what, who is missing, and one plain conclusion."""
    with Client(node_url) as client:
        found = client.call("consensus_state")
    if is_json:
        click.echo(json.dumps(found))
        return
    click.echo(found["conclusion"])
    click.echo()
    for sentence in found["sentences"]:
        click.echo(f"  {sentence}")
    click.echo()
    width = max(len(each["name"]) for each in found["validators"])
    for each in found["validators"]:
        presence = "connected" if each["is_connected"] else "not connected"
        absent = ", silent lately" if each["is_absent"] else ""
        said = ", ".join(each["votes"]) or "no vote"
        click.echo(f"  {each['name']:<{width}}  {each['operator']}  power {each['power']}  {presence}{absent}  {said}")


@click.command("log-level")
@click.argument("level", required=False, type=click.Choice(["debug", "info", "warning", "error"]))
@click.option("--module", default="", help="Of one module and what is below it, like node.p2p; all when not given.")
@HOME_OPTION
@JSON_OPTION
def log_level(level: str | None, module: str, home: Path, is_json: bool) -> None:
    """Change how much the node in --home says, until it stops; without LEVEL, show it.

    For good, change config.toml and send the node SIGHUP. A level for all modules takes back those of single ones.
    """
    request = {"command": "log_level", "module": module} | ({} if level is None else {"level": level})
    levels = ask(Home(home.expanduser()).data, request)["levels"]
    if is_json:
        click.echo(json.dumps(levels))
        return
    for name, each in levels.items():
        click.echo(f"{name or 'every module'}: {each}")


COMMANDS = {"explain": explain, "log-level": log_level}
