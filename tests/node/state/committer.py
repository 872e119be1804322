"""Commits blocks as fast as it can until it is killed. Arguments: directory, seed."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from node.modules.escrow import ESCROWS, Escrow
from node.state.store import StateStore
from node.state.view import Layer, View
from node.storage.kv import LevelStore

ACCOUNTS = 40


def layer_of(state: StateStore, seed: int, height: int) -> Layer:
    """What the block of a height changes: a function of seed and height."""
    chooser = random.Random(seed * 1_000_003 + height)
    view = View(state)
    for _ in range(12):
        key = chooser.randrange(ACCOUNTS).to_bytes(32, "big")
        if chooser.random() < 0.3:
            ESCROWS.delete(view, key)
        else:
            ESCROWS.put(view, key, Escrow(balance_units=chooser.randrange(10**12)))
    return view.seal()


def main() -> None:
    directory, seed = Path(sys.argv[1]), int(sys.argv[2])
    state = StateStore(LevelStore(directory))
    for height in range(state.tip.height + 1, 10**9):
        state.commit(height, layer_of(state, seed, height), {})
        sys.stdout.write(f"{height}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
