"""docs/rpc.md says what the node serves."""

from __future__ import annotations

import msgspec

from node.api.methods import METHODS
from tests.node.api.reference import FILE, make_reference


def test_the_page_is_what_the_serving_types_make() -> None:
    written = FILE.read_text(encoding="utf-8")
    assert written == make_reference(), "write it again: python -m tests.node.api.reference"


def test_every_method_and_every_parameter_is_on_the_page() -> None:
    sections = dict(each.split("\n", 1) for each in FILE.read_text(encoding="utf-8").split("\n## ")[1:])
    assert list(sections) == [method.name for method in METHODS]
    for method in METHODS:
        for field in msgspec.structs.fields(method.parameters):
            assert f"| `{field.encode_name}` |" in sections[method.name]
