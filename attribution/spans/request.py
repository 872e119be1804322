"""What can be asked of spans/1, and what it answers: immutable values with canonical bytes, ids and a cost.

Standard library only. Integers are big-endian, `list` is a u32 count and then the items:

    Snapshot      engine size u8, engine ASCII | list of record hashes | list of sizes u32 | list of owners u32
    SpansRequest  Snapshot | list of Text;     Text   hash | size u32 | tokens u32

    SpansResult   list of Attributed
    Attributed    token count u32 | list of Span | list of (record u32, credit u32) | commons u32
    Span          begin u32 | length u32 | own begin u32 | own length u32 | count u32 | owners u8
                  | record i32 | weight u32

A request's id is SHA-256 over its tag and these bytes. Identities never enter: owners are numbers in the order of their
first records, so that renaming them gives the same request.
"""

import hashlib
import struct
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from attribution.content import encode_list, validate_hashes
from attribution.errors import AttributionError, Reason

ENGINE_SPANS = "spans/1"

TABLES_SHA256 = "fce1a264e452efbcadf1cfbe867f0b97dcda944efc2241d8d8ed7c2b77798247"
"""Pinned hash of the tokeniser's tables."""
MINIMUM_SPAN_TOKENS = 8
"""Shorter matches are chance."""
MAXIMUM_OWNERS = 8
"""A span that more owners hold is common knowledge."""
MAXIMUM_OCCURRENCES = 2000
"""A span that stands more often is common knowledge."""
COMMON = -1
"""The record of a span that is common knowledge: none."""

MAXIMUM_TEXT_SIZE_BYTES = 1 << 24
MAXIMUM_SNAPSHOT_SIZE_BYTES = 1 << 28
MAXIMUM_RECORDS = 1 << 20
MAXIMUM_ANSWER_TOKENS = 1 << 12
MAXIMUM_ANSWERS = 1 << 8

_REQUEST_TAG = b"openledger/spans-request/1"
_RESULT_TAG = b"openledger/spans-result/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The texts of a datanet, eldest first: an earlier place is seniority."""

    engine: str
    """Name and version of the arithmetic."""
    records: tuple[bytes, ...]
    """Content hashes."""
    sizes: tuple[int, ...]
    """Size of each record, so that the cost is known before anything is read. Units: bytes."""
    owners: tuple[int, ...]
    """Owner of each record: numbers in the order of the owners' first records."""

    def __post_init__(self) -> None:
        if self.engine != ENGINE_SPANS:
            raise AttributionError(Reason.ENGINE_UNKNOWN, f"{self.engine!r}, not {ENGINE_SPANS}")
        if not self.records:
            raise AttributionError(Reason.NO_RECORDS)
        if len(self.records) > MAXIMUM_RECORDS:
            raise AttributionError(Reason.TOO_MANY_RECORDS, f"{len(self.records)}, at most {MAXIMUM_RECORDS}")
        validate_hashes(self.records)
        counts = (len(self.records), len(self.sizes), len(self.owners))
        if len(set(counts)) != 1:
            raise AttributionError(Reason.SNAPSHOT_MALFORMED, "{} records, {} sizes, {} owners".format(*counts))
        for size_bytes in self.sizes:
            _validate_size(size_bytes)
        if self.size_bytes > MAXIMUM_SNAPSHOT_SIZE_BYTES:
            detail = f"{self.size_bytes} bytes, at most {MAXIMUM_SNAPSHOT_SIZE_BYTES}"
            raise AttributionError(Reason.SNAPSHOT_TOO_LARGE, detail)
        if any(type(owner) is not int for owner in self.owners) or number_owners(self.owners) != self.owners:
            raise AttributionError(Reason.OWNERS_NOT_CANONICAL)

    @property
    def size_bytes(self) -> int:
        """Size of all records together."""
        return sum(self.sizes)

    @property
    def maximum_tokens(self) -> int:
        """Upper bound of the tokens with a separator behind each record: a token has at least one byte."""
        return self.size_bytes + len(self.records)

    def encode(self) -> bytes:
        """Canonical bytes."""
        engine, count = self.engine.encode("ascii"), len(self.records)
        head = bytes([len(engine)]) + engine + encode_list(self.records)
        return head + b"".join(struct.pack(f">I{count}I", count, *part) for part in (self.sizes, self.owners))


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A generated text, named; what it states is checked against its bytes."""

    name: bytes
    """Content hash."""
    size_bytes: int
    """Size of the bytes."""
    tokens: int
    """Number of tokens: the cost depends on it."""

    def __post_init__(self) -> None:
        validate_hashes((self.name,))
        _validate_size(self.size_bytes)
        if type(self.tokens) is not int or not 1 <= self.tokens <= self.size_bytes:
            raise AttributionError(Reason.TOKENS_MISCOUNTED, f"{self.tokens} tokens in {self.size_bytes} bytes")
        if self.tokens > MAXIMUM_ANSWER_TOKENS:
            raise AttributionError(Reason.TOO_MANY_TOKENS, f"{self.tokens}, at most {MAXIMUM_ANSWER_TOKENS}")

    def encode(self) -> bytes:
        """Canonical bytes."""
        return self.name + struct.pack(">II", self.size_bytes, self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpansRequest:
    """Which records hold the passages that these texts are made of?"""

    snapshot: Snapshot
    """Where to look."""
    answers: tuple[Text, ...]
    """Texts that a language model wrote."""

    def __post_init__(self) -> None:
        if not self.answers:
            raise AttributionError(Reason.NO_QUESTIONS)
        if len(self.answers) > MAXIMUM_ANSWERS:
            raise AttributionError(Reason.TOO_MANY_QUESTIONS, f"{len(self.answers)}, at most {MAXIMUM_ANSWERS}")

    def encode(self) -> bytes:
        """Canonical bytes."""
        count = struct.pack(">I", len(self.answers))
        return self.snapshot.encode() + count + b"".join(answer.encode() for answer in self.answers)

    def request_id(self) -> bytes:
        """SHA-256 over the tag and the canonical bytes."""
        return hashlib.sha256(_REQUEST_TAG + self.encode()).digest()

    def multiply_accumulates(self) -> int:
        """Work when nothing is prepared, in steps: the index and every answer."""
        size_bytes = sum(answer.size_bytes for answer in self.answers)
        work = index_work(self.snapshot.maximum_tokens) + size_bytes
        return work + sum(search_work(self.snapshot.maximum_tokens, answer.tokens) for answer in self.answers)

    def material_hashes(self) -> tuple[bytes, ...]:
        """Names of the bytes that the computation reads."""
        return (*self.snapshot.records, *(answer.name for answer in self.answers))

    def subject_hashes(self) -> tuple[bytes, ...]:
        """Of these, what a runner may have kept prepared: the snapshot's."""
        return self.snapshot.records


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A passage of the answer that stands in the datanet and can be made longer on neither side."""

    begin: int
    """Its first token in the answer."""
    length: int
    """Its tokens."""
    own_begin: int
    """First of the tokens that belong to it and not to a longer span, or an equally long one further left."""
    own_length: int
    """How many they are, at least one."""
    count: int
    """How often it stands in the datanet."""
    owners: int
    """How many owners' records hold it, at most 9, and 0 where it stands too often to be counted."""
    record: int
    """Place of the eldest record that holds it; COMMON when it is common knowledge."""
    weight: int
    """Rarity of its own tokens. Units: bits."""

    def encode(self) -> bytes:
        """Canonical bytes."""
        numbers = (self.begin, self.length, self.own_begin, self.own_length, self.count)
        return struct.pack(">5IBiI", *numbers, self.owners, self.record, self.weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """Where one text comes from. Credits and commons are together the weight of all of its tokens."""

    token_count: int
    """Tokens of the text."""
    spans: tuple[Span, ...]
    """Spans that own a token, from left to right."""
    credits: tuple[tuple[int, int], ...]
    """(record, sum of its spans' weights) by ascending record, credits above 0 only. Units: bits."""
    commons: int
    """Weight of all other tokens: in no span, or common knowledge. Units: bits."""

    @property
    def total(self) -> int:
        """Weight of all tokens. Units: bits."""
        return self.commons + sum(credit for _, credit in self.credits)

    def relative(self) -> tuple[tuple[int, int], ...]:
        """(record, its share of the text in 1/1000, toward zero): what payments are made from."""
        return tuple((record, 1000 * credit // self.total) for record, credit in self.credits)

    def encode(self) -> bytes:
        """Canonical bytes."""
        spans = struct.pack(">II", self.token_count, len(self.spans)) + b"".join(span.encode() for span in self.spans)
        pairs = b"".join(struct.pack(">II", *pair) for pair in self.credits)
        return spans + struct.pack(">I", len(self.credits)) + pairs + struct.pack(">I", self.commons)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpansResult:
    """The texts in the request's order."""

    answers: tuple[Attributed, ...]
    """One for each text."""

    def encode(self) -> bytes:
        """Canonical bytes."""
        return struct.pack(">I", len(self.answers)) + b"".join(answer.encode() for answer in self.answers)

    def result_hash(self) -> bytes:
        """Commitment: SHA-256 over the tag and the canonical bytes."""
        return hashlib.sha256(_RESULT_TAG + self.encode()).digest()


def number_owners(names: Iterable[Hashable]) -> tuple[int, ...]:
    """Owners as a snapshot states them: each a number, in the order of first records."""
    numbers: dict[Hashable, int] = {}
    return tuple(numbers.setdefault(name, len(numbers)) for name in names)


def search_work(tokens: int, answer_tokens: int) -> int:
    """Upper bound of the steps of one answer of m tokens in an index of at most n, whatever the tokens are.

    A step reads one id. Segments at least halve (`index.grow`), so their binary searches together have at most
    b·(b + 1)/2 comparisons a place, b = bit_length(n); a comparison reads less than 2·(m + 1) + 8 ids; there are three
    searches: the longest match of m places, and two bounds of at most m spans. Each span is painted over at most m
    tokens. Reading which records hold a span takes at most 2,000 places, and each is found among the records by a
    binary search.
    """
    bits = tokens.bit_length()
    comparisons = 3 * answer_tokens * (bits * (bits + 1) // 2)
    reading = MAXIMUM_OCCURRENCES * bits
    return comparisons * (2 * answer_tokens + 10) + answer_tokens * (answer_tokens + reading)


def index_work(tokens: int) -> int:
    """Upper bound of the steps of building an index of n tokens: log2(n) + 1 sorts of n keys, n·log2(n) steps each."""
    return tokens * (tokens.bit_length() + 1) ** 2


def _validate_size(size_bytes: int) -> None:
    if type(size_bytes) is not int or not 1 <= size_bytes <= MAXIMUM_TEXT_SIZE_BYTES:
        raise AttributionError(Reason.TEXT_TOO_LARGE, f"{size_bytes} bytes, not in 1 to {MAXIMUM_TEXT_SIZE_BYTES}")
