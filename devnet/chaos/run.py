"""One run: nodes behind proxies, load, one fault after the other, then the checker's verdict."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from devnet.answers import UnreadableError, read_answers, wait_until_quiet
from devnet.chaos.cluster import Cluster
from devnet.chaos.load import LoadClient, Shared, create_registers
from devnet.chaos.schedule import Fault, Step
from devnet.chaos.watch import Watch
from devnet.checker import Violation, check
from devnet.history import Answers, History, Operation, Window, Wipe
from devnet.launcher import LaunchError, tail
from devnet.progress import PROGRESS_BLOCKS, blocks_gained
from devnet.proxy import Conditions
from devnet.topology import Devnet
from node.errors import OpenLedgerError
from node.primitives.address import format_address

START_TIMEOUT_S = 60.0
QUIET_TIMEOUT_S = 120.0
FIRST_HEIGHT = 3
SLOWEST_SYNC_BLOCKS_PER_SECOND = 50
"""How fast a node without a disk fetches the chain at least, beside everything else that runs on the machine."""
SETTLE_S = 2.0
"""How long blocks may still be heard of that were under way when the quorum was lost."""


@dataclass(frozen=True, kw_only=True)
class Happened:
    """A step that was done."""

    step: Step
    """What was done."""
    window: Window
    """When."""
    mending_s: float
    """When the mending began."""
    blocks_held: int
    """Blocks that became final anywhere while it held."""
    progress_s: float | None
    """From the healing until every node had new blocks."""
    ready_s: float
    """From the healing until every node said that it does its work."""
    unready: tuple[str, ...]
    """What those said that did not."""


@dataclass
class Result:
    """A run and what was found."""

    history: History
    answers: Answers | None
    happened: list[Happened]
    violations: list[Violation]


@dataclass
class _Notes:
    operations: list[Operation] = field(default_factory=list)
    wipes: list[Wipe] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)
    broken: list[Violation] = field(default_factory=list)


async def run_chaos(
    devnet: Devnet,
    steps: Sequence[Step],
    *,
    seed: int,
    seconds: float,
    bound_s: float,
    pause_s: float,
    calm: Conditions,
    say: Callable[[str], None],
) -> Result:
    """Does the steps until time is up, lets everything come to rest, and judges. Raises: LaunchError."""
    began_s, notes = time.monotonic(), _Notes()

    def clock_s() -> float:
        return time.monotonic() - began_s

    with Cluster(devnet, seed, calm, lambda node: notes.wipes.append(Wipe(node=node, at_s=clock_s()))) as cluster:
        await asyncio.to_thread(cluster.start)
        shared = Shared(devnet, devnet.accounts["alice"], clock_s, notes.operations, pause_s)
        await create_registers(shared, devnet.nodes[0].url)
        async with Watch(devnet.nodes, clock_s) as watch:
            if await watch.wait_for_height(FIRST_HEIGHT, START_TIMEOUT_S) is None:
                raise LaunchError(f"no block {FIRST_HEIGHT} on every node within {START_TIMEOUT_S:g} s of the start")
            say(f"{len(devnet.nodes)} nodes are up, {len(shared.names)} clients begin")
            async with _load(shared, seed):
                await _do(cluster, watch, steps, notes, clock_s, seconds=seconds, bound_s=bound_s, say=say)
            say("the load has ended; everything comes to rest")
            answers = await _read(devnet, shared, notes)
            ended_s = clock_s()
        history = History(
            owner=format_address(shared.owner.address),
            operations=notes.operations,
            wipes=notes.wipes,
            windows=[each.window for each in notes.happened],
            samples=watch.samples,
            ended_s=ended_s,
        )
    say("checking")
    violations = notes.broken + ([] if answers is None else check(history, answers, bound_s))
    return Result(history, answers, notes.happened, violations)


async def _do(
    cluster: Cluster,
    watch: Watch,
    steps: Sequence[Step],
    notes: _Notes,
    clock_s: Callable[[], float],
    *,
    seconds: float,
    bound_s: float,
    say: Callable[[str], None],
) -> None:
    end_s = clock_s() + seconds
    for step in steps:
        if clock_s() + step.hold_s > end_s or notes.broken:
            break
        say(step.describe())
        try:
            happened = await _perform(cluster, watch, step, clock_s, bound_s)
        except LaunchError as error:
            notes.broken.append(Violation("crash", str(error)))
            break
        notes.happened.append(happened)
        say(f"  {_describe(happened)}")
        notes.broken += _find_broken(cluster, watch, happened)


async def _perform(
    cluster: Cluster, watch: Watch, step: Step, clock_s: Callable[[], float], bound_s: float
) -> Happened:
    """Breaks, mends, and waits until everything goes on."""
    began_s, height = clock_s(), max(watch.heights.values())
    await cluster.apply(step)
    mending_s, height_held = clock_s(), max(watch.heights.values())
    await cluster.heal(step)
    healed_s, highest = clock_s(), max(watch.heights.values())
    allowance_s = highest / SLOWEST_SYNC_BLOCKS_PER_SECOND if step.fault is Fault.WIPE else 0.0
    progress_s = await watch.wait_for_height(highest + PROGRESS_BLOCKS, bound_s + allowance_s)
    unready = await cluster.wait_until_ready(list(cluster.nodes.values()))
    return Happened(
        step=step,
        window=Window(
            fault=step.fault.value,
            began_s=began_s,
            healed_s=healed_s,
            is_beyond=step.is_beyond,
            allowance_s=allowance_s,
        ),
        mending_s=mending_s,
        blocks_held=height_held - height,
        progress_s=progress_s,
        ready_s=clock_s() - healed_s,
        unready=tuple(unready),
    )


def _describe(happened: Happened) -> str:
    up_s = happened.window.healed_s - happened.mending_s
    up = f" (back up in {up_s:.1f} s)" if up_s > 0.1 else ""
    seconds = happened.progress_s
    took = "nothing new in time" if seconds is None else f"new blocks on every node after {seconds:.1f} s"
    return f"{happened.blocks_held} blocks meanwhile; healed{up}: {took}, all ready after {happened.ready_s:.1f} s"


def _find_broken(cluster: Cluster, watch: Watch, happened: Happened) -> list[Violation]:
    """What can be seen while the run goes on."""
    found = [Violation("readiness", why) for why in happened.unready]
    found += [
        Violation("crash", f"{name} ended by itself:\n{tail(cluster.nodes[name])}") for name in cluster.launcher.dead()
    ]
    if happened.window.is_beyond:
        gained = blocks_gained(watch.samples, happened.window.began_s + SETTLE_S, happened.mending_s)
        if gained > 0:
            said = happened.step.describe()
            found.append(Violation("quorum", f"{gained} blocks became final without a quorum: {said}"))
    return found


@contextlib.asynccontextmanager
async def _load(shared: Shared, seed: int) -> AsyncIterator[None]:
    workers = [asyncio.create_task(LoadClient(shared, name, seed).run()) for name in shared.names]
    try:
        yield
    finally:
        shared.is_stopping = True
        await asyncio.gather(*workers)


async def _read(devnet: Devnet, shared: Shared, notes: _Notes) -> Answers | None:
    """What the nodes say at rest; that they do not is a violation of its own."""
    addresses = [format_address(shared.devnet.accounts[name].address) for name in (*shared.names, "alice")]
    try:
        height = await wait_until_quiet(devnet.nodes, QUIET_TIMEOUT_S)
        return await read_answers(devnet.nodes, height, addresses)
    except (OpenLedgerError, UnreadableError) as error:
        notes.broken.append(Violation("answers", str(error)))
        return None
