"""doctor: looks a home over, and says for each thing how it is and what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from node.cli import diagnosis, diagnosis_store
from node.cli.diagnosis import Finding, Ledger, Level, fail, ok, warn
from node.cli.keys import JSON_OPTION
from node.cli.setup import HOME_OPTION
from node.client import Client
from node.config import CONFIG_FILE, GENESIS_FILE, Config, ConfigError, Home
from node.errors import OpenLedgerError
from node.modules.engines import Engines
from node.modules.validators import Governing, Registry
from node.primitives.codec import decode
from node.types.genesis import Genesis

ANSWER_TIMEOUT_S = 5.0
GRAVE_REASONS = {"halted", "disk_full", "not_admitted"}
"""What keeps a running node from its work for good; the others pass."""


@click.command()
@HOME_OPTION
@JSON_OPTION
@click.option("--deep", "is_deep", is_flag=True, help="Hash every block and the whole state again.")
@click.option(
    "--other-home",
    "others",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Another home whose consensus key must be another one; repeat.",
)
def doctor(home: Path, is_json: bool, is_deep: bool, others: tuple[Path, ...]) -> None:
    """Check a home: config, clock, keys, ports, log, store, disk, limits, versions. Changes nothing.

    While the node runs, it is asked; its locked files are left alone. Exit code 1 when something must not stay so.
    """
    findings = list(examine(Home(home.expanduser()), [Home(each.expanduser()) for each in others], is_deep=is_deep))
    worst = Level.FAIL if any(each.level is Level.FAIL for each in findings) else Level.OK
    if is_json:
        lines = [
            {"check": each.check, "level": each.level.value, "words": each.words, "advice": each.advice}
            for each in findings
        ]
        click.echo(json.dumps({"is_ok": worst is Level.OK, "findings": lines}))
    else:
        for each in findings:
            click.echo(f"{each.level.value:<4}  {each.check:<11}  {each.words}")
            if each.advice:
                click.echo(f"{'':<19}-> {each.advice}")
    if worst is Level.FAIL:
        sys.exit(1)


def examine(home: Home, others: Sequence[Home], *, is_deep: bool) -> Iterator[Finding]:
    """Everything about a home."""
    config, genesis = None, None
    try:
        config = home.load_config()
        yield ok("config", f"{home.path / CONFIG_FILE} is good")
    except ConfigError as error:
        yield fail("config", str(error), "correct the file, or make a home with `openledger init`")
    try:
        genesis = home.load_genesis()
        yield ok("genesis", f"{genesis.chain_name}, {genesis.hash().hex()[:16]}")
    except ConfigError as error:
        yield fail("genesis", str(error), f"copy the chain's {GENESIS_FILE} with `openledger init --genesis FILE`")
    if config is None or genesis is None:
        return
    is_up = diagnosis.is_running(home)
    running = _ask(config) if is_up else None
    ledger, seconds_since_final, api_id = None, None, None
    if running is not None:
        ledger, seconds_since_final = running["ledger"], running["seconds_since_final"]
        api_id = running["id"]
        yield from _check_running(running, genesis, is_deep=is_deep)
    elif is_up:
        advice = "wait if it is just starting; else read its log, and restart it"
        yield fail("node", "a process holds the data's lock, but no API answers", advice)
    else:
        yield ok("node", "it is stopped")
        found, ledger, noted = diagnosis_store.check_store(home, genesis.hash(), is_deep=is_deep)
        yield from found
        yield from diagnosis_store.check_log(home, genesis.hash(), noted)
        api_id = _id_on(config)
    yield from diagnosis.check_keys(home, genesis, ledger, others)
    yield from diagnosis.check_clock(ledger, genesis, seconds_since_final)
    yield from diagnosis.check_ports(config, diagnosis.own_node_id(home), api_id, is_up=is_up)
    yield from diagnosis.check_disk(home)
    yield from diagnosis.check_descriptors()
    yield from diagnosis.check_versions(genesis, ledger)


def _check_running(running: dict[str, Any], genesis: Genesis, *, is_deep: bool) -> Iterator[Finding]:
    if running["genesis_hash"] != genesis.hash().hex():
        yield fail("node", "the node that answers follows another chain", "see whose process has the API's port")
        return
    yield ok("node", f"it runs at height {running['ledger'].height}: its files are left alone, it was asked instead")
    for reason, sentence in running["details"].items():
        make = fail if reason in GRAVE_REASONS else warn
        yield make("health", f"{reason}: {sentence}", f"docs/runbook.md, `{reason}`")
    if not running["details"]:
        yield ok("health", "it is ready")
    yield ok("consensus", running["conclusion"])
    if is_deep:
        yield warn("store", "--deep was left out: the store is in use", "stop the node and ask again")


def _ask(config: Config) -> dict[str, Any] | None:
    """What the running node says of itself; None when it does not answer."""
    try:
        with Client(_url(config), timeout_s=ANSWER_TIMEOUT_S) as client:
            status, health = client.call("status"), client.call("health")
            state = client.call("consensus_state")
            governing, registry, engines = (
                client.call("query", table=name) for name in ("governing", "registry", "engines")
            )
    except OpenLedgerError:
        return None
    ledger = Ledger(
        height=status["sync"]["latest_height"],
        time_ms=status["sync"]["latest_time_ms"],
        governing=decode(Governing, bytes.fromhex(governing["value"])),
        registry=decode(Registry, bytes.fromhex(registry["value"])),
        engines=decode(Engines, bytes.fromhex(engines["value"])),
    )
    return {
        "id": status["node"]["id"],
        "genesis_hash": status["node"]["genesis_hash"],
        "details": health["details"],
        "conclusion": state["conclusion"],
        "seconds_since_final": status["sync"]["seconds_since_final"],
        "ledger": ledger,
    }


def _id_on(config: Config) -> str | None:
    """Which node answers on the API's port although this home's does not run."""
    try:
        with Client(_url(config), timeout_s=1.0) as client:
            return str(client.call("status")["node"]["id"])
    except OpenLedgerError:
        return None


def _url(config: Config) -> str:
    host = config.api.host if config.api.host not in ("0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 (compared only)
    return f"http://[{host}]:{config.api.port}" if ":" in host else f"http://{host}:{config.api.port}"


COMMANDS = {"doctor": doctor}
