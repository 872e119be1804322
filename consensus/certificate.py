"""Certificates: a quorum of one statement from distinct validators."""

from __future__ import annotations

from collections.abc import Mapping

from consensus.quorum import Quorum
from consensus.types import Certificate, Statement, VoteSignature


def make_certificate(statement: Statement, signatures: Mapping[bytes, bytes]) -> Certificate:
    """The certificate of a statement from signatures by validator id."""
    ordered = tuple(VoteSignature(validator=each, signature=signatures[each]) for each in sorted(signatures))
    return Certificate(statement=statement, signatures=ordered)


def is_well_formed(certificate: Certificate, quorum: Quorum) -> bool:
    """Whether the signers are distinct, sorted members that hold a quorum; signatures are the host's matter."""
    signers = [entry.validator for entry in certificate.signatures]
    if signers != sorted(set(signers)) or any(signer not in quorum for signer in signers):
        return False
    return quorum.is_quorum(signers)
