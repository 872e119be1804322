"""From a file's rows to a schema, records and questions, for people who have data and no chain. Standard library only.

One field is the label. Either every other field is a number or a boolean, or one field is the text that is all of the
record. A form, derived from the rows that are trained on, says how any later file of the same fields is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from attribution.errors import AttributionError
from attribution.head.request import MAXIMUM_UNKNOWNS
from attribution.jsonl import DataError, Row
from attribution.record import (
    MAXIMUM_CLASSES,
    MAXIMUM_COLUMNS,
    MAXIMUM_DECIMALS,
    MAXIMUM_NAME_SIZE_BYTES,
    MAXIMUM_TEXT_SIZE_BYTES,
    MAXIMUM_VALUE,
    MINIMUM_CLASSES,
    Column,
    Schema,
    TabularSchema,
    TextSchema,
    encode_query,
    encode_record,
    encode_text_query,
    encode_text_record,
)
from attribution.tables import Cell, Source

DIMENSIONS = 255
"""Features of a text where nothing else is said: with the bias 256 for each class."""
MAXIMUM_LABEL_CHARACTERS = 256

_MAXIMUM_NUMBER_CHARACTERS = 64
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a file is read."""

    schema: Schema
    """Of the records."""
    label: str
    """The field with the label; empty: there is none, and every record has label 0."""
    text: str
    """The field that is the record; empty: the schema's columns are."""
    class_names: tuple[str, ...]
    """What each label means; empty where there is no label."""


def derive_form(
    source: Source, label: str, text: str = "", drop: Sequence[str] = (), dimensions: int = DIMENSIONS
) -> Form:
    """The form that fits every row: columns as the first row names them, as many digits as the numbers have.

    Columns admit every value that the arithmetic does, so that a later question is not refused for being extreme.

    Raises: DataError.
    """
    class_names = _class_names(source, label) if label else ()
    classes = len(class_names) or MINIMUM_CLASSES
    schema: Schema
    if text:
        if text not in source.rows[0]:
            raise DataError(f"{source.where(0)} has no text field {text!r}; its fields are {_fields(source.rows[0])}")
        schema = TextSchema(
            dimensions=min(dimensions, MAXIMUM_UNKNOWNS // classes - 1),
            classes=classes,
            minimum_size_bytes=1,
            maximum_size_bytes=MAXIMUM_TEXT_SIZE_BYTES,
        )
    else:
        schema = TabularSchema(columns=_columns(source, label, drop), classes=classes)
    return Form(schema=schema, label=label, text=text, class_names=class_names)


def encode_records(form: Form, source: Source) -> list[bytes]:
    """Bytes of each row as a record. Raises: DataError."""
    return [_encode(form, source, index, _class_of(form, source, index)) for index in range(len(source.rows))]


def encode_questions(form: Form, source: Source) -> list[bytes]:
    """Bytes of each row as a question; a label in it is not read. Raises: DataError."""
    return [_encode(form, source, index, None) for index in range(len(source.rows))]


def excerpt(form: Form, row: Row) -> str:
    """A row in a few words, for people; what a terminal would obey is left out."""
    if form.text:
        said = str(row.get(form.text))[: 2 * _SHOWN_CHARACTERS]
    elif isinstance(form.schema, TabularSchema):
        names = [column.name for column in form.schema.columns[:4]]
        said = ", ".join(f"{name} {row.get(name)}" for name in names)[: 2 * _SHOWN_CHARACTERS]
    return plain(said)


def plain(text: str) -> str:
    """The text in one line, without anything that a terminal would obey."""
    return "".join(each if each.isprintable() else " " for each in text)


def text_of(row: Row, name: str, where: str) -> str:
    """The text of a field. Raises: DataError."""
    value = row.get(name)
    if value is None:
        raise DataError(f"{where} has no text field {name!r}; its fields are {_fields(row)}")
    if not isinstance(value, str):
        raise DataError(f"{where}: {name!r} is {_shown(value)}, not text")
    return value


def _encode(form: Form, source: Source, index: int, label: int | None) -> bytes:
    where, row = source.where(index), source.rows[index]
    try:
        if isinstance(form.schema, TextSchema):
            text = text_of(row, form.text, where)
            if label is None:
                return encode_text_query(form.schema, text)
            return encode_text_record(form.schema, label, text)
        values = [column.value(_number(row, column.name, where)) for column in form.schema.columns]
        return encode_query(form.schema, values) if label is None else encode_record(form.schema, label, values)
    except AttributionError as error:
        raise DataError(f"{where}: {error}") from None


def _class_of(form: Form, source: Source, index: int) -> int:
    if not form.label:
        return 0
    name = _label_text(source, index, form.label)
    if name not in form.class_names:
        known = ", ".join(map(_shown, form.class_names))
        raise DataError(f"{source.where(index)}: {form.label!r} is {_shown(name)}; the classes are {known}")
    return form.class_names.index(name)


def _class_names(source: Source, label: str) -> tuple[str, ...]:
    names = tuple(sorted({_label_text(source, index, label) for index in range(len(source.rows))}))
    if not MINIMUM_CLASSES <= len(names) <= MAXIMUM_CLASSES:
        values = "value" if len(names) == 1 else "different values"
        raise DataError(
            f"{source.path}: the label {label!r} has {len(names)} {values}, {MINIMUM_CLASSES} to {MAXIMUM_CLASSES} "
            "can be used; is --label the right field?"
        )
    return names


def _label_text(source: Source, index: int, label: str) -> str:
    value = source.rows[index].get(label)
    if value is None:
        fields = _fields(source.rows[index])
        raise DataError(
            f"{source.where(index)} has no label field {label!r}; its fields are {fields}; name one with --label"
        )
    text = str(value).strip()
    if not 1 <= len(text) <= MAXIMUM_LABEL_CHARACTERS:
        raise DataError(f"{source.where(index)}: a label of {len(text)} characters; is --label the right field?")
    return text


def _columns(source: Source, label: str, drop: Sequence[str]) -> tuple[Column, ...]:
    first = source.rows[0]
    unknown = [name for name in drop if name not in first]
    if unknown:
        raise DataError(f"{source.where(0)}: cannot drop {unknown[0]!r}: the row has no such field")
    names = [name for name in first if name != label and name not in drop]
    if not 1 <= len(names) <= MAXIMUM_COLUMNS:
        raise DataError(
            f"{source.path}: {len(names)} numeric fields; 1 to {MAXIMUM_COLUMNS} can be used; leave some out with "
            "--drop, or say --text FIELD"
        )
    for name in names:
        if not 1 <= len(name.encode("utf-8", "replace")) <= MAXIMUM_NAME_SIZE_BYTES:
            raise DataError(f"{source.where(0)}: a field's name has 1 to {MAXIMUM_NAME_SIZE_BYTES} bytes of UTF-8")
    return tuple(_column(source, name) for name in names)


def _column(source: Source, name: str) -> Column:
    """A column with as many digits as the numbers have and the largest of them leaves room for."""
    numbers = [_number(row, name, source.where(index)) for index, row in enumerate(source.rows)]
    largest = max(number.copy_abs() for number in numbers)
    decimals = max(_digits_after_point(number) for number in numbers)
    while decimals > 0 and largest.scaleb(decimals) > MAXIMUM_VALUE:
        decimals -= 1
    try:
        return Column(name=name, decimals=decimals, minimum=-MAXIMUM_VALUE, maximum=MAXIMUM_VALUE)
    except AttributionError as error:
        raise DataError(f"{source.where(0)}: {error}") from None


def _digits_after_point(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return min(max(-exponent, 0), MAXIMUM_DECIMALS)


def _number(row: Row, name: str, where: str) -> Decimal:
    value = row.get(name)
    if value is None:
        raise DataError(f"{where} has no {name!r}: fill it in, remove the row, or leave the field out with --drop")
    refusal: Callable[[str], DataError] = lambda said: DataError(f"{where}: {name!r} is {_shown(value)}, {said}")  # noqa: E731
    number: Decimal
    if isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, Cell) and len(value) <= _MAXIMUM_NUMBER_CHARACTERS and value.isascii() and "_" not in value:
        try:
            number = Decimal(value.strip())
        except InvalidOperation:
            raise refusal(f"not a number: encode it as one, or use --drop {name}") from None
    elif isinstance(value, Decimal):
        number = value
    else:
        raise refusal(f"not a number: encode it as one, or use --drop {name}")
    if not number.is_finite():
        raise refusal("not a finite number: remove the row, or leave the field out with --drop")
    # Compared by their exponents first: exact arithmetic on 1e999999999 would not end.
    if number.adjusted() > _MAXIMUM_NUMBER_CHARACTERS or number.copy_abs() > MAXIMUM_VALUE:
        raise refusal(f"at most {MAXIMUM_VALUE} can be used: use a larger unit")
    if number.adjusted() < -_MAXIMUM_NUMBER_CHARACTERS:
        return Decimal(0)
    if len(number.as_tuple().digits) > _MAXIMUM_NUMBER_CHARACTERS // 2:
        return round(number, MAXIMUM_DECIMALS + 1)
    return number


def _fields(row: Row) -> str:
    return ", ".join(_shown(name, quoted=False) for name in sorted(row)[:20])


def _shown(value: object, *, quoted: bool = True) -> str:
    """A value in a message: its beginning."""
    text = str(value)
    cut = text[:_SHOWN_CHARACTERS] + ("…" if len(text) > _SHOWN_CHARACTERS else "")
    return repr(cut) if isinstance(value, str) and quoted else plain(cut)
