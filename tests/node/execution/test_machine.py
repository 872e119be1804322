"""Random transactions, valid and not, several in a block: the invariants of economy.md after every one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from node.errors import TransactionRejected
from node.execution.transaction import Candidate, context_for, execute
from node.modules import holdouts
from node.modules.accounts import ACCOUNTS, RotateKey, Transfer, load_account, rotation_digest
from node.modules.attributions import QUESTIONS, Ask, Refund
from node.modules.bonds import Bond, Unbond, WithdrawBond
from node.modules.datanets import CONTRIBUTIONS, Contribute, RejectionReason, Review
from node.modules.erasure import EraseQuestion, EraseRecord
from node.modules.governance import (
    PROPOSALS,
    CastBallot,
    EraseContent,
    Propose,
    RemoveValidator,
    SetParameter,
    SetPower,
    SetRoles,
    SpendEscrow,
)
from node.modules.models import RetireModel, SetPrice
from node.modules.registers import CreateRegister, SetRegister
from node.modules.rewards import MINT_EPOCHS, VALIDATOR_POOLS, Claim, Claimed
from node.modules.supply import SUPPLY, add_to_treasury
from node.modules.validators import epoch_key
from node.primitives.crypto import ZERO_HASH, PrivateKey
from node.state.view import View
from tests.factories import make_key
from tests.node.modules.scenes import OPEN, PARAMETERS, Scene, asked_scene

ACTORS = (
    "operator 0", "operator 1", "operator 2", "operator 3", "reviewer 1", "reviewer 2", "reviewer 3",
    "ann", "bob", "developer", "attributor", "asker", "nobody",
)  # fmt: skip
AMOUNTS = (1, 7, OPEN, 5 * OPEN, 1_000 * OPEN, 999_990 * OPEN, 2**62)


@dataclass(frozen=True)
class Order:
    """What somebody is made to send: small numbers that a kind reads as it likes."""

    actor: str
    kind: str
    a: int
    b: int
    fault: str


def _pick(items: list[Any], index: int, default: Any) -> Any:
    return items[index % len(items)] if items else default


def _answer(scene: Scene, order: Order, _key: PrivateKey) -> object:
    open_ids = sorted(key for key, _ in scene.ledger.rows(QUESTIONS))
    ids = {_pick(open_ids, order.a + index, ZERO_HASH) for index in range(1 + order.b % 3)}
    claim = scene.answer(*sorted(ids))
    if order.b % 5 == 4:  # a lie
        first = claim.answers[0]
        return replace(claim, answers=(replace(first, label=1 - first.label), *claim.answers[1:]))
    return claim


def _propose(scene: Scene, order: Order, _key: PrivateKey) -> object:
    address = scene.who(("ann", "nobody", "asker")[order.b % 3]).address
    operator = scene.operators[order.b % 4].address
    actions = (
        SetRoles(address=address, roles=1 + order.b % 31),
        SetParameter(name="theta", value=order.b * 40),
        SetParameter(name="kappa_bps", value=order.b * 400),
        SpendEscrow(datanet=scene.datanet, recipient=address, amount_units=1 + order.b * 10**7),
        EraseContent(blob_hash=scene.records[order.b % len(scene.records)], datanet=scene.datanet),
        SetPower(operator=operator, power=1 + order.b % 3),
        RemoveValidator(operator=operator),
    )
    return Propose(action=actions[order.a % len(actions)])


def _rotate(scene: Scene, order: Order, key: PrivateKey) -> object:
    new = make_key(f"{order.actor} {order.a % 3}")
    address = scene_address(scene, order.actor)
    nonce = scene.ledger.account(address).nonce
    digest = rotation_digest(scene.ledger.chain.genesis_hash, address, nonce)
    return RotateKey(new_public_key=new.public_key, new_signature=new.sign(digest))


def _review(scene: Scene, order: Order, _key: PrivateKey) -> object:
    ids = sorted(key for key, _ in scene.ledger.rows(CONTRIBUTIONS))
    reason = RejectionReason(order.b % 2)
    return Review(
        contribution=_pick(ids, order.a, ZERO_HASH), is_accepted=reason is RejectionReason.NONE, reason=reason
    )


def _question(scene: Scene, index: int) -> bytes:
    found: bytes = _pick(sorted(key for key, _ in scene.ledger.rows(QUESTIONS)), index, ZERO_HASH)
    return found


def _contribute(scene: Scene, order: Order, _key: PrivateKey) -> object:
    records = tuple(scene.record(order.b % 2, 11 * order.a + index, order.b) for index in range(1 + order.b % 3))
    return Contribute(datanet=scene.datanet, records=records)


def _ballot(scene: Scene, order: Order, _key: PrivateKey) -> object:
    ids = sorted(key for key, _ in scene.ledger.rows(PROPOSALS))
    return CastBallot(proposal=_pick(ids, order.a, ZERO_HASH), is_yes=order.b % 4 > 0)


KINDS: dict[str, Callable[[Scene, Order, PrivateKey], object]] = {
    "transfer": lambda scene, order, _: Transfer(
        recipient=scene_address(scene, ACTORS[order.a % len(ACTORS)]), amount_units=AMOUNTS[order.b % len(AMOUNTS)]
    ),
    "rotate": _rotate,
    "bond": lambda scene, order, _: Bond(amount_units=AMOUNTS[order.b % len(AMOUNTS)]),
    "unbond": lambda scene, order, _: Unbond(amount_units=AMOUNTS[order.b % len(AMOUNTS)]),
    "withdraw": lambda scene, order, _: WithdrawBond(),
    "propose": _propose,
    "ballot": _ballot,
    "contribute": _contribute,
    "review": _review,
    "erase record": lambda scene, order, _: EraseRecord(
        datanet=scene.datanet, content=scene.records[order.a % len(scene.records)]
    ),
    "ask": lambda scene, order, _: Ask(
        model=scene.model, query=scene.query(order.a * 100, order.b * -70), fee_units=OPEN - 1 + order.b * 10**8
    ),
    "answer": _answer,
    "refund": lambda scene, order, _: Refund(question=_question(scene, order.a)),
    "erase question": lambda scene, order, _: EraseQuestion(question=_question(scene, order.a)),
    "claim": lambda scene, order, _: Claim(epoch=max(1, scene.ledger.epoch - order.a % 4)),
    "price": lambda scene, order, _: SetPrice(model=scene.model, price_units=order.b * OPEN // 4),
    "create register": lambda scene, order, _: CreateRegister(
        name=f"register {order.a % 2}", writers=(scene_address(scene, "ann"),), value=bytes(order.b)
    ),
    "set register": lambda scene, order, _: SetRegister(
        owner=scene_address(scene, "bob"), name=f"register {order.a % 2}", expected_version=order.b % 3, value=b"set"
    ),
    "retire": lambda scene, order, _: RetireModel(model=scene.model if order.a == order.b else ZERO_HASH),
}
USUAL = {
    "answer": "attributor", "ask": "asker", "refund": "asker", "erase question": "asker", "price": "developer",
    "retire": "developer", "contribute": "ann", "erase record": "ann",
    "create register": "bob", "set register": "ann",
}  # fmt: skip
FAULTS = ("none",) * 12 + ("nonce", "fee", "expired", "key", "chain")


@st.composite
def orders(draw: st.DrawFn) -> Order:
    kind = draw(st.sampled_from(sorted(KINDS)))
    usual = USUAL.get(kind)
    actor = usual if usual is not None and draw(st.integers(0, 4)) else draw(st.sampled_from(ACTORS))
    return Order(
        actor=actor,
        kind=kind,
        a=draw(st.integers(0, 24)),
        b=draw(st.integers(0, 24)),
        fault=draw(st.sampled_from(FAULTS)),
    )


def scene_address(scene: Scene, actor: str) -> bytes:
    """Whose account; keys change, addresses stay."""
    key = scene.operators[int(actor[-1])] if actor.startswith("operator") else scene.who(actor)
    return key.address


class LedgerMachine(RuleBasedStateMachine):
    """The executor under random blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = asked_scene()
        self.keys: dict[str, PrivateKey] = {}
        self.minted: Counter[int] = Counter()
        self.outcomes: Counter[str] = Counter()

    @rule(batch=st.lists(orders(), min_size=4, max_size=8))
    def block(self, batch: list[Order]) -> None:
        """A block of what they send."""
        ledger = self.scene.ledger
        nonces: Counter[bytes] = Counter()
        made: list[tuple[Order, Candidate]] = []
        for order in batch:
            candidate = self._sign(order, nonces)
            if candidate is not None:
                made.append((order, candidate))
        before = _Before(self.scene)
        rejected: list[TransactionRejected] = []
        executed = ledger.add_block(
            *(candidate for _, candidate in made), on_rejected=lambda _, error: rejected.append(error)
        )
        assert len(executed.candidates) + len(rejected) == len(made)
        self._check(before, executed.candidates, executed.receipts)
        for order, candidate in made:
            if order.kind == "rotate" and candidate.id in ledger.receipts and not ledger.receipts[candidate.id].failure:
                self.keys[order.actor] = make_key(f"{order.actor} {order.a % 3}")

    @rule(heights=st.integers(1, 9))
    def wait(self, heights: int) -> None:
        """Empty blocks."""
        for _ in range(heights):
            before = _Before(self.scene)
            self.scene.ledger.add_block()
            self._check(before, (), ())

    def teardown(self) -> None:
        """From genesis again, claims not verified: the same root."""
        assert self.scene.ledger.replay() == self.scene.ledger.state.root

    def _sign(self, order: Order, nonces: Counter[bytes]) -> Candidate | None:
        address = scene_address(self.scene, order.actor)
        first = self.scene.operators[int(order.actor[-1])] if "operator" in order.actor else self.scene.who(order.actor)
        key = self.keys.get(order.actor, first)
        try:
            payload = KINDS[order.kind](self.scene, order, key)
        except (TransactionRejected, AssertionError, KeyError):
            return None  # nothing to refer to
        nonce = self.scene.ledger.account(address).nonce + nonces[address]
        options: dict[str, Any] = {"nonce": nonce, "sender": address}
        if order.fault == "none":
            nonces[address] += 1
        elif order.fault == "nonce":
            options["nonce"] = max(0, nonce + (1 if order.a % 2 else -1))
        elif order.fault == "fee":
            options["fee_units"] = order.b
        elif order.fault == "expired":
            options["valid_until_height"] = self.scene.ledger.height
        elif order.fault == "key":
            key = make_key("a thief")
        return self.scene.ledger.sign(key, payload, **options)

    def _check(self, before: _Before, candidates: Any, receipts: Any) -> None:
        ledger = self.scene.ledger
        supply = SUPPLY.get(ledger.state)
        fees_units = sum(receipt.fee_units for receipt in receipts)
        # Fees go to the treasury in full; at an epoch's end an old pool joins them.
        events = [happened.event for happened in ledger.happened[before.happened :]]
        claims = [each for each in events if isinstance(each, Claimed)]
        # What an operator takes of that pool in the very last block does not join them.
        taken_units = sum(each.pool_units for each in claims if each.epoch == before.forgotten and before.is_epoch_end)
        expected_units = before.treasury_units + fees_units + before.forgotten_units - taken_units
        assert supply.treasury_units == expected_units
        sent = Counter(candidate.transaction.sender for candidate in candidates)
        for address, count in sent.items():
            assert ledger.account(address).nonce == before.nonces.get(address, 0) + count
        assert before.expected_root(candidates, receipts) in (None, ledger.state.root)
        for claimed in claims:
            self.minted[claimed.epoch] += claimed.minted_units
        for epoch, units in self.minted.items():
            if units:
                assert units <= MINT_EPOCHS.need(ledger.state, epoch_key(epoch)).cap_units
        assert sum(self.minted.values()) == supply.minted_units
        assert supply.total_units <= supply.genesis_units, "use never grows the supply"
        self.outcomes.update(receipt.failure or "ok" for receipt in receipts)


class _Before:
    """What stood before a block, and what failed transactions must leave of it."""

    def __init__(self, scene: Scene) -> None:
        ledger = scene.ledger
        self.ledger = ledger
        self.context = ledger.context
        self.view = View(ledger.state.__class__(ledger.fork().node.disk))
        self.treasury_units = SUPPLY.get(ledger.state).treasury_units
        self.nonces = {address: account.nonce for address, account in ledger.rows(ACCOUNTS)}
        self.happened = len(ledger.happened)
        is_end = (ledger.tip.height + 1 - self.context.epoch_first_height + 1) == PARAMETERS.epoch_length_heights
        self.forgotten = self.context.epoch - PARAMETERS.evidence_epochs - 1
        is_due = is_end and self.forgotten >= 1
        pool = VALIDATOR_POOLS.get(ledger.state, epoch_key(self.forgotten)) if is_due else None
        self.forgotten_units = pool.left_units if pool is not None else 0
        self.is_epoch_end = is_end

    def expected_root(self, candidates: Any, receipts: Any) -> bytes | None:
        """The root when each failed transaction does nothing but pay its fee and count its nonce."""
        if self.is_epoch_end:
            return None
        if self.context.height == self.context.epoch_first_height:
            holdouts.begin_epoch(self.view, self.context)
        for index, (candidate, receipt) in enumerate(zip(candidates, receipts, strict=True)):
            if receipt.failure:
                sender = candidate.transaction.sender
                account = load_account(self.view, sender)
                paid = replace(account, balance_units=account.balance_units - receipt.fee_units)
                ACCOUNTS.put(self.view, sender, replace(paid, nonce=account.nonce + 1))
            else:
                execute(self.view, context_for(self.context, candidate, index), candidate)
        add_to_treasury(self.view, sum(receipt.fee_units for receipt in receipts))
        return self.view.seal().root


SMALL = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
LARGE = settings(SMALL, max_examples=100, stateful_step_count=40, derandomize=False)


@pytest.mark.slow
def test_random_blocks_keep_every_invariant() -> None:
    run_state_machine_as_test(LedgerMachine, settings=SMALL)


@pytest.mark.slow
def test_many_random_blocks_keep_every_invariant() -> None:
    run_state_machine_as_test(LedgerMachine, settings=LARGE)
