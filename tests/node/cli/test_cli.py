"""The command line as a stranger uses it: real processes, exit codes, words that say what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from node.execution.registry import KINDS
from node.primitives.address import format_address
from tests.factories import make_key

pytestmark = pytest.mark.slow
PASSPHRASE = "correct horse"


def run(*words: str, cwd: Path, code: int = 0, stdin: str | None = None) -> str:
    """What `openledger` says; standard error when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "node", *words],
        cwd=cwd,
        env={**os.environ, "OPENLEDGER_PASSPHRASE": PASSPHRASE, "PYTHONPATH": str(Path.cwd())},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout if code == 0 else done.stderr


def new_key(cwd: Path, name: str, home: str = "home") -> str:
    return str(json.loads(run("keys", "new", name, "--home", home, "--json", cwd=cwd))["address"])


def test_help_needs_no_heavy_library(tmp_path: Path) -> None:
    script = (
        "import sys; from node.__main__ import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "heavy = {'numpy', 'torch', 'aiohttp', 'plyvel', 'cryptography', 'asyncio', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'{heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Where a node stands" in done.stdout


def test_node_does_not_run_without_its_own_checks(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-O", "-m", "node", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "does not run under `python -O`" in done.stderr


def test_keys_are_made_listed_shown_and_imported(tmp_path: Path) -> None:
    address = new_key(tmp_path, "alice")
    assert address.startswith("open1")
    seed = tmp_path / "seed.hex"
    seed.write_text(make_key("bob").seed.hex() + "\n")
    run("keys", "import", "bob", "--home", "home", "--seed-file", str(seed), cwd=tmp_path)
    listed = json.loads(run("keys", "list", "--home", "home", "--json", cwd=tmp_path))
    assert [each["name"] for each in listed] == ["alice", "bob"]
    shown = json.loads(run("keys", "show", "bob", "--home", "home", "--json", cwd=tmp_path))
    assert shown["address"] == format_address(make_key("bob").address)
    assert "exists already" in run("keys", "new", "alice", "--home", "home", cwd=tmp_path, code=1)
    assert "there is no key 'carol'" in run("keys", "show", "carol", "--home", "home", cwd=tmp_path, code=1)


def test_validators_assemble_a_genesis_that_each_can_follow(tmp_path: Path) -> None:
    for name in ("a", "b"):
        operator = new_key(tmp_path, "operator", name)
        run(
            "init",
            "--home",
            name,
            "--name",
            name,
            "--endpoint",
            f"{name}.example:1",
            "--operator",
            operator,
            cwd=tmp_path,
        )
        public = json.loads((tmp_path / name / "validator.json").read_text())
        assert "seed" not in json.dumps(public)
    said = run(
        *("genesis", "assemble", "a/validator.json", "b/validator.json", "--chain-name", "ours"),
        *("--account", f"{operator}=12.5:curator,reviewer", "--parameter", "delta_ms=700", "--time-ms", "1"),
        cwd=tmp_path,
    )
    genesis_hash = said.split()[-1]
    shown = run("genesis", "show", "genesis.json", cwd=tmp_path)
    assert genesis_hash in shown
    assert "20012.5 OPEN in 2 accounts" in shown
    for name in ("a", "b"):
        assert genesis_hash in run("init", "--home", name, "--genesis", "genesis.json", "--new-chain", cwd=tmp_path)
    assert "nothing was changed" in run("init", "--home", "a", cwd=tmp_path, code=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--parameter", "delta_ms=1"), "delta_ms"),
        (("--parameter", "nonsense=1"), "nonsense"),
        (("--account", "open1zz=1"), "open1zz"),
        (("--account", "nonsense"), "nonsense"),
    ],
)
def test_genesis_argument_at_fault_is_named(tmp_path: Path, arguments: Sequence[str], words: str) -> None:
    operator = new_key(tmp_path, "operator", "a")
    run("init", "--home", "a", "--endpoint", "a.example:1", "--operator", operator, cwd=tmp_path)
    said = run("genesis", "assemble", "a/validator.json", "--chain-name", "ours", *arguments, cwd=tmp_path, code=1)
    assert words in said


def test_every_kind_of_transaction_has_a_command(tmp_path: Path) -> None:
    said = run("tx", "--help", cwd=tmp_path)
    for kind in KINDS.values():
        assert f"\n  {kind.name.replace('_', '-')} " in said, kind.name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--amount", "1"), "--recipient is missing"),
        (("--recipient", "open1zz", "--amount", "1"), "'open1zz' is not bech32m"),
        (("--recipient", "alice", "--amount", "1.0000000001"), "--amount"),
        (("--recipient", "alice", "--amount", "-1"), "--amount"),
        (("--recipient", "nobody", "--amount", "1"), "there is no key 'nobody'"),
        (("--recipient", "alice", "--amount", "1"), "Is the node running?"),
        (("--payload", "missing.json"), "missing.json is no JSON file"),
    ],
)
def test_mistake_in_a_transaction_is_named_before_anything_is_sent(
    tmp_path: Path, arguments: Sequence[str], words: str
) -> None:
    new_key(tmp_path, "alice")
    said = run(
        *("tx", "transfer", "--from", "alice", "--home", "home", "--node", "http://127.0.0.1:9"),
        *arguments,
        cwd=tmp_path,
        code=1,
    )
    assert words in said


def test_wrong_usage_has_its_own_exit_code(tmp_path: Path) -> None:
    run("nonsense", cwd=tmp_path, code=2)
    run("query", "block", cwd=tmp_path, code=2)
    run("tx", "transfer", cwd=tmp_path, code=2)


def test_start_without_a_home_says_what_to_do(tmp_path: Path) -> None:
    assert "run `openledger init` first" in run("start", "--home", "nowhere", cwd=tmp_path, code=1)


def test_completion_is_printed_for_each_shell(tmp_path: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_OPENLEDGER_COMPLETE" in run("completion", shell, cwd=tmp_path)
