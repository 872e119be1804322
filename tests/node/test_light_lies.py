"""Everything a lying server can do to a light client, by the reason it is refused for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

import node.light as light
from consensus.types import Certificate, VoteKind, VoteSignature
from node.light import (
    Epoch,
    LightClient,
    LightReason,
    LightRefused,
    Place,
    check_account,
    check_state,
    check_transaction,
)
from node.modules.accounts import Account
from node.modules.validators import GOVERNING
from node.primitives.codec import decode, encode
from node.primitives.crypto import PrivateKey, Tag, tagged_hash
from node.types.block import FinalityProof
from tests.factories import make_key
from tests.node.light_chain import (
    ALONE,
    EPOCH_LENGTH_HEIGHTS,
    FAILED,
    STRANGER,
    TRANSFER,
    Played,
    account_parts,
    block_parts,
    certify,
    flipped,
    followed,
    handover,
    handover_parts,
    header_at,
    new_client,
    play,
    quorum,
    shown,
    tip,
)

R = LightReason
Lie = Callable[[Played], object]
LIES: dict[str, tuple[LightReason, Lie]] = {}
FIRST_OF_SECOND = EPOCH_LENGTH_HEIGHTS + 1


def lie(reason: LightReason) -> Callable[[Lie], Lie]:
    """Names a lie by its function."""

    def register(told: Lie) -> Lie:
        LIES[told.__name__] = (reason, told)
        return told

    return register


@pytest.fixture(name="played", scope="module")
def played_fixture() -> Played:
    return play()


# Bytes.


def read(played: Played, data: bytes) -> None:
    new_client(played).check_final(data, certify(played, header_at(played, 1)))


def header_bytes(played: Played) -> bytes:
    return encode(header_at(played, 1))


NO_HEADERS = {
    "nothing": b"",
    "a map": b"\x81\x01\x02",
    "nil": b"\xc0",
    "a number below zero": b"\xff",
    "a claim of four billion items": b"\xdd\xff\xff\xff\xff",
    "a claim of four billion bytes": b"\xc6\xff\xff\xff\xff\x01",
    "a thousand arrays in each other": b"\x91" * 1000 + b"\x01",
    "text that is none": b"\xa1\xff",
    "an array that ends early": b"\x9f\x01",
}


@pytest.mark.parametrize("what", NO_HEADERS)
def test_bytes_that_are_no_header_are_refused(played: Played, what: str) -> None:
    refuses(R.MALFORMED, lambda _: read(played, NO_HEADERS[what]), played)


@lie(R.MALFORMED)
def a_byte_too_many(played: Played) -> None:
    read(played, header_bytes(played) + b"\x01")


@lie(R.MALFORMED)
def a_byte_too_few(played: Played) -> None:
    read(played, header_bytes(played)[:-1])


@lie(R.MALFORMED)
def an_integer_in_a_longer_form(played: Played) -> None:
    assert header_bytes(played)[:2] == b"\x9f\x01"
    read(played, b"\x9f\xcc\x01" + header_bytes(played)[2:])


@lie(R.MALFORMED)
def a_shape_of_something_else(played: Played) -> None:
    read(played, encode(played.chain.genesis.parameters))


@lie(R.MALFORMED)
def a_genesis_that_hashes_right_and_is_none(_: Played) -> None:
    LightClient.from_genesis(b"\x01", tagged_hash(Tag.GENESIS, b"\x01"))


@lie(R.TOO_LARGE)
def bytes_without_end(played: Played) -> None:
    read(played, bytes(light.LARGEST_PROOF_SIZE_BYTES + 1))


@lie(R.TOO_LARGE)
def headers_without_end(played: Played) -> None:
    headers = (light.decode(header_bytes(played), light.HEADER),) * 1025
    certificate = ((3, 1, 1, bytes(32)), ((bytes(20), bytes(64)),))
    new_client(played).check_final(header_bytes(played), light.pack((headers, certificate)))


@lie(R.TOO_LARGE)
def signatures_without_end(played: Played) -> None:
    certificate = ((3, 1, 1, bytes(32)), ((bytes(20), bytes(64)),) * 101)
    new_client(played).check_final(header_bytes(played), light.pack(((), certificate)))


@lie(R.TOO_LARGE)
def a_path_without_end(played: Played) -> None:
    account_of(played, nodes=(b"\x01",) * 66)


# Headers.


def forge(played: Played, at_height: int, **changes: Any) -> None:
    """A block that never was, signed by a real quorum."""
    header = replace(header_at(played, at_height), **changes)
    followed(played).check_final(encode(header), certify(played, header))


@lie(R.WRONG_VERSION)
def a_later_protocol_version(played: Played) -> None:
    forge(played, 1, version=2)


@lie(R.WRONG_CHAIN)
def a_header_of_another_chain(played: Played) -> None:
    forge(played, 1, genesis_hash=bytes(32))


@lie(R.WRONG_CHAIN)
def the_genesis_of_another_chain(played: Played) -> None:
    LightClient.from_genesis(encode(played.chain.genesis), bytes(32))


@lie(R.WRONG_EPOCH)
def a_height_after_its_epoch(played: Played) -> None:
    forge(played, 1, height=FIRST_OF_SECOND)


@lie(R.WRONG_EPOCH)
def a_height_before_its_epoch(played: Played) -> None:
    forge(played, FIRST_OF_SECOND, height=EPOCH_LENGTH_HEIGHTS)


@lie(R.UNKNOWN_EPOCH)
def old_validators_who_go_on(played: Played) -> None:
    """The first epoch's keys were bought later: they make no later epoch."""
    client = new_client(played)
    header = replace(header_at(played, FIRST_OF_SECOND), validator_set_hash=client.epochs[1].set_hash)
    client.check_final(encode(header), certify(played, header))


@lie(R.UNKNOWN_EPOCH)
def a_block_before_the_trusted_start(played: Played) -> None:
    header, _, governing, nodes = handover_parts(played, 2)
    last = handover(played, 2).header
    client = LightClient.from_block(last.height, last.id(), header, governing, nodes)
    client.check_final(*block_parts(played, 1))


@lie(R.WRONG_SET)
def a_header_with_other_validators(played: Played) -> None:
    forge(played, 1, validator_set_hash=header_at(played, FIRST_OF_SECOND).validator_set_hash)


@lie(R.STALE)
def an_old_block_as_the_newest(played: Played) -> None:
    client = followed(played)
    tip(played, client)
    client.check_final(*block_parts(played, played.height - 1), is_latest=True)


# Chains of headers.


def lead(played: Played, at_height: int, **changes: Any) -> None:
    """From a block through its child, which is changed, to a certificate of that."""
    header, child = header_at(played, at_height), replace(header_at(played, at_height + 1), **changes)
    followed(played).check_final(encode(header), certify(played, header, above=(child,)))


def test_a_child_leads_to_its_parent(played: Played) -> None:
    lead(played, 1)


@lie(R.NOT_CHAINED)
def a_child_of_another_block(played: Played) -> None:
    lead(played, 1, parent_id=header_at(played, 2).id())


@lie(R.NOT_CHAINED)
def a_child_at_another_height(played: Played) -> None:
    lead(played, 1, height=3)


@lie(R.WRONG_EPOCH)
def a_child_in_the_next_epoch(played: Played) -> None:
    lead(played, EPOCH_LENGTH_HEIGHTS)


@lie(R.WRONG_EPOCH)
def a_child_that_says_another_epoch(played: Played) -> None:
    lead(played, 1, epoch=2)


@lie(R.WRONG_SET)
def a_child_with_other_validators(played: Played) -> None:
    lead(played, 1, validator_set_hash=bytes(32))


# Certificates.


def certified(played: Played, signers: Sequence[PrivateKey] | None = None, **terms: Any) -> None:
    header = header_at(played, 1)
    new_client(played).check_final(encode(header), certify(played, header, signers, **terms))


def recertified(played: Played, change: Callable[[tuple[VoteSignature, ...]], Sequence[VoteSignature]]) -> None:
    header = header_at(played, 1)
    proof = decode(FinalityProof, certify(played, header))
    old = proof.certificate
    changed = Certificate(statement=old.statement, signatures=tuple(change(old.signatures)))
    new_client(played).check_final(encode(header), encode(replace(proof, certificate=changed)))


def test_a_true_certificate_is_believed(played: Played) -> None:
    certified(played)
    recertified(played, lambda signatures: signatures)


@lie(R.WRONG_KIND)
def a_notarization(played: Played) -> None:
    certified(played, kind=VoteKind.NOTARIZE)


@lie(R.WRONG_EPOCH)
def a_certificate_of_another_epoch(played: Played) -> None:
    certified(played, epoch=2)


@lie(R.WRONG_BLOCK)
def a_certificate_of_another_block(played: Played) -> None:
    new_client(played).check_final(header_bytes(played), certify(played, header_at(played, 2)))


@lie(R.BAD_SIGNATURE)
def a_certificate_of_another_chain(played: Played) -> None:
    certified(played, genesis_hash=bytes(32))


@lie(R.BAD_SIGNATURE)
def a_notarization_that_says_it_is_a_finalization(played: Played) -> None:
    header = header_at(played, 1)
    proof = decode(FinalityProof, certify(played, header, kind=VoteKind.NOTARIZE))
    statement = replace(proof.certificate.statement, kind=VoteKind.FINALIZE)
    changed = replace(proof, certificate=replace(proof.certificate, statement=statement))
    new_client(played).check_final(encode(header), encode(changed))


@lie(R.BAD_SIGNATURE)
def one_signature_for_another(played: Played) -> None:
    recertified(played, lambda given: [replace(each, signature=given[0].signature) for each in given])


@lie(R.TOO_LITTLE_POWER)
def half_the_power(played: Played) -> None:
    certified(played, quorum(played)[:2])


@lie(R.TOO_LITTLE_POWER)
def nobody(played: Played) -> None:
    recertified_raw(played, ())


@lie(R.TOO_LITTLE_POWER)
def two_thirds_exactly(played: Played) -> None:
    keys = sorted(quorum(played), key=lambda key: key.address)
    epoch = Epoch(1, 1, tuple((bytes(20), key.public_key, 1) for key in keys))
    header = replace(header_at(played, 1), validator_set_hash=epoch.set_hash)
    client = LightClient(played.chain.genesis_hash, {1: epoch})
    client.check_final(encode(header), certify(played, header, keys))
    client.check_final(encode(header), certify(played, header, keys[:2]))


@lie(R.DOUBLE_VALIDATOR)
def one_validator_twice(played: Played) -> None:
    recertified(played, lambda given: (given[0], given[0], given[1]))


@lie(R.DOUBLE_VALIDATOR)
def validators_out_of_order(played: Played) -> None:
    recertified(played, lambda given: given[::-1])


@lie(R.UNKNOWN_VALIDATOR)
def a_stranger_signs(played: Played) -> None:
    certified(played, [*quorum(played), make_key("stranger")])


@lie(R.UNKNOWN_VALIDATOR)
def somebody_signs_who_has_left(played: Played) -> None:
    height = 1 + 3 * EPOCH_LENGTH_HEIGHTS
    header = header_at(played, height)
    followed(played).check_final(encode(header), certify(played, header, played.chain.consensus_keys))


@lie(R.UNKNOWN_VALIDATOR)
def a_key_signs_that_was_rotated_away(played: Played) -> None:
    header = header_at(played, 1 + 2 * EPOCH_LENGTH_HEIGHTS)
    signers = [*quorum(played), make_key("joiner's")]
    followed(played).check_final(encode(header), certify(played, header, signers))


def recertified_raw(played: Played, signatures: tuple[Any, ...]) -> None:
    header = header_at(played, 1)
    statement = (3, 1, header.view, header.id())
    new_client(played).check_final(encode(header), light.pack(((), (statement, signatures))))


# From epoch to epoch.


@lie(R.WRONG_EPOCH)
def an_epoch_followed_twice(played: Played) -> None:
    followed(played).follow(*handover_parts(played, 1))


@lie(R.WRONG_EPOCH)
def an_epoch_left_out(played: Played) -> None:
    new_client(played).follow(*handover_parts(played, 2))


@lie(R.FALSE_STATE)
def a_handover_to_others(played: Played) -> None:
    header, finality, _, nodes = handover_parts(played, 1)
    new_client(played).follow(header, finality, handover_parts(played, 2)[2], nodes)


@lie(R.WRONG_SET)
def a_header_that_promises_others_than_its_state(played: Played) -> None:
    found = handover(played, 1)
    header = replace(found.header, next_validator_set_hash=bytes(32))
    new_client(played).follow(encode(header), certify(played, header), found.governing, found.proof_nodes)


@lie(R.NOT_EPOCH_END)
def an_epoch_that_ends_in_its_middle(played: Played) -> None:
    client, (governing, nodes) = followed(played), governing_at_tip(played)
    client.follow(*block_parts(played, played.height), governing, nodes)


@lie(R.NOT_EPOCH_END)
def a_start_in_the_middle_of_an_epoch(played: Played) -> None:
    header = header_at(played, played.height)
    LightClient.from_block(played.height, header.id(), encode(header), *governing_at_tip(played))


@lie(R.WRONG_BLOCK)
def a_start_at_another_height(played: Played) -> None:
    header, _, governing, nodes = handover_parts(played, 1)
    LightClient.from_block(7, handover(played, 1).header.id(), header, governing, nodes)


@lie(R.WRONG_BLOCK)
def a_start_at_another_block(played: Played) -> None:
    header, _, governing, nodes = handover_parts(played, 1)
    LightClient.from_block(8, bytes(32), header, governing, nodes)


def governing_at_tip(played: Played) -> tuple[bytes, tuple[bytes, ...]]:
    """What the state inside an epoch says, with its true proof: this epoch's validators, not the next one's."""
    state, key = played.replica.state, GOVERNING.table.key(b"")
    value = state.read_bytes(key)
    assert value is not None
    return value, state.prove(key).nodes


# Transactions.


def mixed(played: Played, *others: int, of: int = TRANSFER, by: int = TRANSFER - 1) -> None:
    """One transaction's proof with parts of another's."""
    given, other = shown(played, of), shown(played, by)
    for part in others:
        given[part] = other[part]
    check_transaction(*given)


FINAL, ID, BYTES, PLACE, RECEIPT, RECEIPT_PLACE = range(6)


@lie(R.WRONG_TRANSACTION)
def another_transaction(played: Played) -> None:
    mixed(played, BYTES, PLACE, RECEIPT, RECEIPT_PLACE)


@lie(R.WRONG_RECEIPT)
def anothers_receipt(played: Played) -> None:
    mixed(played, RECEIPT, RECEIPT_PLACE)


@lie(R.NOT_INCLUDED)
def a_transaction_of_another_block(played: Played) -> None:
    mixed(played, FINAL, by=FAILED)


@lie(R.NOT_INCLUDED)
def a_transaction_at_anothers_place(played: Played) -> None:
    mixed(played, PLACE)


@lie(R.NOT_INCLUDED)
def a_receipt_at_anothers_place(played: Played) -> None:
    mixed(played, RECEIPT_PLACE)


@lie(R.NOT_INCLUDED)
def a_failure_that_is_shown_as_a_success(played: Played) -> None:
    given = shown(played, FAILED)
    fields = light.decode(given[RECEIPT], light.RECEIPT)
    given[RECEIPT] = light.pack((fields[0], "", *fields[2:]))
    check_transaction(*given)


@lie(R.NOT_INCLUDED)
def a_transaction_nobody_sent(played: Played) -> None:
    given = shown(played, ALONE)
    given[BYTES] = flipped(given[BYTES], len(given[BYTES]) - 1)  # the signature: the id does not cover it
    check_transaction(*given)


@lie(R.NOT_INCLUDED)
def a_place_outside_the_list(played: Played) -> None:
    given = shown(played, ALONE)
    given[PLACE] = Place(1, 1, ())
    check_transaction(*given)


@lie(R.NOT_INCLUDED)
def a_list_longer_than_any(played: Played) -> None:
    given = shown(played, ALONE)
    given[PLACE] = Place(0, 2**60, ())
    check_transaction(*given)


@lie(R.NOT_INCLUDED)
def more_siblings_than_levels(played: Played) -> None:
    given = shown(played, ALONE)
    given[PLACE] = Place(0, 1, (bytes(32),))
    check_transaction(*given)


# State.


def account_of(played: Played, address: bytes | None = None, **changes: Any) -> None:
    """The second user's account, or another's, with changes, at the tip."""
    given = account_parts(played, address or played.chain.users[1].address)
    values = dict(zip(("address", "value", "nodes"), given, strict=True)) | changes
    check_account(tip(played, followed(played)), **values)


@lie(R.FALSE_STATE)
def a_richer_account(played: Played) -> None:
    value = encode(Account(balance_units=10**17, bond_units=0, nonce=0, public_key=b"", roles=0))
    account_of(played, value=value)


@lie(R.FALSE_STATE)
def an_account_that_is_hidden(played: Played) -> None:
    account_of(played, value=None)


@lie(R.FALSE_STATE)
def an_account_that_is_hidden_behind_another_path(played: Played) -> None:
    account_of(played, value=None, nodes=account_parts(played, STRANGER)[2])


@lie(R.FALSE_STATE)
def an_account_that_is_hidden_behind_a_short_path(played: Played) -> None:
    account_of(played, value=None, nodes=account_parts(played, played.chain.users[1].address)[2][:-1])


@lie(R.FALSE_STATE)
def an_account_that_is_hidden_in_an_empty_state(played: Played) -> None:
    account_of(played, value=None, nodes=())


@lie(R.FALSE_STATE)
def an_account_that_is_made_up(played: Played) -> None:
    account_of(played, STRANGER, value=account_parts(played, played.chain.users[1].address)[1])


@lie(R.FALSE_STATE)
def anothers_account(played: Played) -> None:
    _, value, nodes = account_parts(played, played.chain.users[2].address)
    account_of(played, value=value, nodes=nodes)


@lie(R.FALSE_STATE)
def an_account_in_another_blocks_state(played: Played) -> None:
    final = followed(played).check_final(*block_parts(played, played.height - 1))
    check_account(final, *account_parts(played, played.chain.users[1].address))


@lie(R.FALSE_STATE)
def a_path_with_more_after_its_leaf(played: Played) -> None:
    nodes = account_parts(played, played.chain.users[1].address)[2]
    account_of(played, nodes=(*nodes, nodes[-1]))


@lie(R.FALSE_STATE)
def a_node_that_is_none(played: Played) -> None:
    root = light.hashlib.sha256(b"\x02").digest()
    check_state(root, b"key", None, (b"\x02",))


# All of them.


def refuses(reason: LightReason, told: Lie, played: Played) -> None:
    with pytest.raises(LightRefused) as refused:
        told(played)
    assert refused.value.reason is reason
    assert str(refused.value).startswith(f"{reason.value}: {reason.sentence}")


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_refused_for_what_it_is(played: Played, name: str) -> None:
    refuses(*LIES[name], played)


def test_every_reason_is_a_word_with_a_sentence_and_has_its_lie() -> None:
    assert {reason for reason, _ in LIES.values()} == set(LightReason)
    for reason in LightReason:
        assert reason.value == reason.name.lower()
        assert reason.sentence.endswith(".")


def test_what_was_refused_left_the_client_as_it_was(played: Played) -> None:
    client = followed(played)
    tip(played, client)
    before = (dict(client.epochs), client.newest_height)
    header, finality, governing, nodes = handover_parts(played, 2)
    for parts in ((header, finality, governing, nodes[:-1]), (header, flipped(finality, -1), governing, nodes)):
        with pytest.raises(LightRefused):
            client.follow(*parts)
    assert (client.epochs, client.newest_height) == before
