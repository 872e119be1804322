"""Results of mlp/1 at sizes where BLAS kernels, blocks and threads differ, from fixed bytes: no training, no float.

`python -m tests.attribution.mlp.digests` prints them; `... write` pins them in tests/vectors/attribution/mlp.json.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from attribution.content import content_hash
from attribution.exact import Int64, Integers, matmul
from attribution.mlp.attribute import compute, prepare, raw_influences, read_problem
from attribution.mlp.certificate import damped, encode_inverse, fisher, margin_entries, snapshot_scale
from attribution.mlp.network import backward, encode_weights, forward, margin_residuals, probabilities
from attribution.mlp.projection import side_matrix
from attribution.mlp.request import Checkpoint, MlpAttributeRequest, MlpModel, MlpProblem
from attribution.record import Column, TabularSchema, encode_record

VECTORS = Path(__file__).parents[2] / "vectors" / "attribution" / "mlp.json"


def stream(name: str, count: int, bits: int) -> Int64:
    """Signed integers below 2**bits from SHA-256 in counter mode."""
    blocks = [hashlib.sha256(f"{name}/{i}".encode()).digest() for i in range(-(-count // 4))]
    return np.frombuffer(b"".join(blocks), dtype=">i8").astype(np.int64)[:count] >> (63 - bits)


def digest(*arrays: Integers) -> str:
    """SHA-256 of integers, 8 bytes each, big-endian."""
    return hashlib.sha256(b"".join(array.astype(">i8").tobytes() for array in arrays)).hexdigest()


def digests() -> dict[str, str]:
    """Everything that must be equal on every machine."""
    return {
        "signs": digest(side_matrix(0, 0, 0, 257), side_matrix(9, 2, 1, 256)),
        **case_digests(64, (130, 67), 10, 150),
        **case_digests(5, (4,), 2, 1100),
    }


def case_digests(columns: int, widths: tuple[int, ...], classes: int, count: int) -> dict[str, str]:
    """Every stage of two checkpoints of pseudo-random bytes."""
    name = f"{columns}-{'-'.join(map(str, widths))}-{classes}x{count}"
    schema = TabularSchema(
        columns=tuple(Column(name=f"c{i}", decimals=0, minimum=-(1 << 40), maximum=1 << 40) for i in range(columns)),
        classes=classes,
    )
    values = stream(name + "/values", count * columns, 20).reshape(count, columns).tolist()
    labels = (stream(name + "/labels", count, 40) % classes).tolist()
    records = [encode_record(schema, y, row) for y, row in zip(labels, values, strict=True)]
    materials = {content_hash(blob): blob for blob in records}
    problem = MlpProblem(engine="mlp/1", schema=schema, widths=widths, records=tuple(map(content_hash, records)))
    inputs, targets, _ = read_problem(problem, materials)
    found: dict[str, str] = {f"{name} inputs": digest(inputs)}
    checkpoints = []
    for index in range(2):
        place = f"{name} checkpoint {index}"
        weights = tuple(
            stream(f"{place}/{layer}", outputs * fan, 12 if fan > 16 else 14).reshape(outputs, fan)
            for layer, (outputs, fan) in enumerate(problem.layers)
        )
        half = stream(place + "/inverse", problem.unknowns**2, 19).reshape(problem.unknowns, problem.unknowns)
        inverse = half + half.T
        inverse[np.diag_indices(len(inverse))] = (len(inverse) << 20) + np.abs(
            stream(place + "/diagonal", len(inverse), 30)
        )
        activations, scores = forward(weights, inputs)
        entries = margin_entries(weights, index, inputs, targets)
        scale = snapshot_scale(weights, index, inputs, targets)
        total = fisher(weights, index, inputs, scale, problem.unknowns)
        matrix, damping = damped(total)
        found |= {
            f"{place} forward": digest(*activations, scores, probabilities(scores)),
            f"{place} backward": digest(*backward(weights, activations, margin_residuals(scores, targets))),
            f"{place} gradients": digest(entries, np.array([scale])),
            f"{place} fisher": digest(total, matrix, np.array([damping])),
            f"{place} fisher x inverse": digest(matmul(matrix, inverse)),
        }
        blobs = encode_weights(weights), encode_inverse(inverse)
        materials |= {content_hash(blob): blob for blob in blobs}
        checkpoints.append(Checkpoint(weights=content_hash(blobs[0]), inverse=content_hash(blobs[1]), scale=scale))
    model = MlpModel(problem=problem, checkpoints=tuple(checkpoints))
    prepared = prepare(model, materials)
    queries = {content_hash(blob[2:]): blob[2:] for blob in records[:70]}
    result = compute(MlpAttributeRequest(model=model, queries=tuple(queries)), queries, prepared)
    raw = raw_influences(prepared, materials, list(queries.values())[:3])
    return found | {
        f"{name} vectors": digest(prepared.vectors, prepared.self_forms),
        f"{name} answers": hashlib.sha256(result.encode()).hexdigest(),
        f"{name} raw influences": digest(np.array(raw, dtype=np.int64)),
    }


if __name__ == "__main__":
    text = json.dumps(digests(), indent=2) + "\n"
    if sys.argv[1:] == ["write"]:
        VECTORS.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
