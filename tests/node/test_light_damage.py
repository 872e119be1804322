"""Any byte of any proof changed, any two proofs mixed: refused, or still true for exactly what was asked."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product

import pytest

import node.light as light
from node.light import LightClient, LightRefused, Place, check_account, check_transaction
from tests.node.light_chain import (
    ALONE,
    FAILED,
    STRANGER,
    TRANSFER,
    Played,
    account_parts,
    block_parts,
    flipped,
    followed,
    handover_parts,
    play,
    shown,
    tip,
)

pytestmark = pytest.mark.slow

SEED = 11


@pytest.fixture(name="played", scope="module")
def played_fixture() -> Played:
    return play()


Parts = tuple[bytes | None, ...]
Check = Callable[[Parts], object]


def question(played: Played, kind: str, which: int) -> tuple[Parts, Check]:
    """A true proof as a list of byte strings, and its check: what it returns is what was asked."""
    if kind == "handover":
        header, finality, governing, nodes = handover_parts(played, which + 1)
        start = followed(played)

        def follow(parts: Parts) -> object:
            client = LightClient(start.genesis_hash, {number: start.epochs[number] for number in range(1, which + 2)})
            client.follow(*parts[:3], parts[3:])  # type: ignore[arg-type]
            return client.epochs

        return (header, finality, governing, *nodes), follow
    if kind == "block":
        client, height = followed(played), (2, 9, 17, 27)[which]
        return block_parts(played, height), lambda parts: facts(client.check_final(*parts[:2]), height)  # type: ignore[arg-type]
    if kind == "transaction":
        number = (ALONE, TRANSFER, TRANSFER - 1, FAILED)[which]
        final, wanted, data, place, receipt, receipt_place = shown(played, number)
        count = len(place.siblings)

        def check(parts: Parts) -> object:
            where = Place(place.index, place.count, parts[2 : 2 + count])  # type: ignore[arg-type]
            receipt_where = Place(receipt_place.index, receipt_place.count, parts[2 + count :])  # type: ignore[arg-type]
            return check_transaction(final, wanted, parts[0], where, parts[1], receipt_where)  # type: ignore[arg-type]

        return (data, receipt, *place.siblings, *receipt_place.siblings), check
    people = [*(key.address for key in played.chain.users), STRANGER]
    address, value, nodes = account_parts(played, people[which])
    newest = tip(played, followed(played))
    return (value, *nodes), lambda parts: check_account(newest, address, parts[0], [node or b"" for node in parts[1:]])


def facts(final: light.Final, height: int) -> object:
    """Who signed is no part of what was asked, as long as they are enough."""
    assert 3 * final.power > 2 * final.total_power
    return None if final.header.height != height else (final.header, final.block_id)


def outcome(check: Check, parts: Parts) -> object:
    """What was shown, or None when it was refused; any other error is a bug."""
    try:
        return check(parts)
    except LightRefused:
        return None


KINDS = ("handover", "block", "transaction", "account")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "which"), tuple(product(KINDS, range(4))))
def test_a_change_of_any_byte_is_refused_or_changes_nothing_of_what_was_asked(
    played: Played, kind: str, which: int
) -> None:
    parts, check = question(played, kind, which)
    truth = check(parts)
    draw = random.Random(f"{SEED} {kind} {which}")
    print(f"seed {SEED}: {sum(len(part or b'') for part in parts)} bytes")
    for place, part in enumerate(parts):
        for at in range(len(part or b"")):
            changed = (*parts[:place], flipped(part or b"", at, draw.randrange(1, 256)), *parts[place + 1 :])
            assert outcome(check, changed) in (None, truth), f"part {place}, byte {at}"


@pytest.mark.parametrize("kind", KINDS)
def test_any_mixture_of_two_true_proofs_is_refused_or_changes_nothing_of_what_was_asked(
    played: Played, kind: str
) -> None:
    for which, other in product(range(4), range(4)):
        parts, check = question(played, kind, which)
        others, _ = question(played, kind, other)
        truth = check(parts)
        for place in range(min(len(parts), len(others))):
            for mixture in (
                (*parts[:place], others[place], *parts[place + 1 :]),
                (*parts[:place], *others[place:]),
                (*others[:place], *parts[place:]),
                (*parts[:place], *parts[place + 1 :]),
                (*parts[:place], parts[place], *parts[place:]),
            ):
                assert outcome(check, padded(mixture, parts)) in (None, truth), f"{which} with {other}, part {place}"


def padded(mixture: Parts, parts: Parts) -> Parts:
    """A mixture never has fewer parts than a check looks at."""
    return mixture if len(mixture) >= 3 else (*mixture, *parts[len(mixture) :])


@pytest.mark.parametrize("kind", KINDS)
def test_random_damage_is_refused_or_changes_nothing_of_what_was_asked(played: Played, kind: str) -> None:
    draw = random.Random(f"{SEED} {kind}")
    print(f"seed {SEED}")
    parts, check = question(played, kind, 1)
    truth = check(parts)
    for _ in range(150):
        place = draw.randrange(len(parts))
        part = parts[place] or b"\0"
        start, stop = sorted(draw.randrange(len(part) + 1) for _ in range(2))
        changed = part[:start] + draw.randbytes(draw.choice((0, stop - start, 3))) + part[stop:]
        assert outcome(check, (*parts[:place], changed, *parts[place + 1 :])) in (None, truth)
