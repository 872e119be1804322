"""Train a head and propose its inverse: the only file where floats decide, because `certificate` verifies the outcome.

Nothing here is part of consensus, and another program may replace it: whatever certifies is valid. It runs on a
processor or on a GPU, and gives other bytes there, which certify as well.

1. L-BFGS on the loss, in float64.
2. Newton steps with the exact integer gradient, each rounded to integer weights, until the gradient is far inside the
   certificate's bound. Near the optimum one Hessian, in float64, serves all steps.
3. The exact integer Hessian, and its inverse in float64, made symmetric, scaled and rounded.

Source: Nocedal and Wright, Numerical Optimization, chapters 3 and 7.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from attribution.content import Materials
from attribution.errors import AttributionError, Reason
from attribution.exact import Int64
from attribution.head.attribute import read_problem
from attribution.head.certificate import (
    INVERSE_BITS,
    MAXIMUM_ROW_SUM,
    MAXIMUM_WEIGHT,
    decode_inverse,
    encode_inverse,
    encode_weights,
    gradient_norm,
    judge,
    validate_snapshot,
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
Progress = Callable[[str, float], None]
"""Told what is being done, and how much of the whole is done, from 0 to 1."""

_LBFGS_STEPS = 200
_NEWTON_STEPS = 20
_TARGET_NORM = EPSILON // 16
"""Polishing stops well inside the bound."""
_BLOCK_RECORDS = 1 << 14
_SHARE_CURVATURE, _SHARE_POLISH, _SHARE_HESSIAN, _SHARE_INVERSE, _SHARE_CERTIFICATE = 0.3, 0.45, 0.6, 0.85, 0.9
"""Where each part of the work begins, in what it took at 100,000 records and 2,048 unknowns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedModel:
    """What the owner of a model posts, and the certificate that validators will compute for it."""

    weights: bytes
    """The weights' bytes."""
    inverse: bytes
    """The inverse's bytes."""
    certificate: Certificate
    """Proof that both are accepted."""


def fit(
    problem: Problem, materials: Materials, *, device: str = "cpu", progress: Progress = lambda _stage, _done: None
) -> FittedModel:
    """Train, polish, invert and certify, on a device that torch knows.

    Raises: AttributionError(DEVICE_UNAVAILABLE); NOT_CONVERGED with what to do when the result would not certify.
    """
    _validate_device(device)
    progress("reading", 0.0)
    features, labels, _ = read_problem(problem, materials)
    validate_snapshot(features, labels, problem.schema.classes)
    weights = solve(features, labels, problem.schema.classes, problem.damping, device=device, progress=progress)
    progress("Hessian", _SHARE_HESSIAN)
    chances = probabilities(logits(features, weights))
    matrix = hessian(features, chances, problem.damping)
    progress("inverse", _SHARE_INVERSE)
    inverse = invert(matrix, problem.damping, device=device)
    progress("certificate", _SHARE_CERTIFICATE)
    total = gradient(features, residuals(chances, labels), weights, problem.damping)
    try:
        posted = encode_weights(weights), encode_inverse(inverse)
        certificate = judge(len(labels), total, matrix, inverse, problem.damping)
        decode_inverse(problem, posted[1])
    except AttributionError as error:
        raise AttributionError(Reason.NOT_CONVERGED, f"{error}; raise the damping or drop redundant columns") from error
    progress("done", 1.0)
    return FittedModel(weights=posted[0], inverse=posted[1], certificate=certificate)


def solve(
    features: Int16,
    labels: Int64,
    classes: int,
    damping: int,
    *,
    device: str = "cpu",
    progress: Progress = lambda _stage, _done: None,
) -> Int64:
    """Integer weights near the optimum. Shapes: features (n, d), labels (n,) -> (C, d). Units: 2**-30."""
    x = torch.from_numpy(features).to(device).to(torch.float64) / 2.0**FEATURE_BITS
    trained = train(x, torch.from_numpy(labels).to(device), classes, damping, progress)
    weights = _rounded(trained)
    progress("curvature", _SHARE_CURVATURE)
    factor = torch.linalg.cholesky(curvature(x, trained, damping))
    for step in range(_NEWTON_STEPS):
        progress("polish", _SHARE_POLISH + (_SHARE_HESSIAN - _SHARE_POLISH) * step / _NEWTON_STEPS)
        chances = probabilities(logits(features, weights))
        total = gradient(features, residuals(chances, labels), weights, damping)
        if gradient_norm(total, len(labels)) <= _TARGET_NORM:
            break
        slope = torch.tensor([value / (len(labels) << GRADIENT_BITS) for value in total], dtype=torch.float64)
        moved = torch.cholesky_solve(slope.to(device)[:, None], factor).reshape(weights.shape)
        weights = np.clip(weights - _rounded(moved), -MAXIMUM_WEIGHT, MAXIMUM_WEIGHT)
    return weights


def train(x: torch.Tensor, y: torch.Tensor, classes: int, damping: int, progress: Progress) -> torch.Tensor:
    """Weights near the optimum, in floats. Shapes: x (n, d), y (n,) -> (C, d)."""
    decay = damping / 2.0**DAMPING_BITS
    weights = torch.zeros((classes, x.shape[1]), dtype=torch.float64, device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights],
        max_iter=_LBFGS_STEPS,
        history_size=20,
        tolerance_grad=1e-6,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
    evaluations = 0

    def loss() -> torch.Tensor:
        nonlocal evaluations
        progress("training", _SHARE_CURVATURE * min(evaluations / _LBFGS_STEPS, 1.0))
        evaluations += 1
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(x @ weights.T, y) + decay / 2 * weights.square().sum()
        value.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]  # torch does not annotate it
    return weights.detach()


def curvature(x: torch.Tensor, weights: torch.Tensor, damping: int) -> torch.Tensor:
    """The Hessian in floats. Shapes: x (n, d), weights (C, d) -> (u, u)."""
    chances = torch.softmax(x @ weights.T, dim=1)
    (classes, d), n = weights.shape, len(x)
    matrix = torch.zeros((classes, d, classes, d), dtype=torch.float64, device=x.device)
    for j in range(classes):
        for k in range(j, classes):
            pair = chances[:, j] * (float(j == k) - chances[:, k]) / n
            block = torch.zeros((d, d), dtype=torch.float64, device=x.device)
            for start in range(0, n, _BLOCK_RECORDS):
                some = x[start : start + _BLOCK_RECORDS]
                block += some.T @ (pair[start : start + _BLOCK_RECORDS, None] * some)
            matrix[j, :, k, :] = block
            matrix[k, :, j, :] = block
    square = matrix.reshape(classes * d, classes * d)
    square.diagonal().add_(damping / 2.0**DAMPING_BITS)
    return square


def invert(matrix: Int64, damping: int, *, device: str = "cpu") -> Int64:
    """2**30·λ times the inverse of the Hessian, symmetric. Shapes: (u, u) -> (u, u)."""
    inverse = torch.linalg.inv(torch.from_numpy(matrix / 2.0**HESSIAN_BITS).to(device)).cpu()
    scaled = (inverse + inverse.T) / 2 * (damping / 2.0**DAMPING_BITS) * 2.0**INVERSE_BITS
    rounded: Int64 = np.rint(scaled.numpy()).astype(np.int64)
    # What is larger could not be written, let alone certified.
    return np.clip(rounded, -MAXIMUM_ROW_SUM, MAXIMUM_ROW_SUM)


def _validate_device(device: str) -> None:
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (AssertionError, RuntimeError) as error:
        detail = f"{device!r}: {str(error).splitlines()[0]}"
        raise AttributionError(Reason.DEVICE_UNAVAILABLE, detail) from None


def _rounded(weights: torch.Tensor) -> Int64:
    """Nearest integer weights inside the range. Shapes: (C, d) -> (C, d)."""
    scaled = np.rint(weights.cpu().numpy() * 2.0**WEIGHT_BITS)
    rounded: Int64 = np.clip(scaled, -MAXIMUM_WEIGHT, MAXIMUM_WEIGHT).astype(np.int64)
    return rounded
