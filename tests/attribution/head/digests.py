"""SHA-256 of the engine's larger results, from fixed bytes: no training, no float.

    python -m tests.attribution.head.digests          print what this machine computes
    python -m tests.attribution.head.digests write    pin it in tests/vectors/attribution/head_digests.json

Sizes are those at which BLAS kernels, blocks and threads differ: several blocks of records, ragged ends, both encoders,
2,048 unknowns for what does not need the Hessian.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from attribution.content import Materials, content_hash
from attribution.exact import matmul
from attribution.head.attribute import compute, prepare, read_problem
from attribution.head.certificate import decode_inverse, encode_inverse, encode_weights
from attribution.head.request import AttributeRequest, GateRequest, Model, Problem
from attribution.head.softmax import gradient, hessian, logits, probabilities, residuals
from attribution.record import Column, Schema, TabularSchema, TextSchema, encode_record, encode_text_record

PINNED = Path(__file__).parents[2] / "vectors" / "attribution" / "head_digests.json"
LETTERS = "aeiourstlnmdAEZßÉΣжя中文 \u0020 .,-\U0001f600"


def stream(name: str, count: int, bits: int) -> np.ndarray:
    """Signed integers below 2**bits from SHA-256 in counter mode."""
    blocks = [hashlib.sha256(f"{name}/{i}".encode()).digest() for i in range(-(-count // 4))]
    return np.frombuffer(b"".join(blocks), dtype=">i8").astype(np.int64)[:count] >> (63 - bits)


def digest(array: np.ndarray) -> str:
    """Hash of an array's numbers, 8 bytes each."""
    return hashlib.sha256(array.astype(">i8").tobytes()).hexdigest()


def table_records(name: str, columns: int, classes: int, count: int) -> tuple[Schema, list[bytes]]:
    """Rows of pseudo-random numbers."""
    schema = TabularSchema(
        columns=tuple(Column(name=f"c{i}", decimals=0, minimum=-(1 << 30), maximum=1 << 30) for i in range(columns)),
        classes=classes,
    )
    values = stream(name + "/values", count * columns, 20).reshape(count, columns).tolist()
    labels = (stream(name + "/labels", count, 40) % classes).tolist()
    return schema, [encode_record(schema, y, row) for y, row in zip(labels, values, strict=True)]


def text_records(name: str, dimensions: int, classes: int, count: int) -> tuple[Schema, list[bytes]]:
    """Texts of pseudo-random letters of several scripts."""
    schema = TextSchema(dimensions=dimensions, classes=classes, minimum_size_bytes=1, maximum_size_bytes=4096)
    places = (stream(name + "/letters", count * 90, 40) % len(LETTERS)).reshape(count, 90).tolist()
    labels = (stream(name + "/labels", count, 40) % classes).tolist()
    lines = ["".join(LETTERS[place] for place in row) for row in places]
    return schema, [encode_text_record(schema, y, line) for y, line in zip(labels, lines, strict=True)]


def posted_model(name: str, schema: Schema, records: list[bytes]) -> tuple[Model, dict[bytes, bytes]]:
    """Weights and a positive definite inverse that nobody trained."""
    unknowns = schema.unknowns
    weights = stream(name + "/weights", unknowns, 31).reshape(schema.classes, -1)
    half = np.resize(stream(name + "/inverse", 99_991, 19), unknowns**2).reshape(unknowns, unknowns)
    inverse = half + half.T
    inverse[np.diag_indices(unknowns)] = (unknowns << 21) + np.abs(stream(name + "/diagonal", unknowns, 30))
    posted = encode_weights(weights), encode_inverse(inverse)
    problem = Problem(engine="head/1", schema=schema, damping=104857, records=tuple(map(content_hash, records)))
    model = Model(problem=problem, weights=content_hash(posted[0]), inverse=content_hash(posted[1]))
    return model, {content_hash(blob): blob for blob in (*records, *posted)}


def answers(name: str, model: Model, materials: Materials, records: list[bytes]) -> dict[str, str]:
    """Of everything a question goes through."""
    prepared = prepare(model, materials)
    queries = {content_hash(blob[2:]): blob[2:] for blob in records[:70]}
    asked = compute(AttributeRequest(model=model, queries=tuple(queries)), queries, prepared)
    gate = compute(GateRequest(model=model, holdout=tuple(map(content_hash, records[-70:]))), materials, prepared)
    return {
        f"{name} units": digest(prepared.units),
        f"{name} residuals": digest(prepared.shares),
        f"{name} self forms": digest(np.stack([prepared.forms.high, prepared.forms.low])),
        f"{name} answers": hashlib.sha256(asked.encode()).hexdigest(),
        f"{name} gate": hashlib.sha256(gate.encode()).hexdigest(),
    }


def training(name: str, model: Model, materials: Materials) -> dict[str, str]:
    """Of everything a certificate goes through."""
    features, labels, _ = read_problem(model.problem, materials)
    weights = stream(name + "/weights", model.problem.unknowns, 31).reshape(model.problem.schema.classes, -1)
    scores = logits(features, weights)
    chances = probabilities(scores)
    total = gradient(features, residuals(chances, labels), weights, model.problem.damping)
    matrix = hessian(features, chances, model.problem.damping)
    return {
        f"{name} features": digest(features),
        f"{name} logits": digest(scores),
        f"{name} probabilities": digest(chances),
        f"{name} gradient": hashlib.sha256(json.dumps(total).encode()).hexdigest(),
        f"{name} hessian": digest(matrix),
        f"{name} hessian x inverse": digest(matmul(matrix, decode_inverse(model.problem, materials[model.inverse]))),
    }


def digests() -> dict[str, str]:
    """Everything of the engine that must be equal on every machine."""
    result: dict[str, str] = {}
    for name, (schema, records), is_trained in (
        ("1200 x 33 x 7", table_records("table", 32, 7, 1200), True),
        ("1100 x 65 x 4 text", text_records("text", 64, 4, 1100), True),
        ("300 x 256 x 8", table_records("wide", 255, 8, 300), False),
    ):
        model, materials = posted_model(name, schema, records)
        result |= answers(name, model, materials, records)
        if is_trained:
            result |= training(name, model, materials)
    return result


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        PINNED.write_text(json.dumps(digests(), indent=2) + "\n", encoding="utf-8")
    else:
        print(json.dumps(digests(), indent=2))
