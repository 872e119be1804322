"""JSON Lines: one object per line that is not blank. Standard library only.

Numbers are read as decimals, never as floats, so that 0.1 is one tenth.
"""

import json
from decimal import Decimal
from pathlib import Path

Row = dict[str, object]


class DataError(Exception):
    """The file cannot be used as it is; the message says where and what to do."""


def read_rows(path: Path) -> list[Row]:
    """Objects of a file. Raises: DataError."""
    return [row for _, row in read_numbered(path)]


def read_numbered(path: Path) -> list[tuple[int, Row]]:
    """Objects of a file, each with its line. Raises: DataError."""
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        if not line or line.isspace():
            continue
        try:
            row = json.loads(line, parse_float=Decimal, parse_int=Decimal)
        except (ValueError, ArithmeticError, RecursionError) as error:
            # Some of these are a name and no sentence.
            said = str(error) if isinstance(error, ValueError) else "a number too large or objects too deep"
            raise DataError(f"{path}, line {number}: not JSON ({said}); write one object per line") from None
        if not isinstance(row, dict):
            raise DataError(f'{path}, line {number}: not an object; write one such as {{"age": 31, "label": "yes"}}')
        rows.append((number, row))
    if not rows:
        raise DataError(f"{path}: no rows; write one JSON object per line")
    return rows


def read_lines(path: Path) -> list[str]:
    """Lines of a file of UTF-8 text, without a byte order mark. Raises: DataError."""
    lines = []
    for number, line in enumerate(read_bytes(path).removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            said = f"not UTF-8 text (byte {error.start + 1} of the line)"
            raise DataError(f"{path}, line {number}: {said}; save it as UTF-8") from None
    return lines


def read_bytes(path: Path) -> bytes:
    """All of a file. Raises: DataError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
