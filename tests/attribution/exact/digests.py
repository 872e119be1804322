"""Golden results of the kernels, at sizes where BLAS kernels, blocks, limbs and threads differ."""

from __future__ import annotations

import hashlib

import numpy as np

from attribution.exact import (
    EXP_TABLE_SHA256,
    exp_negative,
    floor_log2,
    isqrt,
    known_answer_test,
    matmul,
    ratio_to_root,
    top,
)
from attribution.products import paths, product
from attribution.projections import signs
from tests.attribution.backends import used

PRODUCTS = {
    "int8 store, one query of 17 bits": (np.int8, (17_001, 96, 1), 7, 16),
    "int8 store, ten queries of 6 bits": (np.int8, (2_003, 768, 10), 7, 5),
    "int16 store, ten queries of 20 bits": (np.int16, (1_501, 512, 10), 15, 20),
    "square, 15 by 20 bits": (np.int64, (259, 261, 263), 15, 20),
    "blocks of the inner dimension": (np.int64, (19, 9_000, 23), 18, 18),
    "limbs on the right": (np.int16, (1_021, 257, 16), 15, 37),
    "limbs on both sides": (np.int64, (130, 200, 90), 27, 27),
    "entries wider than the sums": (np.int64, (3, 16, 3), 45, 46),
}
"""Type of the left operand, shape (m, k, n), bits of the entries."""


def stream(name: str, count: int, bits: int) -> np.ndarray:
    """Signed integers below 2**bits from SHAKE-256."""
    size_bytes = 2 if bits <= 15 else 8
    words = np.frombuffer(hashlib.shake_256(name.encode()).digest(count * size_bytes), dtype=f">i{size_bytes}")
    return words.astype(np.int64) >> (8 * size_bytes - 1 - bits)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.astype(">i8").tobytes()).hexdigest()


def operands(name: str) -> tuple[np.ndarray, np.ndarray]:
    kind, (m, k, n), left_bits, right_bits = PRODUCTS[name]
    left = stream(f"{name}/left", m * k, left_bits).reshape(m, k).astype(kind)
    right = stream(f"{name}/right", k * n, right_bits).reshape(k, n)
    if left_bits + right_bits > 63:
        left[:, 0] >>= 40  # the bound is far above 64 bits, the sums are not
        right[1:] = 0
    return left, right


def by_every_path(name: str) -> str:
    """One digest where every path agrees, else all of them."""
    left, right = operands(name)
    results = {digest(matmul(left, right))}
    results |= {digest(product(left, right, path=path)) for path in paths(used(), left, right)}
    return " and ".join(sorted(results))


def digests() -> dict[str, str]:
    """Everything that must be equal on every machine."""
    known_answer_test(used())
    values = np.abs(stream("values", 4096, 62))
    numerator, left, right = (stream(name, 4096, 50).reshape(64, 64) for name in ("numerator", "left", "right"))
    return {
        **{f"product: {name}": by_every_path(name) for name in PRODUCTS},
        "exp table": EXP_TABLE_SHA256,
        "exp": digest(exp_negative(values >> 27)),
        "root": digest(isqrt(values)),
        "log2": digest(floor_log2(values + 1)),
        "ratio": digest(ratio_to_root(numerator, np.abs(left[:, :1]), np.abs(right[:1]), 1000)),
        "top": digest(top(values >> 56, 1000, np.arange(4096)[::-1])),
        "signs": digest(signs(b"golden", 300, 700)),
    }
