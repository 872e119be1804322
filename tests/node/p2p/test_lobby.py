"""The lobby: room for strangers is small, and the ones that show nothing make room for the others."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from node.p2p.lobby import GRACE_S, MOST_VISITORS, MOST_VISITORS_OF_A_SOURCE, Lobby, Stage, source_of


@dataclass(eq=False)
class Visitor:
    source: str
    since_s: float
    stage: Stage = Stage.SILENT


def crowd(lobby: Lobby[Visitor], source: str, count: int, stage: Stage = Stage.SILENT) -> list[Visitor]:
    """Visitors that came at 0, 1, 2 … milliseconds."""
    visitors = [Visitor(source, number / 1000, stage) for number in range(count)]
    for visitor in visitors:
        assert lobby.enter(visitor, visitor.since_s) is None
    return visitors


def test_one_source_has_a_few_places_and_its_oldest_silent_visitor_leaves():
    lobby: Lobby[Visitor] = Lobby()
    visitors = crowd(lobby, "a", MOST_VISITORS_OF_A_SOURCE)
    assert lobby.enter(Visitor("a", 1.0), 1.0) is visitors[0]
    assert lobby.enter(Visitor("a", 1.1), 1.1) is visitors[1]
    assert len(lobby) == MOST_VISITORS_OF_A_SOURCE
    assert lobby.enter(Visitor("b", 1.2), 1.2) is None


def test_when_all_is_full_the_largest_crowd_makes_room_not_the_single_visitor():
    lobby: Lobby[Visitor] = Lobby()
    single = Visitor("single", 0.0)
    assert lobby.enter(single, 0.0) is None
    crowds = {str(number): crowd(lobby, str(number), MOST_VISITORS_OF_A_SOURCE) for number in range(7)}
    rest = crowd(lobby, "rest", MOST_VISITORS - len(lobby))
    assert len(rest) == MOST_VISITORS_OF_A_SOURCE - 1
    for number in range(100):
        leaving = lobby.enter(Visitor(f"new {number}", 2.0), 2.0)
        assert leaving is not None
        if number < len(crowds):
            assert leaving is crowds[leaving.source][0]
        if number < 50:
            assert leaving is not single
        assert len(lobby) == MOST_VISITORS


def test_who_speaks_is_not_turned_out_for_another_until_its_grace_is_over():
    lobby: Lobby[Visitor] = Lobby()
    visitors = crowd(lobby, "a", MOST_VISITORS_OF_A_SOURCE, Stage.SPEAKING)
    newcomer = Visitor("a", GRACE_S / 2)
    assert lobby.enter(newcomer, GRACE_S / 2) is newcomer
    assert len(lobby) == MOST_VISITORS_OF_A_SOURCE
    assert lobby.enter(Visitor("a", GRACE_S), GRACE_S) is visitors[0]


def test_who_has_shown_more_is_turned_out_later():
    lobby: Lobby[Visitor] = Lobby()
    shown = crowd(lobby, "a", 6, Stage.SHOWN)
    speaking = crowd(lobby, "a", 1, Stage.SPEAKING)
    silent = crowd(lobby, "a", 1)
    newcomers = [Visitor("a", 10.0 + number, Stage.SHOWN) for number in range(3)]
    assert [lobby.enter(each, each.since_s) for each in newcomers] == [silent[0], speaking[0], shown[0]]


def test_who_left_takes_no_place():
    lobby: Lobby[Visitor] = Lobby()
    visitors = crowd(lobby, "a", MOST_VISITORS_OF_A_SOURCE)
    assert lobby.leave(visitors[3])
    assert not lobby.leave(visitors[3])
    assert lobby.enter(Visitor("a", 1.0), 1.0) is None
    assert list(lobby)[:4] == [visitors[0], visitors[1], visitors[2], visitors[4]]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_one_machine_is_one_source(one, other, is_same):
    assert (source_of(one) == source_of(other)) is is_same
