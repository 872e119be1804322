"""Golden results of retrieval/1 from fixed bytes: equal on every machine.

python -m tests.attribution.retrieval.digests          print them
python -m tests.attribution.retrieval.digests write    pin them in tests/vectors/attribution/retrieval.json
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from attribution.content import content_hash
from attribution.retrieval.attribute import compute
from attribution.retrieval.request import Index, RetrievalRequest

VECTORS = Path(__file__).parents[2] / "vectors" / "attribution" / "retrieval.json"


def stream(name: str, size_bytes: int) -> bytes:
    """Bytes from SHA-256 in counter mode."""
    blocks = (hashlib.sha256(f"{name}/{i}".encode()).digest() for i in range(-(-size_bytes // 32)))
    return b"".join(blocks)[:size_bytes]


def case(count: int, width: int, top: int, queries: int) -> tuple[RetrievalRequest, dict[bytes, bytes]]:
    """A tenth of the records are exact copies of others."""
    name = f"retrieval {count}x{width}"
    table = np.frombuffer(stream(name, count * width), dtype=np.int8).reshape(count, width).copy()
    table[: count // 10] = table[count // 2 : count // 2 + count // 10]
    blob = table.tobytes()
    records = tuple(hashlib.sha256(f"{name} record {i}".encode()).digest() for i in range(count))
    index = Index(engine="retrieval/1", dimensions=width, top=top, embeddings=content_hash(blob), records=records)
    asked = [stream(f"{name} query {i}", width) for i in range(queries - 1)] + [table[0].tobytes()]
    materials = {content_hash(each): each for each in (blob, *asked)}
    return RetrievalRequest(index=index, queries=tuple(map(content_hash, asked))), materials


def digests() -> dict[str, str]:
    """SHA-256 of whole results, by name."""
    found = {}
    for count, width, top, queries in ((1000, 33, 16, 20), (5000, 384, 64, 17), (40, 4096, 5, 2)):
        request, materials = case(count, width, top, queries)
        name = f"{count}x{width} top {top}"
        found[f"{name} request"] = request.request_id().hex()
        found[f"{name} result"] = hashlib.sha256(compute(request, materials).encode()).hexdigest()
    return found


if __name__ == "__main__":
    told = json.dumps(digests(), indent=2) + "\n"
    if sys.argv[1:] == ["write"]:
        VECTORS.write_text(told, encoding="utf-8")
    else:
        print(told, end="")
