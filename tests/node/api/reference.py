"""docs/rpc.md, made from the types that serve the methods. `python -m tests.node.api.reference` writes it again."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import msgspec

from node.api import requests
from node.api.methods import METHODS
from node.api.rpc import Method

FILE = Path(__file__).parent.parent.parent.parent / "docs" / "rpc.md"
HEAD = """# JSON-RPC

`POST /` with JSON-RPC 2.0, one call or a batch of at most 500; over `/websocket` too, where alone subscriptions work.
Parameters are an object, or an array in the order below. Amounts are strings of base units (1 OPEN = 10^9), hashes and
keys hexadecimal, addresses `open1…`, times milliseconds since 1970. What the node refuses has code -32000 and says why
in `data.reason` (a stable word) and `data.hint` (a sentence). The explorer's REST routes describe themselves at
`/api/v1/openapi.json`.

This page is made from the types that serve the methods (`python -m tests.node.api.reference`); a test compares it.
"""


def make_reference() -> str:
    """The page."""
    index = "\n".join(f"- [`{each.name}`](#{each.name}): {_summary(each)}" for each in METHODS)
    return "\n".join([HEAD, index, "", *map(_section, METHODS)])


def _section(method: Method) -> str:
    lines = [f"## {method.name}", "", _summary(method), ""]
    fields = msgspec.structs.fields(method.parameters)
    if fields:
        schema = msgspec.json.schema(method.parameters)["$defs"][method.parameters.__name__]["properties"]
        said = _sentences(method.parameters)
        lines += ["| parameter | type | default | |", "|---|---|---|---|"]
        for field in fields:
            name, of_field = field.encode_name, schema[field.encode_name]
            default = "required" if field.required else f"`{msgspec.json.encode(of_field['default']).decode()}`"
            words = " ".join(filter(None, (said.get(field.name, ""), of_field.get("description", ""))))
            lines.append(f"| `{name}` | {_type(of_field)} | {default} | {words} |")
    else:
        lines.append("No parameters.")
    if method.cost is not None:
        lines += ["", "Counts against the client's rate of writes."]
    if method.run_in_session is not None:
        lines += ["", "Over the WebSocket only."]
    return "\n".join([*lines, "", f"Answers: `{method.result.__name__}`. {_words(method.result.__doc__)}", ""])


def _summary(method: Method) -> str:
    return _words((method.run or method.run_for or method.run_in_session).__doc__)


def _words(text: str | None) -> str:
    return (text or "").strip().splitlines()[0]


def _type(schema: dict[str, Any]) -> str:
    """A JSON type with its bounds."""
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if schema["type"] == "array":
        return f"array of {_type(schema['items'])}, {schema.get('minItems', 0)} to {schema.get('maxItems', 'any')}"
    low, high = schema.get("minimum"), schema.get("maximum")
    above = schema.get("exclusiveMaximum")
    if above is not None:
        high = f"2^{above.bit_length() - 1} - 1"
    return str(schema["type"]) + (f", {low} to {high}" if low is not None else "")


def _sentences(parameters: type[msgspec.Struct]) -> dict[str, str]:
    """The sentence below each field."""
    tree = ast.parse(inspect.getsource(requests))
    [of_class] = [each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == parameters.__name__]
    found = {}
    for field, after in zip(of_class.body, of_class.body[1:], strict=False):
        is_said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_said:
            found[field.target.id] = str(after.value.value)  # type: ignore[attr-defined]
    return found


if __name__ == "__main__":
    FILE.write_text(make_reference(), encoding="utf-8")
