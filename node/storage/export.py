"""A state's values in one file: what a chain that continues another one begins with.

The file proves nothing by itself: whoever reads it hashes the values and compares the root.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from node.errors import StorageError

MAGIC = b"OLSTATE1"
SIZES = struct.Struct(">II")
LONGEST_KEY_BYTES = 1_024
LARGEST_VALUE_SIZE_BYTES = 2**24


def write_values(path: Path, values: Iterable[tuple[bytes, bytes]]) -> int:
    """Writes keys and values, sorted by key, to a new file; returns how many. Raises: StorageError."""
    count = 0
    try:
        with path.open("xb") as file:
            file.write(MAGIC)
            for key, value in values:
                file.write(SIZES.pack(len(key), len(value)) + key + value)
                count += 1
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}. It must not exist, and the disk needs room.") from error
    return count


def read_values(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values in the order of keys. Raises: StorageError."""
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise StorageError(f"{path} is no state file of this program")
            last = b""
            while (entry := _read_entry(path, file)) is not None:
                if entry[0] <= last:
                    raise StorageError(f"{path} is damaged: its keys are not in order. Copy it again.")
                last = entry[0]
                yield entry
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}. It comes with the genesis file.") from error


def _read_entry(path: Path, file: BinaryIO) -> tuple[bytes, bytes] | None:
    header = file.read(SIZES.size)
    if not header:
        return None
    if len(header) < SIZES.size:
        raise StorageError(f"{path} is cut short. Copy it again.")
    key_size, value_size = SIZES.unpack(header)
    if not 1 <= key_size <= LONGEST_KEY_BYTES or value_size > LARGEST_VALUE_SIZE_BYTES:
        raise StorageError(f"{path} is damaged: a key or value has no possible size. Copy it again.")
    key, value = file.read(key_size), file.read(value_size)
    if len(key) < key_size or len(value) < value_size:
        raise StorageError(f"{path} is cut short. Copy it again.")
    return key, value
