"""A result for people: the answer with its passages marked, as text for a terminal and as a page that stands alone.

The page has no script and loads nothing; every character of an answer or a record's title is escaped; colours follow
the reader's light or dark theme, and a passage is told apart by its number and underline too, not by colour alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from attribution.spans.request import COMMON, Attributed, Span
from attribution.spans.tokens import token_places

_CONTROLS = {
    code: " "
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        *range(0x200E, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    )
    if code not in (0x09, 0x0A)
}
"""Characters that speak to a terminal or turn the direction of what follows."""
_HUES = 12
_STYLE = """\
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fdfdfb; --line: #c8c8c4; --tint: 88%; --edge: 36%; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e2; --paper: #17181a; --line: #46484c; --tint: 24%; --edge: 68%; }
}
body { margin: 2rem auto; max-width: 46rem; padding: 0 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.6 system-ui, sans-serif; }
.answer { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--line); padding: 1rem; }
mark { color: inherit; background: hsl(var(--hue) 60% var(--tint));
  border-bottom: 2px solid hsl(var(--hue) 60% var(--edge)); }
mark.common { background: none; border-bottom: 2px dotted var(--line); }
sup { font-size: .7em; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; }
td.number, th.number { text-align: right; }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A stretch of the answer's characters."""

    text: str
    """As the answer has it."""
    number: int
    """Number of its span from 1, or 0 for what no span owns."""


def passages(answer: bytes, attributed: Attributed) -> list[Passage]:
    """The answer cut where spans begin and end; joined, they are the answer. Raises: as `tokens.tokenise`."""
    text = answer.decode("utf-8")
    places = token_places(answer)
    assert len(places) == attributed.token_count
    found, done = [], 0
    for number, span in enumerate(attributed.spans, start=1):
        begin, end = places[span.own_begin][0], places[span.own_begin + span.own_length - 1][1]
        found += [Passage(text=text[done:begin], number=0), Passage(text=text[begin:end], number=number)]
        done = end
    found.append(Passage(text=text[done:], number=0))
    return [passage for passage in found if passage.text]


def to_text(answer: bytes, attributed: Attributed, titles: Mapping[int, str] | None = None) -> str:
    """For a terminal: passages in brackets with their number, then one line for each.

    Control characters of the answer and of titles become spaces, so that neither can speak to the terminal.
    """
    marked = [
        f"[{passage.text}]({passage.number})" if passage.number else passage.text
        for passage in passages(answer, attributed)
    ]
    lines = [_plain("".join(marked)), ""]
    lines += [
        f"({number}) {span.weight:5d} bits  {span.length:4d} tokens  {_source(span, titles or {})}"
        for number, span in enumerate(attributed.spans, start=1)
    ]
    lines += ["", *(f"{_plain(name)}: {share}" for name, share in _shares(attributed, titles or {}))]
    return "\n".join(lines) + "\n"


def to_html(answer: bytes, attributed: Attributed, titles: Mapping[int, str] | None = None) -> str:
    """One page that needs nothing else."""
    names = titles or {}
    rows = "".join(
        f'<tr><td class="number">{number}</td><td>{escape(_source(span, names))}</td>'
        f'<td class="number">{span.length}</td><td class="number">{span.count}</td>'
        f'<td class="number">{span.weight}</td></tr>\n'
        for number, span in enumerate(attributed.spans, start=1)
    )
    shares = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{share}</td></tr>\n'
        for name, share in _shares(attributed, names)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Where this answer comes from</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>Where this answer comes from</h1>\n<p class="answer">{"".join(_marked(answer, attributed))}</p>\n'
        '<table>\n<caption>Passages</caption>\n<tr><th class="number">No.</th><th>Record</th>'
        '<th class="number">Tokens</th><th class="number">Occurrences</th><th class="number">Bits</th></tr>\n'
        f"{rows}</table>\n<table>\n<caption>Shares</caption>\n"
        f'<tr><th>Record</th><th class="number">Bits of {attributed.total}</th></tr>\n{shares}</table>\n'
        "</body>\n</html>\n"
    )


def _marked(answer: bytes, attributed: Attributed) -> Iterator[str]:
    for passage in passages(answer, attributed):
        if not passage.number:
            yield escape(passage.text)
            continue
        span = attributed.spans[passage.number - 1]
        look = 'class="common"' if span.record == COMMON else f'style="--hue: {span.record % _HUES * (360 // _HUES)}"'
        yield f"<mark {look}>{escape(passage.text)}</mark><sup>{passage.number}</sup>"


def _source(span: Span, titles: Mapping[int, str]) -> str:
    if span.record == COMMON:
        return f"common knowledge, {span.count} times"
    return _plain(_title(span.record, titles))


def _shares(attributed: Attributed, titles: Mapping[int, str]) -> Sequence[tuple[str, str]]:
    shares = [(_title(record, titles), str(earned)) for record, earned in attributed.credits]
    return [*shares, ("commons", str(attributed.commons))]


def _title(record: int, titles: Mapping[int, str]) -> str:
    return titles.get(record, f"record {record + 1}")


def _plain(text: str) -> str:
    return text.translate(_CONTROLS)
