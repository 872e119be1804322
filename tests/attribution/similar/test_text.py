import hashlib
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import AttributionError, Reason
from attribution.similar import reference
from attribution.similar import request as request_module
from attribution.similar import shingles as shingles_module
from attribution.similar import text as text_module
from attribution.similar.reference import TextReference
from attribution.similar.request import (
    BANDS,
    BUCKET_RECORDS,
    CROWD_ANCHORS,
    MAXIMUM_SHINGLES,
    MAXIMUM_TEXT_SIZE_BYTES,
    TextRule,
    Verdict,
    VerdictKind,
    text_work,
)
from attribution.similar.shingles import (
    PRIME,
    affine,
    anchors,
    bands,
    jaccard,
    permutations,
    shingles,
    signature,
    tokens,
)
from attribution.similar.text import TextClusters, TextEntry, load

NEW, JOINS, COPY = VerdictKind.NEW, VerdictKind.JOINS, VerdictKind.COPY
RULE = TextRule()
TAG = RULE.tag


def words(seed: int, count: int) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [b"w%d" % i for i in rng.integers(0, 5000, count)]


def changed(text: list[bytes], seed: int, count: int) -> list[bytes]:
    """With `count` words replaced."""
    rng = np.random.default_rng(seed)
    other = list(text)
    for place in rng.permutation(len(text))[:count].tolist():
        other[place] = b"x%d" % rng.integers(0, 1 << 40)
    return other


def make_texts(seed: int, count: int, size: int = 40) -> list[bytes]:
    """Fresh texts, and earlier ones with up to half of their words replaced."""
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    texts = [words(seed, size)]
    for i in range(1, count):
        near = changed(texts[rng.integers(0, i)], seed + i, int(rng.choice([0, 1, 3, 5, 8, 20])))
        texts.append(near if rng.integers(0, 3) else words(seed + i, size))
    return [b" ".join(text) for text in texts]


def judge_plainly(texts: list[bytes]) -> list[Verdict]:
    plain = TextReference(RULE)
    return [plain.admit(i, text) for i, text in enumerate(texts)]


# Tokens.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\n.,;!\x00\u00a0\u2003\u200b\u2019—", []),
        ("The quick-brown FOX_7", ["the", "quick", "brown", "fox", "7"]),
        ("naïve Ärzte Ωmega", ["naïve", "Ärzte", "Ωmega"]),
        ("don't", ["don", "t"]),
        ("深度学习。模型", ["深", "度", "学", "习", "模", "型"]),
        ("한국a b🙂🙂", ["한", "국", "a", "b", "🙂", "🙂"]),
        ("x²+½ µm", ["x", "µm"]),
        ("H₂O", ["h₂o"]),
        ("İI\u0130K", ["İiİk"]),
    ],
)
def test_tokens_are_cut_by_ranges_of_code_points(text: str, expected: list[str]) -> None:
    assert tokens(text.encode()) == [token.encode() for token in expected]


points = st.integers(0x20, 0x7F) | st.integers(0x20, 0x3300) | st.integers(0xE000, 0x10FFFF)


@settings(max_examples=50)
@given(text=st.lists(points, max_size=60).map(lambda found: "".join(map(chr, found))))
def test_tokens_equal_the_plain_form_for_any_text(text: str) -> None:
    assert tokens(text.encode()) == [token.encode() for token in reference.tokens(text.encode())]


def test_every_code_point_is_cut_as_the_plain_form_cuts_it() -> None:
    """All of Unicode in one text, each code point alone and between letters."""
    points = [i for i in range(0x3200) if not 0xD800 <= i < 0xE000] + [0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF]
    text = "".join(f"a{chr(i)}b {chr(i)} " for i in points).encode()
    found = reference.tokens(text)
    assert [token.encode() for token in found] == tokens(text)
    assert hashlib.sha256("\0".join(found).encode()).hexdigest() == TOKENS_SHA256


TOKENS_SHA256 = "e5e7591ae88ab1ad06543da5b49c434c742a2d7969532fa17eeffb73d6943a59"


@pytest.mark.parametrize(
    ("text", "reason", "detail"),
    [
        (b"", Reason.TEXT_EMPTY, ""),
        (b" .,\n", Reason.TEXT_EMPTY, ""),
        (b"ab\xff", Reason.TEXT_NOT_UTF8, "byte 2"),
        (b"\xed\xa0\x80", Reason.TEXT_NOT_UTF8, "byte 0"),
        (b"\xc0\xaf", Reason.TEXT_NOT_UTF8, "byte 0"),
        (b"a" * (MAXIMUM_TEXT_SIZE_BYTES + 1), Reason.TEXT_TOO_LONG, "1048577 bytes, at most 1048576"),
        (
            b" ".join(b"%d" % i for i in range(MAXIMUM_SHINGLES + 3)),
            Reason.TEXT_TOO_LONG,
            "16385 shingles, at most 16384",
        ),
    ],
)
def test_wrong_text_is_refused(text: bytes, reason: Reason, detail: str) -> None:
    for act in (lambda: TextClusters(RULE).admit(0, text), lambda: TextClusters(RULE).propose(0, text)):
        with pytest.raises(AttributionError) as caught:
            act()
        assert (caught.value.reason, caught.value.detail) == (reason, detail)


def test_a_megabyte_of_one_line_is_a_few_shingles() -> None:
    line = b"the same line again and again\n"
    assert len(shingles(line * (MAXIMUM_TEXT_SIZE_BYTES // len(line)), TAG)) == 6
    assert len(shingles(b"a" * MAXIMUM_TEXT_SIZE_BYTES, TAG)) == 1


# Numbers.


@settings(max_examples=30)
@given(values=st.lists(st.tuples(*[st.integers(0, PRIME - 1) | st.just(PRIME - 1)] * 3), min_size=1, max_size=20))
def test_permutation_equals_plain_integers(values: list[tuple[int, int, int]]) -> None:
    a, x, b = (np.array(column, dtype=np.uint64) for column in zip(*values, strict=True))
    assert affine(a, x, b).tolist() == [(f * v + o) % PRIME for f, v, o in values]


@given(seed=st.integers(0, 1 << 30), count=st.integers(1, 30))
@settings(deadline=None, max_examples=4)
def test_shingles_and_signature_equal_the_plain_form(seed: int, count: int) -> None:
    text = b" ".join(words(seed, count))
    hashes = shingles(text, TAG)
    plain = reference.shingles(text, TAG)
    assert hashes.tolist() == sorted(plain)
    assert signature(hashes, TAG).tolist() == reference.signature(plain, TAG)
    other = shingles(b" ".join(changed(words(seed, count), seed, 2)), TAG)
    assert jaccard(hashes, other) == jaccard(other, hashes) == reference.jaccard(plain, set(other.tolist()))


def test_a_signature_does_not_depend_on_how_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = shingles(b" ".join(words(1, 50)), TAG)
    whole = signature(hashes, TAG)
    monkeypatch.setattr(shingles_module, "_SHINGLES_IN_ONE_GO", 7)
    assert signature(hashes, TAG).tolist() == whole.tolist()


def test_the_tag_fixes_hashes_and_permutations() -> None:
    text = b" ".join(words(1, 50))
    assert not set(shingles(text, b"a").tolist()) & set(shingles(text, b"b").tolist())
    assert permutations(b"a")[0].tolist() != permutations(b"b")[0].tolist()
    assert len(set(bands(signature(shingles(text, TAG), TAG)))) == BANDS


@pytest.mark.parametrize(("similar", "least", "most"), [(0.8, 0.99, 1), (0.5, 0.75, 0.97), (0.3, 0.1, 0.4)])
def test_bands_propose_as_often_as_the_formula_says(similar: float, least: float, most: float) -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        drawn = np.unique(rng.integers(0, PRIME, 220, dtype=np.uint64))[:200]
        rng.shuffle(drawn)
        shared = round(200 * similar)
        rest = (200 - shared) // 2
        left, right = drawn[: shared + rest], np.concatenate([drawn[:shared], drawn[shared + rest :]])
        hits += bool(set(bands(signature(left, TAG))) & set(bands(signature(right, TAG))))
    assert least <= hits / 100 <= most


# The verdicts.


@given(seed=st.integers(0, 1 << 30), cuts=st.lists(st.integers(0, 25), max_size=3))
@settings(deadline=None, max_examples=3)
def test_one_by_one_in_batches_and_in_plain_integers_are_the_same(seed: int, cuts: list[int]) -> None:
    texts = make_texts(seed, 25)
    expected = judge_plainly(texts)
    singly, batched = TextClusters(RULE), TextClusters(RULE)
    for i, text in enumerate(texts):
        assert singly.propose(i, text) == expected[i]
        assert singly.admit(i, text) == expected[i]
    places = sorted({0, 25, *cuts})
    judged = [batched.admit_all(list(enumerate(texts))[a:b]) for a, b in pairwise(places)]
    assert [verdict for part in judged for verdict in part] == expected
    assert singly.digest() == batched.digest()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_many_texts_are_judged_as_in_plain_integers(seed: int) -> None:
    texts = make_texts(seed, 60, size=(8, 40, 150)[seed % 3])
    assert list(TextClusters(RULE).admit_all(list(enumerate(texts)))) == judge_plainly(texts)


def test_a_sample_has_every_kind_of_verdict() -> None:
    kinds = [verdict.kind for verdict in judge_plainly(make_texts(1, 40))]
    assert min(kinds.count(kind) for kind in VerdictKind) >= 4


def test_a_copy_of_a_member_is_a_copy_and_nobody_joins_through_a_member() -> None:
    first = words(1, 200)
    member = first[:160] + words(2, 40)
    far = member[90:] + words(3, 4)
    texts = [b" ".join(text) for text in (first, member, changed(member, 4, 2), far)]
    clusters = TextClusters(RULE)
    verdicts = clusters.admit_all(list(enumerate(texts)))
    assert [(v.kind, v.cluster, v.original) for v in verdicts] == [
        (NEW, 0, None),
        (JOINS, 0, 0),
        (COPY, 0, 1),
        (NEW, 3, None),
    ]
    assert jaccard(shingles(texts[3], TAG), shingles(texts[1], TAG)) >= 300
    assert 1 in clusters.candidates(bands(signature(shingles(texts[3], TAG), TAG)))


@given(seed=st.integers(0, 1 << 30))
@settings(deadline=None, max_examples=4)
def test_a_copy_never_leads_and_never_changes_a_later_verdict(seed: int) -> None:
    texts = list(enumerate(make_texts(seed, 25)))
    clusters, fewer = TextClusters(RULE), TextClusters(RULE)
    verdicts = clusters.admit_all(texts)
    kept = [i for i, verdict in enumerate(verdicts) if verdict.kind is not COPY]
    assert [entry.seniority for entry in clusters.entries()] == kept
    assert all(clusters.members(i)[:1] == (i,) for i in kept if verdicts[i].kind is NEW)
    assert fewer.admit_all([texts[i] for i in kept]) == tuple(verdicts[i] for i in kept)
    assert fewer.digest() == clusters.digest()


def test_case_and_punctuation_make_no_new_text() -> None:
    clusters = TextClusters(RULE)
    clusters.admit(0, b"The cat sat on the mat, and purred.")
    verdict = clusters.propose(1, b"THE CAT -- sat on the mat and PURRED!")
    assert verdict == Verdict(kind=COPY, cluster=0, original=0, similarity=1000)


# The adversary: texts that aim at one band.


def flood(victim: bytes, band: int, count: int) -> list[bytes]:
    """Texts that agree with the victim in one band, made of the words that hold its four minima."""
    found = tokens(victim)
    factors, offsets = permutations(TAG)
    windows = [found[i : i + 3] for i in range(len(found) - 2)]
    hashes = np.array([int(shingles(b" ".join(window), TAG)[0]) for window in windows], dtype=np.uint64)
    rows = slice(4 * band, 4 * band + 4)
    images = affine(factors[rows, None], hashes[None, :], offsets[rows, None])
    core = b" ".join(b" ".join(windows[place]) for place in images.argmin(axis=1).tolist())
    target = bands(signature(shingles(victim, TAG), TAG))[band]
    made = []
    for i in range(20 * count):
        text = core + b" " + b" ".join(b"j%d" % (31 * i + k) for k in range(30))
        if bands(signature(shingles(text, TAG), TAG))[band] == target:
            made.append(text)
        if len(made) == count:
            break
    assert len(made) == count
    return made


def test_a_flooded_band_proposes_no_more_than_its_eldest_and_hides_no_elder(monkeypatch: pytest.MonkeyPatch) -> None:
    victim, later = b" ".join(words(1, 300)), b" ".join(words(1, 300)[:290] + words(2, 10))
    clusters = TextClusters(TextRule(cluster_permille=800))
    clusters.admit(0, victim)
    attack = flood(victim, 5, 40)
    names = bands(signature(shingles(victim, TAG), TAG))
    assert all(v.kind is NEW for v in clusters.admit_all(list(enumerate(attack, start=1))))
    assert clusters.candidates([names[5]]) == list(range(BUCKET_RECORDS))
    assert len(clusters.candidates(names)) <= BANDS * BUCKET_RECORDS
    # A copy of the victim is found through every band, the flooded one too.
    assert clusters.propose(50, later).kind is COPY
    assert 0 in clusters.candidates([names[5]])
    # And a text that came after the flood is found through its other bands.
    late = TextClusters(TextRule(cluster_permille=800))
    late.admit_all(list(enumerate(attack)))
    late.admit(40, victim)
    assert 40 not in late.candidates([names[5]])
    assert (late.propose(50, later).kind, late.propose(50, later).original) == (COPY, 40)
    assert late.entry(40).places[:4] == bytes([0b11111011, 255, 255, 255])


def bands_of(text: bytes) -> tuple[bytes, ...]:
    return bands(signature(shingles(text, TAG), TAG))


def hide(text: list[bytes], is_chosen: Callable[[int, list[bytes]], bool]) -> list[bytes]:
    """One word replaced in every chosen shingle, from the left, that no earlier replacement has changed."""
    other, fresh = list(text), 0
    for i in range(len(text) - 2):
        if other[i : i + 3] == text[i : i + 3] and is_chosen(i, text):
            other[i + 1] = b"y%d" % fresh
            fresh += 1
    return other


def number(window: list[bytes]) -> int:
    return int(shingles(b" ".join(window), TAG)[0])


def test_whoever_changes_every_band_of_a_long_text_is_found_by_its_anchors() -> None:
    original = words(7, 2000)
    hashes = shingles(b" ".join(original), TAG)
    factors, offsets = permutations(TAG)
    images = affine(factors[:, None], hashes[None, :], offsets[:, None])
    # The minimum of the first row of each band is enough.
    least = {int(hashes[place]) for place in images.argmin(axis=1)[::4].tolist()}
    copy = b" ".join(hide(original, lambda i, text: number(text[i : i + 3]) in least))
    assert not set(bands_of(b" ".join(original))) & set(bands_of(copy))
    clusters = TextClusters(RULE)
    clusters.admit(0, b" ".join(original))
    verdict = clusters.propose(1, copy)
    assert (verdict.kind, verdict.original, verdict.similarity) == (COPY, 0, 914)


def test_whoever_changes_every_anchor_too_has_no_copy_any_more() -> None:
    original = words(7, 2000)
    changed_text = b" ".join(hide(original, lambda i, text: number(text[i : i + 3]) % 8 == 0))
    left, right = shingles(b" ".join(original), TAG), shingles(changed_text, TAG)
    assert not set(anchors(left)) & set(anchors(right))
    assert jaccard(left, right) == 495


@pytest.mark.slow
def test_texts_that_fill_buckets_beforehand_hide_no_copies() -> None:
    """Sixteen long texts that hold all of a text, each with four times as much of its own."""
    target = words(9, 300)
    decoys = [b" ".join([*target, *words(100 + i, 1200)]) for i in range(BUCKET_RECORDS)]
    copies = [b" ".join(changed(target, i, 3)) for i in range(4)]
    honest = b" ".join(words(10, 300))
    texts = [*decoys, *copies, honest]
    expected = judge_plainly(texts)
    clusters = TextClusters(RULE)
    assert list(clusters.admit_all(list(enumerate(texts)))) == expected
    assert [verdict.kind for verdict in expected[:16]] == [NEW] * 16
    # It is similar to none of them, but its anchors are full: it leads nothing, and its copies are found or join too.
    assert (expected[16].kind, expected[16].cluster, expected[16].similarity) == (JOINS, 0, 191)
    assert all(verdict.kind is not NEW for verdict in expected[17:20])
    assert expected[20].kind is NEW


def test_a_crowd_in_every_band_is_a_crowd_without_anchors() -> None:
    """Texts too short for anchors to tell: all bands full is enough."""
    core = words(11, 60)
    rule = TextRule(copy_permille=1000, cluster_permille=1000)
    texts = [b" ".join([*core, b"own%d" % i]) for i in range(40)]
    clusters, plain = TextClusters(rule), TextReference(rule)
    verdicts = clusters.admit_all(list(enumerate(texts)))
    assert list(verdicts) == [plain.admit(i, text) for i, text in enumerate(texts)]
    assert len(anchors(shingles(texts[0], TAG))) < CROWD_ANCHORS
    assert [verdict.kind for verdict in verdicts[:16]] == [NEW] * 16
    assert {verdict.kind for verdict in verdicts[20:]} == {JOINS}


def test_anchors_propose_at_most_sixty_four_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (text_module, request_module):
        monkeypatch.setattr(module, "BUCKET_RECORDS", 200)
    target = words(12, 400)
    texts = [b" ".join([*target[4 * i : 4 * i + 40], *words(200 + i, 100)]) for i in range(90)]
    clusters = TextClusters(RULE)
    clusters.admit_all(list(enumerate(texts)))
    asked = shingles(b" ".join(target), TAG)
    names = bands(signature(asked, TAG)) + anchors(asked)
    banded = clusters.candidates(names[:BANDS])
    proposed = clusters.candidates(names)
    assert len(proposed) <= 64 + len(banded) < 90
    shared = {i: len(set(anchors(shingles(text, TAG))) & set(names)) for i, text in enumerate(texts)}
    ranked = sorted(shared, key=lambda i: (-shared[i], i))
    assert set(proposed) == set(ranked[:64]) | set(banded)


# Removal.


@given(seed=st.integers(0, 1 << 30), removals=st.lists(st.tuples(st.integers(1, 24), st.integers(0, 100)), max_size=5))
@settings(deadline=None, max_examples=3)
def test_removals_equal_plain_integers_and_the_state_restores_the_index(
    seed: int, removals: list[tuple[int, int]]
) -> None:
    texts = make_texts(seed, 25)
    plain, clusters = TextReference(RULE), TextClusters(RULE)
    at = dict(removals)
    for i, text in enumerate(texts):
        if i in at and plain.texts:
            gone = plain.texts[at[i] % len(plain.texts)].seniority
            clusters.remove(gone)
            plain.remove(gone)
            restored = load(RULE, reversed([TextEntry.decode(entry.encode()) for entry in clusters.entries()]))
            assert restored.digest() == clusters.digest()
            assert [restored.propose(i + 1, each) for each in texts] == [
                clusters.propose(i + 1, each) for each in texts
            ]
        assert clusters.admit(i, text) == plain.admit(i, text)


def test_the_eldest_member_succeeds_a_removed_leader() -> None:
    first = words(1, 200)
    member = first[:150] + words(2, 50)
    third = member[110:]
    clusters = TextClusters(RULE)
    clusters.admit_all([(0, b" ".join(first)), (1, b" ".join(member))])
    assert clusters.propose(2, b" ".join(third)).kind is NEW
    clusters.remove(0)
    verdict = clusters.propose(2, b" ".join(third))
    assert (verdict.kind, verdict.cluster, verdict.original) == (JOINS, 0, 1)
    clusters.remove(1)
    assert (clusters.members(0), len(clusters), 1 in clusters) == ((), 0, False)
    for act in (clusters.remove, clusters.cluster_of, clusters.entry):
        with pytest.raises(AttributionError) as caught:
            act(1)
        assert (caught.value.reason, caught.value.detail) == (Reason.RECORD_UNKNOWN, "1")


def test_a_place_that_is_freed_is_for_the_next_who_comes() -> None:
    victim = b" ".join(words(1, 300))
    attack = flood(victim, 5, 18)
    clusters = TextClusters(TextRule(cluster_permille=800))
    clusters.admit_all(list(enumerate(attack[:17])))
    name = [bands(signature(shingles(victim, TAG), TAG))[5]]
    clusters.remove(3)
    assert 16 not in clusters.candidates(name)
    clusters.admit(17, attack[17])
    assert clusters.candidates(name) == [0, 1, 2, *range(4, 16), 17]


@given(seed=st.integers(0, 1 << 30), keep=st.integers(0, 25))
@settings(deadline=None, max_examples=4)
def test_cutting_off_the_youngest_undoes_their_admission(seed: int, keep: int) -> None:
    texts = list(enumerate(make_texts(seed, 25)))
    short, clusters = TextClusters(RULE), TextClusters(RULE)
    short.admit_all(texts[:keep])
    clusters.admit_all(texts)
    clusters.cut(keep - 1)
    assert clusters.digest() == short.digest()
    assert clusters.admit_all(texts[keep:]) == short.admit_all(texts[keep:])


def test_a_wrong_text_in_a_batch_admits_none_of_it() -> None:
    clusters = TextClusters(RULE)
    clusters.admit(0, b"one two three four")
    before = clusters.digest()
    with pytest.raises(AttributionError):
        clusters.admit_all([(1, b"five six seven eight"), (2, b"\xff")])
    assert (clusters.digest(), clusters.newest) == (before, 0)
    with pytest.raises(AttributionError) as caught:
        clusters.admit(0, b"nine ten")
    assert (caught.value.reason, caught.value.detail) == (Reason.OUT_OF_ORDER, "0 after 0")


def test_a_cut_behind_a_removal_is_our_own_mistake() -> None:
    clusters = TextClusters(RULE)
    clusters.admit_all([(i, b"word%d and so on" % i) for i in range(4)])
    clusters.remove(3)
    with pytest.raises(AssertionError):
        clusters.cut(1)


# Rules and prices.


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"copy_permille": 0}, "copy_permille: 0 is not in 1 to 1000"),
        ({"cluster_permille": 1001}, "cluster_permille: 1001 is not in 1 to 1000"),
        ({"copy_permille": 299}, "cluster_permille 300 is above copy_permille 299"),
    ],
)
def test_a_threshold_outside_its_range_is_refused(change: dict[str, int], detail: str) -> None:
    with pytest.raises(AttributionError) as caught:
        TextRule(**change)
    assert (caught.value.reason, caught.value.detail) == (Reason.THRESHOLD_OUT_OF_RANGE, detail)


def test_work_is_known_before_it_is_done() -> None:
    assert text_work(100, RULE) == 144 * 100 + 577 * (100 + 333)
    assert text_work(MAXIMUM_SHINGLES, RULE) == (144 + 2 * 577) * MAXIMUM_SHINGLES
    assert TextClusters(RULE).steps(b" ".join(words(1, 102))) == text_work(100, RULE)
