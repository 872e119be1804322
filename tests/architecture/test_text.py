"""What style.md asks of the text itself."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

from node.errors import BlockReason, MessageReason, Reason, RequestReason, TransactionReason
from tests.architecture.sources import ROOT, files, name, nodes, tree
from tests.node.samples import NO_WIRE_CLASSES

MOST_LINES = 600
LATE_BY_DESIGN = ("attribution/cli/", "node/cli/")
"""Each command loads what it runs when it runs: one reason, start-up within 0.3 s, for all of them."""
LONG_FILES = {
    "node/engine.py": 660,
    "node/replica.py": 640,
    "tests/consensus/test_paper.py": 700,
    "tests/node/modules/test_models.py": 700,
    "tests/node/modules/test_governance.py": 700,
    "tests/node/modules/test_datanets.py": 700,
    "tests/node/modules/test_attributions.py": 700,
}
"""Files that may be longer, and how long: flat tables, and a test for each claim of a page."""
EXACT = ("consensus", "node/primitives", "node/types", "node/state", "node/modules", "node/execution")
IN_MEMORY = {"Ends", "Callbacks"}
"""Frozen classes with keywords that never become bytes, beside `NO_WIRE_CLASSES`."""
WIRE_FOLDERS = ("node/types", "node/modules", "node/p2p")


def test_no_file_is_longer_than_a_person_reads() -> None:
    for path in [*files(), *files("tests")]:
        lines = path.read_text(encoding="utf-8").count("\n")
        limit = LONG_FILES.get(name(path), MOST_LINES)
        assert lines <= limit, f"{name(path)} has {lines} lines"


def test_long_files_are_there() -> None:
    for each in LONG_FILES:
        assert (ROOT / each).exists(), f"{each} is gone: take it from the list"


def test_what_reaches_state_knows_no_float() -> None:
    for path in files(*EXACT):
        for node in nodes(path):
            where = f"{name(path)}:{getattr(node, 'lineno', 0)}"
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float | complex)), where
            assert not (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)), where
            assert not (isinstance(node, ast.Name) and node.id in ("float", "complex", "round")), where


def imports_in_functions(path: Path) -> Iterator[list[ast.Import | ast.ImportFrom]]:
    """The imports of each function that has some."""
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found = [each for each in ast.walk(node) if isinstance(each, ast.Import | ast.ImportFrom)]
            if found:
                yield found


def has_reason(lines: list[str], statement: ast.Import | ast.ImportFrom) -> bool:
    """A comment beside the import or on the line above it."""
    last = (statement.end_lineno or statement.lineno) - 1
    return "#" in lines[last] or lines[statement.lineno - 2].strip().startswith("#")


def test_an_import_inside_a_function_says_why() -> None:
    silent = []
    for path in files():
        if name(path).startswith(LATE_BY_DESIGN):
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        # One reason serves all of a function's imports: they are there for the same thing.
        silent += [
            f"{name(path)}:{statements[0].lineno}"
            for statements in imports_in_functions(path)
            if not any(has_reason(lines, each) for each in statements)
        ]
    assert silent == []


def test_every_wire_class_has_a_golden_vector() -> None:
    vectors = json.loads((ROOT / "tests/vectors/wire.json").read_text(encoding="utf-8"))
    for path in files(*WIRE_FOLDERS):
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and _is_wire(node) and node.name not in NO_WIRE_CLASSES | IN_MEMORY:
                assert node.name in vectors, f"{name(path)}: {node.name} has no vector"


def _is_wire(node: ast.ClassDef) -> bool:
    for decorator in node.decorator_list:
        if (
            isinstance(decorator, ast.Call)
            and isinstance(decorator.func, ast.Name)
            and decorator.func.id == "dataclass"
        ):
            given = {
                each.arg for each in decorator.keywords if isinstance(each.value, ast.Constant) and each.value.value
            }
            return {"frozen", "slots", "kw_only"} <= given
    return False


def test_every_field_of_a_wire_class_has_its_sentence() -> None:
    for path in files("node/types", "node/modules"):
        for node in tree(path).body:
            if not (isinstance(node, ast.ClassDef) and _is_wire(node)) or node.name == "FeeSplit":
                continue
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign) and "ClassVar" not in ast.unparse(field.annotation):
                    is_said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                    assert is_said, f"{name(path)}:{field.lineno}: {node.name}.{ast.unparse(field.target)}"


REASONS: list[Reason] = [*MessageReason, *TransactionReason, *BlockReason, *RequestReason]


def test_a_reason_is_a_word_and_a_sentence() -> None:
    for reason in REASONS:
        assert reason.value == reason.name.lower()
        assert reason.sentence.endswith("."), reason
        assert reason.sentence[0].isupper(), reason
        assert len(reason.value) <= 32, "a receipt has room for it"


SOURCES_OF_REASONS = {each.__name__ for each in (TransactionReason, BlockReason)}


def reasons_named(*folders: str) -> set[str]:
    """`TransactionReason.X` and `BlockReason.X` in the code of some folders."""
    return {
        f"{node.value.id}.{node.attr}"
        for path in files(*folders)
        if name(path) != "node/errors.py"
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in SOURCES_OF_REASONS
    }


def test_every_reason_that_the_ledger_gives_has_a_test_that_expects_it() -> None:
    every = {f"{type(reason).__name__}.{reason.name}" for reason in (*TransactionReason, *BlockReason)}
    assert every - reasons_named("node") == set()
    assert reasons_named("node") - reasons_named("tests/node", "tests/simulation") == set()
