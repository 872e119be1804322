"""latency: how long a transfer takes to be final on an idle chain whose nodes are some milliseconds apart."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import statistics
import time
from pathlib import Path

import click

from devnet.chaos.cluster import Cluster
from devnet.proxy import Conditions
from devnet.topology import Devnet, open_devnet
from node.client import AsyncClient
from node.payloads import Transfer

FIRST_HEIGHT = 3
WARM_S = 5.0
FEE_UNITS = 100_000
SYNCS = 40
OVERHEAD_MS = 10
"""What may come on top of four one-way delays: gossip to the leader, proposal, notarize votes, finalize votes."""


@click.command()
@click.option("--delay-ms", default=20.0, show_default=True, help="One-way delay of every link between two nodes.")
@click.option("--nodes", type=click.IntRange(4, 9), default=4, show_default=True, help="Validators.")
@click.option(
    "--samples", type=click.IntRange(10, 10_000), default=100, show_default=True, help="Transfers, one by one."
)
@click.option("--seed", default=1, show_default=True, help="Draws the node that is asked and the pauses.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".devnet-latency"),
    show_default=True,
    help="Where the devnet lies; made anew, deleted afterwards.",
)
@click.option("--json", "is_json", is_flag=True, help="The last line is one object for programs.")
def latency(*, delay_ms: float, nodes: int, samples: int, seed: int, directory: Path, is_json: bool) -> None:
    """Measure finality with an emulated delay between the nodes, and nothing else to do."""
    devnet, _ = open_devnet(directory, is_reset=True, first_port=0, validators=nodes)
    with Cluster(devnet, seed, Conditions(delay_ms=delay_ms), lambda _node: None) as cluster:
        cluster.start()
        found_ms = asyncio.run(_measure(devnet, samples, seed))
        sync_ms, load = _sync_ms(directory), os.getloadavg()[0]
    shutil.rmtree(directory)
    cuts = statistics.quantiles(found_ms, n=100, method="inclusive")
    bound_ms = 4 * delay_ms + OVERHEAD_MS
    figures = {
        "delay_ms": delay_ms,
        "nodes": nodes,
        "samples": samples,
        "finality_ms": {f"p{part}": round(cuts[part - 1], 1) for part in (5, 50, 95, 99)},
        "finality_delays": round(cuts[49] / delay_ms, 2) if delay_ms else None,
        "bound_ms": bound_ms,
        "is_within_bound": cuts[49] < bound_ms,
        "sync_ms": round(sync_ms, 2),
        "load_average": round(load, 2),
        "cores": os.cpu_count(),
    }
    for name, value in figures.items():
        click.echo(f"{name:<16} {value}")
    if is_json:
        click.echo(json.dumps(figures))


def _sync_ms(directory: Path) -> float:
    """What one synced append costs where the nodes have theirs: four of them stand in a transfer's way."""
    found_ms = []
    with (directory / "sync").open("wb") as file:
        for _ in range(SYNCS):
            file.write(bytes(1_000))
            file.flush()
            clock_s = time.perf_counter()
            os.fsync(file.fileno())
            found_ms.append((time.perf_counter() - clock_s) * 1000)
    return statistics.median(found_ms)


async def _measure(devnet: Devnet, samples: int, seed: int) -> list[float]:
    """Milliseconds from sending a transfer to a node drawn anew until that node says that it is final, sorted."""
    print(f"seed {seed}")
    choose = random.Random(seed)
    payload = Transfer(recipient=devnet.accounts["bob"].address, amount_units=1)
    clients = [AsyncClient(node.url) for node in devnet.nodes]
    found_ms = []
    try:
        for client in clients:
            await client.wait_for_height(FIRST_HEIGHT)
        await asyncio.sleep(WARM_S)  # the workers are warm
        height = await clients[0].height()
        for nonce in range(samples):
            client = choose.choice(clients)
            data = await client.sign(
                devnet.accounts["alice"],
                payload,
                nonce=nonce,
                fee_units=FEE_UNITS,
                valid_until_height=height + 100_000,
            )
            clock_s = time.perf_counter()
            await client.call("broadcast_tx_commit", transaction=data.hex())
            found_ms.append((time.perf_counter() - clock_s) * 1000)
            # The next node asked may learn of the block a little later; an idle chain is what is measured.
            await asyncio.sleep(choose.uniform(0.1, 0.4))
    finally:
        for client in clients:
            await client.close()
    return sorted(found_ms)
