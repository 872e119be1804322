"""What can be asked of engine mlp/1: immutable values with canonical bytes and ids. Standard library only.

Every name of content is the SHA-256 of the content's bytes. Integers are big-endian, `list` is a u32 count and then the
items, `short list` the same with a u8 count:

    MlpProblem            engine size u8, engine ASCII | schema id | short list of hidden widths u16 | list of records
    Checkpoint            weights hash | inverse hash | scale u8
    MlpModel              MlpProblem | short list of Checkpoint
    MlpCertifyRequest     MlpModel
    MlpAttributeRequest   MlpModel | list of query hashes

    MlpCertificate        record_count u32 | short list of inverse residuals u64
    the answer            AttributeResult of `head.request`

A request's id is SHA-256 over its own tag and these bytes.
"""

import hashlib
import struct
from dataclasses import dataclass

from attribution.content import encode_list, validate_hashes
from attribution.errors import AttributionError, Reason
from attribution.head.request import MAXIMUM_QUERIES
from attribution.record import TabularSchema

ENGINE_MLP = "mlp/1"

MAXIMUM_HIDDEN_LAYERS = 2
MAXIMUM_WIDTH = 256
MAXIMUM_RECORDS = 1 << 15
MAXIMUM_CHECKPOINTS = 10
MAXIMUM_SCALE = 62
PROJECTED = 16
"""A side of a layer's gradient that is longer than this is projected to this many entries."""
MAXIMUM_UNKNOWNS = (MAXIMUM_HIDDEN_LAYERS + 1) * PROJECTED**2

INVERSE_RESIDUAL_BITS = 30
ETA = 1 << 22
"""Largest inverse residual that certifies, 1/256. Units: 2**-30."""

_CERTIFY_TAG = b"openledger/mlp-certify-request/1"
_ATTRIBUTE_TAG = b"openledger/mlp-attribute-request/1"
_WEIGHT_SIZE_BYTES = 4
_INVERSE_ENTRY_SIZE_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpProblem:
    """Which network, on which records. It says nothing of training: any weights in range may be posted."""

    engine: str
    """Name and version of the arithmetic."""
    schema: TabularSchema
    """Form of the records."""
    widths: tuple[int, ...]
    """Units of each hidden layer, from the input on."""
    records: tuple[bytes, ...]
    """Content hashes in the snapshot's order; the first 256 fix the encoder."""

    def __post_init__(self) -> None:
        if self.engine != ENGINE_MLP:
            raise AttributionError(Reason.ENGINE_UNKNOWN, f"{self.engine!r}, not {ENGINE_MLP}")
        if not isinstance(self.widths, tuple) or not 1 <= len(self.widths) <= MAXIMUM_HIDDEN_LAYERS:
            raise AttributionError(Reason.WIDTHS_OUT_OF_RANGE, f"{self.widths!r}: 1 to {MAXIMUM_HIDDEN_LAYERS} layers")
        if not all(type(width) is int and 1 <= width <= MAXIMUM_WIDTH for width in self.widths):
            raise AttributionError(Reason.WIDTHS_OUT_OF_RANGE, f"{self.widths!r}: 1 to {MAXIMUM_WIDTH} units each")
        if not self.records:
            raise AttributionError(Reason.NO_RECORDS)
        if len(self.records) > MAXIMUM_RECORDS:
            raise AttributionError(Reason.TOO_MANY_RECORDS, f"{len(self.records)}, at most {MAXIMUM_RECORDS}")
        validate_hashes(self.records)

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """Of each layer: its outputs, and its inputs with the bias."""
        sizes = (len(self.schema.columns), *self.widths, self.schema.classes)
        return tuple((sizes[i + 1], sizes[i] + 1) for i in range(len(sizes) - 1))

    @property
    def projected_layers(self) -> tuple[tuple[int, int], ...]:
        """`layers` after projection of both sides."""
        return tuple((min(outputs, PROJECTED), min(inputs, PROJECTED)) for outputs, inputs in self.layers)

    @property
    def unknowns(self) -> int:
        """Entries of a projected gradient, all layers together."""
        return sum(outputs * inputs for outputs, inputs in self.projected_layers)

    @property
    def parameters(self) -> int:
        """Weights of one checkpoint, biases included."""
        return sum(outputs * inputs for outputs, inputs in self.layers)

    @property
    def weights_size_bytes(self) -> int:
        """Size of a checkpoint's weights."""
        return _WEIGHT_SIZE_BYTES * self.parameters

    @property
    def inverse_size_bytes(self) -> int:
        """Size of a checkpoint's inverse: its upper triangle."""
        return _INVERSE_ENTRY_SIZE_BYTES * (self.unknowns * (self.unknowns + 1) // 2)

    def encode(self) -> bytes:
        """Canonical bytes."""
        engine = self.engine.encode("ascii")
        widths = struct.pack(f">B{len(self.widths)}H", len(self.widths), *self.widths)
        return bytes([len(engine)]) + engine + self.schema.id() + widths + encode_list(self.records)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One trained network and what belongs to its gradients."""

    weights: bytes
    """Content hash of the weights."""
    inverse: bytes
    """Content hash of the inverse of its expected Fisher matrix."""
    scale: int
    """Projected gradients are divided by 2**scale; the records' 99.9th percentile fixes it."""

    def __post_init__(self) -> None:
        validate_hashes((self.weights, self.inverse))
        if type(self.scale) is not int or not 1 <= self.scale <= MAXIMUM_SCALE:
            raise AttributionError(Reason.SCALE_OUT_OF_RANGE, f"{self.scale} is not in 1 to {MAXIMUM_SCALE}")

    def encode(self) -> bytes:
        """Canonical bytes."""
        return self.weights + self.inverse + bytes([self.scale])


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpModel:
    """A problem and its owner's checkpoints. The first answers; all of them together say who made the answer."""

    problem: MlpProblem
    """The network and the records."""
    checkpoints: tuple[Checkpoint, ...]
    """Separately trained networks of the same form: ten attribute much better than one."""

    def __post_init__(self) -> None:
        if not isinstance(self.checkpoints, tuple) or not 1 <= len(self.checkpoints) <= MAXIMUM_CHECKPOINTS:
            raise AttributionError(Reason.CHECKPOINTS_OUT_OF_RANGE, f"1 to {MAXIMUM_CHECKPOINTS}")

    def encode(self) -> bytes:
        """Canonical bytes."""
        checkpoints = b"".join(checkpoint.encode() for checkpoint in self.checkpoints)
        return self.problem.encode() + bytes([len(self.checkpoints)]) + checkpoints

    def material_hashes(self) -> tuple[bytes, ...]:
        """Names of the bytes that the model is made of."""
        posted = [name for checkpoint in self.checkpoints for name in (checkpoint.weights, checkpoint.inverse)]
        return (*posted, *self.problem.records)


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpCertifyRequest:
    """Does the arithmetic stay in its bounds with these weights, and are scales and inverses those of these records?"""

    model: MlpModel
    """The model to check."""

    def request_id(self) -> bytes:
        """SHA-256 over the tag and the canonical bytes."""
        return hashlib.sha256(_CERTIFY_TAG + self.model.encode()).digest()

    def multiply_accumulates(self) -> int:
        """Work: one gradient per record and class, their Fisher matrix, and its product with the inverse."""
        problem = self.model.problem
        records, classes, unknowns = len(problem.records), problem.schema.classes, problem.unknowns
        gradients = records * (classes + 1) * gradient_work(problem)
        fisher = records * classes * unknowns**2
        return len(self.model.checkpoints) * (gradients + fisher + unknowns**3)

    def material_hashes(self) -> tuple[bytes, ...]:
        """Names of the bytes that the computation reads."""
        return self.model.material_hashes()

    def subject_hashes(self) -> tuple[bytes, ...]:
        """Of these, what a runner may have kept prepared: nothing."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpAttributeRequest:
    """What does the model answer, and how much did each record pull it towards that answer?"""

    model: MlpModel
    """The model that answers."""
    queries: tuple[bytes, ...]
    """Content hashes of the questions."""

    def __post_init__(self) -> None:
        if not self.queries:
            raise AttributionError(Reason.NO_QUESTIONS)
        if len(self.queries) > MAXIMUM_QUERIES:
            raise AttributionError(Reason.TOO_MANY_QUESTIONS, f"{len(self.queries)}, at most {MAXIMUM_QUERIES}")
        validate_hashes(self.queries)

    def request_id(self) -> bytes:
        """SHA-256 over the tag and the canonical bytes."""
        return hashlib.sha256(_ATTRIBUTE_TAG + self.model.encode() + encode_list(self.queries)).digest()

    def multiply_accumulates(self) -> int:
        """Work when nothing is prepared: the model's preparation and every question."""
        problem = self.model.problem
        point = gradient_work(problem) + problem.unknowns**2
        questions = len(self.queries) * (point + len(problem.records) * problem.unknowns)
        return len(self.model.checkpoints) * (len(problem.records) * point + questions)

    def material_hashes(self) -> tuple[bytes, ...]:
        """Names of the bytes that the computation reads."""
        return (*self.model.material_hashes(), *self.queries)

    def subject_hashes(self) -> tuple[bytes, ...]:
        """Of these, what a runner may have kept prepared: the model's."""
        return self.model.material_hashes()


@dataclass(frozen=True, slots=True, kw_only=True)
class MlpCertificate:
    """What a certified model achieved; a model that is not certified is an AttributionError."""

    record_count: int
    """Records in the snapshot."""
    inverse_residuals: tuple[int, ...]
    """Of each checkpoint: largest row sum of |H·M - τ·I| over τ, rounded up; at most ETA. Units: 2**-30."""

    def encode(self) -> bytes:
        """Canonical bytes."""
        count = len(self.inverse_residuals)
        return struct.pack(f">IB{count}Q", self.record_count, count, *self.inverse_residuals)


def gradient_work(problem: MlpProblem) -> int:
    """Multiply-accumulates of one point's projected gradient: forward, backward, both sides, their products."""
    pairs = zip(problem.layers, problem.projected_layers, strict=True)
    sides = sum(outputs * rows + inputs * columns for (outputs, inputs), (rows, columns) in pairs)
    return 2 * problem.parameters + sides + problem.unknowns
