"""The story on four real processes, told twice: the second time the chain knows it already."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
TIMEOUT_S = 240


def tell(directory: Path, first_port: int, *options: str) -> tuple[dict[str, Any], str]:
    """Runs `python -m devnet` and reads its last line."""
    command = [sys.executable, "-m", "devnet", "--directory", str(directory), "--first-port", str(first_port), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stdout


def test_story_holds_and_a_second_telling_resumes_the_same_chain(tmp_path: Path, first_port: int) -> None:
    directory = tmp_path / "devnet"
    told, _ = tell(directory, first_port, "--exit", "--json")
    assert told["failed_checks"] == []
    assert len(told["state_roots"]) == 4
    assert len(set(told["state_roots"])) == 1
    assert told["refused"] == ["false_claim", "false_claim", "false_claim", "nullified"]
    assert 0 < told["minted"] < told["burned"]
    by_role: dict[str, list[dict[str, Any]]] = {}
    for each in told["contributors"]:
        by_role.setdefault(each["role"], []).append(each)
    assert {role: len(each) for role, each in by_role.items()} == {"honest": 4, "flipped_labels": 1, "duplicate": 1}
    assert all(each["records"] == 70 and each["mean_influence"] > 0 for each in by_role["honest"])
    (flipped,), (duplicate,) = by_role["flipped_labels"], by_role["duplicate"]
    assert flipped["mean_influence"] < 0
    assert flipped["earned"] * 10 <= min(each["earned"] for each in by_role["honest"])
    assert (duplicate["records"], duplicate["earned"]) == (0, 0)

    again, _ = tell(directory, first_port, "--exit", "--json")
    assert again["height"] > told["height"]
    assert [again[name] for name in ("burned", "minted", "contributors", "refused")] == [
        told[name] for name in ("burned", "minted", "contributors", "refused")
    ]
    known = json.loads((tmp_path / "devnet.json").read_text())
    assert [node["name"] for node in known["nodes"]] == ["node1", "node2", "node3", "node4"]
    assert {"clinic1", "developer", "alice"} <= {account["name"] for account in known["accounts"]}
