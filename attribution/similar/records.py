"""From tabular records to what clusters compare: features by a frozen encoder, and a key that equal records share.

The encoder is `head.encoder`'s, fixed by a datanet's first 256 admitted records. The bias is left out, and so is a
column that does not vary in those 256, because its feature is 0 for every record. Such a column must be equal as it
stands for two records to be equal; every other column is equal when its feature is. So the key of a record is

    SHA-256(tag | label u16 | features i16 ... | values of the columns that do not vary i64 ...), big-endian
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attribution.errors import AttributionError, Reason
from attribution.exact import Int64, magnitude
from attribution.head.encoder import FEATURE_MAXIMUM, Int16, TabularEncoder, encode, read_records
from attribution.record import TabularSchema

_KEY_TAG = b"openledger/tabular-key/1"
_FEATURE = np.dtype(">i2")
_VALUE = np.dtype(">i8")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Records to be judged one after another. Shapes: m records, d features."""

    seniorities: tuple[int, ...]
    """Strictly increasing, and above those of all records before."""
    labels: Int64
    """(m,)."""
    features: Int16
    """(m, d)."""
    keys: tuple[bytes, ...]
    """Equal for records that are equal after quantisation."""

    def __post_init__(self) -> None:
        count = len(self.seniorities)
        shapes = (self.labels.shape, self.features.shape[:1], (len(self.keys),))
        is_whole = shapes == ((count,),) * 3 and self.features.ndim == 2 and self.features.dtype == np.int16
        if not is_whole or magnitude(self.features.astype(np.int64)) > FEATURE_MAXIMUM:
            detail = f"{self.features.dtype} {self.features.shape} for {count} records"
            raise AttributionError(Reason.FEATURES_MALFORMED, detail)
        if any(later <= earlier for earlier, later in zip(self.seniorities, self.seniorities[1:], strict=False)):
            raise AttributionError(Reason.OUT_OF_ORDER, "seniorities of a batch do not increase")

    def __len__(self) -> int:
        return len(self.seniorities)

    def part(self, rows: slice) -> "Batch":
        """Some of the records."""
        return Batch(
            seniorities=self.seniorities[rows],
            labels=self.labels[rows],
            features=self.features[rows],
            keys=self.keys[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the index knows of an admitted record: all of its state, with canonical bytes."""

    seniority: int
    """Of the record."""
    cluster: int
    """Number of its cluster."""
    label: int
    """Its label."""
    key: bytes
    """Equal for equal records."""
    features: bytes
    """Of a leader: its features, two bytes each, big-endian. Of any other record: empty."""

    def encode(self) -> bytes:
        """seniority u64 | cluster u64 | label u16 | key 32 bytes | features."""
        head = self.seniority.to_bytes(8, "big") + self.cluster.to_bytes(8, "big") + self.label.to_bytes(2, "big")
        return head + self.key + self.features

    @staticmethod
    def decode(data: bytes) -> "Entry":
        """The inverse of `encode`."""
        seniority, cluster, label = (int.from_bytes(data[a:b], "big") for a, b in ((0, 8), (8, 16), (16, 18)))
        return Entry(seniority=seniority, cluster=cluster, label=label, key=data[18:50], features=data[50:])


def read_batch(
    schema: TabularSchema, encoder: TabularEncoder, seniorities: Sequence[int], blobs: Sequence[bytes]
) -> Batch:
    """Records as the clusters compare them. Raises: AttributionError, as `record.decode_record`."""
    labels, values = read_records(schema, blobs)
    return make_batch(encoder, seniorities, labels, values)


def make_batch(encoder: TabularEncoder, seniorities: Sequence[int], labels: Int64, values: Int64) -> Batch:
    """The same from values. Shapes: labels (m,), values (m, columns)."""
    is_varying = varying(encoder)
    features = encode(encoder, values)[:, :-1][:, is_varying]
    still = values[:, ~is_varying].astype(_VALUE)
    keys = tuple(
        make_key(label, row.tobytes() + rest.tobytes())
        for label, row, rest in zip(labels.tolist(), features.astype(_FEATURE), still, strict=True)
    )
    return Batch(seniorities=tuple(seniorities), labels=labels, features=features, keys=keys)


def varying(encoder: TabularEncoder) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which columns vary in the records that fixed the encoder: these have features."""
    return np.array([scale.spread > 0 for scale in encoder.scales], dtype=np.bool_)


def encode_features(features: Int16) -> bytes:
    """Bytes of one record's features. Shapes: (d,)."""
    return features.astype(_FEATURE).tobytes()


def decode_features(data: bytes, width: int) -> Int16:
    """The inverse. Raises: AttributionError(FEATURES_MALFORMED)."""
    if len(data) != _FEATURE.itemsize * width:
        raise AttributionError(Reason.FEATURES_MALFORMED, f"{len(data)} bytes for {width} features")
    return np.frombuffer(data, dtype=_FEATURE).astype(np.int16)


def make_key(label: int, content: bytes) -> bytes:
    """Key of a quantised record."""
    return hashlib.sha256(_KEY_TAG + label.to_bytes(2, "big") + content).digest()
