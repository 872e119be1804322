"""Listens, and lets a bounded number of strangers wait: what a connection costs before TLS is bounded here.

A socket is counted from the moment it is accepted, and gets a TLS state only once it has begun to speak TLS. What
happens then is the network's business; it says when a visitor has become a peer or is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

import structlog

from node.p2p.lobby import Lobby, Stage, source_of

BACKLOG = 256
"""Connections the system holds until they are accepted."""
MOST_ACCEPTED_PER_TURN = 32
ACCEPT_PAUSE_S = 0.5
"""How long nothing is accepted after the system had no descriptor to give."""
TLS_HANDSHAKE = b"\x16"
"""The first byte of every TLS client."""

log = structlog.get_logger(__name__)


class Visitor:
    """An accepted connection that has not shown who it is."""

    __slots__ = ("deadline", "since_s", "sock", "source", "stage")

    def __init__(self, sock: socket.socket, source: str, since_s: float) -> None:
        self.sock = sock
        self.source = source
        self.since_s = since_s
        self.stage = Stage.SILENT
        self.deadline: asyncio.TimerHandle | None = None


class Door:
    """The listening sockets of one node and the visitors they brought."""

    def __init__(self, on_speaking: Callable[[Visitor], None], on_refused: Callable[[], None]) -> None:
        self._on_speaking = on_speaking
        self._on_refused = on_refused
        self._listeners: list[socket.socket] = []
        self._lobby: Lobby[Visitor] = Lobby()
        self._pause: asyncio.TimerHandle | None = None
        self._timeout_s = 0.0

    async def open(self, host: str, port: int, timeout_s: float) -> int:
        """Listens; whoever is no peer after the timeout is turned out. Returns the port. Raises: OSError."""
        loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, address in dict.fromkeys((each[0], each[4]) for each in found):
                listener = socket.create_server(address, family=family, backlog=BACKLOG)
                listener.setblocking(False)
                self._listeners.append(listener)
        except OSError:
            self.close()
            raise
        self._listen()
        bound: int = self._listeners[0].getsockname()[1]
        return bound

    def close(self) -> None:
        """Stops listening; visitors are turned out."""
        if self._pause is not None:
            self._pause.cancel()
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        self._listeners.clear()
        for visitor in self._lobby:
            self.turn_out(visitor)

    def leave(self, visitor: Visitor) -> bool:
        """A visitor became a peer, or is gone. Returns whether it was waiting until now."""
        if visitor.deadline is not None:
            visitor.deadline.cancel()
        return self._lobby.leave(visitor)

    def turn_out(self, visitor: Visitor) -> None:
        """Ends a visitor's connection."""
        self.leave(visitor)
        self._on_refused()
        if visitor.stage is Stage.SILENT:
            asyncio.get_running_loop().remove_reader(visitor.sock)
            visitor.sock.close()
            return
        # TLS has the socket: it finds it at its end, and closes it.
        with contextlib.suppress(OSError):
            visitor.sock.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        self._pause = None
        for listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Takes what waits, a part at a time: a flood must not hold the loop."""
        for _ in range(MOST_ACCEPTED_PER_TURN):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:  # it was gone before we came
                continue
            except OSError as error:
                # No descriptor or no memory: the listener stays readable, and asking again at once would spin.
                self._rest(error)
                return
            self._enter(sock, address[0])

    def _rest(self, error: OSError) -> None:
        loop = asyncio.get_running_loop()
        log.warning("accepting_paused", error=str(error), visitors=len(self._lobby))
        for listener in self._listeners:
            loop.remove_reader(listener)
        if self._pause is None:
            self._pause = loop.call_later(ACCEPT_PAUSE_S, self._listen)

    def _enter(self, sock: socket.socket, host: str) -> None:
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # it may be gone
            # asyncio sets it only on sockets it made: a vote must not wait for the acknowledgement of the one before.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        visitor = Visitor(sock, source_of(host), loop.time())
        leaving = self._lobby.enter(visitor, loop.time())
        if leaving is not None:
            self.turn_out(leaving)
        if leaving is visitor:
            return
        visitor.deadline = loop.call_later(self._timeout_s, self.turn_out, visitor)
        loop.add_reader(sock, self._hear, visitor)
        self._hear(visitor)

    def _hear(self, visitor: Visitor) -> None:
        """Looks at the first byte, and leaves it where it is."""
        try:
            first = visitor.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            first = b""
        if first != TLS_HANDSHAKE:
            self.turn_out(visitor)
            return
        asyncio.get_running_loop().remove_reader(visitor.sock)
        visitor.stage = Stage.SPEAKING
        self._on_speaking(visitor)
