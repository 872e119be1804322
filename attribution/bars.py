"""Influences for people: signed bars, as text for a terminal and as a page that stands alone.

A bar to the right pulled towards the answer, one to the left away from it; the sign and the number say it too, so that
nothing depends on colour. The page has no script and loads nothing; every character of a record is escaped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from attribution.head.request import MAXIMUM_INFLUENCE

BAR_CHARACTERS = 20
"""Length of the longest bar to one side."""

_STYLE = """\
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fdfdfb; --line: #c8c8c4;
  --for: #2a6f97; --against: #b5532a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e2; --paper: #17181a; --line: #46484c; --for: #6fb3da; --against: #e2946f; }
}
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: bold; padding: .5rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; }
td.bar { width: 14rem; }
svg { display: block; width: 14rem; height: 1rem; }
.for { fill: var(--for); } .against { fill: var(--against); } line { stroke: var(--line); }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Influence:
    """One record's part in an answer."""

    place: str
    """Where the record stands, such as line 7."""
    label: str
    """Its label."""
    relative: int
    """Units: 1/1000."""
    raw: float | None
    """What the question's loss would gain without the record, times the number of records; None where not asked for."""
    excerpt: str
    """The record in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """An answer and the records with the most influence on it, the strongest first."""

    title: str
    """Which question."""
    answer: str
    """The model's answer."""
    influences: tuple[Influence, ...]
    """The records."""


def bar(relative: int) -> str:
    """Signed bar of fixed width: minus signs to the left, plus signs to the right, one for every 50 begun."""
    length = -(-abs(relative) * BAR_CHARACTERS // MAXIMUM_INFLUENCE)
    left, right = ("-" * length, "") if relative < 0 else ("", "+" * length)
    return f"{left:>{BAR_CHARACTERS}}|{right:<{BAR_CHARACTERS}}"


def to_text(explained: Explained) -> str:
    """For a terminal. What it would obey was taken out of labels and excerpts before."""
    has_raw = any(each.raw is not None for each in explained.influences)
    widest = max((len(each.label) for each in explained.influences), default=0)
    sides = f"{'away from the answer':>{BAR_CHARACTERS}}|{'towards it':<{BAR_CHARACTERS}}"
    lines = [
        f"{explained.title}: {explained.answer}",
        f"  relative  {sides}{'        raw' if has_raw else ''}  {'record':<12}  label",
    ]
    for each in explained.influences:
        raw = f"  {each.raw:+9.4f}" if each.raw is not None else ""
        who = f"{each.place:<12}  {each.label:<{widest}}  {each.excerpt}"
        lines.append(f"  {each.relative:+8d}  {bar(each.relative)}{raw}  {who}".rstrip())
    return "\n".join(lines) + "\n"


def to_html(answers: Sequence[Explained], about: str) -> str:
    """One page that needs nothing else."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Which records made these answers</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>Which records made these answers</h1>\n<p>{escape(about)}</p>\n"
        "<p>1000 pulls straight towards the answer, a negative number away from it.</p>\n"
        f"{''.join(map(_table, answers))}</body>\n</html>\n"
    )


def _table(explained: Explained) -> str:
    rows = "".join(
        f'<tr><td class="number">{each.relative:+d}</td><td class="bar">{_drawn(each.relative)}</td>'
        f"<td>{escape(each.place)}</td><td>{escape(each.label)}</td><td>{escape(each.excerpt)}</td></tr>\n"
        for each in explained.influences
    )
    return (
        f"<table>\n<caption>{escape(explained.title)}: {escape(explained.answer)}</caption>\n"
        '<tr><th class="number">Relative</th><th>Influence</th><th>Record</th><th>Label</th><th>Content</th></tr>\n'
        f"{rows}</table>\n"
    )


def _drawn(relative: int) -> str:
    kind = "against" if relative < 0 else "for"
    begin = MAXIMUM_INFLUENCE + min(relative, 0)
    return (
        f'<svg viewBox="0 0 {2 * MAXIMUM_INFLUENCE} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{relative:+d}"><rect class="{kind}" x="{begin}" y="15" width="{abs(relative)}" height="70"/>'
        f'<line x1="{MAXIMUM_INFLUENCE}" y1="0" x2="{MAXIMUM_INFLUENCE}" y2="100" stroke-width="8"/></svg>'
    )
