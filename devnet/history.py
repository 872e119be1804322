"""What clients did and saw, and what the nodes say afterwards: everything the checker knows, and nothing else."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    """What a client knows of its operation."""

    OK = "ok"
    """A final receipt says that it took effect, or a read was answered."""
    FAILED = "failed"
    """A final receipt says that it took no effect."""
    UNKNOWN = "unknown"
    """No receipt: it may be final, become final later, or never."""


class TransferOrder(msgspec.Struct, frozen=True, kw_only=True, tag="transfer"):
    """OPEN to somebody."""

    recipient: str
    """To whom."""
    amount_units: int
    """How much."""


class SetOrder(msgspec.Struct, frozen=True, kw_only=True, tag="set"):
    """Compare-and-set of a register."""

    register: str
    """Its name; all registers have one owner."""
    expected_version: int
    """What it replaces."""
    value: str
    """What it writes, in hexadecimal."""


class ReadOrder(msgspec.Struct, frozen=True, kw_only=True, tag="read"):
    """A register's final value."""

    register: str
    """Its name."""
    is_fresh: bool = False
    """Whether it claims to be no older than its call: the node was seen past a marker sent after the call."""
    version: int = 0
    """What was read."""
    value: str = ""
    """What was read, in hexadecimal."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of one client."""

    client: str
    """Whose: one at a time."""
    node: str
    """Which node was asked."""
    called_s: float
    """When, by the clock that all clients share."""
    returned_s: float
    """When the answer came, or the client gave up."""
    order: TransferOrder | SetOrder | ReadOrder
    """What it was to do."""
    outcome: Outcome
    """What the client knows."""
    transaction_id: str = ""
    """Its transaction; a fresh read's is the marker, a read has none."""
    height: int = 0
    """Its block; a read's is the block after which it is so."""
    index: int = 0
    """Its place in the block."""
    failure: str = ""
    """Why it took no effect."""


class Wipe(msgspec.Struct, frozen=True, kw_only=True):
    """A node lost its disk: what it says afterwards may be older than what it said before."""

    node: str
    """Which."""
    at_s: float
    """When."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A node said where it stands."""

    node: str
    """Which."""
    at_s: float
    """When."""
    height: int
    """Its last final block."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A fault from its beginning to its healing."""

    fault: str
    """What was done."""
    began_s: float
    """When."""
    healed_s: float
    """When everything that was done was undone."""
    is_beyond: bool
    """Whether it hit more than the protocol tolerates: no progress is owed before the healing."""
    allowance_s: float = 0.0
    """How much longer than usual a healing may take: a node without a disk has all blocks to fetch again."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A run as its clients saw it."""

    owner: str
    """Whose the registers are."""
    operations: list[Operation]
    """Everything that was asked."""
    wipes: list[Wipe] = []
    """Disks that were lost."""
    windows: list[Window] = []
    """What was done to the nodes."""
    samples: list[Sample] = []
    """Where the nodes stood."""
    ended_s: float = 0.0
    """When the watching ended."""


class BlockLine(msgspec.Struct, frozen=True, kw_only=True):
    """A final block as one node shows it."""

    height: int
    """Blocks since genesis."""
    id: str
    """Its id: the hash of its header."""
    parent_id: str
    """The block before."""
    state_root: str
    """The state after it."""


class FinalTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """A final transaction."""

    id: str
    """Which."""
    height: int
    """Its block."""
    index: int
    """Its place."""
    kind: int
    """The number of its kind."""
    sender: str
    """Whose."""
    nonce: int
    """How many the sender made before."""
    fee_units: int
    """What it paid."""
    payload: str
    """Canonical bytes in hexadecimal."""
    failure: str
    """Why it took no effect; empty when it had."""


class Holdings(msgspec.Struct, frozen=True, kw_only=True):
    """What one node says that everybody has."""

    balances: dict[str, int]
    """By account."""
    treasury_units: int
    """Fees."""
    supply_units: int
    """All OPEN there is."""
    conservation_error: str
    """What the node's own audit found; empty when everything adds up."""


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What the nodes say after a run, over their public RPC."""

    genesis_balances: dict[str, int]
    """By account, at the beginning."""
    genesis_units: int
    """All OPEN there was."""
    blocks: dict[str, list[BlockLine]]
    """Final blocks from the first one, by node."""
    transactions: list[FinalTransaction]
    """All of them, in order."""
    holdings: dict[str, Holdings]
    """By node, when everything was quiet."""
    accused: dict[str, int]
    """Equivocations each node saw: nobody here lies."""
