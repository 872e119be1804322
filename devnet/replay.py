"""A second, tiny ledger: transfers and registers replayed one after the other, to compare the nodes' answers with."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from devnet.history import FinalTransaction
from node.payloads import CreateRegister, SetRegister, Transfer
from node.primitives.address import format_address
from node.primitives.codec import decode

TRANSFER, CREATE_REGISTER, SET_REGISTER = 1, 70, 71
"""Kinds that a load sends."""


@dataclass
class Slot:
    """A register and all it ever was."""

    writers: frozenset[str]
    heights: list[int] = field(default_factory=list)
    """Blocks that changed it; one that did so twice stands here twice."""
    values: list[str] = field(default_factory=list)
    """Values by version, in hexadecimal."""

    def after(self, height: int) -> tuple[int, str] | None:
        """Version and value after a block; None when it did not exist yet."""
        count = bisect_right(self.heights, height)
        return (count - 1, self.values[count - 1]) if count else None


@dataclass
class Ledger:
    """Balances and registers."""

    balances: dict[str, int]
    treasury_units: int = 0
    nonces: dict[str, int] = field(default_factory=dict)
    slots: dict[tuple[str, str], Slot] = field(default_factory=dict)
    """By owner and name."""
    problems: list[str] = field(default_factory=list)
    """Where a node's receipts differ from this ledger."""

    def run(self, transactions: Sequence[FinalTransaction]) -> None:
        """Replays transactions in their order."""
        for each in transactions:
            self._apply(each)

    def _apply(self, each: FinalTransaction) -> None:
        where = f"transaction {each.id} in block {each.height}"
        if each.nonce != self.nonces.get(each.sender, 0):
            self.problems.append(f"{where} has nonce {each.nonce}, not {self.nonces.get(each.sender, 0)}")
        self.nonces[each.sender] = each.nonce + 1
        self.balances[each.sender] = self.balances.get(each.sender, 0) - each.fee_units
        self.treasury_units += each.fee_units
        if self.balances[each.sender] < 0:
            self.problems.append(f"{where} pays a fee that its sender does not have")
        failure = self._execute(each)
        if failure != each.failure:
            self.problems.append(f"{where} says {each.failure or 'ok'!r}; replayed in order it is {failure or 'ok'!r}")

    def _execute(self, each: FinalTransaction) -> str:
        data = bytes.fromhex(each.payload)
        if each.kind == TRANSFER:
            return self._transfer(each.sender, decode(Transfer, data))
        if each.kind == CREATE_REGISTER:
            return self._create(each, decode(CreateRegister, data))
        if each.kind == SET_REGISTER:
            return self._set(each, decode(SetRegister, data))
        return f"of kind {each.kind}, which nobody sent"

    def _transfer(self, sender: str, payload: Transfer) -> str:
        if self.balances[sender] < payload.amount_units:
            return "insufficient_balance"
        recipient = format_address(payload.recipient)
        self.balances[sender] -= payload.amount_units
        self.balances[recipient] = self.balances.get(recipient, 0) + payload.amount_units
        return ""

    def _create(self, each: FinalTransaction, payload: CreateRegister) -> str:
        key = (each.sender, payload.name)
        if key in self.slots:
            return "already_exists"
        self.slots[key] = Slot(frozenset(map(format_address, payload.writers)), [each.height], [payload.value.hex()])
        return ""

    def _set(self, each: FinalTransaction, payload: SetRegister) -> str:
        owner = format_address(payload.owner)
        slot = self.slots.get((owner, payload.name))
        if slot is None:
            return "not_found"
        if each.sender != owner and each.sender not in slot.writers:
            return "not_writer"
        if payload.expected_version != len(slot.values) - 1:
            return "stale_register"
        slot.heights.append(each.height)
        slot.values.append(payload.value.hex())
        return ""
