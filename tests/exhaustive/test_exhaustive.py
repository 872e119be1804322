"""The explorations that a suite has time for, and proof that they find what is broken."""

from __future__ import annotations

import random

import pytest

from consensus import inputs as on
from tests.consensus.build import D
from tests.exhaustive import trace, twins
from tests.exhaustive.local import LocalGraph, Violated, key_of
from tests.exhaustive.mutants import CALM, MORE_VIEWS, ONE_VIEW, TREACHEROUS, NotarizesTwice
from tests.exhaustive.scope import SCOPES, local_events, messages
from tests.exhaustive.view import Exploration, Failure


@pytest.mark.slow
def test_no_order_of_deliveries_timers_and_losses_breaks_a_view_of_four_honest_validators():
    counts = Exploration(CALM).run()
    found = (counts.global_states, counts.local_states, counts.core_steps, counts.histories, counts.outcomes)
    assert found == (138_064_029, 2_296, 39_896, 2_049, 121)


@pytest.mark.slow
@pytest.mark.parametrize("machine", ONE_VIEW, ids=lambda machine: machine.__name__)
def test_broken_machine_is_found_within_a_view(machine):
    scope, why = ONE_VIEW[machine]
    exploration = Exploration(scope, machine)
    with pytest.raises(Failure) as caught:
        exploration.run()
    lines = trace.transcript(exploration, caught.value)
    print("\n".join(lines))
    assert lines[-1].strip() == why


def test_run_to_a_violation_is_short_and_readable():
    exploration = Exploration(TREACHEROUS, NotarizesTwice)
    with pytest.raises(Failure) as caught:
        exploration.run()
    assert [line.strip() for line in trace.transcript(exploration, caught.value)] == [
        "1 B: proposal X of A arrives",
        "2 B: its host has judged the block -> signs notarize(X)",
        "3 B: proposal Y of A arrives",
        "4 B: its host has judged the block -> VIOLATION",
        "an honest validator signs notarize(Y) after notarize(X)",
    ]


@pytest.mark.parametrize("machine", MORE_VIEWS, ids=lambda machine: machine.__name__)
def test_broken_machine_is_found_over_several_views(machine):
    adversary, why = MORE_VIEWS[machine]
    with pytest.raises(twins.Broken) as caught:
        twins.explore(adversary, machine, views=2, has_losses=True)
    lines = twins.transcript(caught.value, machine)
    print("\n".join(lines))
    assert lines[-1] == f"VIOLATION: {why}"


@pytest.mark.slow
def test_every_twins_scenario_of_a_view_is_safe_and_heals():
    for adversary in twins.ADVERSARIES:
        counts = twins.explore(adversary, views=1, most_groups=3, has_losses=True)
        assert counts.scenarios == 2 * 4 * 41


def test_partitions_are_counted_once_and_orbits_cover_them():
    every = twins.rounds(3, has_losses=False)
    assert len(every) == len(set(every)) == 4 * 41
    assert sum(count for _, count in twins.orbits(every)) == 4 * 41


def walk(graph: LocalGraph, source: random.Random, steps: int):
    """A node driven at random among everything that can happen to it."""
    events = [*messages(graph.scope, (3, 7, 25)), *local_events(graph.scope)]
    local = graph.states[graph.first]
    for _ in range(steps):
        try:
            local = graph.happen(local, source.choice(events)) or local
        except Violated:
            break  # these votes contradict each other on purpose: a core that stops is no state
    return local, events


def test_states_with_one_key_have_one_future():
    source = random.Random(1)
    graph = LocalGraph(SCOPES["leader"], D)
    known: dict = {}
    twice = 0
    for _ in range(600):
        local, events = walk(graph, source, source.randint(1, 12))
        other = known.setdefault(key_of(local), local)
        if other is local:
            continue
        twice += 1
        for event in events:
            assert outcome(graph, other, event) == outcome(graph, local, event), event
    assert twice > 50


def outcome(graph: LocalGraph, local, event):
    """Where an event leads, or how it fails."""
    try:
        after = graph.happen(local, event)
    except Violated as violated:
        return str(violated)
    return key_of(after) if after is not None else None


def test_message_that_arrives_twice_changes_nothing():
    source = random.Random(2)
    graph = LocalGraph(SCOPES["leader"], D)
    for _ in range(200):
        local, events = walk(graph, source, source.randint(1, 10))
        for event in events:
            if event.what not in ("vote", "proposal", "certificate") or isinstance(outcome(graph, local, event), str):
                continue
            once = graph.happen(local, event)
            assert once is not None
            again = graph.happen(once, event)
            assert again is not None
            assert (key_of(again), again.said) == (key_of(once), once.said)


def test_questions_of_peers_change_nothing():
    graph = LocalGraph(SCOPES["leader"], D)
    local, _ = walk(graph, random.Random(3), 6)
    before = key_of(local)
    for happened in (on.CertificatesRequested(peer=D, from_view=0, to_view=2), on.PeerConnected(peer=D)):
        local.core.step(local.now_ms, happened)
        assert key_of(local) == before
