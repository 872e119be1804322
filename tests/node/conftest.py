"""Settings of the ledger's random tests: a busy machine is slow, not wrong. And a world with small chunks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from node import snapshot
from tests.node.joining_world import MESHES

settings.register_profile("ledger", deadline=None, print_blob=True)
settings.load_profile("ledger")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Snapshots of many chunks; nodes that joined by them are ended afterwards."""
    monkeypatch.setattr(snapshot, "CHUNK_SIZE_BYTES", 2_000)
    yield
    while MESHES:
        MESHES.pop().close()
