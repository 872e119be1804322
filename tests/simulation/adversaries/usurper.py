"""A validator that proposes in views that others lead, the moment it enters them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from consensus.effects import Effect
from consensus.inputs import Input
from consensus.types import Statement, Vote, VoteKind
from consensus.views import Base
from node.errors import BlockRejected
from node.p2p.messages import BlockProposal
from node.primitives.crypto import PrivateKey
from node.proposal import ParentPending
from node.replica import Replica
from node.types.signed import vote_digest
from tests.simulation.adversaries import never_stop_at_own_signature
from tests.simulation.world import Behaviour


@dataclass
class Usurper:
    """One of them."""

    key: PrivateKey
    last: tuple[int, int] = (0, 0)
    """The (epoch, view) it spoke in last."""

    def prepare(self, replica: Replica) -> None:
        """Looks at each step of its core whether a new view began."""
        never_stop_at_own_signature(replica)
        core = replica.engine.core
        honest_step = core.step

        def step(now_ms: int, happened: Input) -> tuple[Effect, ...]:
            effects = honest_step(now_ms, happened)
            here = (core.epoch, core.view)
            if here > self.last:
                self.last = here
                self._propose(replica)
            return effects

        core.step = step  # type: ignore[method-assign]

    def _propose(self, replica: Replica) -> None:
        core = replica.engine.core
        base = core._views.find_base(core.view)
        if not isinstance(base, Base) or core.leader_of(core.view) == self.key.address:
            return
        try:
            executed = replica.tree.build(
                base.parent_id,
                view=core.view,
                parent_view=base.parent_view,
                now_ms=replica.host.wall_ms(),
                proposer=self.key.address,
                select=lambda _parent: (),
                on_rejected=lambda _candidate, _error: None,
            )
        except (ParentPending, BlockRejected):
            return
        statement = Statement(kind=VoteKind.NOTARIZE, epoch=core.epoch, view=core.view, block_id=executed.block_id)
        digest = vote_digest(replica.genesis_hash, statement)
        vote = Vote(statement=statement, validator=self.key.address, signature=self.key.sign(digest))
        message = BlockProposal(
            vote=vote, parent_view=base.parent_view, block=executed.block, certificates=base.certificates
        )
        replica.host.broadcast(message)


def usurper(key: PrivateKey, _random: random.Random) -> Behaviour:
    """Never waits for its turn."""
    return Behaviour(prepare=Usurper(key).prepare)
