"""The trailing reference: what clusters scored in a model's answers of past epochs, and the clip that follows from it.

The clip is the same for a whole epoch: only the four epochs before it count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from node.modules.context import State
from node.modules.payout import NO_CLIP, clip_of
from node.modules.validators import epoch_key
from node.primitives.amount import Amount
from node.primitives.amount import add as add_amounts
from node.state.table import Reader, Table
from node.storage.schema import Prefix

TRAILING_EPOCHS = 4
SCORE_STEP = 8
"""Scores are noted rounded down to multiples of this, and no lower: a row of them stays short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How much was paid for answers in which a cluster scored so."""

    score: Annotated[int, range(SCORE_STEP, NO_CLIP + 1)]
    """The unclipped score, a multiple of 8."""
    fee_units: Amount
    """The fees, once for each cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What the clusters of an epoch scored."""

    scores: Annotated[tuple[Score, ...], range(NO_CLIP // SCORE_STEP + 1)]
    """By score, lowest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredEpochs:
    """The epochs whose scores are kept."""

    epochs: Annotated[tuple[Annotated[int, range(1, 2**48)], ...], range(TRAILING_EPOCHS + 2)]
    """Earliest first."""


SCORES = Table(Prefix.SCORES, Scores)
"""By model and epoch."""
SCORED_EPOCHS = Table(Prefix.SCORED_EPOCHS, ScoredEpochs)
"""By model."""


def current_clip(state: Reader, model_id: bytes, epoch: int) -> int:
    """The clip of a model's answers in an epoch."""
    weights: Counter[int] = Counter()
    kept = SCORED_EPOCHS.get(state, model_id)
    for past in kept.epochs if kept is not None else ():
        if epoch - TRAILING_EPOCHS <= past < epoch:
            found = SCORES.need(state, model_id + epoch_key(past))
            weights.update({each.score: each.fee_units for each in found.scores})
    return clip_of(weights)


def note_scores(state: State, model_id: bytes, epoch: int, fees_units: Mapping[int, int]) -> None:
    """Adds what clusters scored in answers of this epoch: fees by score. Forgets epochs that count no more."""
    if not fees_units:
        return
    kept = SCORED_EPOCHS.get(state, model_id)
    epochs = kept.epochs if kept is not None else ()
    if epoch not in epochs:
        for past in epochs:
            if past < epoch - TRAILING_EPOCHS:
                SCORES.delete(state, model_id + epoch_key(past))
        recent = (past for past in epochs if past >= epoch - TRAILING_EPOCHS)
        SCORED_EPOCHS.put(state, model_id, ScoredEpochs(epochs=(*recent, epoch)))
    key = model_id + epoch_key(epoch)
    known = SCORES.get(state, key)
    weights = {each.score: each.fee_units for each in known.scores} if known is not None else {}
    for score, fee_units in fees_units.items():
        step = max(score // SCORE_STEP, 1) * SCORE_STEP
        weights[step] = add_amounts(weights.get(step, 0), fee_units)
    SCORES.put(
        state, key, Scores(scores=tuple(Score(score=score, fee_units=weights[score]) for score in sorted(weights)))
    )
