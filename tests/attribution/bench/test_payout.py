"""The payout's rules one by one, on influences small enough to check by hand, and against the chain's own function."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from node.modules.payout import MOST_CREDITS, Candidate, credited, excesses
from node.types.parameters import Parameters
from tests.attribution.bench.attacks import HONEST_LEAST, measure_dust
from tests.attribution.bench.payout import (
    SIGMA,
    THETA,
    TOP_CLUSTERS,
    cluster_scores,
    leaders_of,
    lower_median,
    pay,
    ramp_of,
    similarities,
)
from tests.attribution.bench.report import Report

UNITS = 10**6
influences = st.lists(st.integers(-1000, 1000), min_size=1, max_size=40)


def earned(*arguments, **options) -> dict[int, int]:
    return {payment.record: payment.amount_units for payment in pay(*arguments, UNITS, **options)}


def test_the_rules_stand_as_the_chain_has_them() -> None:
    parameters = Parameters()
    assert (parameters.theta, parameters.sigma, parameters.top_clusters) == (THETA, SIGMA, TOP_CLUSTERS)


@given(influences, st.sets(st.integers(0, 39)), st.integers(1, 500), st.randoms(use_true_random=False))
def test_the_chain_pays_the_same(values: list[int], blocked: set[int], reference: int, rng) -> None:
    """With few clusters of few links; the chain bounds both, and breaks ties by the elder that is paid."""
    groups = [rng.randrange(12) for _ in values]
    leaders = [groups.index(group) for group in groups]
    candidates = [
        Candidate(
            position=record,
            influence=value,
            seniority=(record, 0, 0),
            content=bytes([record]) * 32,
            leader=bytes([leaders[record]]) * 32,
        )
        for record, value in enumerate(values)
        if record not in blocked
    ]
    links = credited(THETA, TOP_CLUSTERS, 2 * reference, candidates)
    added = excesses(2 * reference, [each.leader for each in links], [each.influence for each in links])
    assume(max(Counter(each.leader for each in links).values(), default=0) < MOST_CREDITS // TOP_CLUSTERS)
    weight = sum(each.units for each in added) + SIGMA
    chain = {
        each.position: UNITS * excess.units // weight for each, excess in zip(links, added, strict=True) if excess.units
    }
    assert earned(values, leaders, blocked, reference=reference) == chain


def test_a_copy_earns_nothing_and_takes_nothing() -> None:
    assert earned([600, 400], [0, 1], ()) == {0: 500_000, 1: 333_333}
    assert earned([600, 400, 600], [0, 1, 0], ()) == {0: 500_000, 1: 333_333}


def test_a_better_junior_earns_only_what_it_adds() -> None:
    assert earned([600, 700], [0, 0], ()) == {0: UNITS * 600 // 900, 1: UNITS * 100 // 900}


def test_the_gate_and_the_threshold_keep_records_out() -> None:
    assert earned([600, 49, 500], [0, 1, 2], {2}) == {0: 750_000}


def test_the_clip_is_twice_the_reference() -> None:
    assert earned([900, 300], [0, 1], (), reference=200) == {0: UNITS * 400 // 900, 1: UNITS * 300 // 900}
    assert earned([900, 300], [0, 1], ()) == {0: UNITS * 900 // 1400, 1: UNITS * 300 // 1400}


def test_sixteen_clusters_are_paid_and_ties_go_to_the_elder() -> None:
    assert sorted(earned([100] * 20, range(20), ())) == list(range(16))
    assert cluster_scores([100] * 20, range(20), ()) == [100] * 16


@given(influences, st.randoms(use_true_random=False))
def test_payments_never_exceed_the_pool(values: list[int], rng) -> None:
    leaders = [rng.randint(0, i) for i in range(len(values))]
    assert sum(earned(values, leaders, ()).values()) <= UNITS


def test_the_lower_median_of_nothing_is_no_clip() -> None:
    assert (lower_median([]), lower_median([3, 1, 2, 4])) == (0, 2)


def test_a_record_joins_the_eldest_leader_and_never_a_member() -> None:
    angles = np.deg2rad([0, 10, 18, 90, 0])
    features = np.zeros((5, 9), dtype=np.int16)
    features[:, 0], features[:, 1] = 4096 * np.cos(angles), 4096 * np.sin(angles)
    # 10 degrees are 984 thousandths, 18 are 951: near the second record, which only follows.
    assert similarities(features[:, :-1])[0].tolist() == [1000, 984, 951, 0, 1000]
    assert leaders_of(features, np.zeros(5, dtype=np.int64)) == [0, 0, 2, 3, 0]
    assert leaders_of(features, np.array([0, 1, 1, 0, 1])) == [0, 1, 1, 3, 1]


def test_few_features_cluster_equal_records_only() -> None:
    features = np.array([[4096, 0], [4095, 0], [4096, 0]], dtype=np.int16)
    assert leaders_of(features, np.zeros(3, dtype=np.int64)) == [0, 1, 0]


def test_the_ramp_takes_all_from_a_copy_and_nothing_from_the_unlike() -> None:
    features = np.zeros((12, 13), dtype=np.int16)
    features[np.arange(12), np.arange(12)] = 4096
    features[11] = features[0]
    assert ramp_of(features, np.zeros(12, dtype=np.int64), 11) == [1000] * 11 + [0]


@pytest.mark.parametrize(("without", "is_met"), [((), True), (("threshold",), False)])
def test_dust_earns_only_without_the_threshold(without: tuple[str, ...], is_met: bool) -> None:
    report = Report(settings={})
    measure_dust(report, without)
    assert report.gates[0].bound == HONEST_LEAST
    assert report.gates[0].is_met is is_met
