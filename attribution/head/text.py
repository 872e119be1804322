"""From text to features: the text encoder, which nobody chooses. Integers only; the tables are in `characters`.

1. Code points, small letters; a word is a longest run of code points that are no separators.
2. Tokens: each word, each pair of neighbouring words, and each run of 3, 4 and 5 code points of a word with a boundary
   before and after it. A token is a 48-bit hash, the same in every process: polynomial in 64 bits, then mixed.
3. Its weight: floor(16·log2((K + 1)/(df + 1))), where df counts those of the first K = min(n, 256) records of the
   snapshot that hold a token of the same 20-bit bucket; times the bit length of how often the text holds it.
4. Sparse ±1 projection: each token adds its weight, with a sign, to 4 of the dimensions, both read from its hash.
5. The sum is scaled to length 2**15 (8 in units; the root is an integer, so up to sqrt(2) of it for a sum of a few
   units) and clipped to ±32767; a last feature is the constant 1, the bias.

Bounds: a text of 2**16 bytes has fewer than 2**18.4 tokens, counted with repetition; each moves 4 dimensions by at most
2**7, so that their absolute sum is below 2**27.4 and the square of the length below 2**54.8. Sums that `bincount`
carries in float64 are exact. Hashes are meant modulo 2**64, which is what uint64 arrays do.

Shapes: n texts, D dimensions, d = D + 1 features, t tokens of a batch. Units: features 2**-12.

Sources: feature hashing: Weinberger et al., 2009; several signed slots for each token: Kane and Nelson, "Sparser
Johnson-Lindenstrauss transforms", 2014; the mixing: Steele et al., "Fast splittable pseudorandom number generators",
2014.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from attribution.exact import Int64, divide_half_up, isqrt
from attribution.head.characters import LOWER_LIMIT, SEPARATORS, lower_table
from attribution.head.encoder import ENCODER_RECORDS, FEATURE_BITS, FEATURE_MAXIMUM, Int16
from attribution.record import TextSchema, decode_text_query, decode_text_record

WEIGHT_STEPS = 16
"""Weights are in sixteenths of a bit."""
BUCKET_BITS = 20
TOKEN_BITS = 48
SLOTS = 4
LENGTH_BITS = 15
GRAM_SIZES = (3, 4, 5)
BOUNDARY = 0x20
MULTIPLIER = 0x9E3779B97F4A7C15
WORD_TAG, PAIR_TAG = 1, 2
"""What is added to a hash before it is mixed; that of a run of code points is its size."""

Uint64 = npt.NDArray[np.uint64]

_BATCH_CHARACTERS = 1 << 18
_BATCH_TEXTS = 1 << 12
_FIRST_FACTOR, _SECOND_FACTOR = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextEncoder:
    """What a snapshot's first records fix."""

    dimensions: int
    """D."""
    record_count: int
    """K."""
    weights: Int64
    """(2**20,): weight of a token by its bucket."""


def read_records(schema: TextSchema, blobs: Sequence[bytes]) -> tuple[Int64, list[str]]:
    """Labels and texts of records' bytes. Shapes: labels (n,). Raises: AttributionError, as `decode_text_record`."""
    records = [decode_text_record(schema, blob) for blob in blobs]
    return np.array([record.label for record in records], dtype=np.int64), [record.text for record in records]


def read_queries(schema: TextSchema, blobs: Sequence[bytes]) -> list[str]:
    """Texts of questions' bytes. Raises: AttributionError, as `decode_text_query`."""
    return [decode_text_query(schema, blob) for blob in blobs]


def derive(dimensions: int, texts: Sequence[str]) -> TextEncoder:
    """The encoder that a snapshot's texts fix."""
    first = texts[:ENCODER_RECORDS]
    frequency = np.zeros(1 << BUCKET_BITS, dtype=np.int64)
    for batch in _batches(first):
        texts_of, tokens, _ = _count(first[batch])
        seen = np.unique(texts_of << BUCKET_BITS | _bucket(tokens))
        frequency += np.bincount(seen & ((1 << BUCKET_BITS) - 1), minlength=1 << BUCKET_BITS)
    weights = np.array([rarity(len(first), count) for count in range(len(first) + 1)], dtype=np.int64)
    return TextEncoder(dimensions=dimensions, record_count=len(first), weights=weights[frequency])


def encode(encoder: TextEncoder, texts: Sequence[str]) -> Int16:
    """Features of texts, the bias last. Shapes: (n, d)."""
    features = np.empty((len(texts), encoder.dimensions + 1), dtype=np.int16)
    for batch in _batches(texts):
        features[batch, :-1] = _project(encoder, texts[batch])
    features[:, -1] = 1 << FEATURE_BITS
    return features


def rarity(records: int, frequency: int) -> int:
    """floor(16·log2((K + 1)/(df + 1))): the largest w with 2**w·(df + 1)**16 ≤ (K + 1)**16."""
    quotient: int = (records + 1) ** WEIGHT_STEPS // (frequency + 1) ** WEIGHT_STEPS
    return quotient.bit_length() - 1


def _project(encoder: TextEncoder, texts: Sequence[str]) -> Int64:
    """Features without the bias. Shapes: (n, D)."""
    texts_of, tokens, counts = _count(texts)
    bit_lengths = np.frexp(counts.astype(np.float64))[1].astype(np.int64)
    weights = encoder.weights[_bucket(tokens)] * bit_lengths
    random = _mix(tokens.astype(np.uint64)).astype(np.uint64)
    sums = np.zeros(len(texts) * encoder.dimensions)
    for slot in range(SLOTS):
        word = (random >> np.uint64(16 * slot)).astype(np.int64) & 0xFFFF
        place = ((word >> 1) * encoder.dimensions) >> 15
        signed = weights * (1 - 2 * (word & 1))
        sums += np.bincount(texts_of * encoder.dimensions + place, weights=signed, minlength=len(sums))
    vectors = sums.astype(np.int64).reshape(len(texts), -1)
    length = isqrt((vectors**2).sum(axis=1))
    scaled = divide_half_up(vectors << LENGTH_BITS, np.maximum(length, 1)[:, None])
    clipped: Int64 = np.clip(scaled, -FEATURE_MAXIMUM, FEATURE_MAXIMUM)
    return clipped


def _count(texts: Sequence[str]) -> tuple[Int64, Int64, Int64]:
    """The different tokens of each text, sorted, and how often it holds each.

    Shapes: text (t,), token (t,), count (t,).
    """
    texts_of, hashes = _tokens(texts)
    keys = np.sort(texts_of.astype(np.uint64) << np.uint64(TOKEN_BITS) | hashes >> np.uint64(64 - TOKEN_BITS))
    is_first = np.ones(len(keys), dtype=bool)
    is_first[1:] = keys[1:] != keys[:-1]
    starts = np.flatnonzero(is_first)
    counts = np.diff(starts, append=len(keys))
    different = keys[starts].astype(np.int64)  # below 2**60
    return different >> TOKEN_BITS, different & ((1 << TOKEN_BITS) - 1), counts


def _tokens(texts: Sequence[str]) -> tuple[Int64, Uint64]:
    """Every token of every text. Shapes: text (t,), hash (t,)."""
    # One stream with a boundary before, between and after the texts, so that nothing reaches from one into the next.
    stream = np.frombuffer((" " + " ".join(texts) + " ").encode("utf-32-le"), dtype="<u4").astype(np.int64)
    texts_of = np.zeros(len(stream), dtype=np.int64)
    texts_of[1:] = np.repeat(np.arange(len(texts)), [len(text) + 1 for text in texts])
    lower, edges = _tables()
    codes = np.where(stream < LOWER_LIMIT, lower[np.minimum(stream, LOWER_LIMIT - 1)], stream)
    # Ranges are half open at edges of even index: inside one is an odd number of edges below.
    is_word = np.searchsorted(edges, codes, side="right") % 2 == 0
    mixed = _mix(np.where(is_word, codes, BOUNDARY).astype(np.uint64))
    words_of, words = _words(texts_of, mixed, is_word)
    places, hashes = [words_of], [_mix(words + np.uint64(WORD_TAG))]
    is_pair = words_of[1:] == words_of[:-1]
    pairs = words[:-1] * np.uint64(MULTIPLIER) + words[1:] + np.uint64(PAIR_TAG)
    places.append(words_of[1:][is_pair])
    hashes.append(_mix(pairs[is_pair]))
    for size in GRAM_SIZES:
        count = max(len(codes) - size + 1, 0)
        inside = np.ones(count, dtype=bool)
        value = np.full(count, size, dtype=np.uint64)
        power = 1
        for offset in range(size):
            if 0 < offset < size - 1:
                inside &= is_word[offset : offset + count]
            value += mixed[offset : offset + count] * np.uint64(power)
            power = power * MULTIPLIER % (1 << 64)
        # The middle of a run is in a word, and so in the run's text.
        places.append(texts_of[1 : 1 + count][inside])
        hashes.append(_mix(value[inside]))
    return np.concatenate(places), np.concatenate(hashes)


def _words(texts_of: Int64, mixed: Uint64, is_word: npt.NDArray[np.bool_]) -> tuple[Int64, Uint64]:
    """Text and polynomial hash of each word. Shapes: stream, stream, stream -> (w,), (w,)."""
    is_start = is_word.copy()
    is_start[1:] &= ~is_word[:-1]
    starts = np.flatnonzero(is_start)
    if not len(starts):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)
    inside = np.flatnonzero(is_word)
    place = inside - np.repeat(starts, np.diff(np.searchsorted(inside, starts), append=len(inside)))
    powers = np.full(int(place.max()) + 1, MULTIPLIER, dtype=np.uint64)
    powers[0] = 1
    powers = np.cumprod(powers, dtype=np.uint64)
    words: Uint64 = np.add.reduceat(mixed[inside] * powers[place], np.searchsorted(inside, starts))
    return texts_of[starts], words


def _mix(value: Uint64) -> Uint64:
    """A permutation of 64 bits that leaves no trace of its argument's order."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(_FIRST_FACTOR)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(_SECOND_FACTOR)
    return value ^ (value >> np.uint64(31))


def _bucket(tokens: Int64) -> Int64:
    """The highest 20 of a token's 48 bits."""
    return tokens >> (TOKEN_BITS - BUCKET_BITS)


@cache
def _tables() -> tuple[Int64, Int64]:
    """Small forms, and the edges of the separators' ranges: first, last + 1, first, …"""
    edges = [edge for first, last in SEPARATORS for edge in (first, last + 1)]
    return np.array(lower_table(), dtype=np.int64), np.array(edges, dtype=np.int64)


def _batches(texts: Sequence[str]) -> Iterator[slice]:
    """Slices of few enough characters that what is computed on the way stays small; results do not depend on them."""
    start, characters = 0, 0
    for end, text in enumerate(texts):
        if end > start and (characters + len(text) > _BATCH_CHARACTERS or end - start == _BATCH_TEXTS):
            yield slice(start, end)
            start, characters = end, 0
        characters += len(text)
    if start < len(texts):
        yield slice(start, len(texts))
