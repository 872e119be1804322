"""What the checker reads is what the chain holds, and answers that contradict their own hashes are refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from devnet.answers import UnreadableError, read_answers, wait_until_quiet
from devnet.checker import check
from devnet.history import History
from devnet.topology import Node
from node.client import AsyncClient
from node.payloads import CreateRegister, SetRegister, Transfer
from node.primitives.address import format_address
from tests.factories import make_chain
from tests.node.api import host

BOUND_S = 5.0


@pytest.fixture(name="nodes")
async def nodes_fixture() -> AsyncIterator[list[Node]]:
    """One node with a few transactions, told twice as if it were two."""
    chain = make_chain(powers=(1,))
    node = host.Node(chain)
    async with host.serving(node):
        sender, owner = chain.users[:2]
        for _ in range(3):
            await node.order(sender, Transfer(recipient=owner.address, amount_units=5))
        await node.order(owner, CreateRegister(name="r", writers=(sender.address,), value=b""))
        stale = SetRegister(owner=owner.address, name="r", expected_version=7, value=b"never")
        assert (await node.attempt(sender, stale)).failure == "stale_register"
        yield [Node(name, Path(), node.api.port) for name in ("node1", "node2")]


def people() -> list[str]:
    return [format_address(key.address) for key in make_chain(powers=(1,)).users]


async def test_answers_hold_every_transaction_and_satisfy_the_checker(nodes: list[Node]) -> None:
    height = await wait_until_quiet(nodes, 10.0)
    found = await read_answers(nodes, height, people())
    assert [(each.kind, each.failure) for each in found.transactions] == [
        (1, ""), (1, ""), (1, ""), (70, ""), (71, "stale_register"),
    ]  # fmt: skip
    assert [len(blocks) for blocks in found.blocks.values()] == [height + 1, height + 1]
    assert found.accused == {"node1": 0, "node2": 0}
    assert check(History(owner=people()[1], operations=[]), found, BOUND_S) == []


async def test_transactions_that_the_header_does_not_commit_to_are_refused(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = AsyncClient.batch

    async def lying(self: AsyncClient, calls: Any) -> Any:
        found = await ask(self, calls)
        if calls[0][0] != "block":
            return found
        first = msgspec.json.decode(found[0])  # type: ignore[arg-type]
        first["transactions"] *= 2
        return [msgspec.Raw(msgspec.json.encode(first)), *found[1:]]

    monkeypatch.setattr(AsyncClient, "batch", lying)
    with pytest.raises(UnreadableError, match="the transactions of block 1 are not those its header commits to"):
        await read_answers(nodes, await wait_until_quiet(nodes, 10.0), people())


async def test_header_that_does_not_hash_to_its_id_is_refused(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = AsyncClient.call_as

    async def lying(self: AsyncClient, result: Any, method: str, **parameters: Any) -> Any:
        found = await ask(self, result, method, **parameters)
        if method != "blockchain":
            return found
        return msgspec.structs.replace(
            found, headers=[msgspec.structs.replace(each, id="00" * 32) for each in found.headers]
        )

    monkeypatch.setattr(AsyncClient, "call_as", lying)
    with pytest.raises(UnreadableError, match=r"header 0 hashes to [0-9a-f]{64}, not to 0{64}"):
        await read_answers(nodes, await wait_until_quiet(nodes, 10.0), people())


async def test_transaction_that_waits_for_ever_is_reported() -> None:
    chain = make_chain(powers=(1,))
    node = host.Node(chain)
    async with host.serving(node):
        node.is_verifying = False
        node.replica.submit(node.sign(chain.users[0], Transfer(recipient=bytes(20), amount_units=1)), lambda _: None)
        with pytest.raises(UnreadableError, match=r"transactions are waiting still after 0\.3 s"):
            await wait_until_quiet([Node("node1", Path(), node.api.port)], 0.3)
        node.release()
