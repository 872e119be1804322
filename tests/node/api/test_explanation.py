"""Why there is no block: each situation has its conclusion, in words that name who and what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consensus.inputs import Verdict
from consensus.snapshot import Snapshot
from consensus.types import VoteKind
from node.api.explanation import MOST_NAMED, Explanation, Situation, Standing, explain, needed_power

IDS = {name: bytes([number]) * 20 for number, name in enumerate("ABCD", 1)}
NOBODY: frozenset[bytes] = frozenset()


def some(names: str) -> frozenset[bytes]:
    return frozenset(IDS[name] for name in names)


def votes(notarize: str = "", nullify: str = "", finalize: str = "") -> dict[VoteKind, frozenset[bytes]]:
    return {
        VoteKind.NOTARIZE: some(notarize),
        VoteKind.NULLIFY: some(nullify),
        VoteKind.FINALIZE: some(finalize),
    }


SNAPSHOT = Snapshot(
    epoch=3,
    view=7,
    me=IDS["A"],
    leader=IDS["B"],
    entered_ms=40_000,
    started_ms=40_000,
    hold_until_ms=42_000,
    delta_ms=500,
    is_proposed=False,
    is_building=False,
    is_judging=False,
    verdict=None,
    voters=votes(),
    certificates=(),
    entered_by=VoteKind.NULLIFY,
    lacking_view=None,
    final_view=5,
    notarized_view=5,
    finalizers=NOBODY,
    unfinal_since_ms=None,
    is_log_lost=False,
    statuses=NOBODY,
    sign_floor=0,
    powers=dict.fromkeys(IDS.values(), 1),
)
STUCK = Standing(
    snapshot=SNAPSHOT,
    now_ms=70_000,
    height=120,
    seconds_since_final=30.0,
    patience_s=12.0,
    names={each: name for name, each in IDS.items()},
    reachable=some("ABCD"),
    peer_count=3,
    lag_heights=0,
    is_catching_up=False,
    waits=(),
    ready_transactions=4,
    halted_why=None,
    is_disk_full=False,
)


def said(standing: dict[str, Any] | None = None, **snapshot: Any) -> Explanation:
    """The explanation of the stuck chain with some changes."""
    return explain(replace(STUCK, snapshot=replace(SNAPSHOT, **snapshot), **(standing or {})))


CASES = {
    "everything is fine": (
        said({"seconds_since_final": 0.3}, is_proposed=True),
        Situation.MOVING,
        "Blocks become final: height 120 did 0.3 s ago.",
    ),
    "idle": (
        said({"seconds_since_final": 1.0, "now_ms": 40_500, "ready_transactions": 0}, started_ms=None),
        Situation.IDLE,
        "Nothing waits for a block: the chain is idle, and the next empty block is due in 1.5 s.",
    ),
    "partition": (
        said({"reachable": some("AB"), "peer_count": 1}, voters=votes(nullify="AB")),
        Situation.NO_QUORUM,
        "View 7 of epoch 3 has 2 of 3 needed votes to nullify: validators C and D are not connected.",
    ),
    "partition while a block is voted on": (
        said({"reachable": some("AB")}, is_proposed=True, voters=votes(notarize="AB")),
        Situation.NO_QUORUM,
        "View 7 of epoch 3 has 2 of 3 needed votes to notarize: validators C and D are not connected.",
    ),
    "leader down": (
        said({"reachable": some("ACD")}, voters=votes(nullify="AC")),
        Situation.LEADER_SILENT,
        (
            "View 7 of epoch 3 has no proposal: its leader B is not connected; it has 2 of 3 needed votes to nullify: "
            "validator B is not connected, and validator D has not voted."
        ),
    ),
    "leader silent": (
        said(voters=votes(nullify="AC")),
        Situation.LEADER_SILENT,
        (
            "View 7 of epoch 3 has no proposal: its leader B is connected; it has 2 of 3 needed votes to nullify: "
            "validators B and D have not voted."
        ),
    ),
    "waiting for a content": (
        said({"waits": ["3 contents, the first is abcdef012345"]}, is_proposed=True, is_judging=True),
        Situation.WAITING,
        "View 7 of epoch 3 waits for 3 contents, the first is abcdef012345.",
    ),
    "lacking a proof": (
        said(is_proposed=True, lacking_view=6),
        Situation.LACKING_CERTIFICATE,
        "View 7 of epoch 3 cannot go on before a certificate of view 6 is here.",
    ),
    "notarized, not final": (
        said(notarized_view=6, finalizers=some("AB"), unfinal_since_ms=45_000),
        Situation.UNFINAL,
        "The block of view 6 is notarized but has 2 of 3 needed votes to finalize: validators C and D have not voted.",
    ),
    "votes come slowly": (
        said(is_proposed=True, verdict=Verdict.VALID, voters=votes(notarize="AB")),
        Situation.VOTING,
        "View 7 of epoch 3 has 2 of 3 needed votes to notarize: validators C and D have not voted.",
    ),
    "log lost": (
        said({"reachable": some("AC")}, is_log_lost=True, statuses=some("C")),
        Situation.LOG_LOST,
        (
            "This validator's log was lost, and it signs nothing until a quorum of the others told where they stand: "
            "1 of 3 needed votes did: validators B and D are not connected."
        ),
    ),
    "log was lost, the others go on": (
        said({"seconds_since_final": 0.1}, is_proposed=True, sign_floor=9),
        Situation.MOVING,
        "Blocks become final: height 120 did 0.1 s ago. This validator signs nothing up to view 9: its log was lost.",
    ),
    "its log was lost, and its silence is felt in the next epoch's first view": (
        said({"reachable": some("ABD")}, view=1, sign_floor=1, is_proposed=True, voters=votes("BD", "BD")),
        Situation.VOTING,
        (
            "View 1 of epoch 3 has 2 of 3 needed votes to nullify: validator C is not connected, and validator A has "
            "not voted. This validator signs nothing up to view 1: its log was lost."
        ),
    ),
    "behind": (
        said({"is_catching_up": True, "lag_heights": 300}),
        Situation.CATCHING_UP,
        "This node is 300 blocks behind its peers and fetches them.",
    ),
    "disk full": (
        said({"is_disk_full": True}),
        Situation.DISK_FULL,
        "This node's disk is full: it does not vote until there is room.",
    ),
    "halted": (
        said({"halted_why": "view 3 has two NOTARIZE certificates", "is_disk_full": True}),
        Situation.HALTED,
        "This node stopped for good: view 3 has two NOTARIZE certificates.",
    ),
    "not a validator": (
        said({"reachable": some("BC")}, me=None, is_log_lost=True, voters=votes(nullify="BC")),
        Situation.NO_QUORUM,
        "View 7 of epoch 3 has 2 of 3 needed votes to nullify: validators A and D are not connected.",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_situation_has_its_conclusion(name: str) -> None:
    found, situation, conclusion = CASES[name]
    assert (found.situation, found.conclusion) == (situation, conclusion)


def test_every_situation_has_a_case() -> None:
    assert {situation for _, situation, _ in CASES.values()} == set(Situation)


def test_the_sentences_say_what_the_conclusion_rests_on() -> None:
    assert said({"reachable": some("AB"), "peer_count": 1}, voters=votes(nullify="AB")).sentences == (
        "Height 120 is final, since 30.0 s.",
        "Epoch 3, view 7, entered 30.0 s ago by a nullification; its leader is B.",
        "No proposal is here.",
        "It has 0 of 3 needed votes to notarize.",
        "It has 2 of 3 needed votes to nullify: validators C and D are not connected.",
        "1 node is connected; with this one they hold 2 of 4 votes.",
        "4 transactions are ready; Δ is 500 ms.",
    )


def test_who_does_not_vote_is_told_so() -> None:
    assert "This node follows the chain without a vote." in said(me=None).sentences
    stranger = said(me=bytes(20)).sentences
    assert "This node's consensus key is not in the validator set of epoch 3: it does not vote." in stranger


def test_unequal_votes_are_called_power_and_counted_so() -> None:
    powers = dict(zip(IDS.values(), (5, 1, 1, 1), strict=True))
    found = said({"reachable": some("BCD")}, me=IDS["B"], powers=powers, voters=votes(nullify="BCD"))
    assert found.conclusion == (
        "View 7 of epoch 3 has 3 of 6 needed voting power to nullify: validator A is not connected."
    )


def test_a_hundred_missing_validators_are_not_all_named() -> None:
    many = {bytes([number]) * 20: 1 for number in range(100)}
    standing = replace(
        STUCK,
        snapshot=replace(SNAPSHOT, powers=many, leader=bytes(20), me=bytes(20)),
        names={each: f"v{each[0]:02}" for each in many},
        reachable=frozenset({bytes(20)}),
    )
    conclusion = explain(standing).conclusion
    assert conclusion.endswith(
        f"v0{MOST_NAMED} and {99 - MOST_NAMED} more are not connected, and validator v00 has not voted."
    )


@pytest.mark.parametrize(("total", "needed"), [(1, 1), (3, 3), (4, 3), (6, 5), (7, 5), (100, 67)])
def test_the_needed_power_is_the_least_above_two_thirds(total: int, needed: int) -> None:
    assert needed_power(total) == needed
    assert 3 * needed > 2 * total >= 3 * (needed - 1)
