"""Wire objects as plain JSON values and back: genesis files, the command line, the API's generic parts.

Bytes are hex, addresses `open1…`, amounts decimal strings of base units, enums their lower-case names, tagged unions
objects with a `type`. The field names are the wire class's own.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from enum import IntEnum
from functools import cache
from typing import Annotated, Any

from node.primitives.address import format_address, parse_address
from node.primitives.codec import INTEGER, bound_of, wire_fields

Plain = None | bool | int | str | list["Plain"] | dict[str, "Plain"]
"""What JSON can say without floats."""


def to_plain(value: object, hint: Any = None) -> Plain:
    """The JSON value of a wire object, or of a field's value when its type hint is given."""
    known: Any = type(value) if hint is None else hint
    return _writer(known)(value)


def from_plain(hint: Any, plain: object, where: str = "") -> Any:
    """The wire object, or field value, that a JSON value describes; ranges are checked.

    Raises: ValueError that names the field and says what belongs there.
    """
    bare = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    value = _from_plain(bare, hint, plain, where)
    bound = INTEGER if bare is int and bound_of(hint) is None else bound_of(hint)
    measured = value if isinstance(value, int) else len(value) if bound is not None else 0
    if bound is not None and measured not in bound:
        what = "is" if isinstance(value, int) else "has a length"
        raise ValueError(f"{where or 'the value'} {what} in {bound.start}..{bound.stop - 1}")
    return value


def marker_of(hint: Any) -> str | None:
    """The display marker an annotated hint carries."""
    if typing.get_origin(hint) is Annotated:
        return next((extra for extra in typing.get_args(hint)[1:] if isinstance(extra, str)), None)
    return None


def tag_name(wire_class: type) -> str:
    """The name of a tagged union's member in JSON: `SetParameter` is `set_parameter`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", wire_class.__name__).lower()


@cache
def _writer(hint: Any) -> Callable[[Any], Plain]:
    """What turns a value of a type into its JSON value: found out once for each type."""
    bare = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    marker = marker_of(hint)
    if typing.get_origin(bare) is tuple:
        write_item = _writer(typing.get_args(bare)[0])
        return lambda value: [write_item(item) for item in value]
    if isinstance(bare, types.UnionType):
        return to_plain
    if is_dataclass(bare):
        return _object_writer(bare)
    assert isinstance(bare, type), f"{bare} is no type of a wire object"
    if issubclass(bare, IntEnum):
        return lambda value: str(value.name).lower()
    if bare is bytes:
        return format_address if marker == "address" else bytes.hex
    if bare is int and marker == "amount":
        return str
    assert issubclass(bare, bool | int | str), f"{bare.__name__} is no wire object"
    return lambda value: value


def _object_writer(wire_class: Any) -> Callable[[Any], Plain]:
    writers = [(name, _writer(hint)) for name, hint in wire_fields(wire_class)]
    tag: dict[str, Plain] = {"type": tag_name(wire_class)} if hasattr(wire_class, "TAG") else {}
    return lambda value: tag | {name: write(getattr(value, name)) for name, write in writers}


def _from_plain(bare: Any, hint: Any, plain: object, where: str) -> Any:
    if bare is bool:
        return _expect(bool, plain, where, "true or false")
    if isinstance(bare, type) and issubclass(bare, IntEnum):
        name = _expect(str, plain, where, "a name")
        if name.upper() not in bare.__members__:
            raise ValueError(f"{where} is one of {', '.join(bare.__members__).lower()}")
        return bare[name.upper()]
    if bare is int:
        return _int_of(plain, where)
    if bare is str:
        return _text_of(_expect(str, plain, where, "a string"), where)
    if bare is bytes:
        return _bytes_of(hint, _expect(str, plain, where, "a string"), where)
    if typing.get_origin(bare) is tuple:
        items = _expect(list, plain, where, "a list")
        return tuple(from_plain(typing.get_args(bare)[0], item, f"{where}[{i}]") for i, item in enumerate(items))
    fields_of = _expect(dict, plain, where, "an object")
    if isinstance(bare, types.UnionType):
        return _member_from_plain(typing.get_args(bare), fields_of, where)
    if hasattr(bare, "TAG") and "type" in fields_of:
        return _member_from_plain((bare,), fields_of, where or bare.__name__)
    return _object_from_plain(bare, fields_of, where)


def _member_from_plain(members: tuple[Any, ...], plain: Mapping[str, object], where: str) -> Any:
    by_name = {tag_name(member): member for member in members}
    name = plain.get("type")
    if not isinstance(name, str) or name not in by_name:
        raise ValueError(f"{where}.type is {'one of ' if len(members) > 1 else ''}{', '.join(by_name)}")
    return _object_from_plain(by_name[name], {key: item for key, item in plain.items() if key != "type"}, where)


def _object_from_plain(wire_class: Any, plain: Mapping[str, object], where: str) -> Any:
    hints = dict(wire_fields(wire_class))
    title = where or wire_class.__name__
    if unknown := sorted(plain.keys() - hints.keys()):
        raise ValueError(f"{title} has no field {unknown[0]}: it has {', '.join(hints)}")
    if missing := [name for name in hints if name not in plain]:
        raise ValueError(f"{title} lacks {missing[0]}")
    return wire_class(**{name: from_plain(hint, plain[name], f"{title}.{name}") for name, hint in hints.items()})


def _bytes_of(hint: Any, text: str, where: str) -> bytes:
    if marker_of(hint) == "address":
        try:
            return parse_address(text)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise ValueError(f"{where} is hexadecimal") from error


def _text_of(text: str, where: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # a lone surrogate, which JSON can escape and nobody can encode
        raise ValueError(f"{where} is Unicode text") from error
    return text


def _int_of(plain: object, where: str) -> int:
    if isinstance(plain, bool) or not isinstance(plain, int | str):
        raise ValueError(f"{where} is a whole number")
    if isinstance(plain, str) and not re.fullmatch(r"-?[0-9]{1,20}", plain):
        raise ValueError(f"{where} is a whole number")
    return int(plain)


def _expect(wanted: type, plain: object, where: str, words: str) -> Any:
    if not isinstance(plain, wanted) or (wanted is not bool and isinstance(plain, bool)):
        raise ValueError(f"{where or 'the value'} is {words}")
    return plain
