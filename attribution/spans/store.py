"""Segments on disk: one file each, named by what it holds, mapped into memory, never believed.

A file is magic | counts of records, ids, tokens, token bytes u64 | the parts of `Segment` in their order, each at a
multiple of 8 bytes | SHA-256 of all that; numbers are little-endian. `load` checks the hash, so that a damaged file is
found, and then that every part fits the others, the suffix array in linear time, so that a file which a stranger made
cannot hide, repeat or misplace an occurrence. What only the records can tell, that the ids are those of their texts,
`segment.make_segment` decides: a node opens files that it wrote itself, and compares a stranger's with its own.

A file that is missing or wrong is no error: `open_index` builds it again. Nothing else is kept, so there is nothing
that could disagree with the files.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from attribution.content import HASH_SIZE_BYTES, Materials, encode_list
from attribution.errors import AttributionError, Reason
from attribution.spans.index import Index, balanced, grow
from attribution.spans.request import Snapshot
from attribution.spans.segment import Segment, validate_segment

_TAG = b"openledger/spans-segment/1"
_MAGIC = b"OLsegm1\n"
_HEAD = struct.Struct("<8s4Q")
_ALIGNMENT = 8
_SUFFIX = ".segment"


def open_index(folder: Path, snapshot: Snapshot, materials: Materials) -> Index:
    """The index of a snapshot from files of a folder; what is missing or wrong is built and saved.

    Raises: AttributionError, where the records' bytes are needed and are not there or are no text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = grow(balanced(_stored(folder, snapshot.records)), snapshot, materials)
    for segment in index.segments:
        save(folder, segment)
    return index


def remove_unused(folder: Path, indexes: Sequence[Index]) -> None:
    """Delete the files that none of some indexes has."""
    kept = {segment_name(segment) for index in indexes for segment in index.segments}
    for path in folder.glob(f"*{_SUFFIX}"):
        if path.stem not in kept:
            path.unlink(missing_ok=True)


def segment_name(segment: Segment) -> str:
    """Name of a segment's content: SHA-256 over the tag, its records' names and which of them are copies."""
    names = encode_list([row.tobytes() for row in segment.names])
    return hashlib.sha256(_TAG + names + bytes(segment.is_copy)).hexdigest()


def save(folder: Path, segment: Segment) -> Path:
    """Write a segment unless its file is there; a file appears whole or not at all."""
    path = folder / (segment_name(segment) + _SUFFIX)
    if path.exists():
        return path
    partial = path.with_suffix(".partial")
    digest = hashlib.sha256()
    with partial.open("wb") as file:
        for part in _encoded(segment):
            digest.update(part)
            file.write(part)
        file.write(digest.digest())
    return partial.replace(path)


def load(path: Path) -> Segment:
    """A segment of a file, mapped into memory. Raises: AttributionError(INDEX_MALFORMED)."""
    size_bytes = path.stat().st_size
    if size_bytes < _HEAD.size + HASH_SIZE_BYTES:
        raise AttributionError(Reason.INDEX_MALFORMED, f"{path.name}: cut off")
    data: npt.NDArray[np.uint8] = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    magic, *counts = _HEAD.unpack(data[: _HEAD.size].tobytes())
    if magic != _MAGIC:
        raise AttributionError(Reason.INDEX_MALFORMED, f"{path.name}: no segment")
    layout = _layout(*counts)
    end = _HEAD.size + sum(_aligned(length * dtype.itemsize) for length, dtype in layout)
    if end + HASH_SIZE_BYTES != size_bytes:
        raise AttributionError(Reason.INDEX_MALFORMED, f"{path.name}: {size_bytes} bytes, not {end + HASH_SIZE_BYTES}")
    if hashlib.sha256(data[:end].data).digest() != data[end:].tobytes():
        raise AttributionError(Reason.INDEX_MALFORMED, f"{path.name}: damaged")
    parts: dict[str, npt.NDArray[Any]] = {}
    place = _HEAD.size
    for field, (length, dtype) in zip(fields(Segment), layout, strict=True):
        width = length * dtype.itemsize
        parts[field.name] = data[place : place + width].view(dtype)
        place += _aligned(width)
    for name in ("names", "text_hashes"):
        parts[name] = parts[name].reshape(-1, HASH_SIZE_BYTES)
    segment = Segment(**parts)
    validate_segment(segment)
    return segment


def _stored(folder: Path, names: Sequence[bytes]) -> Index:
    """The longest run of usable files that begins with the first record."""
    candidates = {path: _peek(path) for path in sorted(folder.glob(f"*{_SUFFIX}"))}
    segments: list[Segment] = []
    seen: set[bytes] = set()
    done = 0
    while done < len(names):
        fitting = [
            (len(held), path)
            for path, held in candidates.items()
            if held and held == b"".join(names[done : done + len(held) // HASH_SIZE_BYTES])
        ]
        for _, path in sorted(fitting, reverse=True):
            try:
                segment, elder = load(path), set(seen)
                segment.validate_copies(elder)
            except AttributionError:
                path.unlink(missing_ok=True)  # damaged, or of another snapshot: it will be built again
                del candidates[path]
                continue
            segments.append(segment)
            seen = elder
            done += segment.record_count
            break
        else:
            break
    return Index(segments=tuple(segments))


def _peek(path: Path) -> bytes:
    """Names of the records that a file says it holds; nothing when it cannot be read."""
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or head[: len(_MAGIC)] != _MAGIC:
            return b""
        size_bytes = _HEAD.unpack(head)[1] * HASH_SIZE_BYTES
        return file.read(size_bytes) if size_bytes <= path.stat().st_size else b""


def _layout(records: int, ids: int, tokens: int, token_bytes: int) -> list[tuple[int, np.dtype[Any]]]:
    """Length and type of each part of a segment, in the order of its fields."""
    narrow = "<u2" if tokens < 1 << 16 else "<u4"
    lengths = (
        (HASH_SIZE_BYTES * records, "u1"), (HASH_SIZE_BYTES * records, "u1"), (records, "<u4"), (tokens, "<u8"),
        (tokens + 1, "<u4"), (tokens, "<u4"), (tokens + 1, "<u4"), (ids, narrow), (ids, "<u4"), (token_bytes, "u1"),
    )  # fmt: skip
    return [(length, np.dtype(dtype)) for length, dtype in lengths]


def _encoded(segment: Segment) -> Iterator[bytes]:
    counts = (segment.record_count, len(segment.ids), len(segment.by_rank), len(segment.token_bytes))
    yield _HEAD.pack(_MAGIC, *counts)
    for field, (_, dtype) in zip(fields(Segment), _layout(*counts), strict=True):
        data = getattr(segment, field.name).astype(dtype, copy=False).tobytes()
        yield data + bytes(_aligned(len(data)) - len(data))


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNMENT) * _ALIGNMENT
