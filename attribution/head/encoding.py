"""From bytes to features, whatever the schema: the one place that knows which encoder a schema has.

Shapes: n points, d features, the bias last.
"""

from collections.abc import Sequence
from typing import TypeAlias

from attribution.exact import Int64
from attribution.head import encoder as tabular
from attribution.head import text
from attribution.head.encoder import Int16, TabularEncoder
from attribution.head.text import TextEncoder
from attribution.record import Schema, TabularSchema, TextSchema

Encoder: TypeAlias = TabularEncoder | TextEncoder


def read_snapshot(schema: Schema, blobs: Sequence[bytes]) -> tuple[Int16, Int64, Encoder]:
    """Features and labels of a snapshot's records, and the encoder that they fix.

    Shapes: features (n, d), labels (n,). Raises: AttributionError, of the first record that is wrong.
    """
    if isinstance(schema, TextSchema):
        labels, texts = text.read_records(schema, blobs)
        words = text.derive(schema.dimensions, texts)
        return text.encode(words, texts), labels, words
    labels, values = tabular.read_records(schema, blobs)
    scales = tabular.derive(values)
    return tabular.encode(scales, values), labels, scales


def read_points(encoder: Encoder, schema: Schema, blobs: Sequence[bytes]) -> tuple[Int64, Int16]:
    """Labels and features of labelled points, with a snapshot's encoder.

    Shapes: labels (n,), features (n, d). Raises: AttributionError, of the first point that is wrong.
    """
    if isinstance(schema, TextSchema):
        assert isinstance(encoder, TextEncoder)
        labels, texts = text.read_records(schema, blobs)
        return labels, text.encode(encoder, texts)
    assert isinstance(encoder, TabularEncoder)
    labels, values = tabular.read_records(schema, blobs)
    return labels, tabular.encode(encoder, values)


def read_questions(encoder: Encoder, schema: Schema, blobs: Sequence[bytes]) -> Int16:
    """Features of questions, with a snapshot's encoder.

    Shapes: (n, d). Raises: AttributionError, of the first question that is wrong.
    """
    if isinstance(schema, TextSchema):
        assert isinstance(encoder, TextEncoder)
        return text.encode(encoder, text.read_queries(schema, blobs))
    assert isinstance(schema, TabularSchema)
    assert isinstance(encoder, TabularEncoder)
    return tabular.encode(encoder, tabular.read_queries(schema, blobs))
