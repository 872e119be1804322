"""Runs a plan: safety first, under all its faults; then liveness, when a bare quorum is healed; then everybody.

The bound on liveness is stated in Δ as the chain's parameters give it; timers may have grown to 11 Δ by then.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module

from node import engine
from node.beginning import open_ledger
from node.modules.validators import GOVERNING
from node.replica import Replica
from node.state.store import StateStore
from node.storage.kv import MemoryStore
from node.types.parameters import Parameters
from tests.factories import Chain, make_chain, make_key
from tests.simulation.clients import Clients, operator_key
from tests.simulation.disk import Disk
from tests.simulation.invariants import (
    Invariants,
    Violation,
    check_again,
    check_everybody_has,
    check_messages,
    check_supply,
)
from tests.simulation.plan import Fault, Kind, Plan, Profile, bare_quorum
from tests.simulation.signatures import signatures
from tests.simulation.world import Behaviour, SimNode, World

DELTA_MS = 200
FINAL_BLOCKS = 4
"""Blocks that must become final after healing."""
LIVENESS_DELTAS = 150
"""Within so many Δ: the longest grown Δ is 11, and a few views may still be nullified with it."""
GOOD_DELAYS_MS = (1, 10)


@dataclass
class Run:
    """A finished run."""

    plan: Plan
    digest: str
    height: int
    events: int
    persist_points: int
    liveness_deltas: float
    """How long a bare quorum needed for its blocks, in Δ."""
    accused: int
    """Byzantine validators somebody holds evidence against."""
    rejected: frozenset[str]
    """Why honest validators voted against blocks."""
    penalties: int
    applied: tuple[str, ...] = field(default=())
    """The faults that took place."""


def run_plan(plan: Plan, *, are_signatures_real: bool = False, transcript: list[str] | None = None) -> Run:
    """Runs a plan to its end. Raises: AssertionError (Violation) naming what did not hold."""
    before = engine.LARGEST_FILE_SIZE_BYTES
    engine.LARGEST_FILE_SIZE_BYTES = plan.log_file_size_bytes
    try:
        with signatures(are_real=are_signatures_real):
            return _Scenario(plan, transcript).run()
    finally:
        engine.LARGEST_FILE_SIZE_BYTES = before


class _Scenario:
    def __init__(self, plan: Plan, transcript: list[str] | None) -> None:
        self.plan = plan
        self.chain, values = _make_chain(plan.powers, plan.epoch_length_heights, plan.joiners)
        self.invariants = Invariants()
        self.world = World(self.chain, plan.seed, self.invariants, is_encoded=plan.profile is Profile.FULL)
        self.world.transcript = transcript
        self.links_before = (plan.drop_percent, plan.delays_ms)
        self.clients = Clients(self.chain, self.world, self.invariants, random.Random(plan.seed))
        self.names = _populate(self.world, plan)
        for node in self.world.nodes.values():
            node.disk.store.values.update(values)
        self.low = dict(enumerate(plan.powers))
        """The least power each honest validator may have in this or the next epoch."""
        self.high = dict(self.low)
        self.backups: dict[str, list[tuple[int, bytes]]] = {}
        self.forgot: set[str] = set()
        self.applied: list[str] = []

    def run(self) -> Run:
        world, plan = self.world, self.plan
        links = world.links
        links.drop_percent, links.duplicate_percent, links.delays_ms = (
            plan.drop_percent,
            plan.duplicate_percent,
            plan.delays_ms,
        )
        for name in self.names:
            world.start(name)
        for fault in plan.faults:
            self._pass_time(fault.at_ms - world.now_ms)
            self._apply(fault)
        self._pass_time(plan.duration_ms - world.now_ms)
        self.invariants.check(world)
        liveness_deltas = self._heal_a_quorum()
        self._heal_everybody()
        return self._finished(liveness_deltas)

    # Safety.

    def _pass_time(self, duration_ms: int) -> None:
        until_ms = self.world.now_ms + max(0, duration_ms)
        while self.world.now_ms < until_ms:
            if self.plan.profile is Profile.FULL:
                self.clients.transfer()
            self.world.run(min(250, until_ms - self.world.now_ms))

    def _apply(self, fault: Fault) -> None:
        world = self.world
        targets = [f"v{index}" for index in fault.targets if f"v{index}" in world.nodes]
        world.trace("fault", fault)
        self._back_up()
        is_done = self._apply_to_network(fault) or self._apply_to_nodes(fault, targets) or self._apply_to_set(fault)
        if is_done:
            self.applied.append(str(fault))
        if fault.part < 0.5:
            for name in self.names:
                if world.nodes[name].replica is None and name not in targets:
                    world.start(name)
        if self.plan.profile is Profile.FULL:
            self.clients.resend()
        self.invariants.check(world)

    def _apply_to_network(self, fault: Fault) -> bool:
        links = self.world.links
        others = [index for index in range(len(self.plan.powers) + self.plan.joiners) if index not in fault.targets]
        match fault.kind:
            case Kind.PARTITION | Kind.ONE_WAY:
                self.world.partition((fault.targets, others), is_one_way=fault.kind is Kind.ONE_WAY)
            case Kind.CONNECT:
                links.cut, links.clogged_ms = set(), {}
                links.drop_percent, links.delays_ms = self.links_before
            case Kind.CLOG:
                links.clogged_ms[fault.targets[0], fault.targets[1]] = fault.amount
            case Kind.DELAY_SPIKE:
                links.delays_ms = (1, links.delays_ms[1] + fault.amount)
            case Kind.STORM:
                links.drop_percent = fault.amount
            case _:
                return False
        return True

    def _apply_to_nodes(self, fault: Fault, targets: list[str]) -> bool:
        world = self.world
        match fault.kind:
            case Kind.CRASH:
                for name in targets:
                    world.crash(name)
            case Kind.CRASH_ALL:
                for name in self.names:
                    world.crash(name)
            case Kind.CRASH_AT_PERSIST:
                for name in targets:
                    world.nodes[name].disk.fuse.arm(fault.amount, fault.moment, fault.part)
            case Kind.RESTART:
                for name in targets:
                    world.crash(name)
                    world.start(name)
            case Kind.SKEW:
                for name in targets:
                    world.nodes[name].host.clock_offset_ms = fault.amount
            case Kind.WIPE | Kind.LOSE_LOG | Kind.STALE_LOG:
                return all(self._forget(fault, world.nodes[name]) for name in targets)
            case _:
                return False
        return True

    def _forget(self, fault: Fault, node: SimNode) -> bool:
        """A validator loses its memory, as one of the less than a third that may be faulty at a time."""
        if not node.is_honest or not self._is_tolerable([*self._forgetful(), node.index]):
            return False
        backups = self.backups.get(node.name, [])
        backup = backups[int(fault.part * len(backups))] if backups else (1, b"")
        if fault.kind is Kind.STALE_LOG and not self._would_notice(node, backup):
            return False
        self.world.crash(node.name)
        if fault.kind is Kind.WIPE:
            node.disk.wipe()
        elif fault.kind is Kind.LOSE_LOG:
            node.disk.log.wipe()
        else:
            node.disk.log.put_back(backup)
        self.forgot.add(node.name)
        self.world.start(node.name)
        return True

    def _would_notice(self, node: SimNode, backup: tuple[int, bytes]) -> bool:
        """A log that holds all up to the last final block reads as a whole one: nobody may start from such a copy."""
        noted = StateStore(node.disk.store).log_position
        before = node.disk.log.copy()
        node.disk.log.put_back(backup)
        position = node.disk.log.position
        node.disk.log.put_back(before)
        return noted is not None and position < noted

    def _back_up(self) -> None:
        for node in self.world.honest():
            self.backups.setdefault(node.name, []).append(node.disk.log.copy())

    def _forgetful(self) -> list[int]:
        """Validators that lost their memory and are not known to have recovered: faulty still."""
        for name in sorted(self.forgot):
            replica = self.world.nodes[name].replica
            if replica is not None and _has_recovered(replica):
                self.forgot.discard(name)
        return [self.world.nodes[name].index for name in sorted(self.forgot)]

    def _is_tolerable(self, faulty: list[int]) -> bool:
        bad = {index for index, _ in self.plan.adversaries} | set(faulty)
        bad_power = sum(self.high.get(index, 0) for index in bad)
        good_power = sum(power for index, power in self.low.items() if index not in bad)
        return 2 * bad_power < good_power

    def _apply_to_set(self, fault: Fault) -> bool:
        """Joins, leaves, powers; never so that the Byzantine could have a third, whatever of it is decided when."""
        if fault.kind not in (Kind.JOIN, Kind.LEAVE, Kind.POWER):
            return False
        (index,) = fault.targets
        low, high = dict(self.low), dict(self.high)
        power = 0 if fault.kind is Kind.LEAVE else fault.amount
        self.low[index] = min(self.low.get(index, 0), power)
        self.high[index] = max(self.high.get(index, 0), power)
        if not self._is_tolerable([]):
            self.low, self.high = low, high
            return False
        match fault.kind:
            case Kind.JOIN:
                self.clients.join(index, power)
            case Kind.LEAVE:
                self.clients.leave(index)
            case _:
                self.clients.set_power(index, power)
        return True

    # Liveness.

    def _heal_a_quorum(self) -> float:
        """Honest validators that are a bare quorum get a good network among themselves; the other honest ones crash."""
        world = self.world
        draw = random.Random(f"quorum {self.plan.seed}")
        forgetful = set(self._forgetful())
        able = [node.index for node in world.honest() if node.index not in forgetful]
        chosen = self._quorum(draw, able)
        self._heal_links()
        for node in world.nodes.values():
            node.disk.fuse.countdown = 0
            if node.is_honest and node.index not in chosen:
                world.crash(node.name)
            elif node.replica is None:
                world.start(node.name)
        world.trace("healed:", *chosen)
        start = max(self.invariants.heights.values())
        watched = [node.name for node in world.honest() if node.index in chosen]
        before_ms = world.now_ms
        self._require(
            lambda: min(self.invariants.heights[name] for name in watched) >= start + FINAL_BLOCKS,
            f"a quorum of {chosen} makes no {FINAL_BLOCKS} blocks final above {start}",
        )
        self.invariants.check(world)
        return (world.now_ms - before_ms) / DELTA_MS

    def _quorum(self, draw: random.Random, able: list[int]) -> tuple[int, ...]:
        """A bare quorum of the set that votes now, which is one too whatever of the changes is decided meanwhile."""
        state = max((StateStore(node.disk.store) for node in self.world.honest()), key=lambda each: each.tip.height)
        operators = {operator_key(index).address: index for index in range(len(self.plan.powers) + self.plan.joiners)}
        now = {operators[each.operator]: each.power for each in GOVERNING.get(state).validators.validators}
        members = [index for index in able if index in now]
        if self.low == self.high == now:
            return bare_quorum(draw, now, members)
        return tuple(able)

    def _heal_everybody(self) -> None:
        world = self.world
        self._heal_links()
        for name in self.names:
            node = world.nodes[name]
            node.host.clock_offset_ms = 0
            if node.replica is None:
                world.start(name)
        honest = [node.name for node in world.honest()]
        start = len(self.invariants.chain)
        self.clients.resend()
        self._require(
            lambda: min(self.invariants.heights[name] for name in honest) > start and self._are_all_final(honest),
            f"not everybody reaches height {start + 1} with every transaction",
        )

    def _are_all_final(self, honest: list[str]) -> bool:
        low = min(self.invariants.heights[name] for name in honest)
        return all(self.invariants.final_height(each, low + 1) <= low for each in self.clients.taken)

    def _heal_links(self) -> None:
        links = self.world.links
        links.cut, links.clogged_ms = set(), {}
        links.drop_percent, links.duplicate_percent, links.delays_ms = 0, 0, GOOD_DELAYS_MS

    def _require(self, condition: Callable[[], bool], what: str) -> None:
        ticks = 0

        def is_done() -> bool:
            nonlocal ticks
            ticks += 1
            if ticks % 40 == 0:
                self.clients.resend()
            return condition()

        if not self.world.run_until(is_done, LIVENESS_DELTAS * DELTA_MS):
            raise Violation(f"{what} within {LIVENESS_DELTAS} Δ: {self._positions()}")

    def _positions(self) -> dict[str, str]:
        return {
            node.name: "down"
            if node.replica is None
            else f"height {self.invariants.heights[node.name]} view {node.replica.engine.core.epoch}/"
            f"{node.replica.engine.core.view}"
            for node in self.world.nodes.values()
        }

    # The end.

    def _finished(self, liveness_deltas: float) -> Run:
        world, invariants = self.world, self.invariants
        invariants.check(world)
        check_messages(world, world.now_ms // DELTA_MS)
        if self.plan.profile is Profile.FULL:
            check_everybody_has(world, invariants, list(self.clients.taken))
            check_supply(world)
            check_again(world, invariants, self._observer)
        engines = [node.replica.engine for node in world.honest() if node.replica is not None]
        return Run(
            plan=self.plan,
            digest=world.digest.hexdigest(),
            height=len(invariants.chain),
            events=world.events,
            persist_points=sum(node.disk.fuse.points for node in world.nodes.values()),
            liveness_deltas=liveness_deltas,
            accused=len(invariants.accused),
            rejected=frozenset(reason for engine in engines for reason in engine.rejected),
            penalties=sum(len(node.host.penalties) for node in world.honest()),
            applied=tuple(self.applied),
        )

    def _observer(self, disk: Disk) -> Replica:
        node = self.world.honest()[0]
        return Replica(
            genesis=self.chain.genesis,
            store=disk.store,
            blob_store=disk.blobs,
            wal=disk.log,
            consensus_key=None,
            host=node.host,
        )


def _has_recovered(replica: Replica) -> bool:
    """Whether a validator that lost its log will be silent in no view any more."""
    core = replica.engine.core
    if core.is_recovering or core.recovered is None:
        return not core.is_recovering
    epoch, view = core.recovered
    governing = GOVERNING.get(replica.state)
    last_height = governing.first_height + governing.parameters.epoch_length_heights - 1
    # If the epoch's last block can stand in a view it may have voted in, it is silent in the next one's first view.
    return core.epoch != epoch or replica.tree.highest_height(view) < last_height


def _populate(world: World, plan: Plan) -> list[str]:
    behaviours = dict(plan.adversaries)
    for index in range(len(plan.powers) + plan.joiners):
        name = behaviours.get(index)
        if name is None:
            world.add_node(index)
            continue
        draw = random.Random(f"{plan.seed} {index}")
        world.add_node(index, behaviour=_behaviour(name, index, draw))
        if name == "twins":
            world.add_node(index, f"v{index}-twin", behaviour=_behaviour(name, index, draw))
    return list(world.nodes)


def _behaviour(name: str, index: int, draw: random.Random) -> Behaviour:
    make: Callable[..., Behaviour] = getattr(import_module(f"tests.simulation.adversaries.{name}"), name)
    return make(make_key(f"consensus {index}"), draw)


@lru_cache(maxsize=64)
def _make_chain(powers: tuple[int, ...], epoch_length: int, joiners: int) -> tuple[Chain, dict[bytes, bytes]]:
    """A chain, and what a node's store holds at its genesis."""
    parameters = Parameters(
        delta_ms=DELTA_MS,
        epoch_length_heights=epoch_length,
        empty_block_interval_ms=100,
        evidence_epochs=1000,
    )
    people = {f"operator {len(powers) + number}": 0 for number in range(joiners)}
    chain = make_chain(powers=powers, parameters=parameters, people=people)
    store = MemoryStore()
    open_ledger(store, chain.genesis)
    return chain, store.values
