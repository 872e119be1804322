from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import AttributionError, Reason
from attribution.head.encoder import derive
from attribution.record import Column, TabularSchema, encode_record
from attribution.similar import leaders as leaders_module
from attribution.similar import tabular as tabular_module
from attribution.similar.leaders import Leaders, similarities, sketch, squared_norms
from attribution.similar.records import Batch, Entry, read_batch
from attribution.similar.reference import TabularReference, similarity
from attribution.similar.request import TabularRule, Verdict, VerdictKind, tabular_work
from attribution.similar.tabular import TabularClusters, found, load
from tests.attribution.similar.samples import (
    RULE,
    admit_singly,
    feed,
    judge_plainly,
    make_batch,
    make_case,
    make_features,
)

NEW, JOINS, COPY = VerdictKind.NEW, VerdictKind.JOINS, VerdictKind.COPY


def rows(*values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int16)


def similarity_of(x: list[int], y: list[int]) -> int:
    left, right = rows(x), rows(y)
    products = (left.astype(np.int64) * right).sum(axis=1)
    return int(similarities(products, squared_norms(left), squared_norms(right))[0])


# Similarity.


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([0, 0], [0, 0], 1000),
        ([0, 0], [1, 0], 0),
        ([3, 4], [3, 4], 1000),
        ([3, 4], [-3, -4], -1000),
        ([1, 0], [-1, 2], -334),
        ([100, 0], [128, 0], 970),
        ([100, 0], [129, 0], 968),
    ],
)
def test_similarity_is_the_floor_of_the_design(x: list[int], y: list[int], expected: int) -> None:
    assert similarity_of(x, y) == similarity(x, y) == expected


vectors = st.lists(st.integers(-32767, 32767), min_size=3, max_size=3)


@given(x=vectors, y=vectors)
def test_similarity_equals_plain_integers_and_is_symmetric(x: list[int], y: list[int]) -> None:
    assert similarity_of(x, y) == similarity(x, y) == similarity(y, x) <= 1000


# The verdicts.


@given(
    seed=st.integers(0, 1 << 30),
    width=st.sampled_from([0, 2, 7, 8, 16, 130, 200]),
    count=st.integers(1, 40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
)
@settings(deadline=None, max_examples=20)
def test_one_by_one_in_batches_and_in_plain_integers_are_the_same(
    seed: int, width: int, count: int, cuts: list[int]
) -> None:
    batch = make_case(seed, count, width)
    expected = judge_plainly(batch)
    singly, batched, whole = (TabularClusters(RULE, width) for _ in range(3))
    assert admit_singly(singly, batch) == expected
    places = sorted({0, count, *(min(cut, count) for cut in cuts)})
    judged = [batched.admit(batch.part(slice(a, b))) for a, b in pairwise(places)]
    assert tuple(verdict for part in judged for verdict in part) == expected
    assert whole.propose(batch) == expected
    assert len(whole) == 0
    assert whole.admit(batch) == expected
    assert singly.digest() == batched.digest() == whole.digest()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_many_records_are_judged_as_in_plain_integers(seed: int) -> None:
    batch = make_case(seed, 150, (8, 12, 65, 130, 300)[seed % 5], classes=1 + seed % 2)
    assert TabularClusters(RULE, batch.features.shape[1]).admit(batch) == judge_plainly(batch)


def test_a_sample_has_every_kind_of_verdict() -> None:
    kinds = [verdict.kind for verdict in judge_plainly(make_case(1, 200, 16))]
    assert min(kinds.count(kind) for kind in VerdictKind) >= 5


def test_batches_longer_than_one_comparison_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular_module, "MAXIMUM_BATCH", 7)
    batch = make_case(3, 40, 16)
    clusters = TabularClusters(RULE, 16)
    with pytest.raises(AttributionError) as caught:
        clusters.propose(batch)
    assert (caught.value.reason, caught.value.detail) == (Reason.TOO_MANY_RECORDS, "40, at most 7")
    assert clusters.admit(batch) == judge_plainly(batch)


@pytest.mark.parametrize("dense", [1, 1 << 60])
def test_blocks_and_both_ways_to_decide_pairs_give_the_same(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaders_module, "_BLOCK_LEADERS", 5)
    monkeypatch.setattr(leaders_module, "_BLOCK_PAIRS", 3)
    monkeypatch.setattr(leaders_module, "_DENSE", dense)
    batch = make_case(4, 80, 140, classes=1)
    clusters = TabularClusters(RULE, 140)
    half = clusters.admit(batch.part(slice(40)))
    assert half + clusters.admit(batch.part(slice(40, 80))) == judge_plainly(batch)


def test_a_record_joins_the_eldest_leader_and_never_a_member() -> None:
    base = np.full(8, 10_000)
    chain = np.array([base, base * 1.25, base * 1.25**2, base * 1.25**3, base * 1.25**4]).astype(np.int16)
    verdicts = TabularClusters(RULE, 8).admit(make_batch(chain, np.zeros(5)))
    assert [similarity(chain[i].tolist(), chain[i + 1].tolist()) for i in range(4)] == [975] * 4
    # The third is similar to the second, a member, but not to the first: it leads, and the fourth joins it.
    assert [(verdict.kind, verdict.cluster) for verdict in verdicts] == [
        (NEW, 0),
        (JOINS, 0),
        (NEW, 2),
        (JOINS, 2),
        (NEW, 4),
    ]
    assert verdicts[1] == Verdict(kind=JOINS, cluster=0, original=0, similarity=975)
    assert (verdicts[0].leader, verdicts[1].leader) == (None, 0)
    between = make_batch((base * 1.12).astype(np.int16)[None, :], np.zeros(1), first=5)
    clusters = TabularClusters(RULE, 8)
    clusters.admit(make_batch(chain, np.zeros(5)))
    assert clusters.propose(between)[0].cluster == 0


def test_another_label_is_neither_a_copy_nor_joined() -> None:
    same = make_features(1, 1, 8)
    batch = make_batch(np.vstack([same, same, same, same + 1]), np.array([0, 1, 1, 1]))
    verdicts = TabularClusters(RULE, 8).admit(batch)
    assert [verdict.kind for verdict in verdicts] == [NEW, NEW, COPY, JOINS]
    assert (verdicts[2].cluster, verdicts[2].original, verdicts[3].cluster) == (1, 1, 1)


@pytest.mark.parametrize(("width", "expected"), [(7, NEW), (8, JOINS)])
def test_below_eight_features_only_exact_copies_are_told(width: int, expected: VerdictKind) -> None:
    base = np.full((1, width), 9000, dtype=np.int16)
    verdicts = TabularClusters(RULE, width).admit(make_batch(np.vstack([base, base + 1, base]), np.zeros(3)))
    assert [verdict.kind for verdict in verdicts] == [NEW, expected, COPY]


@given(seed=st.integers(0, 1 << 30))
@settings(deadline=None, max_examples=10)
def test_a_copy_never_leads_and_never_changes_a_later_verdict(seed: int) -> None:
    batch = make_case(seed, 40, 16)
    clusters = TabularClusters(RULE, 16)
    verdicts = clusters.admit(batch)
    kept = [i for i, verdict in enumerate(verdicts) if verdict.kind is not COPY]
    assert [entry.seniority for entry in clusters.entries()] == kept
    leads = {entry.seniority for entry in clusters.entries() if entry.features}
    assert leads == {i for i, verdict in enumerate(verdicts) if verdict.kind is NEW}
    fewer = Batch(
        seniorities=tuple(kept), labels=batch.labels[kept], features=batch.features[kept],
        keys=tuple(batch.keys[i] for i in kept),
    )  # fmt: skip
    assert TabularClusters(RULE, 16).admit(fewer) == tuple(verdicts[i] for i in kept)


@given(seed=st.integers(0, 1 << 30))
@settings(deadline=None, max_examples=20)
def test_records_of_other_labels_may_change_places(seed: int) -> None:
    """Order matters among records of one label only: the others may come in between as they like."""
    batch = make_case(seed, 30, 16, classes=3)
    whole = TabularClusters(RULE, 16)
    verdicts = whole.admit(batch)
    for label in range(3):
        chosen = np.flatnonzero(batch.labels == label).tolist()
        alone = Batch(
            seniorities=tuple(chosen), labels=batch.labels[chosen], features=batch.features[chosen],
            keys=tuple(batch.keys[i] for i in chosen),
        )  # fmt: skip
        assert TabularClusters(RULE, 16).admit(alone) == tuple(verdicts[i] for i in chosen)


@given(seed=st.integers(0, 1 << 30))
@settings(deadline=None, max_examples=20)
def test_columns_may_be_permuted(seed: int) -> None:
    batch = make_case(seed, 30, 150)
    order = np.random.default_rng(seed).permutation(150)
    permuted = make_batch(batch.features[:, order], batch.labels)
    assert TabularClusters(RULE, 150).admit(permuted) == TabularClusters(RULE, 150).admit(batch)


# The filter.


@given(
    seed=st.integers(0, 1 << 30), width=st.sampled_from([8, 64, 130, 512]), join=st.sampled_from([1, 500, 970, 1000])
)
@settings(deadline=None, max_examples=20)
def test_the_filter_passes_every_pair_that_is_similar_enough(seed: int, width: int, join: int) -> None:
    features = make_features(seed, 12, width, spread=9000)
    folded = sketch(features, join)
    passed = folded[:, :-2] @ folded[:, :-2].T + folded[:, -2:-1] + folded[:, -2] >= 0
    for i in range(12):
        for j in range(12):
            assert passed[i, j] or similarity(features[i].tolist(), features[j].tolist()) < join


def test_the_filter_passes_few_others() -> None:
    features = make_features(5, 1, 512)
    others = np.random.default_rng(5).normal(0, 3000, (2000, 512)).astype(np.int16)
    folded, asked = sketch(others, 970), sketch(features, 970)
    assert (folded[:, :-2] @ asked[0, :-2] + folded[:, -2] + asked[0, -2] >= 0).sum() <= 2


def test_largest_features_do_not_overflow() -> None:
    features = np.full((2, 512), 32767, dtype=np.int16)
    signs = leaders_module.signs()
    for each in (features, (features * signs).astype(np.int16), (-features * signs).astype(np.int16)):
        whole = Leaders(512, 970)
        whole.append(each[:1])
        assert [part.tolist() for part in whole.search(each[1:])] == [[0], [1000]]
        assert np.abs(sketch(each, 1)).max() < 1 << 42
        assert (sketch(each, 1) == np.rint(sketch(each, 1))).all()


# Removal.


def test_the_eldest_member_succeeds_a_removed_leader_in_its_place() -> None:
    base = np.full(8, 10_000)
    steps = np.array([base, base * 1.25, base * 1.2, base * 1.56]).astype(np.int16)
    batch = make_batch(steps, np.zeros(4))
    clusters = TabularClusters(RULE, 8)
    assert [v.cluster for v in clusters.admit(batch)] == [0, 0, 0, 3]
    assert (clusters.successor_of(0), clusters.successor_of(1), clusters.successor_of(3)) == (1, None, None)
    clusters.remove(0, batch.part(slice(1, 2)))
    assert clusters.members(0) == (1, 2)
    # Nearer to the younger leader 3 and to the successor alike: the elder cluster has it, by its number.
    [verdict] = clusters.admit(make_batch((base * 1.5).astype(np.int16)[None, :], np.zeros(1), first=4))
    assert (verdict.kind, verdict.cluster, verdict.original) == (JOINS, 0, 1)
    # The erased content may come again, and is new where no leader is near.
    [again] = clusters.propose(make_batch((base * 0.9).astype(np.int16)[None, :], np.zeros(1), first=5))
    assert again.kind is NEW
    clusters.remove(3)
    assert clusters.members(3) == ()
    with pytest.raises(AttributionError) as caught:
        clusters.cluster_of(3)
    assert (caught.value.reason, caught.value.detail) == (Reason.RECORD_UNKNOWN, "3")


def test_a_successor_younger_than_another_leader_keeps_the_elder_place() -> None:
    base = np.full(8, 10_000)
    batch = make_batch(np.array([base, base * 1.4, base * 1.2]).astype(np.int16), np.zeros(3))
    clusters = TabularClusters(RULE, 8)
    assert [verdict.cluster for verdict in clusters.admit(batch)] == [0, 1, 0]
    clusters.remove(0, batch.part(slice(2, 3)))
    between = make_batch((base * 1.3).astype(np.int16)[None, :], np.zeros(1), first=3)
    for each in (clusters, load(RULE, 8, clusters.entries())):
        [verdict] = each.propose(between)
        assert (verdict.kind, verdict.cluster, verdict.original) == (JOINS, 0, 2)


@given(seed=st.integers(0, 1 << 30), removals=st.lists(st.tuples(st.integers(1, 39), st.integers(0, 100)), max_size=8))
@settings(deadline=None, max_examples=12)
def test_removals_equal_plain_integers_and_the_state_restores_the_index(
    seed: int, removals: list[tuple[int, int]]
) -> None:
    batch = make_case(seed, 40, 16)
    plain, clusters = TabularReference(RULE), TabularClusters(RULE, 16)
    at = dict(removals)
    for i in range(40):
        if i in at and plain.rows:
            gone = plain.rows[at[i] % len(plain.rows)].seniority
            heir = clusters.successor_of(gone)
            clusters.remove(gone, None if heir is None else batch.part(slice(heir, heir + 1)))
            plain.remove(gone)
            stored = [Entry.decode(entry.encode()) for entry in clusters.entries()]
            restored = load(RULE, 16, reversed(stored))
            assert restored.digest() == clusters.digest()
            rest = batch.part(slice(i, 40))
            assert restored.propose(rest) == clusters.propose(rest)
        [verdict] = clusters.admit(batch.part(slice(i, i + 1)))
        assert verdict == feed(plain, batch, i)
    assert [entry.cluster for entry in clusters.entries()] == [row.cluster for row in plain.rows]


def test_a_wrong_successor_is_refused() -> None:
    features = make_features(1, 1, 8)
    batch = make_batch(np.vstack([features, features + 1, features + 2]), np.zeros(3))
    clusters = TabularClusters(RULE, 8)
    clusters.admit(batch)
    other = replace(batch.part(slice(1, 2)), keys=(batch.keys[2],))
    for seniority, successor, detail in (
        (0, None, "None instead of 1"),
        (0, batch.part(slice(2, 3)), "(2,) instead of 1"),
        (1, batch.part(slice(2, 3)), "(2,) instead of None"),
        (0, other, "other content"),
    ):
        with pytest.raises(AttributionError) as caught:
            clusters.remove(seniority, successor)
        assert (caught.value.reason, caught.value.detail) == (Reason.SUCCESSOR_MISMATCH, detail)
    assert len(clusters) == 3


@given(seed=st.integers(0, 1 << 30), keep=st.integers(0, 40))
@settings(deadline=None, max_examples=10)
def test_cutting_off_the_youngest_undoes_their_admission(seed: int, keep: int) -> None:
    batch = make_case(seed, 40, 16)
    short, clusters = TabularClusters(RULE, 16), TabularClusters(RULE, 16)
    short.admit(batch.part(slice(keep)))
    clusters.admit(batch)
    clusters.cut(keep - 1)
    assert clusters.digest() == short.digest()
    rest = batch.part(slice(keep, 40))
    assert clusters.admit(rest) == short.admit(rest)
    assert clusters.digest() == short.digest()


def test_a_cut_behind_a_removal_is_our_own_mistake() -> None:
    clusters = TabularClusters(RULE, 16)
    clusters.admit(make_case(1, 10, 16))
    clusters.remove(clusters.entries()[-1].seniority)
    with pytest.raises(AssertionError):
        clusters.cut(4)


# From bytes.


SCHEMA = TabularSchema(
    columns=tuple(Column(name=f"c{i}", decimals=0, minimum=-(1 << 20), maximum=1 << 20) for i in range(9)), classes=2
)


def make_blobs(seed: int, count: int, still: int = 5) -> list[bytes]:
    """The last column does not vary."""
    rng = np.random.default_rng(seed)
    return [
        encode_record(SCHEMA, int(rng.integers(0, 2)), [*rng.integers(-999, 999, 8).tolist(), still])
        for _ in range(count)
    ]


def test_the_bias_and_a_column_that_does_not_vary_are_no_features() -> None:
    clusters, encoder = found(RULE, SCHEMA, range(20), make_blobs(1, 20))
    assert clusters.features == 8
    batch = read_batch(
        SCHEMA, encoder, range(20, 23), [make_blobs(2, 1)[0], make_blobs(2, 1)[0], make_blobs(2, 1, 6)[0]]
    )
    # Equal but for the column without a feature: no copy, but as near as can be.
    assert [(v.kind, v.similarity) for v in clusters.admit(batch)] == [(NEW, 0), (COPY, 1000), (JOINS, 1000)]


def test_founding_records_that_turn_out_equal_share_a_cluster() -> None:
    blobs = make_blobs(3, 200)
    for columns in (SCHEMA, TabularSchema(columns=SCHEMA.columns[:3], classes=2)):
        cut = [blob[: columns.record_size_bytes] for blob in blobs]
        clusters, encoder = found(RULE, columns, range(201), [*cut, cut[7]])
        assert clusters.cluster_of(200) == clusters.cluster_of(7)
        batch = read_batch(columns, encoder, [201], [cut[7]])
        assert clusters.propose(batch)[0].original == 7
        heir = read_batch(columns, encoder, [200], [cut[7]])
        clusters.remove(7, heir if clusters.successor_of(7) else None)
        assert clusters.propose(batch)[0].original == 200


def test_a_single_record_founds_a_datanet_in_which_only_copies_are_told() -> None:
    blobs = make_blobs(4, 2)
    clusters, encoder = found(RULE, SCHEMA, [5], blobs[:1])
    assert clusters.features == 0
    verdicts = clusters.propose(read_batch(SCHEMA, encoder, [6, 7], [blobs[1], blobs[0]]))
    assert [verdict.kind for verdict in verdicts] == [NEW, COPY]


def test_founding_records_have_bounds() -> None:
    for blobs, reason in (([], Reason.NO_RECORDS), (make_blobs(1, 1) * 257, Reason.TOO_MANY_RECORDS)):
        with pytest.raises(AttributionError) as caught:
            found(RULE, SCHEMA, range(len(blobs)), blobs)
        assert caught.value.reason is reason


def test_the_encoder_is_frozen_by_the_first_records() -> None:
    blobs = make_blobs(5, 30)
    _, encoder = found(RULE, SCHEMA, range(30), blobs)
    values = np.array([np.frombuffer(blob[2:], dtype=">i8").astype(np.int64) for blob in blobs])
    assert encoder == derive(values)


# Refusals and prices.


def test_features_of_another_shape_or_range_are_refused() -> None:
    good = make_case(1, 3, 8)
    clusters = TabularClusters(RULE, 9)
    with pytest.raises(AttributionError) as caught:
        clusters.admit(good)
    assert (caught.value.reason, caught.value.detail) == (Reason.FEATURES_MALFORMED, "8, not 9")
    for change in (
        {"features": good.features.astype(np.int64)},
        {"features": good.features[:2]},
        {"features": np.full((3, 8), -32768, dtype=np.int16)},
        {"keys": good.keys[:2]},
        {"labels": good.labels[:2]},
    ):
        with pytest.raises(AttributionError) as caught:
            replace(good, **change)
        assert caught.value.reason is Reason.FEATURES_MALFORMED
    with pytest.raises(AttributionError) as caught:
        TabularClusters(RULE, 513)
    assert (caught.value.reason, caught.value.detail) == (Reason.FEATURES_MALFORMED, "513 features, at most 512")
    with pytest.raises(AttributionError) as caught:
        load(RULE, 9, TabularClusters(RULE, 8).entries() + _entries(good))
    assert (caught.value.reason, caught.value.detail) == (Reason.FEATURES_MALFORMED, "16 bytes for 9 features")


def _entries(batch: Batch) -> tuple[Entry, ...]:
    clusters = TabularClusters(RULE, 8)
    clusters.admit(batch)
    return clusters.entries()


def test_records_come_in_order() -> None:
    batch = make_case(1, 4, 8)
    clusters = TabularClusters(RULE, 8)
    clusters.admit(batch)
    with pytest.raises(AttributionError) as caught:
        clusters.admit(batch.part(slice(3, 4)))
    assert (caught.value.reason, caught.value.detail) == (Reason.OUT_OF_ORDER, "3 after 3")
    with pytest.raises(AttributionError) as caught:
        replace(batch, seniorities=(0, 1, 1, 2))
    assert caught.value.reason is Reason.OUT_OF_ORDER


@pytest.mark.parametrize("threshold", [0, 1001, True, 970.0])
def test_a_threshold_outside_its_range_is_refused(threshold: int) -> None:
    with pytest.raises(AttributionError) as caught:
        TabularRule(join_permille=threshold)
    assert caught.value.reason is Reason.THRESHOLD_OUT_OF_RANGE


def test_work_is_known_before_it_is_done() -> None:
    assert tabular_work(100_000, 1, 512) == 100_001 * (512 + 64 + 2)
    assert tabular_work(100, 3000, 7) == 0
    assert tabular_work(10, 3000, 8) == 3000 * (10 + 1024) * 18
    clusters = TabularClusters(RULE, 16)
    clusters.admit(make_case(1, 50, 16, classes=2))
    eldest = max(sum(1 for e in clusters.entries() if e.features and e.label == label) for label in (0, 1))
    assert clusters.multiply_accumulates(5) == tabular_work(eldest, 5, 16)
