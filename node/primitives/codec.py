"""Canonical MessagePack of frozen dataclasses, written as arrays in field order. Owns the msgpack library.

A wire class is `@dataclass(frozen=True, slots=True, kw_only=True)` whose fields are int, bool, str, bytes, IntEnum,
`tuple[X, ...]`, another wire class, or a closed union of wire classes that each carry `TAG: ClassVar[int]` (written
as the tag followed by the fields). `Annotated[T, range(a, b)]` bounds the value of an int and the length of anything
else; every str, bytes and tuple field must carry such a bound, so that every size has a limit.

Decoding checks types, lengths and ranges, then that encoding again gives the same bytes: one value, one encoding.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass, fields, is_dataclass
from enum import IntEnum
from operator import attrgetter
from typing import Annotated, Any, TypeVar

import msgpack

from node.errors import MessageReason, MessageRejected

W = TypeVar("W")

INTEGER = range(-(2**63), 2**64)
"""Every integer MessagePack can carry."""
MOST_UNPROVEN_ITEMS = 1_024
"""Arrays that may be longer are built only after a pass that builds nothing has found everything they claim."""

_SCHEMAS: dict[type, Schema] = {}
"""Compiled schemas, one per wire class."""

_unpack = msgpack.unpackb
_pack: Callable[[Any], bytes] = msgpack.packb


def encode(value: object) -> bytes:
    """The canonical bytes of a wire object."""
    return _pack(schema_of(type(value)).to_array(value))


def encode_unsigned(value: object) -> bytes:
    """The canonical bytes of every field but the last, which is the signature over them."""
    return _pack(schema_of(type(value)).to_array(value)[:-1])


def decode(wire_class: type[W], data: bytes) -> W:
    """The wire object that `data` is the canonical encoding of.

    Raises: MessageRejected MALFORMED, OUT_OF_RANGE, NOT_CANONICAL.
    """
    return _decode(schema_of(wire_class), data)  # type: ignore[no-any-return]


def encode_union(union: object, value: object) -> bytes:
    """The canonical bytes of a member of a closed union, its tag included."""
    return _pack(union_schema_of(union).to_array(value))


def decode_union(union: object, data: bytes) -> Any:
    """The member of a closed union that `data` is the canonical encoding of.

    Raises: MessageRejected MALFORMED, OUT_OF_RANGE, NOT_CANONICAL.
    """
    return _decode(union_schema_of(union), data)


@dataclass(frozen=True, slots=True)
class Schema:
    """How one type stands on the wire."""

    to_array: Callable[[Any], Any]
    """Python value to what msgpack packs."""
    from_array: Callable[[Any], Any]
    """What msgpack unpacked to the Python value; raises MessageRejected."""
    largest_array: int
    """The longest array anywhere inside, so that a few hostile bytes cannot claim gigabytes."""


def schema_of(wire_class: type) -> Schema:
    """The compiled schema of a wire class."""
    schema = _SCHEMAS.get(wire_class)
    if schema is None:
        assert is_dataclass(wire_class), f"{wire_class.__name__} is no wire class"
        schema = _SCHEMAS[wire_class] = _compile_class(wire_class)
    return schema


@functools.cache
def union_schema_of(union: object) -> Schema:
    """The compiled schema of a closed union of tagged wire classes."""
    return _compile_union(typing.get_args(union))


def wire_fields(wire_class: type) -> Iterator[tuple[str, Any]]:
    """Name and type hint of each field of a wire class, in wire order."""
    hints = typing.get_type_hints(wire_class, include_extras=True)
    for field in fields(wire_class):
        yield field.name, hints[field.name]


def bound_of(hint: object) -> range | None:
    """The range an annotated hint carries; of several, the outermost."""
    if typing.get_origin(hint) is Annotated:
        return next((extra for extra in reversed(typing.get_args(hint)) if isinstance(extra, range)), None)
    return None


def _decode(schema: Schema, data: bytes) -> Any:
    try:
        if min(schema.largest_array, len(data)) > MOST_UNPROVEN_ITEMS:
            _require_whole(data)
        raw = _unpack(data, use_list=False, raw=False, strict_map_key=True, max_array_len=schema.largest_array)
    except (ValueError, TypeError, RecursionError, MemoryError, msgpack.OutOfData) as error:
        raise MessageRejected(MessageReason.MALFORMED, str(error)[:80]) from error
    value = schema.from_array(raw)
    if _pack(schema.to_array(value)) != data:
        raise MessageRejected(MessageReason.NOT_CANONICAL)
    return value


def _require_whole(data: bytes) -> None:
    """Raises: ValueError or OutOfData when the bytes end before what they claim: a thousand nested headers of a few
    bytes would each have an array of the largest length built for them."""
    scanner = msgpack.Unpacker(max_buffer_size=len(data))
    scanner.feed(data)
    scanner.skip()


def _compile_class(wire_class: type) -> Schema:
    compiled = [(name, _compile(hint, f"{wire_class.__name__}.{name}")) for name, hint in wire_fields(wire_class)]
    names = [name for name, _ in compiled]
    count = len(names)
    # attrgetter gives a tuple only for two names or more.
    getter: Callable[[Any], Any] = (
        attrgetter(*names) if count > 1 else lambda value: tuple(getattr(value, name) for name in names)
    )
    is_flat = all(schema.to_array is _identity for _, schema in compiled)
    converters = tuple(schema.to_array for _, schema in compiled)
    # Slots are set through their descriptors: frozen classes have no faster constructor.
    members = tuple((wire_class.__dict__[name].__set__, schema.from_array) for name, schema in compiled)
    check = getattr(wire_class, "__post_init__", None)
    title = wire_class.__name__
    new: Callable[[type], Any] = object.__new__

    def to_array(value: Any) -> Any:
        return [convert(item) for convert, item in zip(converters, getter(value), strict=True)]

    def from_array(raw: Any) -> Any:
        if type(raw) is not tuple or len(raw) != count:
            raise MessageRejected(MessageReason.MALFORMED, f"{title} is an array of {count}")
        value = new(wire_class)
        for (set_member, convert), item in zip(members, raw, strict=True):
            set_member(value, convert(item))
        if check is not None:
            _checked(check, value, title)
        return value

    largest = max([count, *(schema.largest_array for _, schema in compiled)])
    return Schema(getter if is_flat else to_array, from_array, largest)


def _checked(check: Callable[[Any], None], value: Any, title: str) -> None:
    try:
        check(value)
    except ValueError as error:
        raise MessageRejected(MessageReason.OUT_OF_RANGE, f"{title}: {error}") from error


def _compile_union(members: tuple[type, ...]) -> Schema:
    by_tag = {member.TAG: schema_of(member) for member in members}  # type: ignore[attr-defined]
    by_class = {member: (member.TAG, schema_of(member)) for member in members}  # type: ignore[attr-defined]
    assert len(by_tag) == len(members), f"two members of {members} share a tag"

    def to_array(value: Any) -> Any:
        tag, schema = by_class[type(value)]
        return (tag, *schema.to_array(value))

    def from_array(raw: Any) -> Any:
        if type(raw) is not tuple or not raw or type(raw[0]) is not int or raw[0] not in by_tag:
            raise MessageRejected(MessageReason.MALFORMED, "a tagged array with a known tag is expected")
        return by_tag[raw[0]].from_array(raw[1:])

    return Schema(to_array, from_array, 1 + max(schema.largest_array for schema in by_tag.values()))


def _compile(hint: Any, where: str) -> Schema:
    bound = bound_of(hint)
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    if hint is bool:
        return Schema(_identity, _exact(bool, where), 0)
    if hint is int:
        return Schema(_identity, _bounded_int(bound or INTEGER, where), 0)
    if hint in (bytes, str):
        assert bound is not None, f"{where} has no length bound"
        return Schema(_identity, _bounded_sequence(hint, bound, where), 0)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return Schema(int, _enum(hint, where), 0)
    if typing.get_origin(hint) is tuple:
        assert bound is not None, f"{where} has no length bound"
        return _compile_tuple(typing.get_args(hint)[0], bound, where)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return _compile_union(typing.get_args(hint))
    return schema_of(hint)


def _compile_tuple(item_hint: Any, bound: range, where: str) -> Schema:
    item = _compile(item_hint, f"{where}[]")
    check_length = _bounded_sequence(tuple, bound, where)

    def to_array(value: Any) -> Any:
        return value if item.to_array is _identity else [item.to_array(entry) for entry in value]

    def from_array(raw: Any) -> Any:
        return tuple([item.from_array(entry) for entry in check_length(raw)])

    plain = item.to_array is _identity
    return Schema(_identity if plain else to_array, from_array, max(bound.stop - 1, item.largest_array))


def _identity(value: Any) -> Any:
    return value


def _exact(wanted: type, where: str) -> Callable[[Any], Any]:
    def convert(raw: Any) -> Any:
        if type(raw) is not wanted:
            raise MessageRejected(MessageReason.MALFORMED, f"{where} is a {wanted.__name__}")
        return raw

    return convert


def _bounded_int(bound: range, where: str) -> Callable[[Any], Any]:
    def convert(raw: Any) -> Any:
        if type(raw) is not int:
            raise MessageRejected(MessageReason.MALFORMED, f"{where} is an int")
        if raw not in bound:
            raise MessageRejected(MessageReason.OUT_OF_RANGE, f"{where} is in {bound.start}..{bound.stop - 1}")
        return raw

    return convert


def _bounded_sequence(wanted: type[Sized], bound: range, where: str) -> Callable[[Any], Any]:
    lowest, highest = bound.start, bound.stop - 1

    def convert(raw: Any) -> Any:
        if type(raw) is not wanted:
            raise MessageRejected(MessageReason.MALFORMED, f"{where} is a {wanted.__name__}")
        if not lowest <= len(raw) <= highest:
            raise MessageRejected(MessageReason.OUT_OF_RANGE, f"{where} has {lowest}..{highest} items")
        return raw

    return convert


def _enum(wanted: type[IntEnum], where: str) -> Callable[[Any], Any]:
    by_value = {int(member): member for member in wanted}

    def convert(raw: Any) -> Any:
        if type(raw) is not int or raw not in by_value:
            raise MessageRejected(MessageReason.OUT_OF_RANGE, f"{where} is one of {sorted(by_value)}")
        return by_value[raw]

    return convert
