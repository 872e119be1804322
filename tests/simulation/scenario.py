"""One run drawn from one seed: who is there, what goes wrong when, and what must hold in the end.

Safety first: faults of all kinds while clients send transactions. Liveness second: the network heals, a quorum is up,
and a number of blocks must become final within a bound stated in Δ.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from node.modules.accounts import ACCOUNTS, Transfer
from node.modules.supply import SUPPLY
from node.primitives.codec import encode
from node.types.parameters import Parameters
from tests.factories import Chain, make_chain, make_transaction
from tests.simulation.adversaries.equivocator import add_twins
from tests.simulation.adversaries.lying_proposer import LyingProposer
from tests.simulation.world import World

DELTA_MS = 200
FINAL_BLOCKS = 6
"""Blocks that must become final after healing."""
LIVENESS_DELTAS = 150
"""Within how many Δ: the longest grown Δ is 11, and a few views may still be nullified with it."""


@dataclass(frozen=True)
class Options:
    """What a seed draws."""

    powers: tuple[int, ...]
    drop_percent: int
    duplicate_percent: int
    longest_delay_ms: int
    epoch_length: int
    adversary: str
    """`none`, `twins`, `liar` or `silent`; always the validator of index 0."""
    rounds: int


def draw_options(random_source: random.Random) -> Options:
    """The options of a run."""
    powers = random_source.choice(((1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1, 1), (2, 2, 3, 2, 2), (1,) * 7))
    return Options(
        powers=powers,
        drop_percent=random_source.choice((0, 0, 5, 15, 30)),
        duplicate_percent=random_source.choice((0, 10)),
        longest_delay_ms=random_source.choice((10, 50, 150, 400)),
        epoch_length=random_source.choice((4, 7, 12, 1000)),
        adversary=random_source.choice(("none", "none", "twins", "liar", "silent")),
        rounds=random_source.randint(4, 8),
    )


@dataclass
class Run:
    """A finished run."""

    options: Options
    digest: str
    heights: dict[str, int]
    lies_told: list[str] = field(default_factory=list)
    evidence_count: int = 0
    rejected: frozenset[str] = frozenset()
    """Why honest validators voted against blocks."""


def run_scenario(seed: int) -> Run:
    """Runs a seed to its end. Raises: AssertionError naming what did not hold."""
    random_source = random.Random(seed)
    options = draw_options(random_source)
    parameters = Parameters(
        delta_ms=DELTA_MS,
        epoch_length_heights=options.epoch_length,
        empty_block_interval_ms=400,
        evidence_epochs=1000,
    )
    chain = make_chain(powers=options.powers, parameters=parameters)
    world = World(chain, seed)
    world.drop_percent, world.duplicate_percent = options.drop_percent, options.duplicate_percent
    world.delays_ms = (1, options.longest_delay_ms)
    liar = LyingProposer(chain.consensus_keys[0], random.Random(seed + 1))
    names = _populate(world, options, liar)
    for name in names:
        world.start(name)
    client = Client(chain, world)
    for _ in range(options.rounds):
        _make_trouble(world, options, random_source, names)
        for _ in range(random_source.randint(1, 6)):
            client.send(random_source)
            world.run(random_source.randint(20, 400))
        world.check_safety()
    _heal(world, names)
    _require_progress(world, client, random_source)
    world.check_safety()
    check_supply(world)
    return Run(
        options=options,
        digest=world.digest.hexdigest(),
        heights=world.heights(),
        lies_told=liar.lies_told,
        evidence_count=len(world.evidence),
        rejected=frozenset(
            reason for node in world.honest() if node.replica is not None for reason in node.replica.engine.rejected
        ),
    )


class Client:
    """Sends transfers, and remembers what became final anywhere."""

    def __init__(self, chain: Chain, world: World) -> None:
        self._chain = chain
        self._world = world
        self._nonces = [0] * len(chain.users)
        self.sent: dict[bytes, bytes] = {}

    def send(self, random_source: random.Random) -> None:
        """One transfer to a node that is up."""
        up = [node.name for node in self._world.honest() if node.replica is not None]
        if not up:
            return
        user = random_source.randrange(len(self._chain.users))
        payload = Transfer(
            recipient=random_source.choice(self._chain.users).address, amount_units=random_source.randint(1, 1000)
        )
        transaction = make_transaction(self._chain, self._chain.users[user], payload, nonce=self._nonces[user])
        if self._world.submit(random_source.choice(up), encode(transaction)):
            self._nonces[user] += 1
            self.sent[transaction.id(self._chain.genesis_hash)] = encode(transaction)

    def resend(self) -> None:
        """What is not final is sent again, as a client that got no answer does."""
        for node in self._world.honest():
            if node.replica is not None:
                for transaction_id, data in self.sent.items():
                    if transaction_id not in node.final_transactions:
                        self._world.submit(node.name, data)
                return


def check_supply(world: World) -> None:
    """Balances, bonds and treasury add up to the supply."""
    for node in world.honest():
        state = node.replica.state if node.replica is not None else None
        if state is None:
            continue
        held = SUPPLY.get(state).treasury_units
        for account in world.chain.genesis.accounts:
            known = ACCOUNTS.need(state, account.address)
            held += known.balance_units + known.bond_units
        assert held == SUPPLY.get(state).total_units, f"{node.name}: {held} base units are held"


def _populate(world: World, options: Options, liar: LyingProposer) -> list[str]:
    names: list[str] = []
    for index in range(len(options.powers)):
        if index == 0 and options.adversary == "twins":
            names.extend(add_twins(world, 0))
        elif index == 0 and options.adversary == "liar":
            names.append(world.add_validator(0, is_honest=False, prepare=liar.prepare).name)
        elif index == 0 and options.adversary == "silent":
            world.add_validator(0, is_honest=False)
        else:
            names.append(world.add_validator(index).name)
    return names


def _make_trouble(world: World, options: Options, random_source: random.Random, names: list[str]) -> None:
    trouble = random_source.choice(("none", "partition", "one_way", "crash", "crash_all", "restart", "skew"))
    indices = list(range(len(options.powers)))
    random_source.shuffle(indices)
    cut_at = random_source.randint(1, len(indices) - 1)
    if trouble in ("partition", "one_way"):
        world.partition((indices[:cut_at], indices[cut_at:]), is_one_way=trouble == "one_way")
    else:
        world.cut = set()
    if trouble == "crash":
        for name in random_source.sample(names, random_source.randint(1, len(names))):
            world.crash(name)
    if trouble == "crash_all":
        for name in names:
            world.crash(name)
        world.run(random_source.randint(1, 200))
    if trouble in ("restart", "crash_all") or random_source.random() < 0.5:
        for name in names:
            if world.nodes[name].replica is None:
                world.start(name)
    if trouble == "skew":
        world.nodes[random_source.choice(names)].host.clock_offset_ms = random_source.randint(-1500, 1500)


def _heal(world: World, names: list[str]) -> None:
    world.heal()
    for name in names:
        world.nodes[name].host.clock_offset_ms = 0
        if world.nodes[name].replica is None:
            world.start(name)


def _require_progress(world: World, client: Client, random_source: random.Random) -> None:
    start = max(len(node.chain) for node in world.honest())
    client.resend()

    def is_done() -> bool:
        if random_source.random() < 0.3:
            client.send(random_source)
        return min(len(node.chain) for node in world.honest()) >= start + FINAL_BLOCKS

    is_live = world.run_until(is_done, LIVENESS_DELTAS * DELTA_MS)
    views = {node.name: (len(node.chain), _position(node)) for node in world.nodes.values()}
    assert is_live, f"no {FINAL_BLOCKS} final blocks above {start} within {LIVENESS_DELTAS} Δ: {views}"
    client.resend()
    world.run(20 * DELTA_MS)
    for node in world.honest():
        missing = [key.hex()[:16] for key in client.sent if node.final_transactions.get(key) != 1]
        assert not missing, f"{node.name}: transactions that are not final exactly once: {missing}"


def _position(node: object) -> str:
    replica = node.replica  # type: ignore[attr-defined]
    return "down" if replica is None else f"{replica.engine.core.epoch}/{replica.engine.core.view}"
