"""A validator that collects certificates and keeps them: no forwarding, no proofs for those who ask, late finalizes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from consensus.types import VoteKind
from node.p2p.messages import BlockProposal, Certificates, Message, SyncResponse, Votes
from node.primitives.crypto import PrivateKey
from tests.simulation.world import Behaviour


def withholder(_key: PrivateKey, random_source: random.Random) -> Behaviour:
    """Others must find the proofs among themselves."""

    def outgoing(_peer: bytes, message: Message) -> Sequence[Message]:
        match message:
            case Certificates() | SyncResponse():
                return ()
            case Votes(votes=votes):
                kept = tuple(
                    vote
                    for vote in votes
                    if vote.statement.kind is not VoteKind.FINALIZE or random_source.random() < 0.2
                )
                return (Votes(votes=kept),) if kept else ()
            case BlockProposal():
                return (replace(message, certificates=()),)
            case _:
                return (message,)

    return Behaviour(outgoing=outgoing)
