import json

from attribution.retrieval.attribute import compute
from tests.attribution.retrieval.digests import VECTORS, case, digests


def test_results_have_the_pinned_digests() -> None:
    assert digests() == json.loads(VECTORS.read_text(encoding="utf-8"))


def test_the_cases_have_copies_among_what_is_credited() -> None:
    request, materials = case(1000, 33, 16, 3)
    *_, last = compute(request, materials).answers
    assert {0, 500} <= {position for position, _ in last.credits}
    assert len(last.answer) == 16 < len(last.credits)
