"""What nodes observe while a simulated network is in trouble: who is missing, what was repaired, why views ended."""

from __future__ import annotations

import random

import pytest

from tests.factories import make_chain, make_key
from tests.simulation.adversaries.withholder import withholder
from tests.simulation.invariants import Invariants
from tests.simulation.world import World

SEEDS = range(7, 10)


def observe(seed: int) -> None:
    """A lossy network of seven: one is gone, one keeps its proofs."""
    print(f"SEED={seed}")
    world = World(make_chain(powers=(1,) * 7), seed, Invariants())
    for index in range(7):
        keeps_proofs = withholder(make_key(f"consensus {index}"), random.Random(seed)) if index == 1 else None
        world.add_node(index, behaviour=keeps_proofs)
    for name in sorted(world.nodes):
        world.start(name)
    world.links.delays_ms = (1, 20)
    world.run(2_000)
    world.crash("v0")
    world.links.drop_percent = 45
    world.run(20_000)
    world.links.drop_percent = 0
    world.run(15_000)
    for name, node in sorted(world.nodes.items()):
        if name in ("v0", "v1"):
            continue
        assert node.replica is not None
        core, engine = node.replica.engine.core, node.replica.engine
        assert core.absent == (world.nodes["v0"].key.address,)
        assert engine.nullified["leader_skipped"] > 0
        assert engine.observation.finalization_since_view.count > 3
        assert engine.observation.equivocations == 0


@pytest.mark.slow
def test_a_lossy_network_without_a_validator_shows_in_what_the_others_observe() -> None:
    for seed in SEEDS:
        observe(seed)
