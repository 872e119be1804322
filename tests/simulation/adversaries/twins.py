"""A validator run twice: two honest instances with one key, each with a log of its own, contradicting each other."""

from __future__ import annotations

import random

from node.primitives.crypto import PrivateKey
from tests.simulation.adversaries import never_stop_at_own_signature
from tests.simulation.world import Behaviour


def twins(_key: PrivateKey, _random: random.Random) -> Behaviour:
    """One of the two; each receives what is sent to either."""
    return Behaviour(prepare=never_stop_at_own_signature)
