"""Five epochs of questions, kept a second time by hand in plain integers, as economy.md writes the formulas."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

from node.errors import TransactionReason
from node.modules.accounts import Transfer
from node.modules.attributions import Ask, Refund
from node.modules.escrow import ESCROWS
from node.modules.rewards import Claim
from node.modules.supply import SUPPLY
from node.primitives.crypto import PrivateKey
from tests.node.ledger import FEE_UNITS
from tests.node.modules.scenes import OPEN, PARAMETERS, RECORDS_EACH, Scene, measured_scene

SEED = 11
QUESTIONS = (1, 7, 4, 7, 2)
"""Answered in each epoch."""
EPOCHS = len(QUESTIONS)
CAP_UNITS = OPEN // 2
PARTIES = ("developer", "attributor", "asker", "nobody", "ann", "bob", "reviewer 1", "reviewer 2", "reviewer 3")
LEDGER_PARAMETERS = replace(
    PARAMETERS, epoch_length_heights=40, epoch_mint_cap_units=CAP_UNITS, holdout_reveal_heights=80
)


@dataclass
class Book:
    """What economy.md says everybody holds."""

    q: int
    """The model's eligibility."""
    certified_epoch: int
    balance: Counter[str] = field(default_factory=Counter)
    treasury: int = 0
    burned: int = 0
    minted: int = 0
    escrow: int = 0
    accrued: defaultdict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Per epoch and beneficiary; an operator's is its part of the pool."""
    pool_fees: Counter[int] = field(default_factory=Counter)
    pool_left: Counter[int] = field(default_factory=Counter)
    pool_accrued: Counter[int] = field(default_factory=Counter)
    minted_in: Counter[int] = field(default_factory=Counter)

    def pay_fee(self, who: str) -> None:
        self.balance[who] -= FEE_UNITS
        self.treasury += FEE_UNITS

    def settle(self, fee: int, influences: list[tuple[str, int]], epoch: int) -> None:
        """One answered question; influences as (contributor, s_r) of the paid records."""
        burn = -(-fee * 1000 // 10_000)
        data, reviewers, validators = fee * 2500 // 10_000, fee * 300 // 10_000, fee * 700 // 10_000
        owner = fee - burn - data - reviewers - validators
        mint = 5000 * self.q * burn // 10_000**2
        self.burned += burn
        self.balance["developer"] += owner
        self.accrued[epoch]["developer"] += mint * 500 // 10_000
        is_stale = epoch > self.certified_epoch + PARAMETERS.certificate_epochs
        weight = sum(s for _, s in influences) + 200
        paid = 0
        for who, s in [] if is_stale else influences:
            self.balance[who] += data * s // weight
            paid += data * s // weight
            self.accrued[epoch][who] += mint * 7000 // 10_000 * s // weight
        for number in (1, 2, 3):
            self.balance[f"reviewer {number}"] += reviewers // 3
            self.accrued[epoch][f"reviewer {number}"] += mint * 1500 // 10_000 // 3
        self.escrow += data - paid + reviewers - reviewers // 3 * 3
        self.pool_fees[epoch] += validators
        self.pool_left[epoch] += validators
        self.pool_accrued[epoch] += mint * 1000 // 10_000

    def cap(self, epoch: int) -> int:
        """C decays 66 bps an epoch."""
        cap = CAP_UNITS
        for _ in range(epoch - 1):
            cap -= cap * 66 // 10_000
        return cap

    def claim(self, who: str, epoch: int) -> None:
        """Pays floor(accrued · C / sum) when the sum exceeds C; an operator has a quarter of the pool."""
        total = sum(self.accrued[epoch].values()) + self.pool_accrued[epoch]
        if who.startswith("operator"):
            mine, fees = self.pool_accrued[epoch] // 4, self.pool_fees[epoch] // 4
            self.pool_left[epoch] -= fees
        else:
            mine, fees = self.accrued[epoch][who], 0
        minted = mine if total <= self.cap(epoch) else mine * self.cap(epoch) // total
        self.balance[who] += minted + fees
        self.minted += minted
        self.minted_in[epoch] += minted

    def end_epoch(self, epoch: int) -> None:
        """A pool that nobody took while evidence is accepted goes to the treasury."""
        forgotten = epoch - PARAMETERS.evidence_epochs - 1
        self.treasury += self.pool_left.pop(forgotten, 0)


class Play:
    """The ledger and the book, side by side."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.ledger = scene, scene.ledger
        self.random = random.Random(SEED)
        claim = scene.measure()
        supply = SUPPLY.get(self.ledger.state)
        self.book = Book(
            q=(claim.correct - claim.baseline) * 10_000 // (64 - claim.baseline),
            certified_epoch=2,
            treasury=supply.treasury_units,
        )
        assert (supply.fee_burned_units, supply.minted_units, supply.bond_burned_units) == (0, 0, 0)
        self.genesis = supply.genesis_units
        for name in self.names():
            self.book.balance[name] = self.ledger.account(self.key(name)).balance_units

    def names(self) -> list[str]:
        return [*PARTIES, *(f"operator {index}" for index in range(4))]

    def key(self, name: str) -> PrivateKey:
        if name.startswith("operator"):
            return self.scene.operators[int(name[-1])]
        return self.scene.who(name)

    def do(self, name: str, payload: object) -> bytes:
        self.book.pay_fee(name)
        return self.ledger.do(self.key(name), payload).transaction_id

    def fail(self, name: str, payload: object, reason: TransactionReason, detail: str) -> None:
        self.book.pay_fee(name)
        self.ledger.fails(self.key(name), payload, reason, detail)

    def ask(self) -> tuple[bytes, int, str]:
        fee = self.random.choice((OPEN, OPEN + 1, 3 * OPEN - 1, self.random.randrange(OPEN, 20 * OPEN)))
        who = self.random.choice(("asker", "nobody"))
        query = self.scene.query(self.random.randrange(-4000, 4000), self.random.randrange(-4000, 4000))
        question = self.do(who, Ask(model=self.scene.model, query=query, fee_units=fee))
        self.book.balance[who] -= fee
        return question, fee, who

    def answer(self, asked: list[tuple[bytes, int, str]]) -> None:
        epoch = self.ledger.epoch
        claim = self.scene.answer(*(question for question, _, _ in asked))
        self.do("attributor", claim)
        for (_, fee, _), answer in zip(asked, claim.answers, strict=True):
            influences = [("ann" if each.position < RECORDS_EACH else "bob", each.influence) for each in answer.credits]
            self.book.settle(fee, influences, epoch)

    def claim(self, name: str, epoch: int) -> None:
        self.do(name, Claim(epoch=epoch))
        self.book.claim(name, epoch)

    def next_epoch(self) -> None:
        epoch = self.ledger.epoch
        self.ledger.next_epoch()
        self.book.end_epoch(epoch)

    def compare(self) -> None:
        """To the last unit."""
        held = {name: self.ledger.account(self.key(name)).balance_units for name in self.names()}
        assert held == {name: self.book.balance[name] for name in self.names()}
        supply = SUPPLY.get(self.ledger.state)
        assert supply.treasury_units == self.book.treasury
        assert supply.fee_burned_units == self.book.burned
        assert supply.minted_units == self.book.minted
        assert supply.epoch_cap_units == self.book.cap(self.ledger.epoch)
        escrow = ESCROWS.get(self.ledger.state, self.scene.datanet)
        assert (escrow.balance_units if escrow else 0) == self.book.escrow
        assert supply.total_units == self.genesis - self.book.burned + self.book.minted
        assert self.book.minted * 10_000 <= 5000 * self.book.burned


def test_five_epochs_of_questions_agree_with_the_book_to_the_last_unit() -> None:
    play = Play(measured_scene(LEDGER_PARAMETERS))
    ledger = play.ledger
    first_epoch = ledger.epoch
    unclaimed: list[tuple[str, int]] = []
    for number in range(EPOCHS):
        epoch = ledger.epoch
        asked = [play.ask() for _ in range(QUESTIONS[number])]
        forgotten, asked_height = play.ask(), ledger.height
        ledger.wait(PARAMETERS.claim_age_heights)
        while asked:
            play.answer(asked[: PARAMETERS.attribution_questions])
            del asked[: PARAMETERS.attribution_questions]
        # Somebody pays for nothing, and nothing else happens.
        too_much = Transfer(recipient=bytes(20), amount_units=2**62)
        needed = "4611686018.427387904 OPEN needed"
        left_units = play.book.balance["bob"] - FEE_UNITS
        play.fail(
            "bob",
            too_much,
            TransactionReason.INSUFFICIENT_BALANCE,
            f"{left_units // OPEN}.{left_units % OPEN:09d}".rstrip("0").rstrip(".") + f" OPEN held, {needed}",
        )
        question, fee, who = forgotten
        ledger.wait_for_height(asked_height + PARAMETERS.question_timeout_heights)
        play.do(who, Refund(question=question))
        play.book.balance[who] += fee
        play.compare()
        assert ledger.epoch == epoch, "an epoch is long enough for its script"
        play.next_epoch()
        play.compare()
        for name in play.names():
            if name in ("asker", "nobody", "attributor") or (
                name in ("ann", "bob") and play.book.accrued[epoch][name] == 0
            ):
                play.fail(
                    name,
                    Claim(epoch=epoch),
                    TransactionReason.NOT_FOUND,
                    f"nothing is left to claim of epoch {epoch}",
                )
            elif name in ("bob", "operator 3") and number < 3:
                unclaimed.append((name, epoch))  # bob comes later; operator 3 too late
            else:
                play.claim(name, epoch)
        play.compare()
        assert play.book.minted_in[epoch] <= play.book.cap(epoch)
    for name, epoch in unclaimed:
        if name == "bob":
            play.claim(name, epoch)
        elif epoch + PARAMETERS.evidence_epochs + 1 < ledger.epoch:
            detail = f"nothing is left to claim of epoch {epoch}"
            play.fail(name, Claim(epoch=epoch), TransactionReason.NOT_FOUND, detail)
        else:
            play.claim(name, epoch)
    play.compare()
    epochs = range(first_epoch, first_epoch + EPOCHS)
    totals = {each: sum(play.book.accrued[each].values()) + play.book.pool_accrued[each] for each in epochs}
    assert any(total > play.book.cap(each) for each, total in totals.items()), "some epoch met its cap"
    assert any(total < play.book.cap(each) for each, total in totals.items()), "some epoch did not"
    assert ledger.epoch > 2 + PARAMETERS.certificate_epochs, "the certificate became stale on the way"
    assert ledger.replay() == ledger.state.root
