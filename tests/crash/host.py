"""What a replica needs of the world, on a clock and a network that somebody else drives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from node.errors import MessageRejected
from node.intake import Signed
from node.modules.validators import Registry
from node.p2p.messages import Message, encode_message
from node.primitives.crypto import are_valid_signatures
from node.worker import Job

START_WALL_MS = 1_800_000_000_000


class Around(Protocol):
    """Who drives a host."""

    def now_ms(self) -> int:
        """The simulated time."""

    def schedule(self, at_ms: int, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back at a time; the result cancels it."""

    def transmit(self, peer: bytes, data: bytes) -> None:
        """Carries a message."""

    def fail(self, why: str) -> None:
        """The node stopped, or met a peer that broke a rule: nothing of that may happen here."""


class CrashHost:
    """One node's world."""

    def __init__(self, around: Around, peers: Sequence[bytes]) -> None:
        self._around = around
        self._peers = tuple(peers)

    def wall_ms(self) -> int:
        return START_WALL_MS + self._around.now_ms()

    def monotonic_ms(self) -> int:
        return self._around.now_ms()

    def call_at(self, at_ms: int, callback: Callable[[], None]) -> Callable[[], None]:
        return self._around.schedule(max(at_ms, self._around.now_ms()), callback)

    def send(self, peer: bytes, message: Message) -> None:
        self._around.transmit(peer, encode_message(message))

    def broadcast(self, message: Message) -> None:
        data = encode_message(message)
        for peer in self._peers:
            self._around.transmit(peer, data)

    def peers(self) -> Sequence[bytes]:
        return self._peers

    def penalize(self, peer: bytes, error: MessageRejected) -> None:
        self._around.fail(f"{peer.hex()} broke a rule: {error}")

    def stop(self, why: str) -> None:
        self._around.fail(why)

    def verify_signatures(self, items: Sequence[Signed], on_done: Callable[[list[bool]], None]) -> None:
        self._around.schedule(self._around.now_ms() + 1, lambda: on_done(are_valid_signatures(items)))

    def compute(self, job: Job) -> None:
        raise AssertionError("the workload asks for no attribution")

    def on_registry(self, registry: Registry) -> None:
        pass

    def run_aside(self, work: Callable[[], None], on_done: Callable[[], None]) -> None:
        work()
        self._around.schedule(self._around.now_ms() + 1, on_done)

    def request_flush(self) -> None:
        pass  # every event ends with a flush
