"""What can be asked of retrieval/1, and what it answers: immutable values with canonical bytes and ids.

Standard library only. Integers are big-endian, `list` is a u32 count and then the items:

    Index             engine size u8, engine ASCII | dimensions u16 | top u16 | embeddings hash | list of record hashes
    RetrievalRequest  Index | list of query hashes

    RetrievalResult   list of Retrieved
    Retrieved         list of positions u32 | cutoff u32 | scale u32 | list of (position u32, credit u32)

Embeddings are one blob: a row of `dimensions` signed bytes for each record, in the order of the records. A query is
one such row. They come from an encoder outside; what is checked is everything after it.
"""

import hashlib
import struct
from dataclasses import dataclass

from attribution.content import encode_list, validate_hashes
from attribution.errors import AttributionError, Reason

ENGINE_RETRIEVAL = "retrieval/1"

MAXIMUM_DIMENSIONS = 1 << 12
MAXIMUM_TOP = 1 << 6
MAXIMUM_RECORDS = 1 << 20
MAXIMUM_EMBEDDINGS_SIZE_BYTES = 1 << 30
MAXIMUM_QUERIES = 1 << 8
MAXIMUM_INFLUENCE = 1000

_REQUEST_TAG = b"openledger/retrieval-request/1"
_CREDITS_TAG = b"openledger/credits/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What is searched."""

    engine: str
    """Name and version of the arithmetic."""
    dimensions: int
    """Signed bytes in an embedding."""
    top: int
    """k: how many different embeddings an answer names."""
    embeddings: bytes
    """Content hash of the records' embeddings."""
    records: tuple[bytes, ...]
    """Content hashes of the records, in the order of the embeddings."""

    def __post_init__(self) -> None:
        if self.engine != ENGINE_RETRIEVAL:
            raise AttributionError(Reason.ENGINE_UNKNOWN, f"{self.engine!r}, not {ENGINE_RETRIEVAL}")
        _validate_range("dimensions", self.dimensions, MAXIMUM_DIMENSIONS)
        _validate_range("top", self.top, MAXIMUM_TOP)
        if not self.records:
            raise AttributionError(Reason.NO_RECORDS)
        most = min(MAXIMUM_RECORDS, MAXIMUM_EMBEDDINGS_SIZE_BYTES // self.dimensions)
        if len(self.records) > most:
            raise AttributionError(Reason.TOO_MANY_RECORDS, f"{len(self.records)}, at most {most}")
        validate_hashes((self.embeddings, *self.records))

    @property
    def embeddings_size_bytes(self) -> int:
        """Size of the embeddings' bytes."""
        return self.dimensions * len(self.records)

    def encode(self) -> bytes:
        """Canonical bytes."""
        engine = self.engine.encode("ascii")
        head = bytes([len(engine)]) + engine + struct.pack(">HH", self.dimensions, self.top)
        return head + self.embeddings + encode_list(self.records)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalRequest:
    """Which records does the index answer with, and how much is each worth?"""

    index: Index
    """What is searched."""
    queries: tuple[bytes, ...]
    """Content hashes of the questions' embeddings."""

    def __post_init__(self) -> None:
        if not self.queries:
            raise AttributionError(Reason.NO_QUESTIONS)
        if len(self.queries) > MAXIMUM_QUERIES:
            raise AttributionError(Reason.TOO_MANY_QUESTIONS, f"{len(self.queries)}, at most {MAXIMUM_QUERIES}")
        validate_hashes(self.queries)

    def request_id(self) -> bytes:
        """SHA-256 over the tag and the canonical bytes."""
        return hashlib.sha256(_REQUEST_TAG + self.index.encode() + encode_list(self.queries)).digest()

    def multiply_accumulates(self) -> int:
        """Work when nothing is prepared: the norms, and a product with every embedding for each question."""
        return self.index.embeddings_size_bytes * (1 + len(self.queries))

    def material_hashes(self) -> tuple[bytes, ...]:
        """Names of the bytes that the computation reads: embeddings and questions, not the records themselves."""
        return (self.index.embeddings, *self.queries)

    def subject_hashes(self) -> tuple[bytes, ...]:
        """Of these, what a runner may have kept prepared: the embeddings."""
        return (self.index.embeddings,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """What was found for one question."""

    answer: tuple[int, ...]
    """Positions of the records that are named: most similar first, one for each embedding, at most k."""
    cutoff: int
    """Similarity of the next embedding that was not retrieved; 0 if there is none or it is negative."""
    scale: int
    """What similarity the longest embedding could have with the question: 1000 of relative influence."""
    credits: tuple[tuple[int, int], ...]
    """Position and similarity above the cutoff, by position; records without credit are left out."""

    def encode(self) -> bytes:
        """Canonical bytes."""
        parts = [struct.pack(">I", len(self.answer)), *(struct.pack(">I", position) for position in self.answer)]
        parts.append(struct.pack(">III", self.cutoff, self.scale, len(self.credits)))
        parts += [struct.pack(">II", position, credit) for position, credit in self.credits]
        return b"".join(parts)

    def values(self, records: int) -> tuple[int, ...]:
        """Relative influence of every record: floor(1000·credit / scale), 0 to 1000, and 0 without credit."""
        relative = [0] * records
        for position, credit in self.credits:
            relative[position] = MAXIMUM_INFLUENCE * credit // self.scale
        return tuple(relative)

    def credits_hash(self) -> bytes:
        """SHA-256 over the tag and the canonical bytes."""
        return hashlib.sha256(_CREDITS_TAG + self.encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalResult:
    """One for each question, in order."""

    answers: tuple[Retrieved, ...]
    """In the order of the queries."""

    def encode(self) -> bytes:
        """Canonical bytes."""
        return struct.pack(">I", len(self.answers)) + b"".join(answer.encode() for answer in self.answers)


def _validate_range(name: str, value: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise AttributionError(Reason.INDEX_MALFORMED, f"{name}: {value} is not in 1 to {most}")
