"""The rules of clusters, the verdict on a record, and what a verdict costs at most. Standard library only.

Similarities are whole thousandths. For a tabular record the cost is in multiply-accumulates, for a text in steps, one
step being a few integer operations on one hash; both are known before any work, and no input makes a verdict dearer.
"""

from dataclasses import dataclass
from enum import IntEnum

from attribution.errors import AttributionError, Reason

SAME = 1000
"""Similarity of two equal records. Units: thousandths."""

MINIMUM_FEATURES = 8
"""With fewer features only exact copies are told: in two dimensions a thousand chance records lie in 21 directions."""
MAXIMUM_FEATURES = 512
MAXIMUM_BATCH = 1024
"""Records that are compared in one go; a longer batch is cut into such."""
SKETCH_WIDTH = 64
"""Fewest sums that a record of many features is folded into for the first comparison."""

PERMUTATIONS = 128
BANDS = 32
BAND_ROWS = PERMUTATIONS // BANDS
SHINGLE_TOKENS = 3
MAXIMUM_TEXT_SIZE_BYTES = 1 << 20
MAXIMUM_SHINGLES = 1 << 14
"""Largest number of different shingles of one text."""
ANCHOR_RATE = 8
"""A shingle is an anchor if its hash is a multiple of this."""
ANCHOR_TEXTS = 64
"""Texts that anchors propose: those that share the most of them."""
CROWD_ANCHORS = 16
"""Fewest anchors of a text that can be crowded: fewer may all be phrases that everybody uses."""
BUCKET_RECORDS = 16
"""Texts that one value of a band, or one anchor, may propose: the eldest. Later ones stand in their other buckets."""


class VerdictKind(IntEnum):
    """What admission makes of a record."""

    NEW = 0
    """It leads a cluster of its own."""
    JOINS = 1
    """It belongs to the cluster of an elder leader."""
    COPY = 2
    """It is a copy of an elder record, and is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What admission makes of a record, and why."""

    kind: VerdictKind
    """New, joins, or a copy."""
    cluster: int
    """Number of the cluster: the seniority of its first leader; of a copy, the cluster of its original."""
    original: int | None = None
    """Seniority of the record that this one is compared to: the leader it joins, or the record it copies."""
    similarity: int = 0
    """Of the two, and 0 for a new record. Units: thousandths."""

    @property
    def leader(self) -> int | None:
        """The cluster that a record joins; none for a new one and for a copy."""
        return self.cluster if self.kind is VerdictKind.JOINS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TabularRule:
    """Parameters for tabular records."""

    join_permille: int = 970
    """From this similarity on, with the same label, a record joins."""

    def __post_init__(self) -> None:
        _validate_threshold("join_permille", self.join_permille)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRule:
    """Parameters for texts."""

    copy_permille: int = 800
    """From this similarity to any elder record on, a text is a copy."""
    cluster_permille: int = 300
    """From this similarity to a leader on, a text joins."""
    tag: bytes = b"openledger/minhash/1"
    """From the chain's genesis: fixes the hashes and the permutations."""

    def __post_init__(self) -> None:
        _validate_threshold("copy_permille", self.copy_permille)
        _validate_threshold("cluster_permille", self.cluster_permille)
        if self.cluster_permille > self.copy_permille:
            detail = f"cluster_permille {self.cluster_permille} is above copy_permille {self.copy_permille}"
            raise AttributionError(Reason.THRESHOLD_OUT_OF_RANGE, detail)


def tabular_work(leaders: int, records: int, features: int) -> int:
    """Most multiply-accumulates that verdicts on `records` in a row take, with `leaders` at the start.

    Each record meets each leader, and each record before it, once folded and at most once in full.
    """
    if features < MINIMUM_FEATURES:
        return 0
    return records * (leaders + min(records, MAXIMUM_BATCH)) * (features + sketch_width(features) + 2)


def sketch_group(features: int) -> int:
    """Features that are folded into one sum."""
    return max(1, features // SKETCH_WIDTH)


def sketch_width(features: int) -> int:
    """Sums that a record is folded into: from 64 to 127 where there are that many features."""
    return -(-features // sketch_group(features))


def text_work(shingles: int, rule: TextRule) -> int:
    """Most steps that the verdict on a text of so many different shingles takes.

    The permutations, the anchors' buckets, and a merge with every text that is proposed; a text that is more than
    1000/cluster_permille times longer or shorter is told apart by its length.
    """
    longest_other = min(MAXIMUM_SHINGLES, shingles * SAME // rule.cluster_permille)
    proposed = BANDS * BUCKET_RECORDS + ANCHOR_TEXTS + 1
    return (PERMUTATIONS + BUCKET_RECORDS) * shingles + proposed * (shingles + longest_other)


def _validate_threshold(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= SAME:
        raise AttributionError(Reason.THRESHOLD_OUT_OF_RANGE, f"{name}: {value} is not in 1 to {SAME}")
