"""What is signed besides transactions: consensus statements, and the hello of two nodes."""

from __future__ import annotations

from functools import lru_cache

from consensus.types import Statement, VoteKind
from node.primitives.codec import encode
from node.primitives.crypto import Tag, signing_digest

KEPT_DIGESTS = 1_024
"""Every validator signs the same few statements: their digests are made once."""

_TAG_OF = {
    VoteKind.NOTARIZE: Tag.NOTARIZE,
    VoteKind.NULLIFY: Tag.NULLIFY,
    VoteKind.FINALIZE: Tag.FINALIZE,
}


@lru_cache(maxsize=KEPT_DIGESTS)
def vote_digest(genesis_hash: bytes, statement: Statement) -> bytes:
    """What a validator signs to say something in consensus."""
    return signing_digest(_TAG_OF[statement.kind], genesis_hash, encode(statement))
