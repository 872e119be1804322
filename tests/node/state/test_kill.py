"""Killed at any moment, the store opens on some complete block, and everything of it can be read."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node.modules.escrow import ESCROWS
from node.primitives.codec import encode
from node.state.store import StateStore
from node.storage.kv import LevelStore, MemoryStore
from tests.node.state.committer import ACCOUNTS, layer_of
from tests.node.state.verifier import is_proven

ROOT = Path(__file__).parent.parent.parent.parent


def kill_after(directory: Path, seed: int, lines: int, microseconds: int) -> int:
    """Runs the committer until it has said so many heights and a moment more. Returns the last height it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.node.state.committer", str(directory), str(seed)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = 0
    for _ in range(lines):
        said = int(process.stdout.readline())
    # Spinning, not sleeping: where in a commit the signal falls differs from round to round.
    for _ in range(microseconds * 10):
        pass
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    process.stdout.close()
    process.wait()
    whole = [line for line in rest.split("\n")[:-1] if line]
    return int(whole[-1]) if whole else said


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_it_opens_on_a_complete_block(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    chooser = random.Random(seed)
    model = StateStore(MemoryStore())
    for _ in range(5):
        said = kill_after(tmp_path, seed, chooser.randint(1, 40), chooser.randrange(3_000))
        disk = LevelStore(tmp_path)
        state = StateStore(disk)
        assert state.tip.height >= said, "what was said to be final is final"
        while model.tip.height < state.tip.height:
            model.commit(model.tip.height + 1, layer_of(model, seed, model.tip.height + 1), {})
        assert state.tip == model.tip
        for number in range(ACCOUNTS):
            key = number.to_bytes(32, "big")
            value = ESCROWS.get(model, key)
            assert ESCROWS.get(state, key) == value
            data = None if value is None else encode(value)
            assert is_proven(state.root, ESCROWS.key(key), data, list(state.prove(ESCROWS.key(key)).nodes))
        assert layer_of(state, seed, state.tip.height + 1).root == layer_of(model, seed, model.tip.height + 1).root
        disk.close()
