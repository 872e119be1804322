"""What is signed besides transactions: consensus statements, and the hello of two nodes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from consensus.types import Certificate, Statement, VoteKind
from node.primitives.codec import encode
from node.primitives.crypto import Tag, is_valid_signature, signing_digest

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


def is_signed(genesis_hash: bytes, certificate: Certificate, keys: Mapping[bytes, bytes]) -> bool:
    """Whether each signature of a certificate is its validator's; `keys` has the consensus key of every signer."""
    digest = vote_digest(genesis_hash, certificate.statement)
    return all(is_valid_signature(keys[each.validator], digest, each.signature) for each in certificate.signatures)
