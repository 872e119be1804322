"""Registers: small shared values that change by compare-and-set, such as a team's "our current model".

Whoever sets a register names the version it replaces. Of two that replace the same one the first in the chain wins and
the other fails: nothing is overwritten unseen. An owner's registers are told apart by name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from node.errors import TransactionReason, TransactionRejected
from node.modules.context import Context, State
from node.primitives.crypto import Address
from node.state.table import Table
from node.storage.schema import Prefix
from node.types.transaction import Height

MOST_WRITERS = 16
LARGEST_VALUE_SIZE_BYTES = 64

RegisterName = Annotated[str, range(1, 65)]
Writers = Annotated[tuple[Address, ...], range(MOST_WRITERS + 1)]
Version = Annotated[int, range(2**48)]
Value = Annotated[bytes, range(LARGEST_VALUE_SIZE_BYTES + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """A value and how often it was set."""

    writers: Writers
    """Who may set it besides its owner; sorted."""
    version: Version
    """How often it was set since it was created."""
    value: Value
    """What it holds."""
    set_height: Height
    """The block that set it last, or created it."""


REGISTERS = Table(Prefix.REGISTER, Register)
"""By owner and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRegister:
    """Opens a register of the sender's, at version 0."""

    name: RegisterName
    """What the owner calls it."""
    writers: Writers
    """Who may set it besides the owner; distinct and sorted."""
    value: Value
    """What it holds first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRegister:
    """Replaces a register's value, unless somebody else did so before."""

    owner: Address
    """Whose register."""
    name: RegisterName
    """Which of the owner's."""
    expected_version: Version
    """The version that is replaced: what the sender has seen."""
    value: Value
    """What it holds then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterChanged:
    """A register was created or set."""

    NAME: ClassVar[str] = "register_changed"

    owner: Address
    """Whose register."""
    name: RegisterName
    """Which of the owner's."""
    writer: Address
    """Who set it."""
    version: Version
    """Its version now."""
    value: Value
    """What it holds now."""


def register_key(owner: bytes, name: str) -> bytes:
    """Table key: an address has a fixed size, so no two pairs share one."""
    return owner + name.encode()


def apply_create_register(state: State, context: Context, payload: CreateRegister) -> None:
    """Opens a register under its owner and name."""
    key = register_key(context.sender, payload.name)
    if REGISTERS.get(state, key) is not None:
        raise TransactionRejected(TransactionReason.ALREADY_EXISTS, f"the register {payload.name}")
    if list(payload.writers) != sorted(set(payload.writers)):
        raise TransactionRejected(TransactionReason.NOT_ADMISSIBLE, "writers are distinct and sorted")
    register = Register(writers=payload.writers, version=0, value=payload.value, set_height=context.block.height)
    _put(state, context, context.sender, payload.name, register)


def apply_set_register(state: State, context: Context, payload: SetRegister) -> None:
    """Sets the value, if the version is the one expected."""
    register = REGISTERS.need(state, register_key(payload.owner, payload.name))
    if context.sender != payload.owner and context.sender not in register.writers:
        raise TransactionRejected(TransactionReason.NOT_WRITER)
    if register.version != payload.expected_version:
        raise TransactionRejected(TransactionReason.STALE_REGISTER, f"the version is {register.version}")
    changed = replace(register, version=register.version + 1, value=payload.value, set_height=context.block.height)
    _put(state, context, payload.owner, payload.name, changed)


def _put(state: State, context: Context, owner: bytes, name: str, register: Register) -> None:
    REGISTERS.put(state, register_key(owner, name), register)
    context.emit(
        RegisterChanged(owner=owner, name=name, writer=context.sender, version=register.version, value=register.value)
    )
