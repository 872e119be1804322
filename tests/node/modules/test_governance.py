"""Governance: who may propose, what a quorum does, and which bounds no vote gets past."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from node.errors import TransactionReason
from node.modules.accounts import ACCOUNTS
from node.modules.attributions import QUESTIONS, Refund
from node.modules.bonds import Bond, Unbond
from node.modules.contents import CONTENTS, Content, ContentErased
from node.modules.datanets import RECORDS, Contribute, RecordStatus
from node.modules.escrow import ESCROWS, Escrow
from node.modules.governance import (
    MOST_VOTERS,
    PROPOSAL_EPOCHS,
    PROPOSALS,
    Action,
    AdmitObserver,
    AdmitValidator,
    CastBallot,
    EraseContent,
    Proposal,
    ProposalChanged,
    ProposalStatus,
    Propose,
    RemoveObserver,
    RemoveValidator,
    SetParameter,
    SetParameters,
    SetPower,
    SetRoles,
    SpendEscrow,
    Upgrade,
)
from node.modules.models import MODELS, ModelStatus
from node.modules.supply import SUPPLY
from node.modules.validators import GOVERNING, REGISTRY, UPCOMING, possession_digest
from node.primitives.codec import decode
from node.primitives.crypto import ZERO_HASH
from node.state.view import View
from node.types.genesis import MOST_OBSERVERS, Role
from node.types.parameters import DEAREST_BASE_UNITS, DEAREST_BYTE_UNITS, DEAREST_MEGA_MAC_UNITS
from node.types.validator import MOST_VALIDATORS, NodeEntry
from tests.factories import make_chain, make_key
from tests.node.ledger import FEE_UNITS, Ledger, make_ledger
from tests.node.modules.scenes import (
    OPEN,
    PARAMETERS,
    Scene,
    asked_scene,
    datanet_scene,
    genesis_scene,
    pending_scene,
)

LONG_EPOCH = replace(PARAMETERS, epoch_length_heights=100)
NODE = NodeEntry(name="newcomer", certificate=b"newcomer's certificate", endpoint="newcomer:1")


@pytest.fixture(name="scene")
def scene_fixture() -> Scene:
    return genesis_scene()


def propose(scene: Scene, action: Action, operator: int = 0) -> bytes:
    """An open proposal with one yes."""
    return scene.ledger.do(scene.operators[operator], Propose(action=action)).transaction_id


def vote(scene: Scene, proposal: bytes, *operators: int, is_yes: bool = True) -> None:
    for operator in operators:
        scene.ledger.do(scene.operators[operator], CastBallot(proposal=proposal, is_yes=is_yes))


def decide(scene: Scene, action: Action) -> ProposalChanged:
    """A proposal with three of four yes."""
    vote(scene, propose(scene, action), 1, 2)
    return scene.ledger.last(ProposalChanged)


def passes(scene: Scene, action: Action) -> None:
    decided = decide(scene, action)
    assert (decided.status, decided.failure) == (ProposalStatus.PASSED, "")


def fails_when_decided(scene: Scene, action: Action, reason: TransactionReason) -> None:
    """The vote counts, the action does not: everything it touched is as before."""
    proposal = propose(scene, action)
    vote(scene, proposal, 1)
    before = scene.ledger.content()
    registry, upcoming = REGISTRY.get(scene.ledger.state), UPCOMING.get(scene.ledger.state)
    vote(scene, proposal, 2)
    decided = scene.ledger.last(ProposalChanged)
    assert (decided.status, decided.failure) == (ProposalStatus.FAILED, reason.value)
    assert PROPOSALS.need(scene.ledger.state, proposal).status is ProposalStatus.FAILED
    assert (REGISTRY.get(scene.ledger.state), UPCOMING.get(scene.ledger.state)) == (registry, upcoming)
    changed = {key[:1] for key, data in scene.ledger.content().items() if before.get(key) != data}
    assert changed <= {bytes((prefix,)) for prefix in (0x10, 0x23, 0x61, 0x20, 0x26, 0x27)}


def admission(scene: Scene, name: str, **changes: Any) -> AdmitValidator:
    """The action by which somebody becomes a validator."""
    operator, key = scene.who(name), make_key(f"consensus of {name}")
    digest = possession_digest(scene.ledger.chain.genesis_hash, operator.address)
    action = AdmitValidator(
        operator=operator.address,
        consensus_key=key.public_key,
        possession=key.sign(digest),
        power=1,
        node=NODE,
    )
    return replace(action, **changes)


def bond(scene: Scene, name: str, units: int = PARAMETERS.validator_bond_units) -> None:
    scene.ledger.do(scene.who(name), Bond(amount_units=units))


def members(ledger: Ledger) -> dict[bytes, int]:
    """Power by operator, of the epoch that the next block belongs to."""
    return {each.operator: each.power for each in GOVERNING.get(ledger.state).validators.validators}


# Proposals and votes.


def test_a_proposal_opens_with_its_proposers_vote(scene: Scene) -> None:
    action = SetRoles(address=scene.who("nobody").address, roles=int(Role.CURATOR))
    proposal = propose(scene, action)
    operator = scene.operators[0].address
    assert PROPOSALS.get(scene.ledger.state, proposal) == Proposal(
        action=action, proposer=operator, epoch=1, yes=(operator,), no=(), status=ProposalStatus.OPEN
    )
    assert scene.ledger.events(ProposalChanged) == [
        ProposalChanged(proposal=proposal, voter=operator, is_yes=True, status=ProposalStatus.OPEN, failure="")
    ]


def test_more_than_two_thirds_of_the_power_decide(scene: Scene) -> None:
    nobody = scene.who("nobody")
    proposal = propose(scene, SetRoles(address=nobody.address, roles=5))
    vote(scene, proposal, 1)
    assert scene.ledger.account(nobody).roles == 0
    vote(scene, proposal, 2)
    assert scene.ledger.account(nobody).roles == 5
    scene.ledger.fails(
        scene.operators[3],
        CastBallot(proposal=proposal, is_yes=True),
        TransactionReason.WRONG_STATUS,
        "the proposal is passed",
    )


def test_two_thirds_exactly_decide_nothing() -> None:
    """Powers 4 of 6 are no quorum: 3·4 is not above 2·6."""
    chain = make_chain(powers=(4, 1, 1), parameters=PARAMETERS)
    ledger = make_ledger(chain)
    action = SetRoles(address=make_key("x").address, roles=1)
    proposal = ledger.do(chain.operators[0], Propose(action=action)).transaction_id
    assert PROPOSALS.need(ledger.state, proposal).status is ProposalStatus.OPEN
    ledger.do(chain.operators[1], CastBallot(proposal=proposal, is_yes=True))
    assert PROPOSALS.need(ledger.state, proposal).status is ProposalStatus.PASSED


def test_a_single_powerful_validator_decides_with_its_proposal() -> None:
    chain = make_chain(powers=(5, 1, 1), parameters=PARAMETERS)
    ledger = make_ledger(chain)
    ledger.do(chain.operators[0], Propose(action=SetRoles(address=make_key("x").address, roles=1)))
    assert ledger.last(ProposalChanged).status is ProposalStatus.PASSED
    assert ledger.account(make_key("x")).roles == 1


def test_a_quorum_of_no_rejects(scene: Scene) -> None:
    nobody = scene.who("nobody")
    proposal = propose(scene, SetRoles(address=nobody.address, roles=5))
    vote(scene, proposal, 1, 2, 3, is_yes=False)
    assert PROPOSALS.need(scene.ledger.state, proposal).status is ProposalStatus.REJECTED
    assert scene.ledger.account(nobody).roles == 0


def test_one_vote_each(scene: Scene) -> None:
    proposal = propose(scene, SetRoles(address=bytes(20), roles=1))
    for is_yes in (True, False):
        scene.ledger.fails(
            scene.operators[0],
            CastBallot(proposal=proposal, is_yes=is_yes),
            TransactionReason.ALREADY_DONE,
            "one vote each",
        )


def test_only_operators_of_the_executing_set_propose_and_vote(scene: Scene) -> None:
    detail = "validators' operators propose and vote"
    action = SetRoles(address=bytes(20), roles=1)
    scene.ledger.fails(scene.who("asker"), Propose(action=action), TransactionReason.NOT_VALIDATOR, detail)
    ballot = CastBallot(proposal=propose(scene, action), is_yes=True)
    scene.ledger.fails(scene.who("asker"), ballot, TransactionReason.NOT_VALIDATOR, detail)


def test_an_unknown_proposal_is_not_found(scene: Scene) -> None:
    scene.ledger.fails(
        scene.operators[0],
        CastBallot(proposal=ZERO_HASH, is_yes=True),
        TransactionReason.NOT_FOUND,
        "no proposal " + "00" * 32,
    )


def test_a_proposal_dies_after_its_epochs(scene: Scene) -> None:
    proposal = propose(scene, SetRoles(address=bytes(20), roles=1))
    while scene.ledger.epoch <= 1 + PROPOSAL_EPOCHS:
        scene.ledger.next_epoch()
    scene.ledger.fails(
        scene.operators[1],
        CastBallot(proposal=proposal, is_yes=True),
        TransactionReason.TOO_OLD,
        "propose it again",
    )


def test_a_proposal_lives_through_its_last_epoch(scene: Scene) -> None:
    proposal = propose(scene, SetRoles(address=bytes(20), roles=1))
    while scene.ledger.epoch < 1 + PROPOSAL_EPOCHS:
        scene.ledger.next_epoch()
    vote(scene, proposal, 1)


def test_every_operator_of_a_proposals_life_can_vote_on_it(scene: Scene) -> None:
    """Each epoch may have a hundred other validators: their votes stay readable."""
    proposal = propose(scene, SetRoles(address=bytes(20), roles=1))
    past = tuple(make_key(f"past {index}").address for index in range(MOST_VOTERS - 2))
    view = View(scene.ledger.state)
    open_proposal = PROPOSALS.need(view, proposal)
    PROPOSALS.put(view, proposal, replace(open_proposal, yes=(*open_proposal.yes, *past), no=(*past, bytes(20))))
    scene.ledger.overwrite(view)
    vote(scene, proposal, 1)
    stored = decode(Proposal, scene.ledger.content()[PROPOSALS.key(proposal)])
    assert stored.yes == (scene.operators[0].address, *past, scene.operators[1].address)
    assert len(stored.yes) == MOST_VOTERS == 9 * MOST_VALIDATORS


# Validators.


def test_an_admitted_validator_votes_from_the_next_epoch_on(scene: Scene) -> None:
    bond(scene, "asker")
    before = members(scene.ledger)
    passes(scene, admission(scene, "asker", power=3))
    assert members(scene.ledger) == before
    scene.ledger.next_epoch()
    assert members(scene.ledger) == {**before, scene.who("asker").address: 3}
    assert scene.ledger.tip.next_validator_set_hash == GOVERNING.get(scene.ledger.state).validators.hash()
    scene.ledger.do(scene.who("asker"), Propose(action=SetRoles(address=bytes(20), roles=1)))


def test_an_observer_that_becomes_a_validator_is_no_observer_any_more(scene: Scene) -> None:
    bond(scene, "asker")
    passes(scene, AdmitObserver(node=NODE))
    passes(scene, admission(scene, "asker"))
    registry = REGISTRY.get(scene.ledger.state)
    assert registry.observers == ()
    assert NODE in registry.nodes()


def test_admission_needs_the_bond(scene: Scene) -> None:
    bond(scene, "asker", PARAMETERS.validator_bond_units - 1)
    fails_when_decided(scene, admission(scene, "asker"), TransactionReason.INSUFFICIENT_BOND)


def test_admission_needs_the_keys_own_signature(scene: Scene) -> None:
    action = admission(scene, "asker", consensus_key=make_key("another").public_key)
    scene.ledger.fails(
        scene.operators[0],
        Propose(action=action),
        TransactionReason.BAD_SIGNATURE,
        "the consensus key's own signature",
    )


def test_an_operator_has_one_validator_and_a_key_one_holder() -> None:
    scene = genesis_scene(LONG_EPOCH)
    bond(scene, "asker")
    passes(scene, admission(scene, "asker"))
    fails_when_decided(scene, admission(scene, "asker"), TransactionReason.ALREADY_EXISTS)
    bond(scene, "nobody")
    key = make_key("consensus of asker")
    digest = possession_digest(scene.ledger.chain.genesis_hash, scene.who("nobody").address)
    twin = admission(scene, "nobody", consensus_key=key.public_key, possession=key.sign(digest))
    fails_when_decided(scene, twin, TransactionReason.ALREADY_EXISTS)


def test_a_validator_brings_a_node_of_its_own(scene: Scene) -> None:
    bond(scene, "asker")
    known = REGISTRY.get(scene.ledger.state).candidates[0].node
    fails_when_decided(scene, admission(scene, "asker", node=known), TransactionReason.NOT_ADMISSIBLE)


def test_a_removed_validator_votes_until_the_epochs_end_and_follows_then(scene: Scene) -> None:
    operator = scene.operators[3].address
    node = next(each.node for each in REGISTRY.get(scene.ledger.state).candidates if each.operator == operator)
    passes(scene, RemoveValidator(operator=operator))
    assert operator in members(scene.ledger)
    assert REGISTRY.get(scene.ledger.state).observers == (node,)
    scene.ledger.next_epoch()
    assert operator not in members(scene.ledger)
    action = Propose(action=SetRoles(address=bytes(20), roles=1))
    scene.ledger.fails(
        scene.operators[3], action, TransactionReason.NOT_VALIDATOR, "validators' operators propose and vote"
    )


def test_the_last_bonded_validators_cannot_be_removed() -> None:
    scene = genesis_scene(LONG_EPOCH)
    for operator in scene.operators[1:]:
        passes(scene, RemoveValidator(operator=operator.address))
    fails_when_decided(scene, RemoveValidator(operator=scene.operators[0].address), TransactionReason.NOT_ADMISSIBLE)


def test_a_new_power_counts_from_the_next_epoch_on(scene: Scene) -> None:
    operator = scene.operators[0].address
    passes(scene, SetPower(operator=operator, power=7))
    assert members(scene.ledger)[operator] == 1
    scene.ledger.next_epoch()
    assert members(scene.ledger)[operator] == 7
    # 7 of 10 alone are a quorum now.
    propose(scene, SetRoles(address=make_key("x").address, roles=1))
    assert scene.ledger.last(ProposalChanged).status is ProposalStatus.PASSED


def test_power_and_removal_of_nobody_fail(scene: Scene) -> None:
    nobody = scene.who("nobody").address
    fails_when_decided(scene, SetPower(operator=nobody, power=7), TransactionReason.NOT_FOUND)
    fails_when_decided(scene, RemoveValidator(operator=nobody), TransactionReason.NOT_FOUND)


def test_too_much_power_fails(scene: Scene) -> None:
    action = SetPower(operator=scene.operators[0].address, power=9_998)
    fails_when_decided(scene, action, TransactionReason.NOT_ADMISSIBLE)
    passes(scene, replace(action, power=9_997))


# Observers.


def test_observers_come_and_go_at_once(scene: Scene) -> None:
    passes(scene, AdmitObserver(node=NODE))
    assert REGISTRY.get(scene.ledger.state).observers == (NODE,)
    fails_when_decided(scene, AdmitObserver(node=NODE), TransactionReason.ALREADY_EXISTS)
    passes(scene, RemoveObserver(certificate=NODE.certificate))
    assert REGISTRY.get(scene.ledger.state).observers == ()
    fails_when_decided(scene, RemoveObserver(certificate=NODE.certificate), TransactionReason.NOT_FOUND)


def test_a_validators_node_is_no_observer_to_be_removed(scene: Scene) -> None:
    certificate = REGISTRY.get(scene.ledger.state).candidates[0].node.certificate
    fails_when_decided(scene, RemoveObserver(certificate=certificate), TransactionReason.NOT_FOUND)


def test_observers_have_a_limit(scene: Scene) -> None:
    view = View(scene.ledger.state)
    crowd = tuple(
        NodeEntry(name="o", certificate=b"observer %d" % index, endpoint="") for index in range(MOST_OBSERVERS)
    )
    REGISTRY.put(view, replace(REGISTRY.get(view), observers=crowd))
    scene.ledger.overwrite(view)
    fails_when_decided(scene, AdmitObserver(node=NODE), TransactionReason.TOO_MANY)


# Parameters, versions, roles.


def test_a_parameter_changes_at_the_epochs_end(scene: Scene) -> None:
    passes(scene, SetParameter(name="theta", value=60))
    assert scene.ledger.parameters.theta == PARAMETERS.theta
    assert UPCOMING.get(scene.ledger.state).parameters.theta == 60
    scene.ledger.next_epoch()
    assert scene.ledger.parameters == replace(PARAMETERS, theta=60)


def test_changes_of_one_epoch_add_up(scene: Scene) -> None:
    passes(scene, SetParameter(name="theta", value=60))
    passes(scene, SetParameter(name="sigma", value=100))
    scene.ledger.next_epoch()
    assert scene.ledger.parameters == replace(PARAMETERS, theta=60, sigma=100)


def test_a_new_epoch_length_counts_from_the_next_epoch_on(scene: Scene) -> None:
    passes(scene, SetParameter(name="epoch_length_heights", value=4))
    scene.ledger.next_epoch()
    assert scene.ledger.height == PARAMETERS.epoch_length_heights
    scene.ledger.next_epoch()
    assert scene.ledger.height == PARAMETERS.epoch_length_heights + 4


@pytest.mark.parametrize(
    ("name", "value", "detail"),
    [
        ("kappa_bps", 8_001, "Parameters.kappa_bps is in 0..8000"),
        ("epoch_length_heights", 3, "Parameters.epoch_length_heights is in 4..1000000"),
        ("fee_base_units", -1, "Parameters.fee_base_units is in 0..10000000000"),
        ("fee_base_units", 10 * OPEN + 1, "Parameters.fee_base_units is in 0..10000000000"),
        ("fee_base_units", 2**63, "Parameters.fee_base_units is in 0..10000000000"),
        ("fee_per_byte_units", 10**6 + 1, "Parameters.fee_per_byte_units is in 0..1000000"),
        ("fee_per_mega_mac_units", OPEN + 1, "Parameters.fee_per_mega_mac_units is in 0..1000000000"),
        ("validator_bond_units", 10**15 + 1, "Parameters.validator_bond_units is in 0..1000000000000000"),
        ("attributor_bond_units", 10**15 + 1, "Parameters.attributor_bond_units is in 0..1000000000000000"),
        ("record_bond_units", 10**15 + 1, "Parameters.record_bond_units is in 0..1000000000000000"),
        ("gravity", 1, "no parameter is named gravity"),
        ("hash", 1, "no parameter is named hash"),
        ("theta", 1_001, "Parameters.theta is in 0..1000"),
        ("beta_bps", 1_001, "the parts of a question's fee and the burn add up to 10000 bps"),
        ("mint_data_bps", 6_999, "the parts of what is minted add up to 10000 bps"),
        ("blob_size_bytes", 2**26 + 1, "Parameters.blob_size_bytes is in 1024..67108864"),
        ("block_size_bytes", 2**16, "a block takes at least one transaction of the largest size and work"),
    ],
)
def test_no_vote_gets_past_a_hard_bound(scene: Scene, name: str, value: int, detail: str) -> None:
    action = SetParameter(name=name, value=value)
    scene.ledger.fails(scene.operators[0], Propose(action=action), TransactionReason.NOT_ADMISSIBLE, detail)


def test_the_dearest_fees_can_still_be_voted_down_again(scene: Scene) -> None:
    """Bounds as they are, an operator with a few OPEN pays for the vote that undoes them."""
    names = ("fee_base_units", "fee_per_byte_units", "fee_per_mega_mac_units")
    dearest = (DEAREST_BASE_UNITS, DEAREST_BYTE_UNITS, DEAREST_MEGA_MAC_UNITS)
    changes = [SetParameter(name=name, value=value) for name, value in zip(names, dearest, strict=True)]
    passes(scene, SetParameters(changes=tuple(changes)))
    scene.ledger.next_epoch()
    undo = Propose(action=SetParameters(changes=tuple(replace(each, value=1) for each in changes)))
    needed_units = scene.needed_fee_units(scene.operators[0], undo, 0)
    assert needed_units < 11 * OPEN
    proposal = scene.ledger.do(scene.operators[0], undo, fee_units=needed_units).transaction_id
    for operator in scene.operators[1:3]:
        ballot = CastBallot(proposal=proposal, is_yes=True)
        scene.ledger.do(operator, ballot, fee_units=scene.needed_fee_units(operator, ballot, 0))
    scene.ledger.next_epoch()
    assert scene.ledger.parameters.fee_base_units == 1


def test_a_bond_that_no_quorum_has_locked_cannot_be_asked_for(scene: Scene) -> None:
    """One operator locks a unit more and has everybody asked for it: it would vote alone."""
    scene.ledger.do(scene.operators[3], Bond(amount_units=1))
    action = SetParameter(name="validator_bond_units", value=PARAMETERS.validator_bond_units + 1)
    fails_when_decided(scene, action, TransactionReason.NOT_ADMISSIBLE)
    both = SetParameters(changes=(action, SetParameter(name="theta", value=60)))
    fails_when_decided(scene, both, TransactionReason.NOT_ADMISSIBLE)
    scene.ledger.next_epoch()
    assert members(scene.ledger) == {each.address: 1 for each in scene.operators}


def test_a_bond_that_a_quorum_has_locked_leaves_out_who_has_not() -> None:
    scene = genesis_scene(replace(PARAMETERS, epoch_length_heights=20))
    scene.ledger.do_all([(operator, Bond(amount_units=1)) for operator in scene.operators[:3]])
    passes(scene, SetParameter(name="validator_bond_units", value=PARAMETERS.validator_bond_units + 1))
    scene.ledger.next_epoch()
    assert members(scene.ledger) == {each.address: 1 for each in scene.operators[:3]}


def test_what_a_higher_bond_counts_on_stays_locked_until_it_holds(scene: Scene) -> None:
    """Otherwise operators could take back, before the epoch ends, what made the vote admissible."""
    scene.ledger.do_all([(operator, Bond(amount_units=OPEN)) for operator in scene.operators])
    passes(scene, SetParameter(name="validator_bond_units", value=PARAMETERS.validator_bond_units + OPEN))
    scene.ledger.fails(
        scene.operators[0], Unbond(amount_units=1), TransactionReason.INSUFFICIENT_BOND, "10001 OPEN stay locked"
    )


def test_what_a_lower_bond_frees_stays_locked_until_it_holds(scene: Scene) -> None:
    passes(scene, SetParameter(name="validator_bond_units", value=PARAMETERS.validator_bond_units - OPEN))
    unbond = Unbond(amount_units=OPEN)
    scene.ledger.fails(scene.operators[0], unbond, TransactionReason.INSUFFICIENT_BOND, "10000 OPEN stay locked")
    scene.ledger.next_epoch()
    scene.ledger.do(scene.operators[0], unbond)


def test_a_lower_bond_is_admissible_whoever_is_bonded(scene: Scene) -> None:
    """It may be the only way back: here nobody has any bond left, and other parameters change all the same."""
    view = View(scene.ledger.state)
    for operator in scene.operators:
        ACCOUNTS.put(view, operator.address, replace(scene.ledger.account(operator), bond_units=0))
    scene.ledger.is_audited = False  # the bonds are gone
    scene.ledger.overwrite(view)
    passes(scene, SetParameter(name="validator_bond_units", value=1))
    passes(scene, SetParameter(name="theta", value=60))


@pytest.mark.parametrize(("beta_bps", "owner_bps"), [(199, 6_301), (3_001, 3_499)])
def test_the_burn_has_hard_bounds_even_when_the_shares_add_up(scene: Scene, beta_bps: int, owner_bps: int) -> None:
    changes = (SetParameter(name="beta_bps", value=beta_bps), SetParameter(name="owner_bps", value=owner_bps))
    scene.ledger.fails(
        scene.operators[0],
        Propose(action=SetParameters(changes=changes)),
        TransactionReason.NOT_ADMISSIBLE,
        "Parameters.beta_bps is in 200..3000",
    )


def test_shares_change_together_and_add_up_at_every_moment(scene: Scene) -> None:
    changes = (SetParameter(name="beta_bps", value=1_500), SetParameter(name="owner_bps", value=5_000))
    passes(scene, SetParameters(changes=changes))
    scene.ledger.next_epoch()
    assert scene.ledger.parameters == replace(PARAMETERS, beta_bps=1_500, owner_bps=5_000)
    unbalanced = SetParameters(changes=(changes[0], SetParameter(name="owner_bps", value=5_001)))
    scene.ledger.fails(
        scene.operators[0],
        Propose(action=unbalanced),
        TransactionReason.NOT_ADMISSIBLE,
        "the parts of a question's fee and the burn add up to 10000 bps",
    )


def test_a_proposal_that_no_longer_fits_fails_when_it_is_decided(scene: Scene) -> None:
    """Alone each is admissible; after the first the second would not add up."""
    first = SetParameters(
        changes=(SetParameter(name="beta_bps", value=1_500), SetParameter(name="owner_bps", value=5_000))
    )
    second = SetParameters(
        changes=(SetParameter(name="data_bps", value=2_600), SetParameter(name="owner_bps", value=5_400))
    )
    open_proposal = propose(scene, second)
    passes(scene, first)
    vote(scene, open_proposal, 1, 2)
    decided = scene.ledger.last(ProposalChanged)
    assert (decided.status, decided.failure) == (ProposalStatus.FAILED, "not_admissible")
    scene.ledger.next_epoch()
    assert scene.ledger.parameters == replace(PARAMETERS, beta_bps=1_500, owner_bps=5_000)


def test_versions_only_grow(scene: Scene) -> None:
    fails_when_decided(scene, Upgrade(version=1), TransactionReason.NOT_ADMISSIBLE)
    passes(scene, Upgrade(version=3))
    fails_when_decided(scene, Upgrade(version=2), TransactionReason.NOT_ADMISSIBLE)
    assert UPCOMING.get(scene.ledger.state).version == 3


def test_roles_are_all_that_is_named(scene: Scene) -> None:
    curator = scene.who("curator")
    passes(scene, SetRoles(address=curator.address, roles=int(Role.REVIEWER | Role.ATTRIBUTOR)))
    assert scene.ledger.account(curator).roles == Role.REVIEWER | Role.ATTRIBUTOR


# Escrow.


def test_an_escrow_pays_a_bounty_and_not_more_than_it_holds() -> None:
    scene = asked_scene()
    scene.ledger.do(scene.who("attributor"), scene.answer(scene.question))
    held = ESCROWS.need(scene.ledger.state, scene.datanet).balance_units
    assert held > 0
    ann = scene.who("ann").address
    fails_when_decided(
        scene,
        SpendEscrow(datanet=scene.datanet, recipient=ann, amount_units=held + 1),
        TransactionReason.INSUFFICIENT_BALANCE,
    )
    before = scene.ledger.account(ann).balance_units
    passes(scene, SpendEscrow(datanet=scene.datanet, recipient=ann, amount_units=held - 1))
    assert scene.ledger.account(ann).balance_units == before + held - 1
    assert ESCROWS.need(scene.ledger.state, scene.datanet) == Escrow(balance_units=1)


def test_an_unknown_datanets_escrow_is_empty() -> None:
    scene = datanet_scene()
    action = SpendEscrow(datanet=ZERO_HASH, recipient=bytes(20), amount_units=1)
    fails_when_decided(scene, action, TransactionReason.INSUFFICIENT_BALANCE)


# Erasure.


def test_erasing_a_record_retires_its_models_and_returns_its_bond() -> None:
    scene = asked_scene()
    content = scene.records[0]
    before = scene.ledger.account(scene.who("ann")).balance_units
    passes(scene, EraseContent(blob_hash=content, datanet=scene.datanet))
    state = scene.ledger.state
    assert RECORDS.need(state, scene.schema.id() + content).status is RecordStatus.ERASED
    assert MODELS.need(state, scene.model).status is ModelStatus.RETIRED
    assert CONTENTS.need(state, content) == Content(uses=0, erased_height=scene.ledger.height)
    assert scene.ledger.last(ContentErased) == ContentErased(content=content)
    assert scene.ledger.account(scene.who("ann")).balance_units == before + PARAMETERS.record_bond_units
    fails_when_decided(scene, EraseContent(blob_hash=content, datanet=scene.datanet), TransactionReason.ALREADY_DONE)


def test_erasing_a_record_under_review_returns_its_whole_bond() -> None:
    """Its contributor did not choose this, and escapes no rejection by it."""
    scene = pending_scene()
    before = scene.ledger.account(scene.who("ann")).balance_units
    passes(scene, EraseContent(blob_hash=scene.records[0], datanet=scene.datanet))
    assert scene.ledger.account(scene.who("ann")).balance_units == before + PARAMETERS.record_bond_units
    assert SUPPLY.get(scene.ledger.state).bond_burned_units == 0


def test_erasing_what_is_no_record_leaves_a_tombstone_that_nothing_can_use() -> None:
    scene = pending_scene()
    unknown = scene.record(1, 1, 2)
    passes(scene, EraseContent(blob_hash=unknown.hash, datanet=ZERO_HASH))
    assert CONTENTS.need(scene.ledger.state, unknown.hash).uses == 0

    scene.ledger.fails(
        scene.who("ann"),
        Contribute(datanet=scene.datanet, records=(unknown,)),
        TransactionReason.BAD_CONTENT,
        f"{unknown.hash.hex()} was erased",
    )


def test_an_erased_questions_fee_goes_back_after_its_time() -> None:
    scene = asked_scene()
    question = QUESTIONS.need(scene.ledger.state, scene.question)
    passes(scene, EraseContent(blob_hash=question.query, datanet=ZERO_HASH))
    due_height = question.asked_height + PARAMETERS.question_timeout_heights
    scene.ledger.wait_for_height(due_height)
    before = scene.ledger.account(scene.who("asker")).balance_units
    scene.ledger.do(scene.who("asker"), Refund(question=scene.question))
    assert scene.ledger.account(scene.who("asker")).balance_units == before + 10 * OPEN - FEE_UNITS


def test_erasing_the_bytes_does_not_keep_the_record_from_being_taken_out_later() -> None:
    """The same bytes may be records of two forms, and governance may erase them before it names the datanet."""
    scene = asked_scene()
    content = scene.records[0]
    passes(scene, EraseContent(blob_hash=content, datanet=ZERO_HASH))
    erased_height = CONTENTS.need(scene.ledger.state, content).erased_height
    assert MODELS.need(scene.ledger.state, scene.model).status is ModelStatus.ACTIVE
    passes(scene, EraseContent(blob_hash=content, datanet=scene.datanet))
    assert MODELS.need(scene.ledger.state, scene.model).status is ModelStatus.RETIRED
    assert RECORDS.need(scene.ledger.state, scene.schema.id() + content).status is RecordStatus.ERASED
    assert CONTENTS.need(scene.ledger.state, content).erased_height == erased_height


@pytest.mark.parametrize("field", ["weights", "inverse"])
def test_erasing_a_models_file_retires_the_model(field: str) -> None:
    """Nobody could compute with it any more: its open questions are refunded, not left to time out."""
    scene = asked_scene()
    content = getattr(MODELS.need(scene.ledger.state, scene.model), field)
    passes(scene, EraseContent(blob_hash=content, datanet=scene.datanet))
    state = scene.ledger.state
    assert MODELS.need(state, scene.model).status is ModelStatus.RETIRED
    assert CONTENTS.need(state, content) == Content(uses=0, erased_height=scene.ledger.height)
    scene.ledger.do(scene.who("asker"), Refund(question=scene.question))


def test_erasing_a_models_file_before_naming_its_datanet_still_lets_the_model_be_retired() -> None:
    scene = asked_scene()
    content = MODELS.need(scene.ledger.state, scene.model).weights
    passes(scene, EraseContent(blob_hash=content, datanet=ZERO_HASH))
    passes(scene, EraseContent(blob_hash=content, datanet=scene.datanet))
    assert MODELS.need(scene.ledger.state, scene.model).status is ModelStatus.RETIRED


def test_an_action_that_fails_half_way_leaves_nothing_of_it() -> None:
    """The candidate would be gone before its node finds no place among the observers."""
    scene = genesis_scene()
    view = View(scene.ledger.state)
    crowd = tuple(
        NodeEntry(name="o", certificate=b"observer %d" % index, endpoint="") for index in range(MOST_OBSERVERS)
    )
    REGISTRY.put(view, replace(REGISTRY.get(view), observers=crowd))
    scene.ledger.overwrite(view)
    fails_when_decided(scene, RemoveValidator(operator=scene.operators[3].address), TransactionReason.TOO_MANY)
    assert REGISTRY.get(scene.ledger.state).candidate(scene.operators[3].address) is not None
