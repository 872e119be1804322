"""bench-sync: how fast an empty node gets level with a long chain, by its blocks and by a snapshot.

Measures in this order: how many blocks a second four validators make, idle and under a load of transfers; then a node
with an empty store that fetches a generated chain from one peer over TLS, once block by block and once by a snapshot.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import replace
from itertools import chain
from pathlib import Path

import click

from devnet.generate import Generator
from devnet.launcher import Launcher, LaunchError, cpu_seconds, tail
from devnet.topology import FIRST_PORT, Devnet, Node, open_devnet
from devnet.workload import run_load, sign_transfers
from node.claims import Claims
from node.client import AsyncClient, CallFailed
from node.config import CONSENSUS_KEY_FILE, SNAPSHOTS_DIRECTORY, Home, StorageConfig
from node.errors import NetworkError
from node.primitives.crypto import PrivateKey
from node.snapshot import make_snapshot
from node.storage.blobs import BlobStore, Uses
from node.storage.kv import Frozen, LevelStore
from node.storage.snapshots import SnapshotShelf
from node.types.block import Header

LIVE_S = 15.0
LOAD_RATE = 100
GOAL_FACTOR = 10
JOIN_TIMEOUT_S = 900.0
POLL_S = 0.05


@click.command(name="bench-sync")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".devnet-sync"),
    show_default=True,
    help="Where the devnets that are measured lie; made anew.",
)
@click.option("--blocks", default=10_000, show_default=True, help="Length of the chain.")
@click.option("--transfers", default=2, show_default=True, help="Transfers in each of its blocks.")
@click.option(
    "--first-port",
    type=click.IntRange(1024, 65_000),
    default=FIRST_PORT,
    show_default=True,
    help="Where it looks for eight free ports.",
)
@click.option("--seed", default=1, show_default=True, help="Who sends how much to whom.")
@click.option("--json", "is_json", is_flag=True, help="The last line is one object for programs.")
def bench_sync(directory: Path, *, blocks: int, transfers: int, first_port: int, seed: int, is_json: bool) -> None:
    """Measure how fast an empty node catches up, beside the rate at which blocks are made."""
    idle_rate, load_rate = _live_rates(directory / "live", first_port, seed)
    click.echo(f"live: {idle_rate:.1f} blocks a second idle, {load_rate:.1f} under {LOAD_RATE} transfers a second")
    devnet, _ = open_devnet(directory / "chain", is_reset=True, bench_accounts=40, first_port=first_port)
    generated_s = generate(devnet, blocks, transfers, seed)
    click.echo(f"generated {blocks} blocks in {generated_s:.1f} s")
    source, by_blocks, by_snapshot = devnet.nodes[0], devnet.nodes[1], devnet.nodes[2]
    configure(by_snapshot, StorageConfig(snapshot_lag_heights=100))
    with Launcher(devnet, log_level="info") as launcher:
        launcher.start(source)
        launcher.wait_until_up(source)
        blocks_s, blocks_cpu_s = join(launcher, by_blocks, blocks)
        launcher.stop(by_blocks)
        snapshot_s, snapshot_cpu_s = join(launcher, by_snapshot, blocks)
    rate = blocks / blocks_s
    figures = {
        "blocks": blocks,
        "transfers_per_block": transfers,
        "live_idle_blocks_per_second": round(idle_rate, 2),
        "live_loaded_blocks_per_second": round(load_rate, 2),
        "catch_up_s": round(blocks_s, 2),
        "catch_up_blocks_per_second": round(rate, 1),
        "catch_up_cpu_s": round(blocks_cpu_s, 1),
        "times_live_idle": round(rate / idle_rate, 1),
        "times_live_loaded": round(rate / load_rate, 1),
        "snapshot_join_s": round(snapshot_s, 2),
        "snapshot_join_cpu_s": round(snapshot_cpu_s, 1),
        "cores": os.cpu_count(),
    }
    for name, value in figures.items():
        click.echo(f"{name:<32} {value}")
    if is_json:
        click.echo(json.dumps(figures))
    if rate < GOAL_FACTOR * idle_rate:
        raise click.ClickException(f"the catch-up is below {GOAL_FACTOR} times the live rate")


def _live_rates(directory: Path, first_port: int, seed: int) -> tuple[float, float]:
    """Blocks a second that four validators make, idle and loaded."""
    devnet, _ = open_devnet(directory, is_reset=True, bench_accounts=40, first_port=first_port)
    load = sign_transfers(devnet, int(LOAD_RATE * (LIVE_S + 1)), seed, {})

    async def measure() -> tuple[float, float]:
        async with AsyncClient(devnet.nodes[0].url) as client:
            await client.wait_for_height(5)
            first, clock = await client.height(), time.monotonic()
            await asyncio.sleep(LIVE_S)
            idle_rate = (await client.height() - first) / (time.monotonic() - clock)
            first, clock = await client.height(), time.monotonic()
            loading = asyncio.create_task(run_load(devnet, load, LOAD_RATE, LIVE_S))
            await asyncio.sleep(LIVE_S)
            load_rate = (await client.height() - first) / (time.monotonic() - clock)
            await loading
            return idle_rate, load_rate

    with Launcher(devnet, log_level="warning") as launcher:
        launcher.start_all()
        return asyncio.run(measure())


def generate(devnet: Devnet, blocks: int, transfers: int, seed: int) -> float:
    """Puts a chain and a snapshot of its last epoch's end into the first node's home. Returns the seconds it took."""
    # The others follow only: the chain carries votes of their keys, and their logs have none.
    for node in devnet.nodes[1:]:
        (node.home / CONSENSUS_KEY_FILE).rename(node.home / f"{CONSENSUS_KEY_FILE}.unused")
    home = Home(devnet.nodes[0].home)
    signed = chain.from_iterable(sign_transfers(devnet, blocks * transfers, seed, {}))
    clock = time.monotonic()
    store, blob_store = LevelStore(home.data / "state", is_durable=False), LevelStore(home.data / "blobs")
    blobs = BlobStore(blob_store)
    generator = Generator(devnet.genesis, _consensus_keys(devnet), store, Claims(blobs, _compute_nothing))
    ended: tuple[Header, Frozen] | None = None
    for _ in range(blocks):
        generator.add_block([next(signed).data for _ in range(transfers)])
        if generator.blocks.epoch_end(generator.tip.epoch) is not None:
            if ended is not None:
                ended[1].close()
            ended = generator.tip, store.freeze()
    if ended is None:
        raise click.UsageError(f"{blocks} blocks end no epoch, and a snapshot is one of an epoch's last block")
    elapsed_s = time.monotonic() - clock
    blobs.apply_uses(Uses(height=generator.tip.height))
    header, frozen = ended
    certificate = generator.blocks.certificate(header.height)
    assert certificate is not None, "the generator finalises each block"
    shelf = SnapshotShelf(home.data / SNAPSHOTS_DIRECTORY)
    make_snapshot(shelf, frozen, header, certificate, devnet.genesis.epoch)
    frozen.close()
    store.close()
    blob_store.close()
    return elapsed_s


def _consensus_keys(devnet: Devnet) -> list[PrivateKey]:
    homes = [Home(node.home) for node in devnet.nodes]
    keys = [home.load_key(CONSENSUS_KEY_FILE) or home.load_key(f"{CONSENSUS_KEY_FILE}.unused") for home in homes]
    return [key for key in keys if key is not None]


def _compute_nothing(*_arguments: object) -> None:
    raise AssertionError("transfers need no attribution")


def configure(node: Node, storage: StorageConfig) -> None:
    """Sets what a node keeps."""
    home = Home(node.home)
    home.save_config(replace(home.load_config(), storage=storage))


def join(launcher: Launcher, node: Node, height: int) -> tuple[float, float]:
    """Starts a node with an empty store; the seconds and processor seconds until it is at a height."""
    clock = time.monotonic()
    launcher.start(node)
    launcher.wait_until_up(node)
    asyncio.run(_wait_for(launcher, node, height))
    return time.monotonic() - clock, cpu_seconds(launcher.pid(node))


async def _wait_for(launcher: Launcher, node: Node, height: int) -> None:
    """Asks again and again: a node that joins by a snapshot starts again in between."""
    async with asyncio.timeout(JOIN_TIMEOUT_S), AsyncClient(node.url) as client:
        while True:
            if node.name in launcher.dead():
                raise LaunchError(f"{node.name} ended by itself; its last words:\n{tail(node)}")
            try:
                if await client.height() >= height:
                    return
            except (NetworkError, CallFailed):
                pass
            await asyncio.sleep(POLL_S)
