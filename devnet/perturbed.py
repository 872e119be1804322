"""A node on a bad machine: the real node, but its disk can be slow, its wall clock wrong, its version another word.

`python -m devnet.perturbed start --home DIR` runs it. `perturbation.json` in the home says how bad; it is looked at
many times a second, so that things get worse and better while the node runs. A slow disk makes every synced write take
longer (the log's and LevelDB's), which holds the node as a real one would. A stepped clock moves what the process gets
from `time.time`; the monotonic clock is untouched, as by a real step. The label is shown by `status` as the version.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

import node.app
from node.__main__ import main
from node.config import Config, Home
from node.logs import Logs
from node.storage.kv import LevelStore

FILE = "perturbation.json"
LOOK_S = 0.05


class Perturbation(msgspec.Struct, frozen=True, kw_only=True):
    """How bad a machine is."""

    sync_ms: int = 0
    """How much longer a synced write takes."""
    clock_ms: int = 0
    """How far the wall clock is off."""
    label: str = ""
    """What the node calls its version; read at the start."""


HEALTHY = Perturbation()


def save_perturbation(home: Path, perturbation: Perturbation) -> None:
    """Tells a node's machine, at once."""
    new = home / f"{FILE}.new"
    new.write_bytes(msgspec.json.encode(perturbation))
    new.replace(home / FILE)


def load_perturbation(home: Path) -> Perturbation:
    """What a node's machine was told last."""
    try:
        return msgspec.json.decode((home / FILE).read_bytes(), type=Perturbation)
    except FileNotFoundError:
        return HEALTHY


class Machine:
    """What stands between the process and its disk and clock."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.now = load_perturbation(home)

    def take_over(self) -> None:
        """Wraps synced writes and the wall clock of this process, and begins to look at the file."""
        sync, sync_data, write = os.fsync, os.fdatasync, LevelStore.write
        real_s, real_ns = time.time, time.time_ns

        def slow_sync(descriptor: int) -> None:
            self._wait()
            sync(descriptor)

        def slow_sync_data(descriptor: int) -> None:
            self._wait()
            sync_data(descriptor)

        def slow_write(store: LevelStore, changes: Mapping[bytes, bytes | None]) -> None:
            if store._is_durable:
                self._wait()
            write(store, changes)

        os.fsync, os.fdatasync = slow_sync, slow_sync_data  # type: ignore[assignment]
        LevelStore.write = slow_write  # type: ignore[assignment, method-assign]
        time.time = lambda: real_s() + self.now.clock_ms / 1000
        time.time_ns = lambda: real_ns() + self.now.clock_ms * 1_000_000
        threading.Thread(target=self._look, name="machine", daemon=True).start()

    def _wait(self) -> None:
        if self.now.sync_ms:
            time.sleep(self.now.sync_ms / 1000)

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_S)
            self.now = load_perturbation(self._home)


class PerturbedApp(node.app.App):
    """A node on such a machine."""

    def __init__(self, home: Home, config: Config, logs: Logs) -> None:
        machine = Machine(home.path)
        machine.take_over()
        if machine.now.label:
            node.app.__version__ = machine.now.label  # type: ignore[attr-defined]
        super().__init__(home, config, logs)


if __name__ == "__main__":
    node.app.App = PerturbedApp  # type: ignore[misc]
    main()
