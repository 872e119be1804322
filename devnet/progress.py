"""Whether a chain went on: how soon after each healing, and how long it ever stood still with a quorum at work."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from devnet.history import History, Sample, Window

PROGRESS_BLOCKS = 2
"""Blocks above everything known at a healing that every node must have final within the bound."""


def check_progress(history: History, bound_s: float) -> Iterator[str]:
    """After each healing every node has new blocks within the bound; while a minority is at fault some node has."""
    for window in history.windows:
        seconds = seconds_to_progress(history, window)
        if seconds is None or seconds > bound_s + window.allowance_s:
            took = "never" if seconds is None else f"{seconds:.1f} s after"
            yield f"{window.fault} healed at {window.healed_s:.1f} s: all nodes had {PROGRESS_BLOCKS} new blocks {took}"
    gap_s, at_s = longest_gap(history)
    if gap_s > bound_s:
        yield f"no node had a new block for {gap_s:.1f} s from {at_s:.1f} s on, with a quorum at work"


def seconds_to_progress(history: History, window: Window) -> float | None:
    """How long after a healing every node had blocks above all that was known; None when it never came."""
    heights: dict[str, int] = {}
    target: int | None = None
    for sample in history.samples:
        if sample.at_s > window.healed_s and target is None:
            target = max(heights.values(), default=0) + PROGRESS_BLOCKS
        heights[sample.node] = sample.height
        if target is not None and sample.at_s > window.healed_s and min(heights.values()) >= target:
            return sample.at_s - window.healed_s
    return None


def longest_gap(history: History) -> tuple[float, float]:
    """The longest time without a new block anywhere while the protocol owes some, and when it began."""
    free_s = [(window.began_s, _progress_s(history, window)) for window in history.windows if window.is_beyond]
    longest, began_s, height = (0.0, 0.0), None, -1
    for sample in history.samples:
        if sample.height <= height:
            continue
        if began_s is not None:
            spans = _without((began_s, sample.at_s), free_s)
            longest = max([longest, *((end - start, start) for start, end in spans)])
        began_s, height = sample.at_s, sample.height
    if began_s is not None and history.ended_s > began_s:
        spans = _without((began_s, history.ended_s), free_s)
        longest = max([longest, *((end - start, start) for start, end in spans)])
    return longest


def blocks_gained(samples: Sequence[Sample], from_s: float, to_s: float) -> int:
    """How many blocks became final anywhere between two moments, as far as somebody was heard of after the first."""
    before = max((each.height for each in samples if each.at_s < from_s), default=0)
    after = max((each.height for each in samples if each.at_s < to_s), default=0)
    return after - before


def _progress_s(history: History, window: Window) -> float:
    seconds = seconds_to_progress(history, window)
    return math.inf if seconds is None else window.healed_s + seconds


def _without(span: tuple[float, float], holes: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What is left of a span of time."""
    spans = [span]
    for low, high in holes:
        spans = [
            piece
            for start, end in spans
            for piece in ((start, min(end, low)), (max(start, high), end))
            if piece[1] > piece[0]
        ]
    return spans
