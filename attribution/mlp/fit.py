"""Train checkpoints and propose their inverses: the only file of mlp/1 where floats decide, as `certificate` verifies.

Nothing here is part of consensus, and another program may replace it: whatever certifies is valid.

1. Every checkpoint is a training run of its own, by stochastic gradient descent with momentum and a falling rate, on
   the engine's own inputs; all runs go side by side, so that ten cost little more than one on small networks.
2. Weights are rounded to the engine's fixed point.
3. The scale is computed exactly, and the inverse of the exact Fisher matrix in float64, made symmetric and rounded.

Source: initial weights: He et al., "Delving deep into rectifiers", 2015, section 2.2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from attribution.content import Materials, content_hash
from attribution.errors import AttributionError, Reason
from attribution.exact import Int64
from attribution.mlp.attribute import read_problem
from attribution.mlp.certificate import (
    INVERSE_BITS,
    damped,
    decode_inverse,
    encode_inverse,
    fisher,
    inverse_residual,
    snapshot_scale,
)
from attribution.mlp.network import (
    ACTIVATION_BITS,
    MAXIMUM_WEIGHT,
    WEIGHT_BITS,
    Weights,
    decode_weights,
    encode_weights,
)
from attribution.mlp.request import ETA, MAXIMUM_CHECKPOINTS, Checkpoint, MlpCertificate, MlpModel, MlpProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How the checkpoints are trained; the chain never sees it."""

    checkpoints: int = MAXIMUM_CHECKPOINTS
    """Separate runs."""
    epochs: int = 30
    """Passes over the records."""
    batch_records: int = 50
    """Records of one step."""
    rate: float = 0.05
    """First learning rate; it falls to 0 in a line."""
    momentum: float = 0.9
    """Of the steps."""
    decay: float = 1e-3
    """L2 regularisation: the mean loss plus half of this times the squared weights."""
    seed: int = 0
    """Fixes initial weights and the order of records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedMlp:
    """What the owner of a model posts, and the certificate that validators will compute for it."""

    model: MlpModel
    """The model, with the names of its checkpoints' bytes."""
    materials: dict[bytes, bytes]
    """Weights and inverses by content hash."""
    certificate: MlpCertificate
    """Proof that they are accepted."""


def fit(
    problem: MlpProblem,
    materials: Materials,
    training: Training | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FittedMlp:
    """Train, round, invert and certify; `progress` is told the steps done and their number.

    Raises: AttributionError; NOT_CONVERGED with what to do when the result would not certify.
    """
    training = training or Training()
    inputs, labels, _ = read_problem(problem, materials)
    steps = training.epochs + training.checkpoints
    tell = progress or (lambda *_: None)
    runs = train(problem, inputs, labels, training, lambda epoch: tell(epoch, steps))
    posted: dict[bytes, bytes] = {}
    checkpoints, residuals = [], []
    for index, weights in enumerate(runs):
        try:
            checkpoint, blobs, residual = propose(problem, index, weights, inputs, labels)
        except AttributionError as error:
            raise AttributionError(Reason.NOT_CONVERGED, f"{error}; raise the decay or lower the rate") from error
        posted |= blobs
        checkpoints.append(checkpoint)
        residuals.append(residual)
        tell(training.epochs + index + 1, steps)
    model = MlpModel(problem=problem, checkpoints=tuple(checkpoints))
    certificate = MlpCertificate(record_count=len(labels), inverse_residuals=tuple(residuals))
    return FittedMlp(model=model, materials=posted, certificate=certificate)


def propose(
    problem: MlpProblem, index: int, weights: Weights, inputs: Int64, labels: Int64
) -> tuple[Checkpoint, dict[bytes, bytes], int]:
    """A checkpoint of trained weights, its bytes, and its inverse's residual; exact but for the inverse.

    Raises: AttributionError, as certification of the result would.
    """
    blobs = [encode_weights(weights)]
    decode_weights(problem, blobs[0])
    scale = snapshot_scale(weights, index, inputs, labels)
    matrix, damping = damped(fisher(weights, index, inputs, scale, problem.unknowns))
    blobs.append(encode_inverse(invert(matrix, damping)))
    residual = inverse_residual(matrix, decode_inverse(problem, blobs[1]), damping)
    if residual > ETA:
        raise AttributionError(Reason.INVERSE_NOT_CERTIFIED, f"checkpoint {index}: residual {residual}")
    names = [content_hash(blob) for blob in blobs]
    checkpoint = Checkpoint(weights=names[0], inverse=names[1], scale=scale)
    return checkpoint, dict(zip(names, blobs, strict=True)), residual


def invert(matrix: Int64, damping: int) -> Int64:
    """2**30·λ times the inverse of H, symmetric. Shapes: (k, k) -> (k, k)."""
    inverse = torch.linalg.inv(torch.from_numpy(matrix / damping))
    scaled = (inverse + inverse.T) / 2 * 2.0**INVERSE_BITS
    rounded: Int64 = np.rint(scaled.numpy()).astype(np.int64)
    return rounded


def train(
    problem: MlpProblem,
    inputs: Int64,
    labels: Int64,
    training: Training,
    progress: Callable[[int], None],
    subsets: Int64 | None = None,
) -> list[Weights]:
    """Rounded weights of every run, each on all records or on its own subset of them.

    Shapes: inputs (n, i_0), labels (n,), subsets (runs, records of each) -> (o_l, i_l) for each run and layer.
    Raises: AttributionError(NOT_CONVERGED) when a run diverges.
    """
    everything = np.broadcast_to(np.arange(len(labels)), (training.checkpoints, len(labels)))
    seen = torch.from_numpy(np.array(everything if subsets is None else subsets))
    x, y = torch.from_numpy(inputs / 2.0**ACTIVATION_BITS).float(), torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(training.seed)
    layers = [_initial(outputs, fan, training.checkpoints, generator) for outputs, fan in problem.layers]
    speeds = [torch.zeros_like(layer) for layer in layers]
    for epoch in range(training.epochs):
        rate = training.rate * (1 - epoch / training.epochs)
        order = seen.gather(1, torch.rand(seen.shape, generator=generator).argsort(dim=1))
        for batch in torch.split(order, training.batch_records, dim=1):
            loss = _loss(layers, x[batch], y[batch])
            slopes = torch.autograd.grad(loss, layers)
            with torch.no_grad():
                for layer, speed, slope in zip(layers, speeds, slopes, strict=True):
                    speed.mul_(training.momentum).add_(slope + training.decay * layer)
                    layer.sub_(rate * speed)
        progress(epoch + 1)
    # Transposed: torch keeps inputs first here, the engine outputs first.
    tables = [layer.detach().double().transpose(1, 2).numpy() * 2.0**WEIGHT_BITS for layer in layers]
    if not all(np.isfinite(table).all() for table in tables):
        raise AttributionError(Reason.NOT_CONVERGED, "a weight is not finite; lower the rate")
    bounded = [np.clip(table, -MAXIMUM_WEIGHT, MAXIMUM_WEIGHT) for table in tables]
    return [tuple(np.rint(table[run]).astype(np.int64) for table in bounded) for run in range(training.checkpoints)]


def _initial(outputs: int, inputs: int, runs: int, generator: torch.Generator) -> torch.Tensor:
    """Uniform with variance 2 / inputs, the bias 0. Shapes: (runs, inputs, outputs)."""
    layer: torch.Tensor = (2 * torch.rand(runs, inputs, outputs, generator=generator) - 1) * (6 / inputs) ** 0.5
    layer[:, -1] = 0
    return layer.requires_grad_()


def _loss(layers: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Sum over the runs of the mean loss of each one's batch. Shapes: x (runs, b, i_0), y (runs, b)."""
    values = x
    for layer in layers[:-1]:
        units = torch.bmm(values, layer).relu()
        values = torch.cat([units, torch.ones_like(units[:, :, :1])], dim=2)
    scores = torch.bmm(values, layers[-1])
    mean: torch.Tensor = torch.nn.functional.cross_entropy(scores.flatten(0, 1), y.flatten())
    return mean * len(y)
