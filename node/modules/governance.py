"""Governance: a validator proposes, validators vote, a quorum of power of the executing height's set decides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, ClassVar, assert_never

from node.errors import MessageRejected, TransactionReason, TransactionRejected
from node.modules.accounts import ACCOUNTS, credit, load_account
from node.modules.context import Context, State
from node.modules.engines import CostPermille, Engine, EngineName, add_engine, retire_engine
from node.modules.erasure import erase_by_governance
from node.modules.escrow import take_from_escrow
from node.modules.validators import (
    REGISTRY,
    UPCOMING,
    Candidate,
    Registry,
    possession_digest,
    put_candidates,
    require_bonded_quorum,
    require_unused_consensus_key,
)
from node.primitives.amount import AMOUNT_END
from node.primitives.codec import decode, encode
from node.primitives.crypto import Address, Hash, PublicKey, Signature, is_valid_signature
from node.state.table import Table
from node.storage.schema import Prefix
from node.types.genesis import MOST_OBSERVERS, Roles
from node.types.parameters import Parameters
from node.types.validator import LARGEST_POWER, MOST_VALIDATORS, NodeCertificate, NodeEntry

PROPOSAL_EPOCHS = 8
"""A proposal that found no quorum by then is dead."""
MOST_VOTERS = (PROPOSAL_EPOCHS + 1) * MOST_VALIDATORS
"""Operators that can vote on one proposal: every epoch of its life may have a set of its own."""

Power = Annotated[int, range(1, LARGEST_POWER + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmitValidator:
    """A new validator, from the next epoch on."""

    TAG: ClassVar[int] = 1

    operator: Address
    """The account that answers for it; its bond must be locked."""
    consensus_key: PublicKey
    """What it signs votes with."""
    possession: Signature
    """The consensus key's signature over the operator's address."""
    power: Power
    """Its voting power."""
    node: NodeEntry
    """The node it runs on; an observer with this certificate becomes the validator's.

    The certificate is opaque to the ledger: one that TLS cannot use only keeps its own node out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveValidator:
    """A validator leaves; its node stays as an observer."""

    TAG: ClassVar[int] = 2

    operator: Address
    """The account that answers for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPower:
    """A validator's power changes."""

    TAG: ClassVar[int] = 3

    operator: Address
    """The account that answers for it."""
    power: Power
    """Its new power."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmitObserver:
    """A new node that follows without a vote, at once."""

    TAG: ClassVar[int] = 4

    node: NodeEntry
    """The node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveObserver:
    """A node is no longer accepted."""

    TAG: ClassVar[int] = 5

    certificate: NodeCertificate
    """Its certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetParameter:
    """A parameter changes at the epoch's end."""

    TAG: ClassVar[int] = 6

    name: Annotated[str, range(1, 65)]
    """A field of `Parameters`."""
    value: int
    """The new value, inside the field's hard bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetParameters:
    """Several parameters change together: shares must add up at every moment."""

    TAG: ClassVar[int] = 7

    changes: Annotated[tuple[SetParameter, ...], range(1, 65)]
    """The changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRoles:
    """An account may do other things from now on."""

    TAG: ClassVar[int] = 8

    address: Address
    """Whose."""
    roles: Roles
    """All its roles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseContent:
    """Bytes are erased everywhere; the models that depend on them retire."""

    TAG: ClassVar[int] = 9

    blob_hash: Hash
    """SHA-256 of the bytes."""
    datanet: Hash
    """The datanet, when they are a record or a model's file; zero otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendEscrow:
    """A datanet's escrow pays a bounty."""

    TAG: ClassVar[int] = 10

    datanet: Hash
    """Whose escrow."""
    recipient: Address
    """Who gets it."""
    amount_units: Annotated[int, range(1, AMOUNT_END), "amount"]
    """How much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """The next epoch runs a later protocol version; older programs stop there with a message."""

    TAG: ClassVar[int] = 11

    version: Annotated[int, range(1, 2**16)]
    """The version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivateEngine:
    """Models may be registered with a new attribution engine; programs that do not know it stop at its height."""

    TAG: ClassVar[int] = 12

    name: EngineName
    """Name with version."""
    tables_hash: Hash
    """Hash of the constant tables it computes with."""
    cost_permille: CostPermille
    """What its work counts, in 1/1000 of its multiply-accumulates."""
    height: Annotated[int, range(1, 2**48)]
    """From which block on: at least an epoch after the vote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireEngine:
    """No new models with an attribution engine; those it has go on."""

    TAG: ClassVar[int] = 13

    name: EngineName
    """Name with version."""


Action = (
    AdmitValidator
    | RemoveValidator
    | SetPower
    | AdmitObserver
    | RemoveObserver
    | SetParameter
    | SetParameters
    | SetRoles
    | EraseContent
    | SpendEscrow
    | Upgrade
    | ActivateEngine
    | RetireEngine
)


class ProposalStatus(IntEnum):
    """What became of a proposal."""

    OPEN = 0
    PASSED = 1
    REJECTED = 2
    FAILED = 3
    """Passed, but its action was no longer admissible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """An action under vote."""

    action: Action
    """What it would do."""
    proposer: Address
    """The operator who proposed it."""
    epoch: Annotated[int, range(1, 2**48)]
    """When."""
    yes: Annotated[tuple[Address, ...], range(MOST_VOTERS + 1)]
    """Operators in favour."""
    no: Annotated[tuple[Address, ...], range(MOST_VOTERS + 1)]
    """Operators against."""
    status: ProposalStatus
    """What became of it."""


PROPOSALS = Table(Prefix.PROPOSAL, Proposal)
"""By the id of the transaction that made them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Propose:
    """A validator's operator proposes, and thereby votes yes."""

    action: Action
    """What to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CastBallot:
    """A validator's operator votes on a proposal."""

    proposal: Hash
    """Which."""
    is_yes: bool
    """In favour or against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalChanged:
    """A proposal was made, voted on, decided."""

    NAME: ClassVar[str] = "proposal_changed"

    proposal: Hash
    """Which."""
    voter: Address
    """Whose transaction it was."""
    is_yes: bool
    """How they voted."""
    status: ProposalStatus
    """Where it stands now."""
    failure: Annotated[str, range(33)]
    """Why its action was not admissible, if it was not."""


def apply_propose(state: State, context: Context, payload: Propose) -> None:
    """Opens a proposal with the proposer's vote."""
    _require_voter(context)
    _validate(context, payload.action)
    proposal = Proposal(
        action=payload.action,
        proposer=context.sender,
        epoch=context.block.epoch,
        yes=(),
        no=(),
        status=ProposalStatus.OPEN,
    )
    _vote(state, context, context.transaction_id, proposal, is_yes=True)


def apply_ballot(state: State, context: Context, payload: CastBallot) -> None:
    """Counts a vote; the one that completes a quorum carries the action out."""
    _require_voter(context)
    proposal = PROPOSALS.need(state, payload.proposal)
    if proposal.status is not ProposalStatus.OPEN:
        raise TransactionRejected(TransactionReason.WRONG_STATUS, f"the proposal is {proposal.status.name.lower()}")
    if context.block.epoch > proposal.epoch + PROPOSAL_EPOCHS:
        raise TransactionRejected(TransactionReason.TOO_OLD, "propose it again")
    if context.sender in proposal.yes + proposal.no:
        raise TransactionRejected(TransactionReason.ALREADY_DONE, "one vote each")
    _vote(state, context, payload.proposal, proposal, is_yes=payload.is_yes)


def carry_out(state: State, context: Context, action: Action) -> None:
    """Does what was decided. Raises: TransactionRejected when it is not admissible (any more)."""
    match action:
        case AdmitValidator():
            _admit_validator(state, action)
        case RemoveValidator(operator=operator):
            _remove_validator(state, operator)
        case SetPower(operator=operator, power=power):
            registry = REGISTRY.get(state)
            changed = replace(_candidate(registry, operator), power=power)
            others = tuple(each for each in registry.candidates if each.operator != operator)
            put_candidates(state, (*others, changed))
        case AdmitObserver(node=node):
            _admit_observer(state, node)
        case RemoveObserver(certificate=certificate):
            registry = REGISTRY.get(state)
            kept = tuple(each for each in registry.observers if each.certificate != certificate)
            if len(kept) == len(registry.observers):
                raise TransactionRejected(TransactionReason.NOT_FOUND, "no observer has this certificate")
            REGISTRY.put(state, replace(registry, observers=kept))
        case SetParameter():
            _set_parameters(state, (action,))
        case SetParameters(changes=changes):
            _set_parameters(state, changes)
        case SetRoles(address=address, roles=roles):
            ACCOUNTS.put(state, address, replace(load_account(state, address), roles=roles))
        case EraseContent(blob_hash=blob_hash, datanet=datanet):
            erase_by_governance(state, context, blob_hash, datanet)
        case SpendEscrow(datanet=datanet, recipient=recipient, amount_units=amount_units):
            take_from_escrow(state, datanet, amount_units)
            credit(state, recipient, amount_units)
        case Upgrade(version=version):
            upcoming = UPCOMING.get(state)
            if version <= upcoming.version:
                raise TransactionRejected(TransactionReason.NOT_ADMISSIBLE, "versions only grow")
            UPCOMING.put(state, replace(upcoming, version=version))
        case ActivateEngine(name=name, tables_hash=tables_hash, cost_permille=cost_permille, height=height):
            added = Engine(
                name=name,
                tables_hash=tables_hash,
                cost_permille=cost_permille,
                from_height=height,
                is_retired=False,
            )
            add_engine(state, context.block, added)
        case RetireEngine(name=name):
            retire_engine(state, name)
        case _:
            assert_never(action)


def _vote(state: State, context: Context, key: bytes, proposal: Proposal, *, is_yes: bool) -> None:
    yes = (*proposal.yes, context.sender) if is_yes else proposal.yes
    no = proposal.no if is_yes else (*proposal.no, context.sender)
    proposal = replace(proposal, yes=yes, no=no)
    failure = ""
    if _is_quorum(context, yes):
        mark = state.mark()
        try:
            carry_out(state, context, proposal.action)
            proposal = replace(proposal, status=ProposalStatus.PASSED)
        except TransactionRejected as error:
            state.revert(mark)
            failure = error.reason.value
            proposal = replace(proposal, status=ProposalStatus.FAILED)
    elif _is_quorum(context, no):
        proposal = replace(proposal, status=ProposalStatus.REJECTED)
    PROPOSALS.put(state, key, proposal)
    context.emit(
        ProposalChanged(proposal=key, voter=context.sender, is_yes=is_yes, status=proposal.status, failure=failure)
    )


def _is_quorum(context: Context, operators: tuple[bytes, ...]) -> bool:
    powers = {each.operator: each.power for each in context.block.validators.validators}
    power = sum(powers.get(operator, 0) for operator in operators)
    return 3 * power > 2 * sum(powers.values())


def _require_voter(context: Context) -> None:
    if all(each.operator != context.sender for each in context.block.validators.validators):
        raise TransactionRejected(TransactionReason.NOT_VALIDATOR, "validators' operators propose and vote")


def _validate(context: Context, action: Action) -> None:
    """What can be told before any vote. Raises: TransactionRejected."""
    match action:
        case AdmitValidator():
            digest = possession_digest(context.block.genesis_hash, action.operator)
            if not is_valid_signature(action.consensus_key, digest, action.possession):
                raise TransactionRejected(TransactionReason.BAD_SIGNATURE, "the consensus key's own signature")
        case SetParameter():
            changed_parameters(context.parameters, (action,))
        case SetParameters(changes=changes):
            changed_parameters(context.parameters, changes)
        case _:
            pass


def changed_parameters(parameters: Parameters, changes: tuple[SetParameter, ...]) -> Parameters:
    """Parameters with some changed. Raises: TransactionRejected NOT_ADMISSIBLE outside a hard bound."""
    values = {change.name: change.value for change in changes}
    unknown = sorted(values.keys() - set(Parameters.__slots__))
    if unknown:
        raise TransactionRejected(TransactionReason.NOT_ADMISSIBLE, f"no parameter is named {unknown[0]}")
    try:
        return decode(Parameters, encode(replace(parameters, **values)))  # decoding checks every hard bound
    except (MessageRejected, ValueError) as error:
        detail = error.detail if isinstance(error, MessageRejected) else str(error)
        raise TransactionRejected(TransactionReason.NOT_ADMISSIBLE, detail) from error


def _set_parameters(state: State, changes: tuple[SetParameter, ...]) -> None:
    upcoming = UPCOMING.get(state)
    parameters = changed_parameters(upcoming.parameters, changes)
    if parameters.validator_bond_units > upcoming.parameters.validator_bond_units:
        # Rule 12. A lower bond is never refused: it may be what brings a bonded quorum back.
        require_bonded_quorum(state, REGISTRY.get(state).candidates, parameters.validator_bond_units)
    UPCOMING.put(state, replace(upcoming, parameters=parameters))


def _admit_validator(state: State, action: AdmitValidator) -> None:
    registry = REGISTRY.get(state)
    if registry.candidate(action.operator) is not None:
        raise TransactionRejected(TransactionReason.ALREADY_EXISTS, "the operator has a validator already")
    require_unused_consensus_key(state, action.consensus_key)
    required_units = UPCOMING.get(state).parameters.validator_bond_units
    if load_account(state, action.operator).bond_units < required_units:
        raise TransactionRejected(TransactionReason.INSUFFICIENT_BOND, "the operator locks the bond first")
    observers = tuple(each for each in registry.observers if each.certificate != action.node.certificate)
    REGISTRY.put(state, replace(registry, observers=observers))
    candidate = Candidate(
        operator=action.operator, consensus_key=action.consensus_key, power=action.power, node=action.node
    )
    put_candidates(state, (*registry.candidates, candidate))


def _remove_validator(state: State, operator: bytes) -> None:
    registry = REGISTRY.get(state)
    candidate = _candidate(registry, operator)
    put_candidates(state, tuple(each for each in registry.candidates if each.operator != operator))
    _admit_observer(state, candidate.node)


def _admit_observer(state: State, node: NodeEntry) -> None:
    registry = REGISTRY.get(state)
    if any(each.certificate == node.certificate for each in registry.nodes()):
        raise TransactionRejected(TransactionReason.ALREADY_EXISTS, "the node is registered already")
    if len(registry.observers) >= MOST_OBSERVERS:
        raise TransactionRejected(TransactionReason.TOO_MANY, "remove an observer first")
    REGISTRY.put(state, replace(registry, observers=(*registry.observers, node)))


def _candidate(registry: Registry, operator: bytes) -> Candidate:
    candidate = registry.candidate(operator)
    if candidate is None:
        raise TransactionRejected(TransactionReason.NOT_FOUND, "the operator has no validator")
    return candidate
