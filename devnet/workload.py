"""Seeded signed transfers, and a generator that sends them to every node at a rate and watches them become final."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from devnet.topology import Devnet
from node.api import views_chain
from node.client import AsyncClient, CallFailed
from node.payloads import Transfer
from node.primitives.codec import encode
from node.types.transaction import HEIGHT_END, sign_transaction

TICK_S = 0.05
MOST_UNDER_WAY = 12
"""Requests one node may owe an answer for; a slower node gets the next batch later."""
LARGEST_BATCH = 400
FEE_UNITS = 100_000
LARGEST_AMOUNT_UNITS = 1_000
DRAIN_S = 30.0
TRANSFER_KIND = 1


@dataclass(frozen=True)
class Signed:
    """A transaction ready to be sent."""

    id: str
    data: bytes


@dataclass
class Outcome:
    """What became of a load."""

    seconds: float
    sent: int = 0
    refused: list[str] = field(default_factory=list)
    """Reasons of transactions that no node took."""
    submitted_s: dict[str, float] = field(default_factory=dict)
    """When each transaction was sent, by id."""
    final_s: dict[str, float] = field(default_factory=dict)
    """When the node it was sent to said that it is final."""
    times_final: dict[str, int] = field(default_factory=dict)
    """How often it stood in the first node's blocks."""
    block_s: list[float] = field(default_factory=list)
    """When the first node said that a block is final."""
    started_s: float = 0.0

    @property
    def admitted(self) -> int:
        """Transactions that a node took."""
        return self.sent - len(self.refused)

    @property
    def lost(self) -> int:
        """Taken, and not final in time."""
        return self.admitted - len(self.final_s)

    @property
    def doubled(self) -> int:
        """Final more than once."""
        return sum(count > 1 for count in self.times_final.values())

    def final_tps(self) -> float:
        """Transactions that became final while the load ran, a second."""
        end_s = self.started_s + self.seconds
        return sum(moment <= end_s for moment in self.final_s.values()) / self.seconds

    def latencies_ms(self) -> list[float]:
        """Sorted times from sending to final."""
        return sorted((self.final_s[each] - self.submitted_s[each]) * 1000 for each in self.final_s)


def sign_transfers(devnet: Devnet, count: int, seed: int, nonces: dict[str, int]) -> list[list[Signed]]:
    """Transfers among the bench accounts, one list per node; an account always uses the same node."""
    print(f"seed {seed}")
    choose = random.Random(seed)
    names = sorted(name for name in devnet.accounts if name.startswith("bench"))
    genesis_hash = devnet.genesis.hash()
    found: list[list[Signed]] = [[] for _ in devnet.nodes]
    for number in range(count):
        sender = number % len(names)
        recipient = names[choose.randrange(len(names))]
        payload = Transfer(
            recipient=devnet.accounts[recipient].address, amount_units=choose.randint(1, LARGEST_AMOUNT_UNITS)
        )
        nonce = nonces.get(names[sender], 0)
        nonces[names[sender]] = nonce + 1
        transaction = sign_transaction(
            devnet.accounts[names[sender]],
            genesis_hash,
            kind=TRANSFER_KIND,
            nonce=nonce,
            fee_units=FEE_UNITS,
            valid_until_height=HEIGHT_END - 1,
            payload=encode(payload),
        )
        signed = Signed(transaction.id(genesis_hash).hex(), encode(transaction))
        found[sender % len(devnet.nodes)].append(signed)
    return found


async def run_load(devnet: Devnet, transfers: Sequence[Sequence[Signed]], rate: int, seconds: float) -> Outcome:
    """Sends at a rate, evenly to all nodes; returns once everything is final, or time is up."""
    outcome = Outcome(seconds=seconds)
    clients = [AsyncClient(node.url) for node in devnet.nodes]
    watchers = [
        asyncio.create_task(_watch(client, outcome, is_first=number == 0, mine={each.id for each in part}))
        for number, (client, part) in enumerate(zip(clients, transfers, strict=True))
    ]
    await asyncio.sleep(0.5)  # the subscriptions stand
    outcome.started_s = time.monotonic()
    senders = [
        asyncio.create_task(_send(client, part, rate / len(clients), seconds, outcome))
        for client, part in zip(clients, transfers, strict=True)
    ]
    await asyncio.gather(*senders)
    deadline_s = time.monotonic() + DRAIN_S
    while outcome.lost and time.monotonic() < deadline_s:
        await asyncio.sleep(TICK_S)
    for watcher in watchers:
        watcher.cancel()
    await asyncio.gather(*watchers, return_exceptions=True)
    for client in clients:
        await client.close()
    return outcome


async def _send(client: AsyncClient, part: Sequence[Signed], rate: float, seconds: float, outcome: Outcome) -> None:
    started_s, place = time.monotonic(), 0
    slots = asyncio.Semaphore(MOST_UNDER_WAY)
    tasks: set[asyncio.Task[None]] = set()
    while (elapsed_s := time.monotonic() - started_s) < seconds and place < len(part):
        due = min(len(part), int(rate * elapsed_s), place + LARGEST_BATCH)
        if due > place:
            await slots.acquire()
            task = asyncio.create_task(_broadcast(client, part[place:due], outcome))
            task.add_done_callback(lambda _: slots.release())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            place = due
        await asyncio.sleep(TICK_S)
    await asyncio.gather(*tasks)


async def _broadcast(client: AsyncClient, batch: Sequence[Signed], outcome: Outcome) -> None:
    now_s = time.monotonic()
    for each in batch:
        outcome.submitted_s[each.id] = now_s
    outcome.sent += len(batch)
    answers = await client.broadcast([each.data for each in batch])
    for answer in answers:
        if isinstance(answer, CallFailed):
            outcome.refused.append(answer.reason)


async def _watch(client: AsyncClient, outcome: Outcome, *, is_first: bool, mine: set[str]) -> None:
    async for news in client.subscribe("blocks"):
        now_s = time.monotonic()
        block = msgspec.convert(news, views_chain.BlockNews)
        if is_first:
            outcome.block_s.append(now_s)
        for each in block.transactions:
            if is_first:
                outcome.times_final[each.id] = outcome.times_final.get(each.id, 0) + 1
            if each.id in mine:
                outcome.final_s.setdefault(each.id, now_s)
