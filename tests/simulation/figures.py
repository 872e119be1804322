"""What the protocol costs apart from the machine: in δ, the network's delay, and in Δ, the assumed bound on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median

from node.modules.accounts import Transfer
from node.primitives.codec import encode
from node.types.parameters import Parameters
from tests.factories import Chain, make_chain, make_transaction
from tests.simulation.invariants import Invariants
from tests.simulation.signatures import signatures
from tests.simulation.world import SimNode, World

DELTA_MS = 400
MOST_BLOCKS = 40


@dataclass
class Watched(Invariants):
    """Invariants that note when each block was first proposed and first final at each node."""

    proposed_ms: dict[int, int] = field(default_factory=dict)
    final_ms: dict[int, dict[str, int]] = field(default_factory=dict)
    world: World | None = None

    def on_sent(self, node: SimNode, message: object) -> None:
        """Notes a proposal."""
        super().on_sent(node, message)  # type: ignore[arg-type]
        block = getattr(message, "block", None)
        if block is not None and hasattr(message, "vote") and self.world is not None:
            self.proposed_ms.setdefault(block.header.height, self.world.now_ms)

    def on_final(self, node: SimNode, final: object) -> None:
        """Notes a final block."""
        super().on_final(node, final)  # type: ignore[arg-type]
        height = final.executed.block.header.height  # type: ignore[attr-defined]
        assert self.world is not None, "it is set before anything runs"
        self.final_ms.setdefault(height, {})[node.name] = self.world.now_ms


def good_case(validators: int, delay_ms: int) -> tuple[float, float]:
    """(Median block interval, median time from proposal to final at all nodes) in ms, with work for every block."""
    world, watched, chain = _network(validators, delay_ms)
    transactions = _transfers(chain)
    for name in list(world.nodes):
        world.start(name)
    world.run(10 * delay_ms)
    while len(watched.chain) < MOST_BLOCKS:
        data = next(transactions)
        for name in world.nodes:
            world.submit(name, data)
        world.run(delay_ms)
    heights = range(5, MOST_BLOCKS - 5)
    intervals = [watched.proposed_ms[height + 1] - watched.proposed_ms[height] for height in heights]
    finals = [max(watched.final_ms[height].values()) - watched.proposed_ms[height] for height in heights]
    return median(intervals), median(finals)


def silent_leader(delay_ms: int) -> int:
    """The longest time in ms between two proposals when a leader is silent and not yet known to be."""
    world, watched, chain = _network(4, delay_ms)
    transactions = _transfers(chain)
    for name in list(world.nodes):
        world.start(name)
    world.run(20 * delay_ms)
    world.crash("v0")
    for _ in range(20 * DELTA_MS // delay_ms):
        data = next(transactions)
        for name in ("v1", "v2", "v3"):
            world.submit(name, data)
        world.run(delay_ms)
    times = sorted(watched.proposed_ms.values())
    return max(after - before for before, after in pairwise(times))


def print_figures(say: Callable[[str], None]) -> None:
    """A table, each line with what was asked of it."""
    with signatures(are_real=False):
        for validators, delay_ms in ((4, 50), (7, 50), (31, 50)):
            interval_ms, final_ms = good_case(validators, delay_ms)
            say(
                f"{validators:>3} validators, δ = {delay_ms} ms: a block every {interval_ms / delay_ms:.2f} δ, "
                f"final in {final_ms / delay_ms:.2f} δ = {final_ms:.0f} ms"
            )
        delay_ms = 20
        gap_ms = silent_leader(delay_ms)
        say(
            f"  4 validators, δ = {delay_ms} ms, Δ = {DELTA_MS} ms: a silent leader is replaced "
            f"{gap_ms - 2 * delay_ms} ms after its view began; 2Δ + 2δ = {2 * DELTA_MS + 2 * delay_ms} ms"
        )


def _network(validators: int, delay_ms: int) -> tuple[World, Watched, Chain]:
    parameters = replace(Parameters(), delta_ms=DELTA_MS, empty_block_interval_ms=60_000)
    chain = make_chain(powers=(1,) * validators, parameters=parameters, users=1)
    watched = Watched()
    world = World(chain, 1, watched, is_encoded=False)
    watched.world = world
    world.links.delays_ms = (delay_ms, delay_ms)
    for index in range(validators):
        world.add_node(index)
    return world, watched, chain


def _transfers(chain: Chain) -> Iterator[bytes]:
    nonce = 0
    while True:
        payload = Transfer(recipient=chain.operators[0].address, amount_units=1)
        yield encode(make_transaction(chain, chain.users[0], payload, nonce=nonce))
        nonce += 1
