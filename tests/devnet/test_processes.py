"""Four real processes: kill -9, a wiped disk and Ctrl-C lose nothing, and bench's figures are what was sent."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from devnet.launcher import Launcher
from devnet.topology import Devnet, open_devnet
from node.api import views_chain
from node.client import CallFailed, Client, TransactionFailed
from node.errors import NetworkError
from node.payloads import Transfer

pytestmark = pytest.mark.slow
TIMEOUT_S = 60.0


def wait_until(is_there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_there():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def roots_at(devnet: Devnet, height: int) -> set[str]:
    """State roots of a height, from every node."""
    found = set()
    for node in devnet.nodes:
        with Client(node.url) as client:
            client.wait_for_height(height, timeout_s=TIMEOUT_S)
            found.add(client.call_as(views_chain.BlockView, "block", height=height).header.state_root)
    return found


def test_kill_9_of_any_node_at_any_moment_loses_no_acknowledged_transfer(net: tuple[Devnet, Launcher]) -> None:
    devnet, launcher = net
    seed = int(os.environ.get("SEED", "1"))
    print(f"SEED={seed}")
    choose = random.Random(seed)
    alice, bob = devnet.accounts["alice"], devnet.accounts["bob"]
    payload = Transfer(recipient=bob.address, amount_units=1)
    acknowledged: list[str] = []
    with Client(devnet.nodes[0].url) as client:
        before = int(client.account(bob.address).balance_units)
        for victim in (3, 2, 1, 3):
            acknowledged += [client.send(alice, payload) for _ in range(choose.randint(1, 5))]
            launcher.kill(devnet.nodes[victim])
            acknowledged += [client.send(alice, payload) for _ in range(choose.randint(1, 5))]
            client.wait_for(acknowledged[-1], timeout_s=TIMEOUT_S)
            launcher.start(devnet.nodes[victim])
            launcher.wait_until_up(devnet.nodes[victim])
        found = [client.wait_for(each, timeout_s=TIMEOUT_S) for each in acknowledged]
        assert len({(each.height, each.index) for each in found}) == len(acknowledged)
        assert int(client.account(bob.address).balance_units) == before + len(acknowledged)
        height = client.height()
    assert len(roots_at(devnet, height)) == 1


def test_kill_9_of_all_nodes_at_once_and_the_chain_goes_on_from_the_disk(net: tuple[Devnet, Launcher]) -> None:
    devnet, launcher = net
    alice, bob = devnet.accounts["alice"], devnet.accounts["bob"]
    with Client(devnet.nodes[0].url) as client:
        final = client.submit_and_wait(alice, Transfer(recipient=bob.address, amount_units=7))
        root = client.call_as(views_chain.BlockView, "block", height=final.height).header.state_root
    for node in devnet.nodes:
        launcher.kill(node)
    launcher.start_all()
    with Client(devnet.nodes[0].url) as client:
        client.wait_for_height(final.height + 2, timeout_s=TIMEOUT_S)
        assert client.call_as(views_chain.BlockView, "block", height=final.height).header.state_root == root
        again = client.submit_and_wait(alice, Transfer(recipient=bob.address, amount_units=7))
    assert len(roots_at(devnet, again.height)) == 1


def test_node_with_an_empty_disk_syncs_joins_and_votes_again_more_than_once(net: tuple[Devnet, Launcher]) -> None:
    devnet, launcher = net
    newcomer = devnet.nodes[3]
    alice, bob = devnet.accounts["alice"], devnet.accounts["bob"]
    with Client(devnet.nodes[0].url) as client:
        for _ in range(2):
            for _ in range(5):
                client.submit_and_wait(alice, Transfer(recipient=bob.address, amount_units=1))
            launcher.stop(newcomer)
            shutil.rmtree(newcomer.home / "data")
            launcher.start(newcomer)
            launcher.wait_until_up(newcomer)
            assert len(roots_at(devnet, client.height())) == 1
            with Client(newcomer.url) as of_newcomer:  # it has to hear from a quorum before it votes
                wait_until(lambda of=of_newcomer: of.call("health")["is_ready"])  # type: ignore[misc]
            launcher.kill(devnet.nodes[2])  # three of four are the quorum: the newcomer has to vote now
            height = client.height()
            client.wait_for_height(height + 4, timeout_s=TIMEOUT_S)
            launcher.start(devnet.nodes[2])
            launcher.wait_until_up(devnet.nodes[2])


def test_node_that_lost_its_disk_is_one_of_the_quorum_at_the_epochs_end(net: tuple[Devnet, Launcher]) -> None:
    """It may not be silent in the next epoch's first view: with another node down, nothing would ever go on."""
    devnet, launcher = net
    newcomer, victim = devnet.nodes[3], devnet.nodes[0]
    length = devnet.genesis.parameters.epoch_length_heights
    with Client(devnet.nodes[1].url) as client, Client(newcomer.url) as of_newcomer:
        wait_until(lambda: client.height() % length in range(2, 4))
        launcher.kill(newcomer)
        shutil.rmtree(newcomer.home / "data")
        launcher.start(newcomer)
        launcher.wait_until_up(newcomer)
        wait_until(lambda: of_newcomer.call("health")["is_ready"])
        # Had it become ready at an epoch's very end, its silence in the next one's first view would be right.
        wait_until(lambda: client.height() % length in range(2, length - 4))
        launcher.kill(victim)
        client.wait_for_height((client.height() // length + 1) * length + 3, timeout_s=TIMEOUT_S)
        launcher.start(victim)
        launcher.wait_until_up(victim)


def test_killed_node_takes_its_worker_along(net: tuple[Devnet, Launcher]) -> None:
    devnet, launcher = net
    node = devnet.nodes[3]
    pid = launcher.pid(node)
    wait_until(lambda: len(_children(pid)) > 0)
    children = _children(pid)
    launcher.kill(node)
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))


def _children(pid: int) -> list[int]:
    """Children of any of its threads."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(each) for thread in threads for each in thread.read_text().split()]


def test_without_a_quorum_nothing_is_final_and_with_one_it_goes_on(net: tuple[Devnet, Launcher]) -> None:
    devnet, launcher = net
    alice, bob = devnet.accounts["alice"], devnet.accounts["bob"]
    with Client(devnet.nodes[0].url) as client:
        client.wait_for_height(2, timeout_s=TIMEOUT_S)
        launcher.kill(devnet.nodes[2])
        launcher.kill(devnet.nodes[3])
        transaction_id = client.send(alice, Transfer(recipient=bob.address, amount_units=1))
        with pytest.raises(NetworkError, match="is pending after 2 s"):
            client.wait_for(transaction_id, timeout_s=2.0)
        launcher.start(devnet.nodes[2])
        assert client.wait_for(transaction_id, timeout_s=TIMEOUT_S).failure == ""


def test_client_gives_the_nodes_own_words(net: tuple[Devnet, Launcher]) -> None:
    devnet, _ = net
    alice, bob = devnet.accounts["alice"], devnet.accounts["bob"]
    with Client(devnet.nodes[0].url) as client:
        with pytest.raises(TransactionFailed, match=r"failed \(insufficient_balance\)"):
            client.submit_and_wait(alice, Transfer(recipient=bob.address, amount_units=2**60))
        with pytest.raises(CallFailed, match=r"refused \(expired\)"):
            client.send(alice, Transfer(recipient=bob.address, amount_units=1), valid_until_height=0)
        assert client.submit_and_wait(alice, Transfer(recipient=bob.address, amount_units=1)).failure == ""
        news = client.subscribe("blocks", from_height=1)
        assert [next(news)["height"] for _ in range(3)] == [1, 2, 3]
    with Client("http://127.0.0.1:9") as nobody, pytest.raises(NetworkError, match="Is the node running"):
        nobody.height()


def test_ctrl_c_stops_every_node_cleanly_and_the_chain_resumes(tmp_path: Path, first_port: int) -> None:
    directory = tmp_path / "devnet"
    command = [
        *(sys.executable, "-m", "devnet", "--no-story"),
        *("--directory", str(directory), "--first-port", str(first_port)),
    ]
    heights = []
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert any("Ctrl-C" in line for line in process.stdout), "it ended before it was up"
            devnet, _ = open_devnet(directory)
            with Client(devnet.nodes[0].url) as client:
                wait_until(lambda client=client: client.height() >= 3)  # type: ignore[misc]
                heights.append(client.height())
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=15) == 0
        assert "stopped" in "".join(devnet.nodes[0].log_file.read_text().splitlines()[-8:])
        with Client(devnet.nodes[0].url) as client, pytest.raises(NetworkError):
            client.height()
    assert heights[1] >= heights[0]


def test_bench_counts_every_transfer_once(tmp_path: Path, first_port: int) -> None:
    options = ["--rate", "200", "--seconds", "4", "--accounts", "20", "--json", "--first-port", str(first_port)]
    command = [sys.executable, "-m", "devnet", "bench", "--directory", str(tmp_path / "bench"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["lost"], figures["doubled"], figures["refused"]) == (0, 0, {})
    assert figures["sent"] > 400
    assert set(figures["latency_ms"]) == {"p50", "p95", "p99"}
    assert figures["limit_tps"] > figures["final_tps"] > 0
