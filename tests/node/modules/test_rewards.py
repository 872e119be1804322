"""How a fee is split, burned, minted again, and claimed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from node.errors import TransactionReason
from node.modules.escrow import ESCROWS
from node.modules.models import MODELS
from node.modules.rewards import (
    MINT_EPOCHS,
    MINT_SHARES,
    POOL_CLAIMS,
    VALIDATOR_POOLS,
    Claim,
    Claimed,
    FeeSplit,
    MintEpoch,
    MintShare,
    Paid,
    PoolClaim,
    Settled,
    ValidatorPool,
    capped,
    mint_of,
    split_fee,
)
from node.modules.supply import SUPPLY
from node.modules.validators import epoch_key
from node.primitives.amount import BPS
from node.types.parameters import Parameters
from tests.node.ledger import FEE_UNITS
from tests.node.modules.scenes import OPEN, PARAMETERS, Scene, asked_scene

FEE = 10 * OPEN


@st.composite
def shares(draw: st.DrawFn) -> Parameters:
    """Any parameters governance can reach, as far as fees and minting go."""
    beta = draw(st.integers(200, 3_000))
    cuts = sorted(draw(st.lists(st.integers(0, BPS - beta), min_size=3, max_size=3)))
    owner, data, reviewers = cuts[0], cuts[1] - cuts[0], cuts[2] - cuts[1]
    return Parameters(
        beta_bps=beta,
        owner_bps=owner,
        data_bps=data,
        reviewers_bps=reviewers,
        validators_bps=BPS - beta - owner - data - reviewers,
        kappa_bps=draw(st.integers(0, 8_000)),
    )


FEES = st.one_of(st.integers(1, 100), st.integers(1, 2**62))


@given(shares(), FEES)
@example(Parameters(), 1)
@example(Parameters(beta_bps=200, owner_bps=0, data_bps=9_800, reviewers_bps=0, validators_bps=0), 1)
def test_parts_and_burn_add_up_to_the_fee_and_each_is_its_floor(parameters: Parameters, fee_units: int) -> None:
    split = split_fee(parameters, fee_units)
    assert split.burn_units == (fee_units * parameters.beta_bps + BPS - 1) // BPS
    assert split.data_units == fee_units * parameters.data_bps // BPS
    assert split.reviewers_units == fee_units * parameters.reviewers_bps // BPS
    assert split.validators_units == fee_units * parameters.validators_bps // BPS
    parts = (split.owner_units, split.data_units, split.reviewers_units, split.validators_units)
    assert split.burn_units + sum(parts) == fee_units
    assert min(parts) >= 0
    # The dust is the owner's: less than a unit for each of the other parts, less what the burn was rounded up.
    assert -1 <= split.owner_units - fee_units * parameters.owner_bps // BPS <= 3


@given(shares(), FEES, st.integers(0, BPS))
@example(Parameters(kappa_bps=8_000), 1, BPS)
def test_no_wash_is_profitable(parameters: Parameters, fee_units: int, eligibility_bps: int) -> None:
    """One more question, whoever pays it and whoever is paid, leaves all of them at least a unit poorer."""
    burn_units = split_fee(parameters, fee_units).burn_units
    mint_units = mint_of(parameters, eligibility_bps, burn_units)
    assert burn_units >= 1
    assert burn_units - mint_units >= 1
    assert mint_units * BPS <= parameters.kappa_bps * burn_units


def test_the_split_of_ten_open_by_hand() -> None:
    assert split_fee(Parameters(), FEE) == FeeSplit(
        burn_units=OPEN,
        owner_units=5_500_000_000,
        data_units=2_500_000_000,
        reviewers_units=300_000_000,
        validators_units=700_000_000,
    )
    # 999.9 is burned as 1000; 2499.75, 299.97 and 699.93 are floored; the owner's 5499.45 becomes the rest.
    assert split_fee(Parameters(), 9_999) == FeeSplit(
        burn_units=1_000, owner_units=5_502, data_units=2_499, reviewers_units=299, validators_units=699
    )
    assert split_fee(Parameters(), 1) == FeeSplit(
        burn_units=1, owner_units=0, data_units=0, reviewers_units=0, validators_units=0
    )


@pytest.mark.parametrize(
    ("accrued", "total", "cap", "paid"),
    [(10, 100, 100, 10), (10, 100, 99, 9), (10, 101, 100, 9), (1, 3, 2, 0), (0, 5, 1, 0), (7, 7, 0, 0), (3, 3, 9, 3)],
)
def test_accruals_are_scaled_down_to_the_cap_and_never_up(accrued: int, total: int, cap: int, paid: int) -> None:
    assert capped(MintEpoch(cap_units=cap, accrued_units=total), accrued) == paid


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=20), st.integers(0, 10**13))
def test_an_epoch_never_mints_more_than_its_cap(accruals: list[int], cap_units: int) -> None:
    epoch = MintEpoch(cap_units=cap_units, accrued_units=sum(accruals))
    assert sum(capped(epoch, each) for each in accruals) <= min(cap_units, sum(accruals))


@pytest.fixture(name="scene")
def scene_fixture() -> Scene:
    return asked_scene()


def test_an_answered_question_pays_everybody_at_once_and_accrues_the_mint(scene: Scene) -> None:
    ledger = scene.ledger
    eligibility = MODELS.need(ledger.state, scene.model).eligibility_bps
    names = ("developer", "reviewer 1", "reviewer 2", "reviewer 3", "ann", "bob")
    before = {name: ledger.account(scene.who(name)).balance_units for name in names}
    [answer] = scene.answer(scene.question).answers
    ledger.do(scene.who("attributor"), scene.answer(scene.question))
    earned = {name: ledger.account(scene.who(name)).balance_units - before[name] for name in names}
    mint_units = 5_000 * eligibility * OPEN // BPS**2
    weight = sum(each.influence for each in answer.credits) + 200
    data = {each.position: 2_500_000_000 * each.influence // weight for each in answer.credits}
    minted = {each.position: mint_units * 7 // 10 * each.influence // weight for each in answer.credits}
    ann = sum(units for position, units in data.items() if position < 20)
    bob = sum(units for position, units in data.items() if position >= 20)
    assert earned == {
        "developer": 5_500_000_000,
        "reviewer 1": 100_000_000,
        "reviewer 2": 100_000_000,
        "reviewer 3": 100_000_000,
        "ann": ann,
        "bob": bob,
    }
    assert ann > 0
    assert bob > 0
    assert ledger.last(Settled) == Settled(
        question=scene.question,
        model=scene.model,
        fee_units=FEE,
        burned_units=OPEN,
        owner_units=5_500_000_000,
        data_units=2_500_000_000,
        reviewers_units=300_000_000,
        validators_units=700_000_000,
        escrow_units=2_500_000_000 - ann - bob,
        mint_units=mint_units,
    )
    assert ESCROWS.need(ledger.state, scene.datanet).balance_units == 2_500_000_000 - ann - bob
    assert VALIDATOR_POOLS.need(ledger.state, epoch_key(ledger.epoch)) == ValidatorPool(
        fee_units=700_000_000, left_units=700_000_000, accrued_units=mint_units // 10
    )
    accrued = {
        name: (MINT_SHARES.get(ledger.state, epoch_key(ledger.epoch) + scene.who(name).address))
        for name in ("developer", "reviewer 2", "ann")
    }
    assert accrued == {
        "developer": MintShare(accrued_units=mint_units // 20),
        "reviewer 2": MintShare(accrued_units=mint_units * 1_500 // BPS // 3),
        "ann": MintShare(accrued_units=sum(units for position, units in minted.items() if position < 20)),
    }
    assert SUPPLY.get(ledger.state).minted_units == 0
    first = answer.credits[0]
    assert ledger.events(Paid)[0] == Paid(
        question=scene.question,
        model=scene.model,
        record=scene.records[first.position],
        recipient=scene.who("ann" if first.position < 20 else "bob").address,
        pool_units=2_500_000_000,
        influence=first.influence,
        excess=first.influence,
        senior=bytes(32),
        weight=weight,
        clip=0,
        amount_units=data[first.position],
        mint_pool_units=mint_units * 7 // 10,
        accrued_units=minted[first.position],
    )


def test_a_stale_certificate_earns_its_contributors_nothing(scene: Scene) -> None:
    """After its epochs without certifying again, the data part goes to the escrow."""
    while scene.ledger.epoch <= 2 + PARAMETERS.certificate_epochs:
        scene.ledger.next_epoch()
    ann = scene.ledger.account(scene.who("ann")).balance_units
    scene.ledger.do(scene.who("attributor"), scene.answer(scene.question))
    assert scene.ledger.account(scene.who("ann")).balance_units == ann
    assert scene.ledger.events(Paid) == []
    assert ESCROWS.need(scene.ledger.state, scene.datanet).balance_units == 2_500_000_000


def test_the_last_epoch_of_a_certificate_still_pays(scene: Scene) -> None:
    while scene.ledger.epoch < 2 + PARAMETERS.certificate_epochs:
        scene.ledger.next_epoch()
    scene.ledger.do(scene.who("attributor"), scene.answer(scene.question))
    assert len(scene.ledger.events(Paid)) > 0


@pytest.fixture(name="settled")
def settled_fixture() -> Scene:
    """An epoch has ended in which one question was answered."""
    scene = asked_scene()
    scene.ledger.do(scene.who("attributor"), scene.answer(scene.question))
    scene.ledger.next_epoch()
    return scene


def test_a_claim_mints_what_accrued_once(settled: Scene) -> None:
    ledger, owner = settled.ledger, settled.who("developer")
    epoch = ledger.epoch - 1
    accrued = MINT_SHARES.need(ledger.state, epoch_key(epoch) + owner.address).accrued_units
    before = ledger.account(owner).balance_units
    ledger.do(owner, Claim(epoch=epoch))
    assert ledger.account(owner).balance_units == before + accrued - FEE_UNITS
    assert SUPPLY.get(ledger.state).minted_units == accrued
    assert ledger.last(Claimed) == Claimed(
        beneficiary=owner.address, epoch=epoch, accrued_units=accrued, minted_units=accrued, pool_units=0
    )
    assert MINT_SHARES.get(ledger.state, epoch_key(epoch) + owner.address) is None
    ledger.fails(owner, Claim(epoch=epoch), TransactionReason.NOT_FOUND, f"nothing is left to claim of epoch {epoch}")


def test_a_claim_waits_for_the_epochs_end(scene: Scene) -> None:
    scene.ledger.do(scene.who("attributor"), scene.answer(scene.question))
    epoch = scene.ledger.epoch
    for later in (epoch, epoch + 1):
        scene.ledger.fails(
            scene.who("developer"),
            Claim(epoch=later),
            TransactionReason.NOT_YET,
            f"epoch {later} has not ended",
        )


def test_whoever_earned_nothing_claims_nothing(settled: Scene) -> None:
    epoch = settled.ledger.epoch - 1
    for name in ("nobody", "attributor"):
        settled.ledger.fails(
            settled.who(name),
            Claim(epoch=epoch),
            TransactionReason.NOT_FOUND,
            f"nothing is left to claim of epoch {epoch}",
        )


def test_operators_share_the_pool_by_power(settled: Scene) -> None:
    ledger, operator = settled.ledger, settled.operators[2]
    epoch = ledger.epoch - 1
    pool = VALIDATOR_POOLS.need(ledger.state, epoch_key(epoch))
    before = ledger.account(operator).balance_units
    ledger.do(operator, Claim(epoch=epoch))
    assert ledger.account(operator).balance_units == before - FEE_UNITS + 175_000_000 + pool.accrued_units // 4
    assert POOL_CLAIMS.need(ledger.state, epoch_key(epoch) + operator.address) == PoolClaim(paid_units=175_000_000)
    assert VALIDATOR_POOLS.need(ledger.state, epoch_key(epoch)).left_units == 525_000_000
    ledger.fails(
        operator, Claim(epoch=epoch), TransactionReason.NOT_FOUND, f"nothing is left to claim of epoch {epoch}"
    )


def test_a_pool_that_nobody_took_goes_to_the_treasury(settled: Scene) -> None:
    ledger = settled.ledger
    epoch = ledger.epoch - 1
    ledger.do(settled.operators[0], Claim(epoch=epoch))
    for _ in range(PARAMETERS.evidence_epochs):
        ledger.next_epoch()
    before = SUPPLY.get(ledger.state).treasury_units
    assert VALIDATOR_POOLS.get(ledger.state, epoch_key(epoch)) is not None
    ledger.next_epoch()
    assert VALIDATOR_POOLS.get(ledger.state, epoch_key(epoch)) is None
    assert SUPPLY.get(ledger.state).treasury_units == before + 525_000_000
    ledger.fails(
        settled.operators[1],
        Claim(epoch=epoch),
        TransactionReason.NOT_FOUND,
        f"nothing is left to claim of epoch {epoch}",
    )


def test_an_epoch_above_its_cap_pays_in_proportion() -> None:
    cap_units = 10**6
    scene = asked_scene(replace(PARAMETERS, epoch_mint_cap_units=cap_units, mint_decay_bps=0))
    ledger = scene.ledger
    ledger.do(scene.who("attributor"), scene.answer(scene.question))
    ledger.next_epoch()
    epoch = ledger.epoch - 1
    minting = MINT_EPOCHS.need(ledger.state, epoch_key(epoch))
    assert minting.cap_units == cap_units < minting.accrued_units
    claimants = [scene.who(name) for name in ("developer", "ann", "bob", "reviewer 1", "reviewer 2", "reviewer 3")]
    for key in [*claimants, *scene.operators]:
        ledger.do(key, Claim(epoch=epoch))
        claimed = ledger.last(Claimed)
        assert claimed.minted_units == claimed.accrued_units * cap_units // minting.accrued_units
    minted_units = SUPPLY.get(ledger.state).minted_units
    assert cap_units - len(ledger.events(Claimed)) <= minted_units <= cap_units
