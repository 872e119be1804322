"""One test for each requirement of the design, R1 to R6, and the bounds that payment relies on."""

import random
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import AttributionError, Reason
from attribution.exact import matmul
from attribution.mlp import reference
from attribution.mlp.attribute import compute, predict, prepare, raw_influences
from attribution.mlp.certificate import MAXIMUM_ROW_SUM
from attribution.mlp.influence import pull, raw_influence, record_weights, relative_influence, self_forms
from attribution.mlp.request import MlpAttributeRequest
from tests.attribution.mlp.builders import Case, fitted, make_case, make_questions

SEEDS = st.integers(0, 1 << 32)


# R1: content, model, question and answer decide, nothing else.


@given(seed=SEEDS)
@settings(max_examples=8)
def test_r1_an_answer_does_not_depend_on_what_else_is_asked(seed: int) -> None:
    case = make_case(seed)
    queries = case.put_queries(make_questions(case, 4, seed))
    together = case.influences(queries)
    assert [case.influences((query,))[0] for query in queries] == together
    assert case.influences(queries[::-1]) == together[::-1]


def test_r1_blocks_of_questions_and_of_records_change_nothing() -> None:
    case = make_case(1, count=1030, checkpoints=1)
    queries = case.put_queries(make_questions(case, 66, 1))
    together = case.influences(queries)
    for i in (0, 63, 64, 65):
        assert case.influences((queries[i],)) == [together[i]]
    short = replace(case.model, problem=replace(case.problem, records=case.problem.records[:1000]))
    assert [values[:1000] for values in together[:2]] == case.influences(queries[:2], short)


def test_r1_a_request_has_no_place_for_who_contributed() -> None:
    case = fitted()
    request = MlpAttributeRequest(model=case.model, queries=case.problem.records[:1])
    parts = (request, case.model, case.problem, case.model.checkpoints[0])
    assert {field.name for part in parts for field in fields(part)} == {
        "model", "queries", "problem", "checkpoints", "engine", "schema", "widths", "records", "weights", "inverse",
        "scale",
    }  # fmt: skip


# R2: relabelling or splitting identities changes no sum.


@given(seed=SEEDS, owners=st.lists(st.integers(0, 4), min_size=20, max_size=20))
@settings(max_examples=8)
def test_r2_splitting_an_owner_changes_no_sum(seed: int, owners: list[int]) -> None:
    case = make_case(seed)
    [values] = case.influences(case.put_queries(make_questions(case, 1, seed)))
    assert len(values) == len(owners)
    split = [owner if owner else 10 + i for i, owner in enumerate(owners)]
    whole = sum(value for value, owner in zip(values, owners, strict=True) if owner == 0)
    assert whole == sum(value for value, owner in zip(values, split, strict=True) if owner >= 10)


# R3: fragments of a record earn no more than the record: this engine takes no fragments.


@given(cut=st.integers(0, 25))
@settings(max_examples=8)
def test_r3_a_fragment_of_a_record_is_refused(cut: int) -> None:
    case = make_case(1)
    fragment = case.put(case.materials[case.problem.records[0]][:cut])
    problem = replace(case.problem, records=(*case.problem.records[1:], fragment))
    with pytest.raises(AttributionError) as caught:
        prepare(replace(case.model, problem=problem), case.materials)
    assert caught.value.reason is Reason.RECORD_WRONG_SIZE


# R4: with the model held fixed, an exact copy changes no other influence.


@given(seed=SEEDS, copies=st.lists(st.integers(0, 255), min_size=1, max_size=5))
@settings(max_examples=5)
def test_r4_a_copy_changes_no_other_influence(seed: int, copies: list[int]) -> None:
    case = make_case(seed, count=256)
    queries = case.put_queries(make_questions(case, 3, seed))
    before = case.influences(queries)
    records = case.problem.records
    problem = replace(case.problem, records=(*records, *(records[i] for i in copies)))
    after = case.influences(queries, replace(case.model, problem=problem))
    assert after == [(*values, *(values[i] for i in copies)) for values in before]


# R5: permuting records permutes results.


@given(seed=SEEDS)
@settings(max_examples=8)
def test_r5_permuting_records_permutes_influences(seed: int) -> None:
    case = make_case(seed)
    queries = case.put_queries(make_questions(case, 3, seed))
    order = random.Random(seed).sample(range(20), 20)
    model = replace(case.model, problem=replace(case.problem, records=tuple(case.problem.records[i] for i in order)))
    after = case.influences(queries, model)
    assert after == [tuple(values[i] for i in order) for values in case.influences(queries)]
    blobs = [case.materials[query] for query in queries]
    raw = raw_influences(prepare(case.model, case.materials), case.materials, blobs)
    permuted = raw_influences(prepare(model, case.materials), case.materials, blobs)
    assert permuted == [[values[i] for i in order] for values in raw]


# R6: the fast form equals plain integers, bit for bit.


def plain(case: Case, questions: list[list[int]]) -> tuple[list[int], list[list[int]], list[list[int]]]:
    """Answers, relative and raw influences of the reference."""
    prepared = prepare(case.model, case.materials)
    inverses = [inverse.tolist() for inverse in prepared.inverses]
    networks = [
        reference.Network(index=index, weights=[layer.tolist() for layer in weights])
        for index, weights in enumerate(prepared.weights)
    ]
    scales = [checkpoint.scale for checkpoint in case.model.checkpoints]

    def vectors(point: list[int], label: int) -> list[list[int]]:
        residuals = [reference.margin_residual(reference.forward(network, point)[1], label) for network in networks]
        gradients = [reference.gradient(n, point, residual) for n, residual in zip(networks, residuals, strict=True)]
        return [reference.quantise(entries, scale) for entries, scale in zip(gradients, scales, strict=True)]

    points = reference.inputs(case.values, case.values)
    asked = reference.inputs(case.values, questions)
    answers = [reference.answer(reference.forward(networks[0], point)[1]) for point in asked]
    records = [vectors(point, label) for point, label in zip(points, case.labels, strict=True)]
    towards = [vectors(point, label) for point, label in zip(asked, answers, strict=True)]
    weights = []
    for network in networks:
        chances = [reference.probabilities(reference.forward(network, point)[1]) for point in points]
        doubts = [(1 << 28) - row[label] for row, label in zip(chances, case.labels, strict=True)]
        weights.append(reference.record_weights(doubts))
    by_record = [list(column) for column in zip(*weights, strict=True)]
    relative = [[reference.relative_influence(record, q, inverses) for record in records] for q in towards]
    raw = [
        [reference.raw_influence(record, q, inverses, w) for record, w in zip(records, by_record, strict=True)]
        for q in towards
    ]
    return answers, relative, raw


@given(
    seed=SEEDS,
    columns=st.integers(1, 4),
    widths=st.lists(st.integers(1, 4), min_size=1, max_size=2).map(tuple),
    classes=st.integers(2, 4),
    checkpoints=st.integers(1, 3),
)
@settings(max_examples=8)
def test_r6_influences_equal_plain_integers(
    seed: int, columns: int, widths: tuple[int, ...], classes: int, checkpoints: int
) -> None:
    case = make_case(seed, columns=columns, widths=widths, classes=classes, count=6, checkpoints=checkpoints)
    compare_with_plain_integers(case, seed, 2)


def test_r6_projected_influences_equal_plain_integers() -> None:
    compare_with_plain_integers(make_case(8, columns=18, widths=(17,), classes=3, count=3, checkpoints=1), 8, 1)


def test_r6_influences_of_a_trained_model_equal_plain_integers() -> None:
    compare_with_plain_integers(fitted(), 9, 2)


def compare_with_plain_integers(case: Case, seed: int, count: int) -> None:
    questions = make_questions(case, count, seed)
    queries = case.put_queries(questions)
    prepared = prepare(case.model, case.materials)
    result = compute(MlpAttributeRequest(model=case.model, queries=queries), case.materials, prepared)
    blobs = [case.materials[query] for query in queries]
    relative = [list(answer.values()) for answer in result.answers]
    raw = raw_influences(prepared, case.materials, blobs)
    labels = [answer.label for answer in result.answers]
    assert (labels, relative, raw) == plain(case, questions)
    assert predict(prepared, blobs) == tuple(labels)


# Bounds and meaning.


def test_a_record_asked_about_pulls_with_all_its_weight() -> None:
    """The question whose answer is a record's own label has that record's gradient: influence 1000."""
    case = fitted()
    request = MlpAttributeRequest(model=case.model, queries=case.put_queries(case.values))
    result = compute(request, case.materials)
    own = [answer.values()[i] for i, answer in enumerate(result.answers)]
    agrees = [answer.label == label for answer, label in zip(result.answers, case.labels, strict=True)]
    assert sum(agrees) > 12
    assert all(value == 1000 for value, is_same in zip(own, agrees, strict=True) if is_same)
    assert max(max(answer.values()) for answer in result.answers) == 1000


def test_longest_vectors_and_largest_inverses_do_not_overflow() -> None:
    k, checkpoints = 768, 10
    vector = np.full((1, k * checkpoints), 127, dtype=np.int8)
    inverse = np.full((k, k), MAXIMUM_ROW_SUM // k, dtype=np.int64)
    form = 127**2 * k**2 * (MAXIMUM_ROW_SUM // k)
    assert self_forms(vector[:, :k], inverse).tolist() == [form]
    pulled = pull(vector, [inverse] * checkpoints)
    assert matmul(vector, pulled).tolist() == [[form * checkpoints]]
    assert 1 << 61 < form * checkpoints < 1 << 63
    assert raw_influence(np.array([[form]] * 10), np.full((10, 1), 1 << 14)) == [form >> 30]


def test_weights_grow_with_the_doubt_and_are_capped_at_the_ninetieth_percentile() -> None:
    doubts = [0, 1, 4, 100, 1 << 26, 1 << 27, 1 << 28, 1 << 28, 1 << 28, 1 << 28, 1 << 20]
    chances = np.array([[(1 << 28) - doubt, doubt] for doubt in doubts])
    labels = np.zeros(11, dtype=np.int64)
    assert record_weights(chances, labels).tolist() == reference.record_weights(doubts)
    few = [1 << 20] * 9 + [1 << 28]
    capped = record_weights(np.array([[(1 << 28) - doubt, doubt] for doubt in few]), labels[:10])
    assert capped.tolist() == reference.record_weights(few) == [1 << 10] * 10


def test_inverse_that_is_not_positive_definite_is_refused_when_it_shows() -> None:
    case = make_case(1)
    prepared = prepare(case.model, case.materials)
    with pytest.raises(AttributionError) as caught:
        self_forms(prepared.vectors[:, : case.problem.unknowns], -prepared.inverses[0])
    assert (caught.value.reason, caught.value.detail) == (
        Reason.INVERSE_NOT_CERTIFIED,
        "a record's form with itself is negative",
    )
    with pytest.raises(AttributionError) as caught:
        relative_influence(np.array([[5 << 40]]), np.array([1 << 40]), np.array([1 << 40]))
    assert (caught.value.reason, caught.value.detail) == (
        Reason.INVERSE_NOT_CERTIFIED,
        "a relative influence is above 1000",
    )


def test_a_gradient_that_is_zero_pulls_nothing() -> None:
    forms = np.array([[0, 5]])
    assert relative_influence(forms, np.array([0]), np.array([9, 9])).tolist() == [[0, 0]]


def test_prepared_models_know_their_size() -> None:
    case = make_case(1)
    prepared = prepare(case.model, case.materials)
    k, parameters = case.problem.unknowns, case.problem.parameters
    assert prepared.size_bytes() == 2 * 8 * parameters + 2 * 8 * k * k + 20 * 2 * k + 20 * 8
