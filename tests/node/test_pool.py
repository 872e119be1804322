"""The pool with real processes: who goes first, who goes where, and what a process that ends does to the others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue

import pytest

from attribution.request import REQUEST
from node import pool as module
from node import worker as worker_module
from node.claims import Claims
from node.config import MOST_WORKERS
from node.observation import Work
from node.pool import MOST_DEATHS, Pool, worker_count
from node.storage.blobs import BlobStore
from node.storage.kv import MemoryStore
from node.worker import Failure, Job, Materials, Outcome, Urgency, compute_here
from tests.node.questions import Case, make_case

TIMEOUT_S = 60.0

pytestmark = pytest.mark.slow


@dataclass
class Bench:
    """A pool and the thread that made it: what it is told waits until a test lets it happen."""

    workers: int = 1
    memory_size_bytes: int = 4 * 2**30
    calls: SimpleQueue[Callable[[], None]] = field(default_factory=SimpleQueue)
    work: Work = field(default_factory=Work)
    done: list[tuple[REQUEST, Outcome | Failure]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pool = Pool(
            workers=self.workers,
            memory_size_bytes=self.memory_size_bytes,
            post=self.calls.put,
            work=self.work,
            on_wrong_kernel=self.wrong.append,
        )

    def submit(self, request: REQUEST, materials: Materials, urgency: Urgency = Urgency.JUDGING) -> Job:
        job = Job(request, materials, lambda outcome: self.done.append((request, outcome)), urgency)
        self.pool.submit(job)
        return job

    def run_until(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline_s, "it does not happen"
            try:
                self.calls.get(timeout=0.01)()
            except Empty:
                continue

    def answer(self, request: REQUEST, materials: Materials, urgency: Urgency = Urgency.JUDGING) -> Outcome | Failure:
        count = len(self.done)
        self.submit(request, materials, urgency)
        self.run_until(lambda: len(self.done) > count)
        return self.done[-1][1]

    def start(self) -> None:
        """Every process is there, and none has anything prepared."""
        ready: list[bool] = []
        for seat in self.pool._seats:
            self.pool._order(seat, lambda seat=seat: ready.append(self.pool._ready(seat)))  # type: ignore[misc]
        self.run_until(lambda: len(ready) == self.workers)
        assert all(ready)

    def stop(self, *seats: int) -> None:
        """These processes stand still: what they are given takes until they go on."""
        for each in seats:
            os.kill(self.pid(each), signal.SIGSTOP)

    def go_on(self, *seats: int) -> None:
        for each in seats:
            os.kill(self.pid(each), signal.SIGCONT)

    def pid(self, seat: int) -> int:
        pid = self.pool._seats[seat].worker.pid
        assert pid is not None
        return pid


Benches = Callable[..., Bench]


@pytest.fixture(scope="module", name="case")
def case_fixture() -> Case:
    return make_case()


@pytest.fixture(scope="module", name="other")
def other_fixture() -> Case:
    return make_case(seed=2)


@pytest.fixture(name="bench")
def bench_fixture() -> Iterator[Benches]:
    made: list[Bench] = []

    def make(**options: int) -> Bench:
        made.append(Bench(**options))  # type: ignore[arg-type]
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each.pool.close()
        assert not any(seat.worker.is_alive for seat in each.pool._seats)


# Who goes first.


def test_what_a_block_needs_goes_before_what_waits_for_admission(bench: Benches, case: Case) -> None:
    pool = bench()
    pool.stop(0)
    jobs = [case.ask(value) for value in range(4)]
    for (ask, own), urgency in zip(
        jobs,
        (Urgency.ADMISSION, Urgency.ADMISSION, Urgency.ADMISSION, Urgency.JUDGING),
        strict=True,
    ):
        pool.submit(ask, case.materials | own, urgency)
    assert (pool.work.busy, pool.work.waiting) == (1, 3)
    pool.go_on(0)
    pool.run_until(lambda: len(pool.done) == 4)
    assert [request for request, _ in pool.done] == [jobs[index][0] for index in (0, 3, 1, 2)]
    assert (pool.work.busy, pool.work.waiting) == (0, 0)


def test_what_a_block_comes_to_need_moves_ahead(bench: Benches, case: Case) -> None:
    pool = bench()
    pool.stop(0)
    asks = [case.ask(value) for value in range(3)]
    submitted = [pool.submit(ask, case.materials | own, Urgency.ADMISSION) for ask, own in asks]
    submitted[2].hasten(Urgency.JUDGING)
    submitted[2].hasten(Urgency.ADMISSION)
    pool.go_on(0)
    pool.run_until(lambda: len(pool.done) == 3)
    assert [request for request, _ in pool.done] == [asks[index][0] for index in (0, 2, 1)]


def test_preparing_waits_for_everybody_and_leaves_a_worker_free(bench: Benches, case: Case, other: Case) -> None:
    pool = bench(workers=2)
    pool.stop(0, 1)
    pool.submit(case.certify, case.materials)
    pool.submit(other.certify, other.materials, Urgency.WARMING)
    assert (pool.work.busy, pool.work.waiting) == (1, 1)
    pool.submit(other.certify, other.materials)
    assert (pool.work.busy, pool.work.waiting) == (2, 1)
    pool.go_on(0, 1)
    pool.run_until(lambda: "prepare" in pool.work.seconds and not pool.work.busy)
    assert {request for request, _ in pool.done} == {case.certify, other.certify}


def test_models_that_wait_to_be_prepared_are_few(bench: Benches, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WARMING", 1)
    pool = bench()
    pool.stop(0)
    certified = pool.submit(case.certify, case.materials)
    for _ in range(3):
        pool.pool._warm(certified)
    assert pool.work.waiting == 1
    pool.go_on(0)
    pool.run_until(lambda: not pool.work.busy)


# Who goes where.


def test_a_second_question_goes_where_the_model_is_prepared_and_sends_no_files(
    bench: Benches, case: Case, other: Case
) -> None:
    pool = bench(workers=2)
    blobs = BlobStore(MemoryStore())
    sent: list[int] = []

    def compute(job: Job) -> None:
        sent.append(len(job.materials))
        pool.pool.submit(job)

    claims = Claims(blobs, compute)
    blobs.put([*case.materials.values(), *other.materials.values()], 0)
    for round_number in range(3):
        for each in (case, other):
            ask, own = each.ask(round_number)
            blobs.put(list(own.values()), 0)
            done: list[None] = []
            claims.start(ask, lambda done=done: done.append(None), Urgency.ADMISSION)  # type: ignore[misc]
            pool.run_until(lambda done=done: bool(done))  # type: ignore[misc]
            assert claims.result(ask) == compute_here(ask, each.materials | own)
    everything = len(case.materials) + 1
    assert sent == [1, everything, 1, everything, 1, 1, 1, 1]
    assert [len(seat.kept) for seat in pool.pool._seats] == [1, 1], "each worker has a model of its own"


def test_a_certified_model_is_prepared_before_anybody_asks_it(bench: Benches, case: Case) -> None:
    pool = bench(workers=2)
    certificate = compute_here(case.certify, case.materials)
    assert pool.answer(case.certify, case.materials) == certificate
    pool.run_until(lambda: "prepare" in pool.work.seconds and not pool.work.busy)
    ask, own = case.ask(20)
    assert pool.answer(ask, own) == compute_here(ask, case.materials | own)


def test_one_question_waits_for_the_worker_that_has_its_model_and_the_next_does_not(bench: Benches, case: Case) -> None:
    pool = bench(workers=2)
    first, own = case.ask(0)
    pool.answer(first, case.materials | own)
    pool.stop(0, 1)
    for value in (1, 2):
        ask, own = case.ask(value)
        pool.submit(ask, case.materials | own, Urgency.ADMISSION)
    assert (pool.work.busy, pool.work.waiting) == (1, 1)
    ask, own = case.ask(3)
    pool.submit(ask, case.materials | own, Urgency.ADMISSION)
    assert (pool.work.busy, pool.work.waiting) == (2, 1)
    pool.go_on(0, 1)
    pool.run_until(lambda: len(pool.done) == 4)


def test_a_block_waits_for_no_busy_worker_while_another_is_free(bench: Benches, case: Case) -> None:
    pool = bench(workers=2)
    first, own = case.ask(0)
    pool.answer(first, case.materials | own)
    pool.stop(0)
    slow, own = case.ask(1)
    pool.submit(slow, own, Urgency.ADMISSION)
    ask, own = case.ask(2)
    assert pool.answer(ask, case.materials | own) == compute_here(ask, case.materials | own)
    assert [request for request, _ in pool.done] == [first, ask]
    pool.go_on(0)
    pool.run_until(lambda: len(pool.done) == 3)


# Processes that end.


def busy_for_ever(connection: Connection, _memory_size_bytes: int) -> None:
    """A worker that stands still once it has a request."""
    connection.send(None)
    connection.recv()
    os.kill(os.getpid(), signal.SIGSTOP)


def test_a_worker_killed_while_it_computes_costs_nothing_but_time(
    bench: Benches, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(worker_module, "serve", busy_for_ever)
        pool = bench()
    pool.submit(case.certify, case.materials)
    pid = pool.pid(0)
    pool.run_until(lambda: os.waitpid(pid, os.WUNTRACED | os.WNOHANG)[0] == pid)
    os.kill(pid, signal.SIGKILL)
    pool.run_until(lambda: bool(pool.done))
    assert pool.done == [(case.certify, compute_here(case.certify, case.materials))]
    assert pool.work.deaths == {"died": 1}
    assert pool.pid(0) != pid


def test_a_worker_killed_while_it_is_idle_costs_no_request_a_try(bench: Benches, case: Case) -> None:
    pool = bench()
    for _ in range(MOST_DEATHS + 1):
        process = pool.pool._seats[0].worker._process
        assert process is not None
        process.kill()
        process.join()
        assert pool.answer(case.certify, case.materials) == compute_here(case.certify, case.materials)
        pool.run_until(lambda: not pool.work.busy and not pool.work.waiting)
    assert pool.work.deaths == {}


def deadly(connection: Connection, _memory_size_bytes: int) -> None:
    """A worker that any request kills."""
    connection.send(None)
    connection.recv()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_request_that_killed_three_workers_is_not_tried_again_and_others_are(
    bench: Benches, case: Case, other: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(worker_module, "serve", deadly)
        pool = bench()
        assert pool.answer(case.certify, case.materials) is Failure.DIED
    assert pool.work.deaths == {"died": MOST_DEATHS}
    pid = pool.pool.pids
    assert pool.answer(case.certify, case.materials) is Failure.DIED
    assert pool.pool.pids == pid, "no worker was asked"
    assert pool.answer(other.certify, other.materials) == compute_here(other.certify, other.materials)
    assert pool.work.deaths == {"died": MOST_DEATHS}


def test_a_worker_that_hangs_is_replaced_and_its_request_has_failed(
    bench: Benches, case: Case, other: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = bench(workers=2)
    with monkeypatch.context() as patch:
        patch.setattr(module, "limit_s", lambda _request: 0.3)
        pool.stop(0)
        pool.submit(case.certify, case.materials)
        pool.run_until(lambda: bool(pool.done))
    assert pool.done == [(case.certify, Failure.LATE)]
    assert pool.work.deaths == {"late": 1}
    pool.stop(1)
    assert pool.submit(other.certify, other.materials)
    ask, own = other.ask(1)
    assert pool.answer(ask, other.materials | own) == compute_here(ask, other.materials | own)
    pool.go_on(1)
    pool.run_until(lambda: len(pool.done) == 3)


def test_a_failed_computation_is_no_verdict_for_the_node(bench: Benches, case: Case) -> None:
    pool = bench(memory_size_bytes=256 * 2**20)
    blobs = BlobStore(MemoryStore())

    def compute(job: Job) -> None:
        job.materials = {**job.materials, b"": bytes(280 * 2**20)}
        pool.pool.submit(job)

    claims = Claims(blobs, compute)
    blobs.put(list(case.materials.values()), 0)
    done: list[None] = []
    claims.start(case.certify, lambda: done.append(None), Urgency.JUDGING)
    pool.run_until(lambda: bool(done))
    assert claims.has_failed(case.certify)
    assert pool.work.deaths == {"no_memory": 1}


def wrong_machine(connection: Connection, _memory_size_bytes: int) -> None:
    connection.send("2 + 2 is 5")


def test_wrong_arithmetic_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "serve", wrong_machine)
    pool = Bench()
    pool.pool.start()
    pool.run_until(lambda: bool(pool.wrong))
    assert pool.wrong == ["2 + 2 is 5"]
    pool.pool.close()


def test_closing_ends_every_process_while_it_computes(case: Case) -> None:
    pool = Bench(workers=2)
    pool.start()
    processes = [seat.worker._process for seat in pool.pool._seats]
    pool.stop(0, 1)
    pool.submit(case.certify, case.materials)
    pool.pool.close()
    for process in processes:
        assert process is not None
        process.join(TIMEOUT_S)
        assert not process.is_alive()
    assert not any(seat.thread is not None and seat.thread.is_alive() for seat in pool.pool._seats)


# How many.


def test_a_pool_is_as_large_as_the_machine_or_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for cores in (1, 2, 4, 64):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        found.append(worker_count(0))
    assert found == [1, 1, 3, MOST_WORKERS]
    assert worker_count(2) == 2


def test_processes_start_when_they_are_needed(case: Case) -> None:
    pool = Bench(workers=3)
    pool.pool.start()
    pool.answer(case.certify, case.materials)
    pool.run_until(lambda: not pool.work.busy and not pool.work.waiting)
    assert len(pool.pool.pids) <= 2, "the third is not needed"
    pool.pool.close()
