"""Ports of its own for every test process."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def first_port() -> int:
    """Where this process looks for free ports: tests may run beside each other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return 31_000 + 100 * int(worker)
