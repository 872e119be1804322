"""The first state of a chain that continues another one's, with a new validator set: for when a quorum is lost.

The fork is an early end of the old chain's epoch. Every value stays as it is, but for what says who governs; heights
and epochs go on counting, so that whatever is due at one is due then. The values are those the old chain's last final
header commits to: anyone who believes that header can check the fork.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from node.errors import StorageError
from node.modules import holdouts, rewards
from node.modules.accounts import ACCOUNTS, load_account
from node.modules.context import BlockContext
from node.modules.governance import PROPOSALS, ProposalStatus
from node.modules.validators import (
    GOVERNING,
    PAST_SETS,
    REGISTRY,
    UPCOMING,
    Candidate,
    Governing,
    Registry,
    Upcoming,
    epoch_key,
)
from node.primitives.amount import format_open
from node.primitives.codec import decode
from node.primitives.crypto import sha256
from node.state import tree
from node.state.view import Base, Layer, View
from node.storage.schema import Prefix
from node.types.genesis import Fork, Genesis

V = TypeVar("V")


class Exported:
    """A state as it was exported (`node.state.view.Base`)."""

    def __init__(self, values: Mapping[bytes, bytes]) -> None:
        self.values = values
        hashes = {sha256(key): sha256(value) for key, value in values.items()}
        self.root, self.nodes = tree.update(lambda _: None, hashes)

    def read(self, key: bytes, value_class: type[V]) -> V | None:
        """The value of a state key."""
        data = self.values.get(key)
        return None if data is None else decode(value_class, data)

    def node(self, path: str) -> bytes | None:
        """The Merkle node at a path."""
        return self.nodes.get(path)


def fork_layer(base: Base, genesis: Genesis, values: Mapping[bytes, bytes]) -> Layer:
    """The state the chain begins with. Raises: StorageError when the values are not those genesis names."""
    fork = genesis.continued
    assert fork is not None, "only a fork has values to begin with"
    exported = Exported(values)
    if exported.root != fork.state_root:
        raise StorageError(
            f"the state file has root {exported.root.hex()}, genesis continues {fork.state_root.hex()}: "
            f"get the file that belongs to this genesis"
        )
    before = GOVERNING.get(exported)
    if before.epoch != fork.epoch:
        raise StorageError(f"the state is of epoch {before.epoch}, genesis continues epoch {fork.epoch}")
    view = View(exported)
    _end_epoch(view, before, fork)
    _drop_open_proposals(view, values)
    for validator in genesis.validators:
        _require_bond(view, validator.operator, genesis.parameters.validator_bond_units)
    _govern(view, genesis, fork)
    return _whole(base, exported, view.seal())


def _end_epoch(view: View, before: Governing, fork: Fork) -> None:
    """What an epoch's end does to rewards and evidence, at the height where the chain broke off."""
    context = BlockContext(
        genesis_hash=fork.genesis_hash,
        height=fork.height,
        epoch=before.epoch,
        epoch_first_height=before.first_height,
        parent_id=fork.block_id,
        parameters=before.parameters,
        validators=before.validators,
    )
    if fork.height < before.first_height:  # it broke off between two epochs: the later one never had its first block
        holdouts.begin_epoch(view, context)
    rewards.end_epoch(view, context)
    # Its validators may still take their part of the epoch's pool.
    PAST_SETS.put(view, epoch_key(before.epoch), before.validators)


def _drop_open_proposals(view: View, values: Mapping[bytes, bytes]) -> None:
    """They were put to validators that do not govern any more."""
    for key in values:
        if key[0] == Prefix.PROPOSAL and PROPOSALS.need(view, key[1:]).status is ProposalStatus.OPEN:
            PROPOSALS.delete(view, key[1:])


def _require_bond(view: View, operator: bytes, needed_units: int) -> None:
    """An operator answers with a bond; what it lacks is taken from its balance."""
    account = load_account(view, operator)
    lacking_units = max(0, needed_units - account.bond_units)
    if lacking_units > account.balance_units:
        has = format_open(account.balance_units + account.bond_units)
        raise StorageError(
            f"the operator {operator.hex()} has {has}, its bond is {format_open(needed_units)}: "
            f"name an account that can pay it"
        )
    if lacking_units:
        bonded = replace(
            account, balance_units=account.balance_units - lacking_units, bond_units=account.bond_units + lacking_units
        )
        ACCOUNTS.put(view, operator, bonded)


def _govern(view: View, genesis: Genesis, fork: Fork) -> None:
    GOVERNING.put(
        view,
        Governing(
            version=genesis.version,
            epoch=fork.epoch + 1,
            first_height=fork.height + 1,
            parameters=genesis.parameters,
            validators=genesis.validator_set(),
        ),
    )
    UPCOMING.put(view, Upcoming(version=genesis.version, parameters=genesis.parameters))
    candidates = tuple(
        Candidate(operator=each.operator, consensus_key=each.consensus_key, power=each.power, node=each.node)
        for each in sorted(genesis.validators, key=lambda validator: validator.operator)
    )
    REGISTRY.put(view, Registry(candidates=candidates, observers=genesis.observers))


def _whole(base: Base, exported: Exported, changed: Layer) -> Layer:
    """The exported state and what changed in it, as one layer on an empty store."""
    encoded = {key: value for key, value in {**exported.values, **changed.encoded}.items() if value is not None}
    nodes = {path: node for path, node in {**exported.nodes, **changed.nodes}.items() if node is not None}
    return Layer(base, {}, encoded, nodes, changed.root)
