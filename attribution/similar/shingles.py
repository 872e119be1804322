"""From a text to the numbers that are compared: tokens, shingles, a signature.

Tokens. The text is UTF-8; only code points count, so no version of Unicode's tables reaches a token. A to Z are lower
case first. The rest is cut into tokens by ranges: a run of letters and digits is one token; from U+2E80 on (Chinese,
Japanese, Korean, symbols and everything beyond) each code point is one, because these scripts put no spaces between
words; all else (controls, spaces, ASCII and general punctuation) separates. Forms that Unicode calls equivalent are
different here: whoever wants them equal normalizes before.

Shingles. Three tokens in a row, all tokens where there are fewer; the hash of one is the first 8 bytes of
SHA-256(tag | 0 | tokens joined by 0) modulo p = 2**61 - 1. A text is the set of its shingles, in increasing order.

Signature. For each of 128 permutations the smallest (a·x + b) mod p over the shingles, a from 1 and b from 0 to p - 1,
drawn from SHA-256 of the tag in counter mode. Four in a row are a band: two texts that agree in a band are compared.

Anchors. Every shingle whose hash is a multiple of 8. The permutations are public: who changes 32 chosen words of a long
text changes every band, and it is a copy still. To lose all anchors he must change one word for every eight.

Bounds: a product of two numbers below p is taken in halves of 31 bits; with b every sum is below 6·2**61 < 2**64.

Source: Broder, "On the resemblance and containment of documents", 1997, sections 2 and 3; bands: Leskovec, Rajaraman
and Ullman, Mining of Massive Datasets, section 3.4; hashes that are 0 modulo a number as a
sample of a text: Manber, "Finding similar files in a large file system", 1994.
"""

import hashlib
import re
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from attribution.errors import AttributionError, Reason
from attribution.similar.request import (
    ANCHOR_RATE,
    BAND_ROWS,
    BANDS,
    MAXIMUM_SHINGLES,
    MAXIMUM_TEXT_SIZE_BYTES,
    PERMUTATIONS,
    SAME,
    SHINGLE_TOKENS,
)

PRIME = (1 << 61) - 1

UInt64 = npt.NDArray[np.uint64]

_WORD = "0-9a-z\u00aa\u00b5\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u1fff\u2070-\u218f\u2c00-\u2dff"
_TOKEN = re.compile(f"[{_WORD}]+|[\u2e80-\u2fff\u3005-\u3007\u3021-\U0010ffff]")
_LOW_BITS = 31
_LOW = np.uint64((1 << _LOW_BITS) - 1)
_SHINGLES_IN_ONE_GO = 1 << 10


def tokens(text: bytes) -> list[bytes]:
    """Tokens of a text. Raises: AttributionError(TEXT_TOO_LONG | TEXT_NOT_UTF8)."""
    if len(text) > MAXIMUM_TEXT_SIZE_BYTES:
        raise AttributionError(Reason.TEXT_TOO_LONG, f"{len(text)} bytes, at most {MAXIMUM_TEXT_SIZE_BYTES}")
    try:
        # Of bytes, lower() knows ASCII only.
        decoded = text.lower().decode("utf-8")
    except UnicodeDecodeError as error:
        raise AttributionError(Reason.TEXT_NOT_UTF8, f"byte {error.start}") from None
    return [token.encode("utf-8") for token in _TOKEN.findall(decoded)]


def shingles(text: bytes, tag: bytes) -> UInt64:
    """Hashes of a text's shingles, strictly increasing.

    Shapes: (s,), s from 1 to 16,384.
    Raises: AttributionError(TEXT_TOO_LONG | TEXT_NOT_UTF8 | TEXT_EMPTY).
    """
    words = tokens(text)
    if not words:
        raise AttributionError(Reason.TEXT_EMPTY)
    count = max(1, len(words) - SHINGLE_TOKENS + 1)
    different = {b"\0".join(words[i : i + SHINGLE_TOKENS]) for i in range(count)}
    if len(different) > MAXIMUM_SHINGLES:
        raise AttributionError(Reason.TEXT_TOO_LONG, f"{len(different)} shingles, at most {MAXIMUM_SHINGLES}")
    hashes = {int.from_bytes(hashlib.sha256(tag + b"\0" + each).digest()[:8], "big") % PRIME for each in different}
    return np.array(sorted(hashes), dtype=np.uint64)


def signature(hashes: UInt64, tag: bytes) -> UInt64:
    """Smallest image of the shingles under each permutation. Shapes: (s,) -> (128,)."""
    smallest = np.full(PERMUTATIONS, PRIME, dtype=np.uint64)
    factors, offsets = permutations(tag)
    for start in range(0, len(hashes), _SHINGLES_IN_ONE_GO):
        part = hashes[start : start + _SHINGLES_IN_ONE_GO]
        images = affine(factors[:, None], part[None, :], offsets[:, None])
        smallest = np.minimum(smallest, images.min(axis=1))
    return smallest


def bands(numbers: UInt64) -> tuple[bytes, ...]:
    """The 32 bands of a signature: the number of the band and its four values, big-endian."""
    data = numbers.astype(">u8").tobytes()
    size = 8 * BAND_ROWS
    return tuple(bytes([band]) + data[band * size : (band + 1) * size] for band in range(BANDS))


def anchors(hashes: UInt64) -> tuple[bytes, ...]:
    """The shingles that are buckets of their own: the number after the last band's, and the hash."""
    return tuple(
        bytes([BANDS]) + each.to_bytes(8, "big") for each in hashes[hashes % np.uint64(ANCHOR_RATE) == 0].tolist()
    )


def jaccard(left: UInt64, right: UInt64) -> int:
    """Shared shingles over all shingles of two texts, rounded down. Units: thousandths."""
    small, large = (left, right) if len(left) <= len(right) else (right, left)
    places = np.searchsorted(large, small)
    shared = int((large[np.minimum(places, len(large) - 1)] == small).sum())
    return SAME * shared // (len(left) + len(right) - shared)


@lru_cache(maxsize=8)
def permutations(tag: bytes) -> tuple[UInt64, UInt64]:
    """Factors and offsets of the permutations that a tag fixes. Shapes: (128,) both."""
    digests = [hashlib.sha256(tag + b"\1" + bytes([i])).digest() for i in range(PERMUTATIONS)]
    factors = [1 + int.from_bytes(digest[:16], "big") % (PRIME - 1) for digest in digests]
    offsets = [int.from_bytes(digest[16:], "big") % PRIME for digest in digests]
    drawn = np.array(factors, dtype=np.uint64), np.array(offsets, dtype=np.uint64)
    for part in drawn:
        part.setflags(write=False)
    return drawn


def affine(factor: UInt64, value: UInt64, offset: UInt64) -> UInt64:
    """(factor·value + offset) mod p, all three below p; the shapes broadcast.

    With halves f = f1·2**31 + f0 and v alike, 2**62 = 2 and 2**61 = 1 modulo p. So f·v is 2·f1·v1, below 2**61, plus
    m·2**31 for m = f1·v0 + f0·v1, below 2**62, which is (m >> 30) + (m % 2**30)·2**31, below 2**32 + 2**61, plus f0·v0,
    below 2**62. With the offset: below 5·2**61 + 2**32.
    """
    one, low_bits, middle_bits = np.uint64(1), np.uint64(_LOW_BITS), np.uint64(30)
    prime, prime_bits = np.uint64(PRIME), np.uint64(61)
    factor_high, factor_low = factor >> low_bits, factor & _LOW
    value_high, value_low = value >> low_bits, value & _LOW
    middle = factor_high * value_low + factor_low * value_high
    total = ((factor_high * value_high) << one) + (middle >> middle_bits)
    total += (middle & np.uint64((1 << 30) - 1)) << low_bits
    total += factor_low * value_low
    total += offset
    total = (total & prime) + (total >> prime_bits)
    reduced: UInt64 = np.where(total >= prime, total - prime, total)
    return reduced
