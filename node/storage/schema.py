"""Every key prefix of the node's stores in one table, so that no two things can collide.

A key of the main store is one `Column` byte and a column's own key. A key of the ledger's state (column STATE) is one
`Prefix` byte and the table's own key; what stands there is what the state root commits to.
"""

from __future__ import annotations

from enum import IntEnum

HEIGHT_SIZE_BYTES = 8


class Column(IntEnum):
    """First byte of a key in the main store."""

    STATE = 1
    """Latest values of the ledger's state."""
    TREE = 2
    """Merkle nodes by path, one hexadecimal digit a byte."""
    BLOCK = 3
    """Final blocks by height."""
    HEIGHT = 4
    """Heights of final blocks by id."""
    RECEIPTS = 5
    """Receipts of a final block by height."""
    FINALITY = 6
    """Finalization certificates of directly finalised blocks by height."""
    UNDO = 7
    """What a block's changes replaced, by height, for the last blocks."""
    META = 8
    """Singletons: `Meta` says which."""
    EPOCH_END = 9
    """What ended an epoch, by epoch: kept for ever."""
    HEADER = 10
    """Headers of final blocks whose bodies were never here, by height: the block of the snapshot a store began with."""


class Meta(IntEnum):
    """Keys of column META."""

    GENESIS = 1
    """The genesis hash: the chain this store belongs to."""
    TIP = 2
    """Height of the last final block, and the state root after it."""
    LOG = 3
    """How far the write-ahead log had come when the last block became final."""
    LOWEST = 4
    """The lowest height above the genesis whose block is kept."""
    RESTORING = 5
    """Set while a snapshot is being restored: what stands in the store is not whole."""


class Prefix(IntEnum):
    """First byte of a key in the ledger's state."""

    ACCOUNT = 0x10
    """Accounts by address."""
    GOVERNING = 0x20
    """The current epoch: its parameters and validator set (one value)."""
    REGISTRY = 0x21
    """Nodes and validator candidates (one value)."""
    PENDING = 0x22
    """Changes that take effect at the epoch's end (one value)."""
    PROPOSAL = 0x23
    """Governance proposals by number."""
    UNBONDING = 0x24
    """Bonds on their way out by owner."""
    EVIDENCE = 0x25
    """Punished equivocations by (validator, epoch, view)."""
    PAST_SET = 0x26
    """Validator sets of past epochs by epoch, for evidence and shares."""
    EPOCH_SEED = 0x27
    """Ids of past epochs' last blocks by epoch: randomness nobody had before."""
    ENGINES = 0x28
    """Attribution engines (one value)."""
    DATANET = 0x30
    """Datanets by id."""
    RECORD = 0x31
    """Records by schema and content hash: global seniority."""
    RECORD_AT = 0x32
    """Accepted records of a datanet by position."""
    CONTRIBUTION = 0x33
    """Contributions by id."""
    PARTY = 0x34
    """What an account is to a datanet: contributor, owner of a model."""
    HOLDOUT = 0x35
    """Committed holdouts by datanet."""
    CONTENT = 0x36
    """Uses and tombstones of blobs by hash."""
    REVEALED = 0x37
    """Revealed holdout chunks by datanet and epoch."""
    CLUSTERS = 0x38
    """What is known of a datanet's clusters, by datanet."""
    CLUSTER = 0x39
    """Clusters by datanet and place."""
    CLUSTER_PLACE = 0x3A
    """Places of clusters by datanet and leader."""
    VESTING = 0x3B
    """What records earned and were not paid yet, by schema id and content hash."""
    CHALLENGE = 0x3C
    """Challenges by schema id and content hash."""
    MODEL = 0x40
    """Models by id."""
    GATE = 0x41
    """Records of a model that its holdout gate keeps out, by model."""
    QUESTION = 0x50
    """Paid questions by id."""
    SCORES = 0x51
    """What clusters scored in a model's answers, by model and epoch."""
    SCORED_EPOCHS = 0x52
    """Epochs whose scores are kept, by model."""
    ESCROW = 0x60
    """Escrows by datanet."""
    SUPPLY = 0x61
    """Treasury and totals of what was minted and burned (one value)."""
    MINT_EPOCH = 0x62
    """What an epoch mints, by epoch."""
    MINT_SHARE = 0x63
    """What a beneficiary accrued, by epoch and address."""
    VALIDATOR_POOL = 0x64
    """Fees an epoch's validators share, by epoch."""
    POOL_CLAIM = 0x65
    """Who took their part of a pool, by epoch and address."""
    REGISTER = 0x70
    """Compare-and-set registers by owner and name."""


def height_key(height: int) -> bytes:
    """A height as a key: big-endian, so that keys sort as heights do."""
    return height.to_bytes(HEIGHT_SIZE_BYTES, "big")


def column_key(column: Column, key: bytes) -> bytes:
    """A key of the main store."""
    return bytes((column,)) + key
