"""One rule of the code taken away: a piece of source text replaced by another, in the module as it is imported."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Edit:
    """One replacement."""

    module: str
    """Dotted name."""
    old: str
    """What stands there, exactly once."""
    new: str
    """What stands there instead."""


@dataclass(frozen=True)
class Mutant:
    """A rule, and the edits that take it away: more than one where two places keep it."""

    name: str
    rule: str
    edits: tuple[Edit, ...]
    profile: str = "core"
    """Which seeds are run."""
    equivalent: str = ""
    """Why nothing can catch it, if nothing can."""


class _Loader(importlib.abc.Loader):
    def __init__(self, path: Path, edits: Sequence[Edit]) -> None:
        self._path, self._edits = path, edits

    def exec_module(self, module: ModuleType) -> None:
        """Runs the changed source."""
        source = self._path.read_text(encoding="utf-8")
        for edit in self._edits:
            source = mutated(source, edit)
        exec(compile(source, str(self._path), "exec"), module.__dict__)


class Mutator(importlib.abc.MetaPathFinder):
    """Imports the modules of a mutant changed. To be installed before any of them is imported."""

    def __init__(self, mutant: Mutant) -> None:
        self._edits: dict[str, list[Edit]] = {}
        for edit in mutant.edits:
            assert edit.module not in sys.modules, f"{edit.module} is imported already"
            self._edits.setdefault(edit.module, []).append(edit)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The changed module, or nothing for all others."""
        if name not in self._edits:
            return None
        file = path_of(name)
        return importlib.util.spec_from_file_location(name, file, loader=_Loader(file, self._edits[name]))


def path_of(module: str) -> Path:
    """Where a module's source lies."""
    return ROOT / (module.replace(".", "/") + ".py")


def mutated(source: str, edit: Edit) -> str:
    """The source with an edit. Raises: AssertionError when what it replaces is not there exactly once."""
    assert source.count(edit.old) == 1, f"{edit.module}: {edit.old!r} stands there {source.count(edit.old)} times"
    return source.replace(edit.old, edit.new)
