"""Frames: any cut of the stream gives the same payloads; nothing large or empty gets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import MessageReason, MessageRejected
from node.p2p.frame import FrameReader, encode_frame


def feed(reader: FrameReader, data: bytes) -> list[bytes]:
    """All payloads that some bytes complete."""
    reader.feed(data)
    return list(iter(reader.take, None))


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.lists(st.integers(1, 50), min_size=1))
def test_payloads_come_out_whole_however_the_stream_is_cut(payloads, cuts):
    stream = b"".join(map(encode_frame, payloads))
    reader = FrameReader()
    found, position, turn = [], 0, 0
    while position < len(stream):
        size = cuts[turn % len(cuts)]
        found += feed(reader, stream[position : position + size])
        position, turn = position + size, turn + 1
    assert found == payloads


def test_frame_over_the_limit_is_refused_by_its_length_alone():
    reader = FrameReader(100)
    with pytest.raises(MessageRejected) as caught:
        feed(reader, b"\x00\x00\x00\x65")
    assert caught.value.reason is MessageReason.TOO_LARGE
    assert str(caught.value) == "too_large: a frame of 101 bytes"


def test_empty_frame_is_refused():
    with pytest.raises(MessageRejected) as caught:
        feed(FrameReader(), bytes(4))
    assert caught.value.reason is MessageReason.MALFORMED


def test_limit_can_be_raised_once_the_peer_is_known():
    reader = FrameReader(4)
    reader.set_limit(10)
    assert feed(reader, encode_frame(b"0123456789")) == [b"0123456789"]


def test_limit_raised_between_two_payloads_counts_for_the_second_one():
    reader = FrameReader(4)
    reader.feed(encode_frame(b"0123") + encode_frame(b"0123456789"))
    assert reader.take() == b"0123"
    reader.set_limit(10)
    assert reader.take() == b"0123456789"
    assert reader.take() is None
