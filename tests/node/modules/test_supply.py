"""The totals, and the audit that nothing was made or lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from node.audit import Audit, holdings
from node.modules.accounts import ACCOUNTS, Transfer
from node.modules.attributions import QUESTIONS, QuestionStatus
from node.modules.bonds import UNBONDING, Unbond
from node.modules.datanets import CONTRIBUTIONS
from node.modules.escrow import ESCROWS
from node.modules.governance import CastBallot, Propose, SetParameter
from node.modules.rewards import VALIDATOR_POOLS
from node.modules.supply import SUPPLY, Supply, add_to_treasury, burn_bond, burn_fee, conservation_error, mint
from node.state.table import Table
from node.state.view import View
from tests.factories import RICH_UNITS
from tests.node.modules.scenes import PARAMETERS, PEOPLE, Scene, asked_scene, genesis_scene

TOTALS = Supply(
    genesis_units=1_000,
    treasury_units=50,
    fee_burned_units=100,
    bond_burned_units=30,
    minted_units=80,
    epoch_cap_units=7,
)


def test_genesis_counts_every_balance_and_bond() -> None:
    supply = SUPPLY.get(genesis_scene().ledger.state)
    operators, users, people = 4, 4, len(PEOPLE)
    expected_units = (operators + users + people) * RICH_UNITS + operators * PARAMETERS.validator_bond_units
    assert supply == Supply(
        genesis_units=expected_units,
        treasury_units=0,
        fee_burned_units=0,
        bond_burned_units=0,
        minted_units=0,
        epoch_cap_units=PARAMETERS.epoch_mint_cap_units,
    )
    assert supply.total_units == expected_units


def test_each_total_counts_its_own() -> None:
    view = View(genesis_scene().ledger.state)
    before = SUPPLY.get(view)
    add_to_treasury(view, 1)
    burn_fee(view, 20)
    burn_bond(view, 300)
    mint(view, 4_000)
    after = SUPPLY.get(view)
    assert (after.treasury_units, after.fee_burned_units, after.bond_burned_units, after.minted_units) == (
        1, 20, 300, 4_000,
    )  # fmt: skip
    assert after.total_units == before.total_units - 320 + 4_000


def test_the_cap_shrinks_with_every_epoch_by_the_decay() -> None:
    scene = genesis_scene()
    cap_units = PARAMETERS.epoch_mint_cap_units
    for _ in range(3):
        scene.ledger.next_epoch()
        cap_units -= cap_units * 66 // 10_000
        assert SUPPLY.get(scene.ledger.state).epoch_cap_units == cap_units


def test_a_vote_lowers_the_cap_from_the_next_epoch_on_and_never_raises_it() -> None:
    scene = genesis_scene()
    for value, expected_units in ((10_000, 10_000), (2**62, 9_934)):
        action = SetParameter(name="epoch_mint_cap_units", value=value)
        proposal = scene.ledger.do(scene.operators[0], Propose(action=action)).transaction_id
        for operator in scene.operators[1:3]:
            scene.ledger.do(operator, CastBallot(proposal=proposal, is_yes=True))
        scene.ledger.next_epoch()
        assert scene.ledger.parameters.epoch_mint_cap_units == value
        assert SUPPLY.get(scene.ledger.state).epoch_cap_units == expected_units


@pytest.mark.parametrize(
    ("holdings", "expected"),
    [
        ((900, 0), None),
        ((899, 1), None),
        ((901,), "holdings add up to 951 base units, the supply is 950"),
        ((899,), "holdings add up to 949 base units, the supply is 950"),
        ((901, -1), "a holding is negative: -1"),
    ],
)
def test_conservation_finds_a_unit_too_many_or_too_few(holdings: tuple[int, ...], expected: str | None) -> None:
    assert conservation_error(TOTALS, 8_000, holdings) == expected


def test_conservation_finds_a_unit_minted_too_much() -> None:
    assert conservation_error(TOTALS, 7_999, (900,)) == "minted 80 base units for 100 burned"


def run_audit(scene: Scene) -> str | None:
    """The node's own walk over everything that holds OPEN."""
    audit = Audit(scene.ledger.node.disk, scene.ledger.state)
    while not audit.advance():
        pass
    return audit.error()


def everything_held() -> Scene:
    """Balances, bonds, unbonding, record bonds, an open question, an escrow and a validators' pool: all above zero."""
    scene = asked_scene()
    scene.ledger.do(scene.who("attributor"), scene.answer(scene.question))
    scene.ask(1, 2)
    scene.ledger.do(scene.who("attributor"), Unbond(amount_units=7))
    return scene


def test_the_nodes_audit_finds_every_unit_where_it_stands() -> None:
    scene = everything_held()
    assert run_audit(scene) is None
    assert sum(holdings(scene.ledger.node.disk)) == sum(scene.ledger.holdings())


@pytest.mark.parametrize(
    ("table", "change"),
    [
        (ACCOUNTS, lambda value: replace(value, balance_units=value.balance_units + 1)),
        (ACCOUNTS, lambda value: replace(value, bond_units=value.bond_units + 1)),
        (UNBONDING, lambda value: replace(value, releases=value.releases * 2)),
        (CONTRIBUTIONS, lambda value: replace(value, bonded_count=value.bonded_count - 1)),
        (QUESTIONS, lambda value: replace(value, fee_units=value.fee_units + 1, status=QuestionStatus.OPEN)),
        (ESCROWS, lambda value: replace(value, balance_units=value.balance_units - 1)),
        (VALIDATOR_POOLS, lambda value: replace(value, left_units=value.left_units + 1)),
    ],
    ids=["balance", "bond", "unbonding", "record bond", "question", "escrow", "pool"],
)
def test_the_nodes_audit_finds_a_unit_that_nobody_paid(table: Table[Any], change: Callable[[Any], Any]) -> None:
    scene = everything_held()
    view = View(scene.ledger.state)
    key, value = next(scene.ledger.rows(table))
    table.put(view, key, change(value))
    scene.ledger.overwrite(view)
    error = run_audit(scene)
    assert error is not None
    assert error.startswith("holdings add up to ")


def test_the_audit_is_of_the_state_as_it_was_at_its_start() -> None:
    scene = everything_held()
    audit = Audit(scene.ledger.node.disk, scene.ledger.state)
    scene.ledger.do(scene.who("asker"), Transfer(recipient=bytes(20), amount_units=5))
    while not audit.advance():
        pass
    assert audit.error() is None
