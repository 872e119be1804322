"""Grouping: near-copies follow their leader, validators recompute it, a cluster is paid once, erasure leaves heirs."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import pytest

from attribution.grouping.request import ENCODER_RECORDS
from node.errors import TransactionReason
from node.modules import grouping as module
from node.modules.datanets import DATANETS, RECORDS, ColumnSpec, CreateDatanet, position_key
from node.modules.erasure import EraseRecord
from node.modules.grouping import (
    CLUSTER,
    CLUSTERS,
    MOST_POSITIONS,
    Cluster,
    Group,
    Grouped,
    Scale,
    group_claim,
    group_request,
    load_basis,
    standing_records,
)
from tests.node.modules.scenes import BOUND, PARAMETERS, Scene, datanet_payload, datanet_scene

SEED = 5
WIDE = replace(PARAMETERS, contribution_records=300, transaction_work_macs=10**9, block_work_macs=10**9)
COLUMNS = tuple(ColumnSpec(name=f"column {index}", decimals=0, minimum=-BOUND, maximum=BOUND) for index in range(9))
SINGLES = ENCODER_RECORDS
"""Records that are like no other."""


def near(values: tuple[int, ...], step: int = 1) -> tuple[int, ...]:
    """Almost the same record."""
    return (values[0] + step, *values[1:])


@cache
def _scene() -> Scene:
    """256 single records of ann, then a near-copy of each of the first three by bob, in a datanet of nine columns."""
    scene = datanet_scene(WIDE)
    payload: CreateDatanet = datanet_payload(scene, name="wide", columns=COLUMNS)
    scene.datanet = scene.ledger.do(scene.who("curator"), payload).transaction_id
    scene.ledger.wait(WIDE.claim_age_heights)
    source = random.Random(SEED)
    points = [tuple(round(source.gauss(0, 1_000)) for _ in COLUMNS) for _ in range(SINGLES)]
    singles = [scene.record(index % 2, *point) for index, point in enumerate(points)]
    copies = [scene.record(index % 2, *near(points[index])) for index in range(3)]
    other_label = scene.record(1, *near(points[0], 2))
    scene.accept(scene.contribute("ann", *singles))
    scene.accept(scene.contribute("bob", *copies, other_label))
    scene.records = tuple(each.hash for each in (*singles, *copies, other_label))
    scene.ledger.next_epoch()
    scene.ledger.wait(WIDE.claim_age_heights)
    return scene


@pytest.fixture(name="scene")
def scene_fixture() -> Scene:
    print(f"seed {SEED}")
    return _scene().fork()


def claim(scene: Scene, first: int | None = None, end: int | None = None) -> Group:
    """What an attributor states."""
    state, shelf = scene.ledger.state, scene.ledger.shelf
    datanet = DATANETS.need(state, scene.datanet)
    first = datanet.grouped_count if first is None else first
    end = datanet.snapshot_count(scene.ledger.epoch) if end is None else end
    basis, records = load_basis(state, scene.datanet, shelf), standing_records(state, scene.datanet, first, end)
    result = shelf.result(group_request(basis, records))
    return group_claim(basis, scene.datanet, first, end, records, result)  # type: ignore[arg-type]


def leader_of(scene: Scene, record: bytes) -> bytes:
    return RECORDS.need(scene.ledger.state, scene.schema.id() + record).leader


def test_near_copies_of_one_label_follow_their_leader_and_all_others_lead(scene: Scene) -> None:
    payload = claim(scene)
    scene.ledger.do(scene.who("attributor"), payload)
    singles, copies, other = scene.records[:SINGLES], scene.records[SINGLES:-1], scene.records[-1]
    assert [leader_of(scene, each) for each in singles] == list(singles)
    assert [leader_of(scene, each) for each in copies] == list(singles[:3])
    assert leader_of(scene, other) == other
    assert scene.ledger.last(Grouped) == Grouped(
        datanet=scene.datanet, first=0, end=260, record_count=260, new_count=257
    )
    state = scene.ledger.state
    assert DATANETS.need(state, scene.datanet).grouped_count == 260
    known = CLUSTERS.need(state, scene.datanet)
    assert (len(known.scales), known.places, known.changes) == (9, 257, 257)
    assert CLUSTER.need(state, position_key(scene.datanet, 0)) == Cluster(
        leader=singles[0], compared=singles[0], heirs=(copies[0],)
    )
    scene.ledger.audit()
    assert scene.ledger.replay()


def test_grouping_in_steps_gives_what_grouping_at_once_gives(scene: Scene) -> None:
    at_once = scene.fork()
    at_once.ledger.do(at_once.who("attributor"), claim(at_once))
    for end in (257, 260):
        scene.ledger.do(scene.who("attributor"), claim(scene, end=end))
    assert [leader_of(scene, each) for each in scene.records] == [leader_of(at_once, each) for each in scene.records]
    assert dict(scene.ledger.rows(CLUSTER)) == dict(at_once.ledger.rows(CLUSTER))
    stepwise, whole = (CLUSTERS.need(each.ledger.state, scene.datanet) for each in (scene, at_once))
    assert replace(stepwise, history=whole.history, grouped_history=whole.grouped_history) == whole


@pytest.mark.parametrize(("index", "lie", "truth"), [(0, 1, 0), (256, 256, 0), (257, 0, 1), (259, 0, 259)])
def test_a_lie_about_a_leader_is_refused_with_the_truth(scene: Scene, index: int, lie: int, truth: int) -> None:
    """A record that leads follows nobody; a near-copy does not lead, nor follow another; labels are kept apart."""
    payload = claim(scene)
    false = scene.records[lie]
    changed = replace(payload, leaders=(*payload.leaders[:index], false, *payload.leaders[index + 1 :]))
    words = f"record {scene.records[index].hex()} follows {scene.records[truth].hex()}, not {false.hex()}"
    scene.ledger.refuses(scene.who("attributor"), changed, TransactionReason.FALSE_CLAIM, words)


def test_a_lie_about_the_scales_is_refused(scene: Scene) -> None:
    payload = claim(scene)
    changed = replace(payload, scales=(replace(payload.scales[0], total=0), *payload.scales[1:]))
    detail = "the records have other scales"
    scene.ledger.refuses(scene.who("attributor"), changed, TransactionReason.FALSE_CLAIM, detail)


def test_what_changed_since_is_stale_and_not_false(scene: Scene) -> None:
    early = claim(scene, end=258)
    scene.ledger.do(scene.who("attributor"), claim(scene, end=257))
    scene.ledger.refuses(
        scene.who("attributor"),
        early,
        TransactionReason.STALE_SNAPSHOT,
        "position 257 and 256 changes are current",
    )
    late = claim(scene)
    scene.ledger.do(scene.who("bob"), EraseRecord(datanet=scene.datanet, content=scene.records[-1]))
    detail = "2 records stand there, not 3"
    scene.ledger.refuses(scene.who("attributor"), late, TransactionReason.STALE_SNAPSHOT, detail)


def test_positions_beyond_the_snapshot_or_too_many_are_not_computed(scene: Scene) -> None:
    payload = claim(scene)
    for end in (261, MOST_POSITIONS + 1, 0):
        detail = f"up to position {end}: 260 stood at the epoch's start; at most {MOST_POSITIONS} at a time"
        refused = replace(payload, end=end)
        scene.ledger.refuses(scene.who("attributor"), refused, TransactionReason.CLAIM_UNCOMPUTABLE, detail)


def test_scales_come_with_the_first_grouping_and_never_again(scene: Scene) -> None:
    detail = "the first grouping has scales and at least 256 records, no later one has scales"
    first = claim(scene, end=256)
    scene.ledger.refuses(scene.who("attributor"), replace(first, scales=()), TransactionReason.BAD_PAYLOAD, detail)
    short = replace(first, end=255, leaders=first.leaders[:255])
    scene.ledger.refuses(scene.who("attributor"), short, TransactionReason.BAD_PAYLOAD, detail)
    scene.ledger.do(scene.who("attributor"), first)
    again = replace(claim(scene), scales=(Scale(total=0, spread=1, shift=0),))
    scene.ledger.refuses(scene.who("attributor"), again, TransactionReason.BAD_PAYLOAD, detail)


def test_grouping_takes_the_role_and_the_bond(scene: Scene) -> None:
    payload = claim(scene)
    scene.ledger.refuses(scene.who("nobody"), payload, TransactionReason.ROLE_REQUIRED, "the role attributor")


def test_few_records_or_few_columns_are_not_grouped() -> None:
    """The usual scene has two columns; the wide one with too few records begins later."""
    scene = datanet_scene(WIDE)
    payload = Group(datanet=scene.datanet, changes=0, first=0, end=1, scales=(), leaders=())
    record = scene.record(0, 1, 2)
    scene.accept(scene.contribute("ann", record))
    scene.ledger.next_epoch()
    scene.ledger.wait(WIDE.claim_age_heights)
    detail = "fewer than 256 records stand, or there are too few columns to compare"
    refused = replace(payload, leaders=(record.hash,))
    scene.ledger.refuses(scene.who("attributor"), refused, TransactionReason.NOT_YET, detail)


def test_a_model_waits_until_its_records_are_grouped(scene: Scene) -> None:
    detail = "0 of 260 positions are grouped"
    scene.ledger.refuses(scene.who("developer"), scene.registration(), TransactionReason.NOT_YET, detail)
    scene.ledger.do(scene.who("attributor"), claim(scene))
    scene.ledger.do(scene.who("developer"), scene.registration())


def test_an_erased_leader_is_followed_by_its_first_member_and_new_near_copies_still_join(scene: Scene) -> None:
    scene.ledger.do(scene.who("attributor"), claim(scene))
    first, heir = scene.records[0], scene.records[SINGLES]
    scene.ledger.do(scene.who("ann"), EraseRecord(datanet=scene.datanet, content=first))
    place = position_key(scene.datanet, 0)
    assert CLUSTER.need(scene.ledger.state, place) == Cluster(leader=first, compared=heir, heirs=())
    assert CLUSTERS.need(scene.ledger.state, scene.datanet).changes == 258
    values = random.Random(SEED)
    point = tuple(round(values.gauss(0, 1_000)) for _ in COLUMNS)
    late = scene.record(0, *near(point, 3))
    scene.accept(scene.contribute("bob", late))
    scene.ledger.next_epoch()
    scene.ledger.wait(WIDE.claim_age_heights)
    scene.ledger.do(scene.who("attributor"), claim(scene))
    assert leader_of(scene, late.hash) == first, "the cluster keeps its name"
    for who, content in (("bob", heir), ("bob", late.hash)):
        scene.ledger.do(scene.who(who), EraseRecord(datanet=scene.datanet, content=content))
    assert CLUSTER.get(scene.ledger.state, place) is None
    assert scene.ledger.replay()


def test_erased_positions_are_passed_over(scene: Scene) -> None:
    scene.ledger.do(scene.who("attributor"), claim(scene, end=256))
    for content in scene.records[256:]:
        scene.ledger.do(scene.who("bob"), EraseRecord(datanet=scene.datanet, content=content))
    known = CLUSTERS.need(scene.ledger.state, scene.datanet)
    payload = Group(datanet=scene.datanet, changes=known.changes, first=256, end=260, scales=(), leaders=())
    scene.ledger.do(scene.who("attributor"), payload)
    assert DATANETS.need(scene.ledger.state, scene.datanet).grouped_count == 260


def test_a_cluster_is_paid_once_and_its_why_names_the_senior(scene: Scene) -> None:
    """With the near-copies the same records earn the same: they add what they are above their elders, or nothing."""
    from node.modules.attributions import Ask
    from node.modules.rewards import Paid

    scene.ledger.do(scene.who("attributor"), claim(scene))
    scene.model = scene.ledger.do(scene.who("developer"), scene.registration()).transaction_id
    scene.ledger.wait(WIDE.holdout_reveal_heights + WIDE.claim_age_heights)
    source = random.Random(SEED)
    point = tuple(round(source.gauss(0, 1_000)) for _ in COLUMNS)
    payload = Ask(model=scene.model, query=scene.query(*point), fee_units=10**9)
    question = scene.ledger.do(scene.who("asker"), payload).transaction_id
    scene.ledger.wait(WIDE.claim_age_heights)
    answer = scene.answer(question)
    scene.ledger.do(scene.who("attributor"), answer)
    paid = [each for each in scene.ledger.events(Paid) if each.question == question]
    clusters: dict[bytes, int] = {}
    for each in paid:
        leader = leader_of(scene, each.record)
        clusters[leader] = clusters.get(leader, 0) + each.excess
        if each.senior != bytes(32):
            assert leader_of(scene, each.senior) == leader
    best: dict[bytes, int] = {}
    for credit in answer.answers[0].credits:
        leader = leader_of(scene, scene.records[credit.position])
        best[leader] = max(best.get(leader, 0), credit.influence)
    assert clusters == best
    assert len(best) == 16
    scene.ledger.audit()


def test_a_block_that_never_became_final_leaves_nothing_behind_in_a_node(scene: Scene) -> None:
    """Two branches count as many changes of their clusters, and mean others."""
    scene.ledger.do(scene.who("attributor"), claim(scene, end=256))
    erasures = {}
    for index in (0, 100):
        branch = scene.fork()
        erasures[index] = EraseRecord(datanet=scene.datanet, content=scene.records[index])
        branch.ledger.do(branch.who("ann"), erasures[index])
        if index == 0:
            abandoned = claim(branch)
        else:
            kept = claim(branch)
    assert abandoned.changes == kept.changes
    assert abandoned.leaders != kept.leaders
    unexpected: list[object] = []
    candidates = [
        scene.ledger.sign(scene.who("ann"), erasures[0]),
        scene.ledger.sign(scene.who("attributor"), abandoned),
    ]
    built = scene.ledger.build(candidates, lambda _, error: unexpected.append(error))
    assert (len(built.candidates), unexpected) == (2, [])
    scene.ledger.do(scene.who("ann"), erasures[100])
    scene.ledger.do(scene.who("attributor"), kept)


def test_records_that_came_late_and_were_erased_do_not_put_the_grouping_off(scene: Scene) -> None:
    """Only what stood at the epoch's start counts, and of that what was erased."""
    late = [scene.record(0, index, *range(8)) for index in range(5)]
    scene.accept(scene.contribute("bob", *late))
    for each in late:
        scene.ledger.do(scene.who("bob"), EraseRecord(datanet=scene.datanet, content=each.hash))
    detail = "0 of 260 positions are grouped"
    scene.ledger.refuses(scene.who("developer"), scene.registration(), TransactionReason.NOT_YET, detail)
    scene.ledger.do(scene.who("attributor"), claim(scene))


def test_a_grouping_takes_all_that_is_left_or_many_records(scene: Scene) -> None:
    """One record at a time would make everybody read all clusters for it, and every other claim stale."""
    scene.ledger.do(scene.who("attributor"), claim(scene, end=256))
    detail = "1 records up to position 257: at least 256, or all up to 260"
    scene.ledger.refuses(scene.who("attributor"), claim(scene, end=257), TransactionReason.BAD_PAYLOAD, detail)
    scene.ledger.do(scene.who("attributor"), claim(scene))


def test_answers_of_an_abandoned_branch_leave_no_leaders_behind_in_a_node() -> None:
    """A record without which two others are no near-copies is erased on one branch: as many positions are grouped."""
    from node.modules.attributions import Ask

    scene = datanet_scene(WIDE)
    payload: CreateDatanet = datanet_payload(scene, name="wide", columns=COLUMNS)
    scene.datanet = scene.ledger.do(scene.who("curator"), payload).transaction_id
    scene.ledger.wait(WIDE.claim_age_heights)
    print(f"seed {SEED}")
    source = random.Random(SEED)
    points = [tuple(round(source.gauss(0, 10 if column == 0 else 1_000)) for column in range(9)) for _ in range(300)]
    points[2] = (-40, *points[0][1:])
    points[0] = (40, *points[0][1:])
    points[100] = (BOUND, *points[100][1:])
    records = [scene.record(index % 2, *point) for index, point in enumerate(points)]
    scene.accept(scene.contribute("ann", *records[:40]))
    scene.ledger.next_epoch()
    scene.ledger.wait(WIDE.claim_age_heights)
    scene.model = scene.ledger.do(scene.who("developer"), scene.registration()).transaction_id
    scene.accept(scene.contribute("ann", *records[40:]))
    scene.ledger.next_epoch()
    ask = Ask(model=scene.model, query=scene.query(*points[0]), fee_units=10**9)
    question = scene.ledger.do(scene.who("asker"), ask).transaction_id
    scene.ledger.wait(WIDE.claim_age_heights)

    erasure = EraseRecord(datanet=scene.datanet, content=records[100].hash)
    abandoned = scene.fork()
    orders = [claim(abandoned)]
    abandoned.ledger.do(abandoned.who("attributor"), orders[0])
    orders.append(abandoned.answer(question))  # type: ignore[arg-type]
    kept = scene.fork()
    kept.ledger.do(kept.who("ann"), erasure)
    grouped = claim(kept)
    kept.ledger.do(kept.who("attributor"), grouped)
    answer = kept.answer(question)
    assert [leader_of(each, records[2].hash) for each in (abandoned, kept)] == [records[0].hash, records[2].hash]
    assert answer != orders[1]

    nonce = scene.ledger.account(scene.who("attributor")).nonce
    candidates = [
        scene.ledger.sign(scene.who("attributor"), each, nonce=nonce + index) for index, each in enumerate(orders)
    ]
    assert len(scene.ledger.build(candidates, lambda _, error: pytest.fail(str(error))).candidates) == 2
    scene.ledger.do(scene.who("ann"), erasure)
    scene.ledger.do(scene.who("attributor"), grouped)
    scene.ledger.do(scene.who("attributor"), answer)


def test_positions_of_which_most_were_erased_are_passed_over_and_grouping_begins_behind_them(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever erases the first records of a datanet does not keep the others from being grouped."""
    monkeypatch.setattr(module, "MOST_POSITIONS", 100)
    for content in scene.records[:60]:
        scene.ledger.do(scene.who("ann"), EraseRecord(datanet=scene.datanet, content=content))
    source = random.Random(SEED + 1)
    more = [scene.record(0, *(round(source.gauss(0, 1_000)) for _ in COLUMNS)) for _ in range(280)]
    scene.accept(scene.contribute("ann", *more))
    scene.ledger.next_epoch()
    scene.ledger.wait(WIDE.claim_age_heights)
    standing = scene.records[60:100]
    payload = Group(datanet=scene.datanet, changes=0, first=0, end=100, scales=(), leaders=standing)
    lie = replace(payload, leaders=(standing[1], *standing[1:]))
    words = "without scales every record leads itself"
    scene.ledger.refuses(scene.who("attributor"), lie, TransactionReason.FALSE_CLAIM, words)
    scene.ledger.do(scene.who("attributor"), payload)
    monkeypatch.setattr(module, "MOST_POSITIONS", MOST_POSITIONS)
    scene.ledger.do(scene.who("attributor"), claim(scene))
    known = CLUSTERS.need(scene.ledger.state, scene.datanet)
    assert len(known.scales) == 9
    assert DATANETS.need(scene.ledger.state, scene.datanet).grouped_count == 540
