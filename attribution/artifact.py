"""A trained model as one file: what it is, how its data is read, and everything but the records that it is made of.

The records stay in their own file; the model names each by its SHA-256, in order. Integers are big-endian, `text` is a
size u16 and UTF-8, `hashes` a u32 count and 32 bytes each:

    magic 8 bytes | version u16 | text engine
    | kind of schema u8 (0 columns, 1 text), size u32, the schema's canonical bytes
    | text label field | text text field | count u16, text name of each class
    | head/1: damping u32                      mlp/1: count u8, hidden widths u16 each
    | hashes of the records
    | head/1: nothing                          mlp/1: count u8, the checkpoints' scales u8 each
    | count u8, then weights and inverse of head/1, or of each checkpoint: size u64, bytes
    | SHA-256 of the model's canonical bytes | SHA-256 of all before

Whoever reads one gets the same model or a reason: a file has one reading, which is checked by writing it again. That
the model is good is another question, which `certify` answers.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from attribution.content import HASH_SIZE_BYTES, content_hash, encode_list
from attribution.errors import AttributionError, Reason
from attribution.examples import Form
from attribution.head.request import ENGINE_HEAD, Model, Problem
from attribution.mlp.request import ENGINE_MLP, Checkpoint, MlpModel, MlpProblem
from attribution.record import Column, Schema, TabularSchema, TextSchema

MAGIC = b"OLmodel\n"
VERSION = 1

AnyModel: TypeAlias = Model | MlpModel

_COLUMNS, _TEXT = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A model and how its data is read."""

    form: Form
    """How a file becomes records and questions."""
    model: AnyModel
    """The model."""
    materials: dict[bytes, bytes]
    """By content hash: what the model is made of beside the records."""


def encode_artifact(artifact: Artifact) -> bytes:
    """Bytes of the file."""
    form, model = artifact.form, artifact.model
    is_text = isinstance(form.schema, TextSchema)
    schema = form.schema.encode()
    parts = [MAGIC, struct.pack(">H", VERSION), _text(model.problem.engine)]
    parts += [struct.pack(">BI", _TEXT if is_text else _COLUMNS, len(schema)), schema]
    parts += [_text(form.label), _text(form.text), struct.pack(">H", len(form.class_names))]
    parts += [_text(name) for name in form.class_names]
    records = encode_list(model.problem.records)
    if isinstance(model, Model):
        parts += [struct.pack(">I", model.problem.damping), records]
    else:
        widths, scales = model.problem.widths, [each.scale for each in model.checkpoints]
        parts += [struct.pack(f">B{len(widths)}H", len(widths), *widths), records, bytes([len(scales)]), bytes(scales)]
    posted = _posted(model)
    parts.append(bytes([len(posted)]))
    for name in posted:
        data = artifact.materials[name]
        parts += [struct.pack(">Q", len(data)), data]
    parts.append(hashlib.sha256(model.encode()).digest())
    data = b"".join(parts)
    return data + hashlib.sha256(data).digest()


def decode_artifact(data: bytes) -> Artifact:
    """The inverse. Raises: AttributionError(ARTIFACT_MALFORMED | ARTIFACT_VERSION_UNKNOWN | ENGINE_UNKNOWN | …)."""
    head = len(MAGIC) + 2
    if len(data) < head + HASH_SIZE_BYTES or data[: len(MAGIC)] != MAGIC:
        raise AttributionError(Reason.ARTIFACT_MALFORMED, "no model begins so")
    if content_hash(data[:-HASH_SIZE_BYTES]) != data[-HASH_SIZE_BYTES:]:
        raise AttributionError(Reason.ARTIFACT_MALFORMED, "cut off, or a bit is wrong: its SHA-256 differs")
    version = int.from_bytes(data[len(MAGIC) : head], "big")
    if version != VERSION:
        raise AttributionError(Reason.ARTIFACT_VERSION_UNKNOWN, f"version {version}, not {VERSION}")
    artifact = _decode(_Reader(data[head:-HASH_SIZE_BYTES]))
    if encode_artifact(artifact) != data:
        raise AttributionError(Reason.ARTIFACT_MALFORMED, "not written by the rule")
    return artifact


def _decode(reader: "_Reader") -> Artifact:
    engine = reader.text()
    if engine not in (ENGINE_HEAD, ENGINE_MLP):
        raise AttributionError(Reason.ENGINE_UNKNOWN, f"{engine[:40]!r}, not {ENGINE_HEAD} or {ENGINE_MLP}")
    kind, size = reader.numbers(">BI")
    schema = _decode_schema(kind, _Reader(reader.take(size)))
    label, text = reader.text(), reader.text()
    names = tuple(reader.text() for _ in range(reader.numbers(">H")[0]))
    if len(names) != schema.classes or (kind == _TEXT) != bool(text):
        raise AttributionError(Reason.ARTIFACT_MALFORMED, "its fields are not those of its schema")
    form = Form(schema=schema, label=label, text=text, class_names=names)
    if engine == ENGINE_HEAD:
        model, materials = _decode_head(schema, reader)
    else:
        model, materials = _decode_mlp(schema, reader)
    if reader.take(HASH_SIZE_BYTES) != hashlib.sha256(model.encode()).digest():
        raise AttributionError(Reason.ARTIFACT_MALFORMED, "the model has another id")
    reader.finish()
    return Artifact(form=form, model=model, materials=materials)


def _decode_head(schema: Schema, reader: "_Reader") -> tuple[AnyModel, dict[bytes, bytes]]:
    (damping,) = reader.numbers(">I")
    problem = Problem(engine=ENGINE_HEAD, schema=schema, damping=damping, records=reader.hashes())
    posted = reader.blobs()
    if len(posted) != 2:
        raise AttributionError(Reason.ARTIFACT_MALFORMED, f"{len(posted)} parts: weights and inverse are two")
    weights, inverse = map(content_hash, posted)
    model = Model(problem=problem, weights=weights, inverse=inverse)
    return model, dict(zip((weights, inverse), posted, strict=True))


def _decode_mlp(schema: Schema, reader: "_Reader") -> tuple[AnyModel, dict[bytes, bytes]]:
    if not isinstance(schema, TabularSchema):
        raise AttributionError(Reason.ARTIFACT_MALFORMED, f"{ENGINE_MLP} reads no text")
    widths = reader.numbers(f">{reader.numbers('>B')[0]}H")
    problem = MlpProblem(engine=ENGINE_MLP, schema=schema, widths=tuple(widths), records=reader.hashes())
    scales = reader.take(reader.numbers(">B")[0])
    posted = reader.blobs()
    if len(posted) != 2 * len(scales):
        raise AttributionError(Reason.ARTIFACT_MALFORMED, f"{len(posted)} parts for {len(scales)} checkpoints")
    names = [content_hash(each) for each in posted]
    checkpoints = tuple(
        Checkpoint(weights=weights, inverse=inverse, scale=scale)
        for weights, inverse, scale in zip(names[::2], names[1::2], scales, strict=True)
    )
    return MlpModel(problem=problem, checkpoints=checkpoints), dict(zip(names, posted, strict=True))


def _decode_schema(kind: int, reader: "_Reader") -> Schema:
    schema: Schema
    if kind == _TEXT:
        classes, dimensions, minimum, maximum = reader.numbers(">HHII")
        schema = TextSchema(
            dimensions=dimensions, classes=classes, minimum_size_bytes=minimum, maximum_size_bytes=maximum
        )
    elif kind == _COLUMNS:
        classes, count = reader.numbers(">HH")
        schema = TabularSchema(columns=tuple(_decode_column(reader) for _ in range(count)), classes=classes)
    else:
        raise AttributionError(Reason.ARTIFACT_MALFORMED, f"schemas of kind {kind} are unknown")
    reader.finish()
    return schema


def _decode_column(reader: "_Reader") -> Column:
    name = _utf8(reader.take(reader.numbers(">B")[0]))
    decimals, minimum, maximum = reader.numbers(">Bqq")
    return Column(name=name, decimals=decimals, minimum=minimum, maximum=maximum)


class _Reader:
    """Takes a byte string apart from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def take(self, size: int) -> bytes:
        if size > len(self._data):
            raise AttributionError(Reason.ARTIFACT_MALFORMED, "a part is longer than the file")
        taken, self._data = bytes(self._data[:size]), self._data[size:]
        return taken

    def numbers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def text(self) -> str:
        return _utf8(self.take(self.numbers(">H")[0]))

    def hashes(self) -> tuple[bytes, ...]:
        data = self.take(HASH_SIZE_BYTES * self.numbers(">I")[0])
        return tuple(data[place : place + HASH_SIZE_BYTES] for place in range(0, len(data), HASH_SIZE_BYTES))

    def blobs(self) -> list[bytes]:
        return [self.take(self.numbers(">Q")[0]) for _ in range(self.numbers(">B")[0])]

    def finish(self) -> None:
        if len(self._data):
            raise AttributionError(Reason.ARTIFACT_MALFORMED, f"{len(self._data)} bytes too many")


def _posted(model: AnyModel) -> Sequence[bytes]:
    """Names of the bytes that the file holds."""
    if isinstance(model, Model):
        return model.weights, model.inverse
    return [name for each in model.checkpoints for name in (each.weights, each.inverse)]


def _text(value: str) -> bytes:
    data = value.encode("utf-8")
    return struct.pack(">H", len(data)) + data


def _utf8(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise AttributionError(Reason.ARTIFACT_MALFORMED, "a name is not UTF-8") from None
