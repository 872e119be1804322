"""How a client uploads a large content: what is missing, piece by piece, a few at a time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from node.api.views import UploadView
from node.errors import NetworkError
from node.types.content import PIECE_SIZE_BYTES, ContentManifest, cut

AT_ONCE = 4
"""Pieces that are under way at a time."""
POLL_S = 0.1

OnProgress = Callable[[int, int], None]
"""Hears how many bytes of how many are there."""


@dataclass(slots=True, kw_only=True)
class Upload:
    """One content on its way to a node."""

    call: Callable[..., Awaitable[UploadView]]
    """Calls a method of the node."""
    content: bytes | Path
    """The bytes, or a file."""
    manifest: ContentManifest
    """What they are made of."""
    on_progress: OnProgress | None
    """Who wants to know how far it is."""
    _missing: set[int] = field(default_factory=set)

    async def run(self, validators: int, timeout_s: float) -> str:
        """Returns the content's name once the node, and so many other validators, hold it. Raises: NetworkError."""
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        begun = await self.call(
            "begin_upload",
            hash=self.manifest.content.hex(),
            size_bytes=self.manifest.size_bytes,
            pieces=[each.hex() for each in self.manifest.pieces],
        )
        self._missing = set(begun.missing)
        self._tell()
        wanted = ((index, data) for index, data in enumerate(pieces_of(self.content)) if index in begun.missing)
        putting = [asyncio.ensure_future(self._put(begun.id, wanted)) for _ in range(AT_ONCE)]
        try:
            async with asyncio.timeout_at(deadline_s):
                await asyncio.gather(*putting)
        except TimeoutError as error:
            raise NetworkError(f"the upload of {begun.hash} is not complete after {timeout_s:g} s") from error
        finally:
            for task in putting:
                task.cancel()
        while True:
            status = await self.call("upload_status", hash=begun.hash, id=begun.id)
            if status.is_complete and status.validators >= validators:
                return begun.hash
            if asyncio.get_running_loop().time() > deadline_s:
                held = f"{status.validators} other validators hold it" if status.is_complete else "it is not complete"
                raise NetworkError(f"the upload of {begun.hash}: {held} after {timeout_s:g} s")
            await asyncio.sleep(POLL_S)

    async def _put(self, upload_id: str, pieces: Iterator[tuple[int, bytes]]) -> None:
        for index, data in pieces:
            await self.call("put_piece", id=upload_id, index=index, data=base64.b64encode(data).decode())
            self._missing.discard(index)
            self._tell()

    def _tell(self) -> None:
        if self.on_progress is not None:
            missing = sum(self.manifest.piece_size_bytes(index) for index in self._missing)
            self.on_progress(self.manifest.size_bytes - missing, self.manifest.size_bytes)


def pieces_of(content: bytes | Path) -> Iterator[bytes]:
    """A content's pieces; a file is never held whole."""
    if isinstance(content, bytes):
        yield from cut(content)
        return
    with content.open("rb") as file:
        while piece := file.read(PIECE_SIZE_BYTES):
            yield piece
