"""One story, played once; each test has a node of its own that begins where the story ended."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.node.api.host import Client, Node, serving
from tests.node.api.story import Story, retell


@pytest.fixture
def story() -> Story:
    """The story on a disk of its own."""
    return retell()


@pytest.fixture
async def client(story: Story) -> AsyncIterator[Client]:
    """A client of a node on which the story was played."""
    async with serving(Node(story.chain, story.disk)) as client:
        yield client
