"""The program's own text, parsed once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("attribution", "consensus", "devnet", "node")


@cache
def files(*parts: str) -> tuple[Path, ...]:
    """Python files below the root or below some folders or files, by path."""
    found: list[Path] = []
    for part in parts or PACKAGES:
        path = ROOT / part
        assert path.exists(), f"{part} is not there any more"
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return tuple(found)


@cache
def tree(path: Path) -> ast.Module:
    """A file's syntax."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def name(path: Path) -> str:
    """A file as people write it: `node/errors.py`."""
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    """A file as it is imported: `node.errors`; a package's `__init__` is the package."""
    dotted = name(path).removesuffix(".py").replace("/", ".")
    return dotted.removesuffix(".__init__")


@cache
def modules() -> frozenset[str]:
    """Every module of the program."""
    return frozenset(module_of(path) for path in files())


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Everything in a file's syntax."""
    return tuple(ast.walk(tree(path)))


@cache
def imports(path: Path) -> tuple[tuple[str, int], ...]:
    """Modules a file imports anywhere in it, with the line."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in modules() else node.module), node.lineno
