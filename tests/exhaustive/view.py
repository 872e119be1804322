"""One view, complete: every order of deliveries, every loss, every timer, every crash, everything one traitor can do.

Why this reaches every global state, and only such ones.

1. *The network is a function of what was signed.* A message may arrive at any time, any number of times, or never, so
   the messages there are follow from the votes cast so far (`messages`), and only grow. Whoever sees all votes, the
   Byzantine validator or an observer, can put any certificate together that has its signatures, so those are messages
   too. Retransmission, forwarding and repair add nothing to this set, and are not modelled for that reason.
2. *Nodes touch each other only by voting.* An event at one node changes that node alone, and whether an event is
   possible at a node depends on its own state and on what the others signed. So events at two nodes commute unless one
   is a vote that makes the other's message. Between two votes every node moves freely in its own graph.
3. *Hence products.* After one history of votes, the global states reached are exactly all combinations of the local
   states each node can reach by itself within it: `NodeSets` holds one closed set a node, and
   stands for their product. Two histories that end in the same sets are one. Nothing is cut off: this is an exact
   representation, and `count_states` counts the union of the products.
4. *A twin is weaker than the Byzantine validator here.* Two honest instances with one key sign statements of view 1
   about X or Y, and send certificates made of signatures that exist: all of these are messages from the beginning. A
   third block needs no letter of its own: three honest validators vote for at most one block that gets a quorum.
5. *Bound.* A node that enters view 2 gets no timer, proposal or answer there; votes and certificates of view 1 still
   reach it. Nothing it would do later is a statement of view 1, except to repeat one.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter, deque
from dataclasses import dataclass

from consensus.simplex import Simplex
from tests.consensus.build import A, D
from tests.exhaustive.local import LocalGraph, Violated, held
from tests.exhaustive.scope import BIT, NAMES, Event, Said, Scope, certified, local_events, messages

NOTARIZATIONS, NULLIFICATION, FINALIZATIONS = 0b00011, 0b00100, 0b11000


@dataclass(frozen=True, slots=True)
class NodeSets:
    """Global states: any combination of one local state from each node's set. Sets go by number."""

    said: Said
    sets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """How node sets were reached: a node said something new."""

    before: NodeSets
    node: int
    casts: int


@dataclass(slots=True)
class Counts:
    """What an exploration covered."""

    global_states: int
    local_states: int
    core_steps: int
    histories: int
    outcomes: int
    seconds: float


class Failure(Exception):
    """A claim does not hold. `goal` has, by node, the local state the run ends in; None: in the step that breaks it."""

    def __init__(self, why: str, goal: dict[int, int | None]) -> None:
        super().__init__(why)
        self.why, self.goal = why, goal
        self.history: list[Step] = []
        self.said: Said = ()


Rest = tuple[int, int, bool]
"""A node at rest: certificates held, certificates that change nothing any more, and whether it is still in view 1."""


class Exploration:
    """All reachable states of a scope, for the real machine or a mutant of it."""

    def __init__(self, scope: Scope, machine: type[Simplex] = Simplex) -> None:
        self.scope = scope
        follower = LocalGraph(scope, D, machine)
        leader = LocalGraph(scope, A, machine)
        self.graphs = [leader if who == A else follower for who in scope.honest]
        self.parents: dict[NodeSets, Step | None] = {}
        self.outcomes: set[tuple[Said, tuple[tuple[int, bool], ...]]] = set()
        self._sets: list[tuple[int, ...]] = []
        self._set_ids: dict[tuple[int, ...], int] = {}
        self._closed: dict[tuple[int, int, Said], tuple[int, dict[int, int]]] = {}
        self._rests: dict[tuple[int, int, Said], dict[Rest, int]] = {}
        self._events: dict[tuple[int, Said], tuple[Event, ...]] = {}

    def run(self) -> Counts:
        """Explores everything. Raises: Failure, with the first violation by number of votes cast."""
        started = time.monotonic()
        nodes = range(len(self.scope.honest))
        said: Said = tuple(0 for _ in nodes)
        self._reach(None, said, [self._intern([self.graphs[node].first]) for node in nodes])
        todo = deque(self.parents)
        while todo:
            at = todo.popleft()
            for node in nodes:
                for casts, targets in self._close(node, at.sets[node], at.said)[1].items():
                    said = (*at.said[:node], at.said[node] | casts, *at.said[node + 1 :])
                    starts = [targets if other == node else at.sets[other] for other in nodes]
                    reached = self._reach(Step(at, node, casts), said, starts)
                    if reached is not None:
                        todo.append(reached)
        graphs = set(self.graphs)
        return Counts(
            global_states=self.count_states(),
            local_states=sum(len(graph.states) for graph in graphs),
            core_steps=sum(graph.transitions for graph in graphs),
            histories=len(self.parents),
            outcomes=len(self.outcomes),
            seconds=time.monotonic() - started,
        )

    def history(self, step: Step | None) -> list[Step]:
        """The votes that led somewhere, first to last."""
        steps: list[Step] = []
        while step is not None:
            steps.append(step)
            step = self.parents[step.before]
        return steps[::-1]

    def events(self, node: int, said: Said) -> tuple[Event, ...]:
        """What can happen to a node, in the names of its graph."""
        if (node, said) not in self._events:
            names = self.names(node)
            renamed = [
                Event(each.what, each.statement, tuple(sorted(names[who] for who in each.who)), each.at_ms)
                for each in messages(self.scope, said)
            ]
            self._events[node, said] = (*renamed, *local_events(self.scope))
        return self._events[node, said]

    def names(self, node: int) -> dict[bytes, bytes]:
        """How a node's graph calls everybody: a follower is D there, the other followers keep their order."""
        names = {who: who for who in NAMES}
        me = self.scope.honest[node]
        if me != A:
            names[me] = D
            others = [who for who in self.scope.honest if who not in (A, me)]
            names.update(zip(others, [who for who in self.scope.honest if who not in (A, D)], strict=True))
        return names

    def count_states(self) -> int:
        """The size of the union of the products, exactly: states of a node that lie in the same sets count at once."""
        by_said: dict[Said, list[tuple[int, ...]]] = {}
        for each in self.parents:
            by_said.setdefault(each.said, []).append(each.sets)
        total = 0
        for products in by_said.values():
            patterns = []
            for column in zip(*products, strict=True):
                member: dict[int, int] = {}
                for place, number in enumerate(column):
                    for state in self._sets[number]:
                        member[state] = member.get(state, 0) | 1 << place
                patterns.append(Counter(member.values()))
            for combined in itertools.product(*(each.items() for each in patterns)):
                if _meet(pattern for pattern, _ in combined):
                    total += math.prod(count for _, count in combined)
        return total

    def _reach(self, step: Step | None, said: Said, starts: list[int]) -> NodeSets | None:
        """The node sets after a vote, checked; None when they are known."""
        try:
            sets = tuple(self._close(node, start, said)[0] for node, start in enumerate(starts))
            reached = NodeSets(said, sets)
            if reached in self.parents:
                return None
            self.parents[reached] = step
            self._check_certificates(said)
            self._check_rests(reached)
        except Failure as failure:
            failure.history, failure.said = self.history(step), said
            raise
        return reached

    def _close(self, node: int, start: int, said: Said) -> tuple[int, dict[int, int]]:
        """All states a node reaches without saying anything new, and where it gets by saying something."""
        at = (node, start, said)
        if at in self._closed:
            return self._closed[at]
        graph, events = self.graphs[node], self.events(node, said)
        todo = deque(self._sets[start])
        silent, loud = set(todo), {}
        while todo:
            state = todo.popleft()
            for event in events:
                try:
                    target, casts = graph.after(state, event)
                except Violated as violated:
                    raise Failure(str(violated), {node: None}) from violated
                if casts:
                    loud.setdefault(casts, set()).add(target)
                elif target not in silent:
                    silent.add(target)
                    todo.append(target)
        closed = self._intern(silent)
        found = closed, {casts: self._intern(targets) for casts, targets in sorted(loud.items())}
        self._closed[at] = self._closed[node, closed, said] = found
        return found

    def _intern(self, states) -> int:
        members = tuple(sorted(states))
        if members not in self._set_ids:
            self._set_ids[members] = len(self._sets)
            self._sets.append(members)
        return self._set_ids[members]

    def _check_certificates(self, said: Said) -> None:
        """What can be proven to anybody once this much is signed."""
        proven = certified(self.scope, said)
        if proven & NOTARIZATIONS == NOTARIZATIONS:
            raise Failure("the view has two notarizations", {})
        if proven & FINALIZATIONS and proven & NULLIFICATION:
            raise Failure("the view is both finalised and nullified", {})
        if (proven & FINALIZATIONS) >> 3 & ~(proven & NOTARIZATIONS):
            raise Failure("the view finalises a block that is not notarized", {})

    def _check_rests(self, reached: NodeSets) -> None:
        """Liveness: when honest messages have all arrived and timers have fired, everybody has left the view."""
        rests = [self._rests_of(node, number, reached.said) for node, number in enumerate(reached.sets)]
        for combined in itertools.product(*(each.items() for each in rests)):
            union = 0
            for (certificates, _, _), _ in combined:
                union |= certificates
            if any(union & ~settled for (_, settled, _), _ in combined):
                continue  # somebody holds a certificate that another one has still to get
            if any(is_in for (_, _, is_in), _ in combined):
                goal: dict[int, int | None] = {node: state for node, (_, state) in enumerate(combined)}
                raise Failure("all is delivered, all timers fired, and an honest node is still in the view", goal)
            self.outcomes.add((reached.said, tuple((rest[0], rest[2]) for rest, _ in combined)))

    def _rests_of(self, node: int, number: int, said: Said) -> dict[Rest, int]:
        """The sorts of states in a closed set in which nothing that must happen changes anything, with one of each."""
        at = (node, number, said)
        if at in self._rests:
            return self._rests[at]
        graph = self.graphs[node]
        events = self.events(node, said)
        fair = [each for each in events if each.what != "restart" and self._is_fair(each)]
        proofs = [each for each in events if each.what == "certificate"]
        found: dict[Rest, int] = {}
        for state in self._sets[number]:
            if all(graph.after(state, event) == (state, 0) for event in fair):
                settled = sum(BIT[each.statement] for each in proofs if graph.after(state, each) == (state, 0))
                local = graph.states[state]
                found.setdefault((held(local), settled, local.core.view == 1), state)
        self._rests[at] = found
        return found

    def _is_fair(self, event: Event) -> bool:
        """Whether an event happens sooner or later: not what the Byzantine validator may withhold."""
        return event.what != "certificate" and self.scope.byzantine not in event.who


def _meet(patterns) -> int:
    common = -1
    for pattern in patterns:
        common &= pattern
    return common
