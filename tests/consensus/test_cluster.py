"""Many pure cores in a seeded network: safety whatever is lost, progress once it heals."""

from __future__ import annotations

import random

import pytest

from consensus import inputs as on
from consensus.types import VoteKind
from tests.consensus.cluster import Cluster

pytestmark = pytest.mark.slow


def test_same_seed_gives_the_same_run():
    runs = []
    for _ in range(2):
        cluster = Cluster([1, 1, 1, 1], seed=7, drop=0.1)
        cluster.run(6_000)
        runs.append([(node.core.view, node.core.final) for node in cluster.nodes.values()])
    assert runs[0] == runs[1]


def test_block_is_final_after_three_message_delays_and_blocks_follow_every_two():
    delay_ms = 20
    cluster = Cluster([1, 1, 1, 1], seed=1, longest_delay_ms=1)
    cluster.random.randint = lambda _low, _high: delay_ms  # type: ignore[method-assign]
    cluster.run(1_000)  # the first block comes after the idle interval
    start_ms, before = cluster.now_ms, min(cluster.heights())
    cluster.run(start_ms + 3 * delay_ms)
    assert min(cluster.heights()) == before + 1
    cluster.run(start_ms + 3 * delay_ms + 20 * 2 * delay_ms)
    assert min(cluster.heights()) in (before + 20, before + 21)


def test_crash_of_everybody_right_after_a_nullify_leads_to_no_contradiction():
    for seed in range(3):
        cluster = Cluster([1, 1, 1, 1], seed=seed, longest_delay_ms=20)
        cluster.run(1_500)
        silent = cluster.nodes[cluster.ids[0]].core.leader_of(cluster.nodes[cluster.ids[0]].core.view + 1)
        cluster.crash(silent)

        def has_nullified(cluster=cluster, silent=silent) -> bool:
            last = [node.log_votes[-1].statement.kind for me, node in cluster.nodes.items() if me != silent]
            return VoteKind.NULLIFY in last

        while not has_nullified():
            cluster.run(cluster.now_ms + 1)
        for me in cluster.ids:
            cluster.crash(me)
        for me in cluster.ids:
            cluster.restart(me)
        before = max(cluster.heights())
        cluster.run(cluster.now_ms + 3_000)
        cluster.check_safety()
        assert min(cluster.heights()) > before


@pytest.mark.slow
def test_half_with_a_notarization_and_half_with_a_nullification_of_one_view_find_together():
    """Pitfall 3: each half would reject the other's parent; repair and retransmission must bring the proofs over."""
    cluster = Cluster([1, 1, 1, 1], seed=3, longest_delay_ms=2)
    cluster.run(1_200)
    view = max(node.core.view for node in cluster.nodes.values()) + 1
    left, right = cluster.ids[:2], cluster.ids[2:]
    caught = []

    def catch(_sender, receiver, happened) -> bool:
        if isinstance(happened, on.VoteReceived) and happened.vote.statement.view == view:
            caught.append((receiver, happened))
            return True
        return isinstance(happened, on.CertificateReceived) and happened.certificate.statement.view >= view

    cluster.catch = catch
    cluster.run(cluster.now_ms + 1_500)  # everybody notarizes, and gives the view up after 3Δ, unheard
    for receiver, happened in caught:
        wanted = VoteKind.NOTARIZE if receiver in left else VoteKind.NULLIFY
        if happened.vote.statement.kind is wanted:
            cluster.at(cluster.now_ms + 1, receiver, happened)
    cluster.run(cluster.now_ms + 2)
    known = {me: cluster.nodes[me].core._views.known(view) for me in cluster.ids}
    assert all(known[me].notarization is not None and known[me].nullification is None for me in left)
    assert all(known[me].nullification is not None and known[me].notarization is None for me in right)
    cluster.catch = None
    before = max(cluster.heights())
    cluster.run(cluster.now_ms + 3_000)
    cluster.check_safety()
    assert min(cluster.heights()) > before


@pytest.mark.parametrize("seed", [*range(5), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(5, 40))])
def test_faults_never_split_the_chain_and_healing_brings_progress(seed):
    print(f"seed {seed}")
    source = random.Random(seed)
    count = source.choice((4, 4, 5, 7))
    powers = [source.choice((1, 1, 2, 3)) for _ in range(count)]
    cluster = Cluster(
        powers, seed, drop=source.choice((0, 0.05, 0.2, 0.3)), longest_delay_ms=source.choice((5, 30, 150, 400))
    )
    for _ in range(5):
        cluster.run(cluster.now_ms + source.randint(50, 1_000))
        cluster.cut = set()
        trouble = source.random()
        if trouble < 0.4:
            group = set(source.sample(cluster.ids, source.randint(1, count - 1)))
            cluster.cut = {(a, b) for a in cluster.ids for b in cluster.ids if (a in group) != (b in group)}
        elif trouble < 0.8:
            for me in cluster.ids if source.random() < 0.3 else source.sample(cluster.ids, source.randint(1, count)):
                cluster.crash(me)
            cluster.run(cluster.now_ms + source.randint(0, 500))
            for me in cluster.ids:
                if not cluster.nodes[me].is_up:
                    cluster.restart(me)
    cluster.check_safety()
    cluster.cut, cluster.drop, cluster.longest_delay_ms = set(), 0, 20
    before = max(cluster.heights())
    cluster.run(cluster.now_ms + 5_000)
    cluster.check_safety()
    assert min(cluster.heights()) >= before + 5
