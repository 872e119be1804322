"""The worker process: the same results as here, and neither a wrong request nor a dead process harms the node."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection

import pytest

from attribution.errors import AttributionError, KernelError, Reason
from attribution.head.request import GateRequest
from node import worker as module
from node.claims import Claims
from node.storage.blobs import BlobStore
from node.storage.kv import MemoryStore
from node.worker import PATIENCE_S, Failure, Urgency, Worker, compute_here, limit_s
from tests.node.questions import Case, make_case

LONG_S = 60.0
MEMORY_SIZE_BYTES = 4 * 2**30


@pytest.fixture(scope="module", name="case")
def case_fixture() -> Case:
    return make_case()


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker(MEMORY_SIZE_BYTES)
    yield made
    made.close()


def test_worker_gives_what_this_process_computes_and_keeps_the_model_prepared(worker: Worker, case: Case) -> None:
    assert worker.start()
    ask, own = case.ask(20)
    assert worker.run(case.certify, case.materials, LONG_S) == compute_here(case.certify, case.materials)
    assert worker.run(ask, own, LONG_S) is Failure.NEEDS_MATERIALS
    expected = compute_here(ask, case.materials | own)
    assert worker.run(ask, case.materials | own, LONG_S) == expected
    assert worker.run(ask, own, LONG_S) == expected


def test_a_prepared_model_answers_without_its_files(worker: Worker, case: Case) -> None:
    assert worker.start()
    ask, own = case.ask(20)
    assert worker.run(case.certify, case.materials, LONG_S, is_preparation=True) is None
    assert worker.run(ask, own, LONG_S) == compute_here(ask, case.materials | own)


def test_a_holdout_point_that_is_a_training_record_is_measured_by_whoever_keeps_the_model_prepared(
    worker: Worker, case: Case
) -> None:
    """Its bytes are named twice: as the model's, which need not be sent, and as the point's, which must."""
    assert worker.start()
    blobs = BlobStore(MemoryStore())
    ask, own = case.ask(20)
    blobs.put([*case.materials.values(), *own.values()], 0)
    claims = Claims(blobs, lambda job: job.on_done(worker.run(job.request, job.materials, LONG_S)))
    measure = GateRequest(model=case.model, holdout=case.model.problem.records[:2])
    for request in (ask, measure):
        claims.start(request, lambda: None, Urgency.JUDGING)
        assert not claims.has_failed(request)
        assert claims.result(request) == compute_here(request, case.materials | own)


def test_what_cannot_be_computed_is_an_outcome_and_no_failure(worker: Worker, case: Case) -> None:
    assert worker.start()
    fewer = replace(case.model, problem=replace(case.model.problem, records=case.model.problem.records[:-4]))
    certify = replace(case.certify, model=fewer)
    outcome = worker.run(certify, case.materials, LONG_S)
    assert isinstance(outcome, AttributionError)
    assert outcome.reason is Reason.GRADIENT_TOO_LARGE
    lost = worker.run(case.certify, {}, LONG_S, is_preparation=True)
    assert isinstance(lost, AttributionError)
    assert lost.reason is Reason.MISSING_MATERIAL
    assert worker.is_alive


def test_a_dead_process_is_noticed_and_replaced(worker: Worker, case: Case) -> None:
    assert worker.start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    assert worker.run(case.certify, case.materials, LONG_S) is Failure.DIED
    assert not worker.is_alive
    assert worker.start()
    assert worker.run(case.certify, case.materials, LONG_S) == compute_here(case.certify, case.materials)


@pytest.mark.slow
@pytest.mark.parametrize("padding_size_bytes", [1, 2**22], ids=["waiting for its answer", "waiting for it to read"])
def test_a_process_that_hangs_is_ended_when_its_time_is_over(
    worker: Worker, case: Case, padding_size_bytes: int
) -> None:
    assert worker.start()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    materials = {**case.materials, b"": bytes(padding_size_bytes)}  # more than a pipe holds
    start_s = time.monotonic()
    assert worker.run(case.certify, materials, 0.2) is Failure.LATE
    assert 0.2 <= time.monotonic() - start_s < LONG_S
    assert worker.pid is None
    assert worker.start()
    assert worker.run(case.certify, case.materials, LONG_S) == compute_here(case.certify, case.materials)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts a process's data as it grows")
def test_a_request_that_wants_more_memory_than_there_may_be_fails_alone(case: Case) -> None:
    worker = Worker(256 * 2**20)
    try:
        assert worker.start()
        huge = {**case.materials, b"": bytes(280 * 2**20)}
        assert worker.run(case.certify, huge, LONG_S) is Failure.NO_MEMORY
        assert not worker.is_alive
        assert worker.start()
        assert worker.run(case.certify, case.materials, LONG_S) == compute_here(case.certify, case.materials)
    finally:
        worker.close()


def test_time_for_a_request_follows_from_its_work(case: Case) -> None:
    assert limit_s(case.certify) == PATIENCE_S + case.certify.multiply_accumulates() / module.SLOWEST_RATE
    big, _ = make_case(columns=8, records=400).ask(1)
    small, _ = case.ask(1)
    assert limit_s(big) > limit_s(small) > PATIENCE_S


def wrong_machine(connection: Connection, _memory_size_bytes: int) -> None:
    connection.send("2 + 2 is 5")


def deaf_machine(_connection: Connection, _memory_size_bytes: int) -> None:
    """Ends before it says anything."""


@pytest.mark.slow
def test_wrong_arithmetic_is_said_before_anything_is_computed(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "serve", wrong_machine)
    with pytest.raises(KernelError, match="2 \\+ 2 is 5"):
        worker.start()


@pytest.mark.slow
def test_a_process_that_does_not_come_up_is_no_disaster(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "serve", deaf_machine)
    assert not worker.start()
    assert not worker.is_alive


@pytest.mark.slow
def test_a_closed_worker_does_not_start_again(worker: Worker) -> None:
    assert worker.start()
    worker.close()
    assert not worker.start()
    assert not worker.is_alive
