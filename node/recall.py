"""What a validator's log says it did: read once, when the node starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from consensus.types import Certificate, Vote
from node.storage.wal import BodyHeld, Born, CertificateSeen, Forgotten, LogEntry, Recovered, VoteCast
from node.types.block import Block


@dataclass(slots=True)
class Recall:
    """The entries of a log by what they are good for."""

    votes: list[Vote] = field(default_factory=list)
    """Our own, in order."""
    certificates: list[Certificate] = field(default_factory=list)
    """Certificates, in order."""
    bodies: list[Block] = field(default_factory=list)
    """Blocks we vouched for."""
    recovered: tuple[int, int] | None = None
    """The epoch and the view of the last recovery."""
    forgotten: tuple[int, int] = (0, 0)
    """Votes of ours up to this epoch and view were let go of: they are final."""
    is_known: bool = False
    """Whether the log tells from where on we signed."""

    def signing_floor(self, epoch: int, final_view: int) -> tuple[int, int] | None:
        """The epoch and the view up to which nothing is signed, for a state that stands at an epoch and a final view.

        A state that is behind the log was lost or put back, and the log was not: what lies between was voted on
        already, and not all of those votes need to be in the log any more.
        """
        later = [(vote.statement.epoch, vote.statement.view) for vote in self.votes if vote.statement.epoch > epoch]
        spoken = max([self.forgotten, *later])
        if spoken <= (epoch, final_view):
            return self.recovered
        return spoken if self.recovered is None else max(self.recovered, spoken)


def recall(entries: Iterable[LogEntry], me: bytes | None) -> Recall:
    """Reads a log's entries, oldest first; `me` is the validator, if this node is one."""
    found = Recall()
    for entry in entries:
        match entry:
            case VoteCast(vote=vote):
                if vote.validator == me:
                    found.votes.append(vote)
                    found.is_known = True
            case CertificateSeen(certificate=certificate):
                found.certificates.append(certificate)
            case BodyHeld(block=block):
                found.bodies.append(block)
            case Recovered(epoch=epoch, view=view, validator=validator):
                if validator == me:
                    found.recovered = (epoch, view)
                    found.is_known = True
            case Forgotten(epoch=epoch, view=view):
                found.forgotten = (epoch, view)
            case Born(validator=validator):
                found.is_known = found.is_known or validator == me
    return found
