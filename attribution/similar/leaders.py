"""The leaders of one label as a matrix, and the search for the eldest that is similar enough.

    similarity(x, y) = floor(2000·x·y / (x·x + y·y)), 1000 where both are zero

Most leaders are told apart without reading them. Fold the features into groups of g with fixed signs, s(x) the k sums:
by Cauchy-Schwarz ‖s(x) - s(y)‖² ≤ g·‖x - y‖², and similarity ≥ t is 1000·‖x - y‖² ≤ (1000 - t)·(‖x‖² + ‖y‖²). So with

    a(x) = floor((1000·‖s(x)‖² - g·(1000 - t)·‖x‖²) / 2000)

a leader can only be similar enough if s(x)·s(y) ≥ a(x) + a(y). This is one product of k + 2 columns, [s(x), -a(x), 1]
with [s(y), 1, -a(y)]; whoever passes is decided on all features. The filter changes the speed and never the verdict,
and an adversary who passes it on purpose costs what the price says: every leader read in full.

Bounds: d ≤ 512, so g ≤ 8, and k ≤ 127 with k·g < d + g. |s| ≤ 2**18, ‖s‖² ≤ 2**42 and |a| < 2**42: every sum of the
product is below 2**44, exact in float64. x·y ≤ 2**39, so 2000·x·y < 2**50.

Shapes: n leaders, m records, d features, k sums.
"""

import hashlib
from functools import cache

import numpy as np
import numpy.typing as npt

from attribution.exact import Int64, matmul
from attribution.head.encoder import Int16
from attribution.similar.request import MAXIMUM_FEATURES, SAME, sketch_group, sketch_width

Float64 = npt.NDArray[np.float64]

_SIGNS_TAG = b"openledger/leader-signs/1"
_BLOCK_LEADERS = 4096
_BLOCK_PAIRS = 4096
_DENSE = 16
"""When more than one pair in so many passes the filter, the whole block is multiplied."""
_NEVER = -(1 << 45)
"""In place of -a(x): no record is similar to a row without a leader."""


class Leaders:
    """Leaders of one label, eldest first."""

    def __init__(self, features: int, join_permille: int) -> None:
        assert features <= MAXIMUM_FEATURES
        self._join = join_permille
        self._count = 0
        self._features: Int16 = np.zeros((0, features), dtype=np.int16)
        self._squares: Int64 = np.zeros(0, dtype=np.int64)
        self._sketches: Float64 = np.zeros((0, sketch_width(features) + 2), dtype=np.float64)

    def __len__(self) -> int:
        return self._count

    def features(self, row: int) -> Int16:
        """Features of a row. Shapes: (d,)."""
        features: Int16 = self._features[row]
        return features

    def size_bytes(self) -> int:
        """Memory that the rows take."""
        return self._count * sum(part[:1].nbytes for part in (self._features, self._squares, self._sketches))

    def append(self, features: Int16) -> None:
        """Add younger leaders. Shapes: features (m, d)."""
        end = self._count + len(features)
        if end > len(self._features):
            self._grow(max(end, 2 * len(self._features), 16))
        self._put(slice(self._count, end), features)
        self._count = end

    def replace(self, row: int, features: Int16) -> None:
        """Put a successor in a leader's place. Shapes: features (d,)."""
        self._put(slice(row, row + 1), features[None, :])

    def clear(self, row: int) -> None:
        """Leave a place empty: nothing is similar to it."""
        self._features[row] = 0
        self._squares[row] = 0
        self._sketches[row] = 0
        self._sketches[row, -2] = _NEVER

    def cut(self, count: int) -> None:
        """Forget all but the eldest `count`."""
        self._count = count

    def search(self, features: Int16) -> tuple[Int64, Int64]:
        """Row of the eldest leader that each record is similar enough to, or -1, and the similarity.

        Shapes: features (m, d) -> (m,), (m,).
        """
        rows = np.full(len(features), -1, dtype=np.int64)
        similarity = np.zeros(len(features), dtype=np.int64)
        sketches = _mirror(sketch(features, self._join))
        squares = squared_norms(features)
        is_open = np.arange(len(features))
        for start in range(0, self._count, _BLOCK_LEADERS):
            if not len(is_open):
                break
            block = slice(start, min(start + _BLOCK_LEADERS, self._count))
            found, similar = self._search_block(block, features[is_open], squares[is_open], sketches[is_open])
            hits = found >= 0
            rows[is_open[hits]] = start + found[hits]
            similarity[is_open[hits]] = similar[hits]
            is_open = is_open[~hits]
        return rows, similarity

    def _search_block(self, block: slice, features: Int16, squares: Int64, sketches: Float64) -> tuple[Int64, Int64]:
        passed = self._sketches[block] @ sketches.T >= 0
        leaders, records = np.nonzero(passed)
        if len(leaders) * _DENSE > passed.size:
            products = matmul(self._features[block], features.T)[leaders, records]
        else:
            products = _pair_products(self._features[block], features, leaders, records)
        similar = similarities(products, self._squares[block][leaders], squares[records])
        is_enough = similar >= self._join
        leaders, records, similar = leaders[is_enough], records[is_enough], similar[is_enough]
        # Pairs stand by leader and then by record, so a record's first pair is its eldest leader.
        first_records, firsts = np.unique(records, return_index=True)
        rows = np.full(len(features), -1, dtype=np.int64)
        best = np.zeros(len(features), dtype=np.int64)
        rows[first_records] = leaders[firsts]
        best[first_records] = similar[firsts]
        return rows, best

    def _put(self, rows: slice, features: Int16) -> None:
        self._features[rows] = features
        self._squares[rows] = squared_norms(features)
        self._sketches[rows] = sketch(features, self._join)

    def _grow(self, capacity: int) -> None:
        features, squares, sketches = self._features, self._squares, self._sketches
        self._features = np.zeros((capacity, features.shape[1]), dtype=np.int16)
        self._squares = np.zeros(capacity, dtype=np.int64)
        self._sketches = np.zeros((capacity, sketches.shape[1]), dtype=np.float64)
        self._features[: self._count] = features[: self._count]
        self._squares[: self._count] = squares[: self._count]
        self._sketches[: self._count] = sketches[: self._count]


def similarities(products: Int64, left: Int64, right: Int64) -> Int64:
    """Similarity from x·y, x·x and y·y of the same shape. Units: thousandths."""
    total = left + right
    return np.where(total == 0, SAME, 2 * SAME * products // np.maximum(total, 1))


def squared_norms(features: Int16) -> Int64:
    """x·x of each row. Shapes: (m, d) -> (m,)."""
    wide = features.astype(np.int64)
    norms: Int64 = np.einsum("ij,ij->i", wide, wide)
    return norms


def sketch(features: Int16, join_permille: int) -> Float64:
    """[s(x), -a(x), 1] of each row. Shapes: (m, d) -> (m, k + 2)."""
    count, width = features.shape
    group, sums = sketch_group(width), sketch_width(width)
    signed = np.zeros((count, sums * group), dtype=np.int64)
    signed[:, :width] = features * signs()[:width]
    folded = signed.reshape(count, sums, group).sum(axis=2)
    least = SAME * np.einsum("ij,ij->i", folded, folded)
    least = (least - group * (SAME - join_permille) * squared_norms(features)) // (2 * SAME)
    return np.hstack([folded, -least[:, None], np.ones((count, 1), dtype=np.int64)]).astype(np.float64)


@cache
def signs() -> Int64:
    """Fixed signs of the 512 features, from two SHA-256."""
    digests = b"".join(hashlib.sha256(_SIGNS_TAG + bytes([half])).digest() for half in range(2))
    bits = np.unpackbits(np.frombuffer(digests, dtype=np.uint8)).astype(np.int64)
    return 1 - 2 * bits


def _mirror(sketches: Float64) -> Float64:
    """[s(y), 1, -a(y)]: the record's side of the product."""
    mirrored = sketches.copy()
    mirrored[:, -2], mirrored[:, -1] = sketches[:, -1], sketches[:, -2]
    return mirrored


def _pair_products(left: Int16, right: Int16, rows: Int64, columns: Int64) -> Int64:
    products = np.empty(len(rows), dtype=np.int64)
    for start in range(0, len(rows), _BLOCK_PAIRS):
        pairs = slice(start, start + _BLOCK_PAIRS)
        chosen = left[rows[pairs]].astype(np.int64), right[columns[pairs]].astype(np.int64)
        products[pairs] = np.einsum("ij,ij->i", *chosen)
    return products
