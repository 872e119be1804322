"""The text encoder's own tables: small letters, and what stands between words. Standard library only.

Neither follows the Unicode version of whoever runs this: a letter that these tables do not know is itself, and every
code point that is not named as a separator here is part of a word. Nothing is composed or decomposed.
"""

import hashlib

LOWER_LIMIT = 0x590
"""Code points from here on have no small form here."""
TABLES_SHA256 = "63753d873ddadcdeafc79ca619bec51d81d988bb0dec5c4fa51ce73dfd727810"

_OFFSETS = (
    # first, last, step, distance to the small letter
    (0x41, 0x5A, 1, 32),  # A to Z
    (0xC0, 0xD6, 1, 32),  # Latin-1, without the multiplication sign
    (0xD8, 0xDE, 1, 32),
    (0x100, 0x12E, 2, 1),  # Latin Extended-A: capital and small alternate
    (0x132, 0x136, 2, 1),
    (0x139, 0x147, 2, 1),
    (0x14A, 0x176, 2, 1),
    (0x178, 0x178, 1, 0xFF - 0x178),
    (0x179, 0x17D, 2, 1),
    (0x130, 0x130, 1, 0x69 - 0x130),  # the dotted capital I
    (0x391, 0x3A1, 1, 32),  # Greek
    (0x3A3, 0x3AB, 1, 32),
    (0x400, 0x40F, 1, 80),  # Cyrillic
    (0x410, 0x42F, 1, 32),
    (0x531, 0x556, 1, 48),  # Armenian
)
SEPARATORS = (
    (0x0, 0x2F),  # controls, space, ASCII punctuation, between them no digit and no letter
    (0x3A, 0x40),
    (0x5B, 0x60),
    (0x7B, 0xA9),
    (0xAB, 0xB1),  # Latin-1 signs, without the ordinals, the small digits and the micro sign
    (0xB4, 0xB4),
    (0xB6, 0xB8),
    (0xBB, 0xBF),
    (0xD7, 0xD7),
    (0xF7, 0xF7),
    (0x1680, 0x1680),
    (0x2000, 0x200B),  # spaces; joiners belong to words
    (0x200E, 0x206F),
    (0x20A0, 0x20CF),  # currencies
    (0x2190, 0x2BFF),  # arrows, operators, box drawing, symbols
    (0x2E00, 0x2E7F),
    (0x3000, 0x3004),  # CJK punctuation, without the iteration marks
    (0x3008, 0x3020),
    (0x3030, 0x3030),
    (0xFE10, 0xFE1F),
    (0xFE30, 0xFE6F),
    (0xFEFF, 0xFEFF),
    (0xFF00, 0xFF0F),  # full-width punctuation
    (0xFF1A, 0xFF20),
    (0xFF3B, 0xFF40),
    (0xFF5B, 0xFF65),
    (0xFFF0, 0xFFFF),
)
"""First and last code point of each range, in order."""


def lower_table() -> tuple[int, ...]:
    """The small form of each code point below LOWER_LIMIT."""
    table = list(range(LOWER_LIMIT))
    for first, last, step, distance in _OFFSETS:
        for code in range(first, last + 1, step):
            table[code] = code + distance
    return tuple(table)


def tables_sha256() -> str:
    """Hash of both tables, 4 bytes a code point, big-endian: the small forms, then the ranges."""
    codes = [*lower_table(), *(code for pair in SEPARATORS for code in pair)]
    return hashlib.sha256(b"".join(code.to_bytes(4, "big") for code in codes)).hexdigest()
