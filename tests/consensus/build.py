"""Short words for step lists: four equal validators a, b, c, d in the order they lead views 1, 2, 3, 4."""

from __future__ import annotations

import hashlib

from consensus import effects as out
from consensus import inputs as on
from consensus.effects import Effect
from consensus.leader import leader_cycle
from consensus.simplex import Position, Simplex
from consensus.types import (
    NO_BLOCK,
    Certificate,
    Proposal,
    Statement,
    Validator,
    ValidatorSet,
    Vote,
    VoteKind,
    VoteSignature,
)
from consensus.views import Final

DELTA_MS = 100
IDLE_MS = 1_000
START_MS = 10_000


def identity(word: str) -> bytes:
    return hashlib.sha256(word.encode()).digest()[:20]


def block(word: str) -> bytes:
    return hashlib.sha256(b"block " + word.encode()).digest()


GENESIS = block("genesis")
SET = ValidatorSet(
    validators=tuple(sorted((Validator(id=identity(f"v{n}"), power=1) for n in range(4)), key=lambda member: member.id))
)
A, B, C, D = leader_cycle(SET)


def notarize(view: int, block_id: bytes, epoch: int = 1) -> Statement:
    return Statement(kind=VoteKind.NOTARIZE, epoch=epoch, view=view, block_id=block_id)


def nullify(view: int, epoch: int = 1) -> Statement:
    return Statement(kind=VoteKind.NULLIFY, epoch=epoch, view=view, block_id=NO_BLOCK)


def finalize(view: int, block_id: bytes, epoch: int = 1) -> Statement:
    return Statement(kind=VoteKind.FINALIZE, epoch=epoch, view=view, block_id=block_id)


def vote(who: bytes, statement: Statement) -> Vote:
    return Vote(statement=statement, validator=who, signature=who.ljust(64, b"s"))


def certificate(statement: Statement, *who: bytes) -> Certificate:
    """Signed by a, b, c unless said otherwise."""
    signers = sorted(who or (A, B, C))
    return Certificate(
        statement=statement,
        signatures=tuple(VoteSignature(validator=each, signature=each.ljust(64, b"s")) for each in signers),
    )


def proposal(leader: bytes, view: int, block_id: bytes, parent_id: bytes, parent_view: int) -> Proposal:
    return Proposal(vote=vote(leader, notarize(view, block_id)), parent_id=parent_id, parent_view=parent_view)


def position(epoch: int = 1, final: Final | None = None, validators: ValidatorSet = SET) -> Position:
    return Position(
        epoch=epoch,
        validators=validators,
        final=final or Final(view=0, block_id=GENESIS),
        parent_view=0,
        delta_ms=DELTA_MS,
        empty_block_interval_ms=IDLE_MS,
    )


class Desk:
    """One core, a clock, and a host that signs what it is asked to and feeds it back."""

    def __init__(self, me: bytes | None = D, *, start: bool = True, is_log_lost: bool = False, **changes) -> None:
        self.core = Simplex(me, position(**changes), is_log_lost=is_log_lost)
        self.now_ms = START_MS
        if start:
            self.step(on.Start())

    def step(self, happened) -> tuple[Effect, ...]:
        """What the core asks for, without wake-ups; our own votes are fed back and what follows is appended."""
        effects: list[Effect] = []
        pending = [happened]
        while pending:
            for effect in self.core.step(self.now_ms, pending.pop(0)):
                if isinstance(effect, out.CastVote | out.CastProposal):
                    assert self.core.me is not None
                    pending.append(on.VoteReceived(vote=vote(self.core.me, effect.statement)))
                if not isinstance(effect, out.WakeAt):
                    effects.append(effect)
        return tuple(effects)

    def after(self, milliseconds: int) -> tuple[Effect, ...]:
        """Lets time pass and ticks."""
        self.now_ms += milliseconds
        return self.step(on.Tick())

    def votes(self, statement: Statement, *who: bytes) -> tuple[Effect, ...]:
        """Votes of some validators."""
        return tuple(effect for each in who for effect in self.step(on.VoteReceived(vote=vote(each, statement))))

    def certified(self, statement: Statement, *who: bytes) -> tuple[Effect, ...]:
        """A certificate arrives."""
        return self.step(on.CertificateReceived(certificate=certificate(statement, *who)))

    def proposed(self, leader: bytes, view: int, block_id: bytes, parent_id: bytes, parent_view: int):
        """A proposal arrives."""
        return self.step(on.ProposalReceived(proposal=proposal(leader, view, block_id, parent_id, parent_view)))

    def judged(self, view: int, block_id: bytes, verdict: on.Verdict = on.Verdict.VALID, *, is_work_left=False):
        """The host's answer to JudgeBlock."""
        return self.step(on.BlockJudged(view=view, block_id=block_id, verdict=verdict, is_work_left=is_work_left))


def cast(effects: tuple[Effect, ...]) -> list[Statement]:
    """The statements somebody is asked to sign, in order."""
    return [each.statement for each in effects if isinstance(each, out.CastVote | out.CastProposal)]


def kinds(effects: tuple[Effect, ...]) -> list[type]:
    """The sorts of effects, in order."""
    return [type(effect) for effect in effects]
