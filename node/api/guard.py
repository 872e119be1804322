"""Who may ask: hosts and origins a browser may name, and how much one client may write."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from urllib.parse import urlsplit

from node.errors import Reason, RequestReason, RequestRejected

MOST_CLIENTS = 10_000
"""Client addresses whose rate is remembered."""
BURST_S = 2
"""How much of a rate may be used at once."""
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class AccessReason(Reason):
    """Why a client was turned away before its request was read."""

    WRONG_HOST = "wrong_host", "The node listens on this machine only and does not answer to that host name."
    WRONG_ORIGIN = "wrong_origin", "The page's origin may not use this node: list it in cors_origins."
    SLOW_READER = "slow_reader", "The connection does not read its news as fast as it comes: connect again."


class TooFast(RequestRejected):
    """A client writes faster than its rate allows."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(RequestReason.TOO_MANY_REQUESTS, f"{retry_after_s} s")
        self.retry_after_s = retry_after_s


class RateLimiter:
    """A token bucket per client address."""

    def __init__(self, items_per_second: int) -> None:
        self._rate = items_per_second
        self._burst = items_per_second * BURST_S
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Tokens left, and when that was."""

    def take(self, client: str, items: int, now_s: float) -> None:
        """Counts a client's items. Raises: TooFast; what never fits at once is TOO_LARGE."""
        if items > self._burst:
            raise RequestRejected(RequestReason.TOO_LARGE, f"at most {self._burst} items at once")
        left, since_s = self._buckets.pop(client, (float(self._burst), now_s))
        left = min(self._burst, left + (now_s - since_s) * self._rate)
        is_granted = items <= left
        self._buckets[client] = (left - items if is_granted else left, now_s)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        if not is_granted:
            raise TooFast(max(1, -int(-(items - left) // self._rate)))


class Access:
    """Which host and origin headers are accepted."""

    def __init__(self, host: str, cors_origins: Sequence[str]) -> None:
        self._hosts = LOOPBACK_NAMES | {host.lower()} if is_loopback(host) else None
        self._origins = frozenset(cors_origins)

    def check_host(self, host_header: str) -> AccessReason | None:
        """Why a request is turned away: a page may have its own name resolve to this machine."""
        if self._hosts is None or host_name(host_header) in self._hosts:
            return None
        return AccessReason.WRONG_HOST

    def check_origin(self, origin: str | None, host_header: str) -> AccessReason | None:
        """Why a request that changes something, or a WebSocket, is turned away."""
        if origin is None or self.allowed_origin(origin) is not None:
            return None
        is_own = host_header != "" and location_of(origin) == host_header.lower()
        return None if is_own else AccessReason.WRONG_ORIGIN

    def allowed_origin(self, origin: str | None) -> str | None:
        """What Access-Control-Allow-Origin says."""
        if origin is None:
            return None
        return origin if origin in self._origins or "*" in self._origins else None


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def location_of(origin: str) -> str:
    """Host and port of an Origin header; empty when it names none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def host_name(host_header: str) -> str:
    """The name in a Host header, without the port."""
    try:
        return (urlsplit(f"//{host_header}").hostname or "").lower()
    except ValueError:
        return ""
