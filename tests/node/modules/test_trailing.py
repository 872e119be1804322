"""The trailing reference: past epochs decide the clip, the current one does not, old ones are forgotten."""

from __future__ import annotations

import pytest

from node.modules.payout import NO_CLIP
from node.modules.trailing import SCORED_EPOCHS, SCORES, Score, Scores, current_clip, note_scores
from node.modules.validators import epoch_key
from node.state.store import StateStore
from node.state.view import View
from node.storage.kv import MemoryStore

MODEL = b"m" * 32
OTHER = b"o" * 32


@pytest.fixture(name="view")
def view_fixture() -> View:
    return View(StateStore(MemoryStore()))


def test_without_history_there_is_no_clip(view: View) -> None:
    assert current_clip(view, MODEL, 7) == NO_CLIP
    note_scores(view, MODEL, 7, {})
    assert SCORED_EPOCHS.get(view, MODEL) is None


def test_the_clip_of_an_epoch_does_not_move_within_it(view: View) -> None:
    note_scores(view, MODEL, 7, {104: 10})
    assert current_clip(view, MODEL, 7) == NO_CLIP
    assert current_clip(view, MODEL, 8) == 208
    note_scores(view, MODEL, 8, {400: 1_000})
    assert current_clip(view, MODEL, 8) == 208
    assert current_clip(view, MODEL, 9) == 800


def test_fees_weigh_and_models_are_apart(view: View) -> None:
    note_scores(view, MODEL, 7, {100: 10, 300: 9})
    note_scores(view, MODEL, 7, {303: 2})
    note_scores(view, OTHER, 7, {5: 1, 7: 1})
    assert SCORES.need(view, MODEL + epoch_key(7)) == Scores(
        scores=(Score(score=96, fee_units=10), Score(score=296, fee_units=11))
    )
    assert (current_clip(view, MODEL, 8), current_clip(view, OTHER, 8)) == (592, 16)


def test_four_epochs_count_and_older_ones_are_forgotten(view: View) -> None:
    for epoch in range(1, 8):
        note_scores(view, MODEL, epoch, {100 * epoch: 1})
    assert SCORED_EPOCHS.need(view, MODEL).epochs == (3, 4, 5, 6, 7)
    assert [SCORES.get(view, MODEL + epoch_key(epoch)) is not None for epoch in range(1, 8)] == [False] * 2 + [True] * 5
    # Epochs 4 to 7 count in the eighth: the lower median of 400, 496, 600, 696.
    assert current_clip(view, MODEL, 8) == 992
    assert current_clip(view, MODEL, 7) == 800
    assert current_clip(view, MODEL, 12) == NO_CLIP, "nothing of the last four epochs is left"
