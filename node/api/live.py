"""Subscriptions: what becomes final, told to WebSockets in order, each block once. Slow readers are dropped."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import msgspec
import structlog

from node.api import present, present_data, views, views_chain, views_data
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
    replay: asyncio.Task[None] | None = None
    """What tells it of old blocks; None once it is told of new ones."""


class Hub:
    """Tells subscribers of final blocks."""

    def __init__(self, history: History, tip_height: int) -> None:
        self._history = history
        self._tip_height = tip_height
        """The last block whose telling has begun."""
        self._fresh: deque[Executed] = deque()
        self._wake = asyncio.Event()
        self._subscriptions: dict[str, Subscription] = {}
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
        )
        self._subscriptions[subscription.id] = subscription
        if subscription.next_height <= self._tip_height:
            subscription.replay = asyncio.get_running_loop().create_task(self._replay(subscription))
        return subscription.id

    def unsubscribe(self, session: Session, subscription_id: str) -> None:
        """Ends a subscription. Raises: RequestRejected NOT_FOUND."""
        known = self._subscriptions.get(subscription_id)
        if known is None or known.session is not session:
            raise RequestRejected(RequestReason.NOT_FOUND, f"no subscription {subscription_id}")
        self._end(known)

    def leave(self, session: Session) -> None:
        """A session is over."""
        for each in [each for each in self._subscriptions.values() if each.session is session]:
            self._end(each)

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
        """Ends every subscription."""
        for each in list(self._subscriptions.values()):
            self._end(each)

    def _end(self, subscription: Subscription) -> None:
        del self._subscriptions[subscription.id]
        if subscription.replay is not None:  # it may wait for a reader that is gone
            subscription.replay.cancel()

    async def _tell_all(self, executed: Executed) -> None:
        block = executed.block
        height = block.header.height
        # Who replays now reaches this block by itself, because the tip is set first.
        self._tip_height = height
        live = [each for each in self._subscriptions.values() if each.replay is None]
        told = Told(
            StoredBlock(block.header, executed.block_id, block.transactions, executed.receipts), executed.candidates
        )
        news: dict[tuple[Topic, bytes | None], bytes] = {}
        for subscription in live:
            if subscription.next_height > height:
                continue
            subscription.next_height = height + 1
            key = (subscription.topic, subscription.address)
            if key not in news:
                news[key] = await self._news(*key, told)
            self._tell(subscription, news[key])

    async def _replay(self, subscription: Subscription) -> None:
        try:
            while subscription.next_height <= self._tip_height:
                stored = await self._history.at(subscription.next_height)
                if stored is None:  # pruned: what there is still is told
                    subscription.next_height = max(subscription.next_height + 1, self._history.lowest_height)
                    continue
                message = await self._news(subscription.topic, subscription.address, Told(stored, None))
                await subscription.session.has_room()
                self._tell(subscription, message)
                subscription.next_height += 1
        except Exception:  # as in `run`
            log.exception("replay_failed", height=subscription.next_height)
            self._subscriptions.pop(subscription.id, None)
        subscription.replay = None

    def _tell(self, subscription: Subscription, result: bytes) -> None:
        if result and subscription.id in self._subscriptions:
            params = views.NewsParams(
                subscription=subscription.id, topic=subscription.topic, result=msgspec.Raw(result)
            )
            subscription.session.push(_encode(views.News(params=params)))

    async def _news(self, topic: Topic, address: bytes | None, told: Told) -> bytes:
        """What a topic says of a block; nothing when it says nothing."""
        if topic == "blocks":
            return _encode(present.block_news(told.stored))
        if not told.stored.receipts:
            return b""
        work = told.payments if topic == "payments" else told.transactions
        return await self._history.off_loop(lambda: work(address))


class Told:
    """One block as it is told: looked through once, whoever follows which account."""

    def __init__(self, stored: StoredBlock, candidates: Sequence[Candidate] | None) -> None:
        self.stored = stored
        self._candidates = candidates

    def transactions(self, address: bytes | None) -> bytes:
        """The transactions of an account, or all; nothing when there are none."""
        stored = self.stored
        indices = range(len(stored.receipts)) if address is None else self._places.get(address, ())
        if not indices:
            return b""
        news = views_chain.TransactionNews(
            height=stored.header.height,
            time_ms=stored.header.time_ms,
            transactions=[present.transaction(stored, index) for index in indices],
        )
        return _encode(news)

    def payments(self, address: bytes | None) -> bytes:
        """The payments to an account, or all; nothing when there are none."""
        header = self.stored.header
        found = [view for recipient, view in self._payments if address is None or recipient == address]
        if not found:
            return b""
        return _encode(views_data.PaymentNews(height=header.height, time_ms=header.time_ms, payments=found))

    @cached_property
    def _places(self) -> dict[bytes, list[int]]:
        """Indices of transactions by account."""
        stored = self.stored
        candidates = self._candidates
        if candidates is None:
            candidates = [read_transaction(data, stored.header.genesis_hash) for data in stored.transactions]
        places: dict[bytes, list[int]] = {}
        for index, (candidate, receipt) in enumerate(zip(candidates, stored.receipts, strict=True)):
            for party in parties_of(candidate, receipt):
                places.setdefault(party, []).append(index)
        return places

    @cached_property
    def _payments(self) -> list[tuple[bytes, views_data.PaymentView]]:
        """Recipients and payments."""
        height, time_ms = self.stored.header.height, self.stored.header.time_ms
        found = []
        for index, receipt in enumerate(self.stored.receipts):
            for number, event in enumerate(receipt.events):
                if event.name == Paid.NAME:
                    paid = decode(Paid, event.payload)
                    position = position_of(height, index, number)
                    found.append(
                        (paid.recipient, present_data.payment(position, receipt.transaction_id, paid, time_ms))
                    )
        return found
