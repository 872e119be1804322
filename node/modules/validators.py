"""The registry of validators and nodes, and what governs an epoch. Changes take effect at an epoch's end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from consensus.quorum import is_quorum_power
from node.errors import TransactionReason, TransactionRejected
from node.modules.accounts import load_account
from node.modules.context import BlockContext, Context, State
from node.primitives.crypto import Address, PublicKey, Signature, Tag, address_of, is_valid_signature, signing_digest
from node.state.table import Reader, Singleton, Table
from node.storage.schema import Prefix
from node.types.genesis import MOST_OBSERVERS
from node.types.parameters import Parameters
from node.types.transaction import Height
from node.types.validator import (
    LARGEST_POWER,
    MOST_VALIDATORS,
    NodeEntry,
    Validator,
    ValidatorSet,
    sorted_validator_set,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Governing:
    """What governs the current epoch."""

    version: Annotated[int, range(1, 2**16)]
    """Protocol version."""
    epoch: Annotated[int, range(1, 2**48)]
    """The epoch."""
    first_height: Height
    """Its first block."""
    parameters: Parameters
    """Its parameters."""
    validators: ValidatorSet
    """Who votes in it."""

    @property
    def last_height(self) -> int:
        """Its last block."""
        return self.first_height + self.parameters.epoch_length_heights - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A validator as it will be from the next epoch on."""

    operator: Address
    """The account that answers for it."""
    consensus_key: PublicKey
    """What it signs votes with."""
    power: Annotated[int, range(1, LARGEST_POWER + 1)]
    """Its voting power."""
    node: NodeEntry
    """The node it runs on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Who is admitted to the network."""

    candidates: Annotated[tuple[Candidate, ...], range(MOST_VALIDATORS + 1)]
    """Validators from the next epoch on, sorted by operator."""
    observers: Annotated[tuple[NodeEntry, ...], range(MOST_OBSERVERS + 1)]
    """Nodes that follow without a vote, removed validators' nodes among them."""

    def nodes(self) -> tuple[NodeEntry, ...]:
        """Every node that others accept connections from."""
        return tuple(candidate.node for candidate in self.candidates) + self.observers

    def candidate(self, operator: bytes) -> Candidate | None:
        """The candidate an account answers for."""
        return next((each for each in self.candidates if each.operator == operator), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upcoming:
    """What takes effect at the epoch's end, besides the registry."""

    version: Annotated[int, range(1, 2**16)]
    """Protocol version of the next epoch."""
    parameters: Parameters
    """Parameters of the next epoch."""


GOVERNING = Singleton(Prefix.GOVERNING, Governing)
"""The one value."""
REGISTRY = Singleton(Prefix.REGISTRY, Registry)
"""The one value."""
UPCOMING = Singleton(Prefix.PENDING, Upcoming)
"""The one value."""
PAST_SETS = Table(Prefix.PAST_SET, ValidatorSet)
"""Sets of past epochs by epoch, as long as evidence is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateConsensusKey:
    """A validator's operator replaces its consensus key, from the next epoch on."""

    new_consensus_key: PublicKey
    """The key that signs votes then."""
    possession: Signature
    """The new key's signature over the operator's address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusKeyRotated:
    """A validator has a new consensus key from the next epoch on."""

    NAME: ClassVar[str] = "consensus_key_rotated"

    operator: Address
    """Who answers for the validator."""
    consensus_key: PublicKey
    """The new key."""


def epoch_key(epoch: int) -> bytes:
    """An epoch as a table key."""
    return epoch.to_bytes(8, "big")


def possession_digest(genesis_hash: bytes, operator: bytes) -> bytes:
    """What a consensus key signs to show that its holder wants it registered for an operator."""
    return signing_digest(Tag.ROTATE_CONSENSUS_KEY, genesis_hash, operator)


def is_candidate(state: Reader, operator: bytes) -> bool:
    """Whether an account answers for a validator."""
    return REGISTRY.get(state).candidate(operator) is not None


def validator_set_of(state: Reader, epoch: int) -> ValidatorSet | None:
    """Who votes or voted in an epoch, if that is still remembered."""
    governing = GOVERNING.get(state)
    return governing.validators if epoch == governing.epoch else PAST_SETS.get(state, epoch_key(epoch))


def put_candidates(state: State, candidates: tuple[Candidate, ...]) -> None:
    """Replaces the candidates.

    Raises: TransactionRejected NOT_ADMISSIBLE when they would leave no quorum of bonded validators, are too many, too
    powerful, or share keys or nodes.
    """
    registry = REGISTRY.get(state)
    changed = replace(registry, candidates=tuple(sorted(candidates, key=lambda each: each.operator)))
    require_bonded_quorum(state, candidates, UPCOMING.get(state).parameters.validator_bond_units)
    total = _power(candidates)
    problems = {
        f"total power is at most {LARGEST_POWER}": total > LARGEST_POWER,
        f"there are at most {MOST_VALIDATORS} validators": len(candidates) > MOST_VALIDATORS,
        "a consensus key is registered twice": _has_twins([each.consensus_key for each in candidates]),
        "a node is registered twice": _has_twins([each.certificate for each in changed.nodes()]),
    }
    for problem, is_there in problems.items():
        if is_there:
            raise TransactionRejected(TransactionReason.NOT_ADMISSIBLE, problem)
    REGISTRY.put(state, changed)


def require_bonded_quorum(state: Reader, candidates: tuple[Candidate, ...], required_units: int) -> None:
    """Rule 12. Raises: TransactionRejected NOT_ADMISSIBLE when those with a bond are no quorum of the candidates."""
    if not is_quorum_power(_power(_bonded(state, candidates, required_units)), _power(candidates)):
        raise TransactionRejected(TransactionReason.NOT_ADMISSIBLE, "it would leave no quorum of bonded validators")


def demote(state: State, operator: bytes) -> None:
    """Removes a candidate for what it did; its node stays as an observer. The last one stays."""
    registry = REGISTRY.get(state)
    candidate = registry.candidate(operator)
    others = tuple(each for each in registry.candidates if each.operator != operator)
    if candidate is None or not others:
        return
    observers = registry.observers
    if len(observers) < MOST_OBSERVERS:
        observers = (*observers, candidate.node)
    REGISTRY.put(state, Registry(candidates=others, observers=observers))


def apply_rotate_consensus_key(state: State, context: Context, payload: RotateConsensusKey) -> None:
    """Sets the candidate's key, if its holder agrees."""
    registry = REGISTRY.get(state)
    candidate = registry.candidate(context.sender)
    if candidate is None:
        raise TransactionRejected(TransactionReason.NOT_VALIDATOR)
    digest = possession_digest(context.block.genesis_hash, context.sender)
    if not is_valid_signature(payload.new_consensus_key, digest, payload.possession):
        raise TransactionRejected(TransactionReason.BAD_SIGNATURE, "the consensus key's own signature")
    require_unused_consensus_key(state, payload.new_consensus_key)
    others = tuple(each for each in registry.candidates if each.operator != context.sender)
    put_candidates(state, (*others, replace(candidate, consensus_key=payload.new_consensus_key)))
    context.emit(ConsensusKeyRotated(operator=context.sender, consensus_key=payload.new_consensus_key))


def require_unused_consensus_key(state: Reader, consensus_key: bytes) -> None:
    """Raises: TransactionRejected ALREADY_EXISTS when a current or past validator uses it: evidence names keys."""
    governing = GOVERNING.get(state)
    first_epoch = max(1, governing.epoch - governing.parameters.evidence_epochs)
    for epoch in range(first_epoch, governing.epoch + 1):
        known = validator_set_of(state, epoch)
        if known is not None and address_of(consensus_key) in known.by_id():
            raise TransactionRejected(TransactionReason.ALREADY_EXISTS, "the consensus key is in use")
    if any(each.consensus_key == consensus_key for each in REGISTRY.get(state).candidates):
        raise TransactionRejected(TransactionReason.ALREADY_EXISTS, "the consensus key is in use")


def end_epoch(state: State, block: BlockContext) -> Governing:
    """Writes what governs the next epoch; validators that lost their bond are left out while a quorum has its own."""
    governing, upcoming, registry = GOVERNING.get(state), UPCOMING.get(state), REGISTRY.get(state)
    assert block.height == governing.last_height, "an epoch ends with its last height"
    bonded = _bonded(state, registry.candidates, upcoming.parameters.validator_bond_units)
    # Rule 12: whoever is bonded votes alone only as a quorum of the registry; otherwise the registry stands as it is.
    is_quorum = is_quorum_power(_power(bonded), _power(registry.candidates))
    members = bonded if is_quorum else registry.candidates
    validators = sorted_validator_set(
        tuple(Validator(operator=each.operator, consensus_key=each.consensus_key, power=each.power) for each in members)
    )
    PAST_SETS.put(state, epoch_key(governing.epoch), governing.validators)
    forgotten = governing.epoch - governing.parameters.evidence_epochs - 1
    if forgotten >= 1 and PAST_SETS.get(state, epoch_key(forgotten)) is not None:
        PAST_SETS.delete(state, epoch_key(forgotten))
    after = Governing(
        version=upcoming.version,
        epoch=governing.epoch + 1,
        first_height=block.height + 1,
        parameters=upcoming.parameters,
        validators=validators,
    )
    GOVERNING.put(state, after)
    return after


def _bonded(state: Reader, candidates: tuple[Candidate, ...], required_units: int) -> tuple[Candidate, ...]:
    return tuple(each for each in candidates if load_account(state, each.operator).bond_units >= required_units)


def _power(candidates: tuple[Candidate, ...]) -> int:
    return sum(each.power for each in candidates)


def _has_twins(values: list[bytes]) -> bool:
    return len(set(values)) < len(values)
