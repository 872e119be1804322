"""What a log says of its validator, and from where on it may sign beside a state that is behind."""

from __future__ import annotations

import pytest

from consensus.types import NO_BLOCK, Statement, Vote, VoteKind
from node.primitives.crypto import sha256
from node.recall import Recall, recall
from node.storage.wal import BodyHeld, Born, CertificateSeen, Forgotten, LogEntry, Recovered, VoteCast
from node.types.block import Block
from tests.node.samples import sample

ME, OTHER = bytes(20), b"\x01" * 20


def vote(epoch: int, view: int, who: bytes = ME) -> Vote:
    statement = Statement(kind=VoteKind.NULLIFY, epoch=epoch, view=view, block_id=NO_BLOCK)
    return Vote(statement=statement, validator=who, signature=bytes(64))


def test_entries_are_told_apart_and_votes_of_another_key_are_left_out() -> None:
    certificate, block = sample(CertificateSeen).certificate, sample(Block)
    entries: list[LogEntry] = [
        Born(genesis_hash=sha256(b"chain"), validator=ME),
        Forgotten(epoch=2, view=7),
        VoteCast(vote=vote(2, 8)),
        VoteCast(vote=vote(2, 9, OTHER)),
        CertificateSeen(certificate=certificate),
        BodyHeld(block=block),
        Recovered(epoch=2, view=9, validator=ME),
    ]
    assert recall(entries, ME) == Recall(
        votes=[vote(2, 8)],
        certificates=[certificate],
        bodies=[block],
        recovered=(2, 9),
        forgotten=(2, 7),
        is_known=True,
    )
    assert recall([CertificateSeen(certificate=certificate)], ME).is_known is False


def test_log_of_another_key_says_nothing_of_where_this_one_signed() -> None:
    entries: list[LogEntry] = [
        Born(genesis_hash=sha256(b"chain"), validator=OTHER),
        Recovered(epoch=2, view=9, validator=OTHER),
        VoteCast(vote=vote(2, 10, OTHER)),
    ]
    found = recall(entries, ME)
    assert (found.is_known, found.recovered, found.votes) == (False, None, [])
    assert recall(entries, OTHER).is_known is True


@pytest.mark.parametrize(
    ("found", "state", "floor"),
    [
        (Recall(), (1, 0), None),
        (Recall(recovered=(1, 3)), (1, 9), (1, 3)),
        (Recall(forgotten=(2, 7)), (2, 7), None),
        (Recall(forgotten=(2, 7)), (3, 0), None),
        (Recall(forgotten=(2, 7)), (2, 6), (2, 7)),
        (Recall(forgotten=(2, 7)), (1, 50), (2, 7)),
        (Recall(votes=[vote(2, 9)]), (2, 1), None),
        (Recall(votes=[vote(2, 9)], forgotten=(2, 7)), (1, 5), (2, 9)),
        (Recall(votes=[vote(2, 9)], recovered=(3, 1)), (1, 5), (3, 1)),
    ],
)
def test_nothing_is_signed_up_to_where_the_log_has_been_when_the_state_is_behind(
    found: Recall, state: tuple[int, int], floor: tuple[int, int] | None
) -> None:
    assert found.signing_floor(*state) == floor
