"""Who waits at the door: connections that are no peers yet, and which of them leaves when there are too many.

No socket and no clock here. Strangers can open connections at no cost, so room for them is small and one address gets a
small part of it. Whoever is turned away should be a stranger: a registered node speaks at once and is through within a
few round trips, so silence yields first, then age, and a crowd from one address before single ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import IntEnum
from ipaddress import IPv6Address, ip_address
from typing import Generic, Protocol, TypeVar

MOST_VISITORS = 64
"""Connections that have not shown who they are."""
MOST_VISITORS_OF_A_SOURCE = 8
GRACE_S = 0.5
"""How long a visitor that speaks TLS cannot be turned out for another: else a rush would let nobody finish."""


class Stage(IntEnum):
    """How far a visitor has come; the further, the later it is turned out."""

    SILENT = 0
    """It has sent nothing."""
    SPEAKING = 1
    """TLS has begun."""
    SHOWN = 2
    """TLS is through: it has the key of a certificate that was registered once."""


class Visitor(Protocol):
    """What the lobby knows of a connection."""

    @property
    def source(self) -> str:
        """Where it comes from (`source_of`)."""

    @property
    def since_s(self) -> float:
        """When it came."""

    @property
    def stage(self) -> Stage:
        """How far it is."""


V = TypeVar("V", bound=Visitor)


class Lobby(Generic[V]):
    """The visitors of one node."""

    def __init__(self) -> None:
        self._visitors: dict[V, None] = {}
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._visitors)

    def __iter__(self) -> Iterator[V]:
        return iter(tuple(self._visitors))

    def enter(self, visitor: V, now_s: float) -> V | None:
        """Takes a visitor in. Returns who must leave for it: another one, itself, or nobody."""
        leaving = None
        if self._counts[visitor.source] >= MOST_VISITORS_OF_A_SOURCE:
            leaving = self._least({visitor.source})
        elif len(self._visitors) >= MOST_VISITORS:
            most = max(self._counts.values())
            leaving = self._least({source for source, count in self._counts.items() if count == most})
        if leaving is not None:
            if leaving.stage is not Stage.SILENT and now_s - leaving.since_s < GRACE_S:
                return visitor
            self.leave(leaving)
        self._visitors[visitor] = None
        self._counts[visitor.source] += 1
        return leaving

    def leave(self, visitor: V) -> bool:
        """A visitor became a peer, or is gone. Returns whether it was here."""
        if visitor not in self._visitors:
            return False
        del self._visitors[visitor]
        self._counts[visitor.source] -= 1
        if not self._counts[visitor.source]:
            del self._counts[visitor.source]
        return True

    def _least(self, sources: set[str]) -> V:
        """Of the visitors from these sources, the one that has shown the least, and the oldest of those."""
        crowd = (visitor for visitor in self._visitors if visitor.source in sources)
        return min(crowd, key=lambda visitor: (visitor.stage, visitor.since_s))


def source_of(host: str) -> str:
    """What counts as one origin: an IPv4 address, or the /64 that one IPv6 machine has to itself."""
    address = ip_address(host)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return address.packed[:8].hex()
    return str(address)
