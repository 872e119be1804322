"""What a module may know besides the state: the block it runs in, the transaction it runs for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Protocol, TypeVar

from node.primitives.codec import encode
from node.primitives.crypto import Hash
from node.state.view import View
from node.types.parameters import LARGEST_BLOB_SIZE_BYTES, Parameters
from node.types.receipt import Event
from node.types.validator import ValidatorSet

State = View
"""The view a module reads and writes."""


M = TypeVar("M")


class EventClass(Protocol):
    """A wire class that describes one thing that happened."""

    NAME: ClassVar[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockContext:
    """The block: nothing in here differs between validators."""

    genesis_hash: bytes
    """The chain."""
    height: int
    """The block's height."""
    epoch: int
    """The block's epoch."""
    epoch_first_height: int
    """The first block of that epoch."""
    parent_id: bytes
    """The block before."""
    parameters: Parameters
    """What governs the block."""
    validators: ValidatorSet
    """Who votes on it."""


@dataclass(slots=True, kw_only=True)
class Context:
    """One transaction in its block."""

    block: BlockContext
    """The block."""
    transaction_id: bytes
    """The transaction."""
    transaction_index: int
    """Its place in the block."""
    sender: bytes
    """Who sent it."""
    events: list[Event] = field(default_factory=list)
    """What happened so far."""

    def emit(self, event: EventClass) -> None:
        """Notes that something happened."""
        self.events.append(Event(name=event.NAME, payload=encode(event)))

    @property
    def parameters(self) -> Parameters:
        """What governs the block."""
        return self.block.parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """Bytes that travel beside the transaction."""

    hash: Hash
    """SHA-256 of the bytes."""
    size_bytes: Annotated[int, range(1, LARGEST_BLOB_SIZE_BYTES + 1)]
    """How many."""


class Resources(Protocol):
    """What the host lends to the verification of a transaction. Each raises `Pending` when it has to fetch first."""

    def blob(self, blob_hash: bytes) -> bytes:
        """The bytes of a blob."""

    def blob_size_bytes(self, blob_hash: bytes) -> int:
        """How many bytes a blob has: known without reading a large one."""

    def result(self, request: Any) -> Any:
        """The result of an attribution request; raises AttributionError when it cannot be computed."""

    def memo(self, key: bytes, build: Callable[[], M]) -> M:
        """What `build` gives for a key that names immutable things: built once."""


class Pending(Exception):
    """Verification waits for something the host is getting: not a verdict."""


class BlobPending(Pending):
    """Bytes are missing."""

    def __init__(self, blob_hash: bytes) -> None:
        super().__init__(blob_hash.hex())
        self.blob_hash = blob_hash


class ResultPending(Pending):
    """A computation is not done."""

    def __init__(self, request: Any) -> None:
        super().__init__("a computation is pending")
        self.request = request
