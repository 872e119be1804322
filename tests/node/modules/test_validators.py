"""The registry, consensus keys, and what governs the next epoch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.errors import TransactionReason, TransactionRejected
from node.modules.accounts import ACCOUNTS
from node.modules.validators import (
    GOVERNING,
    PAST_SETS,
    REGISTRY,
    ConsensusKeyRotated,
    RotateConsensusKey,
    demote,
    epoch_key,
    possession_digest,
    put_candidates,
    validator_set_of,
)
from node.primitives.crypto import PrivateKey
from node.state.view import View
from node.types.validator import LARGEST_POWER, NodeEntry
from tests.factories import make_key
from tests.node.modules.scenes import PARAMETERS, Scene, genesis_scene


@pytest.fixture(name="scene")
def scene_fixture() -> Scene:
    return genesis_scene()


def rotation(scene: Scene, operator: PrivateKey, key: PrivateKey) -> RotateConsensusKey:
    """The payload by which an operator takes a new consensus key."""
    digest = possession_digest(scene.ledger.chain.genesis_hash, operator.address)
    return RotateConsensusKey(new_consensus_key=key.public_key, possession=key.sign(digest))


def keys_of(scene: Scene) -> set[bytes]:
    return {each.consensus_key for each in GOVERNING.get(scene.ledger.state).validators.validators}


def test_a_new_consensus_key_votes_from_the_next_epoch_on(scene: Scene) -> None:
    operator, key = scene.operators[0], make_key("new consensus key")
    old = scene.ledger.chain.consensus_keys[0].public_key
    scene.ledger.do(operator, rotation(scene, operator, key))
    assert scene.ledger.events(ConsensusKeyRotated) == [
        ConsensusKeyRotated(operator=operator.address, consensus_key=key.public_key)
    ]
    before = keys_of(scene)
    assert old in before
    scene.ledger.next_epoch()
    assert keys_of(scene) == before - {old} | {key.public_key}


def test_only_an_operator_has_a_consensus_key(scene: Scene) -> None:
    payload = rotation(scene, scene.who("asker"), make_key("new consensus key"))
    scene.ledger.fails(scene.who("asker"), payload, TransactionReason.NOT_VALIDATOR)


def test_the_new_key_has_to_agree(scene: Scene) -> None:
    payload = rotation(scene, scene.operators[1], make_key("new consensus key"))
    scene.ledger.fails(
        scene.operators[0], payload, TransactionReason.BAD_SIGNATURE, "the consensus key's own signature"
    )


def test_a_key_that_somebody_uses_or_used_is_refused(scene: Scene) -> None:
    """Evidence names keys: one key never stands for two validators while evidence is accepted."""
    first, second = scene.operators[:2]
    old, new = scene.ledger.chain.consensus_keys[0], make_key("new consensus key")
    detail = "the consensus key is in use"
    for key in scene.ledger.chain.consensus_keys[:2]:
        scene.ledger.fails(first, rotation(scene, first, key), TransactionReason.ALREADY_EXISTS, detail)
    scene.ledger.do(first, rotation(scene, first, new))
    scene.ledger.fails(second, rotation(scene, second, new), TransactionReason.ALREADY_EXISTS, detail)
    for _ in range(PARAMETERS.evidence_epochs):
        scene.ledger.next_epoch()
        scene.ledger.fails(second, rotation(scene, second, old), TransactionReason.ALREADY_EXISTS, detail)
    scene.ledger.next_epoch()
    scene.ledger.do(second, rotation(scene, second, old))


def test_past_sets_are_kept_as_long_as_evidence_is_accepted(scene: Scene) -> None:
    first = GOVERNING.get(scene.ledger.state).validators
    for epoch in range(2, PARAMETERS.evidence_epochs + 5):
        scene.ledger.next_epoch()
        known = [each for each in range(1, epoch) if PAST_SETS.get(scene.ledger.state, epoch_key(each)) is not None]
        assert known == list(range(max(1, epoch - PARAMETERS.evidence_epochs - 1), epoch))
        assert validator_set_of(scene.ledger.state, epoch) == first
    assert validator_set_of(scene.ledger.state, 1) is None


def test_a_validator_without_its_bond_is_left_out_of_the_next_epoch(scene: Scene) -> None:
    operator = scene.operators[0]
    view = View(scene.ledger.state)
    account = scene.ledger.account(operator)
    ACCOUNTS.put(view, operator.address, replace(account, bond_units=account.bond_units - 1))
    scene.ledger.is_audited = False  # one unit is gone
    scene.ledger.overwrite(view)
    scene.ledger.next_epoch()
    members = GOVERNING.get(scene.ledger.state).validators.validators
    assert {each.operator for each in members} == {each.address for each in scene.operators[1:]}


def test_when_those_bonded_are_no_quorum_the_registry_votes_on(scene: Scene) -> None:
    """Evidence may cost a bonded quorum its majority after a vote: two of four do not take the chain over."""
    view = View(scene.ledger.state)
    for operator in scene.operators[:2]:
        account = scene.ledger.account(operator)
        ACCOUNTS.put(view, operator.address, replace(account, bond_units=account.bond_units - 1))
    scene.ledger.is_audited = False  # two units are gone
    scene.ledger.overwrite(view)
    before = GOVERNING.get(scene.ledger.state).validators
    scene.ledger.next_epoch()
    assert GOVERNING.get(scene.ledger.state).validators == before


def test_whoever_was_punished_is_out_even_when_those_bonded_are_no_quorum(scene: Scene) -> None:
    view = View(scene.ledger.state)
    demote(view, scene.operators[0].address)
    account = scene.ledger.account(scene.operators[1])
    ACCOUNTS.put(view, scene.operators[1].address, replace(account, bond_units=account.bond_units - 1))
    scene.ledger.is_audited = False  # one unit is gone
    scene.ledger.overwrite(view)
    scene.ledger.next_epoch()
    voters = {each.operator for each in GOVERNING.get(scene.ledger.state).validators.validators}
    assert voters == {each.address for each in scene.operators[1:]}


def test_when_nobody_is_bonded_the_registry_votes_on(scene: Scene) -> None:
    view = View(scene.ledger.state)
    for operator in scene.operators:
        ACCOUNTS.put(view, operator.address, replace(scene.ledger.account(operator), bond_units=0))
    scene.ledger.is_audited = False
    scene.ledger.overwrite(view)
    before = GOVERNING.get(scene.ledger.state).validators
    scene.ledger.next_epoch()
    assert GOVERNING.get(scene.ledger.state).validators == before


def test_candidates_must_keep_a_bonded_quorum_distinct_and_within_bounds(scene: Scene) -> None:
    view = View(scene.ledger.state)
    registry = REGISTRY.get(view)
    first, *others = registry.candidates
    poor = replace(first, operator=make_key("poor").address, consensus_key=make_key("k").public_key)
    elsewhere = NodeEntry(name="n", certificate=b"another certificate", endpoint="")
    cases = {
        "it would leave no quorum of bonded validators": (replace(poor, power=2, node=elsewhere), *others),
        f"total power is at most {LARGEST_POWER}": (replace(first, power=LARGEST_POWER), *others),
        "a consensus key is registered twice": (replace(first, consensus_key=others[0].consensus_key), *others),
        "a node is registered twice": (replace(first, node=others[0].node), *others),
    }
    for problem, candidates in cases.items():
        with pytest.raises(TransactionRejected) as found:
            put_candidates(view, candidates)
        assert (found.value.reason, found.value.detail) == (TransactionReason.NOT_ADMISSIBLE, problem)
        assert REGISTRY.get(view) == registry


def test_a_demoted_validators_node_follows_as_an_observer_and_the_last_one_stays(scene: Scene) -> None:
    view = View(scene.ledger.state)
    candidates = {each.operator: each for each in REGISTRY.get(view).candidates}
    for operator in scene.operators:
        demote(view, operator.address)
    last = scene.operators[-1].address
    assert [each.operator for each in REGISTRY.get(view).candidates] == [last]
    assert set(REGISTRY.get(view).observers) == {each.node for address, each in candidates.items() if address != last}
    demote(view, make_key("nobody at all").address)
    assert len(REGISTRY.get(view).candidates) == 1
