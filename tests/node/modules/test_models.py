"""Models: certified, measured, priced, handed over, retired."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import attribution.head.request as engine
from attribution.errors import AttributionError
from node.errors import TransactionReason
from node.modules.accounts import ACCOUNTS
from node.modules.attributions import Refund
from node.modules.bonds import Bond, Unbond
from node.modules.contents import CONTENTS, erase
from node.modules.datanets import DATANETS, MOST_MODELS, PARTIES, Party, PartyRole
from node.modules.erasure import EraseRecord
from node.modules.governance import CastBallot, Propose, SetRoles
from node.modules.holdouts import REVEALED
from node.modules.models import (
    GATES,
    MODELS,
    CertificateClaim,
    Gate,
    MeasureModel,
    Model,
    ModelChanged,
    ModelStatus,
    RegisterModel,
    RetireModel,
    SetPrice,
    TransferModel,
    engine_model,
    is_open,
)
from node.modules.validators import epoch_key
from node.primitives.amount import format_open
from node.primitives.crypto import ZERO_HASH
from node.state.view import View
from tests.node.ledger import Shelf
from tests.node.modules.scenes import (
    DAMPING,
    OPEN,
    PARAMETERS,
    PRICE_UNITS,
    RECORDS_EACH,
    Scene,
    accepted_scene,
    asked_scene,
    committed_scene,
    datanet_payload,
    make_context,
    measured_scene,
    registered_scene,
    revealed_scene,
    ungated_scene,
)

FALSE_CLAIM = TransactionReason.FALSE_CLAIM


@pytest.fixture(name="scene")
def scene_fixture() -> Scene:
    """Records stand in the snapshot, a holdout is committed, no model yet."""
    return committed_scene()


# Registration.


def test_a_registered_model_waits_for_its_holdout(scene: Scene) -> None:
    developer = scene.who("developer")
    payload = scene.registration()
    model_id = scene.ledger.do(developer, payload).transaction_id
    state = scene.ledger.state
    assert MODELS.need(state, model_id) == Model(
        name="diagnosis",
        owner=developer.address,
        datanet=scene.datanet,
        engine="head/1",
        damping=DAMPING,
        weights=payload.weights.hash,
        inverse=payload.inverse.hash,
        certificate=payload.certificate,
        snapshot_count=40,
        certified_epoch=2,
        changed_height=scene.ledger.height,
        price_units=PRICE_UNITS,
        status=ModelStatus.AWAITING_GATE,
        gate_deadline_height=scene.ledger.height + PARAMETERS.holdout_reveal_heights,
        is_gate_on=False,
        eligibility_bps=0,
    )
    assert DATANETS.need(state, scene.datanet).models == (model_id,)
    assert PARTIES.need(state, scene.datanet + developer.address) == Party(role=PartyRole.MODEL_OWNER)
    assert CONTENTS.need(state, payload.weights.hash).uses == CONTENTS.need(state, payload.inverse.hash).uses == 1
    assert scene.ledger.last(ModelChanged) == ModelChanged(
        model=model_id,
        datanet=scene.datanet,
        owner=developer.address,
        what="registered",
        status=ModelStatus.AWAITING_GATE,
        eligibility_bps=0,
    )


def test_without_a_holdout_a_model_is_open_at_once_and_mints_nothing() -> None:
    scene = ungated_scene()
    model = MODELS.need(scene.ledger.state, scene.model)
    assert (model.status, model.is_gate_on, model.eligibility_bps) == (ModelStatus.ACTIVE, False, 0)


def test_without_a_reveal_a_model_opens_after_the_deadline_and_mints_nothing() -> None:
    scene = registered_scene()
    model = MODELS.need(scene.ledger.state, scene.model)
    assert [is_open(model, model.gate_deadline_height + each) for each in (-1, 0, 1)] == [False, False, True]
    scene.ledger.wait_for_height(model.gate_deadline_height + 1)
    scene.ask(1, 1)
    assert MODELS.need(scene.ledger.state, scene.model).eligibility_bps == 0


def off_by_one(claim: CertificateClaim, field: str, by: int) -> CertificateClaim:
    return replace(claim, **{field: getattr(claim, field) + by})


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("field", ["record_count", "gradient_norm", "inverse_residual"])
def test_a_certificate_off_by_one_unit_makes_its_block_invalid(scene: Scene, field: str, by: int) -> None:
    payload = scene.registration()
    false = replace(payload, certificate=off_by_one(payload.certificate, field, by))
    detail = f"the certificate is {payload.certificate}"
    scene.ledger.refuses(scene.who("developer"), false, FALSE_CLAIM, detail)


def test_a_certificate_of_records_that_went_meanwhile_is_stale_and_not_false(scene: Scene) -> None:
    """An honest developer trained on the snapshot as it was; somebody erased a record of it before the block."""
    payload = scene.registration()
    scene.ledger.do(scene.who("ann"), EraseRecord(datanet=scene.datanet, content=scene.records[0]))
    records = 2 * RECORDS_EACH
    detail = f"{records - 1} records are left of it, not {records}"
    scene.ledger.refuses(scene.who("developer"), payload, TransactionReason.STALE_SNAPSHOT, detail)
    scene.ledger.do(scene.who("developer"), scene.registration())


def test_what_the_engine_knows_a_model_as_is_remembered_for_that_model_alone() -> None:
    """Everything the problem is made of is in the key: certified again with another damping, it is another subject."""
    scene = ungated_scene()
    state, model = scene.ledger.state, MODELS.need(scene.ledger.state, scene.model)
    shelf = Shelf()
    first, other, again = (
        engine_model(state, scene.model, each, shelf)[0] for each in (model, replace(model, damping=DAMPING + 1), model)
    )
    assert (first.problem.damping, other.problem.damping) == (DAMPING, DAMPING + 1)
    assert again is first, "built once"
    with pytest.raises(AttributionError):  # not the first one again: no engine has this name yet
        engine_model(state, scene.model, replace(model, engine="head/2"), shelf)


def test_weights_of_other_records_are_refused(scene: Scene) -> None:
    """The weights of another datanet's optimum do not certify here, whatever is claimed of them."""
    payload = scene.registration()
    weights = scene.ledger.shelf.blob(payload.weights.hash)
    moved = weights[:-8] + (int.from_bytes(weights[-8:], "big", signed=True) + 2**24).to_bytes(8, "big", signed=True)
    error = scene.refusal(scene.who("developer"), replace(payload, weights=scene.put(moved)))
    assert error.reason is FALSE_CLAIM
    assert error.detail.startswith("gradient_too_large: The weights are not the optimum of exactly these records.")


def test_an_inverse_that_is_none_is_refused(scene: Scene) -> None:
    payload = scene.registration()
    inverse = scene.ledger.shelf.blob(payload.inverse.hash)
    moved = (int.from_bytes(inverse[:8], "big", signed=True) * 2).to_bytes(8, "big", signed=True) + inverse[8:]
    error = scene.refusal(scene.who("developer"), replace(payload, inverse=scene.put(moved)))
    assert error.reason is FALSE_CLAIM
    assert error.detail.startswith("inverse_not_certified: ")


@pytest.mark.parametrize("field", ["weights", "inverse"])
def test_files_of_another_size_are_refused(scene: Scene, field: str) -> None:
    payload = scene.registration()
    short = scene.put(scene.ledger.shelf.blob(getattr(payload, field).hash)[:-1])
    error = scene.refusal(scene.who("developer"), replace(payload, **{field: short}))
    assert error.reason is FALSE_CLAIM
    assert error.detail.startswith(f"{field}_malformed: ")


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"engine": "head/2"}, TransactionReason.ENGINE_INACTIVE, "the chain's engines are head/1"),
        ({"damping": DAMPING + 1}, TransactionReason.BAD_PAYLOAD, f"the datanet's dampings are {DAMPING}"),
        ({"snapshot_epoch": 1}, TransactionReason.STALE_SNAPSHOT, "epoch 2's is current"),
        ({"snapshot_epoch": 3}, TransactionReason.STALE_SNAPSHOT, "epoch 2's is current"),
        ({"datanet": ZERO_HASH}, TransactionReason.NOT_FOUND, "no datanet " + "00" * 32),
    ],
)
def test_a_registration_that_cannot_be_computed_makes_its_block_invalid(
    scene: Scene, changes: dict[str, Any], reason: TransactionReason, detail: str
) -> None:
    payload = scene.registration(**changes)
    scene.ledger.refuses(scene.who("developer"), payload, reason, detail)


def test_registering_takes_role_and_bond(scene: Scene) -> None:
    payload = scene.registration()
    scene.ledger.refuses(scene.who("nobody"), payload, TransactionReason.ROLE_REQUIRED, "the role developer")
    scene.ledger.do(scene.who("developer"), Unbond(amount_units=1))
    scene.ledger.refuses(scene.who("developer"), payload, TransactionReason.INSUFFICIENT_BOND, "1000 OPEN are needed")


def test_a_snapshot_is_old_enough_before_anything_is_computed_on_it() -> None:
    scene = committed_scene()
    scene.ledger.next_epoch()
    payload = scene.registration()
    first_height = scene.ledger.height + 1
    scene.ledger.refuses(
        scene.who("developer"),
        payload,
        TransactionReason.TOO_YOUNG,
        f"from height {first_height + PARAMETERS.claim_age_heights} on",
    )


def test_an_empty_snapshot_has_no_model() -> None:
    """In the epoch of the acceptance the snapshot is still empty."""
    scene = committed_scene()
    payload = scene.registration()
    early = accepted_scene()
    early.ledger.shelf.contents.update(scene.ledger.shelf.contents)
    early.ledger.refuses(
        early.who("developer"),
        replace(payload, snapshot_epoch=1),
        TransactionReason.CLAIM_UNCOMPUTABLE,
        "the snapshot has 0 records",
    )


def test_a_snapshot_larger_than_the_limit_has_no_model() -> None:
    scene = committed_scene(replace(PARAMETERS, snapshot_records=39))
    scene.ledger.refuses(
        scene.who("developer"),
        scene.registration(),
        TransactionReason.CLAIM_UNCOMPUTABLE,
        "the snapshot has 40 records",
    )


def test_work_is_metered_and_paid(scene: Scene) -> None:
    payload = scene.registration()
    work_macs = engine.certify_work(40, 6)
    assert work_macs < 10**6
    needed = scene.needed_fee_units(scene.who("developer"), payload, work_macs)
    assert needed >= PARAMETERS.fee_per_mega_mac_units
    scene.ledger.refuses(
        scene.who("developer"),
        payload,
        TransactionReason.FEE_TOO_LOW,
        f"{format_open(needed)} are needed",
        fee_units=needed - 1,
    )
    scene.ledger.do(scene.who("developer"), payload, fee_units=needed)


def test_reviewers_and_contributors_own_no_model() -> None:
    scene = committed_scene(replace(PARAMETERS, epoch_length_heights=100))
    for name, detail in (
        ("ann", "the account is a contributor here"),
        ("reviewer 1", "the account reviews this datanet"),
    ):
        who = scene.who(name)
        action = SetRoles(address=who.address, roles=31)
        proposal = scene.ledger.do(scene.operators[0], Propose(action=action)).transaction_id
        for operator in scene.operators[1:3]:
            scene.ledger.do(operator, CastBallot(proposal=proposal, is_yes=True))
        scene.ledger.do(who, Bond(amount_units=PARAMETERS.attributor_bond_units))
        scene.ledger.fails(who, scene.registration(), TransactionReason.CONFLICT_OF_INTEREST, detail)


def test_models_of_a_datanet_have_a_limit(scene: Scene) -> None:
    view = View(scene.ledger.state)
    datanet = DATANETS.need(view, scene.datanet)
    crowd = tuple(index.to_bytes(32, "big") for index in range(1, MOST_MODELS + 1))
    DATANETS.put(view, scene.datanet, replace(datanet, models=crowd))
    scene.ledger.overwrite(view)
    scene.ledger.fails(scene.who("developer"), scene.registration(), TransactionReason.TOO_MANY, "retire a model first")


# Certifying again.


def test_certifying_again_takes_the_new_snapshot_and_starts_the_gate_anew() -> None:
    scene = measured_scene()
    scene.accept(scene.contribute("ann", scene.record(1, 444, 444)))
    scene.ledger.next_epoch()
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    before = MODELS.need(scene.ledger.state, scene.model)
    payload = scene.registration(model=scene.model, price_units=3 * OPEN)
    scene.ledger.do(scene.who("developer"), payload)
    state = scene.ledger.state
    after = MODELS.need(state, scene.model)
    assert (after.snapshot_count, after.price_units, after.certified_epoch) == (41, 3 * OPEN, scene.ledger.epoch)
    assert (after.status, after.eligibility_bps, after.is_gate_on) == (ModelStatus.AWAITING_GATE, 0, False)
    assert GATES.get(state, scene.model) is None
    assert CONTENTS.get(state, before.weights) is None
    assert CONTENTS.need(state, after.weights).uses == 1
    assert DATANETS.need(state, scene.datanet).models == (scene.model,)
    assert scene.ledger.last(ModelChanged).what == "certified"


def test_only_the_owner_certifies_again_and_only_for_the_same_datanet() -> None:
    scene = measured_scene()
    other = scene.ledger.do(scene.who("curator"), datanet_payload(scene, name="other")).transaction_id
    scene.ledger.next_epoch()
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    payload = scene.registration(model=scene.model)
    scene.ledger.fails(scene.who("rival"), payload, TransactionReason.NOT_OWNER)
    scene.ledger.fails(
        scene.who("developer"),
        replace(payload, model=ZERO_HASH[:-1] + b"\1"),
        TransactionReason.NOT_FOUND,
        "no model " + "00" * 31 + "01",
    )
    view = View(scene.ledger.state)
    model = MODELS.need(view, scene.model)
    MODELS.put(view, scene.model, replace(model, datanet=other))
    scene.ledger.overwrite(view)
    scene.ledger.fails(
        scene.who("developer"), payload, TransactionReason.NOT_ADMISSIBLE, "a model stays with its datanet"
    )


def test_an_erased_file_is_not_registered(scene: Scene) -> None:
    payload = scene.registration()
    view = View(scene.ledger.state)
    erase(view, make_context(scene.ledger), payload.weights.hash)
    scene.ledger.overwrite(view)
    scene.ledger.fails(
        scene.who("developer"),
        payload,
        TransactionReason.BAD_CONTENT,
        f"{payload.weights.hash.hex()} was erased",
    )


# Measuring.


def test_a_measure_opens_the_model_and_sets_what_it_may_mint() -> None:
    scene = revealed_scene()
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    claim = scene.measure()
    points = 64
    assert claim.baseline == points // 2
    assert claim.is_gate_on
    assert claim.blocked, "somebody's wrong labels are kept out"
    scene.ledger.do(scene.who("attributor"), claim)
    model = MODELS.need(scene.ledger.state, scene.model)
    assert model.status is ModelStatus.ACTIVE
    assert model.is_gate_on
    assert model.eligibility_bps == (claim.correct - 32) * 10_000 // 32
    assert model.changed_height == scene.ledger.height
    assert GATES.need(scene.ledger.state, scene.model) == Gate(blocked=claim.blocked)
    assert scene.ledger.last(ModelChanged).what == "measured"


def test_the_gate_blocks_wrong_labels_more_than_right_ones() -> None:
    """Bob's every fifth label is wrong (positions 20, 25, 30, 35): the holdout finds them, no person did."""
    scene = revealed_scene()
    blocked = set(scene.measure().blocked)
    wrong = {20, 25, 30, 35}
    assert len(blocked & wrong) == 4
    assert len(blocked - wrong) <= 4


@pytest.mark.parametrize(
    "lie",
    [
        lambda claim: replace(claim, correct=claim.correct + 1),
        lambda claim: replace(claim, baseline=claim.baseline - 1),
        lambda claim: replace(claim, is_gate_on=False),
        lambda claim: replace(claim, blocked=claim.blocked[1:]),
        lambda claim: replace(claim, blocked=(*claim.blocked, 39)),
        lambda claim: replace(claim, blocked=claim.blocked[::-1]),
    ],
    ids=["one more correct", "baseline one less", "gate off", "one unblocked", "one more blocked", "another order"],
)
def test_a_false_measure_makes_its_block_invalid(lie: Any) -> None:
    scene = revealed_scene()
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    claim = scene.measure()
    detail = f"{claim.correct} correct, {claim.baseline} by constant answer, {len(claim.blocked)} blocked"
    scene.ledger.refuses(scene.who("attributor"), lie(claim), FALSE_CLAIM, detail)


def test_measuring_takes_role_bond_a_reveal_and_time() -> None:
    scene = registered_scene()
    claim = MeasureModel(model=scene.model, correct=0, baseline=0, is_gate_on=False, blocked=())
    attributor = scene.who("attributor")
    scene.ledger.refuses(scene.who("developer"), claim, TransactionReason.ROLE_REQUIRED, "the role attributor")
    scene.ledger.refuses(attributor, claim, TransactionReason.NOT_YET, "the reviewers have not revealed the holdout")
    scene = revealed_scene()
    first_height = scene.ledger.height + PARAMETERS.claim_age_heights
    scene.ledger.refuses(attributor, scene.measure(), TransactionReason.TOO_YOUNG, f"from height {first_height} on")
    scene.ledger.do(attributor, Unbond(amount_units=1))
    scene.ledger.refuses(attributor, scene.measure(), TransactionReason.INSUFFICIENT_BOND, "1000 OPEN are needed")
    unknown = replace(claim, model=ZERO_HASH)
    scene = revealed_scene()
    scene.ledger.refuses(attributor, unknown, TransactionReason.NOT_FOUND, "no model " + "00" * 32)


def test_a_model_is_measured_once() -> None:
    scene = measured_scene()
    claim = scene.measure()
    scene.ledger.refuses(
        scene.who("attributor"),
        claim,
        TransactionReason.WRONG_STATUS,
        "the model does not wait for its holdout",
    )


def test_a_holdout_that_was_committed_after_the_registration_measures_nothing() -> None:
    scene = revealed_scene()
    scene.ledger.wait(scene.ledger.parameters.claim_age_heights)
    model = MODELS.need(scene.ledger.state, scene.model)
    view, key = View(scene.ledger.state), scene.datanet + epoch_key(model.certified_epoch)
    revealed = REVEALED.need(view, key)
    REVEALED.put(view, key, replace(revealed, committed_height=model.changed_height + 1))
    scene.ledger.overwrite(view)
    scene.ledger.refuses(
        scene.who("attributor"),
        scene.measure(),
        TransactionReason.NOT_ADMISSIBLE,
        "the holdout was committed after the registration",
    )


def test_two_measures_in_one_block_leave_room_for_one() -> None:
    """What the first changed, the second is judged against."""
    scene = revealed_scene()
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    attributor = scene.who("attributor")
    nonce = scene.ledger.account(attributor).nonce
    candidates = [scene.ledger.sign(attributor, scene.measure(), nonce=nonce + index) for index in range(2)]
    refused = []
    executed = scene.ledger.add_block(*candidates, on_rejected=lambda _, error: refused.append(error.reason))
    assert len(executed.receipts) == 1
    assert refused == [TransactionReason.WRONG_STATUS]


def test_an_erased_point_leaves_the_holdout_without_measure() -> None:
    scene = revealed_scene()
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    claim = scene.measure()
    view = View(scene.ledger.state)
    point = REVEALED.need(view, scene.datanet + epoch_key(2)).records[0]
    erase(view, make_context(scene.ledger), point)
    scene.ledger.overwrite(view)
    scene.ledger.refuses(
        scene.who("attributor"),
        claim,
        TransactionReason.CLAIM_UNCOMPUTABLE,
        "a point of the holdout was erased",
    )


# Owner's orders.


def test_a_price_counts_for_coming_questions() -> None:
    scene = measured_scene()
    scene.ledger.do(scene.who("developer"), SetPrice(model=scene.model, price_units=20 * OPEN))
    assert MODELS.need(scene.ledger.state, scene.model).price_units == 20 * OPEN
    assert scene.ledger.last(ModelChanged).what == "priced"


def test_a_model_handed_over_pays_its_new_owner() -> None:
    scene = asked_scene()
    rival = scene.who("rival")
    scene.ledger.do(scene.who("developer"), TransferModel(model=scene.model, new_owner=rival.address))
    assert MODELS.need(scene.ledger.state, scene.model).owner == rival.address
    assert scene.ledger.last(ModelChanged).owner == rival.address
    before = scene.ledger.account(rival).balance_units
    scene.ledger.do(scene.who("attributor"), scene.answer(scene.question))
    assert scene.ledger.account(rival).balance_units == before + 10 * OPEN * 55 // 100


def test_only_a_developer_without_another_part_takes_a_model_over() -> None:
    scene = measured_scene()
    developer = scene.who("developer")
    payload = TransferModel(model=scene.model, new_owner=scene.who("nobody").address)
    scene.ledger.fails(developer, payload, TransactionReason.ROLE_REQUIRED, "the role developer")

    view = View(scene.ledger.state)
    for name in ("ann", "reviewer 1"):
        account = scene.ledger.account(scene.who(name))
        ACCOUNTS.put(view, scene.who(name).address, replace(account, roles=31))
    scene.ledger.overwrite(view)
    for name, detail in (
        ("ann", "the account is a contributor here"),
        ("reviewer 1", "the account reviews this datanet"),
    ):
        payload = TransferModel(model=scene.model, new_owner=scene.who(name).address)
        scene.ledger.fails(developer, payload, TransactionReason.CONFLICT_OF_INTEREST, detail)


def test_a_retired_model_answers_no_more_and_lets_its_files_go() -> None:
    scene = asked_scene()
    model = MODELS.need(scene.ledger.state, scene.model)
    answer = scene.answer(scene.question)
    scene.ledger.do(scene.who("developer"), RetireModel(model=scene.model))
    state = scene.ledger.state
    assert MODELS.need(state, scene.model) == replace(model, status=ModelStatus.RETIRED)
    assert DATANETS.need(state, scene.datanet).models == ()
    assert CONTENTS.get(state, model.weights) is CONTENTS.get(state, model.inverse) is None
    scene.ledger.refuses(scene.who("attributor"), answer, TransactionReason.WRONG_STATUS, "the model is retired")
    scene.ledger.do(scene.who("asker"), Refund(question=scene.question))


@pytest.mark.parametrize(
    "make",
    [
        lambda model, key: SetPrice(model=model, price_units=1),
        lambda model, key: TransferModel(model=model, new_owner=key.address),
        lambda model, key: RetireModel(model=model),
    ],
    ids=["price", "transfer", "retire"],
)
def test_only_the_owner_gives_orders_and_none_about_what_is_retired_or_unknown(make: Any) -> None:
    scene = measured_scene()
    rival, developer = scene.who("rival"), scene.who("developer")
    scene.ledger.fails(rival, make(scene.model, rival), TransactionReason.NOT_OWNER)
    scene.ledger.fails(developer, make(ZERO_HASH, rival), TransactionReason.NOT_FOUND, "no model " + "00" * 32)
    scene.ledger.do(developer, RetireModel(model=scene.model))
    scene.ledger.fails(developer, make(scene.model, rival), TransactionReason.WRONG_STATUS, "the model is retired")


def test_a_retired_model_is_not_certified_again() -> None:
    scene = measured_scene()
    scene.ledger.next_epoch()
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    scene.ledger.do(scene.who("developer"), RetireModel(model=scene.model))
    payload: RegisterModel = scene.registration(model=scene.model)
    scene.ledger.fails(scene.who("developer"), payload, TransactionReason.WRONG_STATUS, "the model is retired")
