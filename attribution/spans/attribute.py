"""What validators run: a request and the bytes it names go in, a result goes out, equal to the last bit everywhere.

`prepare` builds the index, once, so that a worker can keep it for every later question; `compute` gives the same result
with and without it, and with any index of the same records. Integers only; nothing is rounded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from attribution.content import Materials
from attribution.errors import AttributionError, Reason
from attribution.spans.index import Index, grow, read_text
from attribution.spans.request import (
    COMMON,
    MAXIMUM_ANSWER_TOKENS,
    MAXIMUM_OCCURRENCES,
    MAXIMUM_OWNERS,
    MINIMUM_SPAN_TOKENS,
    Attributed,
    Snapshot,
    Span,
    SpansRequest,
    SpansResult,
    Text,
)
from attribution.spans.search import UNKNOWN, Cost, Int64, intervals, longest_matches
from attribution.spans.tokens import tokenise


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A snapshot ready to be searched."""

    snapshot: Snapshot
    """The snapshot that all this belongs to."""
    index: Index
    """Its records."""
    owners: Int64
    """(r,): owner of each record."""

    def size_bytes(self) -> int:
        """Memory that keeping it takes."""
        return self.index.size_bytes() + self.owners.nbytes


def prepare(snapshot: Snapshot, materials: Materials, index: Index | None = None) -> Prepared:
    """What every question to a snapshot needs; an index of its first records is continued. Raises: AttributionError."""
    grown = grow(index or Index(), snapshot, materials)
    return Prepared(snapshot=snapshot, index=grown, owners=np.array(snapshot.owners, dtype=np.int64))


def compute(request: SpansRequest, materials: Materials, prepared: Prepared | None = None) -> SpansResult:
    """The result of a request: a pure function of it, given bytes that match the hashes it names.

    With `prepared`, only the answers' bytes are read.

    Raises: AttributionError.
    """
    assert prepared is None or prepared.snapshot == request.snapshot
    # Answers first: they are cheap to refuse.
    answers = [read_answer(materials, answer) for answer in request.answers]
    ready = prepared or prepare(request.snapshot, materials)
    cost = Cost()
    return SpansResult(
        answers=tuple(found for batch in _batches(answers) for found in attribute(ready, batch, cost)),
    )


def read_answer(materials: Materials, answer: Text) -> list[str]:
    """Tokens of an answer. Raises: AttributionError(… | TOKENS_MISCOUNTED)."""
    tokens = tokenise(read_text(materials, answer.name, answer.size_bytes))
    if len(tokens) != answer.tokens:
        raise AttributionError(Reason.TOKENS_MISCOUNTED, f"{len(tokens)}, not {answer.tokens}")
    return tokens


def attribute(prepared: Prepared, answers: Sequence[Sequence[str]], cost: Cost) -> list[Attributed]:
    """Where texts come from; together they are searched in little more time than one. Shapes: m tokens of all texts."""
    tokens = [token for answer in answers for token in answer]
    bounds = np.cumsum([0, *map(len, answers)])
    ends = np.repeat(bounds[1:], np.diff(bounds))
    lengths = np.zeros(len(tokens), dtype=np.int64)
    counts = np.zeros(len(tokens), dtype=np.int64)
    known = []
    for segment in prepared.index.segments:
        ids = segment.look_up(tokens)
        known.append(ids)
        lengths = np.maximum(lengths, longest_matches(segment.haystack, ids, ends, cost))
        counts += np.where(ids == UNKNOWN, 0, segment.counts[np.where(ids == UNKNOWN, 0, ids)])
    weights = rarity(counts, prepared.index.token_count)
    begins = maximal_spans(lengths)
    owner_of_token = owning_spans(begins, lengths[begins], len(tokens))
    # Spans that own nothing decide nothing.
    begins = begins[np.unique(owner_of_token[owner_of_token >= 0])]
    owner_of_token = owning_spans(begins, lengths[begins], len(tokens))
    found = _holders(prepared, known, begins, begins + lengths[begins], cost)
    spans = []
    for index, (begin, holder) in enumerate(zip(begins.tolist(), found, strict=True)):
        own = np.flatnonzero(owner_of_token == index)
        first = int(bounds[np.searchsorted(bounds, begin, side="right") - 1])
        spans.append(
            Span(
                begin=begin - first,
                length=int(lengths[begin]),
                own_begin=int(own[0]) - first,
                own_length=len(own),
                count=holder[0],
                owners=holder[1],
                record=holder[2],
                weight=int(weights[own].sum()),
            )
        )
    splits = np.searchsorted(begins, bounds).tolist()
    return [
        _summed(spans[low:high], int(weights[first:last].sum()), int(last - first))
        for low, high, first, last in zip(splits[:-1], splits[1:], bounds[:-1], bounds[1:], strict=True)
    ]


def rarity(counts: Int64, total: int) -> Int64:
    """Weight of each token: bit_length(total // its count), a token that no record holds counting as one.

    Exact: the quotient is below 2**53, where frexp gives the bit length. Units: bits.
    """
    quotients = np.maximum(total // np.maximum(counts, 1), 1)
    weights: Int64 = np.frexp(quotients.astype(np.float64))[1].astype(np.int64)
    return weights


def maximal_spans(lengths: Int64) -> Int64:
    """Begins of matches that are long enough and lie in no longer one.

    A match without its first token is a match, so ends do not descend; one that ends with its neighbour lies in it.
    No match passes the end of its text, so one at the beginning of the next text ends later than all before it.
    """
    ends = np.arange(len(lengths)) + lengths
    is_maximal = np.ones(len(lengths), dtype=np.bool_)
    is_maximal[1:] = ends[1:] > ends[:-1]
    return np.flatnonzero(is_maximal & (lengths >= MINIMUM_SPAN_TOKENS))


def owning_spans(begins: Int64, lengths: Int64, count: int) -> Int64:
    """The span that each token belongs to, the longest that covers it and the leftmost of equals, or -1."""
    owners = np.full(count, -1, dtype=np.int64)
    # Painted over by longer ones, and among equals by those further left.
    for index in np.lexsort((-begins, lengths)).tolist():
        owners[begins[index] : begins[index] + lengths[index]] = index
    return owners


def _holders(
    prepared: Prepared, known: Sequence[Int64], begins: Int64, ends: Int64, cost: Cost
) -> list[tuple[int, int, int]]:
    """How often each span stands in the datanet, in how many owners' records, and the eldest record, or COMMON."""
    found = [
        intervals(segment.haystack, ids, begins, ends, cost)
        for segment, ids in zip(prepared.index.segments, known, strict=True)
    ]
    holders = []
    for index in range(len(begins)):
        count = sum(int(high[index] - low[index]) for low, high in found)
        if count > MAXIMUM_OCCURRENCES:
            holders.append((count, 0, COMMON))
            continue
        parts = []
        for (first, segment), (low, high) in zip(prepared.index.placed(), found, strict=True):
            places = segment.array[low[index] : high[index]]
            parts.append(first + np.searchsorted(segment.starts, places, side="right") - 1)
        records = np.concatenate(parts)
        owners = min(len(np.unique(prepared.owners[records])), MAXIMUM_OWNERS + 1)
        holders.append((count, owners, int(records.min()) if owners <= MAXIMUM_OWNERS else COMMON))
    return holders


def _summed(spans: Sequence[Span], total: int, token_count: int) -> Attributed:
    earned: dict[int, int] = {}
    for span in spans:
        if span.record != COMMON:
            earned[span.record] = earned.get(span.record, 0) + span.weight
    commons = total - sum(earned.values())
    return Attributed(
        token_count=token_count, spans=tuple(spans), credits=tuple(sorted(earned.items())), commons=commons
    )


def _batches(answers: Sequence[list[str]]) -> Iterator[list[list[str]]]:
    """Answers together up to the tokens that one may have, so that memory does not grow with their number."""
    batch: list[list[str]] = []
    for answer in answers:
        if batch and sum(map(len, batch)) + len(answer) > MAXIMUM_ANSWER_TOKENS:
            yield batch
            batch = []
        batch.append(answer)
    yield batch
