"""The chain's parameters. A field's range is its hard bound: no vote of governance gets past it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from node.primitives.amount import BPS, UNITS_PER_OPEN, Amount
from node.primitives.codec import encode
from node.primitives.crypto import Tag, tagged_hash

LARGEST_BLOCK_SIZE_BYTES = 4 * 2**20
"""No chain may ask for larger blocks: the frame limit of the network is derived from it."""
MOST_BLOCK_TRANSACTIONS = 10_000
"""No chain may ask for more transactions in a block."""
LARGEST_TRANSACTION_SIZE_BYTES = 2**20
"""No chain may ask for larger transactions."""
LARGEST_BLOB_SIZE_BYTES = 64 * 2**20
"""No chain may ask for larger single blobs."""

DEAREST_BASE_UNITS = 10 * UNITS_PER_OPEN
"""No vote may ask more of every transaction: an operator that holds some OPEN can always pay for the vote that undoes
it."""
DEAREST_BYTE_UNITS = 10**6
"""No vote may ask more for a byte: a proposal or a ballot of a thousand bytes costs at most 1 OPEN for them."""
DEAREST_MEGA_MAC_UNITS = UNITS_PER_OPEN
"""No vote may ask more for a million multiply-accumulates; what governs the chain computes nothing."""
LARGEST_BOND_UNITS = 10**6 * UNITS_PER_OPEN
"""No vote may ask for larger bonds: those of the largest contribution are still an amount."""

Theta = Annotated[int, range(1_001)]
"""A threshold on relative influence."""
ClusterCount = Annotated[int, range(1, 65)]
"""How many clusters one question pays."""
BondUnits = Annotated[int, range(LARGEST_BOND_UNITS + 1), "amount"]
"""The size of a bond."""
MOST_VESTING_EPOCHS = 64
Share = Annotated[int, range(BPS + 1)]
"""A part of a whole in basis points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What governs one epoch; changes take effect at its end."""

    delta_ms: Annotated[int, range(20, 60_001)] = 500
    """Δ: the assumed bound on message delay."""
    empty_block_interval_ms: Annotated[int, range(100, 3_600_001)] = 2_000
    """With nothing to do, how long a leader waits before it proposes an empty block."""
    clock_drift_ms: Annotated[int, range(100, 60_001)] = 2_000
    """How far ahead of a validator's clock a block's time may be."""
    epoch_length_heights: Annotated[int, range(4, 1_000_001)] = 1_000
    """Heights in an epoch."""
    evidence_epochs: Annotated[int, range(1, 1_001)] = 8
    """For how many epochs after the votes' own evidence is accepted, and bonds and old keys are kept."""

    block_size_bytes: Annotated[int, range(2**16, LARGEST_BLOCK_SIZE_BYTES + 1)] = 2**20
    """Largest sum of transaction sizes in a block."""
    block_transactions: Annotated[int, range(1, MOST_BLOCK_TRANSACTIONS + 1)] = 2_000
    """Most transactions in a block."""
    block_work_macs: Annotated[int, range(10**6, 10**13)] = 20 * 10**9
    """Most metered multiply-accumulates in a block."""
    transaction_size_bytes: Annotated[int, range(2**12, LARGEST_TRANSACTION_SIZE_BYTES + 1)] = 2**17
    """Largest transaction."""
    transaction_work_macs: Annotated[int, range(10**6, 10**13)] = 10 * 10**9
    """Most metered multiply-accumulates in a transaction."""
    blob_size_bytes: Annotated[int, range(2**10, LARGEST_BLOB_SIZE_BYTES + 1)] = 4 * 2**20
    """Largest blob."""

    fee_base_units: Annotated[int, range(DEAREST_BASE_UNITS + 1), "amount"] = 10_000
    """Fee every transaction pays."""
    fee_per_byte_units: Annotated[int, range(DEAREST_BYTE_UNITS + 1), "amount"] = 10
    """Fee per byte of a transaction."""
    fee_per_mega_mac_units: Annotated[int, range(DEAREST_MEGA_MAC_UNITS + 1), "amount"] = 1_000
    """Fee per started million of metered multiply-accumulates."""

    validator_bond_units: BondUnits = 10_000 * UNITS_PER_OPEN
    """Smallest bond of a validator's operator."""
    attributor_bond_units: BondUnits = 1_000 * UNITS_PER_OPEN
    """Smallest bond of an account that sends certificates, holdouts or attributions."""
    record_bond_units: BondUnits = UNITS_PER_OPEN // 10
    """Bond locked for each contributed record."""
    unbonding_epochs: Annotated[int, range(1, 1_001)] = 8
    """For how many epochs after its request's own a bond stays slashable; while evidence is accepted it always does."""
    slash_bps: Share = 5_000
    """Part of the bond an equivocating validator loses."""

    claim_age_heights: Annotated[int, range(1, 1_001)] = 8
    """How old an object must be before a computed transaction may refer to it."""
    question_timeout_heights: Annotated[int, range(10, 10_000_001)] = 1_000
    """After how many heights an unanswered question's fee may be taken back."""
    holdout_reveal_heights: Annotated[int, range(2, 1_000_001)] = 1_000
    """How many heights a registered model waits for its holdout; later it answers unmeasured, and mints nothing."""
    certificate_epochs: Annotated[int, range(1, 1_000_001)] = 4
    """For how many epochs a certificate's snapshot earns its contributors; later their part goes to the escrow."""
    contribution_records: Annotated[int, range(1, 1_025)] = 256
    """Most records in one contribution."""
    attribution_questions: Annotated[int, range(1, 257)] = 64
    """Most questions answered by one transaction."""
    model_unknowns: Annotated[int, range(2, 5_121)] = 512
    """Most unknowns (features x classes) of a head/1 model."""
    snapshot_records: Annotated[int, range(1, 10_001)] = 10_000
    """Most records in a training snapshot."""

    beta_bps: Annotated[int, range(200, 3_001)] = 1_000
    """Part of a question's fee that is burned."""
    owner_bps: Share = 5_500
    """The model owner's part of a question's fee."""
    data_bps: Share = 2_500
    """The contributors' part of a question's fee."""
    reviewers_bps: Share = 300
    """The reviewers' part of a question's fee."""
    validators_bps: Share = 700
    """The validators' part of a question's fee."""
    kappa_bps: Annotated[int, range(8_001)] = 5_000
    """How much of what is burned may be minted."""
    epoch_mint_cap_units: Amount = 100_000 * UNITS_PER_OPEN
    """Most OPEN minted for an epoch: the first one's cap; no later cap is above it, and raising it raises none."""
    mint_decay_bps: Annotated[int, range(1_001)] = 66
    """By how much the epoch's cap shrinks each epoch."""
    mint_data_bps: Share = 7_000
    """The contributors' part of what is minted."""
    mint_reviewers_bps: Share = 1_500
    """The reviewers' part of what is minted."""
    mint_validators_bps: Share = 1_000
    """The validators' part of what is minted."""
    mint_owner_bps: Share = 500
    """The model owner's part of what is minted."""
    theta: Theta = 50
    """Relative influence below which a record is not paid."""
    sigma: Annotated[int, range(1, 10_001)] = 200
    """Added to the sum of influences, so that thin evidence leaves a remainder."""
    top_clusters: ClusterCount = 16
    """How many clusters one question pays."""
    vesting_epochs: Annotated[int, range(MOST_VESTING_EPOCHS + 1)] = 8
    """Over how many epochs what a record earns becomes its contributor's; 0 is at once."""
    challenge_timeout_heights: Annotated[int, range(1, 1_000_001)] = 20_000
    """After so many heights a challenge that the reviewers did not rule on binds nobody."""

    def __post_init__(self) -> None:
        """Raises: ValueError when parts do not make a whole."""
        if self.beta_bps + self.owner_bps + self.data_bps + self.reviewers_bps + self.validators_bps != BPS:
            raise ValueError(f"the parts of a question's fee and the burn add up to {BPS} bps")
        if self.mint_data_bps + self.mint_reviewers_bps + self.mint_validators_bps + self.mint_owner_bps != BPS:
            raise ValueError(f"the parts of what is minted add up to {BPS} bps")
        if self.transaction_size_bytes > self.block_size_bytes or self.transaction_work_macs > self.block_work_macs:
            raise ValueError("a block takes at least one transaction of the largest size and work")

    def hash(self) -> bytes:
        """What a block's header commits to."""
        return tagged_hash(Tag.PARAMETERS, encode(self))
