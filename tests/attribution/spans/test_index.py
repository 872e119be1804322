from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings

from attribution.content import content_hash
from attribution.errors import AttributionError, Reason
from attribution.spans.attribute import Prepared, attribute, compute, prepare
from attribution.spans.index import Index, append, balanced
from attribution.spans.search import UNKNOWN, Cost
from attribution.spans.segment import Segment, make_segment, merge, validate_segment
from tests.attribution.spans.corpus import CASES, Case, make_case

few = settings(max_examples=12)


def segments_of(case: Case, cuts: list[int]) -> tuple[Segment, ...]:
    seen: set[bytes] = set()
    bounds = [0, *cuts, len(case.texts)]
    names = case.snapshot.records
    return tuple(make_segment(names[low:high], case.blobs[low:high], seen) for low, high in pairwise(bounds))


def assert_same(left: Segment, right: Segment) -> None:
    for field in fields(Segment):
        one, other = getattr(left, field.name), getattr(right, field.name)
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist(), field.name


@few
@given(CASES)
def test_results_do_not_depend_on_segments(case: Case) -> None:
    owners = np.array(case.snapshot.owners)
    for cuts in (case.cuts, list(range(1, len(case.texts)))):
        index = Index(segments=segments_of(case, cuts))
        cut = Prepared(snapshot=case.snapshot, index=index, owners=owners)
        assert attribute(cut, case.answers, Cost()) == list(case.result().answers)


@few
@given(CASES)
def test_merged_segments_are_the_segment_of_all_their_texts(case: Case) -> None:
    [whole] = segments_of(case, [])
    assert_same(merge(segments_of(case, case.cuts)), whole)
    validate_segment(whole)


@few
@given(CASES)
def test_an_index_that_grows_halves_from_segment_to_segment(case: Case) -> None:
    index, names = Index(), case.snapshot.records
    for place in range(len(case.texts)):
        index = append(index, names[place : place + 1], case.blobs[place : place + 1])
        lengths = [len(segment.ids) for segment in index.segments]
        assert all(elder >= 2 * younger for elder, younger in pairwise(lengths))
        assert len(lengths) <= sum(lengths).bit_length()
    assert index.is_prefix_of(names)
    prepared = prepare(case.snapshot, {}, index)
    assert compute(case.request, case.materials, prepared) == case.result()
    assert balanced(index).segments == index.segments


def test_a_grown_index_reads_only_the_new_records() -> None:
    case = make_case(11)
    assert len(case.texts) > 4
    index = append(Index(), case.snapshot.records[:3], case.blobs[:3])
    new = {content_hash(blob): blob for blob in case.blobs[3:]}
    prepared = prepare(case.snapshot, new, index)
    assert compute(case.request, case.materials, prepared) == case.result()


def test_an_index_of_other_records_is_our_own_mistake() -> None:
    case = make_case(11)
    index = append(Index(), [b"\0" * 32], [b"another text"])
    with pytest.raises(AssertionError):
        prepare(case.snapshot, case.materials, index)


def test_a_token_is_found_by_all_of_its_bytes() -> None:
    words = ["abcdefgh", "abcdefgha", "abcdefghb", "abcdefghbb", "b", "ß", "中"]
    segment = make_segment([b"\0" * 32], [" ".join(words).encode()], set())
    ids = segment.look_up([*words, "abcdefghaa", "abcdefg", "c"])
    assert sorted(ids[:7].tolist()) == [1, 2, 3, 4, 5, 6, 7]
    assert ids[7:].tolist() == [UNKNOWN] * 3


def test_frequent_tokens_have_the_low_ids() -> None:
    segment = make_segment([b"\0" * 32], [b"c b b a a a d"], set())
    assert segment.look_up(["a", "b", "c", "d"]).tolist() == [1, 2, 3, 4]
    assert segment.counts.tolist() == [1, 3, 2, 1, 1]


@pytest.mark.parametrize("field", ["keys", "by_rank", "counts", "ids", "array", "starts", "offsets", "token_bytes"])
def test_a_part_that_does_not_fit_the_others_is_refused(field: str) -> None:
    segment = make_segment([b"\0" * 32, b"\1" * 32], [b"one two two three", b"three four"], set())
    validate_segment(segment)
    for place in range(len(getattr(segment, field)) - (field == "offsets")):
        part = getattr(segment, field).copy()
        part[place] ^= 1
        with pytest.raises(AttributionError) as caught:
            validate_segment(replace(segment, **{field: part}))
        assert caught.value.reason is Reason.INDEX_MALFORMED
