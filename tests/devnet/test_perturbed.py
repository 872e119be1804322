"""The bad machine is really bad: synced writes take longer, the wall clock is off, the label is shown, and it heals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from devnet.perturbed import HEALTHY, Perturbation, load_perturbation, save_perturbation

PROGRAM = """
import json, os, sys, time
from pathlib import Path
from devnet.perturbed import Machine, Perturbation, save_perturbation
from node.storage.kv import LevelStore
home = Path(sys.argv[1])
store, cache = LevelStore(home / "a"), LevelStore(home / "b", is_durable=False)
file = (home / "file").open("wb")
def seconds(work):
    start = time.monotonic()
    work()
    return time.monotonic() - start
def measure():
    return {
        "fsync": seconds(lambda: os.fsync(file.fileno())),
        "fdatasync": seconds(lambda: os.fdatasync(file.fileno())),
        "durable": seconds(lambda: store.write({b"k": b"v"})),
        "not durable": seconds(lambda: cache.write({b"k": b"v"})),
        "time": time.time() - real(),
        "time_ns": time.time_ns() / 1e9 - real(),
    }
real = time.time
machine = Machine(home)
machine.take_over()
found = [measure()]
for each in (Perturbation(sync_ms=250, clock_ms=-90_000), Perturbation()):
    save_perturbation(home, each)
    while machine.now != each:
        time.sleep(0.01)
    found.append(measure())
print(json.dumps(found))
"""


@pytest.mark.slow
def test_disk_and_clock_become_bad_and_good_again_while_the_process_runs(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=True)
    before, bad, after = json.loads(done.stdout)
    for name in ("fsync", "fdatasync", "durable"):
        assert bad[name] >= 0.25, name
        assert before[name] < 0.25, name
        assert after[name] < 0.25, name
    assert bad["not durable"] < 0.25
    for name in ("time", "time_ns"):
        assert (round(before[name]), round(bad[name]), round(after[name])) == (0, -90, 0), name


def test_perturbation_comes_back_as_it_was_saved_and_none_is_healthy(tmp_path: Path) -> None:
    assert load_perturbation(tmp_path) == HEALTHY
    for perturbation in (Perturbation(sync_ms=3, clock_ms=-4, label="next"), HEALTHY):
        save_perturbation(tmp_path, perturbation)
        assert load_perturbation(tmp_path) == perturbation
