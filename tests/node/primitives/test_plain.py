"""Plain values: what JSON shows of a wire object says everything, and nothing else is read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from node.modules.governance import Propose, SetParameter, SetParameters, SetRoles
from node.primitives.plain import from_plain, tag_name, to_plain
from node.types.genesis import Genesis, GenesisAccount
from tests.factories import make_chain
from tests.node.samples import sample, wire_classes

WIRE = wire_classes()


@pytest.mark.parametrize("name", WIRE)
def test_every_wire_object_comes_back_through_json(name: str) -> None:
    value = sample(WIRE[name])
    assert from_plain(WIRE[name], json.loads(json.dumps(to_plain(value)))) == value


def test_a_genesis_file_comes_back() -> None:
    genesis = make_chain().genesis
    again = from_plain(Genesis, json.loads(json.dumps(to_plain(genesis))))
    assert again == genesis
    assert again.hash() == genesis.hash()


def test_people_see_addresses_amounts_and_names() -> None:
    account = GenesisAccount(address=bytes(20), balance_units=2**62, bond_units=0, roles=3)
    assert to_plain(account) == {
        "address": "open1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq35zt7g",
        "balance_units": "4611686018427387904",
        "bond_units": "0",
        "roles": 3,
    }
    changes = Propose(action=SetParameters(changes=(SetParameter(name="theta", value=60),)))
    assert to_plain(changes) == {
        "action": {"type": "set_parameters", "changes": [{"type": "set_parameter", "name": "theta", "value": 60}]}
    }


def test_a_member_of_a_union_is_read_where_its_class_is_known_with_and_without_its_type() -> None:
    value = SetParameter(name="theta", value=60)
    assert from_plain(SetParameter, {"name": "theta", "value": 60}) == value
    assert from_plain(SetParameter, {"type": "set_parameter", "name": "theta", "value": 60}) == value
    with pytest.raises(ValueError, match=r"SetParameter\.type is set_parameter"):
        from_plain(SetParameter, {"type": "set_roles", "name": "theta", "value": 60})


def test_names_of_kinds_are_words_with_underscores() -> None:
    assert [tag_name(each) for each in (SetRoles, SetParameters, Propose)] == ["set_roles", "set_parameters", "propose"]


def account(**changes: object) -> dict[str, object]:
    return {**to_plain(sample(GenesisAccount)), **changes}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("wire_class", "plain", "sentence"),
    [
        (GenesisAccount, [], "the value is an object"),
        (GenesisAccount, {}, "GenesisAccount lacks address"),
        (GenesisAccount, account(colour=1), "GenesisAccount has no field colour: it has address, balance_units"),
        (GenesisAccount, account(address="ab" * 20), r"GenesisAccount\.address: .* is not bech32m"),
        (GenesisAccount, account(address=5), r"GenesisAccount\.address is a string"),
        (GenesisAccount, account(balance_units="-1"), r"GenesisAccount\.balance_units is in 0\.\.9223372036854775807"),
        (GenesisAccount, account(balance_units="1.5"), r"GenesisAccount\.balance_units is a whole number"),
        (GenesisAccount, account(balance_units=1.5), r"GenesisAccount\.balance_units is a whole number"),
        (GenesisAccount, account(balance_units=True), r"GenesisAccount\.balance_units is a whole number"),
        (GenesisAccount, account(balance_units=None), r"GenesisAccount\.balance_units is a whole number"),
        (GenesisAccount, account(balance_units="9" * 21), r"GenesisAccount\.balance_units is a whole number"),
        (GenesisAccount, account(roles=32), r"GenesisAccount\.roles is in 0\.\.31"),
        (Propose, {"action": {"type": "nothing"}}, r"Propose\.action\.type is one of admit_validator, "),
        (Propose, {"action": {"type": []}}, r"Propose\.action\.type is one of admit_validator, "),
        (Propose, {"action": {"type": None}}, r"Propose\.action\.type is one of admit_validator, "),
        (Propose, {"action": {}}, r"Propose\.action\.type is one of admit_validator, "),
        (Propose, {"action": "set_roles"}, r"Propose\.action is an object"),
        (SetParameter, {"name": "", "value": 1}, r"SetParameter\.name has a length in 1\.\.64"),
        (SetParameter, {"name": "\ud800", "value": 1}, r"SetParameter\.name is Unicode text"),
        (SetParameter, {"name": "a", "value": 2**64}, r"SetParameter\.value is in -9223372036854775808\.\."),
        (SetParameter, {"name": "a", "value": -(2**63) - 1}, r"SetParameter\.value is in -9223372036854775808\.\."),
        (SetParameters, {"changes": {}}, r"SetParameters\.changes is a list"),
        (SetParameters, {"changes": []}, r"SetParameters\.changes has a length in 1\.\.64"),
        (SetParameters, {"changes": [{"name": "a"}]}, r"SetParameters\.changes\[0\] lacks value"),
    ],
)
def test_other_values_are_refused_by_the_name_of_the_field(wire_class: Any, plain: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        from_plain(wire_class, plain)


@pytest.mark.parametrize("text", ["xyz", "abc", "ab cd", "0x0x00", "00" * 31, "00" * 33])
def test_bytes_are_hexadecimal_of_their_length(text: str) -> None:
    plain = to_plain(sample(WIRE["EraseQuestion"]))
    with pytest.raises(ValueError, match=r"EraseQuestion\.question (is hexadecimal|has a length in 32\.\.32)"):
        from_plain(WIRE["EraseQuestion"], {**plain, "question": text})  # type: ignore[dict-item]


def test_bytes_may_begin_with_0x() -> None:
    value = from_plain(WIRE["EraseQuestion"], {"question": "0x" + "AB" * 32})
    assert to_plain(value) == {"question": "ab" * 32}


def test_an_enums_name_is_read_whatever_its_case() -> None:
    plain = to_plain(sample(WIRE["Review"]))
    assert isinstance(plain, dict)
    assert plain["reason"] == "not_genuine"
    assert from_plain(WIRE["Review"], {**plain, "reason": "NOT_GENUINE"}) == sample(WIRE["Review"])
    with pytest.raises(ValueError, match=r"Review\.reason is one of none, wrong_labels, not_genuine"):
        from_plain(WIRE["Review"], {**plain, "reason": "boring"})
    with pytest.raises(ValueError, match=r"Review\.is_accepted is true or false"):
        from_plain(WIRE["Review"], {**plain, "is_accepted": 1})
    with pytest.raises(ValueError, match="a rejection has a reason, an acceptance has none"):
        from_plain(WIRE["Review"], {**plain, "is_accepted": True})
