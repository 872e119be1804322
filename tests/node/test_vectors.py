"""Golden vectors: no byte of the ledger changes unnoticed, whatever the hash seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.execution.registry import EVENTS, KINDS
from node.primitives.codec import decode, encode
from node.primitives.plain import from_plain, to_plain
from tests.node.samples import sample, wire_classes
from tests.node.vectors import DIRECTORY, all_vectors, as_text

ROOT = Path(__file__).parent.parent.parent
WIRE = wire_classes()


@pytest.mark.parametrize("name", ["wire.json", "tags.json", "signature.json"])
def test_the_vectors_are_what_the_program_makes(name: str) -> None:
    expected = json.loads((DIRECTORY / name).read_text())
    made = json.loads(as_text(all_vectors()[name]))
    if isinstance(expected, dict):
        assert made.keys() == expected.keys()
        for each, vector in expected.items():
            assert made[each] == vector, f"{each}: `python -m tests.node.vectors`, if the change is meant"
    assert made == expected


@pytest.mark.slow
def test_the_vectors_do_not_depend_on_the_hash_seed() -> None:
    outputs = set()
    for seed in ("1", "4242"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.node.vectors", "--print"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
    made = json.loads(outputs.pop())
    assert made["wire.json"] == json.loads((DIRECTORY / "wire.json").read_text())


def test_every_payload_and_event_has_a_vector() -> None:
    names = {kind.payload_class.__name__ for kind in KINDS.values()} | {event.__name__ for event in EVENTS.values()}
    assert names <= json.loads((DIRECTORY / "wire.json").read_text()).keys()


@pytest.mark.parametrize("name", WIRE)
def test_a_vectors_bytes_and_plain_value_are_the_same_object(name: str) -> None:
    vector = json.loads((DIRECTORY / "wire.json").read_text())[name]
    value = decode(WIRE[name], bytes.fromhex(vector["hex"]))
    assert value == sample(WIRE[name])
    assert to_plain(value) == vector["plain"]
    assert from_plain(WIRE[name], vector["plain"]) == value
    assert encode(from_plain(WIRE[name], vector["plain"])).hex() == vector["hex"]
