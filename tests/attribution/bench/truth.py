"""Ground truth: what really happens to a question's loss when records are left out and the head is trained again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize

from tests.attribution.bench.data import Floats

GRADIENT_LIMIT = 1e-7
"""A retraining has converged when no component of the preconditioned gradient is above this."""


@dataclass(frozen=True)
class Head:
    """L2-regularised logistic regression in floats. Shapes: x (n, d), y (n,), start (C, d)."""

    x: Floats
    y: npt.NDArray[np.int64]
    decay: float
    start: Floats

    def factor(self) -> Floats:
        """Lower Cholesky factor of the Hessian at `start`. Shapes: (C·d, C·d)."""
        p = _softmax(self.x @ self.start.T)
        size = self.start.size
        matrix = np.zeros((size, size))
        d = self.x.shape[1]
        for a in range(p.shape[1]):
            for b in range(a, p.shape[1]):
                block = (self.x * (p[:, a] * ((a == b) - p[:, b]))[:, None]).T @ self.x / len(self.x)
                matrix[a * d : (a + 1) * d, b * d : (b + 1) * d] = block
                matrix[b * d : (b + 1) * d, a * d : (a + 1) * d] = block
        return cholesky(matrix + self.decay * np.eye(size), lower=True)

    def retrain(self, kept: npt.NDArray[np.int64], factor: Floats) -> tuple[Floats, float]:
        """Optimum on the kept records, and the largest gradient component left: L-BFGS in the Hessian's metric."""
        x, y = self.x[kept], self.y[kept]
        rows, shape = np.arange(len(y)), self.start.shape

        def loss(v: Floats) -> tuple[float, Floats]:
            weights = self.start + solve_triangular(factor, v, lower=True, trans=1).reshape(shape)
            scores = x @ weights.T
            p = _softmax(scores)
            peak = scores.max(axis=1)
            value = np.mean(np.log(np.exp(scores - peak[:, None]).sum(axis=1)) + peak - scores[rows, y])
            p[rows, y] -= 1
            slope = p.T @ x / len(y) + self.decay * weights
            return value + self.decay / 2 * (weights**2).sum(), solve_triangular(factor, slope.ravel(), lower=True)

        options = {"gtol": GRADIENT_LIMIT / 10, "ftol": 0.0, "maxiter": 500, "maxcor": 20}
        found = minimize(loss, np.zeros(self.start.size), jac=True, method="L-BFGS-B", options=options)
        weights = self.start + solve_triangular(factor, found.x, lower=True, trans=1).reshape(shape)
        return weights, float(np.abs(found.jac).max())


@dataclass(frozen=True)
class Truth:
    """Retrainings on subsets. Shapes: losses (subsets, questions)."""

    subsets: Sequence[npt.NDArray[np.int64]]
    losses: Floats
    gradient: float
    """Largest gradient component left over all retrainings."""


def retrain_on(head: Head, subsets: Sequence[npt.NDArray[np.int64]], asked: Floats, answers: np.ndarray) -> Truth:
    """Losses of the questions' answers after each retraining. Shapes: asked (m, d), answers (m,)."""
    factor, losses, worst = head.factor(), [], 0.0
    for kept in subsets:
        weights, gradient = head.retrain(kept, factor)
        losses.append(losses_of(weights, asked, answers))
        worst = max(worst, gradient)
    return Truth(subsets=subsets, losses=np.array(losses), gradient=worst)


def losses_of(weights: Floats, asked: Floats, answers: np.ndarray) -> Floats:
    """Cross-entropy of each answer. Shapes: weights (C, d), asked (m, d), answers (m,) -> (m,)."""
    scores = asked @ weights.T
    return np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(answers)), answers]


def halves(seed: int, count: int, records: int) -> list[npt.NDArray[np.int64]]:
    """Random half subsets."""
    rng = np.random.default_rng(seed)
    return [np.sort(rng.choice(records, records // 2, replace=False)) for _ in range(count)]


def datamodeling_scores(influences: Floats, truth: Truth) -> Floats:
    """Rank correlation, for each question, of predicted and real loss over the subsets.

    Shapes: influences (n, questions), positive where the record lowers the question's loss -> (questions,).
    Source: Park et al., "TRAK", 2023, definition 2.3.
    """
    predicted = np.array([-influences[kept].sum(axis=0) for kept in truth.subsets])
    ranks = [table.argsort(axis=0).argsort(axis=0).astype(float) for table in (truth.losses, predicted)]
    centred = [table - table.mean(axis=0) for table in ranks]
    return (centred[0] * centred[1]).sum(axis=0) / np.sqrt(
        (centred[0] ** 2).sum(axis=0) * (centred[1] ** 2).sum(axis=0)
    )


def _softmax(scores: Floats) -> Floats:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)
