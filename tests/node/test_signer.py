"""The second lock: the signer refuses to contradict itself, whoever asks."""

from __future__ import annotations

import pytest

from consensus.types import Statement, VoteKind
from node import signer as module
from node.primitives.crypto import is_valid_signature
from node.signer import Signer
from node.types.signed import vote_digest
from tests.factories import make_key

GENESIS = b"\x07" * 32
KEY = make_key("validator")


def statement(kind: VoteKind, view: int, block: int = 0) -> Statement:
    block_id = bytes(32) if kind is VoteKind.NULLIFY else bytes([block + 1]) * 32
    return Statement(kind=kind, epoch=1, view=view, block_id=block_id)


def test_vote_verifies_for_the_chain_it_was_signed_on_only() -> None:
    asked = statement(VoteKind.NOTARIZE, 3)
    vote = Signer(KEY, GENESIS).sign(asked)
    assert (vote.validator, vote.statement) == (KEY.address, asked)
    assert is_valid_signature(KEY.public_key, vote_digest(GENESIS, asked), vote.signature)
    assert not is_valid_signature(KEY.public_key, vote_digest(b"\x08" * 32, asked), vote.signature)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (statement(VoteKind.NOTARIZE, 3, 0), statement(VoteKind.NOTARIZE, 3, 1)),
        (statement(VoteKind.FINALIZE, 3, 0), statement(VoteKind.NULLIFY, 3)),
        (statement(VoteKind.NULLIFY, 3), statement(VoteKind.FINALIZE, 3, 0)),
        (statement(VoteKind.FINALIZE, 3, 0), statement(VoteKind.FINALIZE, 3, 1)),
    ],
)
def test_what_contradicts_an_earlier_vote_is_never_signed(first: Statement, second: Statement) -> None:
    signer = Signer(KEY, GENESIS)
    signer.sign(first)
    with pytest.raises(AssertionError, match="refusing to equivocate"):
        signer.sign(second)


def test_what_the_log_remembers_binds_a_new_process() -> None:
    earlier = Signer(KEY, GENESIS).sign(statement(VoteKind.NULLIFY, 5))
    signer = Signer(KEY, GENESIS)
    signer.remember(earlier)
    with pytest.raises(AssertionError, match="refusing to equivocate"):
        signer.sign(statement(VoteKind.FINALIZE, 5))
    assert signer.sign(statement(VoteKind.NULLIFY, 5)) is earlier


def test_notarize_then_nullify_of_one_view_is_allowed() -> None:
    signer = Signer(KEY, GENESIS)
    votes = (signer.sign(statement(VoteKind.NOTARIZE, 3)), signer.sign(statement(VoteKind.NULLIFY, 3)))
    assert signer.votes_since(1, 3) == votes
    assert signer.votes_since(1, 4) == ()


def test_views_long_gone_are_refused_instead_of_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_VIEWS", 10)
    signer = Signer(KEY, GENESIS)
    for view in range(1, 12):
        signer.sign(statement(VoteKind.NULLIFY, view))
    with pytest.raises(AssertionError, match="long gone"):
        signer.sign(statement(VoteKind.FINALIZE, 2))
