"""A message in a few words: for digests, and for people who read a transcript."""

from __future__ import annotations

from consensus.types import Certificate, Statement
from node.p2p.messages import (
    BlobRequest,
    BlobResponse,
    BlockProposal,
    BlockRequest,
    BlockResponse,
    CertificateRequest,
    Certificates,
    Message,
    Status,
    SyncRequest,
    SyncResponse,
    Transactions,
    Votes,
)
from node.primitives.crypto import sha256


def describe(message: Message) -> str:
    """What a message says."""
    match message:
        case Votes(votes=votes):
            return "votes " + ", ".join(say(vote.statement) for vote in votes)
        case Certificates(certificates=certificates):
            return "certificates " + ", ".join(map(_certificate, certificates))
        case BlockProposal(vote=vote, block=block, certificates=certificates):
            proofs = ", ".join(map(_certificate, certificates))
            what = f"block of height {block.header.height} with {len(block.transactions)} transactions"
            return f"proposal {say(vote.statement)}: {what}, proofs [{proofs}]"
        case Transactions(transactions=transactions):
            return "transactions " + ", ".join(sha256(data)[:3].hex() for data in transactions)
        case CertificateRequest(epoch=epoch, from_view=from_view, to_view=to_view):
            return f"asks for certificates {epoch}/{from_view}-{to_view}"
        case BlockRequest(block_id=block_id):
            return f"asks for block {block_id[:3].hex()}"
        case BlockResponse(block=block):
            return f"block {block.header.id()[:3].hex()} of height {block.header.height}"
        case SyncRequest(from_height=from_height):
            return f"asks for blocks from height {from_height}"
        case SyncResponse(blocks=blocks, certificate=certificate):
            heights = f"{blocks[0].header.height}-{blocks[-1].header.height}"
            return f"blocks {heights} with {_certificate(certificate)}"
        case BlobRequest(hashes=hashes):
            return f"asks for {len(hashes)} contents"
        case BlobResponse(contents=contents):
            return f"{len(contents)} contents"
        case Status(height=height, epoch=epoch, view=view):
            return f"status: height {height}, view {epoch}/{view}"
        case _:
            return type(message).__name__


def say(statement: Statement) -> str:
    """A statement."""
    return f"{statement.kind.name.lower()} {statement.epoch}/{statement.view} {statement.block_id[:3].hex()}"


def _certificate(certificate: Certificate) -> str:
    return f"{say(certificate.statement)} by {len(certificate.signatures)}"
