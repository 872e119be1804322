"""R1 to R6 of every engine, for spans/1."""

import random
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from attribution.spans import reference
from attribution.spans.request import COMMON, MAXIMUM_OCCURRENCES, number_owners
from tests.attribution.spans.corpus import CASES, Case, make_case

few = settings(max_examples=12)
SEEDS = st.integers(0, 1 << 30)


def credits_of(case: Case) -> list[dict[int, int]]:
    return [dict(answer.credits) for answer in case.result().answers]


@few
@given(CASES)
def test_fast_form_equals_the_plain_one(case: Case) -> None:
    """R6."""
    assert list(case.result().answers) == case.reference()


@few
@given(CASES, SEEDS)
def test_renaming_owners_gives_the_same_request(case: Case, seed: int) -> None:
    """R1: identities are not in the request at all, so no result can depend on them."""
    names = [f"{owner * (seed + 1)}" for owner in case.owners]
    assert number_owners(names) == case.snapshot.owners
    renamed = replace(case, owners=[int(name) + 7 for name in names])
    assert renamed.request.request_id() == case.request.request_id()


@few
@given(CASES, SEEDS)
def test_who_owns_what_matters_only_above_eight_owners(case: Case, seed: int) -> None:
    """R1 and R2: with at most eight owners any division of the records among them gives the same credits."""
    rng = random.Random(seed)
    divisions = [
        replace(case, owners=[rng.randrange(8) for _ in case.texts]),
        replace(case, owners=[0] * len(case.texts)),
    ]
    first, second = (division.result().answers for division in divisions)
    assert [a.credits for a in first] == [a.credits for a in second]
    assert [a.commons for a in first] == [a.commons for a in second]


@few
@given(CASES, SEEDS)
def test_splitting_an_identity_never_raises_a_credit(case: Case, seed: int) -> None:
    """R2: what a split makes common goes from the holder to the commons; nothing else moves, and the sum stays."""
    rng = random.Random(seed)
    split = replace(case, owners=[2 * owner + rng.randrange(2) for owner in case.owners])
    for before, after in zip(case.result().answers, split.result().answers, strict=True):
        assert before.total == after.total
        earned = dict(before.credits)
        assert all(credit <= earned.get(record, 0) for record, credit in after.credits)


def fragments_of(case: Case, record: int, cut: int) -> Case:
    text = case.texts[record]
    texts = [*case.texts[:record], text[:cut], text[cut:], *case.texts[record + 1 :]]
    owners = [*case.owners[: record + 1], case.owners[record], *case.owners[record + 1 :]]
    return replace(case, texts=texts, owners=owners)


@few
@given(CASES, SEEDS)
def test_fragments_of_a_record_earn_no_more_than_the_record(case: Case, seed: int) -> None:
    """R3, for a cut that makes no copy (a copy is counted nowhere, so rarities would change)."""
    rng = random.Random(seed)
    record = rng.randrange(len(case.texts))
    assume(len(case.texts[record]) > 1)
    cut = fragments_of(case, record, rng.randrange(1, len(case.texts[record])))
    assume(all(text not in cut.texts[:place] for place, text in enumerate(cut.texts)))
    for whole, parts in zip(credits_of(case), credits_of(cut), strict=True):
        assert parts.get(record, 0) + parts.get(record + 1, 0) <= whole.get(record, 0)


def test_the_limit_of_occurrences_is_where_cutting_a_repetition_can_pay() -> None:
    """R3's one edge: who repeats a passage once too often may cut one repetition apart, and so undo it."""
    passage = [f"w{i}" for i in range(9)]
    once = [*passage, "end"]
    case = Case(texts=[once * (MAXIMUM_OCCURRENCES + 1)], owners=[0], answers=[passage])
    assert credits_of(case) == [{}]
    assert credits_of(fragments_of(case, 0, 5)) == [{1: case.result().answers[0].total}]


@few
@given(CASES, SEEDS)
def test_a_copy_changes_nothing(case: Case, seed: int) -> None:
    """R4, more strictly than asked: neither payments nor counts nor rarities nor what is common knowledge."""
    rng = random.Random(seed)
    texts, owners = list(case.texts), list(case.owners)
    for stranger in range(100, 112):
        texts.append(list(rng.choice(case.texts)))
        owners.append(stranger)
    assert replace(case, texts=texts, owners=owners).result() == case.result()


@few
@given(CASES, SEEDS)
def test_permuting_records_moves_credits_to_whoever_is_eldest_then(case: Case, seed: int) -> None:
    """R5: order is seniority. Spans, rarities and sums stay; each span's credit goes to its first holder."""
    case = replace(case, texts=[[*text, f"last{place}"] for place, text in enumerate(case.texts)])
    order = random.Random(seed).sample(range(len(case.texts)), len(case.texts))
    permuted = replace(case, texts=[case.texts[i] for i in order], owners=[case.owners[i] for i in order])
    for before, after, answer in zip(case.result().answers, permuted.result().answers, case.answers, strict=True):
        assert after.total == before.total
        expected = []
        for span in before.spans:
            held = reference.occurrences(case.texts, answer[span.begin : span.begin + span.length])
            first = min(order.index(record) for record in held)
            expected.append(replace(span, record=COMMON if span.record == COMMON else first))
        assert list(after.spans) == expected


@pytest.mark.slow
def test_fast_form_equals_the_plain_one_on_many_seeds() -> None:
    """R6."""
    for seed in range(25):
        case = make_case(seed, most_tokens=60)
        assert list(case.result().answers) == case.reference(), f"seed {seed}"


def test_cases_hold_what_the_properties_are_about() -> None:
    """Else they could not fail."""
    answers = [answer for seed in range(60) for answer in make_case(seed).result().answers]
    spans = [span for answer in answers for span in answer.spans]
    assert sum(span.record == COMMON for span in spans) > 5
    assert sum(span.record != COMMON for span in spans) > 100
    assert sum(span.own_length < span.length for span in spans) > 10
    assert sum(span.count > 1 for span in spans) > 50
