"""Gossip: news after a silence leaves at once, a flood leaves in batches, nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from node.p2p.gossip import BATCH_INTERVAL_MS, BATCH_SIZE_BYTES, MOST_REPEATED, Gossip
from node.p2p.messages import MOST_TRANSACTIONS_PER_BATCH, Transactions


class Desk:
    """One node's gossip with a clock by hand."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        self.sent: list[tuple[int, tuple[bytes, ...]]] = []
        self.timers: list[tuple[int, Callable[[], None]]] = []
        self.gossip = Gossip(self._broadcast, self._call_at)

    def _broadcast(self, message: Transactions) -> None:
        self.sent.append((self.now_ms, message.transactions))

    def _call_at(self, at_ms: int, callback: Callable[[], None]) -> None:
        self.timers.append((at_ms, callback))

    def tell(self, *contents: bytes) -> None:
        """Admits transactions in one turn."""
        for data in contents:
            self.gossip.tell(data)
        self.gossip.flush(self.now_ms)

    def wait(self, for_ms: int) -> None:
        """Lets time pass and fires what is due."""
        end_ms = self.now_ms + for_ms
        while due := sorted((each for each in self.timers if each[0] <= end_ms), key=lambda each: each[0]):
            self.timers.remove(due[0])
            self.now_ms = max(self.now_ms, due[0][0])
            due[0][1]()
        self.now_ms = end_ms


def test_news_after_a_silence_leaves_with_its_turn() -> None:
    desk = Desk()
    desk.tell(b"first", b"with it")
    assert desk.sent == [(1_000, (b"first", b"with it"))]
    desk.wait(BATCH_INTERVAL_MS)
    desk.tell(b"later")
    assert desk.sent[1:] == [(1_000 + BATCH_INTERVAL_MS, (b"later",))]


def test_what_follows_closely_leaves_together() -> None:
    desk = Desk()
    desk.tell(b"first")
    for number in range(4):
        desk.wait(1)
        desk.tell(bytes([number]))
    desk.wait(BATCH_INTERVAL_MS)
    assert desk.sent[1:] == [(1_000 + BATCH_INTERVAL_MS, tuple(bytes([number]) for number in range(4)))]
    assert desk.timers == []


def test_batch_that_is_full_leaves_at_once() -> None:
    desk = Desk()
    desk.tell(b"first")
    desk.tell(bytes(BATCH_SIZE_BYTES))
    desk.tell(*(bytes([number % 256]) for number in range(MOST_TRANSACTIONS_PER_BATCH)))
    assert [len(batch) for _, batch in desk.sent] == [1, 1, MOST_TRANSACTIONS_PER_BATCH]
    assert {at_ms for at_ms, _ in desk.sent} == {1_000}


def test_what_waits_long_is_said_again_a_part_at_a_time() -> None:
    desk = Desk()
    desk.gossip.repeat(b"%d" % number for number in range(2 * MOST_REPEATED))
    desk.gossip.flush(desk.now_ms)
    assert sum(len(batch) for _, batch in desk.sent) == MOST_REPEATED


@given(st.lists(st.tuples(st.integers(0, 2 * BATCH_INTERVAL_MS), st.lists(st.binary(min_size=1), max_size=5))))
def test_everything_is_told_once_in_order_and_no_later_than_an_interval(
    turns: list[tuple[int, list[bytes]]],
) -> None:
    desk = Desk()
    told: list[tuple[int, bytes]] = []
    for pause_ms, contents in turns:
        desk.wait(pause_ms)
        told.extend((desk.now_ms, data) for data in contents)
        desk.tell(*contents)
    desk.wait(BATCH_INTERVAL_MS)
    arrived = [(at_ms, data) for at_ms, batch in desk.sent for data in batch]
    assert [data for _, data in arrived] == [data for _, data in told]
    assert all(
        0 <= at_ms - told_ms <= BATCH_INTERVAL_MS for (at_ms, _), (told_ms, _) in zip(arrived, told, strict=True)
    )
    times_ms = [at_ms for at_ms, _ in desk.sent]
    assert all(after - before >= BATCH_INTERVAL_MS for before, after in pairwise(times_ms))
