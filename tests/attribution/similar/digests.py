"""Golden results of clusters from fixed bytes: equal on every machine.

python -m tests.attribution.similar.digests          print them
python -m tests.attribution.similar.digests write    pin them in tests/vectors/attribution/similar.json
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from attribution.record import Column, TabularSchema, encode_record
from attribution.similar.records import read_batch
from attribution.similar.request import TabularRule, TextRule, Verdict
from attribution.similar.shingles import shingles, signature
from attribution.similar.tabular import found
from attribution.similar.text import TextClusters

VECTORS = Path(__file__).parents[2] / "vectors" / "attribution" / "similar.json"


def numbers(name: str, count: int) -> list[int]:
    """Numbers below 2**32 from SHA-256 in counter mode."""
    blocks = (hashlib.sha256(f"{name}/{i}".encode()).digest() for i in range(-(-count // 8)))
    return np.frombuffer(b"".join(blocks), dtype=">u4")[:count].tolist()


def tell(verdicts: tuple[Verdict, ...]) -> str:
    """SHA-256 of verdicts as text."""
    rows = [[int(v.kind), v.cluster, v.original, v.similarity] for v in verdicts]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def tabular_records(columns: int, count: int) -> tuple[TabularSchema, list[bytes]]:
    """Two thirds are earlier records with noise of several sizes."""
    schema = TabularSchema(
        columns=tuple(Column(name=f"c{i}", decimals=0, minimum=-(1 << 34), maximum=1 << 34) for i in range(columns)),
        classes=3,
    )
    drawn = iter(numbers(f"tabular {columns}", count * (columns + 3)))
    rows: list[list[int]] = []
    labels: list[int] = []
    for i in range(count):
        kind, elder, label = next(drawn) % 6, next(drawn), next(drawn) % 3
        noise = [next(drawn) - (1 << 31) for _ in range(columns)]
        if kind < 2 or i < 8:
            rows.append(noise)
            labels.append(label)
        else:
            base, size = rows[elder % i], (0, 64, 6, 5)[kind - 2]
            rows.append([a + (b // size if size else 0) for a, b in zip(base, noise, strict=True)])
            labels.append(labels[elder % i])
    return schema, [encode_record(schema, label, row) for label, row in zip(labels, rows, strict=True)]


def tabular_digests(columns: int, count: int) -> dict[str, str]:
    """A datanet of some width."""
    schema, blobs = tabular_records(columns, count)
    clusters, encoder = found(TabularRule(), schema, range(256), blobs[:256])
    verdicts = clusters.admit(read_batch(schema, encoder, range(256, count), blobs[256:]))
    state = clusters.digest().hex()
    first = clusters.entries()[0].seniority
    heir = clusters.successor_of(first)
    clusters.remove(first, None if heir is None else read_batch(schema, encoder, [heir], [blobs[heir]]))
    name = f"tabular {columns}x{count}"
    return {f"{name} verdicts": tell(verdicts), f"{name} state": state, f"{name} removed": clusters.digest().hex()}


def texts(count: int) -> list[bytes]:
    """Half are earlier texts with some words replaced."""
    drawn = iter(numbers("texts", count * 150))
    made: list[list[bytes]] = []
    for i in range(count):
        kind, elder = next(drawn) % 6, next(drawn)
        fresh = [b"w%d" % (next(drawn) % 3000) for _ in range(140)]
        rate = (0, 40, 12, 4, 1, 1)[kind] if i else 1
        base = made[elder % i] if i else fresh
        made.append(
            [
                b if rate and next_word % rate == 0 else a
                for next_word, (a, b) in enumerate(zip(base, fresh, strict=True))
            ]
        )
    return [b" ".join(words) for words in made]


def digests() -> dict[str, str]:
    """SHA-256 of verdicts and of whole states, by name."""
    rule = TextRule()
    clusters = TextClusters(rule)
    verdicts = clusters.admit_all(list(enumerate(texts(120))))
    state = clusters.digest().hex()
    clusters.remove(0)
    long = shingles(" ".join(f"wörd{i} 字" for i in range(3000)).encode(), rule.tag)
    return {
        **tabular_digests(7, 400),
        **tabular_digests(20, 700),
        **tabular_digests(250, 500),
        "texts verdicts": tell(verdicts),
        "texts state": state,
        "texts removed": clusters.digest().hex(),
        "shingles": hashlib.sha256(long.astype(">u8").tobytes()).hexdigest(),
        "signature": hashlib.sha256(signature(long, rule.tag).astype(">u8").tobytes()).hexdigest(),
    }


if __name__ == "__main__":
    told = json.dumps(digests(), indent=2) + "\n"
    if sys.argv[1:] == ["write"]:
        VECTORS.write_text(told, encoding="utf-8")
    else:
        print(told, end="")
