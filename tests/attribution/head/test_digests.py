import json

from tests.attribution.head.digests import PINNED, digests


def test_larger_results_have_the_pinned_digests() -> None:
    assert digests() == json.loads(PINNED.read_text(encoding="utf-8"))
