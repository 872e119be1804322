"""The engine spans/1 once more, in plain Python: slow, short, and what the fast form is tested against.

Read this to know what is computed, and the other files to know how it is computed quickly. A text is a list of tokens.
"""

from collections.abc import Sequence

from attribution.spans.request import (
    COMMON,
    MAXIMUM_OCCURRENCES,
    MAXIMUM_OWNERS,
    MINIMUM_SPAN_TOKENS,
    Attributed,
    Span,
)

Tokens = Sequence[str]


def attribute(texts: Sequence[Tokens], owners: Sequence[int], answer: Tokens) -> Attributed:
    """Where an answer comes from, with texts from the eldest on and the owner of each."""
    # A text that repeats an elder one counts nowhere.
    texts = [list(text) for text in texts]
    originals = [[] if text in texts[:place] else text for place, text in enumerate(texts)]
    weights = [rarity(originals, token) for token in answer]
    spans = maximal_spans(originals, answer)
    owning = [owner_of(spans, place) for place in range(len(answer))]
    found = []
    for begin, length in spans:
        own = [place for place in range(len(answer)) if owning[place] == (begin, length)]
        if own:
            count, owner_count, record = holder(originals, owners, answer[begin : begin + length])
            weight = sum(weights[place] for place in own)
            found.append(
                Span(
                    begin=begin,
                    length=length,
                    own_begin=own[0],
                    own_length=len(own),
                    count=count,
                    owners=owner_count,
                    record=record,
                    weight=weight,
                )
            )
    earned = [(r, sum(span.weight for span in found if span.record == r)) for r in range(len(texts))]
    paid = tuple((record, credit) for record, credit in earned if credit > 0)
    commons = sum(weights) - sum(credit for _, credit in paid)
    return Attributed(token_count=len(answer), spans=tuple(found), credits=paid, commons=commons)


def rarity(texts: Sequence[Tokens], token: str) -> int:
    """Weight of a token. Units: bits."""
    total, count = sum(map(len, texts)), sum(list(text).count(token) for text in texts)
    return max(total // max(count, 1), 1).bit_length()


def maximal_spans(texts: Sequence[Tokens], answer: Tokens) -> list[tuple[int, int]]:
    """(begin, length) of every passage of the answer that some text holds and that is in no longer one."""
    ends = []
    for begin in range(len(answer)):
        end = begin
        while end < len(answer) and occurrences(texts, answer[begin : end + 1]):
            end += 1
        ends.append(end)
    return [
        (begin, end - begin)
        for begin, end in enumerate(ends)
        if end - begin >= MINIMUM_SPAN_TOKENS and (begin == 0 or ends[begin - 1] < end)
    ]


def occurrences(texts: Sequence[Tokens], passage: Tokens) -> list[int]:
    """The text of each occurrence of a passage."""
    wanted, length = list(passage), len(passage)
    return [
        index
        for index, text in enumerate(texts)
        for place in range(len(text) - length + 1)
        if text[place] == wanted[0] and list(text[place : place + length]) == wanted
    ]


def owner_of(spans: Sequence[tuple[int, int]], place: int) -> tuple[int, int] | None:
    """The longest span that covers a token, the leftmost of equals."""
    covering = [(begin, length) for begin, length in spans if begin <= place < begin + length]
    return max(covering, key=lambda span: (span[1], -span[0]), default=None)


def holder(texts: Sequence[Tokens], owners: Sequence[int], passage: Tokens) -> tuple[int, int, int]:
    """How often a passage stands in the texts, with how many owners, and in which text first, or COMMON."""
    found = occurrences(texts, passage)
    if len(found) > MAXIMUM_OCCURRENCES:
        return len(found), 0, COMMON
    owner_count = min(len({owners[index] for index in found}), MAXIMUM_OWNERS + 1)
    return len(found), owner_count, found[0] if owner_count <= MAXIMUM_OWNERS else COMMON
