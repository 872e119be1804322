"""±1 projections by rule: SHA-256 in counter mode, so that nobody chooses a matrix and everybody has the same.

Row r is the first `columns` bits, most significant first, of the blocks

    SHA-256(tag ‖ r ‖ c),   c = 0, 1, …     r and c as u32, big-endian

and a bit b is the entry 1 - 2·b. A row is made without the rows before it.

Source: sign projections keep distances: Achlioptas, "Database-friendly random projections", 2003, theorem 1.1.
"""

import hashlib
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Int8: TypeAlias = npt.NDArray[np.int8]

_BLOCK_BITS = 256
_MOST_ROWS = 1 << 32


@lru_cache(maxsize=16)
def signs(tag: bytes, rows: int, columns: int) -> Int8:
    """The first rows of a projection, read-only, kept. Shapes: (rows, columns), entries 1 and -1."""
    matrix = sign_rows(tag, 0, rows, columns)
    matrix.setflags(write=False)
    return matrix


def stream_signs(tag: bytes, rows: int, columns: int, block_rows: int) -> Iterator[Int8]:
    """The same in blocks, none of them kept. Shapes: (at most block_rows, columns) each."""
    assert block_rows > 0
    for start in range(0, rows, block_rows):
        yield sign_rows(tag, start, min(block_rows, rows - start), columns)


def sign_rows(tag: bytes, first: int, count: int, columns: int) -> Int8:
    """Some rows of a projection. Shapes: (count, columns)."""
    assert min(first, count, columns) >= 0
    assert first + count <= _MOST_ROWS
    blocks = -(-columns // _BLOCK_BITS)
    data = b"".join(
        hashlib.sha256(tag + struct.pack(">II", row, block)).digest()
        for row in range(first, first + count)
        for block in range(blocks)
    )
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8)).reshape(count, blocks * _BLOCK_BITS)[:, :columns]
    return 1 - 2 * bits.astype(np.int8)


def signs_reference(tag: bytes, rows: int, columns: int) -> list[list[int]]:
    """`signs` in plain integers, a bit at a time."""
    return [[_sign(tag, row, column) for column in range(columns)] for row in range(rows)]


def _sign(tag: bytes, row: int, column: int) -> int:
    block = hashlib.sha256(tag + row.to_bytes(4, "big") + (column // _BLOCK_BITS).to_bytes(4, "big")).digest()
    return 1 - 2 * (int.from_bytes(block, "big") >> (_BLOCK_BITS - 1 - column % _BLOCK_BITS) & 1)
