"""What can be asked of an engine, and what it answers: immutable values with canonical bytes and ids.

Standard library only, so that a node can price and name a request without numpy. Every name of content is the
SHA-256 of the content's bytes. Integers are big-endian, `list` is a u32 count and then the items:

    Problem          engine size u8, engine ASCII | schema id | damping u32 | list of record hashes
    Model            Problem | weights hash | inverse hash
    CertifyRequest   Model
    GateRequest      Model | list of holdout hashes
    AttributeRequest Model | list of query hashes

    Certificate      record_count u32 | gradient_norm u64 | inverse_residual u64
    GateResult       correct u32 | baseline u32 | list of class counts u32 | list of scores i32 | is_gate_on u8
    AttributeResult  list of Answer;   Answer   label u16 | list of influences i16

A request's id is SHA-256 over its own tag and these bytes.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import TypeAlias

from attribution.content import encode_list, validate_hashes
from attribution.errors import AttributionError, Reason
from attribution.record import Schema

ENGINE_HEAD = "head/1"

DAMPING_BITS = 20
"""λ is damping / 2**20."""
MINIMUM_DAMPING = 1 << 10
"""λ = 2**-10: with it ‖W*‖ ≤ sqrt(2·ln(classes)/λ) < 2**7, so that every optimum fits the range of a weight."""
MAXIMUM_DAMPING = 1 << 22
"""λ = 4."""
MAXIMUM_UNKNOWNS = 5120
"""Every bound of the engine is proven up to here; the inverse's bytes are then just below 64 MiB."""
MAXIMUM_RECORDS = 1 << 18
MAXIMUM_HOLDOUT = 1 << 12
MAXIMUM_QUERIES = 1 << 8
MAXIMUM_INFLUENCE = 1000
"""Relative influence of the direction of the question itself."""

GRADIENT_NORM_BITS = 40
EPSILON = 1 << 18
"""Largest gradient norm that certifies, 2**-22. Units: 2**-40."""
INVERSE_RESIDUAL_BITS = 30
ETA = 1 << 22
"""Largest inverse residual that certifies, 1/256. Units: 2**-30."""

INFLUENCES_TAG = b"openledger/influences/1"

_CERTIFY_TAG = b"openledger/certify-request/1"
_GATE_TAG = b"openledger/gate-request/1"
_ATTRIBUTE_TAG = b"openledger/attribute-request/1"
INVERSE_ENTRY_SIZE_BYTES = 5
"""Entries of an inverse that could be certified are below 2**37."""

_WEIGHT_SIZE_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is to be learnt: its optimum, encoder included, is a function of these fields alone."""

    engine: str
    """Name and version of the arithmetic."""
    schema: Schema
    """Form of the records."""
    damping: int
    """λ, the L2 regularisation. Units: 2**-20."""
    records: tuple[bytes, ...]
    """Content hashes in the snapshot's order; the first 256 fix the encoder."""

    def __post_init__(self) -> None:
        if self.engine != ENGINE_HEAD:
            raise AttributionError(Reason.ENGINE_UNKNOWN, f"{self.engine!r}, not {ENGINE_HEAD}")
        if not isinstance(self.damping, int) or not MINIMUM_DAMPING <= self.damping <= MAXIMUM_DAMPING:
            detail = f"{self.damping} is not in {MINIMUM_DAMPING} to {MAXIMUM_DAMPING}"
            raise AttributionError(Reason.DAMPING_OUT_OF_RANGE, detail)
        if self.unknowns > MAXIMUM_UNKNOWNS:
            raise AttributionError(Reason.TOO_MANY_UNKNOWNS, f"{self.unknowns}, at most {MAXIMUM_UNKNOWNS}")
        if not self.records:
            raise AttributionError(Reason.NO_RECORDS)
        if len(self.records) > MAXIMUM_RECORDS:
            raise AttributionError(Reason.TOO_MANY_RECORDS, f"{len(self.records)}, at most {MAXIMUM_RECORDS}")
        validate_hashes(self.records)

    @property
    def unknowns(self) -> int:
        """Weights of the head: (features + bias) times classes."""
        return self.schema.unknowns

    @property
    def weights_size_bytes(self) -> int:
        """Size of the weights' bytes."""
        return _WEIGHT_SIZE_BYTES * self.unknowns

    @property
    def inverse_size_bytes(self) -> int:
        """Size of the inverse's bytes: its upper triangle."""
        return INVERSE_ENTRY_SIZE_BYTES * (self.unknowns * (self.unknowns + 1) // 2)

    def encode(self) -> bytes:
        """Canonical bytes."""
        engine = self.engine.encode("ascii")
        head = bytes([len(engine)]) + engine + self.schema.id() + struct.pack(">I", self.damping)
        return head + encode_list(self.records)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A problem and what its owner posted as the solution."""

    problem: Problem
    """What the model says it was trained on."""
    weights: bytes
    """Content hash of the weights."""
    inverse: bytes
    """Content hash of the inverse Hessian."""

    def __post_init__(self) -> None:
        validate_hashes((self.weights, self.inverse))

    def encode(self) -> bytes:
        """Canonical bytes."""
        return self.problem.encode() + self.weights + self.inverse

    def material_hashes(self) -> tuple[bytes, ...]:
        """Names of the bytes that the model is made of."""
        return (self.weights, self.inverse, *self.problem.records)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifyRequest:
    """Is this model the optimum of exactly these records, and its inverse close enough?"""

    model: Model
    """The model to check."""

    def request_id(self) -> bytes:
        """SHA-256 over the tag and the canonical bytes."""
        return hashlib.sha256(_CERTIFY_TAG + self.model.encode()).digest()

    def multiply_accumulates(self) -> int:
        """Work: logits, gradient, Hessian, and the product of Hessian and inverse."""
        return certify_work(len(self.model.problem.records), self.model.problem.unknowns)

    def material_hashes(self) -> tuple[bytes, ...]:
        """Names of the bytes that the computation reads."""
        return self.model.material_hashes()

    def subject_hashes(self) -> tuple[bytes, ...]:
        """Of these, what a runner may have kept prepared: nothing."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRequest:
    """How well does the model do on labelled points it never saw, and which records make it worse there?"""

    model: Model
    """The model to measure."""
    holdout: tuple[bytes, ...]
    """Content hashes of labelled records."""

    def __post_init__(self) -> None:
        _validate_questions(self.holdout, MAXIMUM_HOLDOUT)

    def request_id(self) -> bytes:
        """SHA-256 over the tag and the canonical bytes."""
        return hashlib.sha256(_GATE_TAG + self.model.encode() + encode_list(self.holdout)).digest()

    def multiply_accumulates(self) -> int:
        """Work when nothing is prepared: the model's preparation and every question."""
        problem = self.model.problem
        return question_work(len(problem.records), problem.unknowns, len(self.holdout))

    def material_hashes(self) -> tuple[bytes, ...]:
        """Names of the bytes that the computation reads."""
        return (*self.model.material_hashes(), *self.holdout)

    def subject_hashes(self) -> tuple[bytes, ...]:
        """Of these, what a runner may have kept prepared: the model's."""
        return self.model.material_hashes()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeRequest:
    """What does the model answer, and how much did each record pull it towards that answer?"""

    model: Model
    """The model that answers."""
    queries: tuple[bytes, ...]
    """Content hashes of the questions."""

    def __post_init__(self) -> None:
        _validate_questions(self.queries, MAXIMUM_QUERIES)

    def request_id(self) -> bytes:
        """SHA-256 over the tag and the canonical bytes."""
        return hashlib.sha256(_ATTRIBUTE_TAG + self.model.encode() + encode_list(self.queries)).digest()

    def multiply_accumulates(self) -> int:
        """Work when nothing is prepared: the model's preparation and every question."""
        problem = self.model.problem
        return question_work(len(problem.records), problem.unknowns, len(self.queries))

    def material_hashes(self) -> tuple[bytes, ...]:
        """Names of the bytes that the computation reads."""
        return (*self.model.material_hashes(), *self.queries)

    def subject_hashes(self) -> tuple[bytes, ...]:
        """Of these, what a runner may have kept prepared: the model's."""
        return self.model.material_hashes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a certified model achieved; a model that is not certified is an AttributionError."""

    record_count: int
    """Records in the snapshot."""
    gradient_norm: int
    """L2 norm of the exact gradient at the posted weights, rounded up; at most EPSILON. Units: 2**-40."""
    inverse_residual: int
    """Largest row sum of |H·M - τ·I| over τ, rounded up; at most ETA. Units: 2**-30."""

    def encode(self) -> bytes:
        """Canonical bytes."""
        return struct.pack(">IQQ", self.record_count, self.gradient_norm, self.inverse_residual)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """A model's measure on its holdout."""

    correct: int
    """Holdout points that the model classifies as labelled."""
    baseline: int
    """Holdout points in the largest class: what a constant answer would get."""
    class_counts: tuple[int, ...]
    """Holdout points of each class."""
    scores: tuple[int, ...]
    """Quality of each record: below 0 it earns nothing from this model. Units: 1/1000, summed over classes."""
    is_gate_on: bool
    """Whether every class has enough points for the scores to mean something."""

    def encode(self) -> bytes:
        """Canonical bytes."""
        counts = struct.pack(f">I{len(self.class_counts)}I", len(self.class_counts), *self.class_counts)
        scores = struct.pack(f">I{len(self.scores)}i", len(self.scores), *self.scores)
        return struct.pack(">II", self.correct, self.baseline) + counts + scores + bytes([self.is_gate_on])


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to one question and each record's part in it."""

    label: int
    """The model's answer; the lowest of equals."""
    influences: bytes
    """Relative influence of each record in the snapshot's order, i16 each, -1000 to 1000."""

    def values(self) -> tuple[int, ...]:
        """The influences as integers."""
        return struct.unpack(f">{len(self.influences) // 2}h", self.influences)

    def influences_hash(self) -> bytes:
        """Commitment to the influence vector: SHA-256(INFLUENCES_TAG ‖ this answer's canonical bytes)."""
        return hashlib.sha256(INFLUENCES_TAG + self.encode()).digest()

    def encode(self) -> bytes:
        """Canonical bytes."""
        return struct.pack(">HI", self.label, len(self.influences) // 2) + self.influences


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeResult:
    """The answers in the questions' order."""

    answers: tuple[Answer, ...]
    """One for each query."""

    def encode(self) -> bytes:
        """Canonical bytes."""
        return struct.pack(">I", len(self.answers)) + b"".join(answer.encode() for answer in self.answers)


HeadRequest: TypeAlias = CertifyRequest | GateRequest | AttributeRequest
HeadResult: TypeAlias = Certificate | GateResult | AttributeResult


def certify_work(records: int, unknowns: int) -> int:
    """Multiply-accumulates of a certification: logits, gradient, Hessian, product of Hessian and inverse."""
    return 2 * records * unknowns + records * unknowns**2 + unknowns**3


def question_work(records: int, unknowns: int, questions: int) -> int:
    """Multiply-accumulates of questions to a model that is not prepared.

    The preparation is the logits of every record and the form of every record with itself, of which symmetry saves up
    to a half; a question is its logits, one product with the inverse, and one pass over the records' features.
    """
    preparation = records * (unknowns + unknowns**2)
    return preparation + questions * (unknowns + unknowns**2 + records * unknowns)


def _validate_questions(hashes: tuple[bytes, ...], maximum: int) -> None:
    if not hashes:
        raise AttributionError(Reason.NO_QUESTIONS)
    if len(hashes) > maximum:
        raise AttributionError(Reason.TOO_MANY_QUESTIONS, f"{len(hashes)}, at most {maximum}")
    validate_hashes(hashes)
