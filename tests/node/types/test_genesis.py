"""Genesis, parameters and sets: parts that contradict each other are refused before a chain starts on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consensus.types import ValidatorSet as ConsensusSet
from node.errors import MessageReason, MessageRejected
from node.primitives.codec import bound_of, decode, encode, wire_fields
from node.types.genesis import EngineEntry, Genesis, GenesisAccount, Role
from node.types.parameters import Parameters
from node.types.validator import Validator, ValidatorSet, node_id_of, sorted_validator_set
from tests.factories import make_chain, make_key

GENESIS = make_chain().genesis


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"accounts": GENESIS.accounts[::-1]}, "genesis accounts are distinct and sorted by address"),
        ({"accounts": GENESIS.accounts[:1] * 2}, "genesis accounts are distinct and sorted by address"),
        ({"engines": GENESIS.engines * 2}, "engines are distinct and sorted by name"),
        (
            {"engines": tuple(EngineEntry(name=name, tables_hash=bytes(32)) for name in "ba")},
            "engines are distinct and sorted by name",
        ),
        (
            {
                "accounts": (
                    *GENESIS.accounts,
                    GenesisAccount(address=b"\xff" * 20, balance_units=2**62, bond_units=0, roles=0),
                )
            },
            "the supply leaves no room for minting",
        ),
        ({"parameters": Parameters(validator_bond_units=2**60)}, "the operator of node 0 has no sufficient bond"),
        ({"accounts": ()}, "the operator of node 0 has no sufficient bond"),
        ({"validators": GENESIS.validators[:1] * 2}, "each validator has an operator of its own"),
        ({"observers": (GENESIS.validators[0].node,)}, "each node has a certificate of its own"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(GENESIS, **changes)


def test_a_consensus_key_stands_for_one_validator() -> None:
    first, second, *others = GENESIS.validators
    with pytest.raises(ValueError, match="validators are distinct and sorted by consensus id"):
        replace(GENESIS, validators=(first, replace(second, consensus_key=first.consensus_key), *others))


def test_contradictions_are_refused_from_the_wire_too() -> None:
    data = encode(GENESIS)
    assert decode(Genesis, data) == GENESIS
    observers = (GENESIS.validators[0].node,)
    forged = object.__new__(Genesis)
    for name, _ in wire_fields(Genesis):
        object.__setattr__(forged, name, observers if name == "observers" else getattr(GENESIS, name))
    with pytest.raises(MessageRejected) as caught:
        decode(Genesis, encode(forged))
    assert caught.value.reason is MessageReason.OUT_OF_RANGE
    assert caught.value.detail == "Genesis: each node has a certificate of its own"


def test_the_supply_is_what_stands_in_the_accounts() -> None:
    expected = sum(account.balance_units + account.bond_units for account in GENESIS.accounts)
    assert GENESIS.supply_units() == expected > 0


def test_every_field_is_part_of_the_chains_identity() -> None:
    others = [
        replace(GENESIS, chain_name="other"),
        replace(GENESIS, version=2),
        replace(GENESIS, time_ms=1),
        replace(GENESIS, parameters=Parameters(theta=51)),
        replace(GENESIS, engines=()),
        replace(GENESIS, validators=GENESIS.validators[:3]),
        replace(GENESIS, accounts=(replace(GENESIS.accounts[0], roles=31), *GENESIS.accounts[1:])),
        replace(GENESIS, observers=(replace(GENESIS.validators[0].node, certificate=b"observer"),)),
    ]
    assert len({each.hash() for each in others} | {GENESIS.hash()}) == len(others) + 1


def test_roles_are_the_bits_of_a_sum() -> None:
    assert [int(role) for role in Role] == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"beta_bps": 1_001}, "the parts of a question's fee and the burn add up to 10000 bps"),
        ({"mint_data_bps": 6_999}, "the parts of what is minted add up to 10000 bps"),
        ({"transaction_size_bytes": 2**20, "block_size_bytes": 2**19}, "a block takes at least one transaction"),
        ({"transaction_work_macs": 10**12, "block_work_macs": 10**11}, "a block takes at least one transaction"),
    ],
)
def test_parameters_make_a_whole(changes: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Parameters(**changes)


def test_every_parameter_has_hard_bounds_and_its_default_is_inside() -> None:
    for name, hint in wire_fields(Parameters):
        bound = bound_of(hint)
        assert bound is not None, name
        assert getattr(Parameters(), name) in bound, name


def test_the_bounds_of_the_economy_are_hard() -> None:
    hints = dict(wire_fields(Parameters))
    assert bound_of(hints["beta_bps"]) == range(200, 3_001)
    assert bound_of(hints["kappa_bps"]) == range(8_001)
    assert (Parameters().beta_bps, Parameters().kappa_bps, Parameters().mint_decay_bps) == (1_000, 5_000, 66)
    assert (Parameters().theta, Parameters().sigma, Parameters().top_clusters) == (50, 200, 16)


def test_parameters_have_a_hash_of_their_own() -> None:
    assert Parameters().hash() != Parameters(theta=51).hash()


def make_validator(word: str, power: int = 1) -> Validator:
    return Validator(operator=make_key(word).address, consensus_key=make_key(f"{word} key").public_key, power=power)


def test_a_set_is_sorted_by_consensus_id_and_known_by_it() -> None:
    members = tuple(make_validator(word, index + 1) for index, word in enumerate("abcd"))
    made = sorted_validator_set(members)
    assert [each.id for each in made.validators] == sorted(each.id for each in members)
    assert made.by_id() == {each.id: each for each in members}
    assert made == sorted_validator_set(members[::-1])
    assert isinstance(made.for_consensus(), ConsensusSet)
    assert {each.id: each.power for each in made.for_consensus().validators} == {
        each.id: each.power for each in members
    }
    assert made.hash() != sorted_validator_set(members[:3]).hash()


def test_a_set_is_refused_when_unsorted_double_or_too_powerful() -> None:
    members = sorted_validator_set((make_validator("a"), make_validator("b"))).validators
    for wrong in (members[::-1], members[:1] * 2):
        with pytest.raises(ValueError, match="validators are distinct and sorted by consensus id"):
            ValidatorSet(validators=wrong)
    with pytest.raises(ValueError, match="total voting power is at most 10000"):
        sorted_validator_set((make_validator("a", 9_999), make_validator("b", 2)))
    assert sorted_validator_set((make_validator("a", 9_999), make_validator("b", 1)))


def test_a_node_is_known_by_its_certificate() -> None:
    assert node_id_of(b"certificate") != node_id_of(b"another")
    assert len(node_id_of(b"certificate")) == 20
