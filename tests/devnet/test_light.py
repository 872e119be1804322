"""`openledger verify` against four real processes: no node is believed, not even about the newest state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devnet.launcher import Launcher
from devnet.topology import Devnet
from node.client import Client
from node.payloads import Transfer
from node.primitives.address import format_address

pytestmark = pytest.mark.slow
TIMEOUT_S = 60.0


def verify(*words: str) -> dict[str, object]:
    """What the command says to programs."""
    done = subprocess.run(
        [sys.executable, "-m", "node", "verify", *words, "--json"],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_a_transfer_and_an_account_are_verified_over_the_end_of_an_epoch(
    net: tuple[Devnet, Launcher], tmp_path: Path
) -> None:
    devnet, _ = net
    alice, bob = devnet.accounts["alice"], devnet.accounts["bob"]
    length = devnet.genesis.parameters.epoch_length_heights
    with Client(devnet.nodes[0].url) as client:
        first = client.submit_and_wait(alice, Transfer(recipient=bob.address, amount_units=7))
        while client.height() <= length:
            last = client.submit_and_wait(alice, Transfer(recipient=bob.address, amount_units=1))
        units = client.account(bob.address).balance_units
    common = ("--node", devnet.nodes[0].url, "--home", str(tmp_path))
    genesis = ("--genesis", str(devnet.nodes[0].home / "genesis.json"))
    witnesses = [word for node in devnet.nodes[1:] for word in ("--witness", node.url)]
    shown = verify("tx", first.id, *common, *genesis, *witnesses)
    assert (shown["took_effect"], shown["events"]) == (True, ["transferred"])
    assert shown["checked"]["epochs_followed"] >= 1  # type: ignore[index]
    assert verify("tx", last.id, *common, *genesis)["took_effect"]
    shown = verify("account", format_address(bob.address), *common, *genesis, "--max-age", "60", *witnesses)
    assert shown["balance_units"] == units
    print(json.dumps(shown["checked"]))
