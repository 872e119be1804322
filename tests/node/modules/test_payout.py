"""Who is paid for an answer: a copy earns nothing and takes nothing, and a cluster is paid what its best record is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from node.modules.payout import MOST_CREDITS, NO_CLIP, Candidate, Excess, clip_of, credited, excesses, scores
from node.types.parameters import Parameters

PARAMETERS = Parameters()
WHOM = (PARAMETERS.theta, PARAMETERS.top_clusters)


def candidate(number: int, influence: int, leader: int | None = None) -> Candidate:
    """A record as old as its number."""
    return Candidate(
        position=number,
        influence=influence,
        seniority=(1, 0, number),
        content=bytes([number]) * 32,
        leader=bytes([number if leader is None else leader]) * 32,
    )


def payments(candidates: list[Candidate], clip: int = NO_CLIP, pool_units: int = 10**9) -> dict[int, int]:
    """What each position is paid, by the formula of the economy."""
    links = credited(*WHOM, clip, candidates)
    added = excesses(clip, [each.leader for each in links], [each.influence for each in links])
    weight = sum(each.units for each in added) + PARAMETERS.sigma
    return {
        each.position: pool_units * excess.units // weight
        for each, excess in zip(links, added, strict=True)
        if excess.units
    }


CANDIDATES = st.lists(st.tuples(st.integers(-1000, 1000), st.integers(0, 7)), min_size=1, max_size=24).map(
    lambda drawn: [candidate(number, influence, leader) for number, (influence, leader) in enumerate(drawn)]
)


def test_an_older_member_keeps_what_it_earns_and_a_younger_one_adds_only_its_excess() -> None:
    members = [candidate(0, 300), candidate(1, 250, 0), candidate(2, 700, 0), candidate(3, 700, 0), candidate(4, 400)]
    links = credited(*WHOM, NO_CLIP, members)
    assert [each.position for each in links] == [0, 2, 4]
    assert excesses(NO_CLIP, [each.leader for each in links], [each.influence for each in links]) == (
        Excess(units=300, senior=None),
        Excess(units=400, senior=0),
        Excess(units=400, senior=None),
    )
    assert payments(members, pool_units=1_300) == {0: 300, 2: 400, 4: 400}


def test_leaders_do_not_come_first_for_being_leaders_but_elders_do() -> None:
    """An elder record that was accepted later than its copy is still the elder."""
    members = [candidate(0, 500, 1), candidate(1, 500, 1)]
    assert payments(members, pool_units=700) == {0: 500}


def test_clusters_are_ranked_by_their_best_record_and_ties_go_to_the_elder() -> None:
    members = [candidate(0, 100), candidate(1, 400), candidate(2, 90, 0), candidate(3, 400), candidate(4, 800, 0)]
    assert [each.position for each in credited(50, 2, NO_CLIP, members)] == [0, 4, 1]
    assert [each.position for each in credited(50, 2, 100, members)] == [0, 4, 1]
    assert [each.position for each in credited(50, 1, 100, members[1:])] == [1]


def test_the_clip_takes_what_lies_above_it_and_nothing_else() -> None:
    members = [candidate(0, 300), candidate(1, 900, 0), candidate(2, 950, 0), candidate(3, 200)]
    links = credited(*WHOM, 400, members)
    assert [each.position for each in links] == [0, 1, 2, 3]
    units = [each.units for each in excesses(400, [x.leader for x in links], [x.influence for x in links])]
    assert units == [300, 100, 0, 200]


def test_a_cluster_fills_no_more_places_than_its_part() -> None:
    """A hundred near-copies in rising order do not crowd out the others."""
    crowd = [candidate(number, 100 + number, 0) for number in range(100)]
    others = [candidate(100 + number, 60 + number) for number in range(15)]
    links = credited(*WHOM, NO_CLIP, crowd + others)
    assert Counter(each.leader for each in links)[bytes(32)] == MOST_CREDITS // PARAMETERS.top_clusters == 4
    assert len({each.leader for each in links}) == 16


def test_scores_are_one_for_each_cluster_unclipped() -> None:
    assert scores([b"a", b"a", b"b", b"c"], [10, 90, 40, 30]) == (90, 40, 30)


def test_the_clip_is_twice_the_lower_median_by_fees() -> None:
    assert clip_of({}) == NO_CLIP
    assert clip_of({100: 5, 200: 5}) == 200
    assert clip_of({100: 4, 200: 5}) == 400
    assert clip_of({100: 1, 499: 10, 900: 3}) == 998
    assert clip_of({501: 1}) == NO_CLIP


@given(CANDIDATES, st.integers(1, NO_CLIP))
def test_a_clusters_excesses_add_up_to_its_clipped_score(candidates: list[Candidate], clip: int) -> None:
    links = credited(*WHOM, clip, candidates)
    leaders = [each.leader for each in links]
    added = excesses(clip, leaders, [each.influence for each in links])
    assert all(each.units >= 0 for each in added)
    totals: Counter[bytes] = Counter()
    for leader, each in zip(leaders, added, strict=True):
        totals[leader] += each.units
    expected = [min(score, clip) for score in scores(leaders, [each.influence for each in links])]
    assert [totals[leader] for leader in dict.fromkeys(leaders)] == expected


@given(CANDIDATES, st.integers(1, NO_CLIP), st.randoms(use_true_random=False))
def test_the_order_of_the_records_changes_nothing(candidates: list[Candidate], clip: int, shuffle: object) -> None:
    shuffled = list(candidates)
    shuffle.shuffle(shuffled)  # type: ignore[attr-defined]
    assert credited(*WHOM, clip, shuffled) == credited(*WHOM, clip, candidates)


@given(CANDIDATES, st.data())
def test_a_copy_earns_nothing_and_changes_no_other_payment(candidates: list[Candidate], data: st.DataObject) -> None:
    """R4, at fixed influences: the copy has its original's influence and cluster, and is younger than all."""
    original = data.draw(st.sampled_from(candidates))
    copy = replace(candidate(200, original.influence), leader=original.leader)
    assert payments([*candidates, copy]) == payments(candidates)


@given(CANDIDATES, st.data())
def test_a_younger_near_copy_never_raises_what_its_cluster_is_paid_above_its_own_influence(
    candidates: list[Candidate], data: st.DataObject
) -> None:
    original = data.draw(st.sampled_from(candidates))
    near = replace(candidate(200, data.draw(st.integers(-1000, 1000))), leader=original.leader)
    before, after = payments(candidates), payments([*candidates, near])
    others = [each.position for each in candidates if each.leader != original.leader]
    assert all(after.get(each, 0) <= before.get(each, 0) for each in others), "nobody else gains by a near-copy"
    elder = max((each.influence for each in candidates if each.leader == original.leader), default=0)
    if near.influence <= elder:
        assert after == before
