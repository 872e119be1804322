"""Starts, watches, kills and stops the devnet's processes. Ends only what it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from types import TracebackType

from devnet.topology import Devnet, Node

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


class LaunchError(Exception):
    """A process did not do what it was started for; the message says where to look."""


class Launcher:
    """The processes of a devnet."""

    def __init__(self, devnet: Devnet, *, log_level: str | None = None, program: str = "node") -> None:
        self._devnet = devnet
        self._program = program
        self._log_level = log_level
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Launcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()

    def start_all(self) -> None:
        """Starts every node and waits until each answers. Raises: LaunchError."""
        for node in self._devnet.nodes:
            self.start(node)
        for node in self._devnet.nodes:
            self.wait_until_up(node)

    def start(self, node: Node, *, program: str | None = None) -> None:
        """Starts one node; another program than usual is a module that wraps it."""
        command = [sys.executable, "-m", program or self._program, "start", "--home", str(node.home)]
        if self._log_level is not None:
            command += ["--log-level", self._log_level]
        log = node.log_file.open("ab")
        # A group of its own: Ctrl-C reaches this program first, which then stops the nodes in order.
        process = subprocess.Popen(  # noqa: S603 (our own program with our own arguments)
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
        log.close()
        self._processes[node.name] = process

    def wait_until_up(self, node: Node) -> None:
        """Waits until a node's RPC answers. Raises: LaunchError."""
        deadline = time.monotonic() + START_TIMEOUT_S
        process = self._processes[node.name]
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise LaunchError(f"{node.name} ended with status {process.returncode}; its last words:\n{tail(node)}")
            if _answers(f"{node.url}/livez"):
                return
            time.sleep(0.02)
        raise LaunchError(f"{node.name} does not answer on {node.url}; its last words:\n{tail(node)}")

    def kill(self, node: Node) -> None:
        """kill -9: what was not on the disk is lost."""
        process = self._processes.pop(node.name)
        process.kill()
        process.wait()

    def pid(self, node: Node) -> int:
        """The process of a node."""
        return self._processes[node.name].pid

    def stop(self, node: Node) -> None:
        """Asks a node to stop and waits."""
        process = self._processes.pop(node.name, None)
        if process is not None:
            _stop([process])

    def stop_all(self) -> None:
        """Asks every node to stop and waits; kills what does not."""
        processes = list(self._processes.values())
        self._processes.clear()
        _stop(processes)

    def dead(self) -> list[str]:
        """Names of nodes that ended by themselves."""
        return [name for name, process in self._processes.items() if process.poll() is not None]


def tail(node: Node, lines: int = 15) -> str:
    """The end of a node's log."""
    if not node.log_file.exists():
        return "(it said nothing)"
    return "\n".join(node.log_file.read_text(errors="replace").splitlines()[-lines:])


def cpu_seconds(pid: int) -> float:
    """Processor time a process and its children used so far."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 (a kernel interface, not a file)
            fields = file.read().rpartition(")")[2].split()
        return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


def memory_bytes(pid: int) -> int:
    """Resident memory of a process."""
    try:
        with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123 (as above)
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):  # noqa: S310 (loopback)
            return True
    except (OSError, urllib.error.URLError):
        return False


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
