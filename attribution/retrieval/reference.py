"""The engine retrieval/1 once more, in plain Python integers: slow, short, and what the fast form is tested against."""

import math

from attribution.retrieval.request import Index, Retrieved


def retrieve(index: Index, embeddings: bytes, query: bytes) -> Retrieved:
    """What is found for one question."""
    width, count = index.dimensions, len(index.records)
    rows = [signed(embeddings[i * width : (i + 1) * width]) for i in range(count)]
    asked = signed(query)
    holders: dict[tuple[int, ...], list[int]] = {}
    for i in sorted(range(count), key=lambda i: (index.records[i], i)):
        holders.setdefault(rows[i], []).append(i)
    # The order of insertion is that of the ids, and sorting keeps it among equals.
    ranked = sorted(holders, key=lambda row: -product(asked, row))
    kept, others = ranked[: index.top], ranked[index.top :]
    cutoff = max(0, product(asked, others[0])) if others else 0
    credited = [(i, product(asked, row) - cutoff) for row in kept for i in holders[row] if product(asked, row) > cutoff]
    return Retrieved(
        answer=tuple(holders[row][0] for row in kept),
        cutoff=cutoff,
        scale=max(1, math.isqrt(product(asked, asked) * max(product(row, row) for row in rows))),
        credits=tuple(sorted(credited)),
    )


def signed(data: bytes) -> tuple[int, ...]:
    """Signed bytes."""
    return tuple(byte - 256 if byte >= 128 else byte for byte in data)


def product(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """Of two rows."""
    return sum(a * b for a, b in zip(left, right, strict=True))
