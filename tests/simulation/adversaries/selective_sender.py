"""A validator that says each thing to some peers only, so that some know what others never hear."""

from __future__ import annotations

import random
from collections.abc import Sequence

from node.p2p.messages import Message
from node.primitives.crypto import PrivateKey
from tests.simulation.world import Behaviour


def selective_sender(_key: PrivateKey, random_source: random.Random) -> Behaviour:
    """Every message reaches a peer or not, by a coin; a favourite gets everything."""
    favourites: set[bytes] = set()

    def outgoing(peer: bytes, message: Message) -> Sequence[Message]:
        if not favourites:
            favourites.add(peer)
        return (message,) if peer in favourites or random_source.random() < 0.4 else ()

    return Behaviour(outgoing=outgoing)
