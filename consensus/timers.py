"""When a view is given up, when to repeat ourselves, and how Δ grows: rules 1, 8 and 11. Milliseconds throughout."""

from __future__ import annotations

PROPOSAL_DELTAS = 2
"""Δs without an acceptable proposal until the view is given up."""
VIEW_DELTAS = 3
"""Δs without a certificate until the view is given up."""
RETRANSMIT_DELTAS = 2
"""Δs without progress until we repeat ourselves, and between repeats."""
WINDOWS_PER_GROWTH = 3
"""Nullified views in a row until Δ grows by half."""
MOST_GROWTHS = 6
"""Δ grows at most 1.5^6 = 11-fold: never an unbounded doubling."""


class Timers:
    """The deadlines of the current view."""

    __slots__ = (
        "_base_delta_ms",
        "_failed_windows",
        "_last_fetch_ms",
        "_last_retransmit_ms",
        "empty_block_interval_ms",
        "entered_ms",
        "hold_until_ms",
        "started_ms",
        "unfinal_since_ms",
    )

    def __init__(self, delta_ms: int, empty_block_interval_ms: int) -> None:
        self._base_delta_ms = delta_ms
        self.empty_block_interval_ms = empty_block_interval_ms
        self._failed_windows = 0
        self.entered_ms = 0
        self.started_ms: int | None = None
        """When the 2Δ and 3Δ timers started; None while idle."""
        self.hold_until_ms = 0
        """Until when an idle leader holds back and nobody's timers run."""
        self.unfinal_since_ms: int | None = None
        """Since when a notarized block waits for its finalization."""
        self._last_retransmit_ms: int | None = None
        self._last_fetch_ms: int | None = None

    @property
    def delta_ms(self) -> int:
        """Δ as it stands after failed windows."""
        growths = min(self._failed_windows // WINDOWS_PER_GROWTH, MOST_GROWTHS)
        return int(self._base_delta_ms * 3**growths // 2**growths)

    def enter(self, now_ms: int) -> None:
        """A view begins, idle until `hold` says how long or `start` ends it."""
        self.entered_ms, self.started_ms, self._last_fetch_ms = now_ms, None, None
        self.hold()

    def hold(self) -> None:
        """Rule 11: idle until the empty-block interval is over, or Δ while a notarized block is not final."""
        patience_ms = self.empty_block_interval_ms
        if self.unfinal_since_ms is not None:
            patience_ms = min(patience_ms, self.delta_ms)
        self.hold_until_ms = self.entered_ms + patience_ms

    def start(self, now_ms: int) -> None:
        """The 2Δ and 3Δ timers run from now."""
        if self.started_ms is None:
            self.started_ms = now_ms

    def window_failed(self) -> None:
        """A view ended in a nullification."""
        self._failed_windows += 1

    def finalized(self, now_ms: int, *, is_more_notarized: bool) -> None:
        """A block became final: Δ is itself again."""
        self._failed_windows = 0
        self.unfinal_since_ms = now_ms if is_more_notarized else None
        self.hold()

    def notarized(self, now_ms: int) -> None:
        """A block above the last final one was notarized."""
        if self.unfinal_since_ms is None:
            self.unfinal_since_ms = now_ms

    def is_proposal_late(self, now_ms: int) -> bool:
        """Rule 4a."""
        return self.started_ms is not None and now_ms >= self.started_ms + PROPOSAL_DELTAS * self.delta_ms

    def is_certificate_late(self, now_ms: int) -> bool:
        """Rule 4b."""
        return self.started_ms is not None and now_ms >= self.started_ms + VIEW_DELTAS * self.delta_ms

    def is_retransmit_due(self, now_ms: int) -> bool:
        """Rule 8; true at most once per 2Δ."""
        due_ms = self._retransmit_ms()
        if due_ms is None or now_ms < due_ms:
            return False
        self._last_retransmit_ms = now_ms
        return True

    def is_fetch_due(self, now_ms: int) -> bool:
        """Rule 9: whether to ask for missing proofs (again); true at most once per Δ and view."""
        if self._last_fetch_ms is not None and now_ms < self._last_fetch_ms + self.delta_ms:
            return False
        self._last_fetch_ms = now_ms
        return True

    def next_deadline_ms(self, now_ms: int, *, is_fetching: bool) -> int | None:
        """The next time anything here comes due."""
        deadlines: list[int | None] = [self._retransmit_ms()]
        if self.started_ms is None:
            deadlines.append(self.hold_until_ms)
        else:
            deadlines.append(self.started_ms + PROPOSAL_DELTAS * self.delta_ms)
            deadlines.append(self.started_ms + VIEW_DELTAS * self.delta_ms)
        if is_fetching and self._last_fetch_ms is not None:
            deadlines.append(self._last_fetch_ms + self.delta_ms)
        return min((each for each in deadlines if each is not None and each > now_ms), default=None)

    def _retransmit_ms(self) -> int | None:
        since = [each for each in (self.started_ms, self.unfinal_since_ms) if each is not None]
        if not since:
            return None
        due_ms = min(since) + RETRANSMIT_DELTAS * self.delta_ms
        if self._last_retransmit_ms is not None:
            due_ms = max(due_ms, self._last_retransmit_ms + RETRANSMIT_DELTAS * self.delta_ms)
        return due_ms
