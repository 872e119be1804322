import pytest

from tests.attribution.mlp.figures import measure


@pytest.mark.slow
def test_influence_predicts_retraining_better_than_trak_with_the_same_checkpoints() -> None:
    """A smaller ground truth than the printed figures have: 90 retrainings, 4 checkpoints."""
    figures = measure(checkpoints=4, halves=30, retrainings=3)
    assert figures["answers that differ"] == 0
    assert figures["accuracy, integers"] > 0.94
    for effect in ("margin", "loss"):
        ours = figures[f"raw influence, {effect}"]
        assert ours > figures[f"TRAK, {effect}"] + 0.1
        assert ours > figures[f"relative influence, {effect}"]
        assert figures[f"relative influence, {effect}"] > figures[f"TRAK, {effect}"]
