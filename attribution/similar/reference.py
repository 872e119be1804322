"""Both kinds of clusters once more, in plain Python: slow, short, and what the fast forms are tested against.

Read this to know what is decided, and the other files to know how it is decided quickly. Every record that was
admitted is kept as it is, and a verdict looks at all of them.
"""

import hashlib
from dataclasses import dataclass, field

from attribution.similar.request import TabularRule, TextRule, Verdict, VerdictKind

PRIME = 2**61 - 1


def similarity(x: list[int], y: list[int]) -> int:
    """Of two rows of features, in thousandths, rounded down."""
    total = sum(a * a for a in x) + sum(b * b for b in y)
    if total == 0:
        return 1000
    return 2000 * sum(a * b for a, b in zip(x, y, strict=True)) // total


@dataclass
class Row:
    """An admitted tabular record."""

    seniority: int
    label: int
    features: list[int]
    key: bytes
    cluster: int


@dataclass
class TabularReference:
    """`TabularClusters`, one record at a time."""

    rule: TabularRule
    rows: list[Row] = field(default_factory=list)

    def admit(self, seniority: int, label: int, features: list[int], key: bytes, is_founding: bool = False) -> Verdict:
        """Verdict on the next record, which is kept unless it is a copy."""
        verdict = self._judge(seniority, label, features, key, is_founding)
        if verdict.kind is not VerdictKind.COPY:
            self.rows.append(Row(seniority, label, features, key, verdict.cluster))
        return verdict

    def _judge(self, seniority: int, label: int, features: list[int], key: bytes, is_founding: bool) -> Verdict:
        for row in self.rows:
            if row.key == key:
                kind = VerdictKind.JOINS if is_founding else VerdictKind.COPY
                return Verdict(kind=kind, cluster=row.cluster, original=row.seniority, similarity=1000)
        if len(features) >= 8:
            for leader in self.leaders():
                similar = similarity(leader.features, features)
                if leader.label == label and similar >= self.rule.join_permille:
                    found = {"cluster": leader.cluster, "original": leader.seniority, "similarity": similar}
                    return Verdict(kind=VerdictKind.JOINS, **found)
        return Verdict(kind=VerdictKind.NEW, cluster=seniority)

    def leaders(self) -> list[Row]:
        """The eldest record of each cluster, by the clusters' numbers."""
        eldest: dict[int, Row] = {}
        for row in self.rows:
            eldest.setdefault(row.cluster, row)
        return [eldest[cluster] for cluster in sorted(eldest)]

    def remove(self, seniority: int) -> None:
        """Forget a record."""
        self.rows = [row for row in self.rows if row.seniority != seniority]


def tokens(text: bytes) -> list[str]:
    """Words in lower case, and single characters of scripts without spaces."""
    found, word = [], ""
    for character in text.decode("utf-8"):
        code = ord(character) + 32 * ("A" <= character <= "Z")
        if _is_in_word(code):
            word += chr(code)
            continue
        found += [word] if word else []
        word = ""
        if 0x2E80 <= code <= 0x2FFF or 0x3005 <= code <= 0x3007 or code >= 0x3021:
            found.append(character)
    return found + ([word] if word else [])


def _is_in_word(code: int) -> bool:
    if code < 0x80:
        return 0x30 <= code <= 0x39 or 0x61 <= code <= 0x7A
    if code < 0xC0:
        return code in (0xAA, 0xB5, 0xBA)
    return (code <= 0x1FFF and code not in (0xD7, 0xF7)) or 0x2070 <= code <= 0x218F or 0x2C00 <= code <= 0x2DFF


def shingles(text: bytes, tag: bytes) -> set[int]:
    """Hashes of three tokens in a row."""
    words = tokens(text)
    windows = {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}
    return {_hash(tag + b"\0" + "\0".join(window).encode("utf-8")) for window in windows}


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") % PRIME


def signature(hashes: set[int], tag: bytes) -> list[int]:
    """The smallest image of the shingles under each permutation."""
    smallest = []
    for i in range(128):
        digest = hashlib.sha256(tag + b"\1" + bytes([i])).digest()
        a = 1 + int.from_bytes(digest[:16], "big") % (PRIME - 1)
        b = int.from_bytes(digest[16:], "big") % PRIME
        smallest.append(min((a * x + b) % PRIME for x in hashes))
    return smallest


def jaccard(left: set[int], right: set[int]) -> int:
    """Of two sets, in thousandths, rounded down."""
    return 1000 * len(left & right) // len(left | right)


def buckets(hashes: set[int], numbers: list[int]) -> list[tuple[int, ...]]:
    """The 32 bands, and the anchors in increasing order."""
    bands = [(band, *numbers[4 * band : 4 * band + 4]) for band in range(32)]
    return bands + [(32, x) for x in sorted(hashes) if x % 8 == 0]


@dataclass
class Text:
    """An admitted text."""

    seniority: int
    hashes: set[int]
    stands_in: set[tuple[int, ...]]
    cluster: int


@dataclass
class TextReference:
    """`TextClusters`, looking at every text."""

    rule: TextRule
    texts: list[Text] = field(default_factory=list)

    def admit(self, seniority: int, text: bytes) -> Verdict:
        """Verdict on the next text, which is kept unless it is a copy."""
        hashes = shingles(text, self.rule.tag)
        names = buckets(hashes, signature(hashes, self.rule.tag))
        banded = [elder for elder in self.texts if elder.stands_in & set(names[:32])]
        anchored = [elder for elder in self.texts if elder.stands_in & set(names[32:])]
        anchored.sort(key=lambda elder: (-len(elder.stands_in & set(names[32:])), elder.seniority))
        verdict = self._judge(seniority, hashes, banded + anchored[:64])
        has_room = {name for name in names if sum(name in elder.stands_in for elder in self.texts) < 16}
        if verdict.kind is VerdictKind.NEW and self._is_crowded(names, has_room):
            closest = min(self.texts, key=lambda elder: (-len(elder.stands_in & set(names)), elder.seniority))
            similar = jaccard(closest.hashes, hashes)
            found = {"cluster": closest.cluster, "original": closest.seniority, "similarity": similar}
            verdict = Verdict(kind=VerdictKind.JOINS, **found)
        if verdict.kind is not VerdictKind.COPY:
            self.texts.append(Text(seniority, hashes, has_room, verdict.cluster))
        return verdict

    def _is_crowded(self, names: list[tuple[int, ...]], has_room: set[tuple[int, ...]]) -> bool:
        full_bands = [name for name in names[:32] if name not in has_room]
        full_anchors = [name for name in names[32:] if name not in has_room]
        return len(full_bands) > 16 or (len(names) >= 48 and 2 * len(full_anchors) > len(names) - 32)

    def _judge(self, seniority: int, hashes: set[int], near: list[Text]) -> Verdict:
        for elder in sorted(near, key=lambda elder: (-jaccard(elder.hashes, hashes), elder.seniority)):
            similar = jaccard(elder.hashes, hashes)
            if similar >= self.rule.copy_permille:
                found = {"cluster": elder.cluster, "original": elder.seniority, "similarity": similar}
                return Verdict(kind=VerdictKind.COPY, **found)
        for leader in sorted(near, key=lambda elder: elder.cluster):
            similar = jaccard(leader.hashes, hashes)
            if self._leads(leader) and similar >= self.rule.cluster_permille:
                found = {"cluster": leader.cluster, "original": leader.seniority, "similarity": similar}
                return Verdict(kind=VerdictKind.JOINS, **found)
        return Verdict(kind=VerdictKind.NEW, cluster=seniority)

    def _leads(self, text: Text) -> bool:
        return text.seniority == min(each.seniority for each in self.texts if each.cluster == text.cluster)

    def remove(self, seniority: int) -> None:
        """Forget a text."""
        self.texts = [text for text in self.texts if text.seniority != seniority]
