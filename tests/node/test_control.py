"""The control socket is for the home's owner: a file only they can open, bounded, and clear about mistakes."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from node.config import ConfigError
from node.control import LARGEST_LINE_SIZE_BYTES, SOCKET_FILE, Control, ask
from node.errors import NetworkError


def answer(request: dict[str, Any]) -> dict[str, Any]:
    if "bad" in request:
        raise ConfigError("that is bad")
    return {"got": request}


@asynccontextmanager
async def listening(data: Path) -> AsyncIterator[None]:
    control = Control(data, {"tell": answer})
    await control.start()
    try:
        yield
    finally:
        await control.stop()


async def asked(data: Path, request: dict[str, Any]) -> dict[str, Any]:
    return await asyncio.get_running_loop().run_in_executor(None, ask, data, request)


async def test_a_command_is_answered_and_a_mistake_named(tmp_path: Path) -> None:
    async with listening(tmp_path):
        assert await asked(tmp_path, {"command": "tell", "x": 1}) == {"got": {"x": 1}}
        with pytest.raises(NetworkError, match="the node refused: that is bad"):
            await asked(tmp_path, {"command": "tell", "bad": True})
        with pytest.raises(NetworkError, match="a request is an object with a command: one of tell"):
            await asked(tmp_path, {"command": "dance"})


async def test_only_the_owner_can_open_it_and_it_goes_with_the_node(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_FILE
    path.write_text("left by a node that was killed")
    async with listening(tmp_path):
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()
    with pytest.raises(NetworkError, match="Is it running with this --home"):
        await asked(tmp_path, {"command": "tell"})


@pytest.mark.parametrize(
    "line",
    [b"[]\n", b"\xff\xfe\n", b'"tell"\n', b"null\n", b"\n", b'{"command": []}\n', b"[" * 4_000 + b"\n"],
    ids=lambda line: repr(line[:16]),
)
async def test_what_is_no_request_is_answered_as_one_that_is_not(tmp_path: Path, line: bytes) -> None:
    async with listening(tmp_path):
        reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET_FILE)
        writer.write(line)
        assert b"a request is an object with a command" in await reader.readline()
        writer.close()


async def test_a_line_that_never_ends_is_dropped(tmp_path: Path) -> None:
    async with listening(tmp_path):
        reader, writer = await asyncio.open_unix_connection(tmp_path / SOCKET_FILE)
        writer.write(b"x" * 4 * LARGEST_LINE_SIZE_BYTES)
        assert await reader.read() == b""
        writer.close()


async def test_a_path_too_long_for_a_sockets_name_works_all_the_same(tmp_path: Path) -> None:
    data = tmp_path / ("d" * 120)
    data.mkdir()
    async with listening(data):
        assert await asked(data, {"command": "tell"}) == {"got": {}}
        assert stat.S_IMODE((data / SOCKET_FILE).stat().st_mode) == 0o600


async def test_a_directory_that_takes_no_socket_does_not_keep_a_node_from_running(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to("/proc")  # where nobody can make a file
    async with listening(tmp_path / "data"):
        with pytest.raises(NetworkError, match="no node answers"):
            await asked(tmp_path / "data", {"command": "tell"})
