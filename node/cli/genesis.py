"""Assembling a genesis from the files that each validator's `openledger init` wrote."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from attribution.request import TABLES_HASHES
from node.config import ConfigError
from node.primitives.address import parse_address
from node.primitives.amount import parse_open
from node.primitives.plain import from_plain, to_plain
from node.types.block import PROTOCOL_VERSION
from node.types.genesis import EngineEntry, Genesis, GenesisAccount, GenesisValidator, Role
from node.types.parameters import Parameters


def assemble_genesis(
    validator_files: Sequence[Path],
    chain_name: str,
    accounts: Sequence[str],
    power: int,
    parameters: Sequence[str],
    time_ms: int | None,
) -> Genesis:
    """A genesis. Raises: ConfigError naming the file or argument at fault."""
    chosen = _parameters(parameters)
    validators = [read_validator(path, power) for path in validator_files]
    holdings = dict(_account(text) for text in accounts)
    entries = [
        GenesisAccount(address=address, balance_units=balance_units, bond_units=0, roles=roles)
        for address, (balance_units, roles) in holdings.items()
        if all(address != validator.operator for validator in validators)
    ]
    for validator in validators:
        balance_units, roles = holdings.get(validator.operator, (0, 0))
        entries.append(
            GenesisAccount(
                address=validator.operator,
                balance_units=balance_units,
                bond_units=chosen.validator_bond_units,
                roles=roles,
            )
        )
    try:
        return Genesis(
            chain_name=chain_name,
            version=PROTOCOL_VERSION,
            time_ms=time_ms if time_ms is not None else time.time_ns() // 1_000_000,
            parameters=chosen,
            engines=tuple(EngineEntry(name=name, tables_hash=each) for name, each in sorted(TABLES_HASHES.items())),
            accounts=tuple(sorted(entries, key=lambda entry: entry.address)),
            validators=tuple(validators),
            observers=(),
        )
    except ValueError as error:
        raise ConfigError(f"the genesis does not hold together: {error}") from error


def read_validator(path: Path, power: int) -> GenesisValidator:
    """A validator file. Raises: ConfigError."""
    try:
        raw = json.loads(path.read_text())
        raw.pop("possession", None)
        found = from_plain(GenesisValidator, {**raw, "power": power})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is no validator file (`openledger init --operator …` writes one): {error}"
        ) from error
    assert isinstance(found, GenesisValidator), "from_plain gives what it is asked for"
    return found


def _account(text: str) -> tuple[bytes, tuple[int, int]]:
    address, _, holding = text.partition("=")
    balance, _, roles = holding.partition(":")
    try:
        names = [name for name in roles.split(",") if name]
        return parse_address(address), (parse_open(balance), int(sum(Role[name.upper()] for name in names)))
    except (ValueError, KeyError) as error:
        known = ", ".join(str(role.name).lower() for role in Role)
        raise ConfigError(
            f"--account {text}: {error}; write open1…=1000:contributor,reviewer (roles: {known})"
        ) from error


def _parameters(texts: Sequence[str]) -> Parameters:
    """The defaults with changes, each inside its hard bound."""
    plain = to_plain(Parameters())
    assert isinstance(plain, dict), "parameters are an object"
    for name, _, value in (text.partition("=") for text in texts):
        if name not in plain:
            raise ConfigError(f"--parameter: {name!r} is none; there are {', '.join(plain)}")
        plain[name] = value if isinstance(plain[name], str) or not value.isdecimal() else int(value)
    try:
        parameters: Parameters = from_plain(Parameters, plain)
    except ValueError as error:
        raise ConfigError(f"--parameter: {error}; write name=whole number") from error
    return parameters
