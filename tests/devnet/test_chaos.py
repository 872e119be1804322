"""A minute of faults on four real nodes: nothing that docs/consistency.md promises is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devnet.chaos.schedule import Fault

pytestmark = pytest.mark.slow
SEED = os.environ.get("SEED", "1")


def chaos(directory: Path, *options: str, timeout_s: float = 300) -> tuple[subprocess.CompletedProcess[str], dict]:
    command = [sys.executable, "-m", "devnet", "chaos", "--directory", str(directory), "--json", "--seed", SEED]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=timeout_s, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stdout + done.stderr
    return done, json.loads(lines[-1])


def test_minute_of_faults_on_four_nodes_breaks_no_promise(tmp_path: Path) -> None:
    print(f"SEED={SEED}")
    done, figures = chaos(tmp_path / "chaos", "--minutes", "1")
    assert figures["violations"] == [], done.stdout
    assert done.returncode == 0
    assert figures["steps_done"] >= 5
    assert figures["blocks"] > 20
    assert figures["operations"]["transfers"]["ok"] > 20
    assert figures["operations"]["register sets"]["ok"] > 5
    assert set(figures["faults"]) <= {fault.value for fault in Fault}
    assert not (tmp_path / "chaos").exists()


def test_standstill_longer_than_the_bound_is_a_violation_and_everything_is_kept(tmp_path: Path) -> None:
    """The bound is set below what any healing takes."""
    directory = tmp_path / "chaos"
    done, figures = chaos(directory, "--minutes", "0.1", "--fault", "kill-all", "--bound-s", "0.001")
    assert done.returncode == 1
    assert {each["rule"] for each in figures["violations"]} == {"progress"}
    assert f"everything is kept in {directory}" in done.stderr
    assert json.loads((directory / "history.json").read_text())["operations"]
    assert json.loads((directory / "answers.json").read_text())["blocks"].keys() == {
        f"node{number}" for number in range(1, 5)
    }
    assert (directory / "node1" / "node.log").exists()
