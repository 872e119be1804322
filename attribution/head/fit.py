"""Train a head and propose its inverse: the only file where floats decide, because `certificate` verifies the outcome.

Nothing here is part of consensus, and another program may replace it: whatever certifies is valid.

1. L-BFGS on the loss, in float64.
2. Newton steps with the exact integer gradient, each rounded to integer weights, until the gradient is far inside the
   certificate's bound. Near the optimum one Hessian serves all steps.
3. The inverse of the integer Hessian in float64, made symmetric, scaled and rounded.

Source: Nocedal and Wright, Numerical Optimization, chapters 3 and 7.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from attribution.errors import AttributionError, Reason
from attribution.exact import Int64
from attribution.head.attribute import Materials, read_problem
from attribution.head.certificate import (
    INVERSE_BITS,
    MAXIMUM_WEIGHT,
    certify,
    encode_inverse,
    encode_weights,
    gradient_norm,
)
from attribution.head.encoder import FEATURE_BITS, Int16
from attribution.head.request import DAMPING_BITS, EPSILON, Certificate, Problem
from attribution.head.softmax import (
    GRADIENT_BITS,
    HESSIAN_BITS,
    WEIGHT_BITS,
    gradient,
    hessian,
    logits,
    probabilities,
    residuals,
)

Float64 = npt.NDArray[np.float64]

_LBFGS_STEPS = 200
_NEWTON_STEPS = 20
_TARGET_NORM = EPSILON // 16
"""Polishing stops well inside the bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedModel:
    """What the owner of a model posts, and the certificate that validators will compute for it."""

    weights: bytes
    """The weights' bytes."""
    inverse: bytes
    """The inverse's bytes."""
    certificate: Certificate
    """Proof that both are accepted."""


def fit(problem: Problem, materials: Materials) -> FittedModel:
    """Train, polish, invert and certify.

    Raises: AttributionError; NOT_CONVERGED with what to do when the result would not certify.
    """
    features, labels, _ = read_problem(problem, materials)
    weights = solve(features, labels, problem.schema.classes, problem.damping)
    matrix = hessian(features, probabilities(logits(features, weights)), problem.damping)
    inverse = invert(matrix, problem.damping)
    try:
        certificate = certify(problem, features, labels, weights, inverse)
    except AttributionError as error:
        raise AttributionError(Reason.NOT_CONVERGED, f"{error}; raise the damping or drop redundant columns") from error
    return FittedModel(weights=encode_weights(weights), inverse=encode_inverse(inverse), certificate=certificate)


def solve(features: Int16, labels: Int64, classes: int, damping: int) -> Int64:
    """Integer weights near the optimum. Shapes: features (n, d), labels (n,) -> (C, d). Units: 2**-30."""
    weights = np.rint(train(features, labels, classes, damping) * 2.0**WEIGHT_BITS).astype(np.int64)
    weights = np.clip(weights, -MAXIMUM_WEIGHT, MAXIMUM_WEIGHT)
    chances = probabilities(logits(features, weights))
    curvature = torch.from_numpy(hessian(features, chances, damping) / 2.0**HESSIAN_BITS)
    factor = torch.linalg.cholesky(curvature)
    for _ in range(_NEWTON_STEPS):
        total = gradient(features, residuals(chances, labels), weights, damping)
        if gradient_norm(total, len(labels)) <= _TARGET_NORM:
            break
        slope = np.array([value / (len(labels) << GRADIENT_BITS) for value in total])
        step = torch.cholesky_solve(torch.from_numpy(slope)[:, None], factor).numpy().reshape(weights.shape)
        weights = weights - np.rint(step * 2.0**WEIGHT_BITS).astype(np.int64)
        weights = np.clip(weights, -MAXIMUM_WEIGHT, MAXIMUM_WEIGHT)
        chances = probabilities(logits(features, weights))
    return weights


def train(features: Int16, labels: Int64, classes: int, damping: int) -> Float64:
    """Weights near the optimum, in floats. Shapes: features (n, d), labels (n,) -> (C, d)."""
    x = torch.from_numpy(features / 2.0**FEATURE_BITS)
    y = torch.from_numpy(labels)
    decay = damping / 2.0**DAMPING_BITS
    weights = torch.zeros((classes, x.shape[1]), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights],
        max_iter=_LBFGS_STEPS,
        history_size=20,
        tolerance_grad=1e-6,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(x @ weights.T, y) + decay / 2 * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]  # torch does not annotate it
    trained: Float64 = weights.detach().numpy()
    return trained


def invert(matrix: Int64, damping: int) -> Int64:
    """2**30·λ times the inverse of the Hessian, symmetric. Shapes: (u, u) -> (u, u)."""
    curvature = torch.from_numpy(matrix / 2.0**HESSIAN_BITS)
    inverse = torch.linalg.inv(curvature)
    scaled = (inverse + inverse.T) / 2 * (damping / 2.0**DAMPING_BITS) * 2.0**INVERSE_BITS
    rounded: Int64 = np.rint(scaled.numpy()).astype(np.int64)
    return rounded
