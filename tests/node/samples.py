"""A value of every wire class there is, made from the class alone: for golden vectors and round trips.

Everything is a function of names, so that a value changes only when its class does.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import types
import typing
from collections.abc import Iterator
from dataclasses import is_dataclass
from enum import IntEnum
from typing import Annotated, Any

import node
from consensus.types import NO_BLOCK, Certificate, Statement, Vote, VoteKind, VoteSignature
from node.modules.challenges import ChallengeRecord
from node.modules.datanets import RejectionReason, Review
from node.primitives.codec import bound_of, schema_of, wire_fields
from node.types.genesis import EngineEntry, Genesis, GenesisAccount, GenesisValidator
from node.types.parameters import Parameters
from node.types.validator import NodeEntry, Validator, ValidatorSet, sorted_validator_set

NO_WIRE_CLASSES = frozenset(
    [
        "Basis",
        "BlockContext",
        "Candidate",
        "Credited",
        "Evidence",
        "Excess",
        "FeeSplit",
        "FinalBlock",
        "Parent",
        "Snapshot",
    ]
)
"""Frozen classes with keywords that never become bytes."""
OTHERS_PACKAGES = ("node.api", "node.cli", "node.web")
"""Packages whose classes are no wire classes, and which need not be imported for them."""


def wire_classes() -> dict[str, type]:
    """Every wire class of the node by name; names are unique, because JSON is named by them."""
    found: dict[str, type] = {each.__name__: each for each in (Statement, Vote, VoteSignature, Certificate)}
    for module in _modules():
        for value in vars(module).values():
            if _is_wire_class(value) and value.__module__ == module.__name__:
                assert value.__name__ not in found, f"two wire classes are named {value.__name__}"
                found[value.__name__] = value
    return dict(sorted(found.items()))


def sample(wire_class: type, path: str = "") -> Any:
    """A value of a wire class."""
    path = path or wire_class.__name__
    special = SPECIAL.get(wire_class)
    if special is not None:
        return special(path)
    return wire_class(**{name: _sample_field(hint, f"{path}.{name}") for name, hint in wire_fields(wire_class)})


def digest(path: str, size_bytes: int = 32) -> bytes:
    """Bytes that look random and are always the same."""
    found = b""
    while len(found) < size_bytes:
        found += hashlib.sha256(f"{path} {len(found)}".encode()).digest()
    return found[:size_bytes]


def _sample_field(hint: Any, path: str) -> Any:
    bound = bound_of(hint)
    bare = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    if bare is bool:
        return digest(path)[0] % 2 == 1
    if isinstance(bare, type) and issubclass(bare, IntEnum):
        return list(bare)[digest(path)[0] % len(bare)]
    if bare is int:
        bound = bound or range(-(2**63), 2**63)
        return bound.start + int.from_bytes(digest(path), "big") % min(len_of(bound), 10**12)
    if bare in (bytes, str):
        assert bound is not None
        size = min(max(bound.start, 12), bound.stop - 1)
        return digest(path, size) if bare is bytes else digest(path, size).hex()[:size]
    if typing.get_origin(bare) is tuple:
        assert bound is not None
        count = min(max(bound.start, 2), bound.stop - 1)
        return tuple(_sample_field(typing.get_args(bare)[0], f"{path}[{index}]") for index in range(count))
    if isinstance(bare, types.UnionType):
        members = typing.get_args(bare)
        return sample(members[digest(path)[0] % len(members)], path)
    return sample(bare, path)


def len_of(bound: range) -> int:
    """The length of a range that may be too long for `len`."""
    return (bound.stop - bound.start) // bound.step


def _is_wire_class(value: object) -> bool:
    if not (isinstance(value, type) and is_dataclass(value)):
        return False
    parameters = value.__dataclass_params__  # type: ignore[attr-defined]
    if not (parameters.frozen and "__slots__" in vars(value)) or value.__name__ in NO_WIRE_CLASSES:
        return False
    try:
        schema_of(value)
    except (AssertionError, TypeError):
        return False
    return True


def _modules() -> Iterator[types.ModuleType]:
    for info in pkgutil.walk_packages(node.__path__, "node."):
        if info.name.startswith(OTHERS_PACKAGES) or info.name.endswith("__main__"):
            continue
        top = info.name.removeprefix("node.").split(".")[0]
        if top in ("primitives", "types", "storage", "state", "modules", "execution", "p2p"):
            yield importlib.import_module(info.name)


def _statement(path: str) -> Statement:
    kind = list(VoteKind)[digest(path)[0] % 3]
    block_id = NO_BLOCK if kind is VoteKind.NULLIFY else digest(f"{path}.block_id")
    return Statement(kind=kind, epoch=1 + digest(path)[1], view=1 + digest(path)[2], block_id=block_id)


def _validator_set(path: str) -> ValidatorSet:
    members = tuple(sample(Validator, f"{path}.validators[{index}]") for index in range(2))
    return sorted_validator_set(tuple(_with_power(member, 1 + index) for index, member in enumerate(members)))


def _with_power(validator: Validator, power: int) -> Validator:
    return Validator(operator=validator.operator, consensus_key=validator.consensus_key, power=power)


def _genesis(path: str) -> Genesis:
    parameters = Parameters(epoch_length_heights=77)
    operators = sorted(digest(f"{path}.operators[{index}]", 20) for index in range(2))
    return Genesis(
        chain_name="vectors",
        version=1,
        time_ms=1_700_000_000_000,
        parameters=parameters,
        engines=(EngineEntry(name="head/1", tables_hash=digest(f"{path}.tables")),),
        accounts=tuple(
            GenesisAccount(address=address, balance_units=10**12, bond_units=parameters.validator_bond_units, roles=31)
            for address in operators
        ),
        validators=tuple(
            GenesisValidator(
                operator=address,
                consensus_key=digest(f"{path}.keys[{index}]"),
                power=1 + index,
                node=sample(NodeEntry, f"{path}.nodes[{index}]"),
            )
            for index, address in enumerate(operators)
        ),
        observers=(sample(NodeEntry, f"{path}.observers[0]"),),
    )


SPECIAL: dict[type, typing.Callable[[str], Any]] = {
    Statement: _statement,
    ValidatorSet: _validator_set,
    Genesis: _genesis,
    Parameters: lambda _path: Parameters(),
    ChallengeRecord: lambda path: ChallengeRecord(
        datanet=digest(path), record=digest(f"{path}.record"), reason=RejectionReason.PERSONAL_DATA
    ),
    Review: lambda path: Review(contribution=digest(path), is_accepted=False, reason=RejectionReason.NOT_GENUINE),
}
"""Classes whose fields must agree with each other."""
