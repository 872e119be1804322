"""`consensus_state` is what consensus knows, with the conclusion; what a block waits for is said in words."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from node.api.consensus_state import _waits
from node.api.source import Source
from node.api.views_consensus import ConsensusStateView
from node.config import RESERVE_SIZE_BYTES
from node.modules.context import BlobPending, ResultPending
from node.primitives.address import format_address
from node.proposal import BlobsPending, ParentPending, TimePending
from tests.node.api.host import Client, Node, serving
from tests.node.api.story import Story, story_chain


async def test_a_single_validator_is_leader_voter_and_quorum(client: Client, story: Story) -> None:
    await client.node.mine()
    shown = msgspec.convert(await client.call("consensus_state"), ConsensusStateView, strict=True)
    core, me = client.node.replica.engine.core, story.chain.consensus_keys[0].address.hex()
    assert (shown.height, shown.epoch, shown.view, shown.leader) == (client.node.height, core.epoch, core.view, me)
    assert shown.situation == "idle"
    assert shown.conclusion.startswith("Nothing waits for a block: the chain is idle")
    [member] = shown.validators
    assert (member.id, member.power, member.is_connected, member.is_absent) == (me, 1, True, False)
    assert (member.name, member.operator) == ("node 0", format_address(story.chain.operators[0].address))
    assert {kind: (each.power, each.needed_power) for kind, each in shown.votes.items()} == {
        "notarize": (0, 1),
        "nullify": (0, 1),
        "finalize": (0, 1),
    }
    assert (shown.entered_by, shown.lacking_view, shown.waits) == ("finalize", None, [])


async def test_a_halted_node_says_why(client: Client) -> None:
    client.node.replica.engine._stop("view 3 is both finalised and nullified")
    client.node.stopped = None
    shown = await client.call("consensus_state")
    assert shown["situation"] == "halted"
    assert shown["conclusion"] == "This node stopped for good: view 3 is both finalised and nullified."


async def test_a_full_disk_is_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "free_bytes", lambda _: RESERVE_SIZE_BYTES - 1)
    async with serving(Node(story_chain(), data=tmp_path)) as client:
        assert (await client.call("consensus_state"))["situation"] == "disk_full"
        ready = await client.get("/readyz")
        assert (ready.status, ready.json["reasons"]) == (503, ["disk_full"])


def test_what_a_block_waits_for_is_said_once_and_in_words() -> None:
    blob = bytes([0xAB]) * 32
    assert _waits([ParentPending(blob), BlobPending(blob), BlobPending(blob)]) == [
        "the body of block abababababab",
        "the content abababababab",
    ]
    assert _waits([BlobsPending((blob, bytes(32)))]) == ["2 contents, the first is abababababab"]
    assert _waits([ResultPending(None)]) == [
        "the attribution that a transaction claims, which this node computes itself"
    ]
    assert _waits([TimePending(1_700_000_000_000)]) == [
        "its clock to reach the block's time (1700000000000 ms since 1970)"
    ]
