import json
from pathlib import Path

from tests.attribution.exact.digests import digests

PINNED = Path(__file__).parents[2] / "vectors" / "attribution" / "exact.json"


def test_results_of_the_kernels_have_the_pinned_digests() -> None:
    assert digests() == json.loads(PINNED.read_text(encoding="utf-8"))
