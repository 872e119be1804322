"""Operating real nodes: stop under load, look, change what they say, recover from a lost quorum."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devnet.launcher import Launcher
from devnet.topology import Devnet, Node, free_ports
from node.client import CallFailed, Client
from node.config import Home
from node.errors import NetworkError, OpenLedgerError
from node.payloads import Transfer
from node.primitives.address import format_address

pytestmark = pytest.mark.slow
TIMEOUT_S = 60.0
STOP_S = 2.0


def run(*words: object, code: int = 0) -> str:
    """What `openledger` says; standard error when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "node", *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, (words, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def explain(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("explain", "--node", node.url, "--json"))
    return found


def wait_until(is_there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_there():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


class Load:
    """Transfers as fast as one client sends them, until it is told to stop; remembers what a node acknowledged."""

    def __init__(self, devnet: Devnet, node: Node, name: str) -> None:
        self._devnet, self._node, self._name = devnet, node, name
        self.final: list[str] = []
        self._is_over = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()

    def _run(self) -> None:
        payload = Transfer(recipient=self._devnet.accounts["bob"].address, amount_units=1)
        with Client(self._node.url) as client:
            while not self._is_over:
                try:
                    sent = [client.send(self._devnet.accounts[self._name], payload) for _ in range(20)]
                    self.final += [client.wait_for(each).id for each in sent]
                except OpenLedgerError:
                    return


def test_sigterm_stops_a_loaded_node_within_two_seconds_and_loses_nothing_acknowledged(
    net: tuple[Devnet, Launcher],
) -> None:
    devnet, launcher = net
    first, other = devnet.nodes[0], devnet.nodes[1]
    with Load(devnet, first, "alice") as load, Load(devnet, other, "user1"), Load(devnet, other, "user2"):
        wait_until(lambda: len(load.final) > 60)
        pid, began = launcher.pid(first), time.monotonic()
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
        took_s = time.monotonic() - began
    launcher.stop(first)
    print(f"stopped after {took_s:.2f} s under load, {len(load.final)} transfers were final")
    assert took_s < STOP_S
    assert "] stopped " in first.log_file.read_text()
    lines = json.loads(run("doctor", "--home", first.home, "--deep", "--json"))
    assert lines["is_ok"], lines
    launcher.start(first)
    launcher.wait_until_up(first)
    with Client(first.url) as client:
        for each in load.final:
            assert client.wait_for(each, timeout_s=TIMEOUT_S).failure == ""


def test_explain_names_who_is_missing_and_readyz_says_why(net: tuple[Devnet, Launcher]) -> None:
    devnet, launcher = net
    first = devnet.nodes[0]
    with Client(first.url) as client:
        client.wait_for_height(2, timeout_s=TIMEOUT_S)
        assert explain(first)["situation"] in ("moving", "idle")
        launcher.kill(devnet.nodes[2])
        launcher.kill(devnet.nodes[3])
        wait_until(lambda: explain(first)["situation"] == "no_quorum")
        said = run("explain", "--node", first.url)
        assert "validators node3 and node4 are not connected." in said.splitlines()[0]
        health = client.call("health")
        assert set(health["reasons"]) == {"no_finalization", "too_few_peers"}
        lines = json.loads(run("doctor", "--home", first.home, "--json"))
        assert lines["is_ok"], "it passes when the others are back"
        assert {each["level"] for each in lines["findings"] if each["check"] == "health"} == {"WARN"}
        launcher.start(devnet.nodes[2])
        wait_until(lambda: explain(first)["situation"] in ("moving", "idle"))
        wait_until(lambda: client.call("health")["is_ready"])


def test_log_levels_change_at_run_time_for_the_owner_of_the_home(net: tuple[Devnet, Launcher]) -> None:
    devnet, launcher = net
    node = devnet.nodes[0]
    assert json.loads(run("log-level", "debug", "--module", "node.p2p", "--home", node.home, "--json")) == {
        "": "info",
        "node.p2p": "debug",
    }
    assert "is no module of the node" in run("log-level", "info", "--module", "os", "--home", node.home, code=1)
    wait_until(lambda: "log_level_changed" in node.log_file.read_text())
    run("log-level", "debug", "--module", "node.p2p", "--home", node.home)
    assert node.log_file.read_text().count("log_level_changed") == 1, "logged once"
    launcher.kill(devnet.nodes[1])
    wait_until(lambda: "dial_failed" in node.log_file.read_text())
    config = node.home / "config.toml"
    config.write_text(config.read_text().replace('level = "info"', 'level = "error"'))
    os.kill(launcher.pid(node), signal.SIGHUP)
    wait_until(lambda: run("log-level", "--home", node.home) == "every module: error\n")
    config.write_text("nonsense")
    os.kill(launcher.pid(node), signal.SIGHUP)
    wait_until(lambda: "config_not_read" in node.log_file.read_text())
    assert "no node answers" in run("log-level", "--home", devnet.directory / "nowhere", code=1)


def test_a_chain_that_lost_its_quorum_goes_on_with_new_validators(
    net: tuple[Devnet, Launcher], tmp_path: Path, first_port: int
) -> None:
    devnet, launcher = net
    alice, bob, carol = (devnet.accounts[name] for name in ("alice", "bob", "user1"))
    with Client(devnet.nodes[0].url) as client:
        done = client.submit_and_wait(alice, Transfer(recipient=bob.address, amount_units=12_345))
        client.wait_for_height(done.height + 2, timeout_s=TIMEOUT_S)
        replayed = client.sign(carol, Transfer(recipient=bob.address, amount_units=1))
    for node in devnet.nodes[2:]:
        launcher.kill(node)
        shutil.rmtree(node.home)  # for good
    launcher.stop(devnet.nodes[0])
    launcher.stop(devnet.nodes[1])
    with Client(devnet.nodes[0].url) as client, pytest.raises(NetworkError):
        client.height()
    old = json.loads(run("doctor", "--home", devnet.nodes[0].home, "--json"))["findings"]
    ports = free_ports(4, first_port + 50)
    homes, files = [tmp_path / "new1", tmp_path / "new2"], []
    for index, (home, operator) in enumerate(zip(homes, ("user1", "user2"), strict=True)):
        p2p, api = ports[2 * index], ports[2 * index + 1]
        address = format_address(devnet.accounts[operator].address)
        run(
            *("init", "--home", home, "--name", home.name, "--operator", address),
            *("--endpoint", f"127.0.0.1:{p2p}", "--p2p-port", p2p, "--api-port", api),
        )
        files.append(home / "validator.json")
    genesis = tmp_path / "genesis.json"
    made = run("fork-genesis", *files, "--chain-name", "again", "--home", devnet.nodes[0].home, "--output", genesis)
    assert "checked: every holding adds up to it" in made
    assert "is not overwritten" in run(
        *("fork-genesis", *files, "--chain-name", "again", "--home", devnet.nodes[0].home, "--output", genesis), code=1
    )
    shown = run("genesis", "show", genesis)
    assert f"continues     {devnet.genesis.hash().hex()} from height" in shown
    [root] = [each["words"] for each in old if "state root " in each["words"] and each["check"] == "store"]
    assert root.rpartition(" ")[2] in shown
    for home in homes:
        run("init", "--home", home, "--genesis", genesis, "--new-chain")
    nodes = tuple(Node(home.name, home, Home(home).load_config().api.port) for home in homes)
    forked = Devnet(tmp_path, devnet.genesis, nodes, devnet.accounts, devnet.operators)
    with Launcher(forked) as again, Client(nodes[0].url) as client:
        again.start_all()
        assert int(client.account(bob.address).balance_units) == 10**15 + 12_345
        paid = client.submit_and_wait(alice, Transfer(recipient=bob.address, amount_units=1))
        assert paid.height > done.height
        assert int(client.account(bob.address).balance_units) == 10**15 + 12_346
        [answer] = client.broadcast([replayed])
        assert isinstance(answer, CallFailed)
        assert answer.reason == "bad_signature", "it was signed for the old chain"
        conserved = client.get(dict, "/stats")["conservation"]
        assert conserved["is_ok"], conserved
        wait_until(lambda: client.call("health")["is_ready"])
        lines = json.loads(run("doctor", "--home", homes[0], "--json"))
        assert lines["is_ok"], lines
