"""Each metric exists with its help and type, and moves for its reason and no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from consensus import effects as out
from consensus.effects import NullifyReason
from consensus.types import Statement, Vote, VoteKind
from node.api.metrics import PREFIX
from node.modules.accounts import Transfer
from node.storage.wal import FileLog, VoteCast
from tests.node.api.host import Client, Node, serving
from tests.node.api.story import equivocation, story_chain

GAUGES = """
node_info height epoch view delta_seconds seconds_since_finalization block_time_seconds catching_up validators
validators_power missing_validators missing_validators_power reachable_validators_power ready peers mempool_size
mempool_size_bytes arriving_transactions computations workers workers_busy worker_queue unreferenced_blobs_size_bytes
log_size_bytes index_height event_loop_lag_last_seconds disk_free_bytes minted_open burned_open
"""
COUNTERS = "equivocations repaired_certificates nullified_views rejected_blocks worker_deaths"
HISTOGRAMS = """
block_interval_seconds notarization_delay_seconds finalization_delay_seconds log_sync_seconds event_loop_lag_seconds
computation_seconds
"""
TYPES = {
    **dict.fromkeys(GAUGES.split(), "gauge"),
    **dict.fromkeys(COUNTERS.split(), "counter"),
    **dict.fromkeys(HISTOGRAMS.split(), "histogram"),
}
"""Every metric and its type."""


async def read(client: Client) -> dict[str, float]:
    """Every sample by name and labels."""
    text = (await client.get("/metrics")).body.decode()
    return {
        sample.name.removeprefix(PREFIX) + "".join(f"{{{value}}}" for _, value in sorted(sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


async def test_every_metric_has_help_and_type_and_there_is_no_other(tmp_path: Path) -> None:
    async with serving(Node(story_chain(), data=tmp_path)) as client:
        client.node.replica.engine.rejected["wrong_root"] += 1
        text = (await client.get("/metrics")).body.decode()
    families = list(text_string_to_metric_families(text))
    assert {each.name.removeprefix(PREFIX): each.type for each in families} == TYPES
    assert all(each.name.startswith(PREFIX) and each.documentation.endswith(".") for each in families)
    assert all(each.samples for each in families)


def vote(kind: VoteKind, view: int) -> Statement:
    return Statement(kind=kind, epoch=1, view=view, block_id=bytes(32))


def saw(node: Node, kind: VoteKind) -> None:
    """A proposal in a view that began before, then a certificate."""
    seen = node.replica.engine.observation
    seen.stand(10, 1, 900)
    seen.saw_proposal(20, vote(VoteKind.NOTARIZE, 900))
    seen.saw_certificate(40, vote(kind, 900))


def repair(node: Node) -> None:
    node.replica.engine.observation.asked_for(1, 5, 7)
    node.replica.engine.observation.took_certificate(vote(VoteKind.NULLIFY, 5))


@pytest.mark.parametrize(
    ("act", "moved"),
    [
        (lambda node: node.put(b"content"), {"unreferenced_blobs_size_bytes"}),
        (
            lambda node: node.replica.engine.observation.ran_late(0.25),
            {"event_loop_lag_last_seconds", "event_loop_lag_seconds_count", "event_loop_lag_seconds_sum"},
        ),
        (
            lambda node: node.replica.engine.observation.synced_log(0.25),
            {"log_sync_seconds_count", "log_sync_seconds_sum"},
        ),
        (
            lambda node: node.replica.engine.observation.work.computed("attribute", 0.25),
            {"computation_seconds_count{attribute}", "computation_seconds_sum{attribute}"},
        ),
        (
            lambda node: node.replica.engine.observation.work.deaths.update(["late"]),
            {"worker_deaths_total{late}"},
        ),
        (repair, {"repaired_certificates_total"}),
        (
            lambda node: node.replica.engine._report(out.ReportEvidence(evidence=equivocation(node.chain))),
            {"equivocations_total"},
        ),
        (lambda node: node.network.connected.append(b"p" * 20), {"peers"}),
        (
            lambda node: node.replica.engine.nullified.update([NullifyReason.NO_PROPOSAL.value]),
            {"nullified_views_total{no_proposal}"},
        ),
        (
            lambda node: node.replica.engine.rejected.update(["wrong_root"]),
            {"rejected_blocks_total{wrong_root}"},
        ),
        (
            lambda node: saw(node, VoteKind.NOTARIZE),
            {
                f"notarization_delay_seconds_{part}{{{since}}}"
                for part in ("count", "sum")
                for since in ("view", "proposal")
            },
        ),
        (
            lambda node: saw(node, VoteKind.FINALIZE),
            {
                f"finalization_delay_seconds_{part}{{{since}}}"
                for part in ("count", "sum")
                for since in ("view", "proposal")
            },
        ),
    ],
)
async def test_a_metric_moves_for_its_reason_and_no_other(act: Callable[[Node], object], moved: set[str]) -> None:
    async with serving(Node(story_chain())) as client:
        await client.node.mine()
        before = await read(client)
        act(client.node)
        after = await read(client)
    changed = {name for name in after if after[name] != before.get(name, 0.0)}
    assert changed - {"seconds_since_finalization"} == moved


async def test_blocks_and_transactions_move_the_chains_metrics() -> None:
    async with serving(Node(story_chain())) as client:
        node = client.node
        await node.mine()
        before = await read(client)
        await node.mine(2)
        after = await read(client)
        asker = node.chain.people["asker"]
        node.is_verifying = False
        node.replica.submit(node.sign(asker, Transfer(recipient=bytes(20), amount_units=1)), lambda _: None)
        node.replica.flush()
        arriving = await read(client)
    assert after["height"] == before["height"] + 2
    assert after["view"] == before["view"] + 2
    assert after["block_time_seconds"] > before["block_time_seconds"]
    for name in ("block_interval_seconds_count", "notarization_delay_seconds_count{view}"):
        assert after[name] == before[name] + 2
    assert (
        after["finalization_delay_seconds_count{proposal}"] == before["finalization_delay_seconds_count{proposal}"] + 2
    )
    assert (arriving["arriving_transactions"], after["arriving_transactions"]) == (1, 0)


async def test_an_admitted_transaction_is_in_the_mempools_size() -> None:
    async with serving(Node(story_chain())) as client:
        node = client.node
        data = node.sign(node.chain.people["asker"], Transfer(recipient=bytes(20), amount_units=1), nonce=1)
        node.is_verifying_at_once = True
        node.replica.submit(data, lambda _: None)  # it waits for the one before it
        node.replica.flush()
        found = await read(client)
    assert (found["mempool_size"], found["mempool_size_bytes"]) == (1, len(data))


async def test_the_logs_syncs_are_measured_on_a_real_disk(tmp_path: Path) -> None:
    seconds: list[float] = []
    log = FileLog(tmp_path / "log", bytes(32), on_sync=seconds.append)
    own = Vote(statement=vote(VoteKind.NOTARIZE, 1), validator=bytes(20), signature=bytes(64))
    log.append([VoteCast(vote=own)])
    log.append([VoteCast(vote=own)])
    log.close()
    assert len(seconds) == 2
    assert all(each > 0 for each in seconds)
