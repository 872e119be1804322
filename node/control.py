"""The door for whoever owns the node's files: a socket in the data directory that only they can open.

Not part of the API: a reverse proxy on this machine makes strangers look local there. Whoever can open this socket can
read the keys beside it. One line of JSON in, one line out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog

from node.errors import NetworkError, OpenLedgerError

SOCKET_FILE = "control.sock"
LONGEST_PATH_BYTES = 100
"""What the system takes as a socket's name, with room for its end."""
LARGEST_LINE_SIZE_BYTES = 4096
TIMEOUT_S = 5.0

Command = Callable[[dict[str, Any]], dict[str, Any]]
"""Answers a request. Raises: OpenLedgerError."""

log = structlog.get_logger(__name__)


class Control:
    """The listening side."""

    def __init__(self, data: Path, commands: dict[str, Command]) -> None:
        self._path = data / SOCKET_FILE
        self._commands = commands
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listens. A node runs without it where the system does not let it."""
        self._path.unlink(missing_ok=True)  # left by a node that was killed; the lock says that it is gone
        sock = socket.socket(socket.AF_UNIX)
        mask = os.umask(0o177)
        try:
            with _short(self._path) as name:
                sock.bind(name)
        except OSError as error:
            sock.close()
            log.warning("no_control_socket", path=str(self._path), error=str(error), hint="SIGHUP still works")
            return
        finally:
            os.umask(mask)
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=LARGEST_LINE_SIZE_BYTES)

    async def stop(self) -> None:
        """Closes the door."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = self._answer(await reader.readline())
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, TimeoutError) as error:
            log.debug("control_failed", error=str(error))
        finally:
            writer.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            command = self._commands[request.pop("command")]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {"error": f"a request is an object with a command: one of {', '.join(self._commands)}"}
        try:
            return command(request)
        except OpenLedgerError as error:
            return {"error": str(error)}


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of a path that the system takes for a socket: a long one goes by way of its directory's descriptor."""
    if len(os.fsencode(path)) <= LONGEST_PATH_BYTES:
        yield os.fspath(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


def ask(data: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Asks the node that runs on a data directory. Raises: NetworkError saying what to do."""
    path = data / SOCKET_FILE
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(TIMEOUT_S)
        try:
            with _short(path) as name:
                sock.connect(name)
            sock.sendall(json.dumps(request).encode() + b"\n")
            with sock.makefile("rb") as answers:
                answer = json.loads(answers.readline(LARGEST_LINE_SIZE_BYTES))
        except PermissionError as error:
            raise NetworkError(f"{path} is another user's: run this as the user that runs the node") from error
        except (OSError, ValueError) as error:
            raise NetworkError(f"no node answers on {path}: {error}. Is it running with this --home?") from error
    if not isinstance(answer, dict) or "error" in answer:
        raise NetworkError(f"the node refused: {answer.get('error') if isinstance(answer, dict) else answer}")
    return answer
