"""A validator that listens and never says anything."""

from __future__ import annotations

import random

from node.primitives.crypto import PrivateKey
from tests.simulation.world import Behaviour


def silent(_key: PrivateKey, _random: random.Random) -> Behaviour:
    """Nothing goes out."""
    return Behaviour(outgoing=lambda _peer, _message: ())
