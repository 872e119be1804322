"""Vesting: nothing is paid at once, everything in time, to the last unit; whoever asks, the contributor is paid."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from node.errors import TransactionReason
from node.modules.releases import EarningsReleased, ReleaseEarnings
from node.modules.rewards import Paid
from node.modules.vesting import VESTING, Earned, Vesting, vested_units
from node.types.parameters import Parameters
from tests.node.modules.scenes import PARAMETERS, Scene, asked_scene

SLOW = replace(PARAMETERS, vesting_epochs=4, certificate_epochs=40)


@cache
def _answered(parameters: Parameters = SLOW) -> Scene:
    scene = asked_scene(parameters)
    scene.ledger.do(scene.who("attributor"), scene.answer(scene.question))
    return scene


@pytest.fixture(name="scene")
def scene_fixture() -> Scene:
    return _answered().fork()


def paid(scene: Scene) -> Paid:
    """The largest payment."""
    return max(scene.ledger.events(Paid), key=lambda each: each.amount_units)


def row(scene: Scene, record: bytes) -> Vesting | None:
    return VESTING.get(scene.ledger.state, scene.schema.id() + record)


def test_parts_vest_evenly_and_whole_in_the_end() -> None:
    part = Earned(epoch=5, earned_units=1_003, released_units=0)
    assert [vested_units(part, 5 + age, 4) for age in range(7)] == [0, 250, 501, 752, 1_003, 1_003, 1_003]
    assert vested_units(part, 5, 0) == 1_003


def test_what_a_record_earns_is_held_and_not_paid(scene: Scene) -> None:
    best = paid(scene)
    epoch = scene.ledger.epoch
    assert row(scene, best.record) == Vesting(
        recipient=best.recipient, parts=(Earned(epoch=epoch, earned_units=best.amount_units, released_units=0),)
    )
    balance = scene.ledger.account(best.recipient).balance_units
    payload = ReleaseEarnings(datanet=scene.datanet, records=(best.record,))
    detail = f"nothing of record {best.record.hex()} has vested that was not paid out"
    scene.ledger.fails(scene.who("nobody"), payload, TransactionReason.NOT_FOUND, detail)
    assert scene.ledger.account(best.recipient).balance_units == balance
    scene.ledger.audit()


def test_anybody_releases_and_the_contributor_is_paid_all_of_it_in_the_end(scene: Scene) -> None:
    best = paid(scene)
    before = scene.ledger.account(best.recipient).balance_units
    payload = ReleaseEarnings(datanet=scene.datanet, records=(best.record,))
    for age in range(1, 5):
        scene.ledger.next_epoch()
        scene.ledger.do(scene.who("nobody"), payload)
        vested = best.amount_units * age // 4
        assert scene.ledger.account(best.recipient).balance_units == before + vested
        assert scene.ledger.last(EarningsReleased).left_units == best.amount_units - vested
        scene.ledger.audit()
    assert row(scene, best.record) is None
    assert sum(each.amount_units for each in scene.ledger.events(EarningsReleased)) == best.amount_units
    assert scene.ledger.replay()


def test_a_record_that_earns_again_is_paid_what_is_long_vested(scene: Scene) -> None:
    best = paid(scene)
    before = scene.ledger.account(best.recipient).balance_units
    others = sum(each.amount_units for each in scene.ledger.events(Paid) if each.recipient == best.recipient)
    for _ in range(4):
        scene.ledger.next_epoch()
    question = scene.ask(800, 300)
    scene.ledger.wait(SLOW.claim_age_heights)
    scene.ledger.do(scene.who("attributor"), scene.answer(question))
    again = {each.record for each in scene.ledger.events(Paid) if each.question == question}
    assert best.record in again, "the same question is answered by the same records"
    assert scene.ledger.account(best.recipient).balance_units == before + others
    known = row(scene, best.record)
    assert known is not None
    assert [each.epoch for each in known.parts] == [scene.ledger.epoch]
    scene.ledger.audit()


def test_one_record_without_anything_vested_fails_the_whole_release(scene: Scene) -> None:
    best = paid(scene)
    scene.ledger.next_epoch()
    payload = ReleaseEarnings(datanet=scene.datanet, records=(best.record, best.record))
    detail = f"nothing of record {best.record.hex()} has vested that was not paid out"
    scene.ledger.fails(scene.who("nobody"), payload, TransactionReason.NOT_FOUND, detail)
