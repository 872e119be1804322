"""Real `Simplex` cores as values: a copy to step, a key to compare, a host that answers within the step.

The explorers run the machine itself, not a model of it. To branch they copy a core; to notice that two runs came to the
same place they compare keys.
"""

from __future__ import annotations

from collections.abc import Iterator

from consensus import effects as out
from consensus import inputs as on
from consensus.attendance import Attendance
from consensus.effects import Effect
from consensus.simplex import Simplex
from consensus.timers import Timers
from consensus.types import Statement
from consensus.view import ViewState
from consensus.views import Views
from consensus.votes import VoteTally
from tests.consensus.build import vote


def copy_core(core: Simplex) -> Simplex:
    """A core that shares nothing mutable with the one it is copied from; ten times as fast as `copy.deepcopy`."""
    copy = object.__new__(type(core))
    copy.__dict__.update(core.__dict__)
    assert core._statuses is None, "no log is lost here"
    copy._effects = []
    copy._views = _copy_views(core._views)
    copy._timers = _copy_slots(Timers, core._timers)
    attendance = copy._attendance = _copy_slots(Attendance, core._attendance)
    attendance._last_voted = attendance._last_voted.copy()
    return copy


def _copy_slots(kind, original):
    copy = object.__new__(kind)
    for name in kind.__slots__:
        setattr(copy, name, getattr(original, name))
    return copy


def _copy_views(original: Views) -> Views:
    copy = object.__new__(type(original))
    copy.__dict__.update(original.__dict__)
    copy._states = {view: _copy_view(state) for view, state in original._states.items()}
    return copy


def _copy_view(original: ViewState) -> ViewState:
    copy = _copy_slots(ViewState, original)
    copy.own = original.own.copy()
    copy.voters = original.voters.copy()
    tally = copy.tally = _copy_slots(VoteTally, original.tally)
    tally._by_statement = {statement: given.copy() for statement, given in tally._by_statement.items()}
    tally._by_validator = {validator: given.copy() for validator, given in tally._by_validator.items()}
    return copy


def feed(core: Simplex, now_ms: int, happened: on.Input) -> Iterator[Effect]:
    """Steps a core and feeds its own votes back as the host does; yields what it asks for, in order."""
    pending = [happened]
    while pending:
        for effect in core.step(now_ms, pending.pop(0)):
            yield effect
            if isinstance(effect, out.CastVote | out.CastProposal):
                pending.append(on.VoteReceived(vote=vote(core.me, effect.statement)))


def said_in(effects: list[Effect]) -> tuple[Statement, ...]:
    """The statements a core asked its host to sign, in order."""
    return tuple(each.statement for each in effects if isinstance(each, out.CastVote | out.CastProposal))
