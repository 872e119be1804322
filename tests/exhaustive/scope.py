"""What one exploration covers: who is honest, who leads view 1, what may be said, and which messages may arrive when.

A validator's statements of view 1 are five bits; what all honest ones said so far decides which messages there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from consensus import inputs as on
from consensus.inputs import Verdict
from consensus.types import Statement, VoteKind
from tests.consensus.build import DELTA_MS, GENESIS, A, B, C, D, block, certificate, finalize, notarize, nullify, vote
from tests.consensus.build import proposal as make_proposal

X, Y = block("X"), block("Y")
STATEMENTS: tuple[Statement, ...] = (notarize(1, X), notarize(1, Y), nullify(1), finalize(1, X), finalize(1, Y))
"""All that can be said in view 1, one bit each."""
BIT = {statement: 1 << place for place, statement in enumerate(STATEMENTS)}
EVERYTHING = (1 << len(STATEMENTS)) - 1
NAMES = {A: "A", B: "B", C: "C", D: "D", X: "X", Y: "Y"}
QUORUM = 3

Said = tuple[int, ...]
"""What each honest validator said, in the order of `Scope.honest`."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that can happen to one node; the input it means is made by `input_of`."""

    what: str
    """proposal, vote, certificate, judged, built, late or restart."""
    statement: Statement | None = None
    """Of a proposal the leader's notarize."""
    who: tuple[bytes, ...] = ()
    """Who signed."""
    at_ms: int = 0
    """When a timer fires, counted from the entry into the view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Four validators of equal power and A the leader of view 1."""

    name: str
    """One line for the table."""
    byzantine: bytes | None
    """Who may sign anything, send it to anybody at any time, and see every message; nobody if None."""
    invalid: frozenset[bytes] = frozenset()
    """Blocks that no honest host finds valid."""
    has_restarts: bool = True
    """Whether nodes may crash and restart from their logs, at any time and any number of times."""

    @property
    def honest(self) -> tuple[bytes, ...]:
        """Who runs the real core."""
        return tuple(each for each in (A, B, C, D) if each != self.byzantine)

    def verdict(self, block_id: bytes) -> Verdict:
        """What every honest host finds."""
        return Verdict.INVALID if block_id in self.invalid else Verdict.VALID


SCOPES = {
    "faultless": Scope(name="four honest validators", byzantine=None),
    "leader": Scope(name="the leader is Byzantine", byzantine=A),
    "liar": Scope(name="the leader is Byzantine, one of its two blocks invalid", byzantine=A, invalid=frozenset({Y})),
    "follower": Scope(name="a follower is Byzantine", byzantine=B),
}


def supporters(scope: Scope, said: Said, bit: int) -> tuple[bytes, ...]:
    """Everybody whose signature under a statement exists, the Byzantine validator's always."""
    signed = [who for who, mask in zip(scope.honest, said, strict=True) if mask & bit]
    return tuple(sorted(signed if scope.byzantine is None else [*signed, scope.byzantine]))


def certified(scope: Scope, said: Said) -> int:
    """The statements of which a quorum of signatures exists."""
    return sum(bit for bit in BIT.values() if len(supporters(scope, said, bit)) >= QUORUM)


@cache
def messages(scope: Scope, said: Said) -> tuple[Event, ...]:
    """Every message somebody can send when the honest validators have said this much.

    A certificate exists as soon as its signatures do: the Byzantine validator, or an observer,
    may have put it together.
    """
    known = dict(zip(scope.honest, said, strict=True))
    if scope.byzantine is not None:
        known[scope.byzantine] = EVERYTHING
    votes = [
        Event("vote", statement, (who,)) for who, mask in known.items() for statement, bit in BIT.items() if mask & bit
    ]
    proposals = [Event("proposal", statement, (A,)) for statement in STATEMENTS[:2] if known[A] & BIT[statement]]
    proofs = [
        Event("certificate", statement, supporters(scope, said, bit))
        for statement, bit in BIT.items()
        if certified(scope, said) & bit
    ]
    return (*proposals, *votes, *proofs)


LATE = tuple(Event("late", at_ms=deltas * DELTA_MS) for deltas in (2, 3))
JUDGED, RESTART = Event("judged"), Event("restart")
BUILT = tuple(Event("built", statement) for statement in STATEMENTS[:2])


def local_events(scope: Scope) -> tuple[Event, ...]:
    """What can happen to a node at any time without a message; the host ignores what its core did not ask for."""
    return (*LATE, JUDGED, *BUILT, *((RESTART,) if scope.has_restarts else ()))


@cache
def input_of(event: Event) -> on.Input:
    """The message as the core gets it."""
    statement = event.statement
    assert statement is not None
    match event.what:
        case "proposal":
            return on.ProposalReceived(proposal=make_proposal(A, 1, statement.block_id, GENESIS, 0))
        case "vote":
            return on.VoteReceived(vote=vote(event.who[0], statement))
        case "certificate":
            return on.CertificateReceived(certificate=certificate(statement, *event.who))
        case _:
            raise AssertionError(f"{event.what} is no message")


def describe(statement: Statement) -> str:
    """A statement as people write it."""
    name = {VoteKind.NOTARIZE: "notarize", VoteKind.NULLIFY: "nullify", VoteKind.FINALIZE: "finalize"}[statement.kind]
    return name if statement.kind is VoteKind.NULLIFY else f"{name}({NAMES[statement.block_id]})"
