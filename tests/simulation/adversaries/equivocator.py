"""A validator that says one thing to some and its opposite to others: two proposals, two votes of a kind, finalize and
nullify. One instance, with a plan; what honest twins do by accident it does in every view.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from consensus.types import NO_BLOCK, Statement, Vote, VoteKind
from node.p2p.messages import BlockProposal, Message, Votes
from node.primitives.crypto import PrivateKey
from node.replica import Replica
from node.types.block import Block
from node.types.signed import vote_digest
from tests.simulation.adversaries import never_stop_at_own_signature
from tests.simulation.world import Behaviour


class Equivocator:
    """One of them."""

    def __init__(self, key: PrivateKey, random_source: random.Random) -> None:
        self._key = key
        self._random = random_source
        self._genesis_hash = b""
        self._proposed: dict[tuple[int, int], list[bytes]] = {}
        """Blocks seen by (epoch, view)."""

    def prepare(self, replica: Replica) -> None:
        """Remembers the chain."""
        never_stop_at_own_signature(replica)
        self._genesis_hash = replica.genesis_hash

    def incoming(self, _peer: bytes, message: Message) -> None:
        """Learns which blocks there are to vote for."""
        if isinstance(message, BlockProposal):
            self._note(message.vote.statement)

    def outgoing(self, _peer: bytes, message: Message) -> Sequence[Message]:
        """What is said to this peer."""
        is_other_side = self._random.random() < 0.5
        match message:
            case BlockProposal() if is_other_side:
                return (self._other_proposal(message),)
            case BlockProposal(vote=vote):
                self._note(vote.statement)
                return (message,)
            case Votes(votes=votes) if is_other_side:
                return (Votes(votes=tuple(self._other_vote(vote) for vote in votes)),)
            case _:
                return (message,)

    def _other_proposal(self, message: BlockProposal) -> BlockProposal:
        header = message.block.header
        if header.view != message.vote.statement.view:  # the epoch's last block again: there is no other
            return message
        block = Block(header=replace(header, time_ms=header.time_ms + 1), transactions=message.block.transactions)
        statement = replace(message.vote.statement, block_id=block.header.id())
        self._note(statement)
        return replace(message, vote=self._sign(statement), block=block)

    def _other_vote(self, vote: Vote) -> Vote:
        if vote.validator != self._key.address:
            return vote
        statement = vote.statement
        blocks = self._proposed.get((statement.epoch, statement.view), [])
        match statement.kind:
            case VoteKind.NULLIFY if blocks:
                other = replace(statement, kind=VoteKind.FINALIZE, block_id=self._random.choice(blocks))
            case VoteKind.FINALIZE:
                other = replace(statement, kind=VoteKind.NULLIFY, block_id=NO_BLOCK)
            case VoteKind.NOTARIZE if blocks:
                other = replace(statement, block_id=self._random.choice(blocks))
            case _:
                return vote
        return self._sign(other)

    def _note(self, statement: Statement) -> None:
        blocks = self._proposed.setdefault((statement.epoch, statement.view), [])
        if statement.block_id not in blocks:
            blocks.append(statement.block_id)

    def _sign(self, statement: Statement) -> Vote:
        digest = vote_digest(self._genesis_hash, statement)
        return Vote(statement=statement, validator=self._key.address, signature=self._key.sign(digest))


def equivocator(key: PrivateKey, random_source: random.Random) -> Behaviour:
    """Two faces."""
    liar = Equivocator(key, random_source)
    return Behaviour(prepare=liar.prepare, outgoing=liar.outgoing, incoming=liar.incoming)
