"""Ports of its own for every test process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from devnet.launcher import Launcher
from devnet.topology import Devnet, open_devnet


@pytest.fixture(scope="session")
def first_port() -> int:
    """Where this process looks for free ports: tests may run beside each other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return 31_000 + 100 * int(worker)


@pytest.fixture
def net(tmp_path: Path, first_port: int) -> Iterator[tuple[Devnet, Launcher]]:
    devnet, _ = open_devnet(tmp_path / "devnet", first_port=first_port)
    with Launcher(devnet) as launcher:
        launcher.start_all()
        yield devnet, launcher
