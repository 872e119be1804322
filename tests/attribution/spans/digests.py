"""Golden results of spans/1, computed from fixed bytes: what a sweep over machines and settings compares.

python -m tests.attribution.spans.digests write     write tests/vectors/attribution/spans.json
"""

import hashlib
import json
import sys
from dataclasses import fields
from pathlib import Path

from attribution.content import content_hash
from attribution.spans.attribute import compute, prepare
from attribution.spans.index import Index, append, make_snapshot
from attribution.spans.request import ENGINE_SPANS, Snapshot, SpansRequest, Text, number_owners
from attribution.spans.segment import Segment
from attribution.spans.tokens import tables_sha256, tokenise

VECTOR = Path(__file__).parents[2] / "vectors" / "attribution" / "spans.json"
SYLLABLES = ["ka", "lo", "mi", "ré", "Šu", "ты", "не", "ω", "中", "文", "x1"]


def numbers(name: str, count: int) -> list[int]:
    """Integers below 2**16 from SHA-256 in counter mode."""
    blocks = b"".join(hashlib.sha256(f"spans/{name}/{i}".encode()).digest() for i in range(-(-count // 16)))
    return [int.from_bytes(blocks[2 * i : 2 * i + 2], "big") for i in range(count)]


def make_words(name: str, count: int) -> list[str]:
    """Few words often and many seldom: the product of two draws is small more often than not."""
    drawn = numbers(name, 2 * count)
    ranks = [(a * b) >> 20 for a, b in zip(drawn[::2], drawn[1::2], strict=True)]
    return [
        "".join(SYLLABLES[rank // 11**place % 11] for place in range(1 + (rank > 30) + (rank > 600))) for rank in ranks
    ]


def make_texts(count: int) -> list[bytes]:
    """Texts of which every third quotes an elder one, and some hold one passage that many hold."""
    texts: list[list[str]] = []
    for index, draw in enumerate(numbers("texts", count)):
        words = make_words(f"text/{index}", 40 + draw % 200)
        if index % 3 == 2:
            quoted = texts[draw % index]
            words[10:10] = quoted[draw % len(quoted) :][:60]
        if index % 5 == 4:
            words += make_words("boilerplate", 12)
        texts.append(words)
    return [" ".join(words).encode() for words in texts]


def make_answers(texts: list[bytes]) -> list[bytes]:
    """Answers of quotations and of other words."""
    answers = []
    for index, draw in enumerate(numbers("answers", 12)):
        quoted = texts[draw % len(texts)].decode().split(" ")
        words = make_words(f"answer/{index}", 20) + quoted[draw % len(quoted) :] + make_words("boilerplate", 12)
        answers.append(" ".join([*words, *texts[index * 7].decode().split(" ")[5:90]]).encode())
    return answers


def make_request() -> tuple[SpansRequest, dict[bytes, bytes], list[bytes]]:
    texts = make_texts(300)
    answers = make_answers(texts)
    snapshot: Snapshot = make_snapshot(ENGINE_SPANS, texts, number_owners(draw % 40 for draw in numbers("owners", 300)))
    named = tuple(
        Text(name=content_hash(answer), size_bytes=len(answer), tokens=len(tokenise(answer))) for answer in answers
    )
    materials = {content_hash(blob): blob for blob in (*texts, *answers)}
    return SpansRequest(snapshot=snapshot, answers=named), materials, texts


def digest_of(segment: Segment) -> str:
    parts = [getattr(segment, field.name) for field in fields(Segment)]
    return hashlib.sha256(b"".join(part.astype(part.dtype.newbyteorder("<")).tobytes() for part in parts)).hexdigest()


def digests() -> dict[str, str]:
    """Everything that must be equal on every machine."""
    request, materials, texts = make_request()
    whole = prepare(request.snapshot, materials)
    index = Index()
    for first in range(0, 300, 37):
        index = append(index, request.snapshot.records[first : first + 37], texts[first : first + 37])
    grown = prepare(request.snapshot, {}, index)
    return {
        "tables": tables_sha256(),
        "request": request.request_id().hex(),
        "segment": digest_of(whole.index.segments[0]),
        "grown segments": " ".join(digest_of(segment)[:16] for segment in index.segments),
        "answers": hashlib.sha256(compute(request, materials, whole).encode()).hexdigest(),
        "answers of the grown index": hashlib.sha256(compute(request, materials, grown).encode()).hexdigest(),
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        VECTOR.write_text(json.dumps(digests(), indent=2) + "\n", encoding="utf-8")
    else:
        print(json.dumps(digests()))
