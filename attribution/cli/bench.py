"""`bench`: how quick this machine is at what validators run, in one table and under half a minute."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from typing import Any

import click

from attribution.content import content_hash
from attribution.head.request import DAMPING_BITS, ENGINE_HEAD, AttributeRequest, CertifyRequest, Model, Problem
from attribution.record import Column, TabularSchema
from attribution.retrieval.request import ENGINE_RETRIEVAL, RetrievalRequest
from attribution.retrieval.request import Index as EmbeddingIndex
from attribution.spans.request import ENGINE_SPANS, SpansRequest

_RECORDS, _COLUMNS, _CLASSES, _QUESTIONS = 5000, 63, 4, 64
_EMBEDDINGS, _DIMENSIONS, _TOP = 50_000, 384, 10
_TEXTS, _TEXT_TOKENS, _ANSWER_TOKENS, _WORDS = 400, 400, 512, 4096
_RUNS = 3


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def bench(as_json: bool) -> None:
    """Time what validators run, on data made here; the median of three runs each, by the clock."""
    # numpy and torch take seconds to load, and --help must not wait for them.
    from attribution.exact import known_answer_test

    rows: list[dict[str, Any]] = [_timed("known answers of the kernel", "", known_answer_test)]
    for part in (_bench_head, _bench_spans, _bench_retrieval):
        rows += part()
    if as_json:
        settings = {name: os.environ.get(name) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
        click.echo(json.dumps({"processors": os.cpu_count(), **settings, "rows": rows}, indent=2))
        return
    click.echo(f"{os.cpu_count()} processors, OPENBLAS_NUM_THREADS={os.environ.get('OPENBLAS_NUM_THREADS', 'unset')}")
    click.echo(f"\n{'what':<34}{'on':<42}{'ms':>10}")
    for row in rows:
        click.echo(f"{row['what']:<34}{row['on']:<42}{row['milliseconds']:>10,.1f}")


def _bench_head() -> list[dict[str, Any]]:
    # As above.
    import numpy as np

    from attribution.head.attribute import compute, prepare
    from attribution.head.fit import fit

    column = {"decimals": 2, "minimum": -(1 << 30), "maximum": 1 << 30}
    columns = tuple(Column(name=f"c{index}", **column) for index in range(_COLUMNS))
    schema = TabularSchema(columns=columns, classes=_CLASSES)
    values = np.frombuffer(_bytes("records", _RECORDS * _COLUMNS), dtype=np.uint8).astype(">i8")
    values = values.reshape(_RECORDS, _COLUMNS)
    # The label shifts the columns that are its own, modulo the number of classes.
    labels = np.frombuffer(_bytes("labels", _RECORDS), dtype=np.uint8) % _CLASSES
    values[:, : _CLASSES * 4] += 90 * (np.arange(_CLASSES * 4) % _CLASSES == labels[:, None])
    blobs = [int(y).to_bytes(2, "big") + row.tobytes() for y, row in zip(labels, values, strict=True)]
    materials = {content_hash(blob): blob for blob in blobs}
    names = tuple(map(content_hash, blobs))
    problem = Problem(engine=ENGINE_HEAD, schema=schema, damping=1 << (DAMPING_BITS - 3), records=names)
    size = f"{_RECORDS:,} records, {problem.unknowns} unknowns"
    fitted: list[Any] = []
    rows = [_timed("head/1 fit", size, lambda: fitted.append(fit(problem, materials)), runs=1)]
    posted = fitted[0]
    weights, inverse = content_hash(posted.weights), content_hash(posted.inverse)
    materials |= {weights: posted.weights, inverse: posted.inverse}
    model = Model(problem=problem, weights=weights, inverse=inverse)
    questions = [row.tobytes() for row in (values[:_QUESTIONS] + 1).astype(values.dtype)]
    materials |= {content_hash(question): question for question in questions}
    asked = tuple(map(content_hash, questions))
    prepared = prepare(model, materials)
    many = f"{_QUESTIONS} questions, {size}"
    return [
        *rows,
        _timed("head/1 certify", size, lambda: compute(CertifyRequest(model=model), materials)),
        _timed("head/1 prepare", size, lambda: prepare(model, materials)),
        _timed(
            "head/1 question",
            size,
            lambda: compute(AttributeRequest(model=model, queries=asked[:1]), materials, prepared),
        ),
        _timed(
            "head/1 batch", many, lambda: compute(AttributeRequest(model=model, queries=asked), materials, prepared)
        ),
    ]


def _bench_spans() -> list[dict[str, Any]]:
    # As above.
    import numpy as np

    from attribution.batch import make_text
    from attribution.spans.attribute import compute, prepare
    from attribution.spans.index import make_snapshot

    drawn = np.frombuffer(_bytes("words", 2 * _TEXTS * _TEXT_TOKENS), dtype=">u2").astype(np.int64)
    # Squared and scaled, so that some words are frequent and most are rare.
    chosen = (drawn * drawn * _WORDS >> 32).reshape(_TEXTS, _TEXT_TOKENS)
    texts = [" ".join(f"w{word}" for word in row).encode() for row in chosen.tolist()]
    answer = b" ".join(b" ".join(text.split()[:32]) for text in texts[: _ANSWER_TOKENS // 32])
    snapshot = make_snapshot(ENGINE_SPANS, texts, range(len(texts)))
    materials = {content_hash(text): text for text in (*texts, answer)}
    prepared = prepare(snapshot, materials)
    request = SpansRequest(snapshot=snapshot, answers=(make_text(answer),))
    size = f"{snapshot.size_bytes / 1e6:.1f} MB, {prepared.index.token_count:,} tokens"
    return [
        _timed("spans/1 build the index", size, lambda: prepare(snapshot, materials)),
        _timed("spans/1 answer", f"{_ANSWER_TOKENS} tokens, {size}", lambda: compute(request, materials, prepared)),
    ]


def _bench_retrieval() -> list[dict[str, Any]]:
    # As above.
    from attribution.retrieval.attribute import compute, prepare

    embeddings, question = _bytes("embeddings", _EMBEDDINGS * _DIMENSIONS), _bytes("question", _DIMENSIONS)
    materials = {content_hash(data): data for data in (embeddings, question)}
    names = tuple(content_hash(index.to_bytes(4, "big")) for index in range(_EMBEDDINGS))
    index = EmbeddingIndex(
        engine=ENGINE_RETRIEVAL, dimensions=_DIMENSIONS, top=_TOP, embeddings=content_hash(embeddings), records=names
    )
    prepared = prepare(index, materials)
    request = RetrievalRequest(index=index, queries=(content_hash(question),))
    size = f"{_EMBEDDINGS:,} embeddings of {_DIMENSIONS} bytes"
    return [
        _timed("retrieval/1 prepare", size, lambda: prepare(index, materials), runs=1),
        _timed("retrieval/1 question", size, lambda: compute(request, materials, prepared)),
    ]


def _timed(what: str, size: str, action: Callable[[], object], *, runs: int = _RUNS) -> dict[str, Any]:
    taken = []
    for _ in range(runs):
        begin = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begin)
    return {"what": what, "on": size, "milliseconds": round(1000 * sorted(taken)[runs // 2], 3)}


def _bytes(name: str, count: int) -> bytes:
    """Bytes without a pattern, the same on every machine."""
    return hashlib.shake_256(b"openledger/bench/" + name.encode()).digest(count)
