import json

from attribution.spans.attribute import compute
from attribution.spans.request import COMMON
from tests.attribution.spans.digests import VECTOR, digests, make_request


def test_results_have_the_pinned_digests() -> None:
    found = digests()
    assert found == json.loads(VECTOR.read_text(encoding="utf-8"))
    assert found["answers"] == found["answers of the grown index"]


def test_pinned_results_hold_every_case() -> None:
    request, materials, _ = make_request()
    result = compute(request, materials)
    spans = [span for answer in result.answers for span in answer.spans]
    assert {span.record == COMMON for span in spans} == {True, False}
    assert any(span.count > 1 and span.record != COMMON for span in spans)
    assert len({record for answer in result.answers for record, _ in answer.credits}) > 10
