"""Many seeds over all processors, and what they add up to."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import structlog

from tests.simulation.plan import Profile, draw_plan
from tests.simulation.scenario import run_plan

CHUNK = 25
"""Seeds a process runs before it reports."""


@dataclass(frozen=True)
class Result:
    """One seed's run, in what can be sent between processes."""

    seed: int
    plan: str
    violation: str | None
    digest: str = ""
    events: int = 0
    persist_points: int = 0
    height: int = 0
    liveness_deltas: float = 0.0
    accused: int = 0
    applied: tuple[str, ...] = ()


@dataclass
class Summary:
    """What many runs add up to."""

    profile: str
    seeds: int = 0
    events: int = 0
    persist_points: int = 0
    heights: int = 0
    worst_liveness_deltas: float = 0.0
    accused: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    failed: list[int] = field(default_factory=list)
    seconds: float = 0.0
    digest: str = ""

    def add(self, result: Result) -> None:
        """One more."""
        self.seeds += 1
        self.events += result.events
        self.persist_points += result.persist_points
        self.heights += result.height
        self.worst_liveness_deltas = max(self.worst_liveness_deltas, result.liveness_deltas)
        self.accused += result.accused
        self.faults.update(result.applied)
        self.digest = hashlib.sha256(f"{self.digest} {result.seed} {result.digest}".encode()).hexdigest()
        if result.violation is not None:
            self.failed.append(result.seed)

    def to_json(self) -> dict[str, object]:
        """For a file."""
        return {**self.__dict__, "faults": dict(sorted(self.faults.items()))}

    def __str__(self) -> str:
        faults = ", ".join(f"{name} {count:,}" for name, count in sorted(self.faults.items()))
        return (
            f"{self.seeds:,} seeds of the {self.profile} profile, {len(self.failed)} violations, "
            f"in {self.seconds:,.0f} s\n"
            f"{self.events:,} events (deliveries, timers, ticks, callbacks), {self.persist_points:,} persist points, "
            f"{self.heights:,} heights made final, {self.accused:,} Byzantine validators caught\n"
            f"a bare quorum made its blocks final {self.worst_liveness_deltas:.1f} Δ after healing at worst\n"
            f"faults that took place: {faults}\n"
            f"digest of all traces {self.digest}"
        )


def run_seed(seed: int, profile: Profile, *, are_signatures_real: bool = False) -> Result:
    """Runs a seed; a violation, or a crash of the node's own code, is a result."""
    plan = draw_plan(seed, profile)
    try:
        run = run_plan(plan, are_signatures_real=are_signatures_real)
    except Exception as error:  # noqa: BLE001 (a run ends in whatever the code under test raises)
        return Result(seed=seed, plan=str(plan), violation=f"{type(error).__name__}: {error}")
    return Result(
        seed=seed,
        plan=str(plan),
        violation=None,
        digest=run.digest,
        events=run.events,
        persist_points=run.persist_points,
        height=run.height,
        liveness_deltas=run.liveness_deltas,
        accused=run.accused,
        applied=tuple(line.split()[2] for line in run.applied),
    )


def run_campaign(
    seeds: range,
    profile: Profile,
    *,
    jobs: int = 1,
    are_signatures_real: bool = False,
    on_result: Callable[[Result, Summary], None] = lambda _result, _so_far: None,
) -> Summary:
    """Runs seeds, in their order whatever the number of processes."""
    summary = Summary(profile=profile.value)
    started = time.monotonic()
    for result in _results(seeds, profile, jobs, are_signatures_real=are_signatures_real):
        summary.add(result)
        summary.seconds = round(time.monotonic() - started, 1)
        on_result(result, summary)
    return summary


def _results(seeds: range, profile: Profile, jobs: int, *, are_signatures_real: bool) -> Iterator[Result]:
    chunks = [(seeds[start : start + CHUNK], profile, are_signatures_real) for start in range(0, len(seeds), CHUNK)]
    if jobs == 1:
        for chunk in chunks:
            yield from _run_chunk(chunk)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, initializer=silence) as pool:
        for found in pool.imap(_run_chunk, chunks):
            yield from found


def _run_chunk(chunk: tuple[range, Profile, bool]) -> list[Result]:
    seeds, profile, are_signatures_real = chunk
    return [run_seed(seed, profile, are_signatures_real=are_signatures_real) for seed in seeds]


def silence() -> None:
    """The nodes' own log lines are not what a campaign is read for."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
