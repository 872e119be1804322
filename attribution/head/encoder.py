"""From the bytes of a table's rows to features: the tabular encoder, which nobody chooses.

An owner who could choose scales would move what a contributor earns by a factor of three. So the scales follow by
rule from the first K = min(n, 256) records of the snapshot: each column is centred on its mean over them and divided
by its standard deviation over them, in integers, and saturates at ±8 deviations. A last column is the constant 1, the
bias. A column that does not vary in those records carries nothing: its feature is 0.

With total = Σv, and spread = isqrt(K·Σv² - total²), which is K deviations, the feature of a value is

    floor(2**12 · (K·v - total) / spread), clipped to ±32767

Where spread is above 2**32, both it and K·v - total are first shifted right, so that everything fits in 64 bits.

Shapes: n records, k columns, d = k + 1 features. Units: features 2**-12.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attribution.exact import Int64
from attribution.record import TabularSchema, validate_query, validate_record

FEATURE_BITS = 12
FEATURE_MAXIMUM = (1 << 15) - 1
SATURATION_DEVIATIONS = 8
ENCODER_RECORDS = 256
"""K: records that fix the encoder."""

_SPREAD_BITS = 32
_BLOCK_RECORDS = 4096

Int16 = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The affine map of one column."""

    total: int
    """Sum of the column over the K records."""
    spread: int
    """K standard deviations, after the shift; 0 if the column does not vary."""
    shift: int
    """Bits by which the spread was shifted right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TabularEncoder:
    """The maps of all columns."""

    record_count: int
    """K."""
    scales: tuple[Scale, ...]
    """One for each column."""


def read_records(schema: TabularSchema, blobs: Sequence[bytes]) -> tuple[Int64, Int64]:
    """Labels and values of records' bytes.

    Shapes: labels (n,), values (n, k).
    Raises: AttributionError, as `record.decode_record` of the first record that is wrong.
    """
    layout = np.dtype([("label", ">u2"), ("values", ">i8", (len(schema.columns),))])
    if any(len(blob) != schema.record_size_bytes for blob in blobs):
        for blob in blobs:
            validate_record(schema, blob)
    table = np.frombuffer(b"".join(blobs), dtype=layout)
    labels, values = table["label"].astype(np.int64), table["values"].astype(np.int64)
    is_wrong = (labels >= schema.classes) | _is_outside(schema, values)
    if is_wrong.any():
        validate_record(schema, blobs[int(np.argmax(is_wrong))])
        raise AssertionError("the two forms of validation disagree")
    return labels, values


def read_queries(schema: TabularSchema, blobs: Sequence[bytes]) -> Int64:
    """Values of questions' bytes.

    Shapes: values (n, k).
    Raises: AttributionError, as `record.decode_query` of the first question that is wrong.
    """
    if any(len(blob) != schema.query_size_bytes for blob in blobs):
        for blob in blobs:
            validate_query(schema, blob)
    values = np.frombuffer(b"".join(blobs), dtype=">i8").astype(np.int64).reshape(-1, len(schema.columns))
    is_wrong = _is_outside(schema, values)
    if is_wrong.any():
        validate_query(schema, blobs[int(np.argmax(is_wrong))])
        raise AssertionError("the two forms of validation disagree")
    return values


def derive(values: Int64) -> TabularEncoder:
    """The encoder that a snapshot's values fix. Shapes: values (n, k)."""
    first = values[:ENCODER_RECORDS]
    return TabularEncoder(record_count=len(first), scales=tuple(_scale(column) for column in first.T.tolist()))


def encode(encoder: TabularEncoder, values: Int64) -> Int16:
    """Features of values, the bias last. Shapes: values (n, k) -> (n, k + 1)."""
    features = np.empty((len(values), values.shape[1] + 1), dtype=np.int16)
    # In blocks, because 64 bits for each value on the way would be most of the memory.
    for start in range(0, len(values), _BLOCK_RECORDS):
        block = slice(start, start + _BLOCK_RECORDS)
        features[block, :-1] = _encode_block(encoder, values[block])
    features[:, -1] = 1 << FEATURE_BITS
    return features


def _encode_block(encoder: TabularEncoder, values: Int64) -> Int64:
    total = np.array([scale.total for scale in encoder.scales], dtype=np.int64)
    spread = np.array([scale.spread for scale in encoder.scales], dtype=np.int64)
    shift = np.array([scale.shift for scale in encoder.scales], dtype=np.int64)
    # |K·v - total| ≤ 2·256·2**40 = 2**49, and after clipping the product is below 2**(32 + 3 + 12) = 2**47.
    centred = (encoder.record_count * values - total) >> shift
    centred = np.clip(centred, -SATURATION_DEVIATIONS * spread, SATURATION_DEVIATIONS * spread)
    features: Int64 = np.clip((centred << FEATURE_BITS) // np.maximum(spread, 1), -FEATURE_MAXIMUM, FEATURE_MAXIMUM)
    return features


def _scale(column: list[int]) -> Scale:
    total = sum(column)
    spread = math.isqrt(len(column) * sum(value * value for value in column) - total * total)
    shift = max(0, spread.bit_length() - _SPREAD_BITS)
    return Scale(total=total, spread=spread >> shift, shift=shift)


def _is_outside(schema: TabularSchema, values: Int64) -> npt.NDArray[np.bool_]:
    minimum = np.array([column.minimum for column in schema.columns], dtype=np.int64)
    maximum = np.array([column.maximum for column in schema.columns], dtype=np.int64)
    is_outside: npt.NDArray[np.bool_] = np.any((values < minimum) | (values > maximum), axis=1)
    return is_outside
