"""Datanets, contributions, duplicates, reviews."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from attribution.errors import AttributionError, Reason
from node.errors import TransactionReason, TransactionRejected
from node.modules.contents import CONTENTS
from node.modules.context import BlobRef
from node.modules.datanets import (
    CONTRIBUTIONS,
    DATANETS,
    MOST_REVIEWERS,
    PARTIES,
    RECORDS,
    RECORDS_AT,
    ColumnSpec,
    Contribute,
    Contributed,
    Contribution,
    ContributionStatus,
    Datanet,
    DatanetCreated,
    DuplicateRejected,
    Party,
    PartyRole,
    Record,
    RecordAt,
    RecordStatus,
    RejectionReason,
    Review,
    Reviewed,
    become_party,
    position_key,
    schema_of,
)
from node.modules.supply import SUPPLY
from node.primitives.amount import AMOUNT_END
from node.primitives.crypto import ZERO_HASH
from node.state.view import View
from node.types.parameters import LARGEST_BOND_UNITS
from tests.node.ledger import FEE_UNITS
from tests.node.modules.scenes import (
    BOUND,
    CLASSES,
    COLUMNS,
    DAMPING,
    PARAMETERS,
    Scene,
    accepted_scene,
    datanet_payload,
    datanet_scene,
    genesis_scene,
    pending_scene,
)

BOND = PARAMETERS.record_bond_units
BAD_CONTENT = TransactionReason.BAD_CONTENT


@pytest.fixture(name="scene")
def scene_fixture() -> Scene:
    return datanet_scene()


def verdict(contribution: bytes, reason: RejectionReason = RejectionReason.NONE) -> Review:
    return Review(contribution=contribution, is_accepted=reason is RejectionReason.NONE, reason=reason)


# Creation.


def test_a_datanet_stands_under_its_transactions_id() -> None:
    scene = genesis_scene()
    receipt = scene.ledger.do(scene.who("curator"), datanet_payload(scene))
    datanet = DATANETS.need(scene.ledger.state, receipt.transaction_id)
    assert datanet == Datanet(
        name="clinic",
        licence="CC-BY-4.0",
        owner=scene.who("curator").address,
        columns=COLUMNS,
        classes=CLASSES,
        schema_id=schema_of(datanet).id(),
        dampings=(DAMPING,),
        reviewers=tuple(each.address for each in scene.reviewers),
        review_quorum=2,
        created_height=1,
        accepted_count=0,
        boundary_epoch=0,
        boundary_count=0,
        grouped_count=0,
        erased_count=0,
        models=(),
    )
    assert scene.ledger.events(DatanetCreated) == [
        DatanetCreated(datanet=receipt.transaction_id, owner=scene.who("curator").address)
    ]


def test_creation_takes_the_curators_role_and_reviewers_have_theirs() -> None:
    scene = genesis_scene()
    required = TransactionReason.ROLE_REQUIRED
    scene.ledger.fails(scene.who("nobody"), datanet_payload(scene), required, "the role curator")
    payload = datanet_payload(scene, reviewers=(scene.reviewers[0].address, scene.who("nobody").address))
    scene.ledger.fails(scene.who("curator"), payload, required, "the role reviewer")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"review_quorum": 4}, "the reviewers can make the quorum"),
        ({"dampings": (DAMPING, DAMPING)}, "dampings are distinct and sorted"),
        ({"dampings": (DAMPING, DAMPING - 1)}, "dampings are distinct and sorted"),
        ({"classes": ("ill", "ill")}, "class names are distinct"),
        (
            {"columns": tuple(ColumnSpec(name=f"c{index}", decimals=0, minimum=0, maximum=1) for index in range(256))},
            "(columns + 1) x classes is at most 512",
        ),
        (
            {"columns": (COLUMNS[0], COLUMNS[0])},
            "schema_malformed: The schema breaks a rule of its format. (two columns have the same name)",
        ),
        (
            {"columns": (ColumnSpec(name="c", decimals=0, minimum=2, maximum=1),)},
            "schema_malformed: The schema breaks a rule of its format. (c: bounds 2 to 1)",
        ),
        (
            {"columns": (ColumnSpec(name="a\nb", decimals=0, minimum=0, maximum=1),)},
            "schema_malformed: The schema breaks a rule of its format. (a column's name holds a control character)",
        ),
    ],
)
def test_a_datanet_that_breaks_a_rule_fails(changes: dict[str, Any], rule: str) -> None:
    scene = genesis_scene()
    payload = datanet_payload(scene, **changes)
    scene.ledger.fails(scene.who("curator"), payload, TransactionReason.NOT_ADMISSIBLE, rule)


def test_reviewers_are_distinct() -> None:
    scene = genesis_scene()
    twice = (scene.reviewers[0].address,) * 2
    payload = datanet_payload(scene, reviewers=twice)
    scene.ledger.fails(scene.who("curator"), payload, TransactionReason.NOT_ADMISSIBLE, "reviewers are distinct")


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"reviewers": ()}, "create_datanet: CreateDatanet.reviewers has 1..16 items"),
        ({"reviewers": (bytes(20),) * (MOST_REVIEWERS + 1)}, "create_datanet: CreateDatanet.reviewers has 1..16 items"),
        ({"columns": ()}, "create_datanet: CreateDatanet.columns has 1..511 items"),
        ({"classes": ("one",)}, "create_datanet: CreateDatanet.classes has 2..64 items"),
        ({"dampings": ()}, "create_datanet: CreateDatanet.dampings has 1..4 items"),
        ({"review_quorum": 0}, "create_datanet: CreateDatanet.review_quorum is in 1..16"),
        ({"name": ""}, "create_datanet: CreateDatanet.name has 1..64 items"),
        ({"name": "n" * 65}, "create_datanet: CreateDatanet.name has 1..64 items"),
    ],
)
def test_empty_and_too_many_are_no_payload(changes: dict[str, Any], detail: str) -> None:
    scene = genesis_scene()
    payload = datanet_payload(scene, **changes)
    reason, found = scene.ledger.unreadable(scene.who("curator"), payload)
    assert reason is TransactionReason.BAD_PAYLOAD
    assert found.startswith(detail), found


# Contributions.


def test_a_contribution_locks_a_bond_per_record_and_waits(scene: Scene) -> None:
    ann = scene.who("ann")
    before = scene.ledger.account(ann).balance_units
    records = (scene.record(0, 1, 2), scene.record(1, -BOUND, BOUND))
    contribution = scene.contribute("ann", *records)
    assert scene.ledger.account(ann).balance_units == before - FEE_UNITS - 2 * BOND
    assert CONTRIBUTIONS.need(scene.ledger.state, contribution) == Contribution(
        datanet=scene.datanet,
        contributor=ann.address,
        records=(records[0].hash, records[1].hash),
        record_bond_units=BOND,
        bonded_count=2,
        status=ContributionStatus.PENDING,
        accepted_by=(),
        rejected_by=(),
    )
    for index, record in enumerate(records):
        assert RECORDS.need(scene.ledger.state, scene.schema.id() + record.hash) == Record(
            datanet=scene.datanet,
            contributor=ann.address,
            contribution=contribution,
            height=scene.ledger.height,
            transaction_index=0,
            index=index,
            status=RecordStatus.PENDING,
            position=0,
            leader=record.hash,
        )
        assert CONTENTS.need(scene.ledger.state, record.hash).uses == 1
    assert PARTIES.need(scene.ledger.state, scene.datanet + ann.address) == Party(role=PartyRole.CONTRIBUTOR)
    assert scene.ledger.events(Contributed) == [
        Contributed(
            contribution=contribution,
            datanet=scene.datanet,
            contributor=ann.address,
            record_count=2,
            duplicate_count=0,
            burned_units=0,
            bond_units=2 * BOND,
        )
    ]


def test_contributing_takes_the_role_and_is_not_for_reviewers_or_model_owners(scene: Scene) -> None:
    payload = Contribute(datanet=scene.datanet, records=(scene.record(0, 1, 2),))
    required = TransactionReason.ROLE_REQUIRED
    for name in ("nobody", "reviewer 1", "developer"):
        scene.ledger.fails(scene.who(name), payload, required, "the role contributor")


def test_an_unknown_datanet_takes_no_records(scene: Scene) -> None:
    payload = Contribute(datanet=ZERO_HASH, records=(scene.record(0, 1, 2),))
    scene.ledger.refuses(scene.who("ann"), payload, TransactionReason.NOT_FOUND, "no datanet " + "00" * 32)


def test_a_datanet_is_old_enough_before_it_takes_records() -> None:
    scene = genesis_scene()
    scene.datanet = scene.ledger.do(scene.who("curator"), datanet_payload(scene)).transaction_id
    payload = Contribute(datanet=scene.datanet, records=(scene.record(0, 1, 2),))
    scene.ledger.refuses(scene.who("ann"), payload, TransactionReason.TOO_YOUNG, "from height 3 on")
    scene.ledger.wait(1)
    scene.ledger.do(scene.who("ann"), payload)


TOO_LARGE = b"\0\1" + (BOUND + 1).to_bytes(8, "big") + bytes(8)
TOO_SMALL = b"\0\1" + bytes(8) + (-BOUND - 1).to_bytes(8, "big", signed=True)


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (bytes(17), Reason.RECORD_WRONG_SIZE, "17 bytes, the schema fixes 18"),
        (bytes(19), Reason.RECORD_WRONG_SIZE, "19 bytes, the schema fixes 18"),
        (b"\0\2" + bytes(16), Reason.LABEL_OUT_OF_RANGE, "label 2 of 2 classes"),
        (TOO_LARGE, Reason.VALUE_OUT_OF_RANGE, "column height: 10001 is not in -10000 to 10000"),
        (TOO_SMALL, Reason.VALUE_OUT_OF_RANGE, "column weight: -10001 is not in -10000 to 10000"),
    ],
)
def test_a_record_of_another_form_makes_its_block_invalid(
    scene: Scene, content: bytes, reason: Reason, detail: str
) -> None:
    payload = Contribute(datanet=scene.datanet, records=(scene.record(0, 1, 2), scene.put(content)))
    scene.ledger.refuses(scene.who("ann"), payload, BAD_CONTENT, f"record 1: {AttributionError(reason, detail)}")


def test_a_blob_of_another_size_than_stated_is_refused(scene: Scene) -> None:
    record = scene.record(0, 1, 2)
    for size_bytes in (17, 19):
        payload = Contribute(datanet=scene.datanet, records=(replace(record, size_bytes=size_bytes),))
        scene.ledger.refuses(scene.who("ann"), payload, BAD_CONTENT, f"blob {record.hash.hex()} has another size")


def test_a_blob_larger_than_the_chains_limit_is_refused_before_anybody_fetches_it() -> None:
    scene = datanet_scene(replace(PARAMETERS, blob_size_bytes=2**10))
    payload = Contribute(datanet=scene.datanet, records=(BlobRef(hash=b"?" * 32, size_bytes=1025),))
    scene.ledger.refuses(scene.who("ann"), payload, BAD_CONTENT, "a blob has at most 1024 bytes")


def test_more_records_than_the_limit_are_refused(scene: Scene) -> None:
    most = PARAMETERS.contribution_records
    records = tuple(scene.record(0, value, 0) for value in range(most + 1))
    payload = Contribute(datanet=scene.datanet, records=records)
    scene.ledger.refuses(scene.who("ann"), payload, TransactionReason.BAD_PAYLOAD, f"at most {most} records at a time")
    scene.contribute("ann", *records[:most])


def test_no_records_are_no_payload(scene: Scene) -> None:
    payload = Contribute(datanet=scene.datanet, records=())
    reason, detail = scene.ledger.unreadable(scene.who("ann"), payload)
    assert (reason, detail) == (TransactionReason.BAD_PAYLOAD, "contribute: Contribute.records has 1..1024 items")


def test_bonds_beyond_the_balance_fail_and_leave_no_record() -> None:
    scene = datanet_scene(replace(PARAMETERS, record_bond_units=400_000 * 10**9))
    records = tuple(scene.record(0, value, 0) for value in range(3))
    payload = Contribute(datanet=scene.datanet, records=records)
    scene.ledger.fails(
        scene.who("ann"),
        payload,
        TransactionReason.INSUFFICIENT_BALANCE,
        "999999 OPEN held, 1200000 OPEN needed",
    )


def test_no_sum_of_bonds_is_beyond_any_amount() -> None:
    """No parameters allow one: the largest bonds of the most records are an amount, and fail as too much money."""
    assert 1_024 * LARGEST_BOND_UNITS < AMOUNT_END
    scene = datanet_scene(replace(PARAMETERS, record_bond_units=LARGEST_BOND_UNITS))
    payload = Contribute(datanet=scene.datanet, records=tuple(scene.record(0, value, 0) for value in range(2)))
    scene.ledger.fails(
        scene.who("ann"),
        payload,
        TransactionReason.INSUFFICIENT_BALANCE,
        "999999 OPEN held, 2000000 OPEN needed",
    )


# Duplicates.


def test_a_duplicate_burns_half_its_bond_and_takes_nothing_from_the_elder(scene: Scene) -> None:
    mine, fresh = scene.record(0, 1, 2), scene.record(1, 1, 2)
    first = scene.contribute("ann", mine)
    elder = RECORDS.need(scene.ledger.state, scene.schema.id() + mine.hash)
    bob = scene.who("bob")
    before = scene.ledger.account(bob).balance_units
    second = scene.contribute("bob", mine, fresh)
    burned_units = BOND - BOND // 2
    assert scene.ledger.account(bob).balance_units == before - FEE_UNITS - BOND - burned_units
    assert SUPPLY.get(scene.ledger.state).bond_burned_units == burned_units
    assert RECORDS.need(scene.ledger.state, scene.schema.id() + mine.hash) == elder
    assert CONTRIBUTIONS.need(scene.ledger.state, second).records == (fresh.hash,)
    assert scene.ledger.events(DuplicateRejected) == [
        DuplicateRejected(contribution=second, content=mine.hash, elder=first)
    ]
    assert scene.ledger.last(Contributed) == Contributed(
        contribution=second,
        datanet=scene.datanet,
        contributor=bob.address,
        record_count=1,
        duplicate_count=1,
        burned_units=burned_units,
        bond_units=BOND,
    )


def test_an_odd_bond_burns_the_larger_half() -> None:
    scene = datanet_scene(replace(PARAMETERS, record_bond_units=7))
    record = scene.record(0, 1, 2)
    contribution = scene.contribute("ann", record, record)
    assert SUPPLY.get(scene.ledger.state).bond_burned_units == 4
    assert scene.ledger.last(DuplicateRejected) == DuplicateRejected(
        contribution=contribution, content=record.hash, elder=contribution
    )


def test_nothing_but_duplicates_is_rejected_at_once(scene: Scene) -> None:
    record = scene.record(0, 1, 2)
    scene.contribute("ann", record)
    contribution = scene.contribute("bob", record)
    assert CONTRIBUTIONS.need(scene.ledger.state, contribution).status is ContributionStatus.REJECTED
    scene.ledger.fails(
        scene.reviewers[0],
        verdict(contribution),
        TransactionReason.WRONG_STATUS,
        "the contribution is rejected",
    )


def test_seniority_is_global_for_a_form(scene: Scene) -> None:
    """A record that stands in another datanet of the form is a duplicate here."""
    other = scene.ledger.do(scene.who("curator"), datanet_payload(scene, name="copycat")).transaction_id
    record = scene.record(0, 1, 2)
    first = scene.contribute("ann", record)
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    scene.ledger.do(scene.who("bob"), Contribute(datanet=other, records=(record,)))
    assert scene.ledger.last(DuplicateRejected).elder == first


# Reviews.


def test_a_quorum_accepts_and_the_bond_stays_locked() -> None:
    scene = pending_scene()
    contribution = scene.contributions[0]
    before = scene.ledger.account(scene.who("ann")).balance_units
    scene.ledger.do(scene.reviewers[2], verdict(contribution))
    assert CONTRIBUTIONS.need(scene.ledger.state, contribution).status is ContributionStatus.PENDING
    scene.ledger.do(scene.reviewers[0], verdict(contribution))
    known = CONTRIBUTIONS.need(scene.ledger.state, contribution)
    assert (known.status, known.bonded_count) == (ContributionStatus.ACCEPTED, len(known.records))
    assert known.accepted_by == (scene.reviewers[2].address, scene.reviewers[0].address)
    assert scene.ledger.account(scene.who("ann")).balance_units == before
    for position, content in enumerate(known.records):
        record = RECORDS.need(scene.ledger.state, scene.schema.id() + content)
        assert (record.status, record.position) == (RecordStatus.ACCEPTED, position)
        assert RECORDS_AT.need(scene.ledger.state, position_key(scene.datanet, position)) == RecordAt(content=content)
    assert DATANETS.need(scene.ledger.state, scene.datanet).accepted_count == len(known.records)
    assert scene.ledger.last(Reviewed) == Reviewed(
        contribution=contribution,
        contributor=scene.who("ann").address,
        reviewer=scene.reviewers[0].address,
        is_accepted=True,
        reason=RejectionReason.NONE,
        status=ContributionStatus.ACCEPTED,
        burned_units=0,
    )


def test_positions_follow_acceptance_and_the_snapshot_the_epochs_start() -> None:
    scene = pending_scene()
    ann, bob = scene.contributions
    scene.accept(bob)
    scene.accept(ann)
    datanet = DATANETS.need(scene.ledger.state, scene.datanet)
    first = CONTRIBUTIONS.need(scene.ledger.state, bob).records[0]
    assert RECORDS_AT.need(scene.ledger.state, position_key(scene.datanet, 0)).content == first
    assert (datanet.snapshot_count(1), datanet.snapshot_count(2)) == (0, 40)
    scene.ledger.next_epoch()
    scene.accept(scene.contribute("ann", scene.record(1, 5, 5)))
    datanet = DATANETS.need(scene.ledger.state, scene.datanet)
    assert (datanet.snapshot_count(2), datanet.snapshot_count(3)) == (40, 41)


def test_a_rejection_burns_half_the_bond_and_frees_the_content() -> None:
    scene = pending_scene()
    contribution, ann = scene.contributions[0], scene.who("ann")
    before = scene.ledger.account(ann).balance_units
    known = CONTRIBUTIONS.need(scene.ledger.state, contribution)
    for reviewer in scene.reviewers[:2]:
        scene.ledger.do(reviewer, verdict(contribution, RejectionReason.WRONG_LABELS))
    bond_units = BOND * len(known.records)
    assert scene.ledger.account(ann).balance_units == before + bond_units // 2
    assert SUPPLY.get(scene.ledger.state).bond_burned_units == bond_units - bond_units // 2
    after = CONTRIBUTIONS.need(scene.ledger.state, contribution)
    assert (after.status, after.bonded_count) == (ContributionStatus.REJECTED, 0)
    assert CONTENTS.get(scene.ledger.state, known.records[0]) is None
    assert RECORDS.need(scene.ledger.state, scene.schema.id() + known.records[0]).status is RecordStatus.REJECTED
    assert scene.ledger.last(Reviewed).burned_units == bond_units - bond_units // 2
    # A rejected record is nobody's: it may be offered again, by anybody.
    scene.contribute("bob", BlobRef(hash=known.records[0], size_bytes=18))
    assert scene.ledger.last(Contributed).duplicate_count == 0


def test_a_minority_that_makes_the_quorum_impossible_rejects(scene: Scene) -> None:
    """Two of three must agree: one against decides nothing, the second does."""
    contribution = scene.contribute("ann", scene.record(0, 1, 2))
    scene.ledger.do(scene.reviewers[0], verdict(contribution))
    scene.ledger.do(scene.reviewers[1], verdict(contribution, RejectionReason.OTHER))
    assert CONTRIBUTIONS.need(scene.ledger.state, contribution).status is ContributionStatus.PENDING
    scene.ledger.do(scene.reviewers[2], verdict(contribution, RejectionReason.NO_LICENCE))
    assert CONTRIBUTIONS.need(scene.ledger.state, contribution).status is ContributionStatus.REJECTED


def test_a_reviewer_speaks_once(scene: Scene) -> None:
    contribution = scene.contribute("ann", scene.record(0, 1, 2))
    scene.ledger.do(scene.reviewers[0], verdict(contribution))
    for again in (verdict(contribution), verdict(contribution, RejectionReason.OTHER)):
        scene.ledger.fails(scene.reviewers[0], again, TransactionReason.ALREADY_DONE, "one verdict each")


def test_only_the_datanets_reviewers_speak(scene: Scene) -> None:
    contribution = scene.contribute("ann", scene.record(0, 1, 2))
    for name in ("ann", "curator"):
        scene.ledger.fails(scene.who(name), verdict(contribution), TransactionReason.NOT_REVIEWER)


def test_an_unknown_or_decided_contribution_takes_no_verdict() -> None:
    scene = accepted_scene()
    scene.ledger.fails(
        scene.reviewers[0], verdict(ZERO_HASH), TransactionReason.NOT_FOUND, "no contribution " + "00" * 32
    )
    scene.ledger.fails(
        scene.reviewers[2],
        verdict(scene.contributions[0]),
        TransactionReason.WRONG_STATUS,
        "the contribution is accepted",
    )


@pytest.mark.parametrize(("is_accepted", "reason"), [(True, RejectionReason.OTHER), (False, RejectionReason.NONE)])
def test_a_verdict_whose_reason_does_not_fit_cannot_be_made(is_accepted: bool, reason: RejectionReason) -> None:
    with pytest.raises(ValueError, match="a rejection has a reason, an acceptance has none"):
        Review(contribution=ZERO_HASH, is_accepted=is_accepted, reason=reason)


# Parts in a datanet.


def test_a_model_owner_does_not_contribute_and_a_contributor_owns_no_model() -> None:
    scene = datanet_scene()
    view, datanet = View(scene.ledger.state), DATANETS.need(scene.ledger.state, scene.datanet)
    ann = scene.who("ann").address
    become_party(view, scene.datanet, datanet, ann, PartyRole.CONTRIBUTOR)
    become_party(view, scene.datanet, datanet, ann, PartyRole.CONTRIBUTOR)
    for address, role, detail in (
        (ann, PartyRole.MODEL_OWNER, "the account is a contributor here"),
        (scene.reviewers[0].address, PartyRole.CONTRIBUTOR, "the account reviews this datanet"),
    ):
        with pytest.raises(TransactionRejected) as found:
            become_party(view, scene.datanet, datanet, address, role)
        assert (found.value.reason, found.value.detail) == (TransactionReason.CONFLICT_OF_INTEREST, detail)
