"""A validator told to lie: the real node, but its next block carries a transaction that no honest one may carry.

`python -m devnet.faults start --home DIR` runs it. It lies once for each file `lie.hex` in its home, which holds an
encoded transaction; when the block is out the file becomes `lied.json` with height and view.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import node.app
from consensus import effects as out
from node.__main__ import main
from node.config import Config, Home
from node.engine import Engine
from node.execution.transaction import Candidate, read_transaction
from node.logs import Logs
from node.proposal import Parent

LIE_FILE = "lie.hex"
LIED_FILE = "lied.json"


class LyingApp(node.app.App):
    """A node whose proposals can be made to lie."""

    def __init__(self, home: Home, config: Config, logs: Logs) -> None:
        super().__init__(home, config, logs)
        self._lies = Lies(home.path, self.replica.genesis_hash)
        self._lies.corrupt(self.replica.engine)


class Lies:
    """Takes the place of an engine's honest choice of transactions when told to."""

    def __init__(self, directory: Path, genesis_hash: bytes) -> None:
        self._directory = directory
        self._genesis_hash = genesis_hash

    def corrupt(self, engine: Engine) -> None:
        """Wraps building a block."""
        build, select = engine._build, engine._select

        def lying_select(parent: Parent) -> Sequence[Candidate]:
            lie = self._lie()
            return select(parent) if lie is None else [lie]

        def lying_build(effect: out.BuildBlock) -> None:
            is_lie = self._lie() is not None
            build(effect)
            if is_lie and engine.core.view == effect.view:
                told = {"epoch": effect.epoch, "view": effect.view}
                (self._directory / LIED_FILE).write_text(json.dumps(told))
                (self._directory / LIE_FILE).unlink()

        engine._select = lying_select  # type: ignore[method-assign]
        engine._build = lying_build  # type: ignore[method-assign]

    def _lie(self) -> Candidate | None:
        path = self._directory / LIE_FILE
        if not path.exists():
            return None
        candidate = read_transaction(bytes.fromhex(path.read_text()), self._genesis_hash)
        # Nothing is verified on the way into this block.
        kind = replace(candidate.kind, verify=lambda _state, _context, _payload, _resources: None)
        return replace(candidate, kind=kind)


if __name__ == "__main__":
    node.app.App = LyingApp  # type: ignore[misc]
    main()
