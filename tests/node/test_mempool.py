"""The mempool against a plain model: a list of what waits, and rules that read like the README's."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from node import mempool as module
from node.errors import TransactionReason, TransactionRejected
from node.execution.transaction import Candidate, read_transaction
from node.mempool import MOST_PER_ACCOUNT, Mempool
from node.modules.accounts import Transfer
from node.primitives.codec import encode
from node.primitives.crypto import PrivateKey
from node.types.transaction import Transaction
from tests.factories import FAR_HEIGHT, make_key

GENESIS_HASH = bytes(32)
SENDERS = tuple(make_key(f"sender {index}") for index in range(4))
RICH = 10**12


def make(
    key: PrivateKey, nonce: int, fee_units: int, *, valid_until_height: int = FAR_HEIGHT, salt: int = 1
) -> Candidate:
    """A transaction with no signature to speak of: the intake verified it."""
    transaction = Transaction(
        kind=1,
        sender=key.address,
        public_key=key.public_key,
        nonce=nonce,
        fee_units=fee_units,
        valid_until_height=valid_until_height,
        payload=encode(Transfer(recipient=bytes(20), amount_units=salt)),
        signature=bytes(64),
    )
    return read_transaction(encode(transaction), GENESIS_HASH)


def offer(pool: Mempool, candidate: Candidate, account_nonce: int = 0, balance_units: int = RICH) -> tuple[bytes, ...]:
    """As the intake does: check, then add. Returns the ids that made room."""
    pool.check(candidate, account_nonce, balance_units)
    return tuple(each.id for each in pool.add(candidate, account_nonce, 0))


def refused(pool: Mempool, candidate: Candidate, **options: int) -> tuple[TransactionReason, str]:
    before = {entry.candidate.id for entry in pool}, pool.size_bytes, pool.ready_count
    with pytest.raises(TransactionRejected) as found:
        offer(pool, candidate, **options)
    assert ({entry.candidate.id for entry in pool}, pool.size_bytes, pool.ready_count) == before
    return found.value.reason, found.value.detail


def selected(pool: Mempool, limit: int = 100, limit_bytes: int = 10**6) -> list[Candidate]:
    return pool.select(lambda _: 0, limit, limit_bytes)


# Single rules.


def test_a_transaction_waits_once() -> None:
    pool = Mempool()
    candidate = make(SENDERS[0], 0, 100)
    offer(pool, candidate)
    assert refused(pool, candidate) == (TransactionReason.DUPLICATE, "")
    with pytest.raises(TransactionRejected) as found:
        pool.add(candidate, 0, 0)
    assert found.value.reason is TransactionReason.DUPLICATE
    assert pool.verified(candidate.data) is candidate
    assert pool.get(candidate.id) is candidate


def test_an_account_sends_only_so_far_ahead() -> None:
    pool = Mempool()
    offer(pool, make(SENDERS[0], MOST_PER_ACCOUNT + 4, 100), account_nonce=5)
    assert refused(pool, make(SENDERS[0], MOST_PER_ACCOUNT + 5, 100), account_nonce=5) == (
        TransactionReason.NONCE_TOO_HIGH,
        f"the next nonce is 5, {MOST_PER_ACCOUNT} may wait",
    )


def test_a_replacement_pays_a_tenth_more_and_not_a_unit_less() -> None:
    pool = Mempool()
    first = make(SENDERS[0], 0, 1_001)
    offer(pool, first)
    assert refused(pool, make(SENDERS[0], 0, 1_101, salt=2)) == (
        TransactionReason.REPLACEMENT_UNDERPRICED,
        "1102 base units are needed",
    )
    replacement = make(SENDERS[0], 0, 1_102, salt=2)
    assert offer(pool, replacement) == (first.id,)
    assert selected(pool) == [replacement]
    assert len(pool) == 1


def test_fees_of_all_that_waits_are_payable_together() -> None:
    pool = Mempool()
    offer(pool, make(SENDERS[0], 0, 600), balance_units=1_000)
    assert refused(pool, make(SENDERS[0], 1, 401), balance_units=1_000) == (
        TransactionReason.FEE_UNPAYABLE,
        "600 base units are promised to waiting transactions",
    )
    offer(pool, make(SENDERS[0], 1, 400), balance_units=1_000)
    assert refused(pool, make(SENDERS[0], 0, 700), balance_units=1_000)[0] is TransactionReason.FEE_UNPAYABLE


def test_the_best_paying_come_first_and_each_accounts_in_order() -> None:
    pool = Mempool()
    cheap_first, dear_later = make(SENDERS[0], 0, 100), make(SENDERS[0], 1, 10_000)
    middle = make(SENDERS[1], 0, 1_000)
    for each in (dear_later, middle, cheap_first):
        offer(pool, each)
    assert selected(pool) == [middle, cheap_first, dear_later]
    assert selected(pool, limit=2) == [middle, cheap_first]
    assert selected(pool, limit_bytes=len(middle.data)) == [middle]
    assert selected(pool, limit_bytes=len(middle.data) - 1) == []


def test_what_is_ahead_of_its_account_waits_for_the_missing_one() -> None:
    pool = Mempool()
    offer(pool, make(SENDERS[0], 1, 100))
    assert (pool.ready_count, selected(pool), pool.next_nonce(SENDERS[0].address, 0)) == (0, [], 0)
    offer(pool, make(SENDERS[0], 0, 100))
    assert (pool.ready_count, len(selected(pool)), pool.next_nonce(SENDERS[0].address, 0)) == (2, 2, 2)


def test_a_full_pool_lets_the_cheapest_go_for_a_better_paying_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TRANSACTIONS", 2)
    pool = Mempool()
    cheap, dear = make(SENDERS[0], 0, 100), make(SENDERS[1], 0, 300)
    offer(pool, cheap)
    offer(pool, dear)
    assert refused(pool, make(SENDERS[2], 0, 100)) == (TransactionReason.MEMPOOL_FULL, "")
    assert offer(pool, make(SENDERS[2], 0, 200)) == (cheap.id,)


def test_what_depends_on_the_evicted_goes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TRANSACTIONS", 2)
    pool = Mempool()
    first, second = make(SENDERS[0], 0, 100), make(SENDERS[0], 1, 900)
    offer(pool, first)
    offer(pool, second)
    assert offer(pool, make(SENDERS[1], 0, 200)) == (first.id, second.id)


def test_nobody_evicts_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The later one could not be used without the earlier."""
    monkeypatch.setattr(module, "MOST_TRANSACTIONS", 1)
    pool = Mempool()
    offer(pool, make(SENDERS[0], 0, 100))
    assert refused(pool, make(SENDERS[0], 1, 900)) == (TransactionReason.MEMPOOL_FULL, "")


def test_who_is_refused_for_want_of_room_has_evicted_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two must go for a long one; the second pays better than it, so the first stays too."""
    first, second = make(SENDERS[0], 0, 50), make(SENDERS[1], 0, 120)
    monkeypatch.setattr(module, "LARGEST_SIZE_BYTES", len(first.data) + len(second.data))
    pool = Mempool()
    offer(pool, first)
    offer(pool, second)
    longer = make(SENDERS[2], 0, 110, salt=2**40)
    assert len(longer.data) > len(first.data)
    assert refused(pool, longer) == (TransactionReason.MEMPOOL_FULL, "")
    assert {entry.candidate.id for entry in pool} == {first.id, second.id}


def test_a_longer_replacement_does_not_get_past_the_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = make(SENDERS[0], 0, 100), make(SENDERS[1], 0, 120)
    following = make(SENDERS[0], 1, 127)
    limit_bytes = len(first.data) + len(other.data) + len(following.data)
    monkeypatch.setattr(module, "LARGEST_SIZE_BYTES", limit_bytes)
    pool = Mempool()
    for each in (first, other, following):
        offer(pool, each)
    assert refused(pool, make(SENDERS[0], 0, 111, salt=2**40)) == (TransactionReason.MEMPOOL_FULL, "")
    dear = make(SENDERS[0], 0, 60_000, salt=2**40)
    assert set(offer(pool, dear)) == {first.id, other.id}
    assert {entry.candidate.id for entry in pool} == {dear.id, following.id}
    assert pool.size_bytes <= limit_bytes
    assert pool.ready_count == 2


def test_room_is_counted_once_when_the_later_goes_before_the_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cheapest is the second of an account; its first is the next cheapest, and takes no second one with it."""
    waiting = [
        make(SENDERS[0], 1, 30),
        make(SENDERS[0], 0, 60),
        make(SENDERS[1], 0, 70),
        make(SENDERS[2], 0, 126),
    ]
    limit_bytes = sum(len(each.data) for each in waiting)
    monkeypatch.setattr(module, "LARGEST_SIZE_BYTES", limit_bytes)
    pool = Mempool()
    for each in waiting:
        offer(pool, each)
    monkeypatch.setattr(module, "LARGEST_SIZE_BYTES", limit_bytes - 2 * len(waiting[0].data))
    new = make(SENDERS[3], 0, 125)
    assert offer(pool, new) == tuple(each.id for each in waiting[:3])
    assert pool.size_bytes == len(new.data) + len(waiting[3].data)


def account_at(nonce: int):
    return lambda _address: (nonce, 10**12)


def test_what_expires_goes_with_what_follows_it() -> None:
    pool = Mempool()
    late = make(SENDERS[0], 0, 100, valid_until_height=7)
    following = make(SENDERS[0], 1, 100)
    offer(pool, late)
    offer(pool, following)
    assert pool.on_final((), 6, account_at(0)) == ()
    assert pool.on_final((), 7, account_at(0)) == (
        (late, TransactionReason.EXPIRED),
        (following, TransactionReason.EXPIRED),
    )
    assert len(pool) == pool.size_bytes == 0


def test_a_block_takes_its_own_out_and_drops_what_it_made_useless() -> None:
    pool = Mempool()
    mine, rest = make(SENDERS[0], 0, 100), make(SENDERS[0], 1, 100)
    offer(pool, mine)
    offer(pool, rest)
    carried = make(SENDERS[0], 0, 999, salt=5)
    assert pool.on_final((carried,), 1, account_at(1)) == ((mine, TransactionReason.NONCE_TOO_LOW),)
    assert pool.select(lambda _: 1, 9, 10**6) == [rest]


def test_what_a_sender_cannot_pay_any_more_goes_from_its_end() -> None:
    pool = Mempool()
    waiting = [make(SENDERS[0], nonce, 100) for nonce in range(3)]
    for each in waiting:
        offer(pool, each)
    spent = 3 * 100 - 1
    dropped = pool.on_final((make(SENDERS[0], 9, 100),), 1, lambda _: (0, spent))
    assert dropped == ((waiting[2], TransactionReason.FEE_UNPAYABLE),)
    assert pool.select(lambda _: 0, 9, 10**6) == waiting[:2]


def test_what_waits_for_missing_ones_never_fills_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_GAPPED", 3)
    monkeypatch.setattr(module, "MOST_GAPPED_PER_ACCOUNT", 2)
    pool = Mempool()
    for nonce in (5, 6):
        offer(pool, make(SENDERS[0], nonce, 900))
    with pytest.raises(TransactionRejected) as of_account:
        pool.check(make(SENDERS[0], 7, 900), 0, 10**12)
    assert of_account.value.reason is TransactionReason.NONCE_TOO_HIGH
    assert of_account.value.detail == "too many wait for missing ones; the account's next nonce is 0"
    offer(pool, make(SENDERS[1], 5, 900))
    with pytest.raises(TransactionRejected):
        pool.add(make(SENDERS[2], 1, 900), 0, 0)
    offer(pool, make(SENDERS[2], 0, 1))
    offer(pool, make(SENDERS[0], 0, 1))  # what fills a gap is always taken


def test_what_waits_for_what_never_comes_is_dropped_in_time() -> None:
    pool = Mempool()
    ready, gapped = make(SENDERS[0], 0, 100), make(SENDERS[0], 2, 100)
    pool.add(ready, 0, 10)
    pool.add(gapped, 0, 10)
    assert pool.remove_gapped(10) == ()
    assert pool.remove_gapped(11) == (gapped,)
    assert pool.ready_count == len(pool) == 1


# The model.


@dataclass(frozen=True)
class Waiting:
    candidate: Candidate

    @property
    def sender(self) -> bytes:
        return self.candidate.transaction.sender

    @property
    def nonce(self) -> int:
        return self.candidate.transaction.nonce

    @property
    def fee(self) -> int:
        return self.candidate.transaction.fee_units

    @property
    def rate(self) -> int:
        return self.fee * 1000 // len(self.candidate.data)


class PoolMachine(RuleBasedStateMachine):
    """A real mempool and a plain list, told the same things."""

    MOST = 12

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(module, "MOST_TRANSACTIONS", self.MOST)
        self.pool = Mempool()
        self.model: list[Waiting] = []
        self.nonces: Counter[bytes] = Counter()
        self.height = 0

    def teardown(self) -> None:
        self.patch.undo()

    @rule(
        sender=st.integers(0, 3),
        ahead=st.integers(0, 5),
        fee=st.sampled_from((100, 105, 110, 121, 500, 2_000, 2_200)),
        ttl=st.integers(1, 8),
        salt=st.integers(1, 3),
    )
    def offer(self, sender: int, ahead: int, fee: int, ttl: int, salt: int) -> None:
        """Somebody sends something."""
        key = SENDERS[sender]
        nonce = self.nonces[key.address] + ahead
        candidate = make(key, nonce, fee, valid_until_height=self.height + ttl, salt=salt)
        expected = self._expect(Waiting(candidate))
        if isinstance(expected, TransactionReason):
            with pytest.raises(TransactionRejected) as found:
                offer(self.pool, candidate, self.nonces[key.address], 5_000)
            assert found.value.reason is expected
            return
        gone = set(offer(self.pool, candidate, self.nonces[key.address], 5_000))
        # Of equally cheap ones any may go: what went must have been as cheap as what the model names.
        by_id = {each.candidate.id: each for each in self.model}
        assert gone == {each.candidate.id for each in expected} or _as_cheap(expected, [by_id[each] for each in gone])
        self.model = [each for each in self.model if each.candidate.id not in gone] + [Waiting(candidate)]

    @rule(count=st.integers(0, 5), limit=st.integers(1, 6))
    def finalize(self, count: int, limit: int) -> None:
        """A block takes the first of what is selected."""
        chosen = self.pool.select(lambda sender: self.nonces[sender], limit, 10**6)[:count]
        self.height += 1
        for candidate in chosen:
            assert candidate.transaction.nonce == self.nonces[candidate.transaction.sender]
            self.nonces[candidate.transaction.sender] += 1
        carried = {candidate.id for candidate in chosen}
        gone = self.pool.on_final(chosen, self.height, lambda sender: (self.nonces[sender], 10**12))
        dropped = {each.id for each, _ in gone}
        kept = [each for each in self.model if each.nonce >= self.nonces[each.sender]]
        for sender in {each.sender for each in kept}:
            late = [
                each.nonce
                for each in kept
                if each.sender == sender and each.candidate.transaction.valid_until_height <= self.height
            ]
            if late:
                kept = [each for each in kept if each.sender != sender or each.nonce < min(late)]
        assert dropped == {each.candidate.id for each in self.model if each not in kept} - carried
        self.model = kept

    @rule(index=st.integers(0, 20))
    def remove(self, index: int) -> None:
        """A builder met one that cannot stand in a block."""
        if not self.model:
            assert self.pool.remove(bytes(32)) == ()
            return
        victim = self.model[index % len(self.model)]
        gone = {each.id for each in self.pool.remove(victim.candidate.id)}
        later = [each for each in self.model if each.sender == victim.sender and each.nonce >= victim.nonce]
        assert gone == {each.candidate.id for each in later}
        self.model = [each for each in self.model if each not in later]

    @invariant()
    def same(self) -> None:
        """Both hold the same, and count it the same."""
        pool = self.pool
        assert {entry.candidate.id for entry in pool} == {each.candidate.id for each in self.model}
        assert len(pool) == len(self.model) <= self.MOST
        assert pool.size_bytes == sum(len(each.candidate.data) for each in self.model)
        ready = self._ready()
        assert pool.ready_count == len(ready)
        picked = pool.select(lambda sender: self.nonces[sender], 100, 10**6)
        assert {each.id for each in picked} == {each.candidate.id for each in ready}
        for sender in {each.sender for each in self.model}:
            mine = [each.transaction.nonce for each in picked if each.transaction.sender == sender]
            assert mine == sorted(mine)
            assert pool.next_nonce(sender, self.nonces[sender]) == self.nonces[sender] + len(mine)
        self._require_best_first(picked)

    def _require_best_first(self, picked: list[Candidate]) -> None:
        heads = {each.sender: each for each in self._ready() if each.nonce == self.nonces[each.sender]}
        by_place = {(each.sender, each.nonce): each for each in self.model}
        for candidate in picked:
            sender = candidate.transaction.sender
            assert heads[sender].rate == max(each.rate for each in heads.values())
            following = by_place.get((sender, candidate.transaction.nonce + 1))
            del heads[sender]
            if following is not None:
                heads[sender] = following

    def _ready(self) -> list[Waiting]:
        found = []
        for sender in {each.sender for each in self.model}:
            by_nonce = {each.nonce: each for each in self.model if each.sender == sender}
            nonce = self.nonces[sender]
            while nonce in by_nonce:
                found.append(by_nonce[nonce])
                nonce += 1
        return found

    def _expect(self, new: Waiting) -> TransactionReason | list[Waiting]:
        """What the rules say: a reason, or what makes room."""
        if any(each.candidate.id == new.candidate.id for each in self.model):
            return TransactionReason.DUPLICATE
        mine = [each for each in self.model if each.sender == new.sender]
        replaced = [each for each in mine if each.nonce == new.nonce]
        if replaced and new.fee * 10 < replaced[0].fee * 11:
            return TransactionReason.REPLACEMENT_UNDERPRICED
        if sum(each.fee for each in mine if each not in replaced) + new.fee > 5_000:
            return TransactionReason.FEE_UNPAYABLE
        if replaced or len(self.model) < self.MOST:
            return replaced
        cheapest = min(self.model, key=lambda each: each.rate)
        if cheapest.rate >= new.rate:
            return TransactionReason.MEMPOOL_FULL
        equals = [each for each in self.model if each.rate == cheapest.rate]
        # The heap breaks ties by id.
        cheapest = min(equals, key=lambda each: each.candidate.id)
        if cheapest.sender == new.sender:
            return TransactionReason.MEMPOOL_FULL
        return [each for each in self.model if each.sender == cheapest.sender and each.nonce >= cheapest.nonce]


def _as_cheap(expected: list[Waiting], gone: list[Waiting]) -> bool:
    return min(each.rate for each in expected) == min(each.rate for each in gone)


SMALL = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


def test_the_mempool_is_its_model() -> None:
    run_state_machine_as_test(PoolMachine, settings=SMALL)


@pytest.mark.slow
def test_the_mempool_is_its_model_over_many_runs() -> None:
    run_state_machine_as_test(PoolMachine, settings=settings(SMALL, max_examples=1_000, derandomize=False))
