"""Things tests are made of: keys from words, genesis files, signed transactions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from node.execution.registry import KIND_OF
from node.primitives.codec import encode
from node.primitives.crypto import PrivateKey
from node.types.genesis import EngineEntry, Genesis, GenesisAccount, GenesisValidator, Role
from node.types.parameters import Parameters
from node.types.transaction import Transaction, sign_transaction
from node.types.validator import NodeEntry

RICH_UNITS = 10**15
FAR_HEIGHT = 10**6
ALL_ROLES = Role.CONTRIBUTOR | Role.REVIEWER | Role.DEVELOPER | Role.ATTRIBUTOR | Role.CURATOR


def make_key(word: str) -> PrivateKey:
    """A key that is always the same for a word."""
    return PrivateKey(hashlib.sha256(f"test key {word}".encode()).digest())


@dataclass(frozen=True)
class Chain:
    """A genesis with the keys behind it."""

    genesis: Genesis
    genesis_hash: bytes
    operators: tuple[PrivateKey, ...]
    consensus_keys: tuple[PrivateKey, ...]
    users: tuple[PrivateKey, ...]
    people: dict[str, PrivateKey] = field(default_factory=dict)


def make_chain(
    powers: tuple[int, ...] = (1, 1, 1, 1),
    users: int = 4,
    roles: int = 0,
    parameters: Parameters | None = None,
    observers: tuple[NodeEntry, ...] = (),
    people: Mapping[str, int] | None = None,
) -> Chain:
    """A chain with validators of some powers, rich users with some roles, and rich people by name with theirs."""
    parameters = parameters or Parameters()
    operators = tuple(make_key(f"operator {index}") for index in range(len(powers)))
    consensus_keys = tuple(make_key(f"consensus {index}") for index in range(len(powers)))
    user_keys = tuple(make_key(f"user {index}") for index in range(users))
    people_keys = {name: make_key(name) for name in people or {}}
    accounts = [
        GenesisAccount(
            address=key.address, balance_units=RICH_UNITS, bond_units=parameters.validator_bond_units, roles=0
        )
        for key in operators
    ] + [
        GenesisAccount(address=key.address, balance_units=RICH_UNITS, bond_units=0, roles=int(roles))
        for key in user_keys
    ]
    accounts += [
        GenesisAccount(address=people_keys[name].address, balance_units=RICH_UNITS, bond_units=0, roles=int(granted))
        for name, granted in (people or {}).items()
    ]
    validators = [
        GenesisValidator(
            operator=operator.address,
            consensus_key=consensus_key.public_key,
            power=power,
            node=NodeEntry(name=f"node {index}", certificate=f"certificate {index}".encode(), endpoint=""),
        )
        for index, (operator, consensus_key, power) in enumerate(zip(operators, consensus_keys, powers, strict=True))
    ]
    genesis = Genesis(
        chain_name="test",
        version=1,
        time_ms=1_700_000_000_000,
        parameters=parameters,
        engines=(EngineEntry(name="head/1", tables_hash=bytes(32)),),
        accounts=tuple(sorted(accounts, key=lambda account: account.address)),
        validators=tuple(validators),
        observers=observers,
    )
    return Chain(genesis, genesis.hash(), operators, consensus_keys, user_keys, people_keys)


def make_transaction(
    chain: Chain, key: PrivateKey, payload: object, *, nonce: int, fee_units: int = 10**9, **changes: int
) -> Transaction:
    """A signed transaction that pays well."""
    return sign_transaction(
        key,
        chain.genesis_hash,
        kind=KIND_OF[type(payload)].number,
        nonce=nonce,
        fee_units=fee_units,
        valid_until_height=changes.pop("valid_until_height", FAR_HEIGHT),
        payload=encode(payload),
        **changes,  # type: ignore[arg-type]
    )
