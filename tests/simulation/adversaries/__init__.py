"""Byzantine behaviours, one a file. Each makes a `Behaviour` of a key and a source of randomness."""

from __future__ import annotations

from node.replica import Replica


def never_stop_at_own_signature(replica: Replica) -> None:
    """An adversary does not stop when it meets a signature of its own that is not in its log."""
    core = replica.engine.core
    core._is_own = (  # type: ignore[method-assign]
        lambda state, statement: state.own.get(statement.kind) == statement.block_id
    )
