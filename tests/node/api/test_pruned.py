"""What a node that let go of old blocks, or joined above them, tells people."""

from __future__ import annotations

import pytest

from node.pruning import prune
from node.types.block import FinalityProof
from tests.factories import make_chain
from tests.node.api.host import Node, serving


async def test_pruned_heights_are_answered_with_pruned_and_listings_end_above_them() -> None:
    node = Node(make_chain(powers=(1,), users=1), has_index=False)
    async with serving(node) as client:
        await node.mine(12)
        tip = node.height
        prune(node.disk.store, 7)
        assert 4 in node.api._source.history._kept, "the cache knows it still"
        for method in ("block", "block_results", "commit", "light_block"):
            code, reason = await client.fails(method, height=4)
            assert reason == "pruned", (method, code, reason)
        assert (await client.call("block", height=7))["header"]["height"] == 7
        assert (await client.call("block", height=0))["header"]["height"] == 0
        headers = (await client.call("blockchain"))["headers"]
        assert [each["height"] for each in headers] == list(range(tip, 6, -1))
        assert (await client.fails("blockchain", min_height=3, max_height=9))[1] == "pruned"
        answer = await client.get("/api/v1/blocks/4")
        assert answer.status == 410
        listed = (await client.get("/api/v1/blocks")).json["items"]
        assert [each["height"] for each in listed] == list(range(tip, 6, -1))
        await node.mine(1)
        assert (await client.call("block"))["header"]["height"] == tip + 1


@pytest.mark.parametrize("method", ["commit", "light_block"])
async def test_a_block_that_goes_while_its_proof_is_looked_for_is_answered_with_pruned(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(make_chain(powers=(1,), users=1), has_index=False)
    async with serving(node) as client:
        await node.mine(12)
        real = node.replica.blocks.finality_proof

        def late(height: int) -> FinalityProof | None:
            prune(node.disk.store, 7)
            return real(height)

        monkeypatch.setattr(node.replica.blocks, "finality_proof", late)
        assert (await client.fails(method, height=4))[1] == "pruned"
