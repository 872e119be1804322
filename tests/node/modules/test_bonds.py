"""Bonds: locked, asked back, withdrawn, slashed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.errors import TransactionReason
from node.modules.bonds import (
    MOST_RELEASES,
    UNBONDING,
    Bond,
    BondChanged,
    Release,
    Unbond,
    Unbonding,
    WithdrawBond,
    slash,
)
from node.modules.supply import SUPPLY
from node.state.view import View
from tests.factories import RICH_UNITS
from tests.node.ledger import FEE_UNITS
from tests.node.modules.scenes import OPEN, PARAMETERS, Scene, genesis_scene, make_context


@pytest.fixture(name="scene")
def scene_fixture() -> Scene:
    return genesis_scene()


def test_bond_moves_balance_into_the_bond(scene: Scene) -> None:
    owner = scene.who("asker")
    scene.ledger.do(owner, Bond(amount_units=3 * OPEN))
    account = scene.ledger.account(owner)
    assert (account.balance_units, account.bond_units) == (RICH_UNITS - FEE_UNITS - 3 * OPEN, 3 * OPEN)
    assert scene.ledger.events(BondChanged) == [
        BondChanged(owner=owner.address, what="locked", amount_units=3 * OPEN, bond_units=3 * OPEN)
    ]


def test_bond_larger_than_the_balance_fails(scene: Scene) -> None:
    scene.ledger.fails(
        scene.who("asker"),
        Bond(amount_units=RICH_UNITS),
        TransactionReason.INSUFFICIENT_BALANCE,
        "999999 OPEN held, 1000000 OPEN needed",
    )


def test_unbonding_is_released_after_its_epochs_and_withdrawn_once(scene: Scene) -> None:
    owner = scene.who("asker")
    scene.ledger.do(owner, Bond(amount_units=3 * OPEN))
    scene.ledger.do(owner, Unbond(amount_units=2 * OPEN))
    release_epoch = 1 + PARAMETERS.unbonding_epochs + 1
    assert UNBONDING.get(scene.ledger.state, owner.address) == Unbonding(
        releases=(Release(amount_units=2 * OPEN, epoch=release_epoch),)
    )
    assert scene.ledger.account(owner).bond_units == OPEN
    while scene.ledger.epoch < release_epoch:
        scene.ledger.fails(
            owner,
            WithdrawBond(),
            TransactionReason.NOT_YET,
            f"the first is released in epoch {release_epoch}",
        )
        scene.ledger.next_epoch()
    before = scene.ledger.account(owner).balance_units
    scene.ledger.do(owner, WithdrawBond())
    assert scene.ledger.account(owner).balance_units == before + 2 * OPEN - FEE_UNITS
    assert UNBONDING.get(scene.ledger.state, owner.address) is None
    assert scene.ledger.last(BondChanged) == BondChanged(
        owner=owner.address, what="withdrawn", amount_units=2 * OPEN, bond_units=OPEN
    )
    scene.ledger.fails(owner, WithdrawBond(), TransactionReason.NOT_YET, "nothing was asked back")


def test_withdrawal_takes_what_is_due_and_leaves_the_rest(scene: Scene) -> None:
    owner = scene.who("asker")
    scene.ledger.do_all([(owner, Bond(amount_units=5 * OPEN)), (owner, Unbond(amount_units=1))])
    scene.ledger.next_epoch()
    scene.ledger.do(owner, Unbond(amount_units=2))
    scene.ledger.next_epoch()
    scene.ledger.next_epoch()
    scene.ledger.do(owner, WithdrawBond())
    assert UNBONDING.get(scene.ledger.state, owner.address) == Unbonding(releases=(Release(amount_units=2, epoch=5),))


@pytest.mark.parametrize(("unbonding_epochs", "evidence_epochs", "release_epoch"), [(5, 2, 7), (1, 4, 6), (3, 3, 5)])
def test_a_bond_outlasts_the_evidence_however_short_the_unbonding(
    unbonding_epochs: int, evidence_epochs: int, release_epoch: int
) -> None:
    chosen = replace(PARAMETERS, unbonding_epochs=unbonding_epochs, evidence_epochs=evidence_epochs)
    scene = genesis_scene(chosen)
    owner = scene.who("asker")
    scene.ledger.do_all([(owner, Bond(amount_units=2)), (owner, Unbond(amount_units=2))])
    [release] = UNBONDING.need(scene.ledger.state, owner.address).releases
    assert release == Release(amount_units=2, epoch=release_epoch)


def test_unbonding_more_than_is_locked_fails(scene: Scene) -> None:
    owner = scene.who("asker")
    scene.ledger.do(owner, Bond(amount_units=10))
    scene.ledger.fails(owner, Unbond(amount_units=11), TransactionReason.INSUFFICIENT_BOND, "0 OPEN stay locked")
    scene.ledger.do(owner, Unbond(amount_units=10))


def test_a_candidate_keeps_its_minimum(scene: Scene) -> None:
    operator = scene.operators[0]
    scene.ledger.fails(operator, Unbond(amount_units=1), TransactionReason.INSUFFICIENT_BOND, "10000 OPEN stay locked")
    scene.ledger.do(operator, Bond(amount_units=1))
    scene.ledger.do(operator, Unbond(amount_units=1))


def test_withdrawals_under_way_have_a_limit(scene: Scene) -> None:
    owner = scene.who("asker")
    scene.ledger.do(owner, Bond(amount_units=OPEN))
    scene.ledger.do_all([(owner, Unbond(amount_units=1))] * MOST_RELEASES)
    scene.ledger.fails(owner, Unbond(amount_units=1), TransactionReason.TOO_MANY, "withdraw what is released first")


def test_slashing_takes_its_share_of_the_bond_and_of_what_was_asked_back(scene: Scene) -> None:
    owner = scene.who("asker")
    scene.ledger.do_all(
        [(owner, Bond(amount_units=1001)), (owner, Unbond(amount_units=301)), (owner, Unbond(amount_units=1))]
    )
    view = View(scene.ledger.state)
    context = make_context(scene.ledger)
    assert slash(view, context, owner.address, 5_000) == 699 // 2 + 301 // 2 + 0
    kept = UNBONDING.need(view, owner.address).releases
    assert [release.amount_units for release in kept] == [151, 1]
    assert SUPPLY.get(view).bond_burned_units == 349 + 150
