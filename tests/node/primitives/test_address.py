"""Addresses against the vectors of BIP-350 and BIP-173."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.primitives.address import decode_bech32m, encode_bech32m, format_address, parse_address

VALID = [
    "A1LQFN3A",
    "a1lqfn3a",
    "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
    "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
    "11llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllludsr8",
    "split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
    "?1v759aa",
]
"""BIP-350, valid Bech32m strings."""

INVALID = [
    (" 1xj0phk", "printable ASCII"),
    ("\x7f1g6xzxy", "printable ASCII"),
    ("\x801vctc34", "printable ASCII"),
    ("an84characterslonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11d6pts4", "at most 90"),
    ("qyrz8wqd2c9m", "is not bech32m"),
    ("1qyrz8wqd2c9m", "is not bech32m"),
    ("y1b0jsk6g", "does not use"),
    ("lt1igcx5c0", "does not use"),
    ("in1muywd", "is not bech32m"),
    ("mm1crxm3i", "does not use"),
    ("au1s5cgom", "does not use"),
    ("M1VUXWEZ", "wrong checksum"),
    ("16plkw9", "is not bech32m"),
    ("1p2gdwpf", "is not bech32m"),
    ("A1lqfn3a", "lower or all upper"),
    ("", "is not bech32m"),
    ("A12UEL5L", "wrong checksum"),  # Bech32 of BIP-173, not bech32m
    ("abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw", "wrong checksum"),  # the same
]
"""BIP-350, invalid strings, with what is said about them."""

KNOWN = [
    (bytes(20), "open1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq35zt7g"),
    (bytes(range(20)), "open1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnppnwgv"),
    (b"\xff" * 20, "open1lllllllllllllllllllllllllllllllla9ryez"),
]


@pytest.mark.parametrize("text", VALID)
def test_valid_texts_are_read_and_written_back(text: str) -> None:
    prefix, groups = decode_bech32m(text)
    assert encode_bech32m(prefix, groups) == text.lower()


@pytest.mark.parametrize(("text", "words"), INVALID)
def test_invalid_texts_are_refused_with_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_bech32m(text)


@pytest.mark.parametrize(("address", "text"), KNOWN)
def test_known_addresses(address: bytes, text: str) -> None:
    assert format_address(address) == text
    assert parse_address(text) == parse_address(text.upper()) == address


@given(st.binary(min_size=20, max_size=20))
def test_every_address_comes_back(address: bytes) -> None:
    assert parse_address(format_address(address)) == address


@given(st.binary(min_size=20, max_size=20), st.integers(0, 42), st.integers(1, 31))
def test_one_mistyped_character_is_noticed(address: bytes, index: int, shift: int) -> None:
    charset = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    text = format_address(address)
    index = len("open1") + index % (len(text) - len("open1"))
    other = charset[(charset.index(text[index]) + shift) % 32]
    with pytest.raises(ValueError, match="wrong checksum"):
        parse_address(text[:index] + other + text[index + 1 :])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (encode_bech32m("opem", [0] * 32), "is not an OpenLedger address: those start with open1"),
        (encode_bech32m("open", [0] * 31), "does not hold 20 bytes"),
        (encode_bech32m("open", [0] * 30 + [1]), "the address has leftover bits"),
        (encode_bech32m("open", [0] * 33), "the address has leftover bits"),
        (encode_bech32m("open", [0] * 24), "does not hold 20 bytes"),
        (encode_bech32m("open", [0] * 40), "does not hold 20 bytes"),
        (encode_bech32m("open", []), "does not hold 20 bytes"),
    ],
)
def test_other_bech32m_texts_are_no_addresses(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_address(text)


def test_only_twenty_bytes_are_an_address() -> None:
    with pytest.raises(AssertionError, match="an address has 20 bytes"):
        format_address(bytes(19))
