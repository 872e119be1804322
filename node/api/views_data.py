"""Datanets, records, models, questions and payments as JSON: the shapes that `node.api.present_data` fills.

Hashes, keys and ids are hexadecimal, amounts decimal strings of base units, times milliseconds since 1970.
"""

from __future__ import annotations

from msgspec import Struct


class ColumnView(Struct, frozen=True, kw_only=True):
    """One number of a record."""

    name: str
    """What it measures."""
    decimals: int
    """A value is the number times 10^decimals."""
    minimum: int
    """Smallest value."""
    maximum: int
    """Largest value."""


class HoldoutView(Struct, frozen=True, kw_only=True):
    """What a datanet's reviewers committed to."""

    root: str
    """Merkle root over the chunks."""
    chunk_count: int
    """How many chunks."""
    committed_height: int
    """When the quorum was reached; 0 before."""
    used: list[int]
    """Chunks revealed."""


class DatanetView(Struct, frozen=True, kw_only=True):
    """A datanet."""

    id: str
    """Its id."""
    name: str
    """What people call it."""
    licence: str
    """Under which terms its records are used."""
    owner: str
    """Who created it."""
    columns: list[ColumnView]
    """The form of a record."""
    classes: list[str]
    """The names of the labels."""
    schema_id: str
    """The form's identity."""
    dampings: list[int]
    """The regularisations a model may be trained with."""
    reviewers: list[str]
    """Who accepts records."""
    review_quorum: int
    """How many must agree."""
    created_height: int
    """When."""
    accepted_count: int
    """Records accepted so far, erased ones included."""
    grouped_count: int
    """Positions whose records are grouped into clusters of near-copies."""
    models: list[str]
    """Models that are not retired."""
    escrow_units: str
    """What its questions paid and no record earned."""
    holdout: HoldoutView | None
    """What its models are measured on."""


class ScaleView(Struct, frozen=True, kw_only=True):
    """The affine map of a column, in which likeness is measured."""

    total: int
    """Sum of the column over the records that fixed it."""
    spread: int
    """Their deviations; 0 if the column does not vary."""
    shift: int
    """Bits by which the spread was shifted right."""


class ClusterView(Struct, frozen=True, kw_only=True):
    """A cluster of near-copies."""

    place: int
    """Its number in the datanet."""
    leader: str
    """Content hash of its first record: what its members are marked with."""
    compared: str
    """Content hash of the record that new ones are compared with: the leader, or who followed it."""
    heirs: list[str]
    """Content hashes of its first members besides."""


class ClustersView(Struct, frozen=True, kw_only=True):
    """What the next records of a datanet are compared with."""

    changes: int
    """Goes up with every cluster made, inherited or ended; a grouping states it."""
    grouped_count: int
    """The first position that is not grouped."""
    scales: list[ScaleView]
    """One for each column; none before the first grouping."""
    clusters: list[ClusterView]
    """Those from the place that was asked for, by place."""
    next_place: int | None
    """Where the next page begins."""


class ContributionView(Struct, frozen=True, kw_only=True):
    """Records that came together."""

    id: str
    """The transaction that made it."""
    datanet: str
    """Where."""
    contributor: str
    """By whom."""
    status: str
    """`pending`, `accepted` or `rejected`."""
    record_count: int
    """Records under review, duplicates left out."""
    record_bond_units: str
    """What is locked for each."""
    bonded_count: int
    """For how many it is locked still."""
    accepted_by: list[str]
    """Reviewers in favour."""
    rejected_by: list[str]
    """Reviewers against."""


class ContributionDetail(Struct, frozen=True, kw_only=True):
    """A contribution with its records."""

    contribution: ContributionView
    """The contribution."""
    records: list[str]
    """Content hashes."""


class EarnedView(Struct, frozen=True, kw_only=True):
    """What a record earned in an epoch: it becomes its contributor's in equal parts over the vesting epochs."""

    epoch: int
    """When."""
    earned_units: str
    """How much."""
    released_units: str
    """Of that, what was paid out."""


class RecordView(Struct, frozen=True, kw_only=True):
    """A contributed record."""

    content: str
    """SHA-256 of its bytes."""
    datanet: str
    """Where it was contributed."""
    contributor: str
    """Who is paid."""
    contribution: str
    """The transaction it came in."""
    height: int
    """Seniority: when it was admitted."""
    transaction_index: int
    """Seniority within the block."""
    index: int
    """Seniority within the transaction."""
    status: str
    """`pending`, `accepted`, `rejected`, `erased`, `holdout` or `revoked`."""
    position: int
    """Its place among the datanet's accepted records, once it is one."""
    leader: str
    """Content hash of the first of its near-copies; its own while it has none."""
    vesting: list[EarnedView]
    """What it earned and was not wholly paid out yet, by epoch."""


class ContentView(Struct, frozen=True, kw_only=True):
    """A content and the records that are these bytes."""

    content: str
    """SHA-256 of the bytes."""
    uses: int
    """How often the ledger refers to it."""
    erased_height: int
    """Since when it is erased; 0 while it is not."""
    is_public: bool
    """Whether this node serves the bytes to everybody."""
    records: list[RecordView]
    """One per form it was contributed in."""


class CertificateOfModel(Struct, frozen=True, kw_only=True):
    """What a model's weights and inverse achieve."""

    record_count: int
    """Records in the snapshot."""
    gradient_norm: int
    """L2 norm of the exact gradient, in 2^-40."""
    inverse_residual: int
    """Largest row sum of |H·M - τ·I| over τ, in 2^-30."""


class TermsView(Struct, frozen=True, kw_only=True):
    """What answers are computed with."""

    theta: int
    """Influence below which a record is not paid."""
    top_clusters: int
    """How many clusters a question pays."""
    clip: int
    """What an influence counts at most in this epoch: twice the median score of past answers; 1000 clips nothing."""
    grouped_count: int
    """How many positions of the model's snapshot are grouped into clusters of near-copies."""


class ModelView(Struct, frozen=True, kw_only=True):
    """A model."""

    id: str
    """Its id."""
    name: str
    """What people call it."""
    owner: str
    """Who is paid for its answers."""
    datanet: str
    """Whose records it was trained on."""
    engine: str
    """Attribution engine with version."""
    damping: int
    """λ in 2^-20."""
    weights: str
    """Content hash of the weights."""
    inverse: str
    """Content hash of the certified inverse."""
    certificate: CertificateOfModel
    """What every validator verified."""
    snapshot_count: int
    """The datanet's records below this position."""
    certified_epoch: int
    """The epoch at whose start the snapshot was taken."""
    changed_height: int
    """When it was registered, certified again or measured."""
    price_units: str
    """Smallest fee of a question."""
    status: str
    """`awaiting_gate`, `active` or `retired`."""
    is_open: bool
    """Whether it takes questions now."""
    gate_deadline_height: int
    """Up to here it waits for its holdout."""
    is_gate_on: bool
    """Whether the holdout was large enough."""
    eligibility_bps: int
    """How far it beats the constant answer: what minting is multiplied by."""
    terms: TermsView
    """What its answers are computed with now: an attribution states it."""
    blocked: list[int]
    """Positions of the records its gate keeps out."""


class QuestionView(Struct, frozen=True, kw_only=True):
    """A paid question."""

    id: str
    """The transaction that asked."""
    model: str
    """Whom."""
    asker: str
    """Who asked."""
    query: str
    """Content hash of the features."""
    fee_units: str
    """What it pays."""
    asked_height: int
    """When."""
    status: str
    """`open`, `answered` or `refunded`."""
    label: int | None
    """The answer, once there is one."""
    answer: str | None
    """The answer's name in the datanet."""
    is_erased: bool
    """Whether the asker took its content back."""


class PaymentView(Struct, frozen=True, kw_only=True):
    """A payment to a record's contributor, and why: seven integers that anyone can replay."""

    id: str
    """Height, transaction index and event index."""
    height: int
    """Its block."""
    time_ms: int
    """The block's time."""
    transaction_id: str
    """The transaction that settled it."""
    question: str
    """Which question."""
    model: str
    """Who answered."""
    record: str
    """Whose content made the answer."""
    recipient: str
    """Who contributed it."""
    pool_units: str
    """The contributors' part of the fee."""
    influence: int
    """s_r: the record's relative influence; 1000 is the question itself."""
    excess: int
    """e_r: what it adds to its senior near-copies."""
    senior: str | None
    """The senior record that reduced it."""
    weight: int
    """W: the sum of excesses and sigma."""
    clip: int
    """The clip that was applied; 0 when none was."""
    amount_units: str
    """What was paid."""
    mint_pool_units: str
    """The contributors' part of what the question mints."""
    accrued_units: str
    """What accrued, to be claimed after the epoch."""


class PaymentWhy(Struct, frozen=True, kw_only=True):
    """A payment in words and as a formula."""

    payment: PaymentView
    """The payment."""
    sentence: str
    """Why, in words."""
    formula: str
    """Why, in numbers."""


class SettlementView(Struct, frozen=True, kw_only=True):
    """How a question's fee was split: the parts and the burn add up to it."""

    fee_units: str
    """F."""
    burned_units: str
    """The burn."""
    owner_units: str
    """The owner's part, dust included."""
    data_units: str
    """The pool of the contributors."""
    reviewers_units: str
    """The reviewers' part."""
    validators_units: str
    """The validators' part."""
    escrow_units: str
    """What of the data and reviewers' parts went to the datanet's escrow."""
    mint_units: str
    """The most this question mints, before the epoch's cap."""


class AttributionView(Struct, frozen=True, kw_only=True):
    """An answered question."""

    question: str
    """Which."""
    model: str
    """By which model."""
    asker: str
    """Whose question it was."""
    attributor: str
    """Who computed it."""
    label: int
    """The answer."""
    answer: str
    """The answer's name in the datanet."""
    influences_hash: str
    """Commitment to the influence of every record."""
    credit_count: int
    """How many records were credited."""
    height: int
    """The block that answered."""
    time_ms: int
    """The block's time."""
    transaction_id: str
    """The transaction that answered."""


class CreditView(Struct, frozen=True, kw_only=True):
    """A record that made an answer."""

    position: int
    """Its place in the datanet."""
    influence: int
    """Its relative influence."""
    record: str | None
    """Its content hash; null once it was erased."""


class AttributionDetail(Struct, frozen=True, kw_only=True):
    """An answered question with everything that follows from it."""

    attribution: AttributionView
    """The answer."""
    question: QuestionView
    """The question."""
    credits: list[CreditView]
    """The records that made the answer, most influential first."""
    settlement: SettlementView | None
    """How the fee was split."""
    payments: list[PaymentView]
    """Who was paid; empty when the model's certificate is too old."""


class PaymentNews(Struct, frozen=True, kw_only=True):
    """Payments of one block."""

    height: int
    """The block."""
    time_ms: int
    """Its time."""
    payments: list[PaymentView]
    """In order."""
