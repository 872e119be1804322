"""A validator that sends old messages again, its own and everybody else's, from every epoch it saw."""

from __future__ import annotations

import random
from collections.abc import Sequence

from node.p2p.messages import BlockProposal, Certificates, Message, Status, Transactions, Votes
from node.primitives.crypto import PrivateKey
from tests.simulation.world import Behaviour

REMEMBERED = 400
WORTH_REPEATING = (Votes, Certificates, BlockProposal, Transactions, Status)


def replayer(_key: PrivateKey, random_source: random.Random) -> Behaviour:
    """With each message some old ones."""
    seen: list[Message] = []

    def incoming(_peer: bytes, message: Message) -> None:
        if isinstance(message, WORTH_REPEATING):
            if len(seen) < REMEMBERED:
                seen.append(message)
            else:
                seen[random_source.randrange(REMEMBERED)] = message

    def outgoing(_peer: bytes, message: Message) -> Sequence[Message]:
        again = random_source.choices(seen, k=random_source.randint(0, 2)) if seen else []
        return (message, *again)

    return Behaviour(outgoing=outgoing, incoming=incoming)
