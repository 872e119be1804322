"""A full disk, a real one of some megabytes: the node stops voting in good order and votes again when there is room."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devnet.launcher import Launcher
from devnet.topology import Devnet, Node, open_devnet
from node.client import CallFailed, Client
from node.config import Home, StorageConfig
from node.errors import NetworkError
from node.payloads import Transfer

pytestmark = pytest.mark.slow
TIMEOUT_S = 60.0
DISK_MIB = 48
RESERVE_BYTES = 8 * 2**20
MIB = bytes(2**20)
ROOT = Path(__file__).parent.parent.parent


def wait_until(is_there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_there():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


class SmallDisk:
    """A file system of a few megabytes under a node's data, in a mount namespace that outlives the node."""

    def __init__(self, node: Node) -> None:
        data = node.home / "data"
        script = (
            f"cp -a {data} {data}.before && mount -t tmpfs -o size={DISK_MIB}m tmpfs {data} && "
            f"cp -a {data}.before/. {data}/ && echo ready && exec sleep 100000"
        )
        self._holder = subprocess.Popen(["unshare", "-rm", "sh", "-c", script], stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n", "this test needs mount namespaces (unshare -rm)"
        self._node = node
        self._inside = Path(f"/proc/{self._holder.pid}/root{data}")
        self._process: subprocess.Popen[bytes] | None = None

    def start_node(self) -> None:
        enter = ["nsenter", "-t", str(self._holder.pid), "-U", "-m", "--preserve-credentials"]
        command = [*enter, sys.executable, "-m", "node", "start", "--home", str(self._node.home)]
        with self._node.log_file.open("ab") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop_node(self) -> None:
        if self._process is not None and self.is_running:
            self._process.terminate()
            self._process.wait(30)

    def fill(self, left_bytes: int) -> None:
        """Leaves only so many bytes free."""
        with (self._inside / "filler").open("ab", buffering=0) as file:
            while (excess := self._free_bytes() - left_bytes) > 0:
                try:
                    file.write(MIB[: min(len(MIB), excess)])
                except OSError:
                    return

    def free(self) -> None:
        (self._inside / "filler").unlink()

    def close(self) -> None:
        self.stop_node()
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()

    def _free_bytes(self) -> int:
        found = os.statvfs(self._inside)
        return found.f_bavail * found.f_frsize


@pytest.fixture
def net(tmp_path: Path, first_port: int) -> Iterator[tuple[Devnet, Launcher, SmallDisk]]:
    devnet, _ = open_devnet(tmp_path / "devnet", first_port=first_port)
    set_reserve(devnet.nodes[3], RESERVE_BYTES)
    disk = SmallDisk(devnet.nodes[3])
    try:
        with Launcher(devnet) as launcher:
            for node in devnet.nodes[:3]:
                launcher.start(node)
            disk.start_node()
            for node in devnet.nodes:
                wait_until(lambda node=node: height_of(node) >= 2)  # type: ignore[misc]
            yield devnet, launcher, disk
            said = [node.log_file.read_text() for node in devnet.nodes]
            assert not any("equivocation" in each for each in said)
    finally:
        disk.close()


def set_reserve(node: Node, reserve_size_bytes: int) -> None:
    home = Home(node.home)
    home.save_config(replace(home.load_config(), storage=StorageConfig(reserve_size_bytes=reserve_size_bytes)))


def height_of(node: Node) -> int:
    try:
        with Client(node.url) as client:
            return client.height()
    except NetworkError:
        return -1


def require_vote(devnet: Devnet, launcher: Launcher) -> None:
    """Three of four are the quorum: without the third node, the fourth has to vote."""
    wait_until(lambda: height_of(devnet.nodes[3]) >= height_of(devnet.nodes[0]) - 1)
    launcher.kill(devnet.nodes[2])
    height = height_of(devnet.nodes[0])
    wait_until(lambda: height_of(devnet.nodes[0]) >= height + 4)
    launcher.start(devnet.nodes[2])
    launcher.wait_until_up(devnet.nodes[2])


def test_node_pauses_before_its_disk_is_full_and_votes_again_when_there_is_room(
    net: tuple[Devnet, Launcher, SmallDisk],
) -> None:
    devnet, launcher, disk = net
    tight, others = devnet.nodes[3], devnet.nodes[0]
    disk.fill(RESERVE_BYTES - 2**20)
    wait_until(lambda: "paused" in tight.log_file.read_text())
    paused_at = height_of(tight)
    wait_until(lambda: height_of(others) >= paused_at + 6)
    assert height_of(tight) == paused_at
    with Client(tight.url) as client, pytest.raises(CallFailed) as refused:
        client.send(devnet.accounts["alice"], Transfer(recipient=devnet.accounts["bob"].address, amount_units=1))
    assert refused.value.reason == "no_room"
    disk.free()
    wait_until(lambda: "resumed" in tight.log_file.read_text())
    require_vote(devnet, launcher)


def test_node_whose_disk_is_full_ends_with_what_to_do_and_votes_again_when_it_is_started_with_room(
    net: tuple[Devnet, Launcher, SmallDisk],
) -> None:
    devnet, launcher, disk = net
    disk.stop_node()
    set_reserve(devnet.nodes[3], 0)
    disk.start_node()
    wait_until(lambda: height_of(devnet.nodes[3]) >= 2)
    disk.fill(0)
    wait_until(lambda: not disk.is_running)
    assert "Make room on the disk and start again" in devnet.nodes[3].log_file.read_text()
    disk.free()
    disk.start_node()
    require_vote(devnet, launcher)
