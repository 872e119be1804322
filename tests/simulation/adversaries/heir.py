"""A leader that builds on a brother of the certified block and keeps its finalize votes: neither is final soon."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from consensus.types import VoteKind
from node.p2p.messages import Message, Votes
from node.primitives.crypto import PrivateKey
from tests.simulation.adversaries.lying_proposer import BROTHER, LyingProposer
from tests.simulation.world import Behaviour


def heir(key: PrivateKey, random_source: random.Random) -> Behaviour:
    """The brother's body is there for whoever asks."""
    liar = LyingProposer(key, random_source, (BROTHER,))

    def outgoing(_peer: bytes, message: Message) -> Sequence[Message]:
        if not isinstance(message, Votes):
            return (message,)
        kept = tuple(vote for vote in message.votes if vote.statement.kind is not VoteKind.FINALIZE)
        return (replace(message, votes=kept),) if kept else ()

    return Behaviour(prepare=liar.prepare, outgoing=outgoing)
