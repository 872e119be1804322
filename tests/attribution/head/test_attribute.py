import pickle
from dataclasses import replace

import pytest

from attribution.errors import AttributionError, Reason
from attribution.head.attribute import compute, predict, prepare, raw_influences
from attribution.head.request import AttributeRequest, CertifyRequest, GateRequest


def make_requests(case):
    """One of each kind."""
    queries = case.put_queries([[10, 20, 30], [-500, 0, 77]])
    holdout = case.put_records([[1, 2, 3], [4, 5, 6]], [0, 2])
    return (
        CertifyRequest(model=case.model),
        GateRequest(model=case.model, holdout=holdout),
        AttributeRequest(model=case.model, queries=queries),
    )


def test_result_is_the_same_with_and_without_preparation(fitted) -> None:
    prepared = prepare(fitted.model, fitted.shelf.materials)
    for request in make_requests(fitted):
        fresh = compute(request, fitted.shelf.materials)
        assert compute(request, fitted.shelf.materials, prepared) == fresh
        assert compute(request, fitted.shelf.materials, pickle.loads(pickle.dumps(prepared))) == fresh
        assert pickle.loads(pickle.dumps((request, fresh))) == (request, fresh)


def test_only_the_questions_are_read_once_a_model_is_prepared(fitted) -> None:
    prepared = prepare(fitted.model, fitted.shelf.materials)
    _, gate, attribute = make_requests(fitted)
    for request, names in ((gate, gate.holdout), (attribute, attribute.queries)):
        few = {name: fitted.shelf.materials[name] for name in names}
        assert compute(request, few, prepared) == compute(request, fitted.shelf.materials)


def test_preparation_of_another_model_is_our_own_mistake(fitted, make_case) -> None:
    prepared = prepare(fitted.model, fitted.shelf.materials)
    other = make_case(seed=9, is_fitted=False)
    with pytest.raises(AssertionError):
        compute(make_requests(other)[2], other.shelf.materials, prepared)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_every_material_is_needed_and_must_have_its_hash(kind: int, fitted) -> None:
    request = make_requests(fitted)[kind]
    needed = {name: fitted.shelf.materials[name] for name in request.material_hashes()}
    compute(request, needed)
    for name, data in needed.items():
        with pytest.raises(AttributionError) as caught:
            compute(request, {other: needed[other] for other in needed if other != name})
        assert (caught.value.reason, caught.value.detail) == (Reason.MISSING_MATERIAL, name.hex())
        with pytest.raises(AttributionError) as caught:
            compute(request, needed | {name: data + b"\0"})
        assert (caught.value.reason, caught.value.detail) == (Reason.MATERIAL_MISMATCH, name.hex())


def test_a_question_that_is_no_query_is_refused(fitted) -> None:
    record = fitted.problem.records[0]
    request = AttributeRequest(model=fitted.model, queries=(record,))
    with pytest.raises(AttributionError) as caught:
        compute(request, fitted.shelf.materials)
    assert caught.value.reason is Reason.QUERY_WRONG_SIZE
    [query] = fitted.put_queries([[0, 0, 0]])
    with pytest.raises(AttributionError) as caught:
        compute(GateRequest(model=fitted.model, holdout=(query,)), fitted.shelf.materials)
    assert caught.value.reason is Reason.RECORD_WRONG_SIZE


def test_prediction_is_the_answer(fitted) -> None:
    prepared = prepare(fitted.model, fitted.shelf.materials)
    request = AttributeRequest(model=fitted.model, queries=fitted.put_queries(fitted.values))
    result = compute(request, fitted.shelf.materials, prepared)
    queries = [fitted.shelf.materials[name] for name in request.queries]
    assert predict(prepared, queries) == tuple(answer.label for answer in result.answers)
    assert sum(a == b for a, b in zip(predict(prepared, queries), fitted.labels, strict=True)) > 30


def test_influences_are_two_bytes_a_record(fitted) -> None:
    result = compute(make_requests(fitted)[2], fitted.shelf.materials)
    assert [len(answer.influences) for answer in result.answers] == [80, 80]


def test_raw_and_relative_influence_have_the_same_sign(fitted) -> None:
    prepared = prepare(fitted.model, fitted.shelf.materials)
    [name] = fitted.put_queries([[300, -200, 100]])
    request = AttributeRequest(model=fitted.model, queries=(name,))
    [answer] = compute(request, fitted.shelf.materials, prepared).answers
    raw = raw_influences(prepared, fitted.shelf.materials, fitted.shelf.materials[name])
    assert all(r == 0 or (s > 0) == (r > 0) for s, r in zip(raw, answer.values(), strict=True) if abs(s) > 1)


def test_memory_of_a_prepared_model_is_known(fitted) -> None:
    prepared = prepare(fitted.model, fitted.shelf.materials)
    assert prepared.size_bytes() == 12 * 8 + 12 * 12 * 8 + 40 * (4 + 3) * 2 + 40 * 16


def test_a_model_need_not_be_certified_to_be_computed(make_case) -> None:
    case = make_case(seed=8, is_fitted=False)
    assert compute(make_requests(case)[2], case.shelf.materials).answers
    with pytest.raises(AttributionError) as caught:
        compute(CertifyRequest(model=case.model), case.shelf.materials)
    assert caught.value.reason is Reason.GRADIENT_TOO_LARGE


def test_weights_of_another_problem_are_refused(fitted, make_case) -> None:
    other = make_case(seed=1, columns=4, is_fitted=False)
    model = replace(fitted.model, weights=other.model.weights)
    with pytest.raises(AttributionError) as caught:
        prepare(model, fitted.shelf.materials | other.shelf.materials)
    assert caught.value.reason is Reason.WEIGHTS_MALFORMED
