"""A segment: some neighbouring records of a snapshot as ids, their suffix array, and the vocabulary of the ids.

A segment is a function of its records and of which of them are copies, so merging two gives the very bytes that
building from all their texts gives. Ids are dense: 0 is the separator behind each record, then tokens by descending
count, equals by ascending UTF-8, so that frequent tokens have short codes. A record whose tokens equal those of an
elder record is a copy: it stands here empty, so that it can neither earn, nor be counted, nor make its text common.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import count, pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from attribution.errors import AttributionError, Reason
from attribution.spans.search import UNKNOWN, Haystack, Int64
from attribution.spans.sorting import Integers, UInt32, suffix_array, validate_suffix_array
from attribution.spans.tokens import tokenise

UInt8: TypeAlias = npt.NDArray[np.uint8]
UInt64: TypeAlias = npt.NDArray[np.uint64]

HASH_SIZE_BYTES = 32
_KEY_SIZE_BYTES = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """Shapes: r records, n ids with the separators, v tokens of the vocabulary, t bytes of them."""

    names: UInt8
    """(r, 32): content hashes of the records."""
    text_hashes: UInt8
    """(r, 32): SHA-256 of each record's tokens with a line break between them."""
    starts: UInt32
    """(r,): where each record begins among the ids."""
    keys: UInt64
    """(v,): the first eight bytes of each token in byte order, as a big-endian number."""
    offsets: UInt32
    """(v + 1,): where each token begins in `token_bytes`, in byte order."""
    by_rank: UInt32
    """(v,): id of each token, in byte order."""
    counts: UInt32
    """(v + 1,): how often each id stands here."""
    ids: Integers
    """(n,): tokens and separators, 16 bits each where the vocabulary allows it."""
    array: UInt32
    """(n,): the suffix array of `ids`."""
    token_bytes: UInt8
    """(t,): the vocabulary in byte order."""

    @property
    def record_count(self) -> int:
        """Records, copies included."""
        return len(self.starts)

    @property
    def token_count(self) -> int:
        """Tokens, separators excluded."""
        return len(self.ids) - len(self.starts)

    @cached_property
    def haystack(self) -> Haystack:
        """What the search reads."""
        buckets = np.concatenate(([0], np.cumsum(self.counts, dtype=np.int64)))
        return Haystack(ids=self.ids, array=self.array, buckets=buckets)

    @property
    def is_copy(self) -> list[bool]:
        """Whether each record is a copy of an elder one: every text has a token, so an empty record is one."""
        lengths = np.diff(np.append(self.starts, len(self.ids)))
        return [length == 1 for length in lengths.tolist()]

    def size_bytes(self) -> int:
        """Memory or disk that it takes."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def look_up(self, tokens: Sequence[str]) -> Int64:
        """Id of each token, UNKNOWN where the segment does not hold it. Shapes: (m,)."""
        distinct = {token: token.encode() for token in tokens}
        keys = np.array([_key(data) for data in distinct.values()], dtype=np.uint64)
        low = np.searchsorted(self.keys, keys, side="left").tolist()
        high = np.searchsorted(self.keys, keys, side="right").tolist()
        found = {
            token: self._find(data, first, last)
            for (token, data), first, last in zip(distinct.items(), low, high, strict=True)
        }
        return np.array([found[token] for token in tokens], dtype=np.int64)

    def _find(self, token: bytes, low: int, high: int) -> int:
        while low < high:
            middle = (low + high) // 2
            there = self.token(middle)
            if there == token:
                return int(self.by_rank[middle])
            low, high = (middle + 1, high) if there < token else (low, middle)
        return UNKNOWN

    def token(self, rank: int) -> bytes:
        """A token of the vocabulary by its rank in byte order."""
        return self.token_bytes[self.offsets[rank] : self.offsets[rank + 1]].tobytes()

    def validate_copies(self, seen: set[bytes]) -> None:
        """Raise unless exactly the records whose tokens stand before are copies; adds this segment's to `seen`.

        Raises: AttributionError(INDEX_MALFORMED).
        """
        for text_hash, is_copy in zip(self.text_hashes, self.is_copy, strict=True):
            if is_copy != (text_hash.tobytes() in seen):
                raise AttributionError(Reason.INDEX_MALFORMED, "the segment belongs to another snapshot")
            seen.add(text_hash.tobytes())


def make_segment(names: Sequence[bytes], texts: Sequence[bytes], seen: set[bytes]) -> Segment:
    """Segment of some records; `seen` holds the hashes of all elder texts and gets those of these.

    Raises: AttributionError, as `tokenise`.
    """
    # A token met for the first time gets the next number.
    numbers: defaultdict[str, int] = defaultdict(count(1).__next__)
    text_hashes, parts = [], []
    for text in texts:
        tokens = tokenise(text)
        text_hash = hashlib.sha256("\n".join(tokens).encode()).digest()
        kept = [] if text_hash in seen else tokens
        part = np.zeros(len(kept) + 1, dtype=np.uint32)
        part[: len(kept)] = np.fromiter(map(numbers.__getitem__, kept), dtype=np.uint32, count=len(kept))
        parts.append(part)
        text_hashes.append(text_hash)
        seen.add(text_hash)
    return _assemble(_rows(names), _rows(text_hashes), [len(part) for part in parts], list(numbers), _joined(parts))


def merge(segments: Sequence[Segment]) -> Segment:
    """The segment of neighbouring segments' records."""
    numbers: defaultdict[str, int] = defaultdict(count(1).__next__)
    parts, lengths = [], []
    for segment in segments:
        new = np.zeros(len(segment.counts), dtype=np.uint32)
        for rank, number in enumerate(segment.by_rank.tolist()):
            new[number] = numbers[segment.token(rank).decode()]
        parts.append(new[segment.ids])
        lengths += np.diff(np.append(segment.starts, len(segment.ids))).tolist()
    names = np.concatenate([segment.names for segment in segments])
    text_hashes = np.concatenate([segment.text_hashes for segment in segments])
    return _assemble(names, text_hashes, lengths, list(numbers), _joined(parts))


def _assemble(names: UInt8, text_hashes: UInt8, lengths: list[int], tokens: list[str], numbered: UInt32) -> Segment:
    """The segment of ids that are numbered as their tokens stand in `tokens`, from 1."""
    count_of = np.bincount(numbered, minlength=len(tokens) + 1)
    # The order of Python's strings is that of their code points, and so of their UTF-8.
    by_bytes = sorted(range(len(tokens)), key=tokens.__getitem__)
    ranked = np.array(by_bytes, dtype=np.int64)
    by_count = ranked[np.argsort(-count_of[1:][ranked], kind="stable")]
    new = np.zeros(len(tokens) + 1, dtype=np.uint32)
    new[by_count + 1] = np.arange(1, len(tokens) + 1, dtype=np.uint32)
    ids: Integers = new[numbered].astype(np.uint16 if len(tokens) < 1 << 16 else np.uint32)
    encoded = [tokens[index].encode() for index in by_bytes]
    return Segment(
        names=names,
        text_hashes=text_hashes,
        starts=(np.cumsum(lengths) - lengths).astype(np.uint32),
        keys=np.array([_key(token) for token in encoded], dtype=np.uint64),
        offsets=np.cumsum([0, *map(len, encoded)]).astype(np.uint32),
        by_rank=new[1:][ranked],
        counts=np.concatenate((count_of[:1], count_of[1:][by_count])).astype(np.uint32),
        ids=ids,
        array=suffix_array(ids),
        token_bytes=np.frombuffer(b"".join(encoded), dtype=np.uint8),
    )


def validate_segment(segment: Segment) -> None:
    """Raise unless every part fits the others: what a search relies on, in linear time.

    That the ids are those of the named texts only the texts can tell: `make_segment` again, and compare.

    Raises: AttributionError(INDEX_MALFORMED).
    """
    tokens = [segment.token(rank) for rank in range(len(segment.by_rank))]
    separators = np.flatnonzero(segment.ids == 0)
    ends = np.append(segment.starts[1:], len(segment.ids)).astype(np.int64) - 1
    claims = {
        "a vocabulary": all(first < second for first, second in pairwise(tokens)),
        "keys": segment.keys.tolist() == [_key(token) for token in tokens],
        "numbers of tokens": bool((np.sort(segment.by_rank) == np.arange(1, len(tokens) + 1)).all()),
        "separators": len(segment.starts) > 0 and int(segment.starts[0]) == 0 and np.array_equal(separators, ends),
        "counts": int(segment.ids.max(initial=0)) <= len(tokens)
        and np.array_equal(np.bincount(segment.ids, minlength=len(tokens) + 1), segment.counts),
    }
    for part, holds in claims.items():
        if not holds:
            raise AttributionError(Reason.INDEX_MALFORMED, f"{part} of another text")
    validate_suffix_array(segment.ids, segment.array)


def _rows(hashes: Sequence[bytes]) -> UInt8:
    return np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(len(hashes), HASH_SIZE_BYTES)


def _joined(parts: Sequence[UInt32]) -> UInt32:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint32)


def _key(token: bytes) -> int:
    return int.from_bytes(token[:_KEY_SIZE_BYTES].ljust(_KEY_SIZE_BYTES, b"\0"), "big")
