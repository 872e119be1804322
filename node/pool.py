"""The worker processes of a node, and which request goes to which of them, and when.

What a block needs goes first, then what a transaction waits for, then models nobody asks yet. A request goes to a
worker that keeps its subject prepared; one that dies over it three times is not tried again before the node restarts.
Everything here runs on the thread that made the pool, but for one thread per worker that waits for its answers.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from queue import SimpleQueue
from typing import get_args

import structlog

from attribution.errors import AttributionError, KernelError
from attribution.head.request import CertifyRequest
from attribution.request import REQUEST
from node.config import MOST_WORKERS
from node.observation import Work
from node.worker import Failure, Job, Outcome, Urgency, Worker, limit_s

MOST_DEATHS = 3
"""Workers that a request may cost."""
MOST_DEADLY = 10_000
"""Requests that cost one and are remembered."""
PREPARATION = "prepare"


def kind_of(request: type) -> str:
    """A request's kind, for people."""
    return request.__name__.removesuffix("Request").lower()


DEATHS = (Failure.DIED, Failure.LATE, Failure.NO_MEMORY)
"""What costs a worker its process."""
KINDS = (*sorted(kind_of(each) for each in get_args(REQUEST)), PREPARATION)
"""What workers do, by name."""
MOST_KEPT = 1_000
"""Subjects per worker of which the pool remembers that they went there."""
MOST_WARMING = 8
"""Models that wait to be prepared: their files wait in memory."""
STOP_LIMIT_S = 5.0

Answer = Outcome | Failure | None

log = structlog.get_logger(__name__)


def worker_count(wanted: int) -> int:
    """How many workers a node has: as many as it was told, or one for each core but one."""
    return min(MOST_WORKERS, wanted or max(1, (os.cpu_count() or 1) - 1))


@dataclass(slots=True, eq=False)
class Seat:
    """One worker's place."""

    number: int
    """Which."""
    worker: Worker
    """Its process."""
    orders: SimpleQueue[Callable[[], object] | None] = field(default_factory=SimpleQueue)
    """What its thread does next; None ends it."""
    thread: threading.Thread | None = None
    """Who waits for its answers; None before it was needed."""
    job: Job | None = None
    """What it computes."""
    kept: OrderedDict[bytes, None] = field(default_factory=OrderedDict)
    """Subjects it was asked about, the latest last: a hint, it says itself when one is gone."""


class Pool:
    """The workers of one node."""

    def __init__(
        self,
        *,
        workers: int,
        memory_size_bytes: int,
        post: Callable[[Callable[[], None]], None],
        work: Work,
        on_wrong_kernel: Callable[[str], None],
    ) -> None:
        """`post` has the thread that made the pool call something soon; it is called from other threads."""
        assert 1 <= workers <= MOST_WORKERS, f"{workers} workers"
        self._post = post
        self._work = work
        self._on_wrong_kernel = on_wrong_kernel
        self._seats = [Seat(number=number, worker=Worker(memory_size_bytes)) for number in range(workers)]
        self._queue: list[tuple[int, Job]] = []
        self._arrivals = count()
        self._deaths: OrderedDict[bytes, int] = OrderedDict()
        self._work.workers = workers

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes there are."""
        return tuple(pid for seat in self._seats if (pid := seat.worker.pid) is not None)

    def start(self) -> None:
        """Starts the first process, which checks this machine's arithmetic; the others come when they are needed."""
        self._order(self._seats[0], partial(self._ready, self._seats[0]))

    def submit(self, job: Job) -> None:
        """Takes a request; `job.on_done` learns what became of it, in a later turn."""
        if self._deaths.get(job.request.request_id(), 0) >= MOST_DEATHS:
            self._post(partial(job.on_done, Failure.DIED))
            return
        job.on_hastened = self._dispatch
        self._queue.append((next(self._arrivals), job))
        self._dispatch()

    def close(self) -> None:
        """Ends every process, whatever it computes."""
        self._queue.clear()
        for seat in self._seats:
            seat.worker.close()
            seat.orders.put(None)
        for seat in self._seats:
            if seat.thread is not None:
                seat.thread.join(STOP_LIMIT_S)

    # Who computes what.

    def _dispatch(self) -> None:
        while (found := self._next()) is not None:
            entry, seat = found
            self._queue.remove(entry)
            self._begin(seat, entry[1])
        self._work.waiting = len(self._queue)
        self._work.busy = sum(seat.job is not None for seat in self._seats)

    def _next(self) -> tuple[tuple[int, Job], Seat] | None:
        idle = [seat for seat in self._seats if seat.job is None]
        if not idle:
            return None
        held: set[bytes] = set()
        for number, job in sorted(self._queue, key=lambda entry: (entry[1].urgency, entry[0])):
            seat = self._seat_for(job, idle, held)
            if seat is not None:
                return (number, job), seat
        return None

    def _seat_for(self, job: Job, idle: list[Seat], held: set[bytes]) -> Seat | None:
        """Where a job goes now, if anywhere; the subjects that a job waits for already are in `held`."""
        if job.urgency is Urgency.WARMING and len(self._seats) > 1 and len(idle) == 1:
            return None  # a preparation never takes the last free worker of several
        subject = subject_of(job)
        if subject is not None:
            for seat in idle:
                if subject in seat.kept:
                    return seat
            is_kept = any(subject in seat.kept for seat in self._seats)
            if is_kept and job.urgency is not Urgency.JUDGING and subject not in held:
                # One waits for the worker that has it prepared; the next makes it worth preparing a second time.
                held.add(subject)
                return None
        return min(idle, key=lambda seat: (not seat.worker.is_alive, len(seat.kept), seat.number))

    def _begin(self, seat: Seat, job: Job) -> None:
        seat.job = job
        subject = subject_of(job)
        if subject is not None:
            seat.kept[subject] = None
            seat.kept.move_to_end(subject)
            if len(seat.kept) > MOST_KEPT:
                seat.kept.popitem(last=False)
        self._order(seat, partial(self._run, seat, job, is_preparation=job.urgency is Urgency.WARMING))

    def _on_answer(self, seat: Seat, job: Job, answer: Answer, *, is_preparation: bool) -> None:
        seat.job = None
        is_to_be_tried_again = False
        if isinstance(answer, Failure) and answer in DEATHS:
            seat.kept.clear()
            self._work.deaths[answer.value] += 1
            deaths = self._count_death(job.request)
            log.warning("worker_ended", why=answer.value, request=job.request.request_id().hex(), deaths=deaths)
            is_to_be_tried_again = answer is Failure.DIED and deaths < MOST_DEATHS and not is_preparation
        if is_to_be_tried_again:
            self._queue.append((-1, job))
        self._dispatch()
        if is_preparation or is_to_be_tried_again:
            return
        assert answer is not None, "only a preparation gives nothing"
        job.on_done(answer)
        if isinstance(job.request, CertifyRequest) and not isinstance(answer, Failure | AttributionError):
            self._warm(job)

    def _count_death(self, request: REQUEST) -> int:
        key = request.request_id()
        self._deaths[key] = self._deaths.get(key, 0) + 1
        if len(self._deaths) > MOST_DEADLY:
            self._deaths.popitem(last=False)
        return self._deaths[key]

    def _warm(self, certified: Job) -> None:
        """A model that was certified is about to be registered, measured and asked."""
        if sum(job.urgency is Urgency.WARMING for _, job in self._queue) < MOST_WARMING:
            nobody = Job(certified.request, certified.materials, lambda _: None, Urgency.WARMING)
            self.submit(nobody)

    # On a worker's own thread.

    def _order(self, seat: Seat, order: Callable[[], object]) -> None:
        if seat.thread is None:
            seat.thread = threading.Thread(target=_obey, args=(seat,), name=f"worker-{seat.number}", daemon=True)
            seat.thread.start()
        seat.orders.put(order)

    def _ready(self, seat: Seat) -> bool:
        try:
            return seat.worker.is_alive or seat.worker.start()
        except KernelError as error:
            self._post(partial(self._on_wrong_kernel, str(error)))
            return False

    def _run(self, seat: Seat, job: Job, *, is_preparation: bool) -> None:
        answer: Answer = Failure.DIED
        if self._ready(seat):
            kind = PREPARATION if is_preparation else kind_of(type(job.request))
            start_s = time.monotonic()
            answer = seat.worker.run(job.request, job.materials, limit_s(job.request), is_preparation=is_preparation)
            self._post(partial(self._work.computed, kind, time.monotonic() - start_s))
        self._post(partial(self._on_answer, seat, job, answer, is_preparation=is_preparation))


def subject_of(job: Job) -> bytes | None:
    """What a worker may keep prepared for a request: the first of the names that stand for it."""
    hashes = job.request.material_hashes() if job.urgency is Urgency.WARMING else job.request.subject_hashes()
    return hashes[0] if hashes else None


def _obey(seat: Seat) -> None:
    while (order := seat.orders.get()) is not None:
        order()
