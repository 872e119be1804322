"""The methods that are compared, each a function from one experiment to its influences, positive where a record helps.

A method that needs a package which is not installed says which. `PEERS` are other people's libraries as they are
published, each at the λ of the problem where it takes one; `OURS` are the engines. A new engine is one row here.
"""

import importlib
import logging
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from attribution.content import content_hash
from attribution.exact import Int64
from attribution.head.attribute import prepare
from attribution.head.request import Model
from tests.attribution.bench.data import Floats
from tests.attribution.bench.pool import Pool, propose_inverse, raw_influences

CHECKPOINTS = 10
LOGRA_SIDE = 32
"""Two projections each multiply squares by their side, so λ is multiplied too: .89 instead of .57 on wine."""


@dataclass(frozen=True)
class Experiment:
    """One data set, its trained head, and the questions.

    Shapes: x (n, d), y (n,), weights (C, d), checkpoints (10, C, d), asked (m, d), answers (m,), values (m, k).
    """

    pool: Pool
    x: Floats
    y: npt.NDArray[np.int64]
    decay: float
    weights: Floats
    checkpoints: Floats
    """Heads trained on random halves, for the methods that average over several."""
    asked: Floats
    answers: npt.NDArray[np.int64]
    values: Int64
    """The questions before they are encoded."""

    @property
    def projection(self) -> int:
        """Dimensions for TRAK: an eighth of the unknowns, where it did best of 16 to 512 on three of the data sets."""
        return max(16, 1 << (self.weights.size // 8).bit_length())


Method = Callable[[Experiment], Floats]


def head(experiment: Experiment) -> Floats:
    """head/1, from the Hessian on: what an owner posts, what every validator prepares, and the answers."""
    posted, pool = propose_inverse(experiment.pool), experiment.pool
    name = content_hash(posted)
    model = Model(problem=pool.problem, weights=content_hash(pool.posted_weights), inverse=name)
    return raw_influences(pool, prepare(model, pool.materials | {name: posted}), experiment.values)


def dattri_explicit(experiment: Experiment) -> Floats:
    """dattri: influence functions with the explicit inverse Hessian."""
    return _dattri("IFAttributorExplicit", experiment, regularization=experiment.decay)


def dattri_cg(experiment: Experiment) -> Floats:
    """dattri: influence functions by conjugate gradients."""
    return _dattri("IFAttributorCG", experiment, regularization=experiment.decay)


def dattri_datainf(experiment: Experiment) -> Floats:
    """dattri: DataInf."""
    return _dattri("IFAttributorDataInf", experiment, regularization=experiment.decay)


def dattri_trak(experiment: Experiment) -> Floats:
    """dattri: TRAK over ten checkpoints."""
    algorithm = importlib.import_module("dattri.algorithm.trak")
    model = _model(experiment.weights)

    def probability(params: dict[str, torch.Tensor], pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        scores = torch.func.functional_call(model, params, pair[0].unsqueeze(0))
        return torch.exp(-nn.functional.cross_entropy(scores, pair[1].unsqueeze(0)))

    task = _task(model, experiment.checkpoints, _margin(model))
    attributor = algorithm.TRAKAttributor(
        task=task,
        correct_probability_func=probability,
        projector_kwargs={"proj_dim": experiment.projection, "device": "cpu"},
    )
    return _attribute(attributor, experiment, 64)


def dattri_logra(experiment: Experiment) -> Floats:
    """dattri: LoGra."""
    algorithm = importlib.import_module("dattri.algorithm.logra")
    model = _model(experiment.weights)

    # LoGra reads gradients by hooks and hands its loss the module's own arguments.
    def loss(module: nn.Module, batch: tuple[torch.Tensor, torch.Tensor], device: str) -> torch.Tensor:
        return nn.functional.cross_entropy(module(batch[0].to(device)), batch[1].to(device), reduction="sum")

    task = _task(model, experiment.weights[None], loss)
    attributor = algorithm.LoGraAttributor(
        task=task, damping=experiment.decay * LOGRA_SIDE**2, device="cpu", proj_dim=LOGRA_SIDE**2, offload="none"
    )
    # One batch: with a shorter last one it mixes up the sizes of batches, and raised on 675 records in batches of 256.
    return _attribute(attributor, experiment, len(experiment.y))


def traker_trak(experiment: Experiment) -> Floats:
    """traker: TRAK over ten checkpoints, on the processor."""
    trak = importlib.import_module("trak")
    model = _model(experiment.weights)
    x, y = _tensors(experiment.x, experiment.y)
    asked, answers = _tensors(experiment.asked, experiment.answers)
    with tempfile.TemporaryDirectory() as folder:
        traker = trak.TRAKer(
            model=model,
            task="image_classification",
            train_set_size=len(y),
            save_dir=folder,
            device="cpu",
            proj_dim=experiment.projection,
            use_half_precision=False,
            logging_level=logging.ERROR,
        )
        states = [_state(weights) for weights in experiment.checkpoints]
        for index, state in enumerate(states):
            traker.load_checkpoint(state, model_id=index)
            traker.featurize(batch=(x, y), num_samples=len(y))
        traker.finalize_features()
        for index, state in enumerate(states):
            traker.start_scoring_checkpoint("questions", checkpoint=state, model_id=index, num_targets=len(answers))
            traker.score(batch=(asked, answers), num_samples=len(answers))
        return np.array(traker.finalize_scores(exp_name="questions"), dtype=np.float64)


def kronfluence_ekfac(experiment: Experiment) -> Floats:
    """kronfluence: EK-FAC."""
    analyzer_module = importlib.import_module("kronfluence.analyzer")
    arguments = importlib.import_module("kronfluence.arguments")
    base = importlib.import_module("kronfluence.task")

    class Classification(base.Task):  # type: ignore[misc, name-defined]
        """Cross-entropy, with labels drawn from the model where the Fisher is fitted."""

        def compute_train_loss(self, batch: list[torch.Tensor], model: nn.Module, sample: bool = False) -> torch.Tensor:
            scores = model(batch[0])
            labels = torch.multinomial(scores.detach().softmax(-1), 1).flatten() if sample else batch[1]
            return nn.functional.cross_entropy(scores, labels, reduction="sum")

        def compute_measurement(self, batch: list[torch.Tensor], model: nn.Module) -> torch.Tensor:
            return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="sum")

    torch.manual_seed(0)
    records = TensorDataset(*_tensors(experiment.x, experiment.y))
    questions = TensorDataset(*_tensors(experiment.asked, experiment.answers))
    with tempfile.TemporaryDirectory() as folder:
        task = Classification()
        model = analyzer_module.prepare_model(_model(experiment.weights), task)
        analyzer = analyzer_module.Analyzer(
            "bench", model, task, cpu=True, disable_tqdm=True, output_dir=folder, log_level=logging.ERROR
        )
        analyzer.fit_all_factors("factors", records, per_device_batch_size=512)
        analyzer.compute_pairwise_scores(
            scores_name="scores",
            factors_name="factors",
            query_dataset=questions,
            train_dataset=records,
            per_device_query_batch_size=64,
            per_device_train_batch_size=512,
            score_args=arguments.ScoreArguments(damping_factor=experiment.decay),
        )
        scores = analyzer.load_pairwise_scores("scores")["all_modules"]
    return scores.numpy().T.astype(np.float64)


OURS: dict[str, Method] = {"head/1": head}
PEERS: dict[str, Method] = {
    "dattri explicit": dattri_explicit,
    "dattri CG": dattri_cg,
    "dattri DataInf": dattri_datainf,
    "dattri TRAK-10": dattri_trak,
    "dattri LoGra": dattri_logra,
    "traker TRAK-10": traker_trak,
    "kronfluence EK-FAC": kronfluence_ekfac,
}
PACKAGES = {"dattri": "dattri", "traker": "trak", "kronfluence": "kronfluence"}
"""First word of a method's name, and what it imports."""


def missing_package(method: str) -> str | None:
    """Why a method cannot run here, if it cannot."""
    package = PACKAGES.get(method.split(maxsplit=1)[0])
    if package is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(package)
    except ImportError as error:
        return str(error)
    return None


def _model(weights: Floats) -> nn.Sequential:
    layer = nn.Linear(weights.shape[1], weights.shape[0], bias=False)
    # A layer inside a module, because some of the libraries look layers up by name.
    model = nn.Sequential(OrderedDict(rows=_Rows(), head=layer))
    model.load_state_dict(_state(weights))
    return model.eval()


class _Rows(nn.Module):
    """One record becomes a batch of one: LoGra looks at the first record of a batch alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(-1, x.shape[-1])


def _state(weights: Floats) -> dict[str, torch.Tensor]:
    return {"head.weight": torch.tensor(weights, dtype=torch.float32)}


def _tensors(x: Floats, y: npt.NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def _loss(model: nn.Module) -> Callable[..., torch.Tensor]:
    def loss(params: dict[str, torch.Tensor], pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return nn.functional.cross_entropy(torch.func.functional_call(model, params, pair[0]), pair[1])

    return loss


def _margin(model: nn.Module) -> Callable[..., torch.Tensor]:
    """log(p / (1 - p)) of one labelled point. Source: Park et al., "TRAK", 2023, equation 4."""

    def margin(params: dict[str, torch.Tensor], pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        scores = torch.func.functional_call(model, params, pair[0].unsqueeze(0))
        loss = nn.functional.cross_entropy(scores, pair[1].unsqueeze(0))
        return -loss - torch.log1p(-torch.exp(-loss) + 1e-7)

    return margin


def _task(model: nn.Module, checkpoints: Sequence[Floats] | Floats, function: Callable[..., object]) -> object:
    task = importlib.import_module("dattri.task")
    states = [_state(weights) for weights in checkpoints]
    return task.AttributionTask(loss_func=function, model=model, checkpoints=states)


def _dattri(name: str, experiment: Experiment, **options: float) -> Floats:
    algorithm = importlib.import_module("dattri.algorithm.influence_function")
    model = _model(experiment.weights)
    task = _task(model, experiment.weights[None], _loss(model))
    # One batch: these attributors add up one inverse Hessian a batch.
    return _attribute(getattr(algorithm, name)(task=task, device="cpu", **options), experiment, len(experiment.y))


def _attribute(attributor: object, experiment: Experiment, batch: int) -> Floats:
    records = DataLoader(TensorDataset(*_tensors(experiment.x, experiment.y)), batch_size=batch)
    asked = DataLoader(TensorDataset(*_tensors(experiment.asked, experiment.answers)), batch_size=batch)
    attributor.cache(records)  # type: ignore[attr-defined]
    # TRAK takes the records that it has seen only.
    train = {} if type(attributor).__name__ == "TRAKAttributor" else {"train_dataloader": records}
    found = attributor.attribute(test_dataloader=asked, **train)  # type: ignore[attr-defined]
    return found.detach().numpy().astype(np.float64)
