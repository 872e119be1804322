import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from attribution.content import content_hash
from attribution.errors import AttributionError, Reason
from attribution.retrieval import reference
from attribution.retrieval.attribute import compute, prepare
from attribution.retrieval.request import (
    MAXIMUM_DIMENSIONS,
    MAXIMUM_QUERIES,
    MAXIMUM_RECORDS,
    Index,
    RetrievalRequest,
    RetrievalResult,
    Retrieved,
)

RECORDS = 8


def name(i: int) -> bytes:
    return hashlib.sha256(b"record %d" % i).digest()


def make_index(rows: np.ndarray, top: int, names: tuple[bytes, ...] | None = None) -> tuple[Index, bytes]:
    blob = rows.astype(np.int8).tobytes()
    records = names or tuple(name(i) for i in range(len(rows)))
    index = Index(
        engine="retrieval/1", dimensions=rows.shape[1], top=top, embeddings=content_hash(blob), records=records
    )
    return index, blob


def ask(index: Index, blob: bytes, *queries: bytes) -> tuple[Retrieved, ...]:
    materials = {content_hash(each): each for each in (blob, *queries)}
    return compute(RetrievalRequest(index=index, queries=tuple(map(content_hash, queries))), materials).answers


def make_case(seed: int, count: int = 12, width: int = 3, spread: int = 3) -> tuple[np.ndarray, bytes]:
    """Small numbers, so that ties and equal embeddings are common."""
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    return rng.integers(-spread, spread + 1, (count, width)), rng.integers(-spread, spread + 1, width).astype(
        np.int8
    ).tobytes()


def credits_by_name(index: Index, found: Retrieved) -> dict[bytes, int]:
    return {index.records[position]: credit for position, credit in found.credits}


seeds = st.integers(0, 1 << 30)
tops = st.integers(1, 14)


@given(
    seed=seeds,
    top=tops,
    count=st.integers(1, 14),
    width=st.sampled_from([1, 2, 5]),
    spread=st.sampled_from([1, 3, 127]),
)
@settings(deadline=None, max_examples=30)
def test_the_fast_form_equals_plain_integers(seed: int, top: int, count: int, width: int, spread: int) -> None:
    rows, query = make_case(seed, count, width, spread)
    index, blob = make_index(rows, top)
    assert ask(index, blob, query) == (reference.retrieve(index, blob, query),)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200))
def test_many_indices_equal_plain_integers(seed: int) -> None:
    rows, query = make_case(seed, 3 + seed % 40, 1 + seed % 6, (1, 3, 127)[seed % 3])
    index, blob = make_index(rows, 1 + seed % 16)
    assert ask(index, blob, query) == (reference.retrieve(index, blob, query),)


def test_the_most_similar_are_named_and_credited_above_the_next() -> None:
    index, blob = make_index(np.array([[5], [9], [7], [-4], [3]]), 2)
    [found] = ask(index, blob, bytes([10]))
    assert found == Retrieved(answer=(1, 2), cutoff=50, scale=90, credits=((1, 40), (2, 20)))
    assert found.values(5) == (0, 444, 222, 0, 0)


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        (3, Retrieved(answer=(0, 2, 1), cutoff=0, scale=50, credits=((0, 50), (2, 10)))),
        (2, Retrieved(answer=(0, 2), cutoff=0, scale=50, credits=((0, 50), (2, 10)))),
    ],
)
def test_what_is_not_similar_earns_nothing(top: int, expected: Retrieved) -> None:
    index, blob = make_index(np.array([[5], [-2], [1]]), top)
    assert ask(index, blob, bytes([10])) == (expected,)


def test_ties_are_named_by_record_id_and_earn_nothing() -> None:
    rows = np.array([[1, i] for i in range(9)])
    index, blob = make_index(rows, 2)
    [found] = ask(index, blob, bytes([5, 0]))
    assert found == reference.retrieve(index, blob, bytes([5, 0]))
    assert [index.records[position] for position in found.answer] == sorted(index.records)[:2]
    assert (found.cutoff, found.credits) == (5, ())


def test_a_question_of_zeros_pays_nobody() -> None:
    index, blob = make_index(np.array([[5], [-2], [1]]), 2)
    [found] = ask(index, blob, bytes([0]))
    assert (found.credits, found.scale, len(found.answer)) == ((), 1, 2)
    assert found.values(3) == (0, 0, 0)


def test_extreme_embeddings_stay_exact() -> None:
    rows = np.full((3, MAXIMUM_DIMENSIONS), -128)
    rows[1:] = 127
    rows[2, 0] = 126
    index, blob = make_index(rows, 1)
    [found] = ask(index, blob, np.full(MAXIMUM_DIMENSIONS, -128, dtype=np.int8).tobytes())
    assert found == Retrieved(answer=(0,), cutoff=0, scale=1 << 26, credits=((0, 1 << 26),))
    assert found.values(3) == (1000, 0, 0)


# What every engine meets.


def test_r1_credit_depends_on_embeddings_and_question_only() -> None:
    """R1 and R2: no identity reaches the computation; even the records' names only break ties without money."""
    rows, query = make_case(5, 12, 3)
    index, blob = make_index(rows, 4)
    other, _ = make_index(rows, 4, tuple(name(100 - i) for i in range(12)))
    [found], [renamed] = ask(index, blob, query), ask(other, blob, query)
    assert (found.credits, found.cutoff, found.scale) == (renamed.credits, renamed.cutoff, renamed.scale)


@given(seed=seeds, top=tops)
@settings(deadline=None, max_examples=30)
def test_r2_names_move_no_credit(seed: int, top: int) -> None:
    rows, query = make_case(seed)
    index, blob = make_index(rows, top)
    other, _ = make_index(rows, top, tuple(name(seed + i) for i in range(12)))
    assert ask(index, blob, query)[0].credits == ask(other, blob, query)[0].credits


@given(seed=seeds, top=tops)
@settings(deadline=None, max_examples=60)
def test_r3_parts_that_add_up_to_a_record_earn_no_more_than_it(seed: int, top: int) -> None:
    rows, query = make_case(seed)
    asked = np.frombuffer(query, dtype=np.int8).astype(int)
    part = np.random.default_rng(seed).integers(-3, 4, 3)
    others = {tuple(row) for row in rows[1:].tolist()}
    parts_are_new = not others & {tuple(part.tolist()), tuple((rows[0] - part).tolist())}
    assume(parts_are_new and asked @ part >= 0 and asked @ (rows[0] - part) >= 0)
    index, blob = make_index(rows, top)
    split, split_blob = make_index(np.vstack([part, rows[1:], rows[0] - part]), top)
    whole = dict(ask(index, blob, query)[0].credits).get(0, 0)
    parts = dict(ask(split, split_blob, query)[0].credits)
    assert parts.get(0, 0) + parts.get(12, 0) <= whole


def test_r3_has_an_exception_for_a_part_that_copies_another_record() -> None:
    """The part takes no place of its own, so that the next embedding is the one below."""
    query = bytes([1])
    whole, blob = make_index(np.array([[100], [95], [10]]), 1)
    split, split_blob = make_index(np.array([[95], [95], [10], [5]]), 1)
    assert dict(ask(whole, blob, query)[0].credits) == {0: 5}
    assert dict(ask(split, split_blob, query)[0].credits) == {0: 85, 1: 85}


@given(seed=seeds, top=tops, copied=st.integers(0, 11))
@settings(deadline=None, max_examples=30)
def test_r4_an_exact_copy_changes_no_other_credit(seed: int, top: int, copied: int) -> None:
    rows, query = make_case(seed)
    index, blob = make_index(rows, top)
    more, more_blob = make_index(np.vstack([rows, rows[copied]]), top)
    [before], [after] = ask(index, blob, query), ask(more, more_blob, query)
    assert {p: c for p, c in after.credits if p != 12} == dict(before.credits)
    assert dict(after.credits).get(12) == dict(before.credits).get(copied)
    assert (after.cutoff, after.scale) == (before.cutoff, before.scale)


@given(seed=seeds, top=tops)
@settings(deadline=None, max_examples=30)
def test_r5_permuting_records_permutes_the_result(seed: int, top: int) -> None:
    rows, query = make_case(seed)
    index, blob = make_index(rows, top)
    order = np.random.default_rng(seed).permutation(12)
    permuted, permuted_blob = make_index(rows[order], top, tuple(index.records[i] for i in order))
    [found], [moved] = ask(index, blob, query), ask(permuted, permuted_blob, query)
    assert credits_by_name(index, found) == credits_by_name(permuted, moved)
    assert [index.records[i] for i in found.answer] == [permuted.records[i] for i in moved.answer]


@given(seed=seeds, top=tops)
@settings(deadline=None, max_examples=10)
def test_r6_questions_together_are_answered_as_alone_and_prepared_as_fresh(seed: int, top: int) -> None:
    rows, _ = make_case(seed)
    index, blob = make_index(rows, top)
    queries = list(dict.fromkeys(make_case(seed + i)[1] for i in range(20)))
    together = ask(index, blob, *queries)
    assert together == tuple(ask(index, blob, query)[0] for query in queries)
    prepared = pickle.loads(pickle.dumps(prepare(index, {index.embeddings: blob})))
    request = RetrievalRequest(index=index, queries=tuple(map(content_hash, queries)))
    only = {content_hash(query): query for query in queries}
    assert compute(request, only, prepared).answers == together


def test_credits_are_within_a_thousand() -> None:
    for seed in range(20):
        rows, query = make_case(seed, 12, 5, 127)
        index, blob = make_index(rows, 12)
        assert 0 <= max(ask(index, blob, query)[0].values(12)) <= 1000


# Bytes, prices, refusals.


INDEX = Index(engine="retrieval/1", dimensions=3, top=2, embeddings=b"\4" * 32, records=(b"\1" * 32, b"\2" * 32))
REQUEST = RetrievalRequest(index=INDEX, queries=(b"\6" * 32,))


def test_bytes_are_as_documented() -> None:
    index = b"\x0bretrieval/1" + b"\0\3\0\2" + b"\4" * 32 + b"\0\0\0\2" + b"\1" * 32 + b"\2" * 32
    assert INDEX.encode() == index
    data = b"openledger/retrieval-request/1" + index + b"\0\0\0\1" + b"\6" * 32
    assert REQUEST.request_id() == hashlib.sha256(data).digest()
    found = Retrieved(answer=(1, 0), cutoff=7, scale=9, credits=((1, 5),))
    hexes = "00000002" + "00000001" + "00000000" + "00000007" + "00000009" + "00000001" + "00000001" + "00000005"
    assert found.encode().hex() == hexes
    assert RetrievalResult(answers=(found,)).encode().hex() == "00000001" + hexes
    assert found.credits_hash() == hashlib.sha256(b"openledger/credits/1" + bytes.fromhex(hexes)).digest()


def test_request_id_depends_on_every_part() -> None:
    others = [
        replace(INDEX, dimensions=4),
        replace(INDEX, top=1),
        replace(INDEX, embeddings=b"\5" * 32),
        replace(INDEX, records=INDEX.records[::-1]),
    ]
    ids = {replace(REQUEST, index=index).request_id() for index in (INDEX, *others)}
    assert len(ids | {replace(REQUEST, queries=(b"\7" * 32,)).request_id()}) == 6


def test_work_and_materials_are_known_before() -> None:
    assert REQUEST.multiply_accumulates() == 3 * 2 * 2
    assert REQUEST.material_hashes() == (b"\4" * 32, b"\6" * 32)
    index, blob = make_index(np.array([[1, 2], [1, 2], [3, 4]]), 1)
    assert prepare(index, {index.embeddings: blob}).size_bytes() == 2 * 2 + 2 * 8 + 3 * 8 + 3 * 8


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        ({"engine": "retrieval/2"}, Reason.ENGINE_UNKNOWN, "'retrieval/2', not retrieval/1"),
        ({"dimensions": 0}, Reason.INDEX_MALFORMED, "dimensions: 0 is not in 1 to 4096"),
        ({"dimensions": 4097}, Reason.INDEX_MALFORMED, "dimensions: 4097 is not in 1 to 4096"),
        ({"top": 65}, Reason.INDEX_MALFORMED, "top: 65 is not in 1 to 64"),
        ({"top": True}, Reason.INDEX_MALFORMED, "top: True is not in 1 to 64"),
        ({"records": ()}, Reason.NO_RECORDS, ""),
        ({"records": (b"\1" * 32,) * (MAXIMUM_RECORDS + 1)}, Reason.TOO_MANY_RECORDS, "1048577, at most 1048576"),
        ({"records": (b"\1",)}, Reason.HASH_MALFORMED, ""),
        ({"embeddings": b""}, Reason.HASH_MALFORMED, ""),
    ],
)
def test_a_wrong_index_is_refused(change: dict[str, object], reason: Reason, detail: str) -> None:
    with pytest.raises(AttributionError) as caught:
        replace(INDEX, **change)  # type: ignore[arg-type]
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


@pytest.mark.parametrize(
    ("queries", "reason"),
    [
        ((), Reason.NO_QUESTIONS),
        ((b"\6" * 32,) * (MAXIMUM_QUERIES + 1), Reason.TOO_MANY_QUESTIONS),
        ((b"\6",), Reason.HASH_MALFORMED),
    ],
)
def test_wrong_questions_are_refused(queries: tuple[bytes, ...], reason: Reason) -> None:
    with pytest.raises(AttributionError) as caught:
        RetrievalRequest(index=INDEX, queries=queries)
    assert caught.value.reason is reason


def test_wrong_bytes_are_refused() -> None:
    index, blob = make_index(np.array([[1, 2], [3, 4]]), 1)
    query = b"\1\2"
    request = RetrievalRequest(index=index, queries=(content_hash(query),))
    good = {index.embeddings: blob, content_hash(query): query}
    for key, data, reason, detail in (
        (index.embeddings, None, Reason.MISSING_MATERIAL, index.embeddings.hex()),
        (index.embeddings, blob[:-1], Reason.EMBEDDINGS_MALFORMED, "3 bytes, not 4"),
        (index.embeddings, blob[::-1], Reason.MATERIAL_MISMATCH, index.embeddings.hex()),
        (content_hash(query), b"\1\2\3", Reason.QUERY_WRONG_SIZE, "3 bytes, not 2"),
        (content_hash(query), b"\1\3", Reason.MATERIAL_MISMATCH, content_hash(query).hex()),
    ):
        wrong = {k: v for k, v in (good | {key: data}).items() if v is not None}
        with pytest.raises(AttributionError) as caught:
            compute(request, wrong)
        assert (caught.value.reason, caught.value.detail) == (reason, detail)


def test_preparation_of_another_index_is_our_own_mistake() -> None:
    index, blob = make_index(np.array([[1, 2], [3, 4]]), 1)
    other = prepare(index, {index.embeddings: blob})
    with pytest.raises(AssertionError):
        compute(replace(REQUEST, index=replace(index, top=2)), {}, other)
