"""The command line against running nodes: a datanet from creation to a reviewed contribution, mistakes named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devnet.launcher import Launcher
from devnet.topology import Devnet
from node.client import Client
from node.primitives.address import format_address

pytestmark = pytest.mark.slow
COLUMNS = [
    {"name": "age", "decimals": 0, "minimum": 0, "maximum": 120},
    {"name": "size", "decimals": 2, "minimum": 0, "maximum": 10_000},
]
ROWS = [
    {"age": 31, "size": 1.25, "label": "ill"},
    {"age": 45, "size": "2.50", "label": "well"},
    {"age": 29, "size": 0.75, "label": "well"},
]


class Shell:
    """`openledger` with a home full of the devnet's keys."""

    def __init__(self, devnet: Devnet, home: Path) -> None:
        self.home, self.node = home, devnet.nodes[0].url
        for name in ("curator", "clinic1", "reviewer1", "alice"):
            seed = home.parent / f"{name}.seed"
            seed.write_text(devnet.accounts[name].seed.hex())
            self.run("keys", "import", name, "--home", str(home), "--seed-file", str(seed))

    def run(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "node", *words],
            env={**os.environ, "OPENLEDGER_PASSPHRASE": "correct horse", "OPENLEDGER_NODE": self.node}
            if hasattr(self, "node")
            else {**os.environ, "OPENLEDGER_PASSPHRASE": "correct horse"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    def tx(self, kind: str, sender: str, *words: str) -> dict[str, Any]:
        said = self.run("tx", kind, "--from", sender, "--home", str(self.home), "--wait", "--json", *words)
        found: dict[str, Any] = json.loads(said)
        return found

    def refused(self, kind: str, sender: str, *words: str) -> str:
        return self.run("tx", kind, "--from", sender, "--home", str(self.home), "--wait", *words, code=1)

    def query(self, *words: str) -> Any:
        return json.loads(self.run("query", *words, "--json"))


def write_rows(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_datanet_is_made_filled_and_reviewed_from_the_command_line(
    net: tuple[Devnet, Launcher], tmp_path: Path
) -> None:
    devnet, _ = net
    shell = Shell(devnet, tmp_path / "home")
    reviewer = format_address(devnet.accounts["reviewer1"].address)
    columns = tmp_path / "columns.json"
    columns.write_text(json.dumps(COLUMNS))
    create = [
        *("--name", "patients", "--licence", "CC0", "--columns", f"@{columns}", "--classes", '["ill", "well"]'),
        *("--dampings", "[104858]", "--reviewers", json.dumps([reviewer]), "--review-quorum", "1"),
    ]
    assert "role_required" in shell.refused("create-datanet", "alice", *create)
    datanet = shell.tx("create-datanet", "curator", *create)["transaction"]
    assert shell.query("datanet", datanet)["name"] == "patients"

    data = write_rows(tmp_path / "data.jsonl", *ROWS)
    contribute = ("--datanet", datanet, "--jsonl", data)
    with Client(devnet.nodes[0].url) as client:
        client.wait_for_height(shell.query("datanet", datanet)["created_height"] + 8)
    contribution = shell.tx("contribute", "clinic1", *contribute)["transaction"]
    assert shell.query("contribution", contribution)["contribution"]["record_count"] == len(ROWS)
    verdict = ("--contribution", contribution, "--accepted", "--reason", "none")
    assert "not_reviewer" in shell.refused("review", "alice", *verdict)
    shell.tx("review", "reviewer1", *verdict)
    records = shell.query("datanet-records", datanet)["items"]
    assert [record["status"] for record in records] == ["accepted"] * len(ROWS)

    # What stands in the record can be read by everybody now, and is what the file said.
    content = shell.home.parent / "content"
    shell.run("blob", "get", records[-1]["content"], "--output", str(content))
    assert content.read_bytes() == (0).to_bytes(2, "big") + (31).to_bytes(8, "big") + (125).to_bytes(8, "big")

    for row, words in (
        ({"age": 31, "label": "ill"}, "row 1 lacks 'size'; the datanet's columns are age, size"),
        ({"age": 121, "size": 1, "label": "ill"}, "row 1: "),
        ({"age": 31, "size": 1, "label": "sick"}, "the classes are ill, well"),
        ({"age": 31, "size": 1, "label": "ill", "name": "x"}, "row 1 has 'name', which is no column"),
        ({"age": "old", "size": 1, "label": "ill"}, "row 1: "),
    ):
        bad = write_rows(tmp_path / "bad.jsonl", row)
        assert words in shell.refused("contribute", "clinic1", "--datanet", datanet, "--jsonl", bad)
    assert "no such datanet" in shell.refused("contribute", "clinic1", "--datanet", "0" * 64, "--jsonl", data)


def test_queries_print_for_people_and_for_programs(net: tuple[Devnet, Launcher], tmp_path: Path) -> None:
    devnet, _ = net
    shell = Shell(devnet, tmp_path / "home")
    alice = format_address(devnet.accounts["alice"].address)
    sent = shell.tx("transfer", "alice", "--recipient", "clinic1", "--amount", "1.5")
    assert sent["status"] == "final"
    assert f"address        {alice}" in shell.run("query", "account", alice)
    assert shell.query("account", alice)["nonce"] == 1
    assert shell.query("transaction", sent["transaction"])["payload"]["amount_units"] == "1500000000"
    assert shell.query("tx-status", sent["transaction"])["status"] == "final"
    assert [each["kind"] for each in shell.query("account-transactions", alice)["items"]] == ["transfer"]
    proven = shell.query("state", "account", alice)
    assert proven["decoded"]["nonce"] == 1
    assert len(shell.query("validators")["validators"]) == 4
    assert shell.run("query", "blocks", "--all", "--json", "--limit", "2").count("\n") >= sent["height"]
    assert "is_ready" in shell.run("status")
    assert "not_found" in shell.run("query", "model", "0" * 64, code=1)
    assert "invalid_parameter" in shell.run("query", "model", "xyz", code=1)
    assert "insufficient_balance" in shell.refused(
        "transfer", "alice", "--recipient", "clinic1", "--amount", "9000000000"
    )
    used = ("--recipient", "clinic1", "--amount", "1", "--valid-until", "1")
    assert "expired" in shell.refused("transfer", "alice", *used)
