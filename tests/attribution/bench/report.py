"""Tables, gates, and the figures on paper."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click


@dataclass(frozen=True)
class Gate:
    """Something that must hold."""

    name: str
    measured: float
    bound: float
    is_least: bool
    """Whether the bound is the least that passes, or the most."""

    @property
    def is_met(self) -> bool:
        return self.measured >= self.bound if self.is_least else self.measured <= self.bound

    def line(self) -> str:
        sign = ">=" if self.is_least else "<="
        text = f"{'met   ' if self.is_met else 'MISSED'} {self.name}: {self.measured:.4g} {sign} {self.bound:.4g}"
        return text if self.is_met else click.style(text, fg="red", bold=True)


@dataclass
class Report:
    """All that was measured."""

    settings: dict[str, Any]
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    gates: list[Gate] = field(default_factory=list)

    def add(self, title: str, rows: Sequence[dict[str, Any]], gates: Sequence[Gate] = ()) -> None:
        """Keeps and prints a table and its gates."""
        self.tables[title] = list(rows)
        self.gates += gates
        click.echo(f"\n{title}")
        for line in table_lines(rows):
            click.echo(f"  {line}")
        for gate in gates:
            click.echo(f"  {gate.line()}")

    @property
    def missed(self) -> list[Gate]:
        return [gate for gate in self.gates if not gate.is_met]

    def save_json(self, path: Path) -> None:
        gates = [{**asdict(gate), "is_met": gate.is_met} for gate in self.gates]
        content = {"settings": self.settings, "tables": self.tables, "gates": gates}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def table_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Aligned text, the keys of the first row above."""
    if not rows:
        return ["nothing was measured"]
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    is_text = [isinstance(value, str) for value in rows[0].values()]
    return [
        "  ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(row, widths, is_text, strict=True)
        ).rstrip()
        for row in cells
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)
