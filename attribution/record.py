"""Records as bytes: the schemas, tabular and text, and one canonical form for every record and question.

Standard library only, so that a node can admit records without numpy.

A value is an integer: the decimal number times 10**decimals of its column. Layouts, big-endian:

    tabular   record   label u16 | one i64 per column
              query    one i64 per column
              schema   TAG | classes u16 | column count u16 | per column: name size u8, name UTF-8, decimals u8,
                       minimum i64, maximum i64
    text      record   label u16 | UTF-8 to the end
              query    UTF-8 to the end
              schema   TAG | classes u16 | dimensions u16 | minimum size u32 | maximum size u32

Every byte string has at most one reading, so equal content means equal bytes. A text is compared by its bytes: nothing
is normalised here, and what two spellings share is the encoder's business.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import TypeAlias

from attribution.errors import AttributionError, Reason

SCHEMA_TAG = b"openledger/tabular-schema/1"
TEXT_SCHEMA_TAG = b"openledger/text-schema/1"
MAXIMUM_COLUMNS = 511
MAXIMUM_DIMENSIONS = 1023
MAXIMUM_TEXT_SIZE_BYTES = 1 << 16
MINIMUM_CLASSES = 2
MAXIMUM_CLASSES = 64
MAXIMUM_DECIMALS = 12
MAXIMUM_NAME_SIZE_BYTES = 64
MAXIMUM_VALUE = 1 << 40
"""Largest magnitude of a scaled value: keeps the encoder's sums inside 64 bits."""

_LABEL_SIZE_BYTES = 2
_VALUE_SIZE_BYTES = 8
_MAXIMUM_NUMBER_DIGITS = 64
_DECIMAL_CONTEXT = Context(prec=2 * _MAXIMUM_NUMBER_DIGITS, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One numeric column."""

    name: str
    """What people call it; unique within the schema; no control characters."""
    decimals: int
    """Digits after the decimal point: a value is the number times 10**decimals."""
    minimum: int
    """Smallest admissible scaled value."""
    maximum: int
    """Largest admissible scaled value."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise AttributionError(Reason.SCHEMA_MALFORMED, "a column's name is not text")
        size_bytes = len(_encode_name(self.name))
        _check_schema(1 <= size_bytes <= MAXIMUM_NAME_SIZE_BYTES, f"column name of {size_bytes} bytes")
        has_control = any(ord(character) < 0x20 or ord(character) == 0x7F for character in self.name)
        _check_schema(not has_control, "a column's name holds a control character")
        _check_schema(_is_integer(self.decimals) and 0 <= self.decimals <= MAXIMUM_DECIMALS, f"{self.name}: decimals")
        _check_schema(_is_integer(self.minimum) and _is_integer(self.maximum), f"{self.name}: bounds are not integers")
        _check_schema(
            -MAXIMUM_VALUE <= self.minimum <= self.maximum <= MAXIMUM_VALUE,
            f"{self.name}: bounds {self.minimum} to {self.maximum}",
        )

    def value(self, number: str | int | float | Decimal) -> int:
        """Scaled integer of a decimal number, rounded half to even at the column's last digit.

        A float is read as the decimal that Python prints for it, so 0.1 is one tenth.

        Raises: AttributionError(VALUE_NOT_A_NUMBER | VALUE_OUT_OF_RANGE).
        """
        decimal = _parse_decimal(self.name, number)
        # Far outside every bound, and 1e999999999 would not fit in memory as an integer.
        if decimal.adjusted() > _MAXIMUM_NUMBER_DIGITS:
            raise AttributionError(Reason.VALUE_OUT_OF_RANGE, f"column {self.name}: {decimal}")
        scaled = decimal.scaleb(self.decimals, _DECIMAL_CONTEXT).to_integral_value(ROUND_HALF_EVEN)
        value = int(scaled)
        if not self.minimum <= value <= self.maximum:
            raise AttributionError(Reason.VALUE_OUT_OF_RANGE, f"column {self.name}: {decimal}")
        return value

    def number(self, value: int) -> Decimal:
        """Decimal number of a scaled integer: the inverse of `value`."""
        return Decimal(value).scaleb(-self.decimals, _DECIMAL_CONTEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class TabularSchema:
    """The columns and the number of classes that every record of a datanet has."""

    columns: tuple[Column, ...]
    """In byte order of the record."""
    classes: int
    """Labels are 0 to classes - 1."""

    def __post_init__(self) -> None:
        _check_schema(isinstance(self.columns, tuple), "columns are not a tuple")
        _check_schema(1 <= len(self.columns) <= MAXIMUM_COLUMNS, f"{len(self.columns)} columns")
        _check_schema(all(isinstance(column, Column) for column in self.columns), "a column is not a Column")
        _check_schema(
            _is_integer(self.classes) and MINIMUM_CLASSES <= self.classes <= MAXIMUM_CLASSES, f"{self.classes} classes"
        )
        names = [column.name for column in self.columns]
        _check_schema(len(set(names)) == len(names), "two columns have the same name")

    @property
    def record_size_bytes(self) -> int:
        """Size of every record."""
        return _LABEL_SIZE_BYTES + self.query_size_bytes

    @property
    def query_size_bytes(self) -> int:
        """Size of every query."""
        return _VALUE_SIZE_BYTES * len(self.columns)

    @property
    def unknowns(self) -> int:
        """Weights of a head on this schema: (columns + bias) times classes."""
        return (len(self.columns) + 1) * self.classes

    def encode(self) -> bytes:
        """Canonical bytes of the schema."""
        parts = [struct.pack(">HH", self.classes, len(self.columns))]
        for column in self.columns:
            name = _encode_name(column.name)
            parts.append(bytes([len(name)]) + name)
            parts.append(struct.pack(">Bqq", column.decimals, column.minimum, column.maximum))
        return b"".join(parts)

    def id(self) -> bytes:
        """SHA-256 over the tag and the canonical bytes."""
        return hashlib.sha256(SCHEMA_TAG + self.encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSchema:
    """Labelled text: how many features it is projected to, and how long it may be."""

    dimensions: int
    """Features that the n-grams are projected to, without the bias."""
    classes: int
    """Labels are 0 to classes - 1."""
    minimum_size_bytes: int
    """A shorter text is refused, so that fragments of one record are not records."""
    maximum_size_bytes: int
    """A longer text is refused."""

    def __post_init__(self) -> None:
        _check_schema(
            _is_integer(self.dimensions) and 1 <= self.dimensions <= MAXIMUM_DIMENSIONS, f"{self.dimensions} dimensions"
        )
        _check_schema(
            _is_integer(self.classes) and MINIMUM_CLASSES <= self.classes <= MAXIMUM_CLASSES, f"{self.classes} classes"
        )
        sizes = self.minimum_size_bytes, self.maximum_size_bytes
        _check_schema(all(map(_is_integer, sizes)), "sizes are not integers")
        _check_schema(1 <= sizes[0] <= sizes[1] <= MAXIMUM_TEXT_SIZE_BYTES, f"texts of {sizes[0]} to {sizes[1]} bytes")

    @property
    def unknowns(self) -> int:
        """Weights of a head on this schema: (dimensions + bias) times classes."""
        return (self.dimensions + 1) * self.classes

    def encode(self) -> bytes:
        """Canonical bytes of the schema."""
        sizes = self.minimum_size_bytes, self.maximum_size_bytes
        return struct.pack(">HHII", self.classes, self.dimensions, *sizes)

    def id(self) -> bytes:
        """SHA-256 over the tag and the canonical bytes."""
        return hashlib.sha256(TEXT_SCHEMA_TAG + self.encode()).digest()


Schema: TypeAlias = TabularSchema | TextSchema


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record's content."""

    label: int
    """The class that its contributor says it has."""
    values: tuple[int, ...]
    """One scaled integer per column."""


def encode_record(schema: TabularSchema, label: int, values: Sequence[int]) -> bytes:
    """Canonical bytes of a record.

    Raises: AttributionError(LABEL_OUT_OF_RANGE | WRONG_VALUE_COUNT | VALUE_OUT_OF_RANGE).
    """
    _validate_label(schema, label)
    return struct.pack(">H", label) + encode_query(schema, values)


def decode_record(schema: TabularSchema, data: bytes) -> Record:
    """Content of a record's bytes.

    Raises: AttributionError(RECORD_WRONG_SIZE | LABEL_OUT_OF_RANGE | VALUE_OUT_OF_RANGE).
    """
    if len(data) != schema.record_size_bytes:
        detail = f"{len(data)} bytes, the schema fixes {schema.record_size_bytes}"
        raise AttributionError(Reason.RECORD_WRONG_SIZE, detail)
    label = int.from_bytes(data[:_LABEL_SIZE_BYTES], "big")
    _validate_label(schema, label)
    return Record(label=label, values=_decode_values(schema, data[_LABEL_SIZE_BYTES:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRecord:
    """A text record's content."""

    label: int
    """The class that its contributor says it has."""
    text: str
    """The text."""


def encode_text_record(schema: TextSchema, label: int, text: str) -> bytes:
    """Canonical bytes of a record. Raises: AttributionError(LABEL_OUT_OF_RANGE | TEXT_*)."""
    _validate_label(schema, label)
    return struct.pack(">H", label) + encode_text_query(schema, text)


def decode_text_record(schema: TextSchema, data: bytes) -> TextRecord:
    """Content of a record's bytes. Raises: AttributionError(RECORD_WRONG_SIZE | LABEL_OUT_OF_RANGE | TEXT_*)."""
    if len(data) < _LABEL_SIZE_BYTES:
        raise AttributionError(Reason.RECORD_WRONG_SIZE, f"{len(data)} bytes have no room for a label")
    label = int.from_bytes(data[:_LABEL_SIZE_BYTES], "big")
    _validate_label(schema, label)
    return TextRecord(label=label, text=decode_text_query(schema, data[_LABEL_SIZE_BYTES:]))


def encode_text_query(schema: TextSchema, text: str) -> bytes:
    """Canonical bytes of a question. Raises: AttributionError(TEXT_*)."""
    # At least one byte a character, so that a megabyte too much is refused before it is encoded.
    if len(text) > schema.maximum_size_bytes:
        detail = f"{len(text)} characters, at most {schema.maximum_size_bytes} bytes"
        raise AttributionError(Reason.TEXT_TOO_LONG, detail)
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        raise AttributionError(Reason.TEXT_NOT_UTF8, "a lone surrogate") from None
    _validate_size(schema, data)
    return data


def decode_text_query(schema: TextSchema, data: bytes) -> str:
    """Text of a question's bytes.

    Raises: AttributionError(TEXT_EMPTY | TEXT_TOO_SHORT | TEXT_TOO_LONG | TEXT_NOT_UTF8).
    """
    _validate_size(schema, data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise AttributionError(Reason.TEXT_NOT_UTF8, f"byte {error.start}") from None


def validate_record(schema: Schema, data: bytes) -> None:
    """Raise unless `data` is a record of the schema. Raises: as `decode_record` or `decode_text_record`."""
    if isinstance(schema, TextSchema):
        decode_text_record(schema, data)
    else:
        decode_record(schema, data)


def encode_query(schema: TabularSchema, values: Sequence[int]) -> bytes:
    """Canonical bytes of a question. Raises: AttributionError(WRONG_VALUE_COUNT | VALUE_OUT_OF_RANGE)."""
    if len(values) != len(schema.columns):
        detail = f"{len(values)} values for {len(schema.columns)} columns"
        raise AttributionError(Reason.WRONG_VALUE_COUNT, detail)
    _validate_values(schema, values)
    return struct.pack(f">{len(values)}q", *values)


def decode_query(schema: TabularSchema, data: bytes) -> tuple[int, ...]:
    """Values of a question's bytes. Raises: AttributionError(QUERY_WRONG_SIZE | VALUE_OUT_OF_RANGE)."""
    if len(data) != schema.query_size_bytes:
        detail = f"{len(data)} bytes, the schema fixes {schema.query_size_bytes}"
        raise AttributionError(Reason.QUERY_WRONG_SIZE, detail)
    return _decode_values(schema, data)


def validate_query(schema: Schema, data: bytes) -> None:
    """Raise unless `data` is a question of the schema. Raises: as `decode_query` or `decode_text_query`."""
    if isinstance(schema, TextSchema):
        decode_text_query(schema, data)
    else:
        decode_query(schema, data)


def _decode_values(schema: TabularSchema, data: bytes) -> tuple[int, ...]:
    values = struct.unpack(f">{len(schema.columns)}q", data)
    _validate_values(schema, values)
    return values


def _validate_size(schema: TextSchema, data: bytes) -> None:
    if not data:
        raise AttributionError(Reason.TEXT_EMPTY)
    if len(data) < schema.minimum_size_bytes:
        raise AttributionError(Reason.TEXT_TOO_SHORT, f"{len(data)} bytes, at least {schema.minimum_size_bytes}")
    if len(data) > schema.maximum_size_bytes:
        raise AttributionError(Reason.TEXT_TOO_LONG, f"{len(data)} bytes, at most {schema.maximum_size_bytes}")


def _validate_label(schema: Schema, label: int) -> None:
    if not _is_integer(label) or not 0 <= label < schema.classes:
        raise AttributionError(Reason.LABEL_OUT_OF_RANGE, f"label {label} of {schema.classes} classes")


def _validate_values(schema: TabularSchema, values: Sequence[int]) -> None:
    for column, value in zip(schema.columns, values, strict=True):
        if not _is_integer(value) or not column.minimum <= value <= column.maximum:
            detail = f"column {column.name}: {value} is not in {column.minimum} to {column.maximum}"
            raise AttributionError(Reason.VALUE_OUT_OF_RANGE, detail)


def _parse_decimal(name: str, number: str | int | float | Decimal) -> Decimal:
    is_short = not isinstance(number, int) or abs(number) < 10**_MAXIMUM_NUMBER_DIGITS
    text = str(number).strip() if is_short else "a very large integer"
    # A megabyte of digits is refused before any arithmetic on it.
    if isinstance(number, bool) or len(text) > _MAXIMUM_NUMBER_DIGITS or not text.isascii():
        raise AttributionError(Reason.VALUE_NOT_A_NUMBER, f"column {name}: {text[:_MAXIMUM_NUMBER_DIGITS]!r}")
    try:
        decimal = Decimal(text, _DECIMAL_CONTEXT)
    except InvalidOperation:
        raise AttributionError(Reason.VALUE_NOT_A_NUMBER, f"column {name}: {text!r}") from None
    if not decimal.is_finite():
        raise AttributionError(Reason.VALUE_NOT_A_NUMBER, f"column {name}: {text!r}")
    return decimal


def _encode_name(name: str) -> bytes:
    try:
        return name.encode("utf-8")
    except UnicodeEncodeError:
        raise AttributionError(Reason.SCHEMA_MALFORMED, "a column's name is not Unicode text") from None


def _check_schema(is_valid: bool, detail: str) -> None:
    if not is_valid:
        raise AttributionError(Reason.SCHEMA_MALFORMED, detail)


def _is_integer(value: object) -> bool:
    """Whether the value is an integer and not a bool, which Python also counts as one."""
    return isinstance(value, int) and not isinstance(value, bool)
