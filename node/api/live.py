"""Subscriptions: what becomes final, told to WebSockets in order, each block once. Slow readers are dropped."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import structlog

from node.api import present, present_data, views
from node.api.history import History, StoredBlock
from node.errors import RequestReason, RequestRejected
from node.execution.block import Executed
from node.execution.transaction import Candidate, read_transaction
from node.index import parties_of, position_of
from node.modules.rewards import Paid
from node.primitives.codec import decode

MOST_QUEUED = 2_000
"""Messages that wait for one reader."""
LARGEST_QUEUED_SIZE_BYTES = 32 * 2**20
"""Bytes that wait for one reader."""
MOST_SUBSCRIPTIONS = 16
"""Subscriptions of one WebSocket."""

Topic = Literal["blocks", "transactions", "payments"]

log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class Session:
    """What one WebSocket is told."""

    def __init__(self, on_slow: Callable[[], object]) -> None:
        self._on_slow = on_slow
        self._is_slow = False
        self._messages: deque[bytes] = deque()
        self._size_bytes = 0
        self._changed = asyncio.Event()

    def push(self, message: bytes) -> None:
        """Queues a message, or gives up on a reader for whom too many wait."""
        if self._is_slow:
            return
        self._messages.append(message)
        self._size_bytes += len(message)
        if len(self._messages) > MOST_QUEUED or self._size_bytes > LARGEST_QUEUED_SIZE_BYTES:
            self._is_slow = True
            self._messages.clear()
            self._size_bytes = 0
            self._on_slow()
        self._changed.set()

    async def next_message(self) -> bytes:
        """The next message."""
        while not self._messages:
            self._changed.clear()
            await self._changed.wait()
        message = self._messages.popleft()
        self._size_bytes -= len(message)
        self._changed.set()
        return message

    async def has_room(self) -> None:
        """Waits until half of what may wait is gone."""
        while 2 * len(self._messages) > MOST_QUEUED or 2 * self._size_bytes > LARGEST_QUEUED_SIZE_BYTES:
            self._changed.clear()
            await self._changed.wait()


@dataclass(slots=True, kw_only=True)
class Subscription:
    """What a session follows."""

    id: str
    """Its name."""
    topic: Topic
    """Of what."""
    address: bytes | None
    """Of which account only."""
    session: Session
    """Who is told."""
    next_height: int
    """The first block it was not told of."""
    is_replaying: bool
    """Whether it is told of old blocks still."""


class Hub:
    """Tells subscribers of final blocks."""

    def __init__(self, history: History, tip_height: int) -> None:
        self._history = history
        self._tip_height = tip_height
        """The last block whose telling has begun."""
        self._fresh: deque[Executed] = deque()
        self._wake = asyncio.Event()
        self._subscriptions: dict[str, Subscription] = {}
        self._replays: set[asyncio.Task[None]] = set()
        self._count = 0

    def subscribe(self, session: Session, topic: Topic, address: bytes | None, from_height: int | None) -> str:
        """Begins a subscription; returns its id. Raises: RequestRejected TOO_LARGE when the session has too many."""
        if sum(each.session is session for each in self._subscriptions.values()) >= MOST_SUBSCRIPTIONS:
            raise RequestRejected(RequestReason.TOO_LARGE, f"at most {MOST_SUBSCRIPTIONS} subscriptions")
        self._count += 1
        subscription = Subscription(
            id=str(self._count),
            topic=topic,
            address=address,
            session=session,
            next_height=self._tip_height + 1 if from_height is None else from_height,
            is_replaying=from_height is not None and from_height <= self._tip_height,
        )
        self._subscriptions[subscription.id] = subscription
        if subscription.is_replaying:
            task = asyncio.get_running_loop().create_task(self._replay(subscription))
            self._replays.add(task)
            task.add_done_callback(self._replays.discard)
        return subscription.id

    def unsubscribe(self, session: Session, subscription_id: str) -> None:
        """Ends a subscription. Raises: RequestRejected NOT_FOUND."""
        known = self._subscriptions.get(subscription_id)
        if known is None or known.session is not session:
            raise RequestRejected(RequestReason.NOT_FOUND, f"no subscription {subscription_id}")
        del self._subscriptions[subscription_id]

    def leave(self, session: Session) -> None:
        """A session is over."""
        self._subscriptions = {key: each for key, each in self._subscriptions.items() if each.session is not session}

    def on_final(self, executed: Executed) -> None:
        """A block is final: it is told of later, outside of consensus."""
        if self._subscriptions or self._fresh:
            self._fresh.append(executed)
            self._wake.set()
        else:
            self._tip_height = executed.block.header.height

    async def run(self) -> None:
        """Tells of final blocks until it is cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._fresh:
                executed = self._fresh[0]
                try:
                    await self._tell_all(executed)
                except Exception:  # a bug in a view must not end consensus; the log has it
                    log.exception("news_failed", height=executed.block.header.height)
                self._fresh.popleft()

    async def stop(self) -> None:
        """Ends the replays."""
        for task in self._replays:
            task.cancel()

    async def _tell_all(self, executed: Executed) -> None:
        block = executed.block
        height = block.header.height
        # Who replays now reaches this block by itself, because the tip is set first.
        self._tip_height = height
        live = [each for each in self._subscriptions.values() if not each.is_replaying]
        stored = StoredBlock(block.header, executed.block_id, block.transactions, executed.receipts)
        told: dict[tuple[Topic, bytes | None], bytes] = {}
        for subscription in live:
            if subscription.next_height > height:
                continue
            subscription.next_height = height + 1
            key = (subscription.topic, subscription.address)
            if key not in told:
                told[key] = await self._news(*key, stored, executed.candidates)
            self._tell(subscription, told[key])

    async def _replay(self, subscription: Subscription) -> None:
        while subscription.next_height <= self._tip_height and subscription.id in self._subscriptions:
            stored = await self._history.at(subscription.next_height)
            assert stored is not None, "blocks up to the tip are stored"
            message = await self._news(subscription.topic, subscription.address, stored, None)
            await subscription.session.has_room()
            self._tell(subscription, message)
            subscription.next_height += 1
        subscription.is_replaying = False

    def _tell(self, subscription: Subscription, result: bytes) -> None:
        if result and subscription.id in self._subscriptions:
            params = views.NewsParams(
                subscription=subscription.id, topic=subscription.topic, result=msgspec.Raw(result)
            )
            subscription.session.push(_encode(views.News(params=params)))

    async def _news(
        self, topic: Topic, address: bytes | None, stored: StoredBlock, candidates: Sequence[Candidate] | None
    ) -> bytes:
        """What a topic says of a block; nothing when it says nothing."""
        if topic == "blocks":
            return _encode(present.block_news(stored))
        if not stored.receipts:
            return b""
        if topic == "payments":
            return await self._history.off_loop(lambda: _payments(stored, address))
        return await self._history.off_loop(lambda: _transactions(stored, candidates, address))


def _transactions(stored: StoredBlock, candidates: Sequence[Candidate] | None, address: bytes | None) -> bytes:
    indices: Sequence[int] = range(len(stored.receipts))
    if address is not None:
        if candidates is None:
            candidates = [read_transaction(data, stored.header.genesis_hash) for data in stored.transactions]
        indices = [index for index in indices if address in parties_of(candidates[index], stored.receipts[index])]
    if not indices:
        return b""
    news = views.TransactionNews(
        height=stored.header.height,
        time_ms=stored.header.time_ms,
        transactions=[present.transaction(stored, index) for index in indices],
    )
    return _encode(news)


def _payments(stored: StoredBlock, address: bytes | None) -> bytes:
    height, time_ms = stored.header.height, stored.header.time_ms
    found = []
    for index, receipt in enumerate(stored.receipts):
        for number, event in enumerate(receipt.events):
            if event.name != Paid.NAME:
                continue
            paid = decode(Paid, event.payload)
            if address is None or paid.recipient == address:
                position = position_of(height, index, number)
                found.append(present_data.payment(position, receipt.transaction_id, paid, time_ms))
    return _encode(views.PaymentNews(height=height, time_ms=time_ms, payments=found)) if found else b""
