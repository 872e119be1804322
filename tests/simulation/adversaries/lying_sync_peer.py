"""A validator that answers questions with lies: blocks that were changed, certificates of others, heights it has not.

It votes honestly: what it harms is whoever is behind.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from consensus.types import Certificate, VoteKind
from node.p2p.messages import BlockResponse, Certificates, Message, Status, SyncResponse
from node.primitives.crypto import PrivateKey
from tests.simulation.world import Behaviour


class LyingSyncPeer:
    """One of them."""

    def __init__(self, random_source: random.Random) -> None:
        self._random = random_source
        self._seen: list[Certificate] = []

    def incoming(self, _peer: bytes, message: Message) -> None:
        """Collects certificates to answer with."""
        if isinstance(message, Certificates):
            self._seen = (self._seen + list(message.certificates))[-50:]

    def outgoing(self, _peer: bytes, message: Message) -> Sequence[Message]:
        """What is answered to this peer."""
        if self._random.random() < 0.2:
            return (message,)
        match message:
            case SyncResponse():
                return (self._sync(message),)
            case BlockResponse(block=block):
                changed = replace(block, transactions=(*block.transactions, b"\x01"))
                return (BlockResponse(block=changed),) if self._random.random() < 0.5 else ()
            case Status(height=height):
                return (replace(message, height=height + self._random.randint(0, 50)),)
            case Certificates(certificates=certificates):
                return (Certificates(certificates=tuple(map(self._certificate, certificates))),)
            case _:
                return (message,)

    def _sync(self, response: SyncResponse) -> SyncResponse:
        blocks = response.blocks
        lie = self._random.choice(("gap", "body", "certificate", "short", "forged"))
        if lie == "gap" and len(blocks) > 1:
            return replace(response, blocks=blocks[1:])
        if lie == "body":
            last = replace(blocks[-1], transactions=(*blocks[-1].transactions, b"\x01"))
            return replace(response, blocks=(*blocks[:-1], last))
        if lie == "forged":
            header = replace(blocks[-1].header, time_ms=blocks[-1].header.time_ms + 1)
            statement = replace(response.certificate.statement, block_id=header.id())
            other = replace(blocks[-1], header=header)
            certificate = replace(response.certificate, statement=statement)
            return replace(response, blocks=(*blocks[:-1], other), certificate=certificate)
        if lie == "short":
            return replace(response, certificate=self._weak(response.certificate))
        stale = [each for each in self._seen if each.statement.kind is VoteKind.FINALIZE]
        return replace(response, certificate=self._random.choice(stale)) if stale else response

    def _certificate(self, certificate: Certificate) -> Certificate:
        """Another one, an old one, or one that lacks a quorum."""
        if self._seen and self._random.random() < 0.5:
            return self._random.choice(self._seen)
        return self._weak(certificate)

    def _weak(self, certificate: Certificate) -> Certificate:
        return replace(certificate, signatures=certificate.signatures[: len(certificate.signatures) // 2 + 1])


def lying_sync_peer(_key: PrivateKey, random_source: random.Random) -> Behaviour:
    """Answers nobody should believe."""
    liar = LyingSyncPeer(random_source)
    return Behaviour(outgoing=liar.outgoing, incoming=liar.incoming)
