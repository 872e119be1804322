import json

import pytest

from tests.attribution.head.digests import PINNED, digests


@pytest.mark.slow
def test_larger_results_have_the_pinned_digests() -> None:
    assert digests() == json.loads(PINNED.read_text(encoding="utf-8"))
