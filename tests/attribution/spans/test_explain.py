import re
from html.parser import HTMLParser

from attribution.spans.explain import passages, to_html, to_text
from tests.attribution.spans.corpus import ask, prepare_texts

TEXTS = [
    "alpha <b>beta</b> & gamma delta epsilon zeta eta",
    *(f"one two three four five six seven eight {i}" for i in range(9)),
]
ANSWER = (
    'So "<script>alert(1)</script>": Alpha <b>beta</b> & gamma delta; '
    "one two three four five six seven eight\x1b[2J\u202e!"
)
BLOB = ANSWER.encode()
FOUND = ask(prepare_texts(TEXTS), ANSWER)
TITLES = {0: "<img src=x onerror=alert(1)>\x1b[31m"}


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read() -> Reader:
    reader = Reader()
    reader.feed(to_html(BLOB, FOUND, TITLES))
    return reader


def test_passages_joined_are_the_answer() -> None:
    assert "".join(passage.text for passage in passages(BLOB, FOUND)) == ANSWER
    assert [p.text for p in passages(BLOB, FOUND) if p.number] == [
        "Alpha <b>beta</b> & gamma delta",
        "one two three four five six seven eight",
    ]


def test_text_marks_passages_and_names_their_records() -> None:
    told = to_text(BLOB, FOUND, {0: "the first"})
    assert "[Alpha <b>beta</b> & gamma delta](1)" in told
    assert re.search(r"\(1\) +\d+ bits +\d+ tokens  the first", told)
    assert "common knowledge, 9 times" in told
    assert f"commons: {FOUND.commons}" in told


def test_neither_answer_nor_title_speaks_to_the_terminal() -> None:
    told = to_text(BLOB, FOUND, TITLES)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", told)


def test_page_shows_markup_of_others_as_text() -> None:
    reader = read()
    allowed = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "p",
        "mark",
        "sup",
        "table",
        "caption",
        "tr",
        "th",
        "td",
    }
    assert set(reader.tags) == allowed
    assert ANSWER.split(": ", maxsplit=1)[0] in "".join(reader.text)
    assert not [name for name in reader.attributes if name.startswith("on") or name in ("src", "href")]


def test_page_needs_nothing_else_and_has_both_themes() -> None:
    page = to_html(BLOB, FOUND)
    assert "prefers-color-scheme: dark" in page
    assert "color-scheme: light dark" in page
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|url\(|@import|<script", page)


def test_page_of_an_answer_without_passages_is_whole() -> None:
    page = to_html(b"nothing", ask(prepare_texts(TEXTS), "nothing"))
    assert page.endswith("</html>\n")
    assert "<mark" not in page
