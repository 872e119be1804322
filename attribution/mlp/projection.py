"""A gradient of thousands of entries as at most 768 small integers whose inner products keep their sizes.

The gradient of a layer is d ⊗ a. Each side longer than 16 is projected by a matrix of ±1 to 16 entries, a shorter one
is multiplied by 4, and the product of the sides is taken then: 256 products in place of 65,792. The signs are the bits
of SHA-256 in counter mode, so nobody chooses them; each checkpoint has its own.

All entries of a checkpoint are divided by one power of two, chosen so that those above the 99.9th percentile of the
records' entries saturate, and become int8.

Shapes: n points; layer l has o_l outputs and i_l inputs, projected r_l and c_l; k = Σ r_l·c_l unknowns.
Units: inputs 2**-10, residuals 2**-16, unquantised entries 2**-26.

Source: two-sided projection of a layer: Choe et al., "What is your data worth to GPT? (LoGra)", 2024, section 3.2; ±1
matrices: Achlioptas, "Database-friendly random projections", 2003, theorem 1.1.
"""

import hashlib
from functools import cache

import numpy as np
import numpy.typing as npt

from attribution.exact import Int64, matmul, shift_half_even
from attribution.mlp.network import IDENTITY, Layers
from attribution.mlp.request import PROJECTED

ENTRY_MAXIMUM = 127
PROJECTION_TAG = b"openledger/mlp-projection/1"
INPUT_SIDE, OUTPUT_SIDE = 0, 1

_ENTRY_BITS = 7
_POWERS = 1 << np.arange(63, dtype=np.int64)

Int8 = npt.NDArray[np.int8]


@cache
def side_matrix(checkpoint: int, layer: int, side: int, size: int) -> Int64:
    """The projection of one side of one layer. Shapes: (size, min(size, 16))."""
    if size <= PROJECTED:
        matrix = IDENTITY * np.eye(size, dtype=np.int64)
    else:
        seed = PROJECTION_TAG + bytes([checkpoint, layer, side])
        blocks = -(-size * PROJECTED // 256)
        stream = b"".join(hashlib.sha256(seed + index.to_bytes(4, "big")).digest() for index in range(blocks))
        bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8))[: size * PROJECTED]
        matrix = 2 * bits.astype(np.int64).reshape(size, PROJECTED) - 1
    matrix.setflags(write=False)
    return matrix


def project_side(vectors: Layers, checkpoint: int, side: int) -> Layers:
    """One side of every layer's gradient. Shapes: (n, o_l or i_l) -> (n, r_l or c_l) for each layer."""
    return [matmul(part, side_matrix(checkpoint, layer, side, part.shape[1])) for layer, part in enumerate(vectors)]


def join_sides(outputs: Layers, inputs: Layers) -> Int64:
    """The projected gradient: output by output, layer by layer. Shapes: (n, r_l), (n, c_l) -> (n, k)."""
    # |entry| ≤ 2**31 · 2**31, by `network.validate_bounds`.
    parts = [
        (left[:, :, None] * right[:, None, :]).reshape(len(left), -1)
        for left, right in zip(outputs, inputs, strict=True)
    ]
    return np.hstack(parts)


def quantise(entries: Int64, scale: int) -> Int8:
    """entries / 2**scale rounded half to even, saturated. Shapes: (n, k) -> (n, k)."""
    return np.clip(shift_half_even(entries, scale), -ENTRY_MAXIMUM, ENTRY_MAXIMUM).astype(np.int8)


def count_bit_lengths(entries: Int64) -> Int64:
    """How many entries have each bit length: all that the percentile needs. Shapes: any -> (64,)."""
    lengths = np.searchsorted(_POWERS, np.abs(entries).ravel(), side="right")
    return np.bincount(lengths, minlength=64).astype(np.int64)


def percentile_scale(counts: Int64) -> int:
    """The scale that bit lengths' counts fix: the least that keeps the 99.9th percentile below 128, at least 1.

    The percentile of N entries is the ceil(999·N/1000)-th smallest magnitude. Shapes: counts (64,).
    """
    total = int(counts.sum())
    rank = -(-999 * total // 1000)
    length = int(np.searchsorted(np.cumsum(counts), rank, side="left"))
    return max(1, length - _ENTRY_BITS)
