"""The way into the mempool: cheap checks first, signatures in bulk, contents awaited, claims computed once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from node import intake as module
from node import mempool
from node.claims import Claims
from node.errors import TransactionReason, TransactionRejected
from node.execution.transaction import Candidate
from node.intake import BARRED_HEIGHTS, MOST_CLAIMS_OF_PEERS, SPREAD_MS, WAITING_MS, Intake
from node.mempool import Mempool
from node.modules.accounts import Transfer
from node.modules.attributions import Ask, Attribute
from node.primitives.codec import encode
from node.primitives.crypto import PrivateKey, are_valid_signatures
from node.proposal import BlockTree
from node.storage.blobs import BlobStore
from node.storage.blocks import BlockStore
from node.storage.kv import MemoryStore
from node.worker import Failure, Job, Urgency, compute_here
from tests.node.modules.scenes import OPEN, PARAMETERS, Scene, asked_scene, measured_scene

PEER, OTHER_PEER = b"p" * 20, b"q" * 20
Verdict = TransactionReason | None


@dataclass
class Desk:
    """A node's intake with its own disk; signatures and computations wait until a test lets them happen."""

    scene: Scene
    withheld: set[bytes] = field(default_factory=set)
    workers: int = 1

    def __post_init__(self) -> None:
        ledger = self.scene.ledger
        self.blobs = BlobStore(MemoryStore())
        self.blobs.put([data for key, data in ledger.shelf.contents.items() if key not in self.withheld], 0)
        self.mempool = Mempool()
        self.jobs: deque[Job] = deque()
        self.batches: deque[tuple[list[tuple[bytes, bytes, bytes]], Callable[[list[bool]], None]]] = deque()
        self.verified_sizes: list[int] = []
        self.computed: list[bytes] = []
        self.fetched: list[tuple[tuple[bytes, ...], bytes | None]] = []
        self.admitted: list[tuple[bytes, bytes | None]] = []
        self.dropped: list[tuple[bytes, TransactionReason]] = []
        self.verdicts: dict[bytes, list[Verdict]] = {}
        self.claims = Claims(self.blobs, self.jobs.append)
        self.tree = BlockTree(ledger.state, BlockStore(ledger.node.disk), self.claims, self.mempool.verified)
        self.liars: list[bytes] = []
        self.is_spread = True
        self.intake = Intake(
            genesis_hash=ledger.chain.genesis_hash,
            state=ledger.state,
            tree=self.tree,
            mempool=self.mempool,
            claims=self.claims,
            verify_signatures=lambda items, done: self.batches.append((list(items), done)),
            fetch_blobs=lambda hashes, peer, _sizes: self.fetched.append((tuple(hashes), peer)),
            on_admitted=lambda candidate, source: self.admitted.append((candidate.id, source)),
            on_dropped=lambda candidate, error: self.dropped.append((candidate.id, error.reason)),
            on_bad_signature=self.liars.append,
            is_spread=lambda _candidate: self.is_spread,
            workers=self.workers,
        )

    def submit(self, candidate: Candidate, source: bytes | None = None, now_ms: int = 0) -> bytes:
        verdicts = self.verdicts.setdefault(candidate.id, [])
        return self.intake.submit(
            candidate.data,
            source,
            now_ms,
            lambda error: verdicts.append(error.reason if error else None),  # type: ignore[arg-type]
        )

    def verify(self) -> None:
        """Signatures of what came in, in one go."""
        self.intake.flush()
        while self.batches:
            items, done = self.batches.popleft()
            self.verified_sizes.append(len(items))
            done(are_valid_signatures(items))

    def work(self) -> None:
        """One computation."""
        job = self.jobs.popleft()
        self.computed.append(job.request.request_id())
        job.on_done(compute_here(job.request, job.materials))

    def take(self, candidate: Candidate, source: bytes | None = None) -> Verdict:
        """In, verified, computed: the verdict."""
        self.submit(candidate, source)
        self.verify()
        while self.jobs:
            self.work()
        [*_, verdict] = self.verdicts[candidate.id]
        return verdict

    def refuses_at_once(self, candidate: Candidate, source: bytes | None = None) -> tuple[TransactionReason, str]:
        with pytest.raises(TransactionRejected) as found:
            self.intake.submit(candidate.data, source, 0)
        assert not self.batches
        return found.value.reason, found.value.detail

    def final(self, heights: int = 1, now_ms: int = 0) -> None:
        """Empty blocks become final."""
        for _ in range(heights):
            executed = self.scene.ledger.add_block()
            self.tree.tip, self.tree.tip_id = executed.block.header, executed.block_id
        self.intake.on_final(now_ms)


def transfer(scene: Scene, name: str = "asker", ahead: int = 0, **options: Any) -> Candidate:
    payload = Transfer(recipient=scene.who("nobody").address, amount_units=1)
    nonce = scene.ledger.account(scene.who(name)).nonce + ahead
    return scene.ledger.sign(scene.who(name), payload, nonce=nonce, **options)


def claim(scene: Scene, payload: Attribute, nonce: int = 0, **options: Any) -> Candidate:
    attributor = scene.who("attributor")
    return scene.ledger.sign(attributor, payload, nonce=scene.ledger.account(attributor).nonce + nonce, **options)


def lie(payload: Attribute) -> Attribute:
    first = payload.answers[0]
    return replace(payload, answers=(replace(first, label=1 - first.label), *payload.answers[1:]))


@pytest.fixture(name="scene")
def scene_fixture() -> Scene:
    return asked_scene()


# Signatures.


def test_what_is_verified_is_admitted_told_and_gossiped(scene: Scene) -> None:
    desk = Desk(scene)
    candidate = transfer(scene)
    assert desk.submit(candidate) == candidate.id
    assert desk.admitted == []
    desk.verify()
    assert desk.admitted == [(candidate.id, None)]
    assert desk.verdicts[candidate.id] == [None]
    assert candidate.id in desk.mempool
    assert desk.intake.waiting_count == 0


def test_what_comes_in_together_is_verified_together(scene: Scene) -> None:
    desk = Desk(scene)
    for nonce in range(5):
        desk.submit(transfer(scene, ahead=nonce))
    desk.intake.flush()
    for nonce in range(5, 8):
        desk.submit(transfer(scene, ahead=nonce))
    desk.intake.flush()
    assert len(desk.batches) == 1, "the next batch waits for the first"
    desk.verify()
    assert desk.verified_sizes == [5, 3]
    assert len(desk.mempool) == 8


def test_a_batch_has_a_limit(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BULK_SIGNATURES", 3)
    desk = Desk(scene)
    for nonce in range(7):
        desk.submit(transfer(scene, ahead=nonce))
    desk.verify()
    assert desk.verified_sizes == [3, 3, 1]


def test_one_bad_signature_in_a_batch_harms_nobody_else(scene: Scene) -> None:
    desk = Desk(scene)
    good = [transfer(scene, ahead=nonce) for nonce in (0, 1)]
    bad = scene.ledger.sign(
        scene.who("ann"), Transfer(recipient=bytes(20), amount_units=1), genesis_hash=b"?" * 32, is_checked=False
    )
    for each in (good[0], bad, good[1]):
        desk.submit(each, PEER)
    desk.verify()
    assert [desk.verdicts[each.id] for each in (good[0], bad, good[1])] == [
        [None],
        [TransactionReason.BAD_SIGNATURE],
        [None],
    ]


def test_peer_that_passes_on_what_it_did_not_verify_is_told_on(scene: Scene) -> None:
    desk = Desk(scene)
    good, bad = transfer(scene, "bob"), transfer(scene, "ann")
    forged = replace(bad.transaction, signature=bytes(64))
    candidate = replace(bad, transaction=forged, data=encode(forged))
    desk.submit(candidate, PEER)
    desk.submit(good, OTHER_PEER)
    desk.verify()
    assert desk.liars == [PEER]
    desk.submit(candidate)
    desk.verify()
    assert desk.liars == [PEER]  # over the RPC anybody may try


def test_more_than_can_be_looked_at_is_refused_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ARRIVING", 1)
    desk = Desk(scene)
    desk.submit(transfer(scene, "bob"))
    assert desk.refuses_at_once(transfer(scene, "ann"))[0] is TransactionReason.MEMPOOL_FULL


def test_what_comes_in_again_is_admitted_again_or_told_to_whoever_follows_it(scene: Scene) -> None:
    desk = Desk(scene)
    waiting = transfer(scene)
    assert desk.take(waiting) is None
    desk.mempool.remove(waiting.id)
    desk.intake.readmit(waiting, 0)
    assert [each.id for each in desk.intake.arriving()] == [waiting.id]
    desk.intake.readmit(waiting, 0)
    desk.verify()
    assert waiting.id in desk.mempool
    desk.mempool.remove(waiting.id)
    scene.ledger.add_block(waiting)
    desk.final()
    desk.intake.readmit(waiting, 0)
    desk.verify()
    assert desk.dropped == [(waiting.id, TransactionReason.NONCE_TOO_LOW)]


def test_bytes_that_were_refused_for_good_are_not_looked_at_again_from_a_peer(scene: Scene) -> None:
    desk = Desk(scene)
    bad = scene.ledger.sign(
        scene.who("ann"), Transfer(recipient=bytes(20), amount_units=1), genesis_hash=b"?" * 32, is_checked=False
    )
    assert desk.take(bad, PEER) is TransactionReason.BAD_SIGNATURE
    assert desk.refuses_at_once(bad, OTHER_PEER) == (TransactionReason.BAD_SIGNATURE, "")
    assert desk.verified_sizes == [1]


def test_what_waits_in_the_mempool_is_a_duplicate(scene: Scene) -> None:
    desk = Desk(scene)
    candidate = transfer(scene)
    assert desk.take(candidate) is None
    assert desk.refuses_at_once(candidate, PEER) == (TransactionReason.DUPLICATE, "")
    assert desk.refuses_at_once(candidate) == (TransactionReason.DUPLICATE, "")


def test_whoever_sends_what_is_on_its_way_already_learns_the_same(scene: Scene) -> None:
    desk = Desk(scene)
    candidate = transfer(scene)
    desk.submit(candidate, PEER)
    desk.submit(candidate)
    desk.verify()
    assert desk.verdicts[candidate.id] == [None, None]
    assert desk.verified_sizes == [1]
    assert len(desk.admitted) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"valid_until_height": 3}, TransactionReason.EXPIRED),
        ({"fee_units": 5}, TransactionReason.FEE_TOO_LOW),
        ({"fee_units": 10**16}, TransactionReason.FEE_UNPAYABLE),
        ({"ahead": 300}, TransactionReason.NONCE_TOO_HIGH),
    ],
)
def test_what_is_cheap_to_refuse_costs_no_signature(
    scene: Scene, options: dict[str, int], reason: TransactionReason
) -> None:
    desk = Desk(scene)
    assert desk.refuses_at_once(transfer(scene, "ann", **options))[0] is reason
    assert desk.intake.waiting_count == 0


def test_a_used_nonce_is_refused_at_once(scene: Scene) -> None:
    desk = Desk(scene)
    assert desk.refuses_at_once(transfer(scene, "asker", ahead=-1))[0] is TransactionReason.NONCE_TOO_LOW


def test_what_makes_room_is_told_that_it_went(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mempool, "MOST_TRANSACTIONS", 1)
    desk = Desk(scene)
    cheap, dear = transfer(scene, fee_units=10**6), transfer(scene, "ann", fee_units=10**7)
    assert desk.take(cheap) is None
    assert desk.take(dear) is None
    assert desk.dropped == [(cheap.id, TransactionReason.EVICTED)]
    assert desk.take(transfer(scene, "bob", fee_units=10**6)) is TransactionReason.MEMPOOL_FULL


# Contents.


@pytest.fixture(name="asking")
def asking_fixture() -> tuple[Desk, Candidate, bytes]:
    """A question whose bytes are not here."""
    scene = measured_scene()
    query = scene.query(42, 42)
    candidate = scene.ledger.sign(scene.who("asker"), Ask(model=scene.model, query=query, fee_units=OPEN))
    return Desk(scene, {query.hash}), candidate, query.hash


def test_a_peers_transaction_waits_for_its_contents(asking: tuple[Desk, Candidate, bytes]) -> None:
    desk, candidate, query = asking
    desk.submit(candidate, PEER)
    desk.verify()
    assert desk.fetched == [((query,), PEER)]
    assert desk.verdicts[candidate.id] == []
    desk.blobs.put([desk.scene.ledger.shelf.contents[query]], 0)
    desk.intake.on_blobs([query], 5)
    assert desk.verdicts[candidate.id] == [None]
    assert desk.admitted == [(candidate.id, PEER)]


@pytest.mark.parametrize("is_late", [False, True])
def test_own_transaction_waits_until_others_hold_its_large_contents_but_not_for_ever(
    asking: tuple[Desk, Candidate, bytes], is_late: bool
) -> None:
    desk, candidate, query = asking
    desk.blobs.put([desk.scene.ledger.shelf.contents[query]], 0)
    desk.is_spread = False
    desk.submit(candidate)
    desk.verify()
    desk.intake.run_spreading(SPREAD_MS - 1)
    assert (desk.verdicts[candidate.id], desk.admitted) == ([], [])
    desk.is_spread = not is_late
    desk.intake.run_spreading(SPREAD_MS if is_late else SPREAD_MS - 1)
    assert (desk.verdicts[candidate.id], desk.admitted) == ([None], [(candidate.id, None)])


def test_what_peers_send_does_not_wait_for_others_to_hold_it(asking: tuple[Desk, Candidate, bytes]) -> None:
    desk, candidate, query = asking
    desk.blobs.put([desk.scene.ledger.shelf.contents[query]], 0)
    desk.is_spread = False
    desk.submit(candidate, PEER)
    desk.verify()
    assert desk.admitted == [(candidate.id, PEER)]


def test_over_the_rpc_the_contents_come_first(asking: tuple[Desk, Candidate, bytes]) -> None:
    desk, candidate, _ = asking
    assert desk.take(candidate) is TransactionReason.BLOB_MISSING
    assert desk.fetched == []


def test_contents_that_do_not_come_are_not_waited_for_longer_than_their_time(
    asking: tuple[Desk, Candidate, bytes],
) -> None:
    desk, candidate, query = asking
    desk.submit(candidate, PEER)
    desk.verify()
    desk.final(now_ms=WAITING_MS)
    assert desk.verdicts[candidate.id] == []
    desk.final(now_ms=WAITING_MS + 1)
    assert desk.verdicts[candidate.id] == [TransactionReason.BLOB_MISSING]
    assert desk.intake.waiting_count == 0
    desk.blobs.put([desk.scene.ledger.shelf.contents[query]], 0)
    desk.intake.on_blobs([query], WAITING_MS + 2)
    assert desk.admitted == []
    # It was late, not wrong: the same bytes may come again.
    assert desk.take(candidate, PEER) is None


def test_contents_of_another_form_are_refused_once_they_are_here(asking: tuple[Desk, Candidate, bytes]) -> None:
    desk, _, _ = asking
    scene = desk.scene
    broken = scene.put(b"not a query")
    candidate = scene.ledger.sign(scene.who("asker"), Ask(model=scene.model, query=broken, fee_units=OPEN))
    desk.submit(candidate, PEER)
    desk.verify()
    desk.blobs.put([b"not a query"], 0)
    desk.intake.on_blobs([broken.hash], 0)
    assert desk.verdicts[candidate.id] == [TransactionReason.BAD_CONTENT]
    assert desk.refuses_at_once(candidate, OTHER_PEER)[0] is TransactionReason.BAD_CONTENT


def test_a_claim_waits_for_the_contents_it_is_computed_from(scene: Scene) -> None:
    payload = scene.answer(scene.question)
    missing = scene.records[5]
    desk = Desk(scene, {missing})
    candidate = claim(scene, payload)
    desk.submit(candidate, PEER)
    desk.verify()
    assert desk.fetched == [((missing,), PEER)]
    assert not desk.jobs
    desk.blobs.put([scene.ledger.shelf.contents[missing]], 0)
    desk.intake.on_blobs([missing], 1)
    desk.work()
    assert desk.verdicts[candidate.id] == [None]


# Claims.


def test_a_true_claim_is_admitted_after_one_computation(scene: Scene) -> None:
    desk = Desk(scene)
    candidate = claim(scene, scene.answer(scene.question))
    desk.submit(candidate, PEER)
    desk.submit(candidate, OTHER_PEER)
    desk.verify()
    assert desk.verdicts[candidate.id] == []
    assert len(desk.jobs) == 1
    desk.work()
    assert desk.verdicts[candidate.id] == [None, None]
    # Another transaction with the same inputs costs no second computation.
    again = claim(scene, scene.answer(scene.question), nonce=1)
    assert desk.take(again, PEER) is None
    assert len(desk.computed) == 1


def test_a_false_claim_bars_its_sender_from_claiming_for_a_while_and_from_nothing_else(scene: Scene) -> None:
    desk = Desk(scene)
    payload = scene.answer(scene.question)
    false = claim(scene, lie(payload))
    height = scene.ledger.height
    assert desk.take(false, PEER) is TransactionReason.FALSE_CLAIM
    assert desk.admitted == []
    true = claim(scene, payload)
    until = height + BARRED_HEIGHTS
    assert desk.refuses_at_once(true, PEER) == (TransactionReason.SENDER_BARRED, f"until height {until}")
    assert desk.take(transfer(scene, "attributor")) is None
    assert len(desk.computed) == 1
    desk.final(BARRED_HEIGHTS - 1)
    assert desk.refuses_at_once(true)[0] is TransactionReason.SENDER_BARRED
    desk.final(1)
    question = scene.ask(1, 1)
    desk = _moved(desk)
    desk.final(PARAMETERS.claim_age_heights)
    assert desk.take(claim(scene, scene.answer(question), nonce=1)) is None


def _moved(desk: Desk) -> Desk:
    """The desk after a block that the ledger made by itself."""
    desk.tree.tip, desk.tree.tip_id = desk.scene.ledger.tip, desk.scene.ledger.tip.id()
    desk.blobs.put(list(desk.scene.ledger.shelf.contents.values()), 0)
    return desk


def test_a_false_claim_is_refused_again_without_computing(scene: Scene) -> None:
    desk = Desk(scene)
    false = claim(scene, lie(scene.answer(scene.question)))
    assert desk.take(false, PEER) is TransactionReason.FALSE_CLAIM
    assert desk.refuses_at_once(false, OTHER_PEER)[0] is TransactionReason.FALSE_CLAIM
    assert len(desk.computed) == 1


@pytest.fixture(name="busy")
def busy_fixture() -> tuple[Desk, list[Attribute]]:
    """Claims about twenty questions, nothing computed yet."""
    scene = asked_scene()
    questions = [scene.ask(value * 100, value) for value in range(20)]
    scene.ledger.wait(PARAMETERS.claim_age_heights)
    return Desk(scene), [scene.answer(question) for question in questions]


def test_one_computation_of_a_sender_is_pending_at_a_time(busy: tuple[Desk, list[Attribute]]) -> None:
    desk, payloads = busy
    first, second = claim(desk.scene, payloads[0]), claim(desk.scene, payloads[1], nonce=1)
    desk.submit(first)
    desk.submit(second)
    desk.verify()
    assert desk.verdicts[second.id] == [TransactionReason.CLAIM_PENDING]
    desk.work()
    assert desk.verdicts[first.id] == [None]
    assert desk.take(second) is None


def test_peers_may_vouch_for_more_of_a_sender_up_to_a_limit(busy: tuple[Desk, list[Attribute]]) -> None:
    desk, payloads = busy
    candidates = [
        claim(desk.scene, payload, nonce=nonce) for nonce, payload in enumerate(payloads[: MOST_CLAIMS_OF_PEERS + 1])
    ]
    for candidate in candidates:
        desk.submit(candidate, PEER)
    desk.verify()
    assert desk.verdicts[candidates[-1].id] == [TransactionReason.CLAIM_PENDING]
    while desk.jobs:
        desk.work()
    assert [desk.verdicts[each.id] for each in candidates[:-1]] == [[None]] * MOST_CLAIMS_OF_PEERS


def test_computations_run_one_after_the_other_the_best_paying_first(busy: tuple[Desk, list[Attribute]]) -> None:
    desk, payloads = busy
    fees = (10**8, 10**7, 10**9, 10**6)
    candidates = [
        claim(desk.scene, payload, nonce=nonce, fee_units=fee)
        for nonce, (payload, fee) in enumerate(zip(payloads, fees, strict=False))
    ]
    for candidate in candidates:
        desk.submit(candidate, PEER)
    desk.verify()
    while desk.jobs:
        assert len(desk.jobs) == 1
        desk.work()
    # The first had started before the others came.
    order = [candidates[index].id for index in (0, 2, 1, 3)]
    assert [transaction_id for transaction_id, _ in desk.admitted] == order


def test_a_full_queue_refuses(busy: tuple[Desk, list[Attribute]], monkeypatch: pytest.MonkeyPatch) -> None:
    desk, payloads = busy
    monkeypatch.setattr(module, "MOST_QUEUED_CLAIMS", 1)
    candidates = [claim(desk.scene, payload, nonce=nonce) for nonce, payload in enumerate(payloads[:3])]
    for candidate in candidates:
        desk.submit(candidate, PEER)
    desk.verify()
    assert desk.verdicts[candidates[2].id] == [TransactionReason.WORKER_BUSY]
    while desk.jobs:
        desk.work()
    assert desk.verdicts[candidates[1].id] == [None]


def test_as_many_computations_run_as_there_are_workers(busy: tuple[Desk, list[Attribute]]) -> None:
    desk, payloads = Desk(busy[0].scene, workers=2), busy[1]
    candidates = [claim(desk.scene, payload, nonce=nonce) for nonce, payload in enumerate(payloads[:4])]
    for candidate in candidates:
        desk.submit(candidate, PEER)
    desk.verify()
    assert len(desk.jobs) == 2
    assert {job.urgency for job in desk.jobs} == {Urgency.ADMISSION}
    desk.jobs.rotate()  # the second is done first
    desk.work()
    assert len(desk.jobs) == 2
    while desk.jobs:
        desk.work()
    assert sorted(each for each, _ in desk.admitted) == sorted(each.id for each in candidates)


def test_a_claim_that_a_block_comes_to_need_goes_ahead_and_is_computed_once(scene: Scene) -> None:
    desk = Desk(scene)
    candidate = claim(scene, scene.answer(scene.question))
    desk.submit(candidate, PEER)
    desk.verify()
    (job,) = desk.jobs
    judged: list[None] = []
    desk.claims.start(job.request, lambda: judged.append(None), Urgency.JUDGING)
    assert job.urgency is Urgency.JUDGING
    assert len(desk.jobs) == 1
    desk.work()
    assert judged == [None]
    assert desk.verdicts[candidate.id] == [None]


def test_a_worker_that_dies_is_no_verdict_about_the_claim(scene: Scene) -> None:
    desk = Desk(scene)
    candidate = claim(scene, scene.answer(scene.question))
    desk.submit(candidate, PEER)
    desk.verify()
    desk.jobs.popleft().on_done(Failure.DIED)
    assert desk.verdicts[candidate.id] == [TransactionReason.WORKER_BUSY]
    assert desk.take(transfer(scene, "attributor")) is None, "nobody is barred"


def test_without_role_or_bond_nothing_is_computed(scene: Scene) -> None:
    desk = Desk(scene)
    payload = scene.answer(scene.question)
    stranger: PrivateKey = scene.who("nobody")
    assert desk.refuses_at_once(scene.ledger.sign(stranger, payload)) == (
        TransactionReason.ROLE_REQUIRED,
        "the role attributor",
    )
    assert not desk.jobs
