"""What an engine waits for: what a block lacks before it can be judged, messages of an epoch that is not here yet.

Whatever waits keeps a cheap test for exactly what it lacks, so that nothing is executed again before that has come.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, assert_never

from attribution.request import REQUEST
from node.claims import Claims
from node.modules.context import BlobPending, Pending, ResultPending
from node.p2p.messages import BlockProposal, Certificates, Votes
from node.proposal import BlobsPending, BlockTree, ParentPending, TimePending
from node.types.parameters import LARGEST_BLOCK_SIZE_BYTES
from node.worker import Urgency

T = TypeVar("T")
EarlyMessage = Votes | Certificates | BlockProposal

MOST_AWAITED_BLOBS = 4_096
"""A judgement waits for so many contents at a time: fewer than can be asked for at once."""
LARGEST_EARLY_SIZE_BYTES = 16 * 2**20
"""About how much memory messages of the next epoch take."""
LARGEST_EARLY_PEER_SIZE_BYTES = LARGEST_BLOCK_SIZE_BYTES + 2**20
"""Of which one peer's: the first block, and what is said of it."""


class Clock(Protocol):
    """The time, and an alarm."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""

    def monotonic_ms(self) -> int:
        """Milliseconds that never go back."""

    def call_at(self, at_ms: int, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back at a monotonic time; returns what cancels that."""


class Source(Protocol):
    """Where missing things come from."""

    def want_block(self, block_id: bytes, first_peer: bytes | None) -> None:
        """A block's body is missing; the peer should have it."""

    def want_blobs(self, hashes: Sequence[bytes], first_peer: bytes | None) -> None:
        """Contents are missing; the peer should have them."""


@dataclass(frozen=True, slots=True)
class Waiting(Generic[T]):
    """Something that goes on once what it lacks is here."""

    what: T
    """What waits."""
    has_come: Callable[[], bool]
    """Whether it need not any more; cheap, because it is asked whenever anything comes."""
    pending: Pending
    """What it lacks, for people."""


class Once:
    """A callback that remembers that it was called."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then
        self._is_called = False

    def __call__(self) -> None:
        """It has come."""
        self._is_called = True
        self._then()

    def has_come(self) -> bool:
        """Whether it was called."""
        return self._is_called


def all_come(things: Iterable[T], is_here: Callable[[T], bool]) -> Callable[[], bool]:
    """Tells whether all of some things are here; what came once is not looked for again."""
    lacking = deque(things)

    def have_come() -> bool:
        while lacking and is_here(lacking[0]):
            lacking.popleft()
        return not lacking

    return have_come


class Needs:
    """Gets what a block lacks, and tells whether it has come."""

    def __init__(
        self, tree: BlockTree, claims: Claims, clock: Clock, source: Source, on_arrival: Callable[[], None]
    ) -> None:
        self._tree = tree
        self._claims = claims
        self._clock = clock
        self._source = source
        self._on_arrival = on_arrival
        self._cancel: Callable[[], None] | None = None

    def get(self, pending: Pending, leader: bytes | None) -> Callable[[], bool]:
        """Starts whatever a judgement waits for; returns what tells whether it has come."""
        match pending:
            case ParentPending(block_id=missing_id):
                if self._tree.has_body(missing_id):  # final, and not the last one: nothing can stand on it any more
                    return _never
                self._source.want_block(missing_id, leader)
                return lambda: self._tree.has_body(missing_id)
            case BlobsPending(hashes=hashes):
                return self._get_blobs(hashes, leader)
            case BlobPending(blob_hash=blob_hash):
                return self._get_blobs((blob_hash,), leader)
            case ResultPending(request=request):
                return self._get_result(request, leader)
            case TimePending(time_ms=time_ms):
                wake = Once(self._on_arrival)
                delay_ms = max(1, time_ms - self._clock.wall_ms())
                self._cancel = self._clock.call_at(self._clock.monotonic_ms() + delay_ms, wake)
                return wake.has_come
            case _:
                raise AssertionError(f"nobody gets {pending!r}")

    def stop_clock(self) -> None:
        """Nobody waits for a time any more."""
        if self._cancel is not None:
            self._cancel()
            self._cancel = None

    def _get_blobs(self, hashes: Sequence[bytes], leader: bytes | None) -> Callable[[], bool]:
        hashes = hashes[:MOST_AWAITED_BLOBS]
        self._source.want_blobs(hashes, leader)
        return all_come(hashes, self._claims.has_blob)

    def _get_result(self, request: REQUEST, leader: bytes | None) -> Callable[[], bool]:
        missing = self._claims.missing_blobs(request)
        if missing:
            return self._get_blobs(missing, leader)
        wake = Once(self._on_arrival)
        if not self._claims.has_failed(request):
            self._claims.start(request, wake, Urgency.JUDGING)
        return wake.has_come


class Early:
    """Messages of the next epoch, until it begins here. When there are too many, the peer with the most gives way."""

    def __init__(self) -> None:
        self._kept: list[tuple[bytes, int, Callable[[], None]]] = []
        self._held: Counter[bytes] = Counter()
        self._epoch = 0

    @property
    def size_bytes(self) -> int:
        """About how much is kept."""
        return self._held.total()

    def is_due(self, epoch: int) -> bool:
        """Whether there are messages whose epoch has begun."""
        return bool(self._kept) and self._epoch <= epoch

    def keep(self, epoch: int, peer: bytes, message: EarlyMessage, again: Callable[[], None]) -> None:
        """Keeps a message of an epoch, and how to take it then, unless its peer has too much here."""
        self._epoch = epoch
        size_bytes = _size_bytes(message)
        if self._held[peer] + size_bytes > LARGEST_EARLY_PEER_SIZE_BYTES:
            return
        self._kept.append((peer, size_bytes, again))
        self._held[peer] += size_bytes
        while self.size_bytes > LARGEST_EARLY_SIZE_BYTES:
            greediest = max(self._held, key=lambda each: (self._held[each], each))
            last = max(index for index, (each, _, _) in enumerate(self._kept) if each == greediest)
            self._held[greediest] -= self._kept.pop(last)[1]

    def take(self) -> list[tuple[bytes, Callable[[], None]]]:
        """Everything kept, in the order it came; nothing is left."""
        kept, self._kept, self._held = self._kept, [], Counter()
        return [(peer, again) for peer, _, again in kept]


def _size_bytes(message: EarlyMessage) -> int:
    """About how much memory a message takes."""
    match message:
        case Votes(votes=votes):
            return 1_000 * len(votes)
        case Certificates(certificates=certificates):
            return sum(1_000 + 300 * len(each.signatures) for each in certificates)
        case BlockProposal(block=block, certificates=certificates):
            proofs = sum(1_000 + 300 * len(each.signatures) for each in certificates)
            return 3_000 + proofs + sum(64 + len(data) for data in block.transactions)
        case _:
            assert_never(message)


def _never() -> bool:
    return False
