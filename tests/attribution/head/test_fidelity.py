"""Is raw influence what it says: the change of a question's loss when records are removed and the head retrained?"""

from dataclasses import dataclass

import numpy as np
import pytest

from attribution.head.attribute import prepare, raw_influences
from attribution.head.encoding import read_questions
from attribution.head.softmax import classify, logits

QUESTIONS = 10


@dataclass
class Experiment:
    """A fitted head in floats, some questions, and the integer engine's raw influences. Shapes: raw (questions, n)."""

    x: np.ndarray
    y: np.ndarray
    decay: float
    weights: np.ndarray
    asked: np.ndarray
    answers: np.ndarray
    raw: np.ndarray

    def losses(self, kept: np.ndarray) -> np.ndarray:
        """Loss of each question after retraining on the kept records with Newton's method in floats."""
        x, y, weights = self.x[kept], self.y[kept], self.weights
        for _ in range(6):
            p = np.exp(x @ weights.T - np.logaddexp.reduce(x @ weights.T, axis=1)[:, None])
            pairs = p[:, :, None] * (np.eye(p.shape[1]) - p[:, None, :])
            matrix = np.einsum("njk,na,nb->jakb", pairs, x, x, optimize=True).reshape(weights.size, -1) / len(x)
            matrix += self.decay * np.eye(weights.size)
            p[np.arange(len(y)), y] -= 1
            slope = (p.T @ x / len(x) + self.decay * weights).ravel()
            weights = weights - np.linalg.solve(matrix, slope).reshape(weights.shape)
        scores = self.asked @ weights.T
        return np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(self.answers)), self.answers]


@pytest.fixture(scope="module")
def experiment(clinic_case) -> Experiment:
    case, questions = clinic_case
    prepared = prepare(case.model, case.shelf.materials)
    blobs = [case.shelf.materials[name] for name in case.put_queries(questions[:QUESTIONS])]
    asked = read_questions(prepared.encoder, case.schema, blobs)
    return Experiment(
        x=case.features() / 4096,
        y=np.array(case.labels),
        decay=case.problem.damping / 2**20,
        weights=prepared.weights / 2.0**30,
        asked=asked / 4096,
        answers=classify(logits(asked, prepared.weights)),
        raw=np.array([raw_influences(prepared, case.shelf.materials, blob) for blob in blobs]) / 2.0**40,
    )


@pytest.mark.slow
def test_raw_influence_predicts_leaving_one_record_out(experiment: Experiment) -> None:
    everything = np.arange(len(experiment.y))
    before, removed = experiment.losses(everything), range(0, len(everything), 3)
    real = np.array([experiment.losses(np.delete(everything, i)) - before for i in removed])
    correlations = [np.corrcoef(experiment.raw[q, removed], real[:, q])[0, 1] for q in range(QUESTIONS)]
    print("leave-one-out correlation of each question:", " ".join(f"{value:.4f}" for value in correlations))
    assert min(correlations) > 0.98


@pytest.mark.slow
def test_raw_influence_predicts_retraining_on_random_halves(experiment: Experiment) -> None:
    """The linear datamodeling score: rank correlation over subsets. Source: Park et al., TRAK, 2023, definition 2.3."""
    seed, n = 1, len(experiment.y)
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    subsets = [rng.choice(n, n // 2, replace=False) for _ in range(80)]
    real = np.array([experiment.losses(kept) for kept in subsets])
    predicted = np.array([-experiment.raw[:, kept].sum(axis=1) for kept in subsets])
    ranks = [table.argsort(axis=0).argsort(axis=0) for table in (real, predicted)]
    scores = [np.corrcoef(ranks[0][:, q], ranks[1][:, q])[0, 1] for q in range(QUESTIONS)]
    print("linear datamodeling score of each question:", " ".join(f"{value:.3f}" for value in scores))
    assert np.mean(scores) > 0.95
