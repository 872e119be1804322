"""Clusters of texts, grown text by text in seniority order.

    1 the buckets of its 32 bands propose elder texts, and the buckets of its anchors the 64 that share the most of
      them; they are compared exactly, leaders and members alike
    2 a text with similarity at least `copy_permille` to one of them is a copy, of the most similar, then the eldest
    3 else it joins the cluster of the eldest leader among them with similarity at least `cluster_permille`
    4 else, if it is crowded, it joins the cluster of the text that shares the most buckets with it, then the eldest
    5 else it leads a new cluster, whose number is its seniority

**A bucket holds 16 texts, the eldest.** A thousand texts that agree in one band cost no more than 16, and nobody can
push an elder text out of a bucket. The price: a text that came after 16 others with the same four minima in a band is
not found through that band, only through its other buckets. **A text is crowded** if more than half of its bands are
full, or more than half of its anchors where it has at least 16: somebody could hide its later copies by filling
buckets beforehand, so it leads nothing. An honest text is crowded if more than half of it stands in 16 elder texts.
So every text that leads stands in half of its buckets, and to change all of these a copy must change one word for
every sixteen, which leaves a similarity near .68.

What bands miss by chance: two texts of similarity .8 agree in some band with probability .9999, of .5 with .87, of .3
with .23. Anchors propose nearly every pair with a hundred shingles in common that is above .3.

Removal (an erasure). The text's shingles and places in buckets are forgotten; nobody moves up into a freed place, it
is there for the next who comes. When a leader goes, the eldest member leads from then on, under the same number and
in the same place of the order. Every text keeps its shingles here, so no successor is handed in.

State: one `TextEntry` per admitted text. `load` of them is the same index; `cut` undoes the youngest admissions.
"""

import hashlib
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from attribution.errors import AttributionError, Reason
from attribution.similar.request import (
    ANCHOR_TEXTS,
    BANDS,
    BUCKET_RECORDS,
    CROWD_ANCHORS,
    SAME,
    TextRule,
    Verdict,
    VerdictKind,
    text_work,
)
from attribution.similar.shingles import UInt64, anchors, bands, jaccard, shingles, signature

Name = TypeVar("Name", int, bytes)

_HASH = np.dtype(">u8")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEntry:
    """What the index knows of an admitted text: all of its state, with canonical bytes."""

    seniority: int
    """Of the text."""
    cluster: int
    """Number of its cluster."""
    places: bytes
    """Bit b, from the highest of the first byte on, is set where it stands in its bucket b: bands, then anchors."""
    hashes: bytes
    """Its shingles, increasing, 8 bytes each, big-endian."""

    def encode(self) -> bytes:
        """seniority u64 | cluster u64 | size of places u16 | places | hashes."""
        head = self.seniority.to_bytes(8, "big") + self.cluster.to_bytes(8, "big")
        return head + len(self.places).to_bytes(2, "big") + self.places + self.hashes

    @staticmethod
    def decode(data: bytes) -> "TextEntry":
        """The inverse of `encode`."""
        seniority, cluster, size = (int.from_bytes(data[a:b], "big") for a, b in ((0, 8), (8, 16), (16, 18)))
        places, hashes = data[18 : 18 + size], data[18 + size :]
        return TextEntry(seniority=seniority, cluster=cluster, places=places, hashes=hashes)


@dataclass(slots=True, eq=False)
class _Text:
    """An admitted text."""

    cluster: int
    hashes: UInt64
    buckets: tuple[bytes, ...]
    """Those that it stands in."""
    places: bytes


class TextClusters:
    """The clusters of a datanet's texts."""

    def __init__(self, rule: TextRule) -> None:
        self.rule = rule
        self.newest = -1
        """Seniority of the youngest text that was ever admitted and not cut off."""
        self._cut_limit = -1
        self._texts: dict[int, _Text] = {}
        """By seniority."""
        self._members: dict[int, list[int]] = {}
        """cluster -> seniorities, the leader's first."""
        self._buckets: dict[bytes, list[int]] = {}
        """band -> seniorities."""

    def __len__(self) -> int:
        return len(self._texts)

    def __contains__(self, seniority: int) -> bool:
        return seniority in self._texts

    def cluster_of(self, seniority: int) -> int:
        """Number of a text's cluster. Raises: AttributionError(RECORD_UNKNOWN)."""
        return self._text(seniority).cluster

    def members(self, cluster: int) -> tuple[int, ...]:
        """Seniorities of a cluster's texts, the leader's first; none when all are gone."""
        return tuple(self._members.get(cluster, ()))

    def steps(self, text: bytes) -> int:
        """Most work that the verdict on a text takes. Raises: AttributionError, as `shingles`."""
        return text_work(len(shingles(text, self.rule.tag)), self.rule)

    def propose(self, seniority: int, text: bytes) -> Verdict:
        """Verdict on a text that would come next; nothing is changed.

        Raises: AttributionError(TEXT_NOT_UTF8 | TEXT_EMPTY | TEXT_TOO_LONG | OUT_OF_ORDER).
        """
        hashes = shingles(text, self.rule.tag)
        return self._judge(seniority, hashes, self._names(hashes))

    def admit(self, seniority: int, text: bytes) -> Verdict:
        """Verdict on a text that comes next; it is kept unless it is a copy. Raises: as `propose`."""
        hashes = shingles(text, self.rule.tag)
        names = self._names(hashes)
        verdict = self._judge(seniority, hashes, names)
        if verdict.kind is not VerdictKind.COPY:
            places = np.packbits([not self._is_full(name) for name in names]).tobytes()
            self._put(seniority, verdict.cluster, hashes, names, places)
        self.newest = seniority
        return verdict

    def admit_all(self, texts: Sequence[tuple[int, bytes]]) -> tuple[Verdict, ...]:
        """Verdicts on texts, with their seniorities, that come one after another; all or none are judged.

        Raises: as `propose`.
        """
        before = self.newest
        try:
            return tuple(self.admit(seniority, text) for seniority, text in texts)
        except AttributionError:
            self.cut(before)
            raise

    def remove(self, seniority: int) -> None:
        """Forget a text. No `cut` reaches behind it. Raises: AttributionError(RECORD_UNKNOWN)."""
        self._text(seniority)
        self._forget(seniority)
        self._cut_limit = self.newest

    def cut(self, newest: int) -> None:
        """Undo every admission of a text younger than `newest`: not behind a removal."""
        assert newest >= self._cut_limit or newest >= self.newest
        for seniority in sorted((each for each in self._texts if each > newest), reverse=True):
            self._forget(seniority)
        self.newest = min(self.newest, newest)

    def entries(self) -> tuple[TextEntry, ...]:
        """All state, by seniority."""
        return tuple(self.entry(seniority) for seniority in sorted(self._texts))

    def entry(self, seniority: int) -> TextEntry:
        """State of one text, for a store. Raises: AttributionError(RECORD_UNKNOWN)."""
        text = self._text(seniority)
        hashes = text.hashes.astype(_HASH).tobytes()
        return TextEntry(seniority=seniority, cluster=text.cluster, places=text.places, hashes=hashes)

    def restore(self, entries: Sequence[TextEntry]) -> None:
        """Fill an empty index with its state, by seniority."""
        assert not self._texts
        for entry in entries:
            hashes = np.frombuffer(entry.hashes, dtype=_HASH).astype(np.uint64)
            self._put(entry.seniority, entry.cluster, hashes, self._names(hashes), entry.places)
            self.newest = entry.seniority
        self._cut_limit = self.newest

    def digest(self) -> bytes:
        """SHA-256 of all state: equal for indices that judge alike."""
        return hashlib.sha256(b"".join(entry.encode() for entry in self.entries())).digest()

    def candidates(self, names: Sequence[bytes]) -> list[int]:
        """Seniorities of the texts that the buckets propose, the eldest first: at most 32 times 16, and 64."""
        banded = {seniority for name in names[:BANDS] for seniority in self._buckets.get(name, ())}
        shared = self._shared(names[BANDS:])
        anchored = sorted(shared, key=lambda elder: (-shared[elder], elder))[:ANCHOR_TEXTS]
        return sorted(banded.union(anchored))

    def _judge(self, seniority: int, hashes: UInt64, names: Sequence[bytes]) -> Verdict:
        if seniority <= self.newest:
            raise AttributionError(Reason.OUT_OF_ORDER, f"{seniority} after {self.newest}")
        similar: dict[int, int] = {}
        for elder in self.candidates(names):
            other = self._texts[elder].hashes
            # The shorter over the longer bounds the similarity from above.
            if SAME * min(len(hashes), len(other)) >= self.rule.cluster_permille * max(len(hashes), len(other)):
                similar[elder] = jaccard(hashes, other)
        nearest = min(similar, key=lambda elder: (-similar[elder], elder), default=None)
        if nearest is not None and similar[nearest] >= self.rule.copy_permille:
            return self._verdict(VerdictKind.COPY, nearest, similar[nearest])
        joined = [
            elder
            for elder, value in similar.items()
            if value >= self.rule.cluster_permille and self._members[self._texts[elder].cluster][0] == elder
        ]
        if joined:
            leader = min(joined, key=lambda elder: self._texts[elder].cluster)
            return self._verdict(VerdictKind.JOINS, leader, similar[leader])
        if self._is_crowded(names):
            shared = self._shared(names)
            closest = min(shared, key=lambda elder: (-shared[elder], elder))
            return self._verdict(VerdictKind.JOINS, closest, jaccard(hashes, self._texts[closest].hashes))
        return Verdict(kind=VerdictKind.NEW, cluster=seniority)

    def _verdict(self, kind: VerdictKind, original: int, similarity: int) -> Verdict:
        return Verdict(kind=kind, cluster=self._texts[original].cluster, original=original, similarity=similarity)

    def _names(self, hashes: UInt64) -> tuple[bytes, ...]:
        return bands(signature(hashes, self.rule.tag)) + anchors(hashes)

    def _shared(self, names: Sequence[bytes]) -> Counter[int]:
        return Counter(seniority for name in names for seniority in self._buckets.get(name, ()))

    def _is_full(self, name: bytes) -> bool:
        return len(self._buckets.get(name, ())) >= BUCKET_RECORDS

    def _is_crowded(self, names: Sequence[bytes]) -> bool:
        full = [self._is_full(name) for name in names]
        in_bands, in_anchors = sum(full[:BANDS]), sum(full[BANDS:])
        count = len(names) - BANDS
        return 2 * in_bands > BANDS or (count >= CROWD_ANCHORS and 2 * in_anchors > count)

    def _put(self, seniority: int, cluster: int, hashes: UInt64, names: Sequence[bytes], places: bytes) -> None:
        stands = np.unpackbits(np.frombuffer(places, dtype=np.uint8), count=len(names)).tolist()
        buckets = tuple(name for name, is_in in zip(names, stands, strict=True) if is_in)
        self._texts[seniority] = _Text(cluster=cluster, hashes=hashes, buckets=buckets, places=places)
        insort(self._members.setdefault(cluster, []), seniority)
        for name in buckets:
            self._buckets.setdefault(name, []).append(seniority)

    def _forget(self, seniority: int) -> None:
        text = self._texts.pop(seniority)
        _take_out(self._members, text.cluster, seniority)
        for name in text.buckets:
            _take_out(self._buckets, name, seniority)

    def _text(self, seniority: int) -> _Text:
        found = self._texts.get(seniority)
        if found is None:
            raise AttributionError(Reason.RECORD_UNKNOWN, str(seniority))
        return found


def load(rule: TextRule, entries: Iterable[TextEntry]) -> TextClusters:
    """The index that has these entries, given in any order."""
    clusters = TextClusters(rule)
    clusters.restore(sorted(entries, key=lambda entry: entry.seniority))
    return clusters


def _take_out(places: dict[Name, list[int]], name: Name, seniority: int) -> None:
    places[name].remove(seniority)
    if not places[name]:
        del places[name]
