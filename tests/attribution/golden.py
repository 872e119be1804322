"""Golden results of the engine: computed from fixed bytes, without training, and pinned in tests/vectors/attribution.

    python tests/attribution/golden.py            print the digests that this machine computes
    python tests/attribution/golden.py write      write both vector files (trains the small model if there is none)

`head.json` is a small model in full, for people and other implementations to read; `digests.json` holds SHA-256 of
larger results at sizes where BLAS kernels, blocks and threads differ.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from attribution.content import content_hash
from attribution.exact import EXP_TABLE_SHA256, exp_negative, known_answer_test, matmul
from attribution.head.attribute import compute, prepare, read_problem
from attribution.head.certificate import encode_inverse, encode_weights
from attribution.head.request import AttributeRequest, CertifyRequest, GateRequest, Model, Problem
from attribution.head.softmax import gradient, hessian, logits, probabilities, residuals
from attribution.record import Column, TabularSchema, encode_query, encode_record

VECTORS = Path(__file__).parents[1] / "vectors" / "attribution"
HEAD = VECTORS / "head.json"
DIGESTS = VECTORS / "digests.json"

SMALL_ROWS = [
    (0, [512, 10, 0]), (0, [498, 12, 1]), (0, [505, -3, 0]), (0, [530, 8, 1]), (1, [120, 95, 0]), (1, [131, 88, 0]),
    (1, [99, 101, 1]), (1, [140, 90, 0]), (2, [300, -80, 1]), (2, [310, -75, 1]), (2, [295, -91, 0]), (0, [125, 93, 0]),
]  # fmt: skip
SMALL_HOLDOUT = [(0, [500, 5, 1]), (1, [110, 99, 0]), (2, [305, -70, 1]), (1, [520, 11, 0])]
SMALL_QUERIES = [[515, 9, 0], [118, 97, 0], [302, -82, 1], [400, 0, 0]]


def stream(name: str, count: int, bits: int) -> np.ndarray:
    """Signed integers below 2**bits from SHA-256 in counter mode."""
    blocks = [hashlib.sha256(f"{name}/{i}".encode()).digest() for i in range(-(-count // 4))]
    return np.frombuffer(b"".join(blocks), dtype=">i8").astype(np.int64)[:count] >> (63 - bits)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.astype(">i8").tobytes()).hexdigest()


def large_case(columns: int, classes: int, count: int) -> tuple[Model, dict[bytes, bytes], list[bytes]]:
    """A model of pseudo-random bytes: posted, not trained, because training is not exact."""
    name = f"{columns}x{classes}"
    schema = TabularSchema(
        columns=tuple(Column(name=f"c{i}", decimals=0, minimum=-(1 << 40), maximum=1 << 40) for i in range(columns)),
        classes=classes,
    )
    values = stream(name + "/values", count * columns, 20).reshape(count, columns).tolist()
    labels = (stream(name + "/labels", count, 40) % classes).tolist()
    records = [encode_record(schema, y, row) for y, row in zip(labels, values, strict=True)]
    unknowns = schema.unknowns
    weights = stream(name + "/weights", unknowns, 31).reshape(classes, -1)
    half = stream(name + "/inverse", unknowns**2, 19).reshape(unknowns, unknowns)
    inverse = half + half.T
    inverse[np.diag_indices(unknowns)] = (unknowns << 21) + np.abs(stream(name + "/diagonal", unknowns, 30))
    posted = encode_weights(weights), encode_inverse(inverse)
    problem = Problem(engine="head/1", schema=schema, damping=104857, records=tuple(map(content_hash, records)))
    model = Model(problem=problem, weights=content_hash(posted[0]), inverse=content_hash(posted[1]))
    return model, {content_hash(blob): blob for blob in (*records, *posted)}, records


def large_digests(columns: int, classes: int, count: int) -> dict[str, str]:
    model, materials, records = large_case(columns, classes, count)
    name = f"{columns}x{classes}x{count}"
    features, labels, _ = read_problem(model.problem, materials)
    prepared = prepare(model, materials)
    scores = logits(features, prepared.weights)
    chances = probabilities(scores)
    total = gradient(features, residuals(chances, labels), prepared.weights, model.problem.damping)
    matrix = hessian(features, chances, model.problem.damping)
    queries = {content_hash(blob[2:]): blob[2:] for blob in records[:70]}
    asked = compute(AttributeRequest(model=model, queries=tuple(queries)), queries, prepared)
    gate = compute(GateRequest(model=model, holdout=tuple(map(content_hash, records[-70:]))), materials, prepared)
    return {
        f"{name} features": digest(features),
        f"{name} logits": digest(scores),
        f"{name} probabilities": digest(chances),
        f"{name} gradient": hashlib.sha256(json.dumps(total).encode()).hexdigest(),
        f"{name} hessian": digest(matrix),
        f"{name} hessian x inverse": digest(matmul(matrix, prepared.inverse.astype(np.int64))),
        f"{name} units": digest(prepared.units),
        f"{name} residuals": digest(prepared.shares),
        f"{name} self forms": digest(np.stack([prepared.forms.high, prepared.forms.low])),
        f"{name} answers": hashlib.sha256(asked.encode()).hexdigest(),
        f"{name} gate": hashlib.sha256(gate.encode()).hexdigest(),
    }


def digests() -> dict[str, str]:
    """Everything that must be equal on every machine."""
    known_answer_test()
    return {
        "exp table": EXP_TABLE_SHA256,
        "exp": digest(exp_negative(np.abs(stream("exp", 4096, 35)))),
        "matmul": digest(
            matmul(stream("left", 300 * 700, 30).reshape(300, -1), stream("right", 700 * 90, 23).reshape(700, -1))
        ),
        **large_digests(30, 2, 400),
        **large_digests(31, 16, 300),
    }


def small_schema() -> TabularSchema:
    return TabularSchema(
        columns=(
            Column(name="size µm", decimals=1, minimum=0, maximum=100_000),
            Column(name="charge", decimals=0, minimum=-1000, maximum=1000),
            Column(name="is stained", decimals=0, minimum=0, maximum=1),
        ),
        classes=3,
    )


def small_case(weights: bytes, inverse: bytes) -> dict[str, Any]:
    """The small model in full, from posted bytes."""
    schema = small_schema()
    records = [encode_record(schema, *row) for row in SMALL_ROWS]
    holdout = [encode_record(schema, *row) for row in SMALL_HOLDOUT]
    queries = [encode_query(schema, row) for row in SMALL_QUERIES]
    materials = {content_hash(blob): blob for blob in (*records, *holdout, *queries, weights, inverse)}
    problem = Problem(engine="head/1", schema=schema, damping=104857, records=tuple(map(content_hash, records)))
    model = Model(problem=problem, weights=content_hash(weights), inverse=content_hash(inverse))
    certify = CertifyRequest(model=model)
    gate = GateRequest(model=model, holdout=tuple(map(content_hash, holdout)))
    attribute = AttributeRequest(model=model, queries=tuple(map(content_hash, queries)))
    certificate, measure, result = (compute(request, materials) for request in (certify, gate, attribute))
    return {
        "schema": schema.encode().hex(),
        "schema_id": schema.id().hex(),
        "damping": problem.damping,
        "records": [blob.hex() for blob in records],
        "holdout": [blob.hex() for blob in holdout],
        "queries": [blob.hex() for blob in queries],
        "weights": weights.hex(),
        "inverse": inverse.hex(),
        "request_ids": [request.request_id().hex() for request in (certify, gate, attribute)],
        "multiply_accumulates": [request.multiply_accumulates() for request in (certify, gate, attribute)],
        "certificate": certificate.encode().hex(),
        "gate": {"bytes": measure.encode().hex(), "scores": list(measure.scores)},
        "answers": [
            {
                "label": answer.label,
                "influences": list(answer.values()),
                "influences_hash": answer.influences_hash().hex(),
            }
            for answer in result.answers
        ],
    }


def write() -> None:
    if HEAD.exists():
        known = json.loads(HEAD.read_text(encoding="utf-8"))
        weights, inverse = bytes.fromhex(known["weights"]), bytes.fromhex(known["inverse"])
    else:
        from attribution.head.fit import fit  # torch is needed only the first time

        records = [encode_record(small_schema(), *row) for row in SMALL_ROWS]
        names = tuple(map(content_hash, records))
        problem = Problem(engine="head/1", schema=small_schema(), damping=104857, records=names)
        posted = fit(problem, dict(zip(names, records, strict=True)))
        weights, inverse = posted.weights, posted.inverse
    HEAD.write_text(json.dumps(small_case(weights, inverse), indent=2) + "\n", encoding="utf-8")
    DIGESTS.write_text(json.dumps(digests(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        write()
    else:
        print(json.dumps(digests()))
