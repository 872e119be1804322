"""Addresses as people see them: bech32m with the prefix `open`. Source: BIP-350, BIP-173."""

from __future__ import annotations

from functools import lru_cache

from node.primitives.crypto import ADDRESS_SIZE_BYTES

PREFIX = "open"
LONGEST = 90

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES = {character: value for value, character in enumerate(_CHARSET)}
_CONSTANT = 0x2BC830A3
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_LENGTH = 6


@lru_cache(maxsize=4_096)
def format_address(address: bytes) -> str:
    """`open1…` of a 20-byte address."""
    assert len(address) == ADDRESS_SIZE_BYTES, "an address has 20 bytes"
    return encode_bech32m(PREFIX, _regroup(address, 8, 5, pad=True))


def parse_address(text: str) -> bytes:
    """The 20 bytes of an `open1…` address.

    Raises: ValueError saying what is wrong with the text.
    """
    prefix, groups = decode_bech32m(text)
    if prefix != PREFIX:
        raise ValueError(f"{text[:20]!r} is not an OpenLedger address: those start with {PREFIX}1")
    address = bytes(_regroup(groups, 5, 8, pad=False))
    if len(address) != ADDRESS_SIZE_BYTES:
        raise ValueError(f"{text[:20]!r}… does not hold {ADDRESS_SIZE_BYTES} bytes")
    return address


def encode_bech32m(prefix: str, groups: list[int]) -> str:
    """The bech32m text of 5-bit groups."""
    values = _expand(prefix) + groups
    checksum = _polymod(values + [0] * _CHECKSUM_LENGTH) ^ _CONSTANT
    tail = [checksum >> 5 * (_CHECKSUM_LENGTH - 1 - index) & 31 for index in range(_CHECKSUM_LENGTH)]
    return prefix + "1" + "".join(_CHARSET[group] for group in groups + tail)


def decode_bech32m(text: str) -> tuple[str, list[int]]:
    """Prefix and 5-bit groups of a bech32m text.

    Raises: ValueError saying what is wrong with the text.
    """
    if len(text) > LONGEST:
        raise ValueError(f"a bech32m text has at most {LONGEST} characters")
    if any(not 33 <= ord(character) <= 126 for character in text):
        raise ValueError("a bech32m text is printable ASCII")
    if text.lower() != text and text.upper() != text:
        raise ValueError("a bech32m text is all lower or all upper case")
    prefix, separator, data = text.lower().rpartition("1")
    if not separator or not prefix or len(data) < _CHECKSUM_LENGTH:
        raise ValueError(f"{text[:20]!r} is not bech32m: a prefix, a 1 and at least {_CHECKSUM_LENGTH} characters")
    if any(character not in _VALUES for character in data):
        raise ValueError(f"{text[:20]!r} has a character that bech32m does not use")
    groups = [_VALUES[character] for character in data]
    if _polymod(_expand(prefix) + groups) != _CONSTANT:
        raise ValueError(f"{text[:20]!r}… has a wrong checksum: a character is mistyped or missing")
    return prefix, groups[:-_CHECKSUM_LENGTH]


def _expand(prefix: str) -> list[int]:
    codes = prefix.encode("ascii")
    return [code >> 5 for code in codes] + [0] + [code & 31 for code in codes]


def _polymod(values: list[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for index, generator in enumerate(_GENERATOR):
            checksum ^= generator if top >> index & 1 else 0
    return checksum


def _regroup(values: bytes | list[int], from_bits: int, to_bits: int, *, pad: bool) -> list[int]:
    accumulator = bits = 0
    groups = []
    for value in values:
        accumulator = accumulator << from_bits | value
        bits += from_bits
        while bits >= to_bits:
            bits -= to_bits
            groups.append(accumulator >> bits & (1 << to_bits) - 1)
        accumulator &= (1 << bits) - 1
    if pad and bits:
        groups.append(accumulator << to_bits - bits & (1 << to_bits) - 1)
    if not pad and (bits >= from_bits or accumulator):
        raise ValueError("the address has leftover bits")
    return groups
