"""Registers: what was seen is what is replaced."""

from __future__ import annotations

import pytest

from node.errors import MessageRejected, TransactionReason
from node.modules.registers import (
    LARGEST_VALUE_SIZE_BYTES,
    MOST_WRITERS,
    REGISTERS,
    CreateRegister,
    Register,
    RegisterChanged,
    SetRegister,
    register_key,
)
from node.primitives.codec import decode, encode
from node.primitives.crypto import PrivateKey
from tests.factories import make_key
from tests.node.modules.scenes import Scene, genesis_scene


@pytest.fixture(name="scene")
def scene_fixture() -> Scene:
    return genesis_scene()


def register_of(scene: Scene, owner: PrivateKey, name: str = "current model") -> Register | None:
    return REGISTERS.get(scene.ledger.state, register_key(owner.address, name))


def create(*writers: bytes, name: str = "current model", value: bytes = b"first") -> CreateRegister:
    return CreateRegister(name=name, writers=tuple(sorted(writers)), value=value)


def set_to(owner: PrivateKey, expected_version: int, value: bytes, name: str = "current model") -> SetRegister:
    return SetRegister(owner=owner.address, name=name, expected_version=expected_version, value=value)


def test_register_is_created_at_version_0_and_each_set_counts_one_up(scene: Scene) -> None:
    owner, writer = scene.who("developer"), scene.who("asker")
    scene.ledger.do(owner, create(writer.address))
    created = scene.ledger.height
    expected = Register(writers=(writer.address,), version=0, value=b"first", set_height=created)
    assert register_of(scene, owner) == expected
    scene.ledger.do(writer, set_to(owner, 0, b"second"))
    scene.ledger.do(owner, set_to(owner, 1, b""))
    assert register_of(scene, owner) == Register(
        writers=(writer.address,), version=2, value=b"", set_height=created + 2
    )
    assert [
        (each.owner, each.name, each.writer, each.version, each.value) for each in scene.ledger.events(RegisterChanged)
    ] == [
        (owner.address, "current model", owner.address, 0, b"first"),
        (owner.address, "current model", writer.address, 1, b"second"),
        (owner.address, "current model", owner.address, 2, b""),
    ]


def test_of_two_that_replace_the_same_version_in_one_block_the_second_fails(scene: Scene) -> None:
    owner, writer = scene.who("developer"), scene.who("asker")
    scene.ledger.do(owner, create(writer.address))
    first = scene.ledger.sign(owner, set_to(owner, 0, b"mine"))
    second = scene.ledger.sign(writer, set_to(owner, 0, b"yours"))
    receipts = {receipt.transaction_id: receipt for receipt in scene.ledger.add_block(first, second).receipts}
    outcomes = sorted(receipts[each.id].failure for each in (first, second))
    assert outcomes == ["", "stale_register"]
    register = register_of(scene, owner)
    assert register is not None
    assert (register.version, register.value) == (1, b"yours" if receipts[first.id].failure else b"mine")


@pytest.mark.parametrize("expected_version", [0, 2, 2**48 - 1])
def test_set_that_names_another_version_fails_and_says_the_current_one(scene: Scene, expected_version: int) -> None:
    owner = scene.who("developer")
    scene.ledger.do(owner, create())
    scene.ledger.do(owner, set_to(owner, 0, b"second"))
    payload = set_to(owner, expected_version, b"third")
    scene.ledger.fails(owner, payload, TransactionReason.STALE_REGISTER, "the version is 1")


def test_only_owner_and_writers_set_a_register(scene: Scene) -> None:
    owner = scene.who("developer")
    scene.ledger.do(owner, create(scene.who("asker").address))
    scene.ledger.fails(scene.who("nobody"), set_to(owner, 0, b"mine"), TransactionReason.NOT_WRITER)
    scene.ledger.do(scene.who("asker"), set_to(owner, 0, b"ours"))


def test_register_that_was_never_created_is_not_found(scene: Scene) -> None:
    owner = scene.who("developer")
    scene.ledger.do(owner, create())
    key = register_key(owner.address, "other")
    payload = set_to(owner, 0, b"", name="other")
    scene.ledger.fails(owner, payload, TransactionReason.NOT_FOUND, f"no register {key.hex()[:64]}")


def test_name_is_taken_once_by_each_owner(scene: Scene) -> None:
    owner, other = scene.who("developer"), scene.who("asker")
    scene.ledger.do(owner, create())
    scene.ledger.fails(owner, create(), TransactionReason.ALREADY_EXISTS, "the register current model")
    scene.ledger.do(other, create(value=b"another"))
    scene.ledger.do(owner, create(name="current model 2"))
    register = register_of(scene, other)
    assert register is not None
    assert register.value == b"another"


def test_writers_are_distinct_and_sorted(scene: Scene) -> None:
    owner = scene.who("developer")
    low, high = sorted((scene.who("asker").address, scene.who("nobody").address))
    for writers in ((high, low), (low, low)):
        payload = CreateRegister(name="n", writers=writers, value=b"")
        scene.ledger.fails(owner, payload, TransactionReason.NOT_ADMISSIBLE, "writers are distinct and sorted")
    assert register_of(scene, owner, "n") is None


def test_sizes_are_bounded() -> None:
    writers = tuple(sorted(make_key(f"writer {number}").address for number in range(MOST_WRITERS + 1)))
    largest = CreateRegister(name="n" * 64, writers=writers[:-1], value=bytes(LARGEST_VALUE_SIZE_BYTES))
    assert decode(CreateRegister, encode(largest)) == largest
    too_large = {
        "malformed: 17 exceeds": CreateRegister(name="n", writers=writers, value=b""),
        "out_of_range: CreateRegister.name has 1..64 items": CreateRegister(name="n" * 65, writers=(), value=b""),
        "out_of_range: CreateRegister.name": CreateRegister(name="", writers=(), value=b""),
        "out_of_range: CreateRegister.value has 0..64 items": CreateRegister(name="n", writers=(), value=bytes(65)),
    }
    for words, payload in too_large.items():
        with pytest.raises(MessageRejected, match=words):
            decode(CreateRegister, encode(payload))
