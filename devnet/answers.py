"""Reads over the public RPC what every node says of the chain, for the checker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from devnet.history import Answers, BlockLine, FinalTransaction, Holdings
from devnet.topology import Node
from node.api import views, views_chain
from node.client import AsyncClient, CallFailed
from node.primitives.address import format_address
from node.primitives.codec import decode
from node.primitives.merkle import merkle_root
from node.primitives.plain import from_plain
from node.types.block import Header
from node.types.genesis import Genesis
from node.types.transaction import decode_transaction

HEADERS_AT_ONCE = 50
CALLS_AT_ONCE = 100
TIMEOUT_S = 60.0
QUIET_POLL_S = 0.2

T = TypeVar("T")


class UnreadableError(Exception):
    """A node's answers do not hold together: what is wrong with them."""


async def wait_until_quiet(nodes: Sequence[Node], timeout_s: float) -> int:
    """Waits until no node has a transaction waiting and all are level. Returns the height all have.

    Raises: UnreadableError.
    """
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    clients = [AsyncClient(node.url, timeout_s=TIMEOUT_S) for node in nodes]
    try:
        while asyncio.get_running_loop().time() < deadline_s:
            waiting = [await client.call_as(views_chain.UnconfirmedView, "num_unconfirmed_txs") for client in clients]
            if sum(each.total + each.arriving for each in waiting) == 0:
                height = max([await client.height() for client in clients])
                for client in clients:
                    await client.wait_for_height(height, timeout_s=timeout_s)
                return height
            await asyncio.sleep(QUIET_POLL_S)
    finally:
        for client in clients:
            await client.close()
    raise UnreadableError(f"transactions are waiting still after {timeout_s:g} s")


async def read_answers(nodes: Sequence[Node], height: int, addresses: Sequence[str]) -> Answers:
    """Everything the checker wants to know, up to a height that all nodes have. Raises: UnreadableError."""
    clients = {node.name: AsyncClient(node.url, timeout_s=TIMEOUT_S) for node in nodes}
    try:
        first = next(iter(clients.values()))
        shown = await first.call_as(views.GenesisView, "genesis")
        genesis: Genesis = from_plain(Genesis, shown.genesis)
        if genesis.hash().hex() != shown.hash:
            raise UnreadableError(f"the genesis shown hashes to {genesis.hash().hex()}, not to {shown.hash}")
        headers = {name: await _read_headers(client, height) for name, client in clients.items()}
        return Answers(
            genesis_balances={format_address(each.address): each.balance_units for each in genesis.accounts},
            genesis_units=genesis.supply_units(),
            blocks={name: [_line(header) for header in found] for name, found in headers.items()},
            transactions=await _read_transactions(first, genesis.hash(), next(iter(headers.values()))),
            holdings={name: await _read_holdings(client, addresses) for name, client in clients.items()},
            accused={
                name: len((await client.call_as(views_chain.EvidenceList, "evidence")).evidence)
                for name, client in clients.items()
            },
        )
    finally:
        for client in clients.values():
            await client.close()


async def _read_headers(client: AsyncClient, height: int) -> list[Header]:
    headers: list[Header] = []
    for lowest in range(0, height + 1, HEADERS_AT_ONCE):
        highest = min(height, lowest + HEADERS_AT_ONCE - 1)
        found = await client.call_as(views_chain.HeaderRange, "blockchain", min_height=lowest, max_height=highest)
        for view in reversed(found.headers):
            header = decode(Header, bytes.fromhex(view.encoded))
            if header.id().hex() != view.id:
                raise UnreadableError(f"header {view.height} hashes to {header.id().hex()}, not to {view.id}")
            headers.append(header)
    return headers


async def _read_transactions(
    client: AsyncClient, genesis_hash: bytes, headers: Sequence[Header]
) -> list[FinalTransaction]:
    """One node's transactions; the headers, which are compared, commit to them."""
    empty = merkle_root([])
    heights = [header.height for header in headers if header.height and header.transactions_root != empty]
    found: list[FinalTransaction] = []
    for start in range(0, len(heights), CALLS_AT_ONCE):
        part = heights[start : start + CALLS_AT_ONCE]
        blocks = await _ask(client, views_chain.BlockView, [("block", {"height": height}) for height in part])
        results = await _ask(
            client, views_chain.BlockResults, [("block_results", {"height": height}) for height in part]
        )
        for height, block, result in zip(part, blocks, results, strict=True):
            encoded = [bytes.fromhex(each) for each in block.transactions]
            if merkle_root(encoded) != headers[height].transactions_root:
                raise UnreadableError(f"the transactions of block {height} are not those its header commits to")
            found += _final(height, encoded, result, genesis_hash)
    return found


async def _ask(client: AsyncClient, result: type[T], calls: Sequence[tuple[str, Mapping[str, Any]]]) -> list[T]:
    answers = []
    for each in await client.batch(calls):
        if isinstance(each, CallFailed):
            raise UnreadableError(f"a final block cannot be read: {each}")
        answers.append(msgspec.json.decode(each, type=result))
    return answers


def _final(
    height: int, encoded: Sequence[bytes], result: views_chain.BlockResults, genesis_hash: bytes
) -> list[FinalTransaction]:
    found = []
    for index, (data, receipt) in enumerate(zip(encoded, result.receipts, strict=True)):
        transaction = decode_transaction(data)
        found.append(
            FinalTransaction(
                id=transaction.id(genesis_hash).hex(),
                height=height,
                index=index,
                kind=transaction.kind,
                sender=format_address(transaction.sender),
                nonce=transaction.nonce,
                fee_units=transaction.fee_units,
                payload=transaction.payload.hex(),
                failure=receipt.failure,
            )
        )
    return found


async def _read_holdings(client: AsyncClient, addresses: Sequence[str]) -> Holdings:
    stats = await client.get(views.StatsView, "/stats")
    accounts = [await client.account(address) for address in addresses]
    return Holdings(
        balances={each.address: int(each.balance_units) for each in accounts},
        treasury_units=int(stats.treasury_units),
        supply_units=int(stats.supply_units),
        conservation_error=stats.conservation.error,
    )


def _line(header: Header) -> BlockLine:
    return BlockLine(
        height=header.height,
        id=header.id().hex(),
        parent_id=header.parent_id.hex(),
        state_root=header.state_root.hex(),
    )
