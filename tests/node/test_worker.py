"""The worker process: the same results as here, and neither a wrong request nor a dead process harms the node."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from attribution.content import content_hash
from attribution.errors import AttributionError, Reason
from attribution.head.request import AttributeRequest, CertifyRequest, GateRequest, Model, Problem
from attribution.record import Column, TabularSchema, encode_query, encode_record
from attribution.request import REQUEST
from node.claims import Claims
from node.storage.blobs import BlobStore
from node.storage.kv import MemoryStore
from node.worker import Failure, NeedsMaterials, Outcome, Worker, compute_here, outcome_of
from tests.node.modules.training import train

TIMEOUT_S = 60
SCHEMA = TabularSchema(
    columns=tuple(Column(name=name, decimals=0, minimum=0, maximum=100) for name in ("a", "b")), classes=2
)
RECORDS = [
    encode_record(SCHEMA, index % 2, [index * 7 % 50 + 50 * (index % 2), index * 13 % 100]) for index in range(24)
]
QUERY = encode_query(SCHEMA, [20, 30])


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def make_model() -> tuple[Model, dict[bytes, bytes]]:
    materials = {content_hash(each): each for each in [*RECORDS, QUERY]}
    problem = Problem(
        engine="head/1", schema=SCHEMA, damping=104_858, records=tuple(content_hash(each) for each in RECORDS)
    )
    trained = train(problem, materials)
    materials |= {content_hash(each): each for each in (trained.weights, trained.inverse)}
    return Model(
        problem=problem, weights=content_hash(trained.weights), inverse=content_hash(trained.inverse)
    ), materials


def test_worker_gives_what_this_process_computes_and_keeps_the_model_prepared(worker: Worker) -> None:
    model, materials = make_model()
    certify = CertifyRequest(model=model)
    assert worker.submit(certify, materials).result(TIMEOUT_S) == compute_here(certify, materials)
    ask = AttributeRequest(model=model, queries=(content_hash(QUERY),))
    only_query = {content_hash(QUERY): QUERY}
    unprepared = worker.submit(ask, only_query)
    unprepared.exception(TIMEOUT_S)
    assert outcome_of(unprepared) is Failure.NEEDS_MATERIALS
    expected = compute_here(ask, materials)
    assert worker.submit(ask, materials).result(TIMEOUT_S) == expected
    assert worker.submit(ask, only_query).result(TIMEOUT_S) == expected


def test_a_holdout_point_that_is_a_training_record_is_measured_by_whoever_keeps_the_model_prepared() -> None:
    """Its bytes are named twice: as the model's, which need not be sent, and as the point's, which must."""
    model, materials = make_model()
    blobs = BlobStore(MemoryStore())
    blobs.put(list(materials.values()), 0)
    claims = Claims(blobs, lambda request, given, done: done(_computed(request, given)))
    requests = (
        AttributeRequest(model=model, queries=(content_hash(QUERY),)),
        GateRequest(model=model, holdout=tuple(content_hash(each) for each in RECORDS[:2])),
    )
    for request in requests:
        claims.start(request, lambda: None)
        assert not claims.has_failed(request)
        assert claims.result(request) == compute_here(request, materials)


def _computed(request: REQUEST, materials: Mapping[bytes, bytes]) -> Outcome | Failure:
    try:
        return compute_here(request, materials)
    except NeedsMaterials:
        return Failure.NEEDS_MATERIALS


def test_what_cannot_be_certified_is_an_outcome_and_no_failure(worker: Worker) -> None:
    model, materials = make_model()
    fewer = replace(model, problem=replace(model.problem, records=model.problem.records[:-4]))
    outcome = worker.submit(CertifyRequest(model=fewer), materials).result(TIMEOUT_S)
    assert isinstance(outcome, AttributionError)
    assert outcome.reason is Reason.GRADIENT_TOO_LARGE


def test_dead_process_is_noticed_and_replaced(worker: Worker) -> None:
    model, materials = make_model()
    worker.warm().result(TIMEOUT_S)
    (process,) = worker._processes
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    lost = worker.submit(CertifyRequest(model=model), materials)
    lost.exception(TIMEOUT_S)
    assert outcome_of(lost) is Failure.DIED
    worker.restart()
    certify = CertifyRequest(model=model)
    assert worker.submit(certify, materials).result(TIMEOUT_S) == compute_here(certify, materials)


def test_closing_ends_the_process_while_it_computes(worker: Worker) -> None:
    worker.warm()
    (process,) = worker._processes
    worker.close()
    assert not process.is_alive()
