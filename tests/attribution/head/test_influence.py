"""One test for each requirement of the design, R1 to R6, and the bounds that payment relies on."""

import math
import random
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import AttributionError, Reason
from attribution.head import reference
from attribution.head.attribute import compute, prepare, raw_influences
from attribution.head.certificate import MAXIMUM_ROW_SUM, certify, identity_multiple
from attribution.head.encoding import read_questions
from attribution.head.forms import carrier, cross_forms, own_forms, pulls, self_forms
from attribution.head.influence import (
    class_residuals,
    class_sums,
    holdout_scores,
    is_gate_on,
    lengths,
    relative_influence,
    unit_rows,
)
from attribution.head.request import AttributeRequest, GateRequest
from attribution.head.softmax import hessian, logits, probabilities
from attribution.head.wide import widen


def influences(case, queries) -> list[tuple[int, ...]]:
    request = AttributeRequest(model=case.model, queries=queries)
    return [answer.values() for answer in compute(request, case.shelf.materials).answers]


def make_questions(case, count: int, seed: int) -> list[list[int]]:
    print(f"seed {seed}")
    rng = random.Random(seed)
    return [[rng.randint(-800, 800) for _ in case.schema.columns] for _ in range(count)]


# R1: content, model, question and answer decide, nothing else.


def test_r1_an_answer_does_not_depend_on_what_else_is_asked(fitted) -> None:
    queries = fitted.put_queries(make_questions(fitted, 70, 1))
    together = influences(fitted, queries)
    for i in (0, 1, 69):
        assert influences(fitted, (queries[i],)) == [together[i]]
    assert influences(fitted, queries[::-1]) == together[::-1]


def test_r1_a_request_has_no_place_for_who_contributed(fitted) -> None:
    request = AttributeRequest(model=fitted.model, queries=fitted.put_queries(make_questions(fitted, 1, 1)))
    names = {field.name for part in (request, fitted.model, fitted.problem) for field in fields(part)}
    assert names == {"model", "queries", "problem", "weights", "inverse", "engine", "schema", "damping", "records"}


# R2: relabelling or splitting identities changes no sum.


def test_r2_splitting_an_owner_changes_no_sum(fitted) -> None:
    [values] = influences(fitted, fitted.put_queries(make_questions(fitted, 1, 2)))
    owners = [i % 3 for i in range(40)]
    split = [owner if owner else 10 + i for i, owner in enumerate(owners)]
    whole = sum(value for value, owner in zip(values, owners, strict=True) if owner == 0)
    assert whole == sum(value for value, owner in zip(values, split, strict=True) if owner >= 10)


# R3: fragments of a record earn no more than the record: this engine takes no fragments.


def test_r3_a_fragment_of_a_record_is_refused(fitted) -> None:
    whole = fitted.shelf.materials[fitted.problem.records[0]]
    fragment = fitted.shelf.put(whole[:-8])
    problem = replace(fitted.problem, records=(*fitted.problem.records[1:], fragment))
    with pytest.raises(AttributionError) as caught:
        prepare(replace(fitted.model, problem=problem), fitted.shelf.materials)
    assert caught.value.reason is Reason.RECORD_WRONG_SIZE


# R4: with the model held fixed, an exact copy changes no other influence.


def test_r4_a_copy_changes_no_other_influence(make_case) -> None:
    case = make_case(seed=3, count=257, is_fitted=False)
    queries = case.put_queries(make_questions(case, 3, 3))
    before = influences(case, queries)
    records = case.problem.records
    copied = replace(case.model, problem=replace(case.problem, records=(*records, records[7])))
    request = AttributeRequest(model=copied, queries=queries)
    after = [answer.values() for answer in compute(request, case.shelf.materials).answers]
    assert after == [(*values, values[7]) for values in before]


# R5: permuting records permutes results.


def test_r5_permuting_records_permutes_influences(make_case) -> None:
    case = make_case(seed=4, count=50, is_fitted=False)
    queries = case.put_queries(make_questions(case, 3, 4))
    holdout = case.put_records(make_questions(case, 9, 5), [0, 1, 2] * 3)
    order = random.Random(4).sample(range(50), 50)
    problem = replace(case.problem, records=tuple(case.problem.records[i] for i in order))
    model = replace(case.model, problem=problem)
    permuted = compute(AttributeRequest(model=model, queries=queries), case.shelf.materials)
    for before, after in zip(influences(case, queries), permuted.answers, strict=True):
        assert after.values() == tuple(before[i] for i in order)
    before = compute(GateRequest(model=case.model, holdout=holdout), case.shelf.materials)
    after = compute(GateRequest(model=model, holdout=holdout), case.shelf.materials)
    assert after == replace(before, scores=tuple(before.scores[i] for i in order))


# R6: the fast form equals plain integers, bit for bit.


@pytest.mark.parametrize(
    ("seed", "columns", "classes", "is_fitted"), [(1, 3, 3, True), (2, 4, 2, True), (3, 2, 5, False), (4, 5, 2, False)]
)
def test_r6_influences_equal_plain_integers(seed: int, columns: int, classes: int, is_fitted: bool, make_case) -> None:
    case = make_case(seed=seed, columns=columns, classes=classes, count=30, is_fitted=is_fitted)
    questions = make_questions(case, 4, seed)
    holdout_labels = [i % classes for i in range(4)]
    prepared = prepare(case.model, case.shelf.materials)
    inverse, weights = prepared.inverse.astype(np.int64).tolist(), prepared.weights.tolist()
    x = reference.features(case.values, case.values)
    records = [
        reference.direction(row, scores, label)
        for row, scores, label in zip(x, reference.logits(x, weights), case.labels, strict=True)
    ]
    asked = reference.features(case.values, questions)
    scores = reference.logits(asked, weights)
    answers = [reference.answer(row) for row in scores]

    def relative(labels: list[int]) -> list[list[int]]:
        towards = [reference.direction(*point) for point in zip(asked, scores, labels, strict=True)]
        return [[reference.relative_influence(record, q, inverse) for record in records] for q in towards]

    queries = case.put_queries(questions)
    result = compute(AttributeRequest(model=case.model, queries=queries), case.shelf.materials, prepared)
    assert [answer.label for answer in result.answers] == answers
    assert [list(answer.values()) for answer in result.answers] == relative(answers)
    holdout = case.put_records(questions, holdout_labels)
    gate = compute(GateRequest(model=case.model, holdout=holdout), case.shelf.materials, prepared)
    by_record = list(zip(*relative(holdout_labels), strict=True))
    assert list(gate.scores) == [reference.holdout_score(list(row), holdout_labels) for row in by_record]
    assert gate.correct == sum(a == b for a, b in zip(answers, holdout_labels, strict=True))


# Directions, bounds and meaning.


def test_direction_is_towards_minus_the_label_and_plus_the_others() -> None:
    shares = class_residuals(np.array([[7 << 42, 5 << 42], [0, 9 << 42]]), np.array([0, 0]))
    assert shares.tolist() == [[-2048, 2048], [-2048, 2048]]
    scores = np.array([[0, 3 << 42, 3 << 42, -(40 << 42)]])
    assert class_residuals(scores, np.array([0])).tolist() == [[-2048, 1024, 1024, 0]]
    assert class_residuals(scores, np.array([1])).tolist() == [[97, -2048, 1951, 0]]


@given(
    row=st.lists(st.integers(-32767, 32767), min_size=1, max_size=31),
    scores=st.lists(st.integers(-(1 << 60), 1 << 60), min_size=2, max_size=16),
    label=st.integers(0, 1),
)
@settings(max_examples=200)
def test_direction_is_of_one_length(row: list[int], scores: list[int], label: int) -> None:
    x, logit_row = np.array([[*row, 4096]], dtype=np.int16), np.array([scores])
    unit, shares = unit_rows(x)[0].tolist(), class_residuals(logit_row, np.array([label]))[0].tolist()
    vector = [share * feature for share in shares for feature in unit]
    assert vector == reference.direction([*row, 4096], scores, label)
    assert (2**13 - 18) ** 2 <= sum(value * value for value in unit) <= (2**13 + 18) ** 2
    assert max(map(abs, unit)) <= 1 << 13
    assert sum(map(abs, shares)) <= 2**12 + 32
    assert max(map(abs, shares)) == 1 << 11


@pytest.mark.parametrize(("d", "classes"), [pytest.param(1024, 5, marks=pytest.mark.slow), (1024, 2), (2, 64)])
def test_longest_vectors_and_largest_inverse_do_not_overflow(d: int, classes: int) -> None:
    """Every entry pulls the same way, at the largest row sum that is read."""
    x = np.full((1, d), -32767, dtype=np.int16)
    shares = class_residuals(np.array([[1 << 61] + [-(1 << 61)] * (classes - 1)]), np.array([1]))
    assert lengths(x).tolist() == [math.isqrt(d * 32767**2)]
    unit = unit_rows(x)
    vector = (shares[0, :, None].astype(np.int64) * unit[0].astype(np.int64)).ravel()
    signs = np.sign(vector)
    inverse = MAXIMUM_ROW_SUM // int(np.abs(signs).sum()) * np.outer(signs, signs)
    pull = sum(abs(value) for value in vector.tolist()) * int(inverse.max())
    form = pull * sum(abs(value) for value in vector.tolist())
    carried = carrier(inverse)
    pulled = pulls(unit, shares, carried)
    assert np.abs(pulled).max() == pull
    assert self_forms(unit, shares, carried).tolist() == [form]
    assert cross_forms(unit, shares, pulled).tolist() == own_forms(unit, shares, pulled).tolist() == [form]
    assert form > 1 << 80
    with pytest.raises(AttributionError) as caught:
        carrier(inverse + inverse)
    assert caught.value.reason is Reason.INVERSE_OUT_OF_RANGE


def test_relative_influence_is_within_eight_of_the_exact_inverse(fitted) -> None:
    """2η/(1 - η) at the worst inverse that certifies; the exact one is solved in floats."""
    rng = np.random.default_rng(6)
    prepared = prepare(fitted.model, fitted.shelf.materials)
    features = fitted.features()
    matrix = hessian(features, probabilities(logits(features, prepared.weights)), fitted.problem.damping)
    noise = rng.normal(size=matrix.shape)
    noise += noise.T
    # Worst in the metric: push against the Hessian's own row sums, just inside η.
    noise *= 0.95 / 256 * identity_multiple(fitted.problem.damping) / np.abs(matrix @ noise).sum(axis=1).max()
    inverse = prepared.inverse.astype(np.int64) + np.rint(noise).astype(np.int64)
    labels = np.array(fitted.labels)
    certify(fitted.problem, features, labels, prepared.weights, inverse)
    units, shares, carried = prepared.units, prepared.shares, carrier(inverse)
    own = self_forms(units, shares, carried)
    posted = relative_influence(cross_forms(units, shares, pulls(units, shares, carried)), own, own)
    g = (shares[:, :, None].astype(float) * units[:, None, :]).reshape(len(units), -1)
    exact = g @ np.linalg.solve(matrix.astype(float), g.T)
    length = np.sqrt(np.diag(exact))
    assert np.abs(posted - 1000 * exact / np.outer(length, length)).max() <= 1000 * 2 / 255 + 1


def test_a_record_asked_about_pulls_with_all_its_weight(fitted) -> None:
    """The question whose answer is a record's own label has that record's direction: influence 1000."""
    prepared = prepare(fitted.model, fitted.shelf.materials)
    result = compute(
        AttributeRequest(model=fitted.model, queries=fitted.put_queries(fitted.values)),
        fitted.shelf.materials,
        prepared,
    )
    own = [answer.values()[i] for i, answer in enumerate(result.answers)]
    agrees = [answer.label == label for answer, label in zip(result.answers, fitted.labels, strict=True)]
    assert any(agrees)
    assert all(value == 1000 for value, is_same in zip(own, agrees, strict=True) if is_same)
    assert max(max(answer.values()) for answer in result.answers) == 1000


def test_relabelled_record_pulls_the_other_way_when_there_are_two_classes(make_case) -> None:
    case = make_case(seed=2, columns=4, classes=2)
    prepared = prepare(case.model, case.shelf.materials)
    blobs = [case.shelf.materials[q] for q in case.put_queries(case.values)]
    asked = read_questions(prepared.encoder, case.schema, blobs)
    scores = logits(asked, prepared.weights)
    for labels in (np.zeros(40, dtype=np.int64), np.array(case.labels)):
        assert not np.any(class_residuals(scores, labels) + class_residuals(scores, 1 - labels))


@pytest.mark.parametrize("seed", [1, 2])
def test_raw_influence_is_the_definition(seed: int, make_case) -> None:
    case = make_case(seed=seed, columns=4)
    prepared = prepare(case.model, case.shelf.materials)
    [query] = case.put_queries(make_questions(case, 1, seed))
    raw = raw_influences(prepared, case.shelf.materials, case.shelf.materials[query])
    features = case.features()
    asked = read_questions(prepared.encoder, case.schema, [case.shelf.materials[query]])

    def gradients(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
        p = probabilities(logits(x, prepared.weights)) / 2.0**28
        p[np.arange(len(labels)), labels] -= 1
        return (p[:, :, None] * x[:, None, :] / 4096).reshape(len(x), -1)

    answer = np.argmax(logits(asked, prepared.weights), axis=1)
    matrix = hessian(features, probabilities(logits(features, prepared.weights)), case.problem.damping) / 2.0**24
    exact = gradients(features, np.array(case.labels)) @ np.linalg.solve(matrix, gradients(asked, answer)[0])
    assert np.abs(np.array(raw) / 2**40 - exact).max() <= 2e-3 * np.abs(exact).max() + 2**-40


def test_inverse_that_is_not_positive_definite_is_refused_when_it_shows(make_case) -> None:
    case = make_case(seed=1, is_fitted=False)
    prepared = prepare(case.model, case.shelf.materials)
    with pytest.raises(AttributionError) as caught:
        self_forms(prepared.units, prepared.shares, -prepared.inverse)
    assert (caught.value.reason, caught.value.detail) == (
        Reason.INVERSE_NOT_CERTIFIED,
        "a form of a vector with itself is negative",
    )
    with pytest.raises(AttributionError) as caught:
        relative_influence(*(widen(np.array(part), np.array(part)) for part in ([[5 << 40]], [1 << 40], [1 << 40])))
    assert (caught.value.reason, caught.value.detail) == (
        Reason.INVERSE_NOT_CERTIFIED,
        "a relative influence is above 1000",
    )


# The holdout gate.


def test_quality_is_the_sum_over_classes_of_floored_means() -> None:
    relative = np.array([[10, 11, -5], [-1, 0, 0], [0, 0, 7]])
    labels = np.array([0, 0, 2])
    sums = class_sums(relative, labels, 3)
    assert sums.tolist() == [[21, 0, -5], [-1, 0, 0], [0, 0, 7]]
    scores = holdout_scores(sums, np.array([2, 0, 1])).tolist()
    assert scores == [5, -1, 7] == [reference.holdout_score(row, labels.tolist()) for row in relative.tolist()]


@pytest.mark.parametrize(("counts", "expected"), [([30, 30], True), ([30, 29], False), ([100, 0], False)])
def test_gate_needs_thirty_points_of_every_class(counts: list[int], expected: bool) -> None:
    assert is_gate_on(np.array(counts)) is expected


def test_gate_counts_correct_answers_and_the_largest_class(fitted) -> None:
    prepared = prepare(fitted.model, fitted.shelf.materials)
    points, labels = make_questions(fitted, 100, 9), [0] * 40 + [1] * 35 + [2] * 25
    holdout = fitted.put_records(points, labels)
    result = compute(GateRequest(model=fitted.model, holdout=holdout), fitted.shelf.materials, prepared)
    assert (result.class_counts, result.baseline, result.is_gate_on) == ((40, 35, 25), 40, False)
    assert len(result.scores) == 40
    assert max(map(abs, result.scores)) <= 3000
