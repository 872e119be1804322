"""Killed at a persist point, or cut from power there, the node comes to the roots of the others, contradicting nothing.

`make crash` hits every point; here are some of them, other ones for another OFFSET.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest


def hit(every: int, *options: str) -> int:
    """Runs a part of the campaign; returns how many lives it ended."""
    offset = int(os.environ.get("OFFSET", "5"))
    print(f"OFFSET={offset}")
    command = [
        sys.executable,
        "-m",
        "tests.crash",
        "--every",
        str(every),
        "--offset",
        str(offset),
        "--jobs",
        "2",
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    totals = re.findall(r"^all +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)", done.stdout, re.MULTILINE)
    assert all(int(runs) == int(same) for _, runs, _, same, _ in totals)
    return sum(int(kills) for _, _, kills, _, _ in totals)


@pytest.mark.slow
def test_killed_at_a_few_points_it_comes_to_the_roots_of_the_others() -> None:
    assert hit(180, "--only", "kill") >= 2


@pytest.mark.slow
def test_killed_at_many_points_it_comes_to_the_roots_of_the_others() -> None:
    assert hit(23, "--only", "kill") >= 20


@pytest.mark.slow
def test_cut_from_power_at_many_points_it_comes_to_the_roots_of_the_others() -> None:
    assert hit(23, "--only", "power") >= 20
