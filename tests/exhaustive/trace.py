"""The way to a violation, one line an event: the fewest votes, and for each node the fewest events between them."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from tests.exhaustive.local import LocalGraph, Violated
from tests.exhaustive.scope import NAMES, STATEMENTS, Event, Said, describe
from tests.exhaustive.view import Exploration, Failure

BROKEN = -1
"""Where the step that breaks the claim leads."""
Taken = tuple[int, Event]
"""After how many of the history's votes, and what."""


def transcript(exploration: Exploration, failure: Failure) -> list[str]:
    """A run that ends in the violation; what does not help it does not happen."""
    history = failure.history
    at_step: list[list[str]] = [[] for _ in range(len(history) + 1)]
    for node, graph in enumerate(exploration.graphs):
        path = _shortest(exploration, failure, node)
        names = {alias: NAMES[who] for who, alias in exploration.names(node).items()}
        here = graph.first
        for place, event in path:
            try:
                after, casts = graph.after(here, event)
            except Violated:
                at_step[place].append(f"{NAMES[exploration.scope.honest[node]]}: {_what(event, names)} -> VIOLATION")
                break
            at_step[place].append(_line(graph, names, here, event, after, casts))
            here = after
    lines = [line for lines in at_step for line in lines]
    return [*(f"{number:3} {line}" for number, line in enumerate(lines, 1)), f"    {failure.why}"]


def _shortest(exploration: Exploration, failure: Failure, node: int) -> list[Taken]:
    """The fewest events of a node that say what the history has it say, and end in a state if one is asked for."""
    graph = exploration.graphs[node]
    saids = [*(step.before.said for step in failure.history), failure.said]
    start = (0, graph.first)
    came: dict[tuple[int, int], tuple[tuple[int, int], Event | None] | None] = {}
    order = itertools.count()
    todo = [(0, next(order), start, None)]
    while todo:
        cost, _, at, from_where = heapq.heappop(todo)
        if at in came:
            continue
        came[at] = from_where
        if at[0] == len(failure.history) and at[1] in (BROKEN, failure.goal.get(node, at[1])):
            return _path(came, at)
        for event, after in _moves(exploration, failure, node, saids, at):
            # Letting another node speak costs nothing.
            heapq.heappush(todo, (cost + (event is not None), next(order), after, (at, event)))
    raise AssertionError("what was reached has a path")


def _moves(
    exploration: Exploration, failure: Failure, node: int, saids: list[Said], at: tuple[int, int]
) -> Iterator[tuple[Event | None, tuple[int, int]]]:
    place, state = at
    if state == BROKEN:
        return
    step = failure.history[place] if place < len(failure.history) else None
    if step is not None and step.node != node:
        yield None, (place + 1, state)
    for event in exploration.events(node, saids[place]):
        try:
            after, casts = exploration.graphs[node].after(state, event)
        except Violated as violated:
            if str(violated) == failure.why and step is None and node in failure.goal:
                yield event, (place, BROKEN)
            continue
        if casts == 0:
            yield event, (place, after)
        elif step is not None and step.node == node and step.casts == casts:
            yield event, (place + 1, after)


def _path(came, at) -> list[Taken]:
    path: list[Taken] = []
    while came[at] is not None:
        at, event = came[at]
        if event is not None:
            path.append((at[0], event))
    return path[::-1]


def _line(graph: LocalGraph, names: dict[bytes, str], before: int, event: Event, after: int, casts: int) -> str:
    said = [f"signs {describe(each)}" for place, each in enumerate(STATEMENTS) if casts >> place & 1]
    is_leaving = graph.states[before].core.view == 1 != graph.states[after].core.view
    entered = [f"enters view {graph.states[after].core.view}"] if is_leaving else []
    follows = ", ".join([*said, *entered])
    return f"{names[graph.me]}: {_what(event, names)}" + (f" -> {follows}" if follows else "")


def _what(event: Event, names: dict[bytes, str]) -> str:
    """An event as people write it."""
    who = ", ".join(names[each] for each in event.who)
    match event.what:
        case "late":
            return f"{event.at_ms // 100}Δ have passed"
        case "judged":
            return "its host has judged the block"
        case "restart":
            return "crashes and restarts from its log"
    assert event.statement is not None
    match event.what:
        case "built":
            return f"its host has built {NAMES[event.statement.block_id]}"
        case "proposal":
            return f"proposal {NAMES[event.statement.block_id]} of {who} arrives"
        case "vote":
            return f"{describe(event.statement)} of {who} arrives"
        case _:
            return f"a certificate of {describe(event.statement)} by {who} arrives"
