"""Ledgers at the points where tests begin: each is made once and forked by whoever uses it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cache

import attribution.head.request as engine
from attribution.record import TabularSchema, encode_query, encode_record
from node.errors import TransactionRejected
from node.modules.accounts import Transfer
from node.modules.attributions import Ask, Attribute, attribution_claim, blocked_positions, current_terms
from node.modules.bonds import Bond
from node.modules.context import BlobRef, Context
from node.modules.datanets import DATANETS, ColumnSpec, Contribute, CreateDatanet, RejectionReason, Review, schema_of
from node.modules.holdouts import HOLDOUTS, CommitHoldout, RevealHoldout, chunk_leaf, drawn_chunk
from node.modules.models import (
    MODELS,
    CertificateClaim,
    MeasureModel,
    RegisterModel,
    engine_model,
    load_snapshot,
    measure_claim,
)
from node.primitives.amount import UNITS_PER_OPEN
from node.primitives.crypto import ZERO_HASH, PrivateKey, sha256
from node.primitives.merkle import inclusion_proof, merkle_root
from node.types.genesis import Role
from node.types.parameters import Parameters
from tests.factories import make_chain
from tests.node.ledger import Ledger, make_ledger
from tests.node.modules.training import train

OPEN = UNITS_PER_OPEN
DAMPING = 1 << 17
PRICE_UNITS = OPEN
BOUND = 10_000
RECORDS_EACH = 20
HOLDOUT_PER_CLASS = 32
HOLDOUT_CHUNKS = 2

PARAMETERS = Parameters(
    epoch_length_heights=10,
    claim_age_heights=2,
    question_timeout_heights=15,
    holdout_reveal_heights=20,
    evidence_epochs=2,
    unbonding_epochs=2,
    certificate_epochs=4,
    contribution_records=24,
    attribution_questions=3,
    transaction_work_macs=10**6,
    block_work_macs=2 * 10**6,
    vesting_epochs=0,
)
PEOPLE = {
    "curator": Role.CURATOR,
    "reviewer 1": Role.REVIEWER,
    "reviewer 2": Role.REVIEWER,
    "reviewer 3": Role.REVIEWER,
    "ann": Role.CONTRIBUTOR,
    "bob": Role.CONTRIBUTOR,
    "developer": Role.DEVELOPER,
    "rival": Role.DEVELOPER,
    "attributor": Role.ATTRIBUTOR,
    "asker": 0,
    "nobody": 0,
}
COLUMNS = (
    ColumnSpec(name="height", decimals=2, minimum=-BOUND, maximum=BOUND),
    ColumnSpec(name="weight", decimals=1, minimum=-BOUND, maximum=BOUND),
)
CLASSES = ("ill", "well")


@dataclass
class Scene:
    """A ledger and the names of what stands in it."""

    ledger: Ledger
    datanet: bytes = ZERO_HASH
    contributions: tuple[bytes, ...] = ()
    records: tuple[bytes, ...] = ()
    """Contents by position."""
    chunks: tuple[tuple[bytes, ...], ...] = ()
    model: bytes = ZERO_HASH
    question: bytes = ZERO_HASH

    def fork(self) -> Scene:
        """The same, to go its own way."""
        return replace(self, ledger=self.ledger.fork())

    def who(self, name: str) -> PrivateKey:
        """Somebody's key."""
        return self.ledger.chain.people[name]

    @property
    def operators(self) -> tuple[PrivateKey, ...]:
        return self.ledger.chain.operators

    @property
    def reviewers(self) -> tuple[PrivateKey, ...]:
        return tuple(self.who(f"reviewer {number}") for number in (1, 2, 3))

    @property
    def schema(self) -> TabularSchema:
        return schema_of(DATANETS.need(self.ledger.state, self.datanet))

    def put(self, content: bytes) -> BlobRef:
        return self.ledger.shelf.put(content)

    def refusal(self, key: PrivateKey, payload: object) -> TransactionRejected:
        """Why no block may carry a transaction, when the words are the engine's."""
        rejected: list[TransactionRejected] = []
        candidate = self.ledger.sign(key, payload)
        built = self.ledger.build([candidate], lambda _, error: rejected.append(error))
        assert built.candidates == ()
        [error] = rejected
        self.ledger.refuses_candidate(candidate, error.reason, error.detail)
        return error

    def needed_fee_units(self, key: PrivateKey, payload: object, work_macs: int) -> int:
        """The smallest fee: base, bytes, and started millions of multiply-accumulates."""
        parameters = self.ledger.parameters
        fee_units = 0
        for _ in range(3):  # the fee stands in the transaction and may lengthen it
            size_bytes = len(self.ledger.sign(key, payload, fee_units=fee_units).data)
            fee_units = (
                parameters.fee_base_units
                + parameters.fee_per_byte_units * size_bytes
                + parameters.fee_per_mega_mac_units * -(-work_macs // 10**6)
            )
        return fee_units

    def record(self, label: int, *values: int) -> BlobRef:
        """A record on the shelf."""
        return self.put(encode_record(self.schema, label, values))

    def contribute(self, name: str, *records: BlobRef) -> bytes:
        """Records that wait for the reviewers."""
        return self.ledger.do(self.who(name), Contribute(datanet=self.datanet, records=records)).transaction_id

    def accept(self, contribution: bytes) -> None:
        """Two of three reviewers accept."""
        verdict = Review(contribution=contribution, is_accepted=True, reason=RejectionReason.NONE)
        self.ledger.do_all([(reviewer, verdict) for reviewer in self.reviewers[:2]])

    def registration(self, **changes: object) -> RegisterModel:
        """What the owner of a model trained on the current snapshot sends."""
        ledger = self.ledger
        datanet = DATANETS.need(ledger.state, self.datanet)
        count = datanet.snapshot_count(ledger.epoch)
        snapshot = load_snapshot(ledger.state, self.datanet, count)
        problem = engine.Problem(engine="head/1", schema=self.schema, damping=DAMPING, records=snapshot.contents)
        trained = _train_once(problem, tuple(ledger.shelf.contents[each] for each in snapshot.contents))
        payload = RegisterModel(
            model=ZERO_HASH,
            name="diagnosis",
            datanet=self.datanet,
            engine="head/1",
            damping=DAMPING,
            weights=self.put(trained.weights),
            inverse=self.put(trained.inverse),
            certificate=CertificateClaim(
                record_count=trained.certificate.record_count,
                gradient_norm=trained.certificate.gradient_norm,
                inverse_residual=trained.certificate.inverse_residual,
            ),
            snapshot_epoch=ledger.epoch,
            price_units=PRICE_UNITS,
        )
        return replace(payload, **changes)  # type: ignore[arg-type]

    def commitment(self) -> CommitHoldout:
        """What the reviewers send about the holdout."""
        return CommitHoldout(datanet=self.datanet, root=merkle_root(self._leaves()), chunk_count=len(self.chunks))

    def reveal(self, epoch: int, **changes: object) -> RevealHoldout:
        """What a reviewer sends once an epoch has drawn its chunk."""
        holdout = HOLDOUTS.need(self.ledger.state, self.datanet)
        index = drawn_chunk(self.ledger.state, holdout, epoch)
        payload = RevealHoldout(
            datanet=self.datanet,
            epoch=epoch,
            chunk_index=index,
            salt=_salt(index),
            records=tuple(self.put(content) for content in self.chunks[index]),
            proof=inclusion_proof(self._leaves(), index),
        )
        return replace(payload, **changes)  # type: ignore[arg-type]

    def measure(self) -> MeasureModel:
        """What the engine computes of the model on its revealed holdout."""
        from node.modules.holdouts import REVEALED  # the table only this helper reads
        from node.modules.validators import epoch_key

        ledger = self.ledger
        model = MODELS.need(ledger.state, self.model)
        subject, snapshot = engine_model(ledger.state, self.model, model, ledger.shelf)
        revealed = REVEALED.need(ledger.state, self.datanet + epoch_key(model.certified_epoch))
        result = ledger.shelf.result(engine.GateRequest(model=subject, holdout=revealed.records))
        assert isinstance(result, engine.GateResult)
        return measure_claim(self.model, result, snapshot)

    def query(self, *values: int) -> BlobRef:
        """A question's features on the shelf."""
        return self.put(encode_query(self.schema, values))

    def ask(self, *values: int, fee_units: int = 10 * OPEN, name: str = "asker") -> bytes:
        """A paid question."""
        payload = Ask(model=self.model, query=self.query(*values), fee_units=fee_units)
        return self.ledger.do(self.who(name), payload).transaction_id

    def answer(self, *questions: bytes) -> Attribute:
        """What the engine computes for questions."""
        from node.modules.attributions import QUESTIONS  # the table only this helper reads

        ledger = self.ledger
        model = MODELS.need(ledger.state, self.model)
        subject, snapshot = engine_model(ledger.state, self.model, model, ledger.shelf)
        queries = tuple(QUESTIONS.need(ledger.state, question).query for question in questions)
        result = ledger.shelf.result(engine.AttributeRequest(model=subject, queries=queries))
        assert isinstance(result, engine.AttributeResult)
        blocked = blocked_positions(ledger.state, self.model)
        terms = current_terms(ledger.state, ledger.parameters, self.model, ledger.epoch)
        return attribution_claim(terms, snapshot, blocked, self.model, questions, result)

    def _leaves(self) -> list[bytes]:
        return [
            chunk_leaf(_salt(index), tuple(sha256(content) for content in chunk))
            for index, chunk in enumerate(self.chunks)
        ]


def datanet_payload(scene: Scene, **changes: object) -> CreateDatanet:
    """A datanet of two columns, two classes and three reviewers of whom two decide."""
    payload = CreateDatanet(
        name="clinic",
        licence="CC-BY-4.0",
        columns=COLUMNS,
        classes=CLASSES,
        dampings=(DAMPING,),
        reviewers=tuple(reviewer.address for reviewer in scene.reviewers),
        review_quorum=2,
    )
    return replace(payload, **changes)  # type: ignore[arg-type]


def make_points(seed: int, count: int, spread: int = 700) -> list[tuple[int, int, int]]:
    """Label and values: two clouds that touch."""
    source = random.Random(seed)
    points = []
    for index in range(count):
        label = index % 2
        centre = 1000 if label else -1000
        points.append((label, round(source.gauss(centre, spread)), round(source.gauss(centre // 2, spread))))
    return points


@cache
def _genesis(parameters: Parameters) -> Scene:
    return Scene(make_ledger(make_chain(parameters=parameters, people={k: int(v) for k, v in PEOPLE.items()})))


def genesis_scene(parameters: Parameters = PARAMETERS) -> Scene:
    """Height 0."""
    return _genesis(parameters).fork()


@cache
def _bonded(parameters: Parameters) -> Scene:
    scene = genesis_scene(parameters)
    bond = Bond(amount_units=parameters.attributor_bond_units)
    scene.ledger.do_all([(scene.who(name), bond) for name in ("developer", "rival", "attributor")])
    scene.datanet = scene.ledger.do(scene.who("curator"), datanet_payload(scene)).transaction_id
    scene.ledger.wait(parameters.claim_age_heights)
    return scene


def datanet_scene(parameters: Parameters = PARAMETERS) -> Scene:
    """Bonds locked, a datanet open and old enough."""
    return _bonded(parameters).fork()


@cache
def _pending(parameters: Parameters) -> Scene:
    scene = datanet_scene(parameters)
    points = make_points(1, 2 * RECORDS_EACH)
    parts = (points[:RECORDS_EACH], points[RECORDS_EACH:])
    # Every fifth of bob's labels is wrong: there is somebody for the gate to keep out.
    wrong = [(1 - label if index % 5 == 0 else label, *values) for index, (label, *values) in enumerate(parts[1])]
    contents = [[scene.record(*point) for point in part] for part in (parts[0], wrong)]
    scene.contributions = tuple(
        scene.contribute(name, *records) for name, records in zip(("ann", "bob"), contents, strict=True)
    )
    scene.records = tuple(each.hash for records in contents for each in records)
    return scene


def pending_scene(parameters: Parameters = PARAMETERS) -> Scene:
    """Two contributions wait for the reviewers."""
    return _pending(parameters).fork()


@cache
def _accepted(parameters: Parameters) -> Scene:
    scene = pending_scene(parameters)
    for contribution in scene.contributions:
        scene.accept(contribution)
    points = make_points(2, 2 * HOLDOUT_PER_CLASS * HOLDOUT_CHUNKS)
    size = 2 * HOLDOUT_PER_CLASS
    scene.chunks = tuple(
        tuple(encode_record(scene.schema, label, values) for label, *values in points[start : start + size])
        for start in range(0, len(points), size)
    )
    return scene


def accepted_scene(parameters: Parameters = PARAMETERS) -> Scene:
    """Both contributions accepted, no holdout."""
    return _accepted(parameters).fork()


@cache
def _committed(parameters: Parameters) -> Scene:
    scene = accepted_scene(parameters)
    scene.ledger.do_all([(reviewer, scene.commitment()) for reviewer in scene.reviewers[:2]])
    scene.ledger.next_epoch()
    scene.ledger.wait(parameters.claim_age_heights)
    return scene


def committed_scene(parameters: Parameters = PARAMETERS) -> Scene:
    """A holdout is committed, the records stand in the snapshot of an epoch that has just begun."""
    return _committed(parameters).fork()


@cache
def _ungated(parameters: Parameters) -> Scene:
    scene = accepted_scene(parameters)
    scene.ledger.next_epoch()
    scene.ledger.wait(parameters.claim_age_heights)
    scene.model = scene.ledger.do(scene.who("developer"), scene.registration()).transaction_id
    scene.ledger.wait(parameters.claim_age_heights)
    return scene


def ungated_scene(parameters: Parameters = PARAMETERS) -> Scene:
    """A model without holdout: open, and minting nothing."""
    return _ungated(parameters).fork()


@cache
def _registered(parameters: Parameters) -> Scene:
    scene = committed_scene(parameters)
    scene.model = scene.ledger.do(scene.who("developer"), scene.registration()).transaction_id
    return scene


def registered_scene(parameters: Parameters = PARAMETERS) -> Scene:
    """A model waits for its holdout."""
    return _registered(parameters).fork()


@cache
def _revealed(parameters: Parameters) -> Scene:
    scene = registered_scene(parameters)
    epoch = scene.ledger.epoch
    scene.ledger.next_epoch()
    scene.ledger.add_block()
    scene.ledger.do(scene.reviewers[0], scene.reveal(epoch))
    return scene


def revealed_scene(parameters: Parameters = PARAMETERS) -> Scene:
    """The holdout chunk of the model's epoch is known since a block."""
    return _revealed(parameters).fork()


@cache
def _measured(parameters: Parameters) -> Scene:
    scene = revealed_scene(parameters)
    scene.ledger.wait(parameters.claim_age_heights)
    scene.ledger.do(scene.who("attributor"), scene.measure())
    scene.ledger.wait(parameters.claim_age_heights)
    return scene


def measured_scene(parameters: Parameters = PARAMETERS) -> Scene:
    """A measured model takes questions."""
    return _measured(parameters).fork()


@cache
def _asked(parameters: Parameters) -> Scene:
    scene = measured_scene(parameters)
    scene.question = scene.ask(800, 300)
    scene.ledger.wait(parameters.claim_age_heights)
    return scene


def asked_scene(parameters: Parameters = PARAMETERS) -> Scene:
    """A question waits for its answer."""
    return _asked(parameters).fork()


def send_open(scene: Scene, sender: str, recipient: str, amount_units: int) -> None:
    """Some OPEN changes hands."""
    scene.ledger.do(scene.who(sender), Transfer(recipient=scene.who(recipient).address, amount_units=amount_units))


@cache
def _train_once(problem: engine.Problem, _contents: tuple[bytes, ...]):  # type: ignore[no-untyped-def]
    return train(problem, dict(zip(problem.records, _contents, strict=True)))


def _salt(index: int) -> bytes:
    return sha256(f"salt {index}".encode())


def make_context(ledger: Ledger, sender: bytes = bytes(20)) -> Context:
    """The context of a transaction in the next block, for what a module offers to others."""
    return Context(block=ledger.context, transaction_id=sha256(b"some transaction"), transaction_index=0, sender=sender)
