"""What is signed besides transactions: consensus statements, and the hello of two nodes."""

from __future__ import annotations

from consensus.types import Statement, VoteKind
from node.primitives.codec import encode
from node.primitives.crypto import Tag, signing_digest

_TAG_OF = {
    VoteKind.NOTARIZE: Tag.NOTARIZE,
    VoteKind.NULLIFY: Tag.NULLIFY,
    VoteKind.FINALIZE: Tag.FINALIZE,
}


def vote_digest(genesis_hash: bytes, statement: Statement) -> bytes:
    """What a validator signs to say something in consensus."""
    return signing_digest(_TAG_OF[statement.kind], genesis_hash, encode(statement))
