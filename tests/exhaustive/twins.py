"""Three views over all Twins scenarios: per view a leader and a partition of the five instances.

Source: Bano et al., "Twins: BFT Systems Made Robust" (2021). One validator runs as two instances of the real core with
one key; they are honest by themselves and equivocate together, and each leads with a block of its own. Within a group
everything is delivered at once and in order; between groups nothing is. When a group is silent its timers fire, for
`PATIENCE_DELTAS`; who has left the view waits for the next round. After the last round the partition heals.

Runs are merged when they came to the same state at the end of a round, so that every scenario is covered though far
fewer rounds are run. Symmetry: the honest validators are interchangeable and so are the twins, so of the first round
only one of each orbit is run; a renamed run differs at most in the order in which one instant's messages are handled.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from consensus import effects as out
from consensus import inputs as on
from consensus.simplex import Simplex
from consensus.types import Proposal, Statement, VoteKind
from tests.consensus.build import DELTA_MS, GENESIS, START_MS, A, B, C, D, position, vote
from tests.exhaustive.core import copy_core
from tests.exhaustive.local import Violated
from tests.exhaustive.scope import NAMES, QUORUM

OWNERS = (A, A, B, C, D)
"""The key of each instance; the first two are the twins."""
WORDS = ("A'", 'A"', "B", "C", "D")
HONEST = (2, 3, 4)
ROUNDS = 3
PATIENCE_DELTAS = 7
"""How long a round waits for who is stuck: longer than a view's timers and a retransmission after them."""
HEALING_DELTAS = 40
"""How long everybody has to finalise two more blocks once the partition is healed."""
DELIVERIES_PER_TIMER = 400
"""More than a round needs before it is quiet; a healed chain is never quiet, and its timers must fire too."""
HEALED_LEADERS = (B, C, D, A) * 50

Partition = tuple[int, ...]
"""The group of each instance."""


@dataclass(frozen=True, slots=True)
class Round:
    """What the scenario decides of a view."""

    leader: bytes
    groups: Partition
    is_finalize_lost: bool = False
    """Whether finalize votes and finalizations get nowhere in this round, not even within a group."""

    def __str__(self) -> str:
        members = [
            "".join(word for word, group in zip(WORDS, self.groups, strict=True) if group == number)
            for number in sorted(set(self.groups))
        ]
        lost = ", no finalize arrives" if self.is_finalize_lost else ""
        return f"leader {NAMES[self.leader]}, " + " | ".join(members) + lost


def rounds(most_groups: int, *, has_losses: bool) -> list[Round]:
    """Every leader with every partition into at most so many groups, with and without lost finalizes."""
    partitions = [
        groups
        for groups in itertools.product(range(most_groups), repeat=len(OWNERS))
        if all(group <= max(groups[:place], default=-1) + 1 for place, group in enumerate(groups))
    ]
    losses = (True, False) if has_losses else (False,)
    return [Round(leader, groups, lost) for lost in losses for leader in (A, B, C, D) for groups in partitions]


def orbits(given: list[Round]) -> list[tuple[Round, int]]:
    """One round of each kind up to renaming, and how many there are of the kind."""
    counted: dict[Round, int] = {}
    for each in given:
        first = min(_renamings(each), key=lambda one: (one.leader, one.groups, one.is_finalize_lost))
        counted[first] = counted.get(first, 0) + 1
    return list(counted.items())


def _renamings(given: Round) -> Iterator[Round]:
    for twins, honest in itertools.product(itertools.permutations((0, 1)), itertools.permutations(HONEST)):
        order = (*twins, *honest)
        numbers: dict[int, int] = {}
        groups = tuple(numbers.setdefault(given.groups[place], len(numbers)) for place in order)
        renamed = {OWNERS[old]: OWNERS[new] for new, old in enumerate(order)}
        yield Round(renamed[given.leader], groups, given.is_finalize_lost)


def led(machine: type[Simplex]) -> type[Simplex]:
    """A machine whose leaders the scenario chooses, view by view."""

    class Led(machine):  # type: ignore[misc, valid-type]
        leaders: tuple[bytes, ...] = ()

        def leader_of(self, view: int) -> bytes:
            return self.leaders[view - 1] if view <= len(self.leaders) else b"not drawn yet"

    return Led


def twin(machine: type[Simplex]) -> type[Simplex]:
    """A machine that does not stop when its key is used elsewhere."""

    class Twin(led(machine)):  # type: ignore[misc]
        def _is_own(self, state, statement) -> bool:
            return True

    return Twin


def forgetful(machine: type[Simplex]) -> type[Simplex]:
    """A twin that leads as if the epoch had just begun: on the first parent, without a proof of what lies between."""

    class Forgetful(twin(machine)):  # type: ignore[misc]
        def _propose(self, state):
            if not state.own and not state.is_building:
                state.is_building = True
                self._effects.append(out.BuildBlock(epoch=1, view=state.view, parent_id=GENESIS, parent_view=0))

        def _on_built(self, built):
            state = self._views.at(built.view)
            state.own[VoteKind.NOTARIZE] = built.block_id
            statement = self._statement(VoteKind.NOTARIZE, built.view, built.block_id)
            self._effects.append(
                out.CastProposal(statement=statement, parent_id=GENESIS, parent_view=0, certificates=())
            )

    return Forgetful


@dataclass
class Instances:
    """Five cores, each with its own clock, and the network between them."""

    cores: list[Simplex]
    now_ms: list[int]
    wake_ms: list[int | None]
    signed: list[frozenset[Statement]]
    parents: dict[bytes, bytes]
    """Of every block anybody built; shared, since a block's id decides its parent."""
    groups: Partition = (0,) * len(OWNERS)
    is_finalize_lost: bool = False
    queue: deque = field(default_factory=deque)
    lines: list[str] | None = None
    """What happened, when somebody wants to read it."""
    deliveries: int = 0
    goal: int | None = None
    """The height at which a healed run ends."""
    is_done: bool = False

    def copy(self) -> Instances:
        """A branch."""
        cores = [copy_core(core) for core in self.cores]
        return Instances(cores, [*self.now_ms], [*self.wake_ms], [*self.signed], self.parents, lines=self.lines)

    def run(self, until, patience_ms: int) -> None:
        """Delivers what there is, then lets the most impatient instance's timer fire, until nothing is left to do."""
        began_ms = [*self.now_ms]
        while True:
            for _ in range(DELIVERIES_PER_TIMER):
                if self.queue and not self.is_done:
                    self.feed(*self.queue.popleft())
            if self.is_done:
                return
            waits = [
                (wake - began, place)
                for place, (wake, began) in enumerate(zip(self.wake_ms, began_ms, strict=True))
                if wake is not None and wake - began <= patience_ms and not until(self.cores[place])
            ]
            if not waits:
                return
            wait_ms, place = min(waits)
            self.now_ms[place], self.wake_ms[place] = began_ms[place] + wait_ms, None
            self.feed(place, on.Tick())

    def feed(self, place: int, happened) -> None:
        """An input, if the host lets it through, and what it does about the effects."""
        core = self.cores[place]
        match happened:
            case on.VoteReceived(vote=given) if not core.is_vote_useful(given):
                return
            case on.CertificateReceived(certificate=certificate) if not core.is_certificate_useful(certificate):
                return
        self.deliveries += 1
        view = core.view
        pending = [happened]
        while pending:
            for effect in core.step(self.now_ms[place], pending.pop(0)):
                pending.extend(self.perform(place, effect))
        if self.lines is not None and core.view != view:
            self.lines.append(f"{WORDS[place]} enters view {core.view}")

    def perform(self, place: int, effect) -> list:
        me = OWNERS[place]
        match effect:
            case out.CastVote(statement=statement):
                happened = on.VoteReceived(vote=self.sign(place, statement))
                self.send(place, happened)
                return [happened]
            case out.CastProposal():
                signed = self.sign(place, effect.statement)
                given = Proposal(vote=signed, parent_id=effect.parent_id, parent_view=effect.parent_view)
                for certificate in effect.certificates:
                    self.send(place, on.CertificateReceived(certificate=certificate))
                self.send(place, on.ProposalReceived(proposal=given))
                return [on.VoteReceived(vote=signed)]
            case out.SendCertificates(peer=peer, certificates=certificates):
                for certificate in certificates:
                    self.send(place, on.CertificateReceived(certificate=certificate), peer)
            case out.SendVotes(votes=votes):
                for each in votes:
                    self.send(place, on.VoteReceived(vote=each))
            case out.FetchCertificates():
                asked = on.CertificatesRequested(peer=me, from_view=effect.from_view, to_view=effect.to_view)
                self.send(place, asked)
            case out.BuildBlock():
                block_id = hashlib.sha256(b"%d %d" % (effect.view, place) + effect.parent_id).digest()
                self.parents[block_id] = effect.parent_id
                return [on.BlockBuilt(epoch=1, view=effect.view, block_id=block_id, is_work_left=True)]
            case out.JudgeBlock(proposal=given):
                return [
                    on.BlockJudged(
                        view=given.view, block_id=given.block_id, verdict=on.Verdict.VALID, is_work_left=True
                    )
                ]
            case out.FinalizeBlock(certificate=certificate):
                self.note(place, f"finalises {self.name(certificate.statement.block_id)}")
                if place in HONEST:
                    self.check_chain([certificate.statement.block_id])
                self.is_done = self.goal is not None and self.height() >= self.goal
            case out.WakeAt(at_ms=at_ms):
                self.wake_ms[place] = at_ms
            case out.ReportEvidence(evidence=evidence):
                if evidence.first.validator != A or evidence.second.validator != A:
                    raise Violated("an honest validator is accused")
            case out.Halt(why=why):
                if place in HONEST:
                    raise Violated(f"an honest node stops: {why}")
        return []

    def sign(self, place: int, statement: Statement):
        self.note(place, f"signs {statement.kind.name.lower()} {statement.view} {self.name(statement.block_id)}")
        if place in HONEST:
            for other in self.signed[place]:
                is_same_view = other.view == statement.view and other != statement
                kinds = {other.kind, statement.kind}
                if is_same_view and (len(kinds) == 1 or kinds == {VoteKind.NULLIFY, VoteKind.FINALIZE}):
                    raise Violated("an honest validator contradicts itself")
        self.signed[place] |= {statement}
        return vote(OWNERS[place], statement)

    def send(self, place: int, happened, peer: bytes | None = None) -> None:
        match happened:
            case on.VoteReceived(vote=given) if self.is_finalize_lost and given.statement.kind is VoteKind.FINALIZE:
                return
            case on.CertificateReceived(certificate=proof) if self.is_finalize_lost:
                if proof.statement.kind is VoteKind.FINALIZE:
                    return
        for other, owner in enumerate(OWNERS):
            if other != place and self.groups[other] == self.groups[place] and peer in (None, owner):
                self.queue.append((other, happened))

    def check_chain(self, finals: Iterable[bytes]) -> None:
        """Some blocks and all that honest nodes hold final lie on one chain."""
        chains = [self.chain(each) for each in (*finals, *(self.cores[place].final.block_id for place in HONEST))]
        longest = max(chains, key=len)
        if any(chain != longest[: len(chain)] for chain in chains):
            raise Violated("two blocks are final that do not lie on one chain")

    def check_views(self) -> None:
        """What can be proven from all that was signed, arrived or not, contradicts nothing."""
        signers: dict[Statement, set[bytes]] = {}
        for owner, statements in zip(OWNERS, self.signed, strict=True):
            for each in statements:
                signers.setdefault(each, set()).add(owner)
        proven = {each for each, who in signers.items() if len(who) >= QUORUM}
        for core in self.cores[2:]:
            held = (each for state in core._views._states.values() for each in state.certificates())
            proven.update(each.statement for each in held)
        for view in {each.view for each in proven}:
            kinds = [each.kind for each in proven if each.view == view]
            if kinds.count(VoteKind.NOTARIZE) > 1 or kinds.count(VoteKind.FINALIZE) > 1:
                raise Violated(f"view {view} has two certificates of a kind")
            if VoteKind.FINALIZE in kinds and VoteKind.NULLIFY in kinds:
                raise Violated(f"view {view} is both finalised and nullified")
        self.check_chain(each.block_id for each in proven if each.kind is VoteKind.FINALIZE)

    def chain(self, block_id: bytes) -> list[bytes]:
        chain = []
        while block_id != GENESIS:
            chain.append(block_id)
            block_id = self.parents[block_id]
        return chain[::-1]

    def height(self) -> int:
        """Of the honest node with the shortest final chain."""
        return min(len(self.chain(self.cores[place].final.block_id)) for place in HONEST)

    def note(self, place: int, what: str) -> None:
        if self.lines is not None:
            self.lines.append(f"{WORDS[place]} {what}")

    def name(self, block_id: bytes) -> str:
        return "" if block_id == bytes(32) else block_id.hex()[:4]

    def rebase(self) -> None:
        """Sets every clock back to the start, timers with it: only differences matter to a core."""
        for place, core in enumerate(self.cores):
            by_ms = START_MS - self.now_ms[place]
            self.now_ms[place] = core._now_ms = START_MS
            wake_ms = self.wake_ms[place]
            self.wake_ms[place] = core._wake_ms = None if wake_ms is None else wake_ms + by_ms
            timers = core._timers
            for moment in ("entered_ms", "started_ms", "unfinal_since_ms", "_last_retransmit_ms", "_last_fetch_ms"):
                at_ms = getattr(timers, moment)
                setattr(timers, moment, None if at_ms is None else at_ms + by_ms)
            timers.hold_until_ms += by_ms

    def key(self) -> bytes:
        """What decides everything that follows in the rounds.

        Left out: the order of votes within a view, which only orders repetitions; who signed a certificate and who
        attended, which decides nothing before five views are over.
        """
        parts = []
        for place, core in enumerate(self.cores):
            views = [
                (
                    view,
                    sorted(state.own.items()),
                    (state.proposal.block_id, state.proposal.parent_view) if state.proposal is not None else None,
                    state.is_building,
                    state.verdict is None,
                    [_number(each.statement) for each in state.certificates()],
                    [sorted(_number(each.statement) for each in state.tally.votes_of(who)) for who in OWNERS[1:]],
                )
                for view, state in sorted(core._views._states.items())
            ]
            timers = [getattr(core._timers, name) for name in core._timers.__slots__]
            more = (
                self.wake_ms[place],
                core._is_work_pending,
                core._is_halted,
                sorted(map(_number, self.signed[place])),
            )
            parts.append((core.view, core.final.view, core.final.block_id, views, timers, more))
        return hashlib.sha256(repr(parts).encode()).digest()


_NUMBERS: dict[Statement, int] = {}


def _number(statement: Statement) -> int:
    return _NUMBERS.setdefault(statement, len(_NUMBERS))


def begin(machine: type[Simplex], second: type[Simplex], *, lines: list[str] | None = None) -> Instances:
    """Five fresh cores that have started and have work."""
    honest, first = led(machine), twin(machine)
    kinds = (first, second, honest, honest, honest)
    cores = [kind(owner, position()) for kind, owner in zip(kinds, OWNERS, strict=True)]
    instances = Instances(cores, [START_MS] * 5, [None] * 5, [frozenset()] * 5, {}, lines=lines)
    for place in range(len(OWNERS)):
        for happened in (on.Start(), on.WorkAvailable()):
            instances.feed(place, happened)
    instances.rebase()
    return instances


def play(instances: Instances, number: int, given: Round) -> None:
    """One round. Raises: Violated."""
    instances.groups, instances.is_finalize_lost = given.groups, given.is_finalize_lost
    if instances.lines is not None:
        instances.lines.append(f"-- view {number}: {given}")
    for core in instances.cores:
        core.leaders = (*core.leaders, given.leader)  # type: ignore[attr-defined]
    for place in range(len(OWNERS)):
        instances.feed(place, on.Tick())
    instances.run(lambda core: core.view > number, PATIENCE_DELTAS * DELTA_MS)
    instances.check_views()
    instances.rebase()


def heal(instances: Instances) -> None:
    """Everybody together again: two more blocks become final everywhere. Raises: Violated."""
    instances.groups, instances.is_finalize_lost = (0,) * len(OWNERS), False
    if instances.lines is not None:
        instances.lines.append("-- healed")
    instances.goal = instances.height() + 2
    for core in instances.cores:
        core.leaders = (*core.leaders, *HEALED_LEADERS)  # type: ignore[attr-defined]
    for place in range(len(OWNERS)):
        instances.feed(place, on.Tick())
    instances.run(lambda _core: False, HEALING_DELTAS * DELTA_MS)
    instances.check_views()
    if not instances.is_done:
        raise Violated("the chain stands still after the partition is healed")


@dataclass
class TwinsCounts:
    """What was covered."""

    scenarios: int = 0
    rounds_run: int = 0
    distinct_states: int = 0
    healed: int = 0
    steps: int = 0
    seconds: float = 0.0


class Broken(Exception):
    """A scenario in which a claim does not hold."""

    def __init__(self, why: str, scenario: tuple[Round, ...], adversary: str) -> None:
        super().__init__(why)
        self.why, self.scenario, self.adversary = why, scenario, adversary


Reached = tuple[Instances, tuple[Round, ...], int]

ADVERSARIES = {"twins": twin, "forgetful twin": forgetful}


def explore(
    adversary: str,
    machine: type[Simplex] = Simplex,
    *,
    most_groups: int = 2,
    views: int = ROUNDS,
    has_losses: bool = False,
) -> TwinsCounts:
    """All scenarios of so many views, each healed at the end. Raises: Broken."""
    started = time.monotonic()
    counts = TwinsCounts()
    every = rounds(most_groups, has_losses=has_losses)
    first = begin(machine, ADVERSARIES[adversary](machine))
    # State by key: one way to it, and how many scenarios lead there.
    frontier: dict[bytes, Reached] = {first.key(): (first, (), 1)}
    for number in range(1, views + 1):
        reached: dict[bytes, Reached] = {}
        for instances, scenario, weight in frontier.values():
            for given, times in orbits(every) if number == 1 else ((each, 1) for each in every):
                along = (*scenario, given)
                after = _try(instances, along, adversary, lambda copy, n=number, r=given: play(copy, n, r))
                counts.rounds_run += 1
                counts.steps += after.deliveries
                key = after.key()
                known = reached.get(key, (after, along, 0))
                reached[key] = (*known[:2], known[2] + weight * times)
                if number == views and known[2] == 0:  # A new end: heal it, and keep no more than its key.
                    counts.steps += _try(after, along, adversary, heal).deliveries
                    counts.healed += 1
                    reached[key] = (first, (), reached[key][2])
        frontier = reached
        counts.distinct_states += len(frontier)
    counts.scenarios = sum(weight for _, _, weight in frontier.values())
    counts.seconds = time.monotonic() - started
    return counts


def _try(instances: Instances, scenario: tuple[Round, ...], adversary: str, act) -> Instances:
    copy = instances.copy()
    try:
        act(copy)
    except Violated as violated:
        raise Broken(str(violated), scenario, adversary) from violated
    return copy


def transcript(broken: Broken, machine: type[Simplex]) -> list[str]:
    """The scenario played again, one line an event."""
    lines: list[str] = []
    instances = begin(machine, ADVERSARIES[broken.adversary](machine), lines=lines)
    try:
        for number, given in enumerate(broken.scenario, 1):
            play(instances, number, given)
        heal(instances)
    except Violated as violated:
        return [*lines, f"VIOLATION: {violated}"]
    raise AssertionError("the same scenario breaks again")
