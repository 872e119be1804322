"""Evidence: what proves equivocation, what it costs, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consensus.types import NO_BLOCK, Statement, Vote, VoteKind
from node.errors import TransactionReason
from node.modules.bonds import BondChanged, Unbond, WithdrawBond
from node.modules.equivocation import PUNISHED, Equivocated, Punished, SubmitEvidence
from node.modules.governance import CastBallot, Propose, RemoveValidator
from node.modules.supply import SUPPLY
from node.modules.validators import GOVERNING, REGISTRY
from node.primitives.crypto import PrivateKey
from node.types.signed import vote_digest
from tests.factories import make_key
from tests.node.modules.scenes import PARAMETERS, Scene, genesis_scene

A, B = b"a" * 32, b"b" * 32
BAD = TransactionReason.BAD_EVIDENCE
NO_CONFLICT = "the two votes are no conflict in canonical order"


@pytest.fixture(name="scene")
def scene_fixture() -> Scene:
    return genesis_scene()


def make_vote(
    scene: Scene, kind: VoteKind, block_id: bytes, *, epoch: int = 1, view: int = 4, key: PrivateKey | None = None
) -> Vote:
    """A vote of the first validator."""
    key = key or scene.ledger.chain.consensus_keys[0]
    statement = Statement(kind=kind, epoch=epoch, view=view, block_id=block_id)
    digest = vote_digest(scene.ledger.chain.genesis_hash, statement)
    return Vote(statement=statement, validator=key.address, signature=key.sign(digest))


def double_notarize(scene: Scene, **options: int) -> SubmitEvidence:
    """Two notarizes of one view."""
    return SubmitEvidence(
        first=make_vote(scene, VoteKind.NOTARIZE, A, **options),  # type: ignore[arg-type]
        second=make_vote(scene, VoteKind.NOTARIZE, B, **options),  # type: ignore[arg-type]
    )


def test_evidence_burns_the_share_and_takes_the_seat_at_the_epochs_end(scene: Scene) -> None:
    operator = scene.operators[0]
    key = scene.ledger.chain.consensus_keys[0]
    bond_units = PARAMETERS.validator_bond_units
    node = next(each.node for each in REGISTRY.get(scene.ledger.state).candidates if each.operator == operator.address)
    scene.ledger.do(scene.who("nobody"), double_notarize(scene))
    burned_units = bond_units * PARAMETERS.slash_bps // 10_000
    assert scene.ledger.account(operator).bond_units == bond_units - burned_units
    assert SUPPLY.get(scene.ledger.state).bond_burned_units == burned_units
    assert [each.event for each in scene.ledger.happened] == [
        BondChanged(
            owner=operator.address, what="slashed", amount_units=burned_units, bond_units=bond_units - burned_units
        ),
        Equivocated(operator=operator.address, validator=key.address, epoch=1, view=4, burned_units=burned_units),
    ]
    punished = key.address + (1).to_bytes(8, "big") + (4).to_bytes(8, "big")
    assert PUNISHED.get(scene.ledger.state, punished) == Punished(burned_units=burned_units)
    registry = REGISTRY.get(scene.ledger.state)
    assert registry.candidate(operator.address) is None
    assert registry.observers == (node,)
    members = {each.operator for each in GOVERNING.get(scene.ledger.state).validators.validators}
    assert operator.address in members
    scene.ledger.next_epoch()
    after = {each.operator for each in GOVERNING.get(scene.ledger.state).validators.validators}
    assert after == members - {operator.address}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((VoteKind.NOTARIZE, A), (VoteKind.NOTARIZE, B)),
        ((VoteKind.FINALIZE, A), (VoteKind.FINALIZE, B)),
        ((VoteKind.NULLIFY, NO_BLOCK), (VoteKind.FINALIZE, A)),
    ],
)
def test_what_an_honest_validator_never_signs_is_punished(
    scene: Scene, first: tuple[VoteKind, bytes], second: tuple[VoteKind, bytes]
) -> None:
    payload = SubmitEvidence(first=make_vote(scene, *first), second=make_vote(scene, *second))
    scene.ledger.do(scene.who("nobody"), payload)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((VoteKind.NOTARIZE, A), (VoteKind.NULLIFY, NO_BLOCK)),
        ((VoteKind.NOTARIZE, A), (VoteKind.FINALIZE, B)),
        ((VoteKind.NOTARIZE, A), (VoteKind.NOTARIZE, A)),
        ((VoteKind.NULLIFY, NO_BLOCK), (VoteKind.NULLIFY, NO_BLOCK)),
        ((VoteKind.NOTARIZE, B), (VoteKind.NOTARIZE, A)),
        ((VoteKind.FINALIZE, A), (VoteKind.NULLIFY, NO_BLOCK)),
    ],
    ids=["skips after notarizing", "other block final", "same vote", "same skip", "wrong order", "wrong order too"],
)
def test_what_an_honest_validator_may_sign_is_no_evidence(
    scene: Scene, first: tuple[VoteKind, bytes], second: tuple[VoteKind, bytes]
) -> None:
    payload = SubmitEvidence(first=make_vote(scene, *first), second=make_vote(scene, *second))
    scene.ledger.fails(scene.who("nobody"), payload, BAD, NO_CONFLICT)


def test_votes_of_two_views_epochs_or_validators_are_no_evidence(scene: Scene) -> None:
    first = make_vote(scene, VoteKind.NOTARIZE, A)
    for second in (
        make_vote(scene, VoteKind.NOTARIZE, B, view=5),
        make_vote(scene, VoteKind.NOTARIZE, B, epoch=2),
        make_vote(scene, VoteKind.NOTARIZE, B, key=scene.ledger.chain.consensus_keys[1]),
    ):
        scene.ledger.fails(scene.who("nobody"), SubmitEvidence(first=first, second=second), BAD, NO_CONFLICT)


def test_a_vote_that_nobody_signed_is_no_evidence(scene: Scene) -> None:
    good = double_notarize(scene)
    for field in ("first", "second"):
        vote = getattr(good, field)
        forged = replace(vote, signature=vote.signature[:-1] + bytes([vote.signature[-1] ^ 1]))
        scene.ledger.fails(scene.who("nobody"), replace(good, **{field: forged}), BAD, "a signature does not verify")
    scene.ledger.do(scene.who("nobody"), good)


def test_votes_of_strangers_and_of_future_epochs_are_no_evidence(scene: Scene) -> None:
    stranger = make_key("stranger")
    payload = SubmitEvidence(
        first=make_vote(scene, VoteKind.NOTARIZE, A, key=stranger),
        second=make_vote(scene, VoteKind.NOTARIZE, B, key=stranger),
    )
    for each in (payload, double_notarize(scene, epoch=2)):
        scene.ledger.fails(scene.who("nobody"), each, BAD, "no such validator voted in that epoch")


def test_an_equivocation_is_punished_once_and_another_view_again(scene: Scene) -> None:
    sender = scene.who("nobody")
    scene.ledger.do(sender, double_notarize(scene))
    other = SubmitEvidence(
        first=make_vote(scene, VoteKind.NULLIFY, NO_BLOCK), second=make_vote(scene, VoteKind.FINALIZE, A)
    )
    for payload in (double_notarize(scene), other):
        scene.ledger.fails(sender, payload, TransactionReason.ALREADY_DONE, "this equivocation is punished")
    scene.ledger.do(sender, double_notarize(scene, view=5))
    bond_units = PARAMETERS.validator_bond_units
    assert scene.ledger.account(scene.operators[0]).bond_units == bond_units - bond_units // 2 - bond_units // 4


def test_evidence_is_accepted_for_its_epochs_and_no_longer(scene: Scene) -> None:
    for _ in range(PARAMETERS.evidence_epochs):
        scene.ledger.next_epoch()
    scene.ledger.do(scene.who("nobody"), double_notarize(scene, view=1))
    scene.ledger.next_epoch()
    scene.ledger.fails(scene.who("nobody"), double_notarize(scene, view=2), TransactionReason.TOO_OLD)


def test_the_bond_of_who_left_is_there_as_long_as_evidence_is_accepted(scene: Scene) -> None:
    """The votes of the epoch in which it left are evidence to the last; only then is anything released."""
    operator = scene.operators[3]
    key = scene.ledger.chain.consensus_keys[3]
    action = Propose(action=RemoveValidator(operator=operator.address))
    proposal = scene.ledger.do(scene.operators[0], action).transaction_id
    for other in scene.operators[1:3]:
        scene.ledger.do(other, CastBallot(proposal=proposal, is_yes=True))
    scene.ledger.do(operator, Unbond(amount_units=PARAMETERS.validator_bond_units))
    last_epoch = 1 + PARAMETERS.evidence_epochs
    while scene.ledger.epoch < last_epoch:
        scene.ledger.next_epoch()
    detail = f"the first is released in epoch {last_epoch + 1}"
    scene.ledger.fails(operator, WithdrawBond(), TransactionReason.NOT_YET, detail)
    payload = SubmitEvidence(
        first=make_vote(scene, VoteKind.NOTARIZE, A, key=key), second=make_vote(scene, VoteKind.NOTARIZE, B, key=key)
    )
    scene.ledger.do(scene.who("nobody"), payload)
    assert scene.ledger.last(Equivocated).burned_units == PARAMETERS.validator_bond_units // 2
    scene.ledger.next_epoch()
    scene.ledger.do(operator, WithdrawBond())
    late = replace(
        payload,
        first=make_vote(scene, VoteKind.NOTARIZE, A, key=key, view=5),
        second=make_vote(scene, VoteKind.NOTARIZE, B, key=key, view=5),
    )
    scene.ledger.fails(scene.who("nobody"), late, TransactionReason.TOO_OLD)


def test_whoever_leaves_with_its_bond_is_slashed_on_the_way_out(scene: Scene) -> None:
    """Demoted, the operator asks everything back; the second evidence still finds it."""
    operator = scene.operators[0]
    scene.ledger.do(scene.who("nobody"), double_notarize(scene, view=1))
    left_units = scene.ledger.account(operator).bond_units
    scene.ledger.do(operator, Unbond(amount_units=left_units))
    scene.ledger.do(scene.who("nobody"), double_notarize(scene, view=2))
    assert scene.ledger.last(Equivocated).burned_units == left_units // 2
