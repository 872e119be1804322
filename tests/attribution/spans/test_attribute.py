import pickle
from dataclasses import replace

import pytest

from attribution.content import content_hash
from attribution.errors import AttributionError, Reason
from attribution.spans.attribute import attribute, compute, prepare
from attribution.spans.request import (
    COMMON,
    MAXIMUM_OCCURRENCES,
    Attributed,
    Span,
    search_work,
)
from attribution.spans.search import Cost
from attribution.spans.tokens import tokenise
from tests.attribution.spans.corpus import Case, ask, joined, make_case, prepare_texts

ELDER = "the old harbour lies behind the hill where nobody goes any more"
PASSAGE = "lies behind the hill where nobody goes any more"


def words(first: int, count: int) -> str:
    return " ".join(f"w{i}" for i in range(first, first + count))


def test_a_passage_pays_the_eldest_record_that_holds_it() -> None:
    prepared = prepare_texts(["nothing of it", ELDER, f"a later text: {PASSAGE}"])
    [span] = ask(prepared, f"My answer {PASSAGE.upper()}!").spans
    assert (span.begin, span.length, span.record, span.count, span.owners) == (2, 9, 1, 2, 2)


def test_eight_tokens_are_a_span_and_seven_are_not() -> None:
    prepared = prepare_texts([words(0, 30)])
    assert [span.length for span in ask(prepared, words(3, 8)).spans] == [8]
    assert ask(prepared, words(3, 7)).spans == ()


def test_no_span_crosses_from_one_record_to_the_next() -> None:
    assert ask(prepare_texts([words(0, 7), words(7, 7)]), words(0, 14)).spans == ()


def test_a_token_belongs_to_its_longest_span_and_the_leftmost_of_equals() -> None:
    prepared = prepare_texts([words(0, 12), words(4, 12), words(10, 20)])
    spans = ask(prepared, words(0, 30)).spans
    assert [(s.begin, s.length, s.own_begin, s.own_length, s.record) for s in spans] == [
        (0, 12, 0, 10, 0),
        (10, 20, 10, 20, 2),
    ]
    tied = ask(prepare_texts([words(0, 12), words(4, 12)]), words(0, 16)).spans
    assert [(s.begin, s.own_begin, s.own_length) for s in tied] == [(0, 0, 12), (4, 12, 4)]


def test_weights_are_bits_of_rarity_and_add_up() -> None:
    prepared = prepare_texts(["a " * 56 + words(0, 8)])
    found = ask(prepared, words(0, 8) + " a unknown")
    rare = 7  # bit_length(64 // 1)
    assert found == Attributed(
        token_count=10,
        spans=(Span(begin=0, length=8, own_begin=0, own_length=8, count=1, owners=1, record=0, weight=8 * rare),),
        credits=((0, 8 * rare),),
        commons=1 + rare,
    )


@pytest.mark.parametrize(("owners", "record"), [(8, 0), (9, COMMON)])
def test_what_more_than_eight_owners_hold_is_common_knowledge(owners: int, record: int) -> None:
    texts = [f"{PASSAGE} number {i}" for i in range(owners)]
    [span] = ask(prepare_texts(texts), PASSAGE).spans
    assert (span.record, span.owners) == (record, owners)
    [span] = ask(prepare_texts(texts, [1] * owners), PASSAGE).spans
    assert (span.record, span.owners) == (0, 1)


@pytest.mark.parametrize(("count", "record"), [(MAXIMUM_OCCURRENCES, 0), (MAXIMUM_OCCURRENCES + 1, COMMON)])
def test_what_stands_too_often_is_common_knowledge(count: int, record: int) -> None:
    found = ask(prepare_texts([f"{PASSAGE} end " * count]), PASSAGE)
    [span] = found.spans
    assert (span.record, span.count) == (record, count)
    assert found.commons == (0 if record == 0 else found.total)


def test_no_common_text_pays_the_commons() -> None:
    found = ask(prepare_texts([ELDER]), "something else entirely was said here by somebody who knew")
    assert (found.spans, found.credits, found.commons) == ((), (), found.total)


# Cost.


ADVERSARIES = {
    "one character": (["a " * 4000], "a " * 600),
    "one character, many records": (["a " * (4000 + i) for i in range(12)], "a " * 600 + "b" + " a" * 300),
    "one line": ([f"{ELDER}\n" * 500], f"{ELDER}\n" * 40),
    "one record, whole": ([words(0, 3000), words(5000, 800)], words(1000, 600)),
    "no common text": ([words(0, 4000)], words(4000, 600)),
    "two characters": (["ab" * 9 + " b a" * 3000, "b a a " * 900], "a b b " + "b a " * 300),
    "doubling": ([" ".join("a" * (1 << i) for i in range(6)) * 300], "a aa aaaa " * 200),
}


@pytest.mark.parametrize("name", ADVERSARIES)
def test_cost_is_within_its_bound_on_an_adversarys_texts(name: str) -> None:
    texts, answer = ADVERSARIES[name]
    prepared = prepare_texts(texts)
    tokens = tokenise(answer.encode())
    cost = Cost()
    attribute(prepared, [tokens], cost)
    assert 0 <= cost.steps <= search_work(prepared.snapshot.maximum_tokens, len(tokens))


def test_a_repeated_character_is_one_common_span() -> None:
    [span] = ask(prepare_texts(["a " * 4000]), "a " * 600).spans
    assert (span.length, span.count, span.record) == (600, 3401, COMMON)


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "size_bytes"), [("a", 10_000_000), (f"{ELDER}\n", 3_000_000), ("中", 3_000_000)])
def test_megabytes_of_the_same_are_handled(unit: str, size_bytes: int) -> None:
    text = unit * (size_bytes // len(unit.encode()))
    prepared = prepare_texts([text, ELDER])
    cost = Cost()
    tokens = tokenise(text[:1300].encode())
    [found] = attribute(prepared, [tokens], cost)
    assert found.credits == ()
    assert cost.steps <= search_work(prepared.snapshot.maximum_tokens, len(tokens))


# Requests.


def test_result_is_the_same_with_and_without_preparation() -> None:
    case = make_case(21)
    prepared = case.prepared()
    only_answers = {content_hash(joined(answer)): joined(answer) for answer in case.answers}
    assert compute(case.request, only_answers, prepared) == case.result()
    assert compute(case.request, only_answers, pickle.loads(pickle.dumps(prepared))) == case.result()
    assert pickle.loads(pickle.dumps((case.request, case.result()))) == (case.request, case.result())


def test_answers_together_are_answered_as_alone() -> None:
    case = make_case(5)
    alone = [replace(case, answers=[answer]).result().answers[0] for answer in case.answers]
    many = replace(case, answers=case.answers * 60)
    assert list(many.result().answers) == alone * 60


def test_preparation_of_another_snapshot_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        compute(make_case(1).request, {}, make_case(2).prepared())


def test_every_material_is_needed_and_must_have_its_hash() -> None:
    case = Case(texts=[["a", "b"], ["c"]], owners=[0, 1], answers=[["d"]])
    request = case.request
    for name, data in case.materials.items():
        for wrong, reason in ((None, Reason.MISSING_MATERIAL), (data[:-1] + b"x", Reason.MATERIAL_MISMATCH)):
            given = {**case.materials, name: wrong} if wrong else {k: v for k, v in case.materials.items() if k != name}
            with pytest.raises(AttributionError) as caught:
                compute(request, given)
            assert (caught.value.reason, caught.value.detail) == (reason, name.hex())


def test_a_text_of_another_size_or_number_of_tokens_is_refused() -> None:
    case = Case(texts=[["a", "b"], ["c"]], owners=[0, 1], answers=[["d", "e"]])
    snapshot = replace(case.snapshot, sizes=(4, 1))
    with pytest.raises(AttributionError) as caught:
        prepare(snapshot, case.materials)
    assert caught.value.reason is Reason.SIZE_MISMATCH
    assert caught.value.detail.endswith(": 3 bytes, not 4")
    request = case.request
    request = replace(request, answers=(replace(request.answers[0], tokens=3),))
    with pytest.raises(AttributionError) as caught:
        compute(request, case.materials)
    assert (caught.value.reason, caught.value.detail) == (Reason.TOKENS_MISCOUNTED, "2, not 3")


def test_a_record_that_is_no_text_is_refused() -> None:
    for blob, reason in ((b"\xff\xfe", Reason.TEXT_NOT_UTF8), (b" \n ", Reason.TEXT_WITHOUT_TOKENS)):
        case = Case(texts=[["a"]], owners=[0], answers=[["a"]])
        snapshot = replace(case.snapshot, records=(content_hash(blob),), sizes=(len(blob),))
        with pytest.raises(AttributionError) as caught:
            prepare(snapshot, {content_hash(blob): blob})
        assert caught.value.reason is reason
