"""What validators run: which records answer a question, in which order, and the credit of each.

    similarity   q·v, exactly, of signed bytes
    ranking      the different embeddings by similarity, ties by the smallest record id among those that have it
    answer       of each of the first k embeddings the record with the smallest id
    cutoff       similarity of the k+1-th embedding, but at least 0; 0 if there is none
    credit       similarity less cutoff, if that is positive: of every record that has one of the k embeddings
    scale        isqrt(q·q · largest v·v), at least 1

Embeddings are ranked and not records, so that an exact copy takes no place in the answer from another record: it has
the credit of its original, and the payout by seniority gives it nothing. Ties at the cutoff have no credit, so ids,
which can be ground, move no money. With v cut into parts that add up to v, none of negative similarity and none equal
to another record's embedding, the parts together have at most the credit of v: the cutoff does not fall, because the
parts are as many places more, and what is above it is not counted twice. (A part that equals another record's
embedding takes no place, and the cutoff may fall. Parts that an encoder gives embeddings of v's full length are no
parts in this sense. Both are near-duplicates or short records: clusters and the datanet's minimum length meet them.)

Bounds: dimensions ≤ 2**12, so |q·v| ≤ 2**26, and q·q · v·v ≤ 2**52 < 2**62.

Shapes: n records, u ≤ n different embeddings, d dimensions, m questions.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attribution.content import Materials, content_hash
from attribution.errors import AttributionError, Reason
from attribution.exact import Int64, matmul
from attribution.retrieval.request import Index, RetrievalRequest, RetrievalResult, Retrieved

Int8 = npt.NDArray[np.int8]

_BLOCK_QUESTIONS = 16
_BLOCK_ROWS = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """An index ready to answer."""

    index: Index
    """What all this belongs to."""
    embeddings: Int8
    """(u, d): different from each other, in the order of `named`'s ids."""
    named: Int64
    """(u,): position of the record with the smallest id that has the embedding."""
    order: Int64
    """(n,): positions, those with equal embeddings together, in the order of the embeddings."""
    starts: Int64
    """(u + 1,): where in `order` the records of each embedding start, and the end."""
    largest_square: int
    """Largest v·v."""

    def size_bytes(self) -> int:
        """Memory that keeping it takes."""
        return sum(part.nbytes for part in (self.embeddings, self.named, self.order, self.starts))


def prepare(index: Index, materials: Materials) -> Prepared:
    """What every question to an index needs. Raises: AttributionError."""
    embeddings = _read(materials, index.embeddings, index.embeddings_size_bytes, Reason.EMBEDDINGS_MALFORMED)
    table = embeddings.reshape(-1, index.dimensions)
    # A stable sort: equal ids stay in the order of the records.
    ids = sorted(range(len(index.records)), key=index.records.__getitem__)
    # By content hash, because a million rows as keys would be held a second time.
    numbers: dict[bytes, int] = {}
    groups = [numbers.setdefault(content_hash(table[position].tobytes()), len(numbers)) for position in ids]
    group_of, by_id = np.array(groups, dtype=np.int64), np.array(ids, dtype=np.int64)
    order = by_id[np.argsort(group_of, kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(group_of))]).astype(np.int64)
    named = order[starts[:-1]]
    squares = [_largest_square(table[start : start + _BLOCK_ROWS]) for start in range(0, len(table), _BLOCK_ROWS)]
    return Prepared(
        index=index,
        embeddings=table[named],
        named=named,
        order=order,
        starts=starts,
        largest_square=max(squares),
    )


def compute(request: RetrievalRequest, materials: Materials, prepared: Prepared | None = None) -> RetrievalResult:
    """The result of a request: a pure function of it. With `prepared`, only the questions' bytes are read.

    Raises: AttributionError.
    """
    assert prepared is None or prepared.index == request.index
    width = request.index.dimensions
    queries = [_read(materials, name, width, Reason.QUERY_WRONG_SIZE) for name in request.queries]
    ready = prepared or prepare(request.index, materials)
    answers: list[Retrieved] = []
    for start in range(0, len(queries), _BLOCK_QUESTIONS):
        asked = np.stack(queries[start : start + _BLOCK_QUESTIONS])
        similar = matmul(ready.embeddings, asked.T)
        answers += [_retrieve(ready, similar[:, i], asked[i]) for i in range(len(asked))]
    return RetrievalResult(answers=tuple(answers))


def _retrieve(prepared: Prepared, similar: Int64, query: Int8) -> Retrieved:
    best = _first(similar, prepared.index.top + 1)
    kept = best[: prepared.index.top]
    cutoff = max(0, int(similar[best[-1]])) if len(best) > len(kept) else 0
    credited: list[tuple[int, int]] = []
    for row in kept.tolist():
        credit = int(similar[row]) - cutoff
        if credit > 0:
            holders = prepared.order[prepared.starts[row] : prepared.starts[row + 1]]
            credited += [(position, credit) for position in holders.tolist()]
    wide = query.astype(np.int64)
    return Retrieved(
        answer=tuple(prepared.named[kept].tolist()),
        cutoff=cutoff,
        scale=max(1, math.isqrt(int(wide @ wide) * prepared.largest_square)),
        credits=tuple(sorted(credited)),
    )


def _first(similar: Int64, count: int) -> Int64:
    """Rows of the `count` largest, ties by the smaller row, largest first. Shapes: similar (u,)."""
    if len(similar) > count:
        least = np.partition(similar, len(similar) - count)[len(similar) - count]
        above = np.flatnonzero(similar > least)
        rows = np.concatenate([above, np.flatnonzero(similar == least)[: count - len(above)]])
    else:
        rows = np.arange(len(similar))
    return rows[np.lexsort((rows, -similar[rows]))]


def _largest_square(rows: Int8) -> int:
    wide = rows.astype(np.int64)
    return int(np.einsum("ij,ij->i", wide, wide).max())


def _read(materials: Materials, name: bytes, size_bytes: int, reason: Reason) -> Int8:
    data = materials.get(name)
    if data is None:
        raise AttributionError(Reason.MISSING_MATERIAL, name.hex())
    if len(data) != size_bytes:
        raise AttributionError(reason, f"{len(data)} bytes, not {size_bytes}")
    if content_hash(data) != name:
        raise AttributionError(Reason.MATERIAL_MISMATCH, name.hex())
    return np.frombuffer(data, dtype=np.int8)
