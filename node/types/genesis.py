"""The first state of a chain. Its hash is part of everything that is signed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Annotated

from node.primitives.amount import Amount
from node.primitives.codec import encode
from node.primitives.crypto import Address, Hash, PublicKey, Tag, tagged_hash
from node.types.parameters import Parameters
from node.types.validator import (
    LARGEST_POWER,
    MOST_VALIDATORS,
    Name,
    NodeEntry,
    Validator,
    ValidatorSet,
    sorted_validator_set,
)

MOST_OBSERVERS = 200
"""Nodes that follow without a vote."""


class Role(IntFlag):
    """What governance allows an account to do."""

    CONTRIBUTOR = 1
    """Contribute records."""
    REVIEWER = 2
    """Be named a datanet's reviewer."""
    DEVELOPER = 4
    """Register models."""
    ATTRIBUTOR = 8
    """Send answers with their attribution."""
    CURATOR = 16
    """Create datanets."""


Roles = Annotated[int, range(32)]
"""A sum of `Role` members."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisAccount:
    """An account with money on the first day."""

    address: Address
    """Whose it is."""
    balance_units: Amount
    """What it can spend."""
    bond_units: Amount
    """What it has locked."""
    roles: Roles
    """What it may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisValidator:
    """A validator of the first epoch."""

    operator: Address
    """The account that answers for it; its bond stands among the accounts."""
    consensus_key: PublicKey
    """What it signs votes with."""
    power: Annotated[int, range(1, LARGEST_POWER + 1)]
    """Its voting power."""
    node: NodeEntry
    """The node it runs on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEntry:
    """An attribution engine the chain accepts."""

    name: Annotated[str, range(1, 33)]
    """Name with version: `head/1`."""
    tables_hash: Hash
    """Hash of the constant tables the engine computes with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """The chain that this one continues: its state goes on, its validators do not."""

    genesis_hash: Hash
    """Which chain."""
    height: Annotated[int, range(1, 2**48)]
    """Its last block that counts."""
    block_id: Hash
    """That block."""
    epoch: Annotated[int, range(1, 2**48)]
    """The epoch that ends there, before its time."""
    state_root: Hash
    """The root of the state after it: the state file beside genesis must hash to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """Everything two nodes must agree on before the first block."""

    chain_name: Name
    """What people call the chain."""
    version: Annotated[int, range(1, 2**16)]
    """Protocol version of the first block."""
    time_ms: Annotated[int, range(2**48)]
    """The time before which no block is."""
    parameters: Parameters
    """What governs the first epoch."""
    engines: Annotated[tuple[EngineEntry, ...], range(17)]
    """Attribution engines, sorted by name."""
    accounts: Annotated[tuple[GenesisAccount, ...], range(100_001)]
    """Accounts, sorted by address."""
    validators: Annotated[tuple[GenesisValidator, ...], range(1, MOST_VALIDATORS + 1)]
    """Validators, sorted by consensus id."""
    observers: Annotated[tuple[NodeEntry, ...], range(MOST_OBSERVERS + 1)]
    """Nodes that follow without a vote."""
    forks: Annotated[tuple[Fork, ...], range(2)] = ()
    """The chain this one continues, if it does; then accounts are in the state, not here."""

    def __post_init__(self) -> None:
        """Raises: ValueError when the parts contradict each other."""
        addresses = [account.address for account in self.accounts]
        if addresses != sorted(set(addresses)):
            raise ValueError("genesis accounts are distinct and sorted by address")
        names = [engine.name for engine in self.engines]
        if names != sorted(set(names)):
            raise ValueError("engines are distinct and sorted by name")
        if sum(account.balance_units + account.bond_units for account in self.accounts) >= 2**62:
            raise ValueError("the supply leaves no room for minting")
        if self.forks and self.accounts:
            raise ValueError("a chain that continues another one has its accounts in the state")
        bonds = {account.address: account.bond_units for account in self.accounts}
        for validator in () if self.forks else self.validators:
            if bonds.get(validator.operator, 0) < self.parameters.validator_bond_units:
                raise ValueError(f"the operator of {validator.node.name} has no sufficient bond")
        if len({validator.operator for validator in self.validators}) != len(self.validators):
            raise ValueError("each validator has an operator of its own")
        nodes = [validator.node for validator in self.validators] + list(self.observers)
        if len({node.certificate for node in nodes}) != len(nodes):
            raise ValueError("each node has a certificate of its own")
        self.validator_set()

    @property
    def continued(self) -> Fork | None:
        """The chain this one continues, if it does."""
        return self.forks[0] if self.forks else None

    @property
    def height(self) -> int:
        """Height of the first block, which nobody proposed."""
        return self.forks[0].height if self.forks else 0

    @property
    def epoch(self) -> int:
        """The first epoch."""
        return self.forks[0].epoch + 1 if self.forks else 1

    def hash(self) -> bytes:
        """The chain's identity."""
        return tagged_hash(Tag.GENESIS, encode(self))

    def supply_units(self) -> int:
        """All OPEN there is on the first day."""
        return sum(account.balance_units + account.bond_units for account in self.accounts)

    def validator_set(self) -> ValidatorSet:
        """Who votes in the first epoch."""
        return sorted_validator_set(
            tuple(
                Validator(operator=each.operator, consensus_key=each.consensus_key, power=each.power)
                for each in self.validators
            )
        )
