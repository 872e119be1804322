import hashlib
from dataclasses import replace
from struct import pack

import pytest

from attribution.errors import AttributionError, Reason
from attribution.spans import request
from attribution.spans.request import (
    COMMON,
    MAXIMUM_ANSWER_TOKENS,
    MAXIMUM_ANSWERS,
    MAXIMUM_TEXT_SIZE_BYTES,
    Attributed,
    Snapshot,
    Span,
    SpansRequest,
    SpansResult,
    Text,
    number_owners,
)

SNAPSHOT = Snapshot(engine="spans/1", records=(b"\1" * 32, b"\2" * 32, b"\3" * 32), sizes=(9, 8, 7), owners=(0, 1, 0))
ANSWER = Text(name=b"\4" * 32, size_bytes=20, tokens=10)
REQUEST = SpansRequest(snapshot=SNAPSHOT, answers=(ANSWER, ANSWER))
SPAN = Span(begin=1, length=9, own_begin=2, own_length=8, count=3, owners=2, record=5, weight=40)
SHARED = Span(begin=9, length=9, own_begin=10, own_length=8, count=3000, owners=0, record=COMMON, weight=12)
ATTRIBUTED = Attributed(token_count=30, spans=(SPAN, SHARED), credits=((5, 40),), commons=60)


def test_request_id_is_the_hash_of_the_documented_bytes() -> None:
    data = b"\7spans/1" + pack(">I", 3) + b"\1" * 32 + b"\2" * 32 + b"\3" * 32
    data += pack(">4I", 3, 9, 8, 7) + pack(">4I", 3, 0, 1, 0)
    data += pack(">I", 2) + 2 * (b"\4" * 32 + pack(">II", 20, 10))
    assert REQUEST.request_id() == hashlib.sha256(b"openledger/spans-request/1" + data).digest()


def test_result_has_the_documented_bytes() -> None:
    data = pack(">II", 30, 2) + pack(">5IBiI", 1, 9, 2, 8, 3, 2, 5, 40) + pack(">5IBiI", 9, 9, 10, 8, 3000, 0, -1, 12)
    data += pack(">I", 1) + pack(">II", 5, 40) + pack(">I", 60)
    result = SpansResult(answers=(ATTRIBUTED,))
    assert result.encode() == pack(">I", 1) + data
    assert result.result_hash() == hashlib.sha256(b"openledger/spans-result/1" + result.encode()).digest()


def test_shares_are_in_thousandths_of_the_whole_text() -> None:
    assert ATTRIBUTED.total == 100
    assert ATTRIBUTED.relative() == ((5, 400),)


def test_request_id_depends_on_every_part_and_on_order() -> None:
    others = [
        replace(SNAPSHOT, records=SNAPSHOT.records[::-1]),
        replace(SNAPSHOT, sizes=(9, 8, 6)),
        replace(SNAPSHOT, owners=(0, 1, 1)),
    ]
    requests = [REQUEST, *(replace(REQUEST, snapshot=other) for other in others)]
    requests += [replace(REQUEST, answers=(ANSWER,)), replace(REQUEST, answers=(ANSWER, replace(ANSWER, tokens=9)))]
    assert len({each.request_id() for each in requests}) == len(requests)
    assert REQUEST.material_hashes() == (*SNAPSHOT.records, ANSWER.name, ANSWER.name)


def test_owners_are_numbers_in_the_order_of_their_first_records() -> None:
    assert number_owners(["x", "y", "x", b"z", "y"]) == (0, 1, 0, 2, 1)


def test_cost_grows_with_each_part() -> None:
    def cost(**changes: tuple[int, ...]) -> int:
        return replace(REQUEST, snapshot=replace(SNAPSHOT, **changes)).multiply_accumulates()

    assert cost() < cost(sizes=(9, 8, 900))
    assert replace(REQUEST, answers=(ANSWER,)).multiply_accumulates() < cost()
    longer = replace(ANSWER, tokens=11)
    assert cost() < replace(REQUEST, answers=(ANSWER, longer)).multiply_accumulates()


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"engine": "spans/2"}, Reason.ENGINE_UNKNOWN, "'spans/2', not spans/1"),
        ({"records": ()}, Reason.NO_RECORDS, ""),
        ({"records": (b"\1" * 32, b"\2" * 31, b"\3" * 32)}, Reason.HASH_MALFORMED, ""),
        ({"sizes": (9, 8)}, Reason.SNAPSHOT_MALFORMED, "3 records, 2 sizes, 3 owners"),
        ({"owners": (0, 1, 0, 1)}, Reason.SNAPSHOT_MALFORMED, "3 records, 3 sizes, 4 owners"),
        ({"sizes": (9, 0, 7)}, Reason.TEXT_TOO_LARGE, f"0 bytes, not in 1 to {MAXIMUM_TEXT_SIZE_BYTES}"),
        ({"sizes": (9, True, 7)}, Reason.TEXT_TOO_LARGE, f"True bytes, not in 1 to {MAXIMUM_TEXT_SIZE_BYTES}"),
        ({"owners": (1, 0, 1)}, Reason.OWNERS_NOT_CANONICAL, ""),
        ({"owners": (0, 2, 1)}, Reason.OWNERS_NOT_CANONICAL, ""),
        ({"owners": (0, True, 0)}, Reason.OWNERS_NOT_CANONICAL, ""),
    ],
)
def test_a_snapshot_that_breaks_a_rule_is_refused(changes: dict[str, object], reason: Reason, detail: str) -> None:
    with pytest.raises(AttributionError) as caught:
        replace(SNAPSHOT, **changes)
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


@pytest.mark.parametrize(
    ("limit", "reason", "detail"),
    [
        ("MAXIMUM_RECORDS", Reason.TOO_MANY_RECORDS, "3, at most 2"),
        ("MAXIMUM_SNAPSHOT_SIZE_BYTES", Reason.SNAPSHOT_TOO_LARGE, "24 bytes, at most 2"),
        ("MAXIMUM_TEXT_SIZE_BYTES", Reason.TEXT_TOO_LARGE, "9 bytes, not in 1 to 2"),
    ],
)
def test_a_snapshot_over_a_limit_is_refused(
    limit: str, reason: Reason, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, limit, 2)
    with pytest.raises(AttributionError) as caught:
        replace(SNAPSHOT)
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"name": b"short"}, Reason.HASH_MALFORMED, ""),
        ({"size_bytes": 0}, Reason.TEXT_TOO_LARGE, f"0 bytes, not in 1 to {MAXIMUM_TEXT_SIZE_BYTES}"),
        ({"tokens": 0}, Reason.TOKENS_MISCOUNTED, "0 tokens in 20 bytes"),
        ({"tokens": 21}, Reason.TOKENS_MISCOUNTED, "21 tokens in 20 bytes"),
        (
            {"tokens": MAXIMUM_ANSWER_TOKENS + 1, "size_bytes": 1 << 20},
            Reason.TOO_MANY_TOKENS,
            f"{MAXIMUM_ANSWER_TOKENS + 1}, at most {MAXIMUM_ANSWER_TOKENS}",
        ),
    ],
)
def test_an_answer_that_breaks_a_rule_is_refused(changes: dict[str, object], reason: Reason, detail: str) -> None:
    with pytest.raises(AttributionError) as caught:
        replace(ANSWER, **changes)
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [((), Reason.NO_QUESTIONS), ((ANSWER,) * (MAXIMUM_ANSWERS + 1), Reason.TOO_MANY_QUESTIONS)],
)
def test_a_request_asks_something_and_not_too_much(answers: tuple[Text, ...], reason: Reason) -> None:
    with pytest.raises(AttributionError) as caught:
        replace(REQUEST, answers=answers)
    assert caught.value.reason is reason
