"""Clients that transfer, compare-and-set and read all the time, through any node, and write down what they saw."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from devnet.history import Operation, Outcome, ReadOrder, SetOrder, TransferOrder
from devnet.replay import SET_REGISTER, TRANSFER
from devnet.topology import Devnet
from node.api import views, views_chain
from node.client import AsyncClient, CallFailed
from node.errors import NetworkError
from node.payloads import CreateRegister, SetRegister, Transfer
from node.primitives.address import format_address
from node.primitives.codec import encode
from node.primitives.crypto import PrivateKey
from node.types.transaction import sign_transaction

FEE_UNITS = 100_000
VALID_HEIGHTS = 200
"""How long a transaction may wait: what nobody took in time is never final."""
COMMIT_TIMEOUT_MS = 5_000
CALL_TIMEOUT_S = 7.0
PAUSE_AFTER_FAILURE_S = 0.2
LARGEST_AMOUNT_UNITS = 1_000
REGISTERS = ("red", "green", "blue")
ORDERS = ("transfer",) * 9 + ("set",) * 7 + ("read",) * 3 + ("fresh read",)
"""How often each is chosen."""


@dataclass
class Shared:
    """What all clients of a load have in common."""

    devnet: Devnet
    owner: PrivateKey
    clock_s: Callable[[], float]
    operations: list[Operation]
    pause_s: float
    is_stopping: bool = False

    @property
    def names(self) -> list[str]:
        """The accounts that send."""
        return sorted(name for name in self.devnet.accounts if name.startswith("bench"))


@dataclass(frozen=True)
class Receipt:
    """What became of a transaction, as far as its sender knows."""

    transaction_id: str
    outcome: Outcome
    height: int = 0
    index: int = 0
    failure: str = ""


class LoadClient:
    """One account, one operation at a time, each through a node drawn anew."""

    def __init__(self, shared: Shared, name: str, seed: int) -> None:
        self._shared = shared
        self._name = name
        self._key = shared.devnet.accounts[name]
        self._genesis_hash = shared.devnet.genesis.hash()
        self._choose = random.Random(f"{seed} {name}")
        self._clients = {node.name: AsyncClient(node.url, timeout_s=CALL_TIMEOUT_S) for node in shared.devnet.nodes}
        self._nonce: int | None = None
        self._height = 0
        self._seen: dict[str, int] = dict.fromkeys(REGISTERS, 0)
        self._count = 0

    async def run(self) -> None:
        """Works until it is told to stop."""
        try:
            while not self._shared.is_stopping:
                node = self._choose.choice(sorted(self._clients))
                order = self._choose.choice(ORDERS)
                if order == "read":
                    await self._read(node)
                elif self._nonce is None:
                    await self._find_nonce(node)
                elif order == "transfer":
                    await self._transfer(node)
                elif order == "set":
                    await self._set(node)
                else:
                    await self._read_fresh(node)
                await asyncio.sleep(self._choose.uniform(0, 2 * self._shared.pause_s))
        finally:
            for client in self._clients.values():
                await client.close()

    async def _transfer(self, node: str) -> None:
        recipient = self._shared.devnet.accounts[self._choose.choice(self._shared.names)].address
        payload = Transfer(recipient=recipient, amount_units=self._choose.randint(1, LARGEST_AMOUNT_UNITS))
        called_s = self._shared.clock_s()
        receipt = await self._commit(node, TRANSFER, payload)
        order = TransferOrder(recipient=format_address(recipient), amount_units=payload.amount_units)
        self._note(node, called_s, order, receipt)

    async def _set(self, node: str) -> None:
        register = self._choose.choice(REGISTERS)
        self._count += 1
        value = f"{self._name} {self._count}".encode()
        payload = SetRegister(
            owner=self._shared.owner.address, name=register, expected_version=self._seen[register], value=value
        )
        called_s = self._shared.clock_s()
        receipt = await self._commit(node, SET_REGISTER, payload)
        order = SetOrder(register=register, expected_version=payload.expected_version, value=value.hex())
        self._note(node, called_s, order, receipt)
        if receipt.outcome is Outcome.OK:
            self._seen[register] += 1
        else:
            await self._read(node, register)

    async def _read(self, node: str, register: str | None = None) -> None:
        register = register or self._choose.choice(REGISTERS)
        called_s = self._shared.clock_s()
        view = await self._look(node, register)
        if view is not None:
            order = ReadOrder(register=register, version=view.version, value=view.value)
            self._note(node, called_s, order, Receipt("", Outcome.OK, view.height))

    async def _read_fresh(self, node: str) -> None:
        """A marker first: a node that saw it final has seen all that was final when it was sent."""
        register = self._choose.choice(REGISTERS)
        called_s = self._shared.clock_s()
        marker = await self._commit(node, TRANSFER, Transfer(recipient=self._key.address, amount_units=1))
        order = ReadOrder(register=register, is_fresh=True)
        if marker.outcome is Outcome.OK:
            view = await self._look(node, register)
            if view is not None:
                order = ReadOrder(register=register, is_fresh=True, version=view.version, value=view.value)
                self._note(node, called_s, order, Receipt(marker.transaction_id, Outcome.OK, view.height))
                return
        self._note(node, called_s, order, Receipt(marker.transaction_id, Outcome.UNKNOWN))

    async def _look(self, node: str, register: str) -> views.RegisterView | None:
        owner = format_address(self._shared.owner.address)
        try:
            view = await self._clients[node].call_as(views.RegisterView, "register", owner=owner, name=register)
        except (CallFailed, NetworkError):  # not there yet on a node that syncs, or no node there
            return None
        self._seen[register] = max(self._seen[register], view.version)
        self._height = max(self._height, view.height)
        return view

    async def _commit(self, node: str, kind: int, payload: object) -> Receipt:
        assert self._nonce is not None, "asked for before"
        transaction = sign_transaction(
            self._key,
            self._genesis_hash,
            kind=kind,
            nonce=self._nonce,
            fee_units=FEE_UNITS,
            valid_until_height=self._height + VALID_HEIGHTS,
            payload=encode(payload),
        )
        transaction_id = transaction.id(self._genesis_hash).hex()
        try:
            answer = await self._clients[node].call_as(
                views_chain.TransactionAnswer,
                "broadcast_tx_commit",
                transaction=encode(transaction).hex(),
                timeout_ms=COMMIT_TIMEOUT_MS,
            )
        except (CallFailed, NetworkError):
            # Even a refusal says little: the request may have been sent twice over a broken connection.
            self._nonce = None
            await asyncio.sleep(PAUSE_AFTER_FAILURE_S)
            return Receipt(transaction_id, Outcome.UNKNOWN)
        self._nonce += 1
        found = answer.transaction
        self._height = max(self._height, found.height)
        outcome = Outcome.FAILED if found.failure else Outcome.OK
        return Receipt(transaction_id, outcome, found.height, found.index, found.failure)

    async def _find_nonce(self, node: str) -> None:
        try:
            account = await self._clients[node].account(self._key.address)
            self._height = max(self._height, await self._clients[node].height())
            self._nonce = account.next_nonce
        except (CallFailed, NetworkError):
            await asyncio.sleep(PAUSE_AFTER_FAILURE_S)

    def _note(self, node: str, called_s: float, order: TransferOrder | SetOrder | ReadOrder, receipt: Receipt) -> None:
        self._shared.operations.append(
            Operation(
                client=self._name,
                node=node,
                called_s=called_s,
                returned_s=self._shared.clock_s(),
                order=order,
                outcome=receipt.outcome,
                transaction_id=receipt.transaction_id,
                height=receipt.height,
                index=receipt.index,
                failure=receipt.failure,
            )
        )


async def create_registers(shared: Shared, url: str) -> None:
    """Opens the registers that the load sets; every client may write them."""
    writers = tuple(sorted(shared.devnet.accounts[name].address for name in shared.names))
    async with AsyncClient(url) as client:
        for name in REGISTERS:
            await client.submit_and_wait(shared.owner, CreateRegister(name=name, writers=writers, value=b"first"))


def count_outcomes(operations: Sequence[Operation], final_ids: set[str]) -> Mapping[str, Mapping[str, int]]:
    """Operations by what they are and what became of them."""
    table: dict[str, dict[str, int]] = {}
    for each in operations:
        match each.order:
            case TransferOrder():
                what = "transfers"
            case SetOrder():
                what = "register sets"
            case ReadOrder(is_fresh=True):
                what = "fresh reads"
            case ReadOrder():
                what = "reads"
        word = each.outcome.value
        if each.outcome is Outcome.UNKNOWN:
            word = "unknown, final" if each.transaction_id in final_ids else "unknown, never final"
        row = table.setdefault(what, {})
        row[word] = row.get(word, 0) + 1
    return table
