"""Each thing amiss has its reason and its sentence, and a node without any is ready."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from node.api.health import Facts, HealthReason, find_problems
from node.config import RESERVE_SIZE_BYTES

WELL = Facts(
    is_halted=False,
    is_recovering=False,
    lag_heights=0,
    is_catching_up=False,
    seconds_since_final=1.0,
    patience_s=10.0,
    reachable_power=3,
    total_power=4,
    is_admitted=True,
    free_bytes=RESERVE_SIZE_BYTES,
    is_paused_for_disk=False,
    index_height=None,
    height=100,
    is_stopping=False,
    next_unknown_engine="",
)


def test_a_node_that_does_its_work_is_ready() -> None:
    assert find_problems(WELL) == {}


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"is_halted": True}, HealthReason.HALTED, "its log says what"),
        ({"is_recovering": True}, HealthReason.RECOVERING, "until a quorum told where it stands"),
        ({"is_catching_up": True, "lag_heights": 40}, HealthReason.CATCHING_UP, "(40 blocks behind)"),
        ({"seconds_since_final": 10.5}, HealthReason.NO_FINALIZATION, "(10.5 s, 10.0 s are expected at most)"),
        ({"reachable_power": 2}, HealthReason.TOO_FEW_PEERS, "(2 of 4 votes are here)"),
        ({"is_admitted": False}, HealthReason.NOT_ADMITTED, "others refuse its connections"),
        ({"free_bytes": RESERVE_SIZE_BYTES - 1}, HealthReason.DISK_FULL, f"({RESERVE_SIZE_BYTES - 1} bytes are free)"),
        ({"is_paused_for_disk": True}, HealthReason.DISK_FULL, "(it does not vote until there is)"),
        (
            {"next_unknown_engine": "head/2 from height 120"},
            HealthReason.ENGINE_UNKNOWN,
            "(head/2 from height 120)",
        ),
        ({"index_height": 7}, HealthReason.INDEXING, "(at height 7 of 100)"),
        ({"is_stopping": True}, HealthReason.STOPPING, "The node is stopping."),
    ],
)
def test_what_is_amiss_has_a_reason_and_a_sentence(change: dict[str, Any], reason: HealthReason, words: str) -> None:
    [(found, sentence)] = find_problems(replace(WELL, **change)).items()
    assert found is reason
    assert sentence.startswith(reason.sentence)
    assert words in sentence


def test_every_reason_can_be_found() -> None:
    worst = replace(
        WELL,
        is_halted=True,
        is_recovering=True,
        is_catching_up=True,
        seconds_since_final=99.0,
        reachable_power=0,
        is_admitted=False,
        free_bytes=0,
        index_height=0,
        next_unknown_engine="head/2 from height 120",
        is_stopping=True,
    )
    assert set(find_problems(worst)) == set(HealthReason)
