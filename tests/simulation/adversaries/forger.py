"""A validator that speaks for others: votes and certificates in their names, proposals in views it does not lead."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from consensus.types import Certificate, Statement, Vote, VoteKind, VoteSignature
from node.p2p.messages import BlockProposal, Certificates, Message, Votes
from node.primitives.crypto import PrivateKey
from node.replica import Replica
from node.types.block import Block
from node.types.signed import vote_digest
from tests.simulation.adversaries import never_stop_at_own_signature
from tests.simulation.world import Behaviour


class Forger:
    """One of them."""

    def __init__(self, key: PrivateKey, random_source: random.Random) -> None:
        self._key = key
        self._random = random_source
        self._replica: Replica | None = None

    def prepare(self, replica: Replica) -> None:
        """Knows whom to speak for."""
        never_stop_at_own_signature(replica)
        self._replica = replica

    def incoming(self, _peer: bytes, message: Message) -> None:
        """Speaks up at once when it sees a proposal."""
        if self._replica is None or not isinstance(message, BlockProposal) or self._random.random() < 0.5:
            return
        peers = list(self._replica.host.peers())
        for peer in self._random.sample(peers, self._random.randint(1, len(peers))):
            self._replica.host.send(peer, self._lie(message, self._replica))

    def _lie(self, message: BlockProposal, replica: Replica) -> Message:
        statement = message.vote.statement
        others = [each.id for each in replica.engine._governing.validators.validators if each.id != self._key.address]
        kind = self._random.choice(list(VoteKind))
        block_id = bytes(32) if kind is VoteKind.NULLIFY else self._random.randbytes(32)
        forged = Statement(kind=kind, epoch=statement.epoch, view=statement.view, block_id=block_id)
        match self._random.choice(("vote", "certificate", "alone", "proposal")):
            case "vote":
                return Votes(votes=(self._vote(forged, self._random.choice(others)),))
            case "certificate":
                signatures = [VoteSignature(validator=each, signature=self._random.randbytes(64)) for each in others]
                return Certificates(certificates=(Certificate(statement=forged, signatures=tuple(signatures)),))
            case "alone":
                own = self._sign(forged, replica.genesis_hash)
                signatures = [VoteSignature(validator=own.validator, signature=own.signature)] * self._random.choice(
                    (1, 3)
                )
                return Certificates(certificates=(Certificate(statement=forged, signatures=tuple(signatures)),))
            case _:
                return self._usurp(message, replica.genesis_hash)

    def _sign(self, statement: Statement, genesis_hash: bytes) -> Vote:
        signature = self._key.sign(vote_digest(genesis_hash, statement))
        return Vote(statement=statement, validator=self._key.address, signature=signature)

    def _vote(self, statement: Statement, validator: bytes) -> Vote:
        return Vote(statement=statement, validator=validator, signature=self._random.randbytes(64))

    def _usurp(self, message: BlockProposal, genesis_hash: bytes) -> Message:
        header = replace(message.block.header, proposer=self._key.address)
        statement = replace(message.vote.statement, block_id=header.id())
        vote = self._sign(statement, genesis_hash)
        return replace(message, vote=vote, block=Block(header=header, transactions=message.block.transactions))


def forger(key: PrivateKey, random_source: random.Random) -> Behaviour:
    """Nobody's words but in everybody's name."""
    liar = Forger(key, random_source)

    def outgoing(_peer: bytes, message: Message) -> Sequence[Message]:
        return (message,)

    return Behaviour(prepare=liar.prepare, incoming=liar.incoming, outgoing=outgoing)
