"""Text to tokens by a rule that never changes: UTF-8, a case table and character ranges of our own.

Python's own idea of a letter, of lower case and of a normal form depends on the Unicode version it was built with, so
none of them is asked. A token is a run of up to 64 word characters, or one character of any other kind; spaces and
invisible characters separate and are no tokens. Scripts without spaces are read character by character. Upper case is
folded where both cases stand in one table below; composed and decomposed accents stay different (decision 0016).

Standard library only: a node admits and prices texts without numpy.
"""

import hashlib
import re
from functools import cache

from attribution.errors import AttributionError, Reason
from attribution.spans.request import MAXIMUM_TEXT_SIZE_BYTES

MAXIMUM_TOKEN_CHARACTERS = 64

_SPACES = ((0x00, 0x20), (0x7F, 0xA0), (0xAD, 0xAD), (0x1680, 0x1680), (0x180E, 0x180E), (0x2000, 0x200F),
           (0x2028, 0x202F), (0x205F, 0x206F), (0x3000, 0x3000), (0xFEFF, 0xFEFF))  # fmt: skip
"""Code points that separate, first to last."""
_WORDS = (
    (0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A), (0xAA, 0xAA), (0xB5, 0xB5), (0xBA, 0xBA), (0xC0, 0xD6),
    (0xD8, 0xF6), (0xF8, 0x37D), (0x37F, 0x386), (0x388, 0x559), (0x560, 0x588), (0x591, 0x5BD), (0x5BF, 0x5BF),
    (0x5C1, 0x5C2), (0x5C4, 0x5F2), (0x610, 0x61A), (0x620, 0x669), (0x66E, 0x6D3), (0x6D5, 0x6FF), (0x710, 0x7F6),
    (0x7FA, 0x963), (0x966, 0x96F), (0x971, 0xDF3), (0x10A0, 0x10FA), (0x10FC, 0x10FF), (0x1200, 0x135F),
    (0x1380, 0x13FF), (0x1C80, 0x1CBF), (0x1CD0, 0x1FBC), (0x1FC2, 0x1FCC), (0x1FD0, 0x1FDB), (0x1FE0, 0x1FEC),
    (0x1FF2, 0x1FFC), (0x2C00, 0x2CE4), (0x2D00, 0x2D6F), (0x2D80, 0x2DFF), (0xA640, 0xA672), (0xA674, 0xA67D),
    (0xA67F, 0xA6EF), (0xA722, 0xA7FF),
)  # fmt: skip
"""Code points that make words, first to last: alphabets that are written with spaces, marks and digits of theirs."""
_CASES = (
    (0x41, 0x5A, 1, 32), (0xC0, 0xD6, 1, 32), (0xD8, 0xDE, 1, 32), (0x100, 0x12E, 2, 1), (0x132, 0x136, 2, 1),
    (0x139, 0x147, 2, 1), (0x14A, 0x176, 2, 1), (0x178, 0x178, 1, -121), (0x179, 0x17D, 2, 1), (0x388, 0x38A, 1, 37),
    (0x386, 0x386, 1, 38), (0x38C, 0x38C, 1, 64), (0x38E, 0x38F, 1, 63), (0x391, 0x3A1, 1, 32), (0x3A3, 0x3AB, 1, 32),
    (0x3C2, 0x3C2, 1, 1), (0x400, 0x40F, 1, 80), (0x410, 0x42F, 1, 32), (0x460, 0x480, 2, 1), (0x48A, 0x4BE, 2, 1),
    (0x4C1, 0x4CD, 2, 1), (0x4D0, 0x52E, 2, 1), (0x531, 0x556, 1, 48), (0x1E00, 0x1E94, 2, 1), (0x1EA0, 0x1EFE, 2, 1),
)  # fmt: skip
"""Upper case first, last, step, and how far away the lower case is; the Greek final sigma is folded to sigma too."""


def _characters(ranges: tuple[tuple[int, int], ...]) -> str:
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


_LOWER = {upper: upper + offset for first, last, step, offset in _CASES for upper in range(first, last + 1, step)}
_TOKEN = re.compile(
    f"[{_characters(_WORDS)}]{{1,{MAXIMUM_TOKEN_CHARACTERS}}}|[^{_characters(_WORDS)}{_characters(_SPACES)}]"
)


def tokenise(text: bytes) -> list[str]:
    """Tokens of a text in their order.

    Raises: AttributionError(TEXT_TOO_LARGE | TEXT_NOT_UTF8 | TEXT_WITHOUT_TOKENS).
    """
    found = _TOKEN.findall(_fold(text))
    if not found:
        raise AttributionError(Reason.TEXT_WITHOUT_TOKENS)
    return found


def token_places(text: bytes) -> list[tuple[int, int]]:
    """Begin and end of each token, in characters of the decoded text. Raises: as `tokenise`."""
    return [match.span() for match in _TOKEN.finditer(_fold(text))]


def validate_text(text: bytes) -> None:
    """Raise unless a record or an answer may have these bytes. Raises: as `tokenise`."""
    if not _TOKEN.search(_fold(text)):
        raise AttributionError(Reason.TEXT_WITHOUT_TOKENS)


@cache
def tables_sha256() -> str:
    """Hash of the tables, code point by code point: what each is, S, W or O, and what it is folded to."""
    kinds = bytearray(b"O" * 0x110000)
    for mark, ranges in ((b"S", _SPACES), (b"W", _WORDS)):
        for first, last in ranges:
            kinds[first : last + 1] = mark * (last - first + 1)
    cases = b"".join(b"%d %d\n" % pair for pair in sorted(_LOWER.items()))
    return hashlib.sha256(bytes(kinds) + cases).hexdigest()


def _fold(text: bytes) -> str:
    if len(text) > MAXIMUM_TEXT_SIZE_BYTES:
        raise AttributionError(Reason.TEXT_TOO_LARGE, f"{len(text)} bytes, at most {MAXIMUM_TEXT_SIZE_BYTES}")
    if text.isascii():
        # bytes.lower knows the 26 letters of ASCII and no other: what the table says, sooner.
        return text.lower().decode("ascii")
    try:
        return text.decode("utf-8").translate(_LOWER)
    except UnicodeDecodeError as error:
        raise AttributionError(Reason.TEXT_NOT_UTF8, f"byte {error.start}") from None
