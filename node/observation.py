"""What a node notices about its own work: counts and histograms. A few comparisons each; nothing is decided from it.

Owns no clock: whoever observes says when or how long. `node.api.metrics` renders it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from consensus.types import Statement, VoteKind

DELAY_BOUNDS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Delays of consensus, from one machine to one planet in trouble."""
SYNC_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""A disk's sync, from a good one to one that is about to fail."""
LAG_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""How late the event loop is."""
COMPUTATION_BOUNDS_S = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0)
"""A question to a prepared model, up to the certification of a large one."""
KEPT_VIEWS = 64
"""Views whose beginnings are remembered: a finalization may come in a later view."""

Place = tuple[int, int]
"""Epoch and view."""


class Histogram:
    """Counts of values by upper bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        """Of each bucket alone; the last one has what is above every bound."""
        self.total = 0.0
        """Sum of the values."""

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Counts a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Work:
    """What the workers do."""

    def __init__(self) -> None:
        self.workers = 0
        """How many there may be."""
        self.busy = 0
        """How many compute."""
        self.waiting = 0
        """Requests that wait for one."""
        self.deaths: Counter[str] = Counter()
        """Processes that ended over a request, by why."""
        self.seconds: dict[str, Histogram] = {}
        """From sending a request to its answer, by kind."""

    def computed(self, kind: str, seconds: float) -> None:
        """A worker answered, or was given up."""
        self.seconds.setdefault(kind, Histogram(COMPUTATION_BOUNDS_S)).observe(seconds)


class Observation:
    """One node's."""

    def __init__(self) -> None:
        self.notarization_since_view = Histogram(DELAY_BOUNDS_S)
        self.notarization_since_proposal = Histogram(DELAY_BOUNDS_S)
        self.finalization_since_view = Histogram(DELAY_BOUNDS_S)
        self.finalization_since_proposal = Histogram(DELAY_BOUNDS_S)
        self.block_interval = Histogram(DELAY_BOUNDS_S)
        self.log_sync = Histogram(SYNC_BOUNDS_S)
        self.loop_lag = Histogram(LAG_BOUNDS_S)
        self.work = Work()
        self.last_loop_lag_s = 0.0
        """How late the event loop was last."""
        self.repaired_certificates = 0
        """Certificates obtained by asking for them (rule 9)."""
        self.equivocations = 0
        """Pairs of votes that no honest validator signs."""
        self._entered_ms: dict[Place, int] = {}
        self._proposed_ms: dict[Place, int] = {}
        self._place: Place = (0, 0)
        self._block_time_ms: int | None = None
        self._asked: tuple[int, int, int] = (0, 0, 0)

    def stand(self, now_ms: int, epoch: int, view: int) -> None:
        """Consensus stands here; called after every step."""
        place = (epoch, view)
        if place != self._place:
            self._place = place
            _note(self._entered_ms, place, now_ms)

    def saw_proposal(self, now_ms: int, statement: Statement) -> None:
        """A view's first proposal came, or is ours; this is its leader's vote."""
        _note(self._proposed_ms, (statement.epoch, statement.view), now_ms)

    def saw_certificate(self, now_ms: int, statement: Statement) -> None:
        """A certificate is held that was not before."""
        place = (statement.epoch, statement.view)
        if statement.kind is VoteKind.NOTARIZE:
            _elapsed(self.notarization_since_view, self._entered_ms, place, now_ms)
            _elapsed(self.notarization_since_proposal, self._proposed_ms, place, now_ms)
        elif statement.kind is VoteKind.FINALIZE:
            _elapsed(self.finalization_since_view, self._entered_ms, place, now_ms)
            _elapsed(self.finalization_since_proposal, self._proposed_ms, place, now_ms)

    def saw_block(self, time_ms: int) -> None:
        """A block is final; intervals are those between the blocks' own times."""
        if self._block_time_ms is not None:
            self.block_interval.observe((time_ms - self._block_time_ms) / 1000)
        self._block_time_ms = time_ms

    def asked_for(self, epoch: int, from_view: int, to_view: int) -> None:
        """Certificates of these views were asked for."""
        self._asked = (epoch, from_view, to_view)

    def took_certificate(self, statement: Statement) -> None:
        """A useful certificate came from a peer."""
        epoch, from_view, to_view = self._asked
        if statement.epoch == epoch and from_view <= statement.view < to_view:
            self.repaired_certificates += 1

    def synced_log(self, seconds: float) -> None:
        """The log was written and synced."""
        self.log_sync.observe(seconds)

    def ran_late(self, seconds: float) -> None:
        """The event loop did something so much later than it should have."""
        self.last_loop_lag_s = max(0.0, seconds)
        self.loop_lag.observe(self.last_loop_lag_s)


def _note(known: dict[Place, int], place: Place, now_ms: int) -> None:
    if place in known:
        return
    known[place] = now_ms
    if len(known) > KEPT_VIEWS:
        del known[next(iter(known))]


def _elapsed(histogram: Histogram, since: dict[Place, int], place: Place, now_ms: int) -> None:
    start_ms = since.get(place)
    if start_ms is not None:
        histogram.observe((now_ms - start_ms) / 1000)
