"""bench: what four validators and the load generator do on one machine, with what the signatures alone would cost.

Measures in this order: start-up of one node alone, finality with nothing else to do, a load of transfers, the gap
after the kill of a validator.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import click

from devnet.launcher import Launcher, cpu_seconds, memory_bytes
from devnet.topology import FIRST_PORT, Devnet, open_devnet
from devnet.workload import Outcome, run_load, sign_transfers
from node.client import AsyncClient
from node.payloads import Transfer
from node.primitives.crypto import PrivateKey, are_valid_signatures

IDLE_SAMPLES = 40
VERIFIED = 2_000
KILL_WATCH_S = 10.0
WARM_S = 5.0


@click.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".devnet-bench"),
    show_default=True,
    help="Where the devnet that is measured lies; made anew.",
)
@click.option("--rate", default=1_700, show_default=True, help="Transfers sent a second, to all nodes together.")
@click.option("--seconds", default=60.0, show_default=True, help="How long.")
@click.option("--accounts", default=400, show_default=True, help="Senders.")
@click.option(
    "--first-port",
    type=click.IntRange(1024, 65_000),
    default=FIRST_PORT,
    show_default=True,
    help="Where it looks for eight free ports.",
)
@click.option("--seed", default=1, show_default=True, help="Who sends how much to whom.")
@click.option("--json", "is_json", is_flag=True, help="The last line is one object for programs.")
def bench(
    directory: Path, *, rate: int, seconds: float, accounts: int, first_port: int, seed: int, is_json: bool
) -> None:
    """Measure throughput, latency, idle finality, start-up and the cost of a kill."""
    devnet, _ = open_devnet(directory, is_reset=True, bench_accounts=accounts, first_port=first_port)
    verify_s = _verify_seconds()
    cores = os.cpu_count() or 1
    limit_tps = cores / (len(devnet.nodes) * verify_s)
    transfers = sign_transfers(devnet, int(rate * (seconds + 1)), seed, {})
    with Launcher(devnet, log_level="warning") as launcher:
        start_s, start_bytes = _start_one(devnet, launcher)
        for node in devnet.nodes[1:]:
            launcher.start(node)
        for node in devnet.nodes[1:]:
            launcher.wait_until_up(node)
        idle_ms = asyncio.run(_idle_finality(devnet))
        before = [cpu_seconds(launcher.pid(node)) for node in devnet.nodes]
        own_before, clock = time.process_time(), time.monotonic()
        outcome = asyncio.run(run_load(devnet, transfers, rate, seconds))
        elapsed_s = time.monotonic() - clock
        cpu = [
            (cpu_seconds(launcher.pid(node)) - used) / elapsed_s
            for node, used in zip(devnet.nodes, before, strict=True)
        ]
        own_cpu = (time.process_time() - own_before) / elapsed_s
        memory = [memory_bytes(launcher.pid(node)) for node in devnet.nodes]
        gap_s, rejoin_s = asyncio.run(_kill_cost(devnet, launcher))
    latencies = outcome.latencies_ms()
    figures = {
        "final_tps": round(outcome.final_tps(), 1),
        "latency_ms": {name: round(_percentile(latencies, part), 1) for name, part in _PERCENTILES.items()},
        "lost": outcome.lost,
        "doubled": outcome.doubled,
        "limit_tps": round(limit_tps, 1),
        "rate": rate,
        "seconds": seconds,
        "sent": outcome.sent,
        "refused": dict(Counter(outcome.refused)),
        "idle_finality_ms": {name: round(_percentile(idle_ms, part), 1) for name, part in _PERCENTILES.items()},
        "blocks_per_second": round(len(outcome.block_s) / elapsed_s, 1),
        "cpu_per_node": [round(each, 2) for each in cpu],
        "cpu_of_generator": round(own_cpu, 2),
        "memory_mb": [round(each / 1e6, 1) for each in memory],
        "start_up_s": round(start_s, 2),
        "start_up_mb": round(start_bytes / 1e6, 1),
        "kill_gap_s": round(gap_s, 2),
        "rejoin_s": round(rejoin_s, 2),
        "verify_us": round(verify_s * 1e6, 1),
        "cores": cores,
    }
    _print(figures)
    if is_json:
        click.echo(json.dumps(figures))


_PERCENTILES = {"p50": 50, "p95": 95, "p99": 99}


def _print(figures: dict[str, object]) -> None:
    words = {
        "final_tps": "final transfers a second",
        "latency_ms": "from sending to final, ms",
        "lost": "taken and not final",
        "doubled": "final twice",
        "limit_tps": "a second, if checking signatures were all that four nodes did",
        "idle_finality_ms": "the same with nothing else to do",
        "cpu_per_node": "processors used by each node",
        "cpu_of_generator": "processors used by the generator",
        "start_up_s": "seconds from start to the first answer, one node alone",
        "start_up_mb": "megabytes then",
        "kill_gap_s": "longest time without a final block after a validator was killed",
        "rejoin_s": "seconds from its restart until it is level with the others",
    }
    click.echo("")
    for name, value in figures.items():
        shown = ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else value
        click.echo(f"{name:<18} {shown!s:<40} {words.get(name, '')}".rstrip())


def _verify_seconds() -> float:
    """What one signature costs when nothing else runs."""
    key = PrivateKey.generate()
    digests = [number.to_bytes(32, "big") for number in range(VERIFIED)]
    items = [(key.public_key, digest, key.sign(digest)) for digest in digests]
    clock = time.perf_counter()
    assert all(are_valid_signatures(items)), "own signatures verify"
    return (time.perf_counter() - clock) / VERIFIED


def _start_one(devnet: Devnet, launcher: Launcher) -> tuple[float, int]:
    node, clock = devnet.nodes[0], time.monotonic()
    launcher.start(node)
    launcher.wait_until_up(node)
    return time.monotonic() - clock, memory_bytes(launcher.pid(node))


async def _idle_finality(devnet: Devnet) -> list[float]:
    """Milliseconds from sending one transfer to its receipt, on a chain that has nothing else to do."""
    found = []
    async with AsyncClient(devnet.nodes[0].url) as client:
        await client.wait_for_height(3)
        await asyncio.sleep(WARM_S)  # the workers are warm
        payload = Transfer(recipient=devnet.accounts["bob"].address, amount_units=1)
        for nonce in range(IDLE_SAMPLES):
            data = await client.sign(devnet.accounts["alice"], payload, nonce=nonce)
            clock = time.perf_counter()
            await client.call("broadcast_tx_commit", transaction=data.hex())
            found.append((time.perf_counter() - clock) * 1000)
            await asyncio.sleep(0.05 + 0.01 * (nonce % 7))
    return sorted(found)


async def _kill_cost(devnet: Devnet, launcher: Launcher) -> tuple[float, float]:
    """The longest gap between final blocks after kill -9 of a validator, and how long it takes to come back."""
    victim = devnet.nodes[-1]
    outcome = Outcome(seconds=KILL_WATCH_S)
    async with AsyncClient(devnet.nodes[0].url) as client, AsyncClient(victim.url) as of_victim:

        async def watch() -> None:
            async for _ in client.subscribe("blocks"):
                outcome.block_s.append(time.monotonic())

        watcher = asyncio.create_task(watch())
        await asyncio.sleep(1.0)
        killed_s = time.monotonic()
        launcher.kill(victim)
        await asyncio.sleep(KILL_WATCH_S)
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        moments = [killed_s, *(each for each in outcome.block_s if each > killed_s), time.monotonic()]
        clock = time.monotonic()
        launcher.start(victim)
        await asyncio.to_thread(launcher.wait_until_up, victim)
        await of_victim.wait_for_height(await client.height())
        rejoin_s = time.monotonic() - clock
        return max(later - earlier for earlier, later in pairwise(moments)), rejoin_s


def _percentile(ordered: Sequence[float], part: int) -> float:
    if not ordered:
        return float("nan")
    return statistics.quantiles(ordered, n=100, method="inclusive")[part - 1] if len(ordered) > 1 else ordered[0]
