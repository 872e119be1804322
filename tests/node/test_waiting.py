"""What an engine waits for: early messages are bounded and come back in order, what came is not looked for again."""

from __future__ import annotations

from dataclasses import replace

from consensus.types import NO_BLOCK, Statement, Vote, VoteKind
from node.p2p.messages import BlockProposal, Votes
from node.waiting import LARGEST_EARLY_PEER_SIZE_BYTES, LARGEST_EARLY_SIZE_BYTES, Early, all_come
from tests.node.test_sync import A, B, chain_of


def vote(epoch: int = 2) -> Votes:
    statement = Statement(kind=VoteKind.NULLIFY, epoch=epoch, view=1, block_id=NO_BLOCK)
    return Votes(votes=(Vote(statement=statement, validator=A, signature=bytes(64)),))


def proposal(size_bytes: int) -> BlockProposal:
    _, [block] = chain_of(1)
    [voted] = vote().votes
    return BlockProposal(
        vote=voted, parent_view=0, block=replace(block, transactions=(bytes(size_bytes),)), certificates=()
    )


def test_early_messages_come_back_in_their_order_once_their_epoch_begins() -> None:
    early, heard = Early(), []
    for number, peer in enumerate((A, B, A)):
        early.keep(2, peer, vote(), lambda number=number: heard.append(number))
    assert not early.is_due(1)
    assert early.is_due(2)
    for _, again in early.take():
        again()
    assert heard == [0, 1, 2]
    assert not early.is_due(2)
    assert early.size_bytes == 0


def test_a_peer_keeps_no_more_early_than_a_block_and_what_is_said_of_it() -> None:
    early = Early()
    for _ in range(20_000):
        early.keep(2, A, vote(), lambda: None)
    for _ in range(10):
        early.keep(2, A, proposal(2**20), lambda: None)
    assert early.size_bytes <= LARGEST_EARLY_PEER_SIZE_BYTES


def test_of_too_many_early_messages_those_of_the_greediest_peer_go() -> None:
    early = Early()
    early.keep(2, A, vote(), lambda: None)
    for number in range(10):
        for _ in range(4):
            early.keep(2, bytes([number]) * 20, proposal(2**20), lambda: None)
    early.keep(2, B, vote(), lambda: None)
    assert early.size_bytes <= LARGEST_EARLY_SIZE_BYTES
    peers = [peer for peer, _ in early.take()]
    assert {A, B} < set(peers)
    assert max(map(peers.count, set(peers))) <= 2


def test_all_come_looks_again_only_for_what_was_not_here() -> None:
    here: set[int] = {2}
    asked: list[int] = []
    have_come = all_come([1, 2, 3], lambda thing: (asked.append(thing), thing in here)[1])
    assert not have_come()
    here |= {1}
    assert not have_come()
    here |= {3}
    assert have_come()
    assert have_come()
    assert asked == [1, 1, 2, 3, 3]
