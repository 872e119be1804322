"""One block: what makes it invalid, what it commits to, and that every node gets the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from node.errors import BlockReason, BlockRejected, TransactionReason
from node.execution.block import execute_block
from node.execution.transaction import Candidate
from node.modules.accounts import ACCOUNTS, Transfer, Transferred
from node.modules.attributions import Ask
from node.modules.context import BlobPending, BlobRef, ResultPending
from node.modules.governance import CastBallot, Propose, SetParameter, Upgrade
from node.modules.models import MODELS
from node.modules.supply import SUPPLY
from node.modules.validators import GOVERNING
from node.primitives.codec import encode
from node.primitives.merkle import merkle_root
from node.state.view import View
from node.types.block import PROTOCOL_VERSION, Block
from node.types.receipt import Receipt
from tests.factories import RICH_UNITS, make_chain
from tests.node.ledger import FEE_UNITS, Ledger, Shelf, make_ledger
from tests.node.modules.scenes import OPEN, PARAMETERS, Scene, asked_scene, measured_scene


@pytest.fixture(name="ledger")
def ledger_fixture() -> Ledger:
    return make_ledger(make_chain(parameters=PARAMETERS))


def transfers(ledger: Ledger, count: int, user: int = 0, **options: Any) -> list[Candidate]:
    """Transfers of one user in a row."""
    key = ledger.chain.users[user]
    first = ledger.account(key).nonce
    recipient = ledger.chain.users[(user + 1) % 4].address
    return [
        ledger.sign(key, Transfer(recipient=recipient, amount_units=1 + index), nonce=first + index, **options)
        for index in range(count)
    ]


def judge(ledger: Ledger, block: Block, candidates: list[Candidate]) -> tuple[BlockReason, str]:
    """Why a block is refused."""
    with pytest.raises(BlockRejected) as found:
        execute_block(ledger.state, ledger.tip, block, candidates, ledger.shelf)
    return found.value.reason, found.value.detail


def built(ledger: Ledger, candidates: list[Candidate]) -> Block:
    return ledger.build(candidates, lambda candidate, error: pytest.fail(str(error))).block


# What a block says of itself.


def test_a_block_commits_to_its_transactions_receipts_and_state(ledger: Ledger) -> None:
    candidates = transfers(ledger, 3)
    before = ledger.tip
    executed = ledger.add_block(*candidates)
    header = executed.block.header
    governing = GOVERNING.get(ledger.state)
    assert header.transactions_root == merkle_root([candidate.data for candidate in candidates])
    assert header.receipts_root == merkle_root([encode(receipt) for receipt in executed.receipts])
    assert header.state_root == ledger.state.root
    assert (header.height, header.epoch, header.parent_id) == (1, 1, before.id())
    assert header.validator_set_hash == header.next_validator_set_hash == governing.validators.hash()
    assert header.parameters_hash == PARAMETERS.hash()
    assert header.time_ms == before.time_ms + 1
    assert [receipt.transaction_id for receipt in executed.receipts] == [candidate.id for candidate in candidates]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("version", 2, (BlockReason.WRONG_VERSION, "")),
        ("genesis_hash", b"?" * 32, (BlockReason.WRONG_CHAIN, "")),
        ("height", 2, (BlockReason.WRONG_PARENT, "")),
        ("epoch", 2, (BlockReason.WRONG_PARENT, "")),
        ("parent_id", b"?" * 32, (BlockReason.WRONG_PARENT, "")),
        ("validator_set_hash", b"?" * 32, (BlockReason.WRONG_SET, "")),
        ("parameters_hash", b"?" * 32, (BlockReason.WRONG_SET, "")),
        ("time_ms", 1_700_000_000_000, (BlockReason.BAD_TIME, "")),
        ("time_ms", 0, (BlockReason.BAD_TIME, "")),
    ],
)
def test_a_header_that_does_not_continue_the_chain_is_refused(
    ledger: Ledger, field: str, value: object, expected: tuple[BlockReason, str]
) -> None:
    candidates = transfers(ledger, 1)
    block = ledger.forge(built(ledger, candidates), candidates, **{field: value})
    assert judge(ledger, block, candidates) == expected


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("receipts_root", "receipts"),
        ("state_root", "state"),
        ("next_validator_set_hash", "next validator set"),
    ],
)
def test_a_root_that_execution_does_not_give_is_refused(ledger: Ledger, field: str, name: str) -> None:
    candidates = transfers(ledger, 2)
    good = built(ledger, candidates)
    block = ledger.forge(good, candidates, **{field: b"?" * 32})
    computed = getattr(good.header, field).hex()
    assert judge(ledger, block, candidates) == (
        BlockReason.WRONG_ROOT,
        f"{name}: {(b'?' * 32).hex()} claimed, {computed} computed",
    )


def test_a_transactions_root_of_other_transactions_is_refused(ledger: Ledger) -> None:
    candidates = transfers(ledger, 2)
    block = ledger.forge(built(ledger, candidates), candidates, transactions_root=merkle_root(()))
    assert judge(ledger, block, candidates) == (BlockReason.WRONG_ROOT, "transactions")


def test_a_bad_transaction_anywhere_spoils_the_block(ledger: Ledger) -> None:
    candidates = transfers(ledger, 3)
    forged = ledger.forge(built(ledger, candidates), [*candidates, candidates[1]])
    assert judge(ledger, forged, [*candidates, candidates[1]]) == (
        BlockReason.BAD_TRANSACTION,
        "transaction 3: nonce_too_low: the next nonce is 3",
    )


def test_a_gap_in_the_nonces_spoils_the_block_and_the_builder_leaves_it_out(ledger: Ledger) -> None:
    first, _, third = transfers(ledger, 3)
    refused: list[TransactionReason] = []
    block = ledger.build([third, first], lambda _, error: refused.append(error.reason)).block
    assert block.transactions == (first.data,)
    assert refused == [TransactionReason.NONCE_TOO_HIGH]
    forged = ledger.forge(block, [first, third])
    assert judge(ledger, forged, [first, third]) == (
        BlockReason.BAD_TRANSACTION,
        "transaction 1: nonce_too_high: the next nonce is 1",
    )


# Limits.


def test_a_block_takes_as_many_transactions_as_its_limit() -> None:
    ledger = make_ledger(make_chain(parameters=replace(PARAMETERS, block_transactions=2)))
    candidates = transfers(ledger, 3)
    executed = ledger.build(candidates, lambda _, error: pytest.fail(str(error)))
    assert executed.candidates == tuple(candidates[:2])
    forged = ledger.forge(executed.block, candidates)
    assert judge(ledger, forged, candidates) == (BlockReason.TOO_LARGE, "3 transactions")


def test_a_block_takes_as_many_bytes_as_its_limit() -> None:
    parameters = replace(PARAMETERS, block_size_bytes=2**16, transaction_size_bytes=2**16, block_transactions=500)
    ledger = make_ledger(make_chain(parameters=parameters))
    size_bytes = len(transfers(ledger, 1)[0].data)
    candidates = transfers(ledger, 2**16 // size_bytes + 20)
    executed = ledger.build(candidates, lambda _, error: None)
    total_bytes = sum(len(each.data) for each in executed.candidates)
    assert 2**16 - 2 * size_bytes < total_bytes <= 2**16
    forged = ledger.forge(executed.block, candidates)
    total_bytes = sum(len(each.data) for each in candidates)
    assert judge(ledger, forged, candidates) == (BlockReason.TOO_LARGE, f"{total_bytes} bytes of transactions")


def test_a_block_takes_as_much_work_as_its_limit() -> None:
    """Four answers of 600,000 multiply-accumulates each; two million fit three."""
    scene = measured_scene()
    scene.ledger = _with_large_model(scene)
    questions = [scene.ask(value, value) for value in range(4)]
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    attributor = scene.who("attributor")
    nonce = scene.ledger.account(attributor).nonce
    claims = [
        scene.ledger.sign(attributor, scene.answer(question), nonce=nonce + index)
        for index, question in enumerate(questions)
    ]
    executed = scene.ledger.build(claims, lambda _, error: pytest.fail(str(error)))
    assert executed.candidates == tuple(claims[:3])
    forged = scene.ledger.forge(executed.block, claims)
    assert judge(scene.ledger, forged, claims) == (
        BlockReason.TOO_MUCH_WORK,
        f"{4 * (13_000 * 42 + 42 + 13_000 * 6)} multiply-accumulates",
    )


def _with_large_model(scene: Scene) -> Ledger:
    """The scene's ledger, its model said to have 13,000 records: what is metered, not what is computed."""
    view = View(scene.ledger.state)
    model = MODELS.need(view, scene.model)
    MODELS.put(view, scene.model, replace(model, certificate=replace(model.certificate, record_count=13_000)))
    scene.ledger.overwrite(view)
    return scene.ledger


# Failing and reverting.


def test_a_failed_transaction_pays_and_counts_and_leaves_no_event(ledger: Ledger) -> None:
    user = ledger.chain.users[0]
    good, bad = transfers(ledger, 2)
    bad = ledger.sign(user, Transfer(recipient=bytes(20), amount_units=RICH_UNITS), nonce=1)
    executed = ledger.add_block(good, bad)
    assert executed.receipts[1] == Receipt(
        transaction_id=bad.id, failure="insufficient_balance", fee_units=FEE_UNITS, events=()
    )
    assert len(ledger.events(Transferred)) == 1
    account = ledger.account(user)
    assert (account.nonce, account.balance_units) == (2, RICH_UNITS - 2 * FEE_UNITS - 1)
    assert ACCOUNTS.get(ledger.state, bytes(20)) is None
    assert SUPPLY.get(ledger.state).treasury_units == 2 * FEE_UNITS


def test_what_a_claim_changed_before_it_failed_is_taken_back() -> None:
    """The first of two answers was paid before the second failed: no unit of it stays."""
    scene = asked_scene()
    second = scene.ask(-100, 40)
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    scene.ledger.do(scene.who("attributor"), scene.answer(second))
    scene.ledger.fails(
        scene.who("attributor"),
        scene.answer(scene.question, second),
        TransactionReason.WRONG_STATUS,
        "a question is answered already",
    )


def test_an_empty_block_changes_nothing_but_its_height(ledger: Ledger) -> None:
    root = ledger.state.root
    ledger.add_block()
    assert ledger.state.root == root


# What is not here yet.


def test_a_block_whose_contents_are_missing_gets_no_verdict() -> None:
    scene = measured_scene()
    asker = scene.who("asker")
    payload = Ask(model=scene.model, query=scene.query(1, 2), fee_units=OPEN)
    candidate = scene.ledger.sign(asker, payload)
    block = built(scene.ledger, [candidate])
    with pytest.raises(BlobPending) as found:
        execute_block(scene.ledger.state, scene.ledger.tip, block, [candidate], Shelf())
    assert found.value.blob_hash == payload.query.hash
    absent = Ask(model=scene.model, query=BlobRef(hash=b"?" * 32, size_bytes=16), fee_units=OPEN)
    told: list[TransactionReason] = []
    following = scene.ledger.sign(asker, payload, nonce=scene.ledger.account(asker).nonce + 1)
    left_out = scene.ledger.build(
        [scene.ledger.sign(asker, absent), following], lambda _, error: told.append(error.reason)
    )
    assert left_out.candidates == ()
    assert told == [TransactionReason.CLAIM_PENDING]  # what follows it is passed over, not thrown out


class Waiting(Shelf):
    """A node whose worker has not finished."""

    def result(self, request: Any) -> Any:
        raise ResultPending(request)


def test_a_block_whose_claims_are_not_computed_yet_gets_no_verdict() -> None:
    scene = asked_scene()
    candidate = scene.ledger.sign(scene.who("attributor"), scene.answer(scene.question))
    block = built(scene.ledger, [candidate])
    with pytest.raises(ResultPending):
        execute_block(scene.ledger.state, scene.ledger.tip, block, [candidate], Waiting(scene.ledger.shelf.contents))


def test_below_a_finalization_claims_are_applied_and_roots_compared() -> None:
    scene = asked_scene()
    candidate = scene.ledger.sign(scene.who("attributor"), scene.answer(scene.question))
    block = built(scene.ledger, [candidate])
    executed = execute_block(scene.ledger.state, scene.ledger.tip, block, [candidate], None)
    assert executed.layer.root == block.header.state_root
    lie = scene.answer(scene.question)
    lie = replace(lie, answers=(replace(lie.answers[0], credits=lie.answers[0].credits[:-1]),))
    false = scene.ledger.sign(scene.who("attributor"), lie)
    forged = scene.ledger.forge(block, [false])
    with pytest.raises(BlockRejected) as found:
        execute_block(scene.ledger.state, scene.ledger.tip, forged, [false], None)
    assert found.value.reason is BlockReason.WRONG_ROOT


# Epochs and versions.


def decide(ledger: Ledger, action: Any) -> None:
    proposal = ledger.do(ledger.chain.operators[0], Propose(action=action)).transaction_id
    for operator in ledger.chain.operators[1:3]:
        ledger.do(operator, CastBallot(proposal=proposal, is_yes=True))


def test_the_last_block_of_an_epoch_says_so_and_is_followed_by_the_next_epochs_first(ledger: Ledger) -> None:
    decide(ledger, SetParameter(name="theta", value=60))
    for height in range(ledger.height + 1, 11):
        executed = ledger.add_block()
        assert executed.is_epoch_end == (height == 10)
    assert executed.governing.epoch == 2
    assert executed.governing.first_height == 11
    assert executed.block.header.parameters_hash == PARAMETERS.hash()
    ledger.add_block()
    assert ledger.tip.epoch == 2
    assert ledger.tip.parameters_hash == replace(PARAMETERS, theta=60).hash()


def test_a_later_version_stops_this_program_with_a_message(ledger: Ledger) -> None:
    decide(ledger, Upgrade(version=PROTOCOL_VERSION + 1))
    ledger.next_epoch()
    block = built(ledger, [])
    assert judge(ledger, block, []) == (BlockReason.WRONG_VERSION, "version 2; this program knows 1")


def test_replaying_the_blocks_from_genesis_gives_the_same_root() -> None:
    scene = asked_scene()
    scene.ledger.do(scene.who("attributor"), scene.answer(scene.question))
    scene.ledger.next_epoch()
    assert scene.ledger.replay() == scene.ledger.state.root
