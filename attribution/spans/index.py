"""The index of a snapshot: its segments from the eldest on, each at least twice as long as the next.

A datanet grows by appending: new records become a segment of their own, and the youngest segments are merged until
lengths halve again, as in a log-structured store. So a token is sorted again at most once for every doubling, an index
of n ids has at most bit_length(n) segments, and no result depends on where one segment ends and the next begins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from attribution.content import Materials, content_hash
from attribution.errors import AttributionError, Reason
from attribution.spans.request import Snapshot
from attribution.spans.segment import Segment, make_segment, merge


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Index:
    """Segments that together hold the first records of a snapshot."""

    segments: tuple[Segment, ...] = ()
    """From the eldest on."""

    @property
    def record_count(self) -> int:
        """Records that are indexed."""
        return sum(segment.record_count for segment in self.segments)

    @property
    def token_count(self) -> int:
        """Tokens that are indexed: those of copies are not."""
        return sum(segment.token_count for segment in self.segments)

    def placed(self) -> Iterator[tuple[int, Segment]]:
        """Each segment with the place of its first record."""
        first = 0
        for segment in self.segments:
            yield first, segment
            first += segment.record_count

    def size_bytes(self) -> int:
        """Memory or disk that it takes."""
        return sum(segment.size_bytes() for segment in self.segments)

    def is_prefix_of(self, names: Sequence[bytes]) -> bool:
        """Whether it holds the first records of a snapshot."""
        if self.record_count > len(names):
            return False
        return b"".join(names[: self.record_count]) == b"".join(part.names.tobytes() for part in self.segments)


def grow(index: Index, snapshot: Snapshot, materials: Materials) -> Index:
    """The index of a whole snapshot from that of its first records. Raises: AttributionError."""
    assert index.is_prefix_of(snapshot.records)
    done = index.record_count
    names = snapshot.records[done:]
    if not names:
        return balanced(index)
    texts = [read_text(materials, name, size) for name, size in zip(names, snapshot.sizes[done:], strict=True)]
    return append(index, names, texts)


def append(index: Index, names: Sequence[bytes], texts: Sequence[bytes]) -> Index:
    """The index with one more segment, merged until lengths halve. Raises: AttributionError."""
    seen = {text_hash.tobytes() for segment in index.segments for text_hash in segment.text_hashes}
    return balanced(Index(segments=(*index.segments, make_segment(names, texts, seen))))


def balanced(index: Index) -> Index:
    """The same records in segments of which each is at least twice as long as the next."""
    kept: list[list[Segment]] = []
    for segment in index.segments:
        kept.append([segment])
        while len(kept) > 1 and _length(kept[-2]) < 2 * _length(kept[-1]):
            youngest = kept.pop()
            kept[-1] += youngest
    # Merged once, when it is known what belongs together.
    return Index(segments=tuple(parts[0] if len(parts) == 1 else merge(parts) for parts in kept))


def read_text(materials: Materials, name: bytes, size_bytes: int) -> bytes:
    """Bytes of a content hash. Raises: AttributionError(MISSING_MATERIAL | MATERIAL_MISMATCH | SIZE_MISMATCH)."""
    data = materials.get(name)
    if data is None:
        raise AttributionError(Reason.MISSING_MATERIAL, name.hex())
    if len(data) != size_bytes:
        raise AttributionError(Reason.SIZE_MISMATCH, f"{name.hex()}: {len(data)} bytes, not {size_bytes}")
    if content_hash(data) != name:
        raise AttributionError(Reason.MATERIAL_MISMATCH, name.hex())
    return data


def make_snapshot(engine: str, texts: Sequence[bytes], owners: Sequence[int]) -> Snapshot:
    """Snapshot of texts at hand."""
    return Snapshot(
        engine=engine,
        records=tuple(content_hash(text) for text in texts),
        sizes=tuple(len(text) for text in texts),
        owners=tuple(owners),
    )


def _length(parts: Sequence[Segment]) -> int:
    return sum(len(part.ids) for part in parts)
