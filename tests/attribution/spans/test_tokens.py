import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import AttributionError, Reason
from attribution.spans.request import MAXIMUM_TEXT_SIZE_BYTES, TABLES_SHA256
from attribution.spans.tokens import (
    MAXIMUM_TOKEN_CHARACTERS,
    tables_sha256,
    token_places,
    tokenise,
    validate_text,
)

TEXTS = {
    "The cat's mat.": ["the", "cat", "'", "s", "mat", "."],
    "ÄRZTE, Œuvre; ŁÓDŹ ÿ Ÿ": ["ärzte", ",", "œuvre", ";", "łódź", "ÿ", "ÿ"],
    "Ωμέγας ΩΜΈΓΑΣ": ["ωμέγασ", "ωμέγασ"],
    "Съешь ЁЛКУ": ["съешь", "ёлку"],
    "Tiếng VIỆT": ["tiếng", "việt"],
    "中文。한글 ひら": ["中", "文", "。", "한", "글", "ひ", "ら"],
    "हिन्दी।": ["हिन्दी", "।"],
    "שלום עולם": ["שלום", "עולם"],
    "a\u00a0b\u200bc\ufeffd\u3000e\r\nf\0g": ["a", "b", "c", "d", "e", "f", "g"],
    "x_1 + 2.50€ 👍🏽": ["x_1", "+", "2", ".", "50", "€", "👍", "🏽"],
    "e\u0301 \u00e9": ["e\u0301", "\u00e9"],
    "\u212a \u0130 \u1e9e": ["\u212a", "\u0130", "\u1e9e"],
}

TEXT = st.text(st.sampled_from("abZÄßΣЯ中。👍\u0301\u200b\u00a0 \n\0'_1."), max_size=200)


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_of_a_text(text: str) -> None:
    assert tokenise(text.encode()) == TEXTS[text]


def test_tables_are_the_pinned_ones() -> None:
    """No character's kind or case is asked of Python, so this hash is all that the rule depends on."""
    assert tables_sha256() == TABLES_SHA256


@settings(max_examples=60)
@given(TEXT)
def test_places_are_those_of_the_tokens(text: str) -> None:
    if not (places := token_places(text.encode())):
        return
    tokens = tokenise(text.encode())
    assert [tokenise(text[begin:end].encode()) for begin, end in places] == [[token] for token in tokens]


@settings(max_examples=60)
@given(TEXT, TEXT)
def test_tokens_joined_have_the_same_tokens(left: str, right: str) -> None:
    """So two texts with equal tokens joined by line breaks are equal, and only they."""
    tokens = tokenise(f"x {left} {right}".encode())
    assert tokenise("\n".join(tokens).encode()) == tokens
    assert all(token.encode().decode() == token and "\n" not in token for token in tokens)


def test_ascii_takes_a_shorter_way_to_the_same_tokens() -> None:
    text = bytes(range(128))
    assert tokenise(text + "ß".encode())[:-1] == tokenise(text)
    assert tokenise(text)[:3] == ["!", '"', "#"]


def test_a_word_without_end_is_cut() -> None:
    assert tokenise(b"a" * 130) == ["a" * MAXIMUM_TOKEN_CHARACTERS] * 2 + ["aa"]


@pytest.mark.parametrize(
    ("text", "reason", "detail"),
    [
        (b"", Reason.TEXT_WITHOUT_TOKENS, ""),
        (" \t\u2003\u200b".encode(), Reason.TEXT_WITHOUT_TOKENS, ""),
        (b"good \xff", Reason.TEXT_NOT_UTF8, "byte 5"),
        (b"over\xc0\xaflong", Reason.TEXT_NOT_UTF8, "byte 4"),
        (b"half \xed\xa0\x80 pair", Reason.TEXT_NOT_UTF8, "byte 5"),
        (b"cut \xe4\xb8", Reason.TEXT_NOT_UTF8, "byte 4"),
        (
            bytes(MAXIMUM_TEXT_SIZE_BYTES + 1),
            Reason.TEXT_TOO_LARGE,
            f"{MAXIMUM_TEXT_SIZE_BYTES + 1} bytes, at most {MAXIMUM_TEXT_SIZE_BYTES}",
        ),
    ],
    ids=["empty", "spaces", "byte", "overlong", "surrogate", "cut", "large"],
)
def test_what_is_no_text_is_refused(text: bytes, reason: Reason, detail: str) -> None:
    for function in (tokenise, validate_text):
        with pytest.raises(AttributionError) as caught:
            function(text)
        assert (caught.value.reason, caught.value.detail) == (reason, detail)
    validate_text(b"x")
