"""The codec: one value, one encoding; everything else is refused for a stable reason."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, ClassVar

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from node.errors import MessageReason, MessageRejected
from node.modules.governance import Proposal
from node.modules.models import MeasureModel
from node.p2p.messages import Message
from node.primitives.codec import (
    INTEGER,
    decode,
    decode_union,
    encode,
    encode_union,
    encode_unsigned,
    schema_of,
    wire_fields,
)
from node.types.transaction import Transaction


class Colour(IntEnum):
    RED = 1
    BLUE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Empty:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class One:
    number: Annotated[int, range(10, 20)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    TAG: ClassVar[int] = 3

    left: int
    right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    TAG: ClassVar[int] = 300

    text: Annotated[str, range(1, 5)]


Shape = Pair | Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Many:
    number: Annotated[int, range(-5, 2**40)]
    flag: bool
    data: Annotated[bytes, range(3)]
    colour: Colour
    numbers: Annotated[tuple[Annotated[int, range(300)], ...], range(4)]
    shape: Shape
    nested: Annotated[tuple[One, ...], range(3)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


MANY = Many(
    number=-1,
    flag=True,
    data=b"ab",
    colour=Colour.BLUE,
    numbers=(0, 299),
    shape=Word(text="x"),
    nested=(One(number=12),),
)

VALUES: list[tuple[object, bytes]] = [
    (Empty(), b"\x90"),
    (One(number=10), b"\x91\x0a"),
    (One(number=19), b"\x91\x13"),
    (Pair(left=-(2**63), right=False), b"\x92\xd3\x80" + bytes(7) + b"\xc2"),
    (Pair(left=2**64 - 1, right=True), b"\x92\xcf" + b"\xff" * 8 + b"\xc3"),
    (Word(text="é"), b"\x91\xa2\xc3\xa9"),
    (MANY, b"\x97\xff\xc3\xc4\x02ab\x07\x92\x00\xcd\x01\x2b\x92\xcd\x01\x2c\xa1x\x91\x91\x0c"),
    (Ordered(low=1, high=1), b"\x92\x01\x01"),
]


@pytest.mark.parametrize(("value", "data"), VALUES, ids=lambda each: type(each).__name__)
def test_a_value_has_one_encoding_and_comes_back_from_it(value: object, data: bytes) -> None:
    assert encode(value) == data
    assert decode(type(value), data) == value
    assert schema_of(type(value)).to_array(value) is not None


def test_the_signature_is_the_field_left_out_of_what_is_signed() -> None:
    assert encode_unsigned(Pair(left=5, right=True)) == b"\x91\x05"


def test_a_union_is_written_as_its_tag_and_the_members_fields() -> None:
    assert encode_union(Shape, Pair(left=1, right=True)) == b"\x93\x03\x01\xc3"
    assert decode_union(Shape, b"\x93\x03\x01\xc3") == Pair(left=1, right=True)
    assert decode_union(Shape, b"\x92\xcd\x01\x2c\xa1x") == Word(text="x")


M, R, N = MessageReason.MALFORMED, MessageReason.OUT_OF_RANGE, MessageReason.NOT_CANONICAL

REJECTED: list[tuple[type, bytes, MessageReason, str]] = [
    # Not the shape.
    (Empty, b"\x91\x00", M, ""),
    (Empty, b"\xc0", M, "Empty is an array of 0"),
    (Empty, b"\x80", M, "Empty is an array of 0"),
    (One, b"\x90", M, "One is an array of 1"),
    (One, b"\x92\x0a\x0a", M, ""),
    (One, b"\x0a", M, "One is an array of 1"),
    (One, b"\x91\xc0", M, "One.number is an int"),
    (One, b"\x91\xc3", M, "One.number is an int"),
    (One, b"\x91\xcb\x40\x24" + bytes(6), M, "One.number is an int"),  # 10.0
    (One, b"\x91\xca\x41\x20\x00\x00", M, "One.number is an int"),  # 10.0 in 32 bits
    (One, b"\x91\xcb\x7f\xf8" + bytes(6), M, "One.number is an int"),  # not a number
    (One, b"\x91\xa2\x31\x30", M, "One.number is an int"),
    (One, b"\x91\x81\x0a\x0a", M, ""),
    (One, b"\x91\x81\xa1a\x0a", M, "One.number is an int"),
    (One, b"\x91\xd4\x05\x0a", M, "One.number is an int"),  # ext
    (One, b"\x91\xd6\xff\x00\x00\x00\x00", M, "One.number is an int"),  # timestamp
    (Pair, b"\x92\x00\x01", M, "Pair.right is a bool"),
    (Pair, b"\x92\x00\xc0", M, "Pair.right is a bool"),
    (Word, b"\x91\xc4\x01x", M, "Word.text is a str"),
    (Word, b"\x91\xa1\xff", M, ""),  # no UTF-8
    (Word, b"\x91\xa3\xed\xa0\x80", M, ""),  # a surrogate
    (Many, b"\x97\xff\xc3\xa2ab\x07\x92\x00\x01\x92\xcd\x01\x2c\xa1x\x91\x91\x0c", M, "Many.data is a bytes"),
    (Many, b"\x97\xff\xc3\xc4\x02ab\x07\x05\x92\xcd\x01\x2c\xa1x\x91\x91\x0c", M, "Many.numbers is a tuple"),
    (
        Many,
        b"\x97\xff\xc3\xc4\x02ab\x07\x90\x92\x05\xa1x\x90",
        M,
        "a tagged array with a known tag is expected",
    ),
    (Many, b"\x97\xff\xc3\xc4\x02ab\x07\x90\x90\x90", M, "a tagged array with a known tag is expected"),
    (Many, b"\x97\xff\xc3\xc4\x02ab\x07\x90\x92\xc3\xa1x\x90", M, "a tagged array with a known tag is expected"),
    (Many, b"\x97\xff\xc3\xc4\x02ab\x07\x90\x93\xcd\x01\x2c\xa1x\x00\x90", M, "Word is an array of 1"),
    # Not one whole value.
    (One, b"", M, ""),
    (One, b"\x91", M, ""),
    (One, b"\x91\x0a\x00", M, ""),
    (One, b"\xc1", M, ""),
    (One, b"\x91" * 5_000, M, ""),
    (One, b"\xdd\xff\xff\xff\xff", M, ""),
    (One, b"\xdf\xff\xff\xff\xff", M, ""),
    (One, b"\x91\xc6\xff\xff\xff\xff", M, ""),
    # Outside its limits.
    (One, b"\x91\x09", R, "One.number is in 10..19"),
    (One, b"\x91\x14", R, "One.number is in 10..19"),
    (One, b"\x91\xff", R, "One.number is in 10..19"),
    (One, b"\x91\xcf" + b"\xff" * 8, R, "One.number is in 10..19"),
    (Word, b"\x91\xa0", R, "Word.text has 1..4 items"),
    (Word, b"\x91\xa5abcde", R, "Word.text has 1..4 items"),
    (Many, b"\x97\xff\xc3\xc4\x03abc\x07\x90\x92\xcd\x01\x2c\xa1x\x90", R, "Many.data has 0..2 items"),
    (Many, b"\x97\xff\xc3\xc4\x00\x02\x90\x92\xcd\x01\x2c\xa1x\x90", R, "Many.colour is one of [1, 7]"),
    (Many, b"\x97\xff\xc3\xc4\x00\xc3\x90\x92\xcd\x01\x2c\xa1x\x90", R, "Many.colour is one of [1, 7]"),
    (Many, b"\x97\xff\xc3\xc4\x00\x01\x94\x00\x00\x00\x00\x92\xcd\x01\x2c\xa1x\x90", R, "Many.numbers has 0..3 items"),
    (
        Many,
        b"\x97\xff\xc3\xc4\x00\x01\x91\xcd\x01\x2c\x92\xcd\x01\x2c\xa1x\x90",
        R,
        "Many.numbers[] is in 0..299",
    ),
    (Ordered, b"\x92\x02\x01", R, "Ordered: low is above high"),
    # The right value, written otherwise.
    (One, b"\x91\xcc\x0a", N, ""),
    (One, b"\x91\xd0\x0a", N, ""),
    (One, b"\x91\xcd\x00\x0a", N, ""),
    (One, b"\x91\xcf" + bytes(7) + b"\x0a", N, ""),
    (One, b"\x91\xd3" + bytes(7) + b"\x0a", N, ""),
    (One, b"\xdc\x00\x01\x0a", N, ""),
    (One, b"\xdd\x00\x00\x00\x01\x0a", N, ""),
    (Word, b"\x91\xd9\x01x", N, ""),
    (Word, b"\x91\xda\x00\x01x", N, ""),
    (Many, b"\x97\xff\xc3\xc5\x00\x00\x01\x90\x92\xcd\x01\x2c\xa1x\x90", N, ""),
    (Many, b"\x97\xff\xc3\xc4\x00\x01\x90\x92\xce\x00\x00\x01\x2c\xa1x\x90", N, ""),
]


@pytest.mark.parametrize(("wire_class", "data", "reason", "detail"), REJECTED)
def test_other_bytes_are_refused_with_the_reason(
    wire_class: type, data: bytes, reason: MessageReason, detail: str
) -> None:
    with pytest.raises(MessageRejected) as caught:
        decode(wire_class, data)
    assert caught.value.reason is reason
    if detail:
        assert caught.value.message == f"{reason.sentence} ({detail})"


@pytest.mark.parametrize("claim", [b"\xdd\x00\x00\xff\xff", b"\xdc\x04\x00", b"\xdd\x00\x00\x27\x10", b"\xdc\xff\xff"])
@pytest.mark.parametrize("is_padded", [False, True])
def test_headers_that_claim_large_arrays_cost_no_memory(claim: bytes, is_padded: bool) -> None:
    data = claim * 1_000 + (bytes(60_000) if is_padded else b"")
    for decoder, target in ((decode, MeasureModel), (decode, Proposal), (decode_union, Message)):
        tracemalloc.start()
        with pytest.raises(MessageRejected):
            decoder(target, data)  # type: ignore[operator]
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < 16 * 2**20


def test_a_large_array_that_is_all_there_is_read() -> None:
    value = MeasureModel(model=bytes(32), correct=1, baseline=2, is_gate_on=True, blocked=tuple(range(40_000)))
    assert decode(MeasureModel, encode(value)) == value


def test_a_wire_class_without_a_length_bound_is_our_own_mistake() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Unbounded:
        data: bytes

    Unbounded.__annotations__["data"] = bytes
    with pytest.raises(AssertionError, match=r"Unbounded\.data has no length bound"):
        schema_of(Unbounded)
    with pytest.raises(AssertionError, match="int is no wire class"):
        schema_of(int)


ones = st.builds(One, number=st.integers(10, 19))
pairs = st.builds(Pair, left=st.integers(INTEGER.start, INTEGER.stop - 1), right=st.booleans())
words = st.builds(Word, text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4))
manies = st.builds(
    Many,
    number=st.integers(-5, 2**40 - 1),
    flag=st.booleans(),
    data=st.binary(max_size=2),
    colour=st.sampled_from(Colour),
    numbers=st.lists(st.integers(0, 299), max_size=3).map(tuple),
    shape=st.one_of(pairs, words),
    nested=st.lists(ones, max_size=2).map(tuple),
)


@given(st.one_of(st.just(Empty()), ones, pairs, words, manies))
def test_every_value_comes_back(value: object) -> None:
    assert decode(type(value), encode(value)) == value


def assert_exact_or_rejected(wire_class: Any, data: bytes) -> None:
    refused: MessageRejected | None = None
    try:
        value = decode(wire_class, data)
    except MessageRejected as error:
        refused = error
    if refused is None:
        assert encode(value) == data
    else:
        assert refused.reason in (M, R, N)
        assert str(refused).startswith(f"{refused.reason.value}: ")


packable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=9)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.slow
@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=60), packable.map(msgpack.packb)))
@example(b"\xd7\xff" + b"\xff" * 8)  # a timestamp of too many nanoseconds
@example(b"\x81\x91\x00\x00")
@example(b"\xc7\x03\x80abc")
def test_any_bytes_are_the_value_they_encode_or_are_refused(data: bytes) -> None:
    for wire_class in (Empty, One, Pair, Word, Many, Ordered, Transaction, Proposal):
        assert_exact_or_rejected(wire_class, data)


@settings(max_examples=150)
@given(manies, st.data())
def test_a_changed_encoding_is_another_value_or_is_refused(value: Many, data: st.DataObject) -> None:
    encoded = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    assert_exact_or_rejected(Many, bytes(encoded))


def test_fields_are_listed_in_wire_order() -> None:
    assert [name for name, _ in wire_fields(Many)] == [
        "number",
        "flag",
        "data",
        "colour",
        "numbers",
        "shape",
        "nested",
    ]
