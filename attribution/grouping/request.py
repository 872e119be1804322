"""What the ledger asks about near-copies, and what it is answered: immutable values with canonical bytes and ids.

Records are grouped in the order of their acceptance, up to 1,024 at a time. The first request of a form also fixes its
encoder: it has no scales, and the answer's are those of its first 256 records. Every later request names them, so that
nothing depends on a content that may be erased.

    GroupRequest   schema id | join_permille u16 | list of scales | list of leader hashes | list of record hashes
    Scale          total i64 | spread u64 | shift u8
    GroupResult    list of scales | list of leader places u32

Standard library only. A request's id is SHA-256 over its tag and these bytes.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from attribution.content import encode_list, validate_hashes
from attribution.errors import AttributionError, Reason
from attribution.record import TabularSchema
from attribution.similar.request import MAXIMUM_BATCH, TabularRule, tabular_work

ENCODER_RECORDS = 256
"""Records that fix the encoder of a form; before there are so many, nothing is grouped."""
NO_LEADER = 2**32 - 1
"""The place of a record that no leader is like: it leads a cluster of its own."""
MAXIMUM_LEADERS = 1 << 20

_TAG = b"openledger/group-request/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The affine map of one column, as `head.encoder` derives it."""

    total: int
    """Sum of the column over the records that fix the encoder."""
    spread: int
    """Their deviations; 0 if the column does not vary."""
    shift: int
    """Bits by which the spread was shifted right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRequest:
    """Which leader is each record a near-copy of?"""

    schema: TabularSchema
    """Form of the records."""
    rule: TabularRule
    """From which similarity on."""
    scales: tuple[Scale, ...]
    """The encoder of the form; none while it is to be fixed."""
    leaders: tuple[bytes, ...]
    """Content hashes of what new records are compared with, eldest first."""
    records: tuple[bytes, ...]
    """Content hashes of the records, in the order of their acceptance."""

    def __post_init__(self) -> None:
        least = 1 if self.scales else ENCODER_RECORDS
        if len(self.records) < least:
            raise AttributionError(Reason.NO_RECORDS, f"{len(self.records)}, at least {least}")
        for count, most in ((len(self.records), MAXIMUM_BATCH), (len(self.leaders), MAXIMUM_LEADERS)):
            if count > most:
                raise AttributionError(Reason.TOO_MANY_RECORDS, f"{count}, at most {most}")
        if self.scales and len(self.scales) != len(self.schema.columns):
            raise AttributionError(Reason.FEATURES_MALFORMED, f"{len(self.scales)} scales")
        validate_hashes(self.leaders)
        validate_hashes(self.records)

    def encode(self) -> bytes:
        """Canonical bytes."""
        head = self.schema.id() + struct.pack(">H", self.rule.join_permille) + _encode_scales(self.scales)
        return head + encode_list(self.leaders) + encode_list(self.records)

    def request_id(self) -> bytes:
        """SHA-256 over the tag and the canonical bytes."""
        return hashlib.sha256(_TAG + self.encode()).digest()

    def multiply_accumulates(self) -> int:
        """Most work: each record meets each leader, and each record before it."""
        return work(len(self.leaders), len(self.records), len(self.schema.columns))

    def material_hashes(self) -> tuple[bytes, ...]:
        """Names of the bytes that the computation reads."""
        return (*self.leaders, *self.records)

    def subject_hashes(self) -> tuple[bytes, ...]:
        """Of these, what a runner may have kept prepared: the leaders, but for those of the last groupings."""
        return self.leaders[:-MAXIMUM_BATCH]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupResult:
    """Who leads each record."""

    scales: tuple[Scale, ...]
    """The encoder of the form."""
    places: tuple[int, ...]
    """For each record the place of its leader: among the request's leaders, then among its records; or `NO_LEADER`."""

    def encode(self) -> bytes:
        """Canonical bytes."""
        return _encode_scales(self.scales) + struct.pack(f">I{len(self.places)}I", len(self.places), *self.places)


def work(leaders: int, records: int, columns: int) -> int:
    """Most multiply-accumulates of a grouping."""
    return tabular_work(leaders, records, columns)


def _encode_scales(scales: Sequence[Scale]) -> bytes:
    parts = [struct.pack(">qQB", each.total, each.spread, each.shift) for each in scales]
    return struct.pack(">I", len(parts)) + b"".join(parts)
