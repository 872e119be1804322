"""The engine measured on scikit-learn's digits: `python -m tests.attribution.mlp.figures` prints the figures.

The linear datamodeling score is the rank correlation, over random halves of the records, between what the influences
predict and what networks retrained on each half do, mean over questions. The real effect is that on the log-odds margin
and on the loss of a question's true label, each the mean of several retrainings.

Source: Park et al., "TRAK", 2023, definition 2.3; its score, with a Gaussian projection to 512, stands beside ours.
"""

import time

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits

from attribution.content import content_hash
from attribution.exact import Int64
from attribution.head.encoder import encode, read_queries
from attribution.mlp.attribute import Prepared, compute, predict, prepare, raw_influences, read_problem
from attribution.mlp.fit import FittedMlp, Training, fit, train
from attribution.mlp.network import ACTIVATION_BITS, WEIGHT_BITS, Weights, decode_weights, first_activations
from attribution.mlp.request import MlpAttributeRequest, MlpCertifyRequest, MlpProblem
from attribution.record import Column, TabularSchema, encode_query, encode_record

SEED = 1
RECORDS, QUESTIONS = 1000, 100
WIDTHS = (64, 32)
HALVES, RETRAININGS = 60, 20
PROJECTED = 512

Table = npt.NDArray[np.float64]


def digits() -> tuple[MlpProblem, dict[bytes, bytes], list[bytes], Int64, list[bytes], Int64]:
    """Problem, materials, questions, their true labels; all held-out points and theirs, for accuracy."""
    data = load_digits()
    order = np.random.default_rng(SEED).permutation(len(data.target))
    schema = TabularSchema(
        columns=tuple(Column(name=f"pixel {i}", decimals=0, minimum=0, maximum=16) for i in range(64)), classes=10
    )
    rows = [[int(value) for value in data.data[i]] for i in order]
    labels = data.target[order].astype(np.int64)
    records = [encode_record(schema, int(y), row) for y, row in zip(labels[:RECORDS], rows[:RECORDS], strict=True)]
    materials = {content_hash(blob): blob for blob in records}
    problem = MlpProblem(
        engine="mlp/1", schema=schema, widths=WIDTHS, records=tuple(content_hash(blob) for blob in records)
    )
    held = [encode_query(schema, row) for row in rows[RECORDS:]]
    return problem, materials, held[:QUESTIONS], labels[RECORDS : RECORDS + QUESTIONS], held, labels[RECORDS:]


def retrain(
    problem: MlpProblem, inputs: Int64, labels: Int64, asked: Int64, true: Int64, halves: int, retrainings: int
) -> tuple[Table, Table, Table]:
    """Which records each half holds, and margin and log-likelihood of each question after each retraining.

    Shapes: (halves, n), (retrainings, halves, m), the same.
    """
    rng = np.random.default_rng(SEED)
    kept = np.array([rng.permutation(len(labels))[: len(labels) // 2] for _ in range(halves)])
    mask = np.zeros((halves, len(labels)))
    np.put_along_axis(mask, kept, 1, 1)
    measured = np.empty((2, retrainings, halves, len(true)))
    for run in range(retrainings):
        training = Training(checkpoints=halves, seed=1000 + run)
        for half, weights in enumerate(train(problem, inputs, labels, training, lambda _: None, kept)):
            measured[:, run, half] = effects(scores(weights, asked)[1], true)
    return mask, measured[0], measured[1]


def scores(weights: Weights, inputs: Int64) -> tuple[list[Table], Table]:
    """The forward pass once more, in floats: each layer's inputs, and the scores."""
    activations = [inputs / 2.0**ACTIVATION_BITS]
    for layer in weights[:-1]:
        units = np.maximum(activations[-1] @ (layer.T / 2.0**WEIGHT_BITS), 0)
        activations.append(np.hstack([units, np.ones((len(units), 1))]))
    return activations, activations[-1] @ (weights[-1].T / 2.0**WEIGHT_BITS)


def effects(table: Table, labels: Int64) -> tuple[Table, Table]:
    """Log-odds margin and log-likelihood of each label. Shapes: (m, C), (m,) -> (m,) twice."""
    rows = np.arange(len(labels))
    others = table.copy()
    others[rows, labels] = -np.inf
    chosen = table[rows, labels]
    return chosen - np.logaddexp.reduce(others, axis=1), chosen - np.logaddexp.reduce(table, axis=1)


def rank_correlation(left: Table, right: Table) -> float:
    """Spearman's, down each column, mean over the columns. Shapes: (halves, m) both."""
    ranks = [table.argsort(axis=0).argsort(axis=0) - (len(table) - 1) / 2 for table in (left, right)]
    products = [(a * b).sum(axis=0) for a, b in ((ranks[0], ranks[1]), (ranks[0], ranks[0]), (ranks[1], ranks[1]))]
    return float((products[0] / np.sqrt(products[1] * products[2])).mean())


def trak(runs: list[Weights], inputs: Int64, labels: Int64, asked: Int64, answers: Int64) -> Table:
    """TRAK in floats, section 3 of its paper, with one Gaussian projection per checkpoint. Shapes: -> (m, n)."""
    rng = np.random.default_rng(SEED)
    total, doubts = np.zeros((len(asked), len(labels))), np.zeros(len(labels))
    for weights in runs:
        width = sum(layer.size for layer in weights)
        projection = rng.normal(size=(width, PROJECTED))
        records, odds = gradients(weights, inputs, labels)
        questions, _ = gradients(weights, asked, answers)
        records, questions = records @ projection, questions @ projection
        total += questions @ np.linalg.solve(records.T @ records, records.T)
        doubts += 1 / (1 + np.exp(odds))
    return total * doubts


def gradients(weights: Weights, inputs: Int64, labels: Int64) -> tuple[Table, Table]:
    """Gradient of each point's margin by every weight, and the margin. Shapes: (n, parameters), (n,)."""
    activations, table = scores(weights, inputs)
    rows = np.arange(len(labels))
    others = table.copy()
    others[rows, labels] = -np.inf
    residuals = -np.exp(others - np.logaddexp.reduce(others, axis=1)[:, None])
    residuals[rows, labels] = 1
    parts: list[Table] = []
    for layer, a in zip(weights[::-1], activations[::-1], strict=True):
        parts.append((residuals[:, :, None] * a[:, None, :]).reshape(len(a), -1))
        residuals = (residuals @ (layer[:, :-1] / 2.0**WEIGHT_BITS)) * (a[:, :-1] > 0)
    return np.hstack(parts), effects(table, labels)[0]


def relative_influences(prepared: Prepared, materials: dict[bytes, bytes], blobs: list[bytes]) -> Table:
    """Relative influence of every record on each question. Shapes: (m, n)."""
    names = {content_hash(blob): blob for blob in blobs}
    request = MlpAttributeRequest(model=prepared.model, queries=tuple(content_hash(blob) for blob in blobs))
    result = compute(request, materials | names, prepared)
    return np.array([answer.values() for answer in result.answers], dtype=np.float64)


def timed(label: str, start: float) -> None:
    print(f"  {label:<58}{time.perf_counter() - start:8.2f} s")


def measure(checkpoints: int = 10, halves: int = HALVES, retrainings: int = RETRAININGS) -> dict[str, float]:
    """Every figure, printed as it is found."""
    print(f"digits: {RECORDS} records, {QUESTIONS} questions, hidden {WIDTHS}, {checkpoints} checkpoints, seed {SEED}")
    problem, materials, asked_blobs, true, held, held_labels = digits()
    inputs, labels, encoder = read_problem(problem, materials)
    start = time.perf_counter()
    fitted: FittedMlp = fit(problem, materials, Training(checkpoints=checkpoints, seed=SEED))
    timed("fit: train, quantise, invert, certify", start)
    materials |= fitted.materials
    start = time.perf_counter()
    assert compute(MlpCertifyRequest(model=fitted.model), materials) == fitted.certificate
    timed("certify: what validators do once", start)
    start = time.perf_counter()
    prepared = prepare(fitted.model, materials)
    timed("prepare: what a worker does once", start)
    relative_influences(prepared, materials, asked_blobs[:1])
    start = time.perf_counter()
    relative_influences(prepared, materials, asked_blobs[:1])
    timed("a question", start)
    start = time.perf_counter()
    relative = relative_influences(prepared, materials, asked_blobs)
    timed(f"{QUESTIONS} questions", start)
    runs = [decode_weights(problem, materials[each.weights]) for each in fitted.model.checkpoints]
    asked = first_activations(encode(encoder, read_queries(problem.schema, asked_blobs)))
    everything = first_activations(encode(encoder, read_queries(problem.schema, held)))
    answers = np.array(predict(prepared, held))
    of_floats = scores(runs[0], everything)[1].argmax(axis=1)
    figures = {
        "accuracy, integers": float((answers == held_labels).mean()),
        "accuracy, floats": float((of_floats == held_labels).mean()),
        "answers that differ": float((answers != of_floats).sum()),
    }
    start = time.perf_counter()
    mask, margin, likelihood = retrain(problem, inputs, labels, asked, true, halves, retrainings)
    timed(f"{halves * retrainings} retrainings on random halves", start)
    raw = np.array(raw_influences(prepared, materials, asked_blobs), dtype=np.float64)
    predicted = {
        "raw influence": raw,
        "relative influence": relative,
        "TRAK": trak(runs, inputs, labels, asked, answers[:QUESTIONS]),
    }
    for effect, table in (("margin", margin), ("loss", likelihood)):
        for name, influences in predicted.items():
            figures[f"{name}, {effect}"] = rank_correlation(mask @ influences.T, table.mean(axis=0))
        halves_agree = rank_correlation(table[::2].mean(axis=0), table[1::2].mean(axis=0))
        figures[f"half of the retrainings against the other, {effect}"] = halves_agree
    for name, value in figures.items():
        print(f"  {name:<58}{value:8.3f}")
    return figures


if __name__ == "__main__":
    torch.set_num_threads(1)
    measure()
