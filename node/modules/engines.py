"""Attribution engines that the chain accepts: from genesis, or by a vote from a later height on.

An engine is a name with a version, and the tables it computes with. A vote activates a new one at a height at least an
epoch ahead, so that every operator can install a program that knows it. Nothing of an engine ever changes: another
arithmetic is another name. A retired one takes no new models; those that it has go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from node.errors import TransactionReason, TransactionRejected
from node.modules.context import BlockContext, State
from node.primitives.crypto import Hash
from node.state.table import Reader, Singleton
from node.storage.schema import Prefix
from node.types.genesis import EngineEntry

MOST_ENGINES = 64
USUAL_COST_PERMILLE = 1_000
"""A multiply-accumulate of an engine counts as one."""

EngineName = Annotated[str, range(1, 33)]
CostPermille = Annotated[int, range(1, 1_000_001)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine, and from when on."""

    name: EngineName
    """Name with version: `head/1`."""
    tables_hash: Hash
    """Hash of the constant tables it computes with."""
    cost_permille: CostPermille
    """What its work counts, in 1/1000 of its multiply-accumulates."""
    from_height: Annotated[int, range(2**48)]
    """Models are registered with it from this block on."""
    is_retired: bool
    """Whether it takes no new models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """All engines."""

    engines: Annotated[tuple[Engine, ...], range(MOST_ENGINES + 1)]
    """Sorted by name."""

    def find(self, name: str) -> Engine | None:
        """The engine of a name."""
        return next((each for each in self.engines if each.name == name), None)


ENGINES = Singleton(Prefix.ENGINES, Engines)
"""The one value."""


def first_engines(entries: tuple[EngineEntry, ...]) -> Engines:
    """Those of genesis."""
    return Engines(
        engines=tuple(
            Engine(
                name=each.name,
                tables_hash=each.tables_hash,
                cost_permille=USUAL_COST_PERMILLE,
                from_height=0,
                is_retired=False,
            )
            for each in entries
        )
    )


def require_engine(state: Reader, name: str, height: int) -> None:
    """A model may be registered with an engine. Raises: TransactionRejected ENGINE_INACTIVE."""
    found = ENGINES.get(state).find(name)
    if found is None:
        known = ", ".join(each.name for each in ENGINES.get(state).engines)
        raise TransactionRejected(TransactionReason.ENGINE_INACTIVE, f"the chain's engines are {known}")
    if height < found.from_height:
        raise TransactionRejected(TransactionReason.ENGINE_INACTIVE, f"{name} is active from {found.from_height}")
    if found.is_retired:
        raise TransactionRejected(TransactionReason.ENGINE_INACTIVE, f"{name} takes no new models")


def cost_of(state: Reader, name: str, multiply_accumulates: int) -> int:
    """What an engine's work counts, rounded up."""
    found = ENGINES.get(state).find(name)
    assert found is not None, "an engine is never forgotten"
    return -(-multiply_accumulates * found.cost_permille // USUAL_COST_PERMILLE)


def add_engine(state: State, block: BlockContext, added: Engine) -> None:
    """Raises: TransactionRejected ALREADY_EXISTS, NOT_ADMISSIBLE, TOO_MANY."""
    engines = ENGINES.get(state)
    if engines.find(added.name) is not None:
        raise TransactionRejected(TransactionReason.ALREADY_EXISTS, "another arithmetic has another name")
    earliest = block.height + block.parameters.epoch_length_heights
    if added.from_height < earliest:
        raise TransactionRejected(TransactionReason.NOT_ADMISSIBLE, f"an epoch ahead: height {earliest} or later")
    if len(engines.engines) >= MOST_ENGINES:
        raise TransactionRejected(TransactionReason.TOO_MANY, f"at most {MOST_ENGINES} engines")
    ENGINES.put(state, Engines(engines=tuple(sorted((*engines.engines, added), key=lambda each: each.name))))


def retire_engine(state: State, name: str) -> None:
    """No new models. Raises: TransactionRejected NOT_FOUND, ALREADY_DONE."""
    engines = ENGINES.get(state)
    found = engines.find(name)
    if found is None:
        raise TransactionRejected(TransactionReason.NOT_FOUND, f"no engine {name}")
    if found.is_retired:
        raise TransactionRejected(TransactionReason.ALREADY_DONE, "it takes no new models already")
    changed = replace(found, is_retired=True)
    ENGINES.put(state, Engines(engines=tuple(changed if each is found else each for each in engines.engines)))


def lacking(engines: Engines, tables: Mapping[str, bytes]) -> tuple[Engine, ...]:
    """Engines that a program with these tables does not know."""
    return tuple(each for each in engines.engines if tables.get(each.name) != each.tables_hash)
