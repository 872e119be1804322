"""What client authors sign: the payload of every transaction kind, and the small values inside them."""

from __future__ import annotations

from node.modules.accounts import RotateKey, Transfer
from node.modules.attributions import Ask, Attribute, ClaimedAnswer, Credit, Refund, Terms, attribution_claim
from node.modules.bonds import Bond, Unbond, WithdrawBond
from node.modules.challenges import ChallengeRecord, RuleOnChallenge
from node.modules.context import BlobRef
from node.modules.datanets import ColumnSpec, Contribute, CreateDatanet, RejectionReason, Review
from node.modules.equivocation import SubmitEvidence
from node.modules.erasure import EraseQuestion, EraseRecord
from node.modules.governance import (
    ActivateEngine,
    AdmitObserver,
    AdmitValidator,
    CastBallot,
    EraseContent,
    Propose,
    RemoveObserver,
    RemoveValidator,
    RetireEngine,
    SetParameter,
    SetParameters,
    SetPower,
    SetRoles,
    SpendEscrow,
    Upgrade,
)
from node.modules.grouping import Basis, Group, Scale, group_claim, group_request
from node.modules.holdouts import CommitHoldout, RevealHoldout, chunk_leaf
from node.modules.models import (
    CertificateClaim,
    MeasureModel,
    RegisterModel,
    RetireModel,
    SetPrice,
    Snapshot,
    TransferModel,
    measure_claim,
)
from node.modules.registers import CreateRegister, SetRegister
from node.modules.releases import ReleaseEarnings
from node.modules.rewards import Claim
from node.modules.validators import RotateConsensusKey, possession_digest

__all__ = [
    "ActivateEngine",
    "AdmitObserver",
    "AdmitValidator",
    "Ask",
    "Attribute",
    "Basis",
    "BlobRef",
    "Bond",
    "CastBallot",
    "CertificateClaim",
    "ChallengeRecord",
    "Claim",
    "ClaimedAnswer",
    "ColumnSpec",
    "CommitHoldout",
    "Contribute",
    "CreateDatanet",
    "CreateRegister",
    "Credit",
    "EraseContent",
    "EraseQuestion",
    "EraseRecord",
    "Group",
    "MeasureModel",
    "Propose",
    "Refund",
    "RegisterModel",
    "RejectionReason",
    "ReleaseEarnings",
    "RemoveObserver",
    "RemoveValidator",
    "RetireEngine",
    "RetireModel",
    "RevealHoldout",
    "Review",
    "RotateConsensusKey",
    "RotateKey",
    "RuleOnChallenge",
    "Scale",
    "SetParameter",
    "SetParameters",
    "SetPower",
    "SetPrice",
    "SetRegister",
    "SetRoles",
    "Snapshot",
    "SpendEscrow",
    "SubmitEvidence",
    "Terms",
    "Transfer",
    "TransferModel",
    "Unbond",
    "Upgrade",
    "WithdrawBond",
    "attribution_claim",
    "chunk_leaf",
    "group_claim",
    "group_request",
    "measure_claim",
    "possession_digest",
]
