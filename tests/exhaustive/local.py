"""Everything that can happen to one node in view 1: the reachable states of its real core, found as they are needed.

Nodes differ only in their role (leader or follower) and in the names of the others, which the core treats as opaque; so
all followers share one graph, seen by D, and events are renamed before they are looked up.
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus import effects as out
from consensus import inputs as on
from consensus.effects import Effect
from consensus.evidence import Evidence
from consensus.simplex import Simplex
from consensus.types import VoteKind
from tests.consensus.build import A, B, C, D, position, vote
from tests.exhaustive.core import copy_core, feed, said_in
from tests.exhaustive.scope import BIT, QUORUM, STATEMENTS, Event, Scope, describe, input_of

WIDTH = len(STATEMENTS)
SHIFT = {validator: WIDTH * place for place, validator in enumerate((A, B, C, D))}
CONFLICTS = {
    bit: sum(
        other_bit
        for other, other_bit in BIT.items()
        if other != statement
        and (other.kind is statement.kind or {other.kind, statement.kind} == {VoteKind.NULLIFY, VoteKind.FINALIZE})
    )
    for statement, bit in BIT.items()
}
"""What nobody honest says beside a statement, written down apart from the core: two of a kind, finalize + nullify."""


class Violated(Exception):
    """A claim does not hold; says which."""


@dataclass(slots=True)
class Local:
    """One node: its core, its own clock since it entered the view, and what it ever signed."""

    core: Simplex
    now_ms: int
    said: int


Key = tuple[object, ...]


def tallied(local: Local) -> int:
    """The votes of view 1 that a core remembers, five bits a validator."""
    state = local.core._views.known(1)
    given = state.tally._by_validator if state is not None else {}
    return sum(BIT[each.statement] << SHIFT[who] for who, votes in given.items() for each in votes)


def held(local: Local) -> int:
    """The certificates of view 1 that a core holds."""
    state = local.core._views.known(1)
    return sum(BIT[each.statement] for each in state.certificates()) if state is not None else 0


def key_of(local: Local) -> Key:
    """What decides everything a node will still do in view 1.

    Left out: who signed the certificates held (a core asks only whether it is among them, which it
    is only with a vote it gave), the order in which votes came, attendance (idle for five views), what is
    only for repeating oneself (every message is deliverable for ever), and the clock and everything of view 2 after
    the node left view 1. `test_states_with_one_key_have_one_future` checks this on the core itself.
    """
    core = local.core
    state = core._views.known(1)
    is_in = core._view == 1
    assert state is not None, "every core knows the view it begins in"
    return (
        is_in,
        local.now_ms if is_in else 0,
        local.said,
        tallied(local),
        held(local),
        tuple(sorted(state.own.items())),
        state.proposal.block_id if state.proposal is not None else None,
        state.is_judging,
        state.verdict,
        state.is_building if is_in else False,
        core.final,
        core._is_halted,
    )


class LocalGraph:
    """The states of one role; states and events are numbered."""

    def __init__(self, scope: Scope, me: bytes, machine: type[Simplex] = Simplex) -> None:
        self.scope, self.me, self.machine = scope, me, machine
        self.states: list[Local] = []
        self.keys: list[Key] = []
        self.transitions = 0
        """Steps of a core."""
        self._ids: dict[Key, int] = {}
        self._edges: list[dict[Event, tuple[int, int]]] = []
        core = machine(me, position())
        for happened in (on.Start(), on.WorkAvailable()):
            for effect in core.step(0, happened):
                assert isinstance(effect, out.BuildBlock | out.WakeAt), effect
        self.first = self._add(Local(core, 0, 0))

    def after(self, state: int, event: Event) -> tuple[int, int]:
        """The state after an event, and what the node said in it. Raises: Violated."""
        edges = self._edges[state]
        if event not in edges:
            self.transitions += 1
            before = self.states[state]
            local = self.happen(before, event)
            edges[event] = (state, 0) if local is None else (self._add(local), local.said & ~before.said)
        return edges[event]

    def happen(self, before: Local, event: Event) -> Local | None:
        """The node after an event; None when there is nothing for the event to do."""
        state = before.core._views.known(1)
        assert state is not None
        happened: on.Input
        match event.what:
            case "restart":
                return self._restart(before)
            case "late":
                if before.now_ms >= event.at_ms or before.core._view != 1:
                    return None
                return self._step(before, event, event.at_ms, on.Tick())
            case "judged":
                if not state.is_judging or state.proposal is None:
                    return None
                block_id = state.proposal.block_id
                happened = on.BlockJudged(
                    view=1, block_id=block_id, verdict=self.scope.verdict(block_id), is_work_left=True
                )
            case "built":
                assert event.statement is not None
                # The first block an honest leader makes public is called X; another one can only follow a restart.
                is_first = event.statement == STATEMENTS[0]
                if not state.is_building or state.own or is_first is bool(before.said & 1):
                    return None
                happened = on.BlockBuilt(epoch=1, view=1, block_id=event.statement.block_id, is_work_left=True)
            case _:
                happened = input_of(event)
        return self._step(before, event, before.now_ms, happened)

    def _step(self, before: Local, event: Event, now_ms: int, happened: on.Input) -> Local:
        local = Local(copy_core(before.core), now_ms, before.said)
        effects = list(feed(local.core, now_ms, happened))
        self._check(before, local, event, effects)
        return local

    def _restart(self, before: Local) -> Local:
        """A crash between two inputs: what was signed and certified is in the log, everything else is gone."""
        core = self.machine(self.me, position())
        votes = [vote(self.me, statement) for statement, bit in BIT.items() if before.said & bit]
        core.restore(votes, before.core.retained_certificates())
        local = Local(core, 0, before.said)
        effects = [*feed(core, 0, on.Start()), *feed(core, 0, on.WorkAvailable())]
        self._check(before, local, Event("restart"), effects)
        return local

    def _add(self, local: Local) -> int:
        key = key_of(local)
        known = self._ids.get(key)
        if known is None:
            known = self._ids[key] = len(self.states)
            self.states.append(local)
            self.keys.append(key)
            self._edges.append({})
        return known

    def _check(self, before: Local, after: Local, event: Event, effects: list[Effect]) -> None:
        """What a single step must never do, whatever came before."""
        for statement in said_in(effects):
            bit = BIT[statement]
            if after.said & CONFLICTS[bit]:
                earlier = ", ".join(describe(each) for each in STATEMENTS if after.said & CONFLICTS[bit] & BIT[each])
                raise Violated(f"an honest validator signs {describe(statement)} after {earlier}")
            after.said |= bit
        votes = tallied(after)
        for effect in effects:
            match effect:
                case out.Halt(why=why):
                    raise Violated(f"an honest node stops: {why}")
                case out.StoreCertificate(certificate=certificate):
                    self._check_certificate(certificate, event, votes)
                case out.ReportEvidence(evidence=evidence):
                    self._check_evidence(evidence)
        self._check_nothing_escapes(before, event, effects)

    def _check_certificate(self, certificate, event: Event, votes: int) -> None:
        signers = {entry.validator for entry in certificate.signatures}
        what = describe(certificate.statement)
        if len(signers) < QUORUM:
            raise Violated(f"a certificate of {what} with {len(signers)} signatures is accepted")
        bit = BIT[certificate.statement]
        is_given = event.what == "certificate" and event.statement == certificate.statement
        if not is_given and any(not votes & bit << SHIFT[who] for who in signers):
            raise Violated(f"a certificate of {what} is made without the votes for it")

    def _check_evidence(self, evidence: Evidence) -> None:
        first, second = evidence.first, evidence.second
        if first.validator != self.scope.byzantine or second.validator != first.validator:
            raise Violated("an honest validator is accused")
        if not CONFLICTS[BIT[first.statement]] & BIT[second.statement]:
            raise Violated(f"{describe(first.statement)} and {describe(second.statement)} are called a contradiction")

    def _check_nothing_escapes(self, before: Local, event: Event, effects: list[Effect]) -> None:
        if event.what not in ("vote", "proposal") or event.who[0] != self.scope.byzantine:
            return
        assert event.statement is not None
        bit = BIT[event.statement]
        known = tallied(before) >> SHIFT[event.who[0]] & (1 << WIDTH) - 1
        is_double = not known & bit and bool(known & CONFLICTS[bit])
        if is_double and not any(isinstance(each, out.ReportEvidence) for each in effects):
            raise Violated(f"a double vote, {describe(event.statement)}, goes unnoticed")
