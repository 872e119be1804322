"""Whether there is room on the disk: a node that runs out of it stops in good order before it must.

A reserve is kept for what was begun: below it the node pauses, and it goes on when twice as much is free, so that it
does not come and go. A disk that is full all the same is fatal where it happens, with what to do.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

RESUME_FACTOR = 2
"""It goes on when this many times the reserve is free."""

log = structlog.get_logger(__name__)


class Room:
    """The free space of one data directory."""

    def __init__(self, free_size_bytes: Callable[[], int], reserve_size_bytes: int) -> None:
        self._free_size_bytes = free_size_bytes
        self._reserve_size_bytes = reserve_size_bytes
        self.lack: str | None = None
        """Why the node pauses, and what to do; None while there is room."""

    def look(self) -> bool:
        """Looks at the disk. Returns whether that changed anything."""
        free = self._free_size_bytes()
        if self.lack is None and free < self._reserve_size_bytes:
            needed = RESUME_FACTOR * self._reserve_size_bytes
            self.lack = (
                f"the disk has {free} bytes left, below the reserve of {self._reserve_size_bytes}: "
                f"make room; the node goes on once {needed} bytes are free"
            )
            log.warning("paused", why=self.lack)
            return True
        if self.lack is not None and free >= RESUME_FACTOR * self._reserve_size_bytes:
            self.lack = None
            log.info("resumed", free_bytes=free)
            return True
        return False
