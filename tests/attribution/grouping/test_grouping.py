"""Grouping requests: prepared or not, in one step or in many, the same leaders; what cannot be asked is refused."""

import random
from dataclasses import replace

import pytest

from attribution.content import content_hash
from attribution.errors import AttributionError, Reason
from attribution.grouping.attribute import compute, prepare
from attribution.grouping.request import NO_LEADER, GroupRequest, GroupResult, Scale, work
from attribution.head.encoder import derive, encode, read_records
from attribution.record import Column, TabularSchema, encode_record
from attribution.request import REQUEST
from attribution.runner import NeedsFiles, Runner
from attribution.similar.request import MAXIMUM_BATCH, TabularRule

SEED = 3
SCHEMA = TabularSchema(
    columns=tuple(Column(name=f"c{index}", decimals=0, minimum=-10_000, maximum=10_000) for index in range(10)),
    classes=3,
)
RULE = TabularRule()


def make_pool(count: int) -> tuple[dict[bytes, bytes], tuple[bytes, ...]]:
    """Records of which every third is a near-copy of an earlier one, sometimes with another label."""
    source = random.Random(SEED)
    points: list[tuple[int, list[int]]] = []
    for index in range(count):
        if points and index % 3 == 0:
            label, values = source.choice(points)
            values = [values[0] + source.randrange(1, 40), *values[1:-1], values[-1] + index]
            points.append((label if source.random() < 0.8 else source.randrange(3), values))
        else:
            points.append((source.randrange(3), [round(source.gauss(0, 1_000)) for _ in SCHEMA.columns]))
    blobs = [encode_record(SCHEMA, label, values) for label, values in points]
    return {content_hash(blob): blob for blob in blobs}, tuple(content_hash(blob) for blob in blobs)


MATERIALS, RECORDS = make_pool(600)


def group(steps: list[int], runner: Runner | None = None) -> list[int]:
    """Places of leaders among all records, when so many are grouped at a time; -1 for a leader."""
    leaders: list[int] = []
    found: list[int] = []
    scales: tuple[Scale, ...] = ()
    first = 0
    for size in steps:
        request = GroupRequest(
            schema=SCHEMA,
            rule=RULE,
            scales=scales,
            leaders=tuple(RECORDS[each] for each in leaders),
            records=RECORDS[first : first + size],
        )
        result = compute(request, MATERIALS) if runner is None else runner.run(request, MATERIALS)
        assert isinstance(result, GroupResult)
        scales = result.scales
        known = list(leaders)
        for index, place in enumerate(result.places):
            if place == NO_LEADER:
                found.append(-1)
                leaders.append(first + index)
            else:
                found.append(known[place] if place < len(known) else first + place - len(known))
        first += size
    return found


def test_grouping_in_steps_is_grouping_at_once_whatever_was_kept_prepared() -> None:
    print(f"seed {SEED}")
    at_once = group([600])
    assert 100 < sum(each >= 0 for each in at_once) < 200
    assert group([300, 1, 99, 200]) == at_once
    assert group([256, 344], Runner(1 << 20)) == at_once
    assert group([300, 100, 100, 100], Runner(1 << 30)) == at_once


def test_verdicts_are_the_rule_in_plain_integers() -> None:
    """The eldest leader of the label with floor(2000·x·y / (x·x + y·y)) >= 970 on the frozen features."""
    labels, values = read_records(SCHEMA, [MATERIALS[each] for each in RECORDS])
    features = encode(derive(values[:256]), values)[:, :-1].astype(object)
    expected: list[int] = []
    for index in range(len(RECORDS)):
        x = features[index].tolist()
        for elder in range(index):
            y = features[elder].tolist()
            if expected[elder] >= 0 or labels[elder] != labels[index]:
                continue
            product, squares = sum(map(int.__mul__, x, y)), sum(v * v for v in (*x, *y))
            if 2_000 * product >= RULE.join_permille * squares:
                expected.append(elder)
                break
        else:
            expected.append(-1)
    assert group([600]) == expected


def test_leaders_that_were_replaced_are_compared_with_from_the_start() -> None:
    """Another record in a leader's place is another subject: nothing that was prepared for the old one is used."""
    first = compute(GroupRequest(schema=SCHEMA, rule=RULE, scales=(), leaders=(), records=RECORDS[:300]), MATERIALS)
    request = GroupRequest(
        schema=SCHEMA, rule=RULE, scales=first.scales, leaders=RECORDS[300:310], records=RECORDS[320:330]
    )
    prepared = prepare(request, MATERIALS)
    swapped = replace(request, leaders=(RECORDS[310], *RECORDS[301:310]))
    again = prepare(swapped, MATERIALS, prepared)
    assert compute(swapped, MATERIALS, again) == compute(swapped, MATERIALS)


def test_a_runner_asks_for_leaders_it_does_not_keep() -> None:
    request = GroupRequest(schema=SCHEMA, rule=RULE, scales=(), leaders=(), records=RECORDS[:300])
    runner = Runner(1 << 30)
    first = runner.run(request, {each: MATERIALS[each] for each in request.records})
    assert isinstance(first, GroupResult)
    later = replace(request, scales=first.scales, leaders=RECORDS[300:320], records=RECORDS[320:330])
    own = {each: MATERIALS[each] for each in later.records}
    with pytest.raises(NeedsFiles):
        runner.run(later, own)
    result = runner.run(later, MATERIALS)
    assert runner.run(later, own) == result, "now they are kept"


def test_what_one_worker_grouped_before_changes_no_first_grouping() -> None:
    """Two datanets of one form, or one before and after an erasure: each first grouping fixes its own scales."""
    runner = Runner(1 << 30)
    source = random.Random(SEED)
    still = [
        encode_record(SCHEMA, 0, [index, *(round(source.gauss(0, 1_000)) for _ in SCHEMA.columns[2:]), 5])
        for index in range(256)
    ]
    materials = {**MATERIALS, **{content_hash(each): each for each in still}}
    for records in (RECORDS[:256], RECORDS[300:556], tuple(map(content_hash, still)), RECORDS[1:257]):
        request = GroupRequest(schema=SCHEMA, rule=RULE, scales=(), leaders=(), records=records)
        assert runner.run(request, materials) == compute(request, materials)
    other = compute(replace(request, records=RECORDS[:256]), materials).scales
    later = replace(request, scales=other, leaders=RECORDS[:3], records=RECORDS[300:310])
    shifted = replace(later, scales=tuple(replace(each, total=each.total + 256_000) for each in other))
    for request in (later, shifted, later):
        assert runner.run(request, materials) == compute(request, materials)


def test_a_runner_asks_for_all_leaders_when_a_replaced_one_is_like_a_younger_one() -> None:
    """The leader's heir was compared with nobody: what is kept cannot be built upon, and that is no verdict."""
    first = compute(GroupRequest(schema=SCHEMA, rule=RULE, scales=(), leaders=(), records=RECORDS[:300]), MATERIALS)
    pair = next((first.places[index], index) for index in range(300) if first.places[index] != NO_LEADER)
    alone = [index for index in range(300) if first.places[index] == NO_LEADER and index not in pair][:4]
    kept = GroupRequest(
        schema=SCHEMA,
        rule=RULE,
        scales=first.scales,
        leaders=tuple(RECORDS[each] for each in alone),
        records=RECORDS[300:310],
    )
    runner = Runner(1 << 30)
    runner.run(kept, MATERIALS)
    tail = tuple(RECORDS[each] for each in pair)
    request = replace(kept, leaders=(*kept.leaders, *tail))
    with pytest.raises(NeedsFiles):
        runner.run(request, {each: MATERIALS[each] for each in (*tail, *request.records)})
    assert runner.run(request, MATERIALS) == compute(request, MATERIALS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"records": ()}, Reason.NO_RECORDS),
        ({"scales": (), "records": RECORDS[:255]}, Reason.NO_RECORDS),
        ({"records": RECORDS[:1] * (MAXIMUM_BATCH + 1)}, Reason.TOO_MANY_RECORDS),
        ({"scales": (Scale(total=0, spread=1, shift=0),)}, Reason.FEATURES_MALFORMED),
        ({"leaders": (b"short",)}, Reason.HASH_MALFORMED),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_work(change: dict[str, object], reason: Reason) -> None:
    scales = tuple(Scale(total=0, spread=1, shift=0) for _ in SCHEMA.columns)
    request = GroupRequest(schema=SCHEMA, rule=RULE, scales=scales, leaders=(), records=RECORDS[:2])
    with pytest.raises(AttributionError) as caught:
        replace(request, **change)  # type: ignore[arg-type]
    assert caught.value.reason is reason


def test_a_request_names_and_prices_what_it_reads() -> None:
    request: REQUEST = GroupRequest(
        schema=SCHEMA, rule=RULE, scales=(), leaders=RECORDS[300:310], records=RECORDS[:256]
    )
    assert request.material_hashes() == (*RECORDS[300:310], *RECORDS[:256])
    assert request.subject_hashes() == ()
    assert request.multiply_accumulates() == work(10, 256, 10) > 0
    assert request.request_id() != replace(request, leaders=()).request_id()
