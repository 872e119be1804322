"""Command-line options made from a payload's fields, and the payload made from the options."""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import click

from node.config import ConfigError
from node.modules.context import BlobRef
from node.primitives.amount import parse_open
from node.primitives.codec import wire_fields
from node.primitives.crypto import sha256
from node.primitives.plain import from_plain, marker_of

ResolveAddress = Callable[[str], str]
"""Turns a key's name into its address; leaves addresses alone."""


def option_name(field: str) -> str:
    """`amount_units` is --amount, `is_yes` is --yes/--no-yes; a question's fee is --pays, --fee the envelope's."""
    if field == "fee_units":
        return "pays"
    return field.removesuffix("_units").removeprefix("is_").replace("_", "-")


def make_options(payload_class: type) -> Iterator[click.Option]:
    """An option per field, none required: a --payload file may give everything."""
    for name, hint in wire_fields(payload_class):
        bare = _bare(hint)
        flag = f"--{option_name(name)}"
        described = _described(name, hint, bare)
        if bare is bool:
            yield click.Option([f"{flag}/--no-{option_name(name)}", name], default=None, help=described)
        elif _is_files(bare):
            yield click.Option([flag, name], multiple=True, type=click.Path(path_type=Path), help=described)
        elif isinstance(bare, type) and issubclass(bare, IntEnum):
            names = [member.lower() for member in bare.__members__]
            yield click.Option([flag, name], type=click.Choice(names), help=described)
        else:
            yield click.Option([flag, name], help=described)


def make_payload(
    payload_class: type,
    given: dict[str, Any],
    payload_file: Path | None,
    resolve: ResolveAddress,
    made: Mapping[str, Sequence[bytes]],
) -> tuple[Any, tuple[bytes, ...]]:
    """The payload of options and file, and the contents it refers to.

    `made` has the contents of fields that are not read from files. Raises: ConfigError naming what is wrong.
    """
    plain: dict[str, Any] = {}
    contents: list[bytes] = []
    if payload_file is not None:
        plain |= _read_json(payload_file)
    for name, hint in wire_fields(payload_class):
        value = given.get(name)
        bare = _bare(hint)
        found = made.get(name)
        if found is None and (value is None or value == ()):
            continue
        if _is_files(bare):
            found = _read_contents(value or ()) if found is None else found
            contents += found
            references = [{"hash": sha256(each).hex(), "size_bytes": len(each)} for each in found]
            plain[name] = references if typing.get_origin(bare) is tuple else references[0]
        else:
            plain[name] = _plain_value(name, value, hint, bare, resolve)
    missing = [name for name, _ in wire_fields(payload_class) if name not in plain]
    if missing:
        raise ConfigError(f"--{option_name(missing[0])} is missing (or give --payload FILE)")
    try:
        return from_plain(payload_class, plain), tuple(contents)
    except ValueError as error:
        raise ConfigError(f"{error}; see --help") from error


def _plain_value(name: str, value: Any, hint: Any, bare: Any, resolve: ResolveAddress) -> Any:
    if isinstance(value, bool):
        return value
    text = str(value)
    if marker_of(hint) == "amount":
        try:
            return str(parse_open(text))
        except ValueError as error:
            raise ConfigError(f"--{option_name(name)}: {error}") from error
    if marker_of(hint) == "address":
        return resolve(text)
    if bare in (int, str, bytes) or (isinstance(bare, type) and issubclass(bare, IntEnum)):
        return text
    try:
        return json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (ValueError, OSError) as error:
        raise ConfigError(f"--{option_name(name)} is JSON, or @FILE with it: {error}") from error


def _read_contents(paths: Sequence[Path]) -> list[bytes]:
    contents = []
    for path in paths:
        try:
            contents.append(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
    return contents


def _read_json(path: Path) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        found = json.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no JSON file: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds no object with the payload's fields")
    return found


def _bare(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint


def _is_files(bare: Any) -> bool:
    if typing.get_origin(bare) is tuple:
        return _bare(typing.get_args(bare)[0]) is BlobRef
    return bare is BlobRef


def _described(name: str, hint: Any, bare: Any) -> str:
    if marker_of(hint) == "amount":
        return "Amount in OPEN, like 1.5."
    if marker_of(hint) == "address":
        return "Address (open1…) or the name of a key."
    if _is_files(bare):
        return (
            "File with the content; repeat for several."
            if typing.get_origin(bare) is tuple
            else "File with the content."
        )
    if bare is bytes:
        return "Hexadecimal."
    if bare in (int, str, bool) or (isinstance(bare, type) and issubclass(bare, IntEnum)):
        return name.replace("_", " ").capitalize() + "."
    return "JSON, or @FILE with it."
