"""Builders for the tests of spans/1. A seed, or hypothesis, fixes everything that is built."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from attribution.content import content_hash
from attribution.spans import reference
from attribution.spans.attribute import Prepared, attribute, compute, prepare
from attribution.spans.index import make_snapshot
from attribution.spans.request import Attributed, Snapshot, SpansRequest, SpansResult, Text, number_owners
from attribution.spans.search import Cost
from attribution.spans.tokens import tokenise

ENGINE = "spans/1"


@dataclass
class Case:
    """Texts, whose they are, and answers: tokens of lower-case letters, so that joining and tokenising are inverse."""

    texts: list[list[str]]
    owners: list[int]
    answers: list[list[str]]
    cuts: list[int] = field(default_factory=list)

    @property
    def blobs(self) -> list[bytes]:
        return [joined(text) for text in self.texts]

    @property
    def snapshot(self) -> Snapshot:
        return make_snapshot(ENGINE, self.blobs, number_owners(self.owners))

    @property
    def materials(self) -> dict[bytes, bytes]:
        return {content_hash(blob): blob for blob in (*self.blobs, *map(joined, self.answers))}

    @property
    def request(self) -> SpansRequest:
        return SpansRequest(snapshot=self.snapshot, answers=tuple(map(named, self.answers)))

    def prepared(self) -> Prepared:
        return prepare(self.snapshot, self.materials)

    def result(self) -> SpansResult:
        return compute(self.request, self.materials)

    def reference(self) -> list[Attributed]:
        return [reference.attribute(self.texts, self.owners, answer) for answer in self.answers]


def joined(tokens: Sequence[str]) -> bytes:
    return " ".join(tokens).encode()


def named(tokens: Sequence[str]) -> Text:
    blob = joined(tokens)
    return Text(name=content_hash(blob), size_bytes=len(blob), tokens=len(tokens))


def ask(prepared: Prepared, answer: str) -> Attributed:
    return attribute(prepared, [tokenise(answer.encode())], Cost())[0]


def prepare_texts(texts: Sequence[str], owners: Sequence[int] | None = None) -> Prepared:
    blobs = [text.encode() for text in texts]
    snapshot = make_snapshot(ENGINE, blobs, number_owners(owners or range(len(blobs))))
    return prepare(snapshot, {content_hash(blob): blob for blob in blobs})


def make_case(seed: int, most_texts: int = 14, most_tokens: int = 30, owners: int = 40) -> Case:
    """Texts that quote each other, repeat themselves and have few different words; answers made of their pieces."""
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(rng.choice([1, 2, 3, 40]))]
    is_common = rng.random() < 0.4  # nearly everybody quotes the same passage
    theme = [rng.choice(words) for _ in range(rng.randrange(8, 14))]
    texts: list[list[str]] = []
    for _ in range(rng.randrange(11 if is_common else 1, most_texts)):
        text = [rng.choice(words) for _ in range(rng.randrange(0, most_tokens))]
        if texts and rng.random() < 0.4:
            quoted = rng.choice(texts)
            begin = rng.randrange(len(quoted))
            text = [*text[:3], *quoted[begin : rng.randrange(begin, len(quoted)) + 1], *text[:2]]
        if rng.random() < (0.95 if is_common else 0.2):
            text = theme + text
        texts.append(text or ["w0"])
    answers = []
    for _ in range(3):
        answer: list[str] = []
        for _ in range(3):
            text = rng.choice(texts)
            answer += text[rng.randrange(2) * rng.randrange(len(text)) // 2 :] + ["new"] * rng.randrange(2)
        answers.append(answer)
    cuts = sorted(rng.sample(range(1, len(texts)), min(len(texts) - 1, rng.randrange(4)))) if len(texts) > 1 else []
    return Case(texts=texts, owners=[rng.randrange(owners) for _ in texts], answers=answers, cuts=cuts)


CASES = st.builds(make_case, st.integers(0, 1 << 40))
