"""The explorer's REST API: one table of routes that serves and that the OpenAPI document is made from.

Nothing here knows the web server: a handler takes checked parameters and gives a view, bytes, or a stream of events.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from node.api import explorer_data, methods, present, requests, views, views_chain, views_data
from node.api.pages import BUILT_AT_ONCE, begin_page, build_each, end_page, entries_of, need
from node.api.search import search
from node.api.source import Source
from node.index import DAY_MS, PLACE_SIZE_BYTES, Shelf, place_of, split_position
from node.modules.governance import PROPOSALS
from node.modules.supply import SUPPLY
from node.primitives.crypto import HASH_SIZE_BYTES

JSON = "application/json"
BYTES = "application/octet-stream"
EVENTS = "text/event-stream"
KEEP_ALIVE_S = 15.0
"""A stream without news says that it is still there."""
HEIGHT_SIZE_BYTES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route."""

    path: str
    """Below BASE; parts in braces are parameters."""
    parameters: type[msgspec.Struct]
    """What stands in path and query."""
    result: Any
    """What is answered."""
    summary: str
    """What it is for."""
    handler: Callable[[Source, Any], Any]
    """Gives the result, or an awaitable of it; raises RequestRejected."""
    media_type: str = JSON
    """How the result is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Bytes that are read while they are sent."""

    size_bytes: int
    """How many they are."""
    read: Callable[[int, int], Iterator[bytes]]
    """Those from start to stop, in parts."""


# Blocks and transactions.


async def list_blocks(source: Source, parameters: requests.Listing) -> views.Page[views_chain.BlockSummary]:
    """Final blocks."""
    tip, is_oldest_first = source.tip_height, parameters.sort == "oldest"
    lowest = source.replica.genesis.height
    scope, after = begin_page(source, parameters, "blocks", HEIGHT_SIZE_BYTES)
    last = None if after is None else int.from_bytes(after, "big")
    if is_oldest_first:
        heights = range(lowest if last is None else last + 1, tip + 1)
    else:
        heights = range(tip if last is None else min(last - 1, tip), source.lowest_height - 1, -1)
    shown = heights[: parameters.limit]
    items = [await source.block_summary(height) for height in shown]
    end = shown[-1].to_bytes(HEIGHT_SIZE_BYTES, "big") if len(heights) > len(shown) else None
    return end_page(parameters, scope, [item for item in items if item is not None], end)


async def get_block(source: Source, parameters: requests.BlockPath) -> views_chain.BlockDetail:
    """A block by height or id."""
    stored = await methods.stored_block(source, *_block_name(parameters.block))
    summary = await source.block_summary(stored.header.height)
    assert summary is not None, "the block is stored"
    return views_chain.BlockDetail(
        summary=summary,
        header=present.header(stored.header, stored.block_id),
        is_finalised_directly=source.replica.blocks.certificate(stored.header.height) is not None,
    )


async def list_block_transactions(
    source: Source, parameters: requests.BlockListing
) -> views.Page[views_chain.TransactionSummary]:
    """A block's transactions; `oldest` is the order they were executed in."""
    stored = await methods.stored_block(source, *_block_name(parameters.block))
    height, count = stored.header.height, len(stored.receipts)
    scope, after = begin_page(source, parameters, f"block-transactions {height}", PLACE_SIZE_BYTES)
    last = None if after is None else split_position(after)[1]
    if parameters.sort == "oldest":
        indices = range(0 if last is None else last + 1, count)
    else:
        indices = range(count - 1 if last is None else min(last, count) - 1, -1, -1)
    shown = [place_of(height, index) for index in indices[: parameters.limit]]
    items = await _transactions(source, shown)
    return end_page(parameters, scope, items, shown[-1] if len(indices) > len(shown) else None)


async def list_transactions(source: Source, parameters: requests.Listing) -> views.Page[views_chain.TransactionSummary]:
    """Final transactions."""
    scope, after = begin_page(source, parameters, "transactions", PLACE_SIZE_BYTES)
    is_oldest_first = parameters.sort == "oldest"
    places = source.index.transactions(after, parameters.limit + 1, is_oldest_first=is_oldest_first)
    shown = places[: parameters.limit]
    items = await _transactions(source, shown)
    return end_page(parameters, scope, items, shown[-1] if len(places) > len(shown) else None)


async def get_transaction(source: Source, parameters: requests.IdPath) -> views_chain.TransactionView:
    """A final transaction."""
    return (await methods.tx(source, requests.TransactionParameters(id=parameters.id))).transaction


# Accounts and validators.


def get_account(source: Source, parameters: requests.AddressPath) -> views.AccountView:
    """An account; an unused address is an empty one."""
    return methods.account(source, requests.AccountParameters(address=parameters.address))


async def list_account_transactions(
    source: Source, parameters: requests.AddressListing
) -> views.Page[views_chain.TransactionSummary]:
    """Transactions an account sent, was paid by, or is named in."""
    address = methods.address_of(parameters.address)
    entries, scope, end = entries_of(source, parameters, Shelf.ACCOUNT_TRANSACTIONS, address, PLACE_SIZE_BYTES)
    items = await _transactions(source, [entry.position for entry in entries])
    return end_page(parameters, scope, items, end)


def get_validators(source: Source, parameters: requests.EpochParameters) -> views.ValidatorSetView:
    """Who votes, and what this node saw of them."""
    return methods.validators(source, parameters)


def get_engines(source: Source, parameters: requests.NoParameters) -> views.EnginesView:
    """Attribution engines."""
    return methods.engines(source, parameters)


# The rest.


async def list_proposals(source: Source, parameters: requests.Listing) -> views.Page[views.ProposalView]:
    """Governance proposals."""
    state = source.replica.state
    entries, scope, end = entries_of(source, parameters, Shelf.PROPOSALS, b"")
    items = await build_each(entries, lambda entry: present.proposal(entry.value, PROPOSALS.need(state, entry.value)))
    return end_page(parameters, scope, items, end)


def get_proposal(source: Source, parameters: requests.IdPath) -> views.ProposalView:
    """A governance proposal."""
    proposal_id = bytes.fromhex(parameters.id)
    return present.proposal(proposal_id, need(PROPOSALS.get(source.replica.state, proposal_id), "proposal"))


def get_content(source: Source, parameters: requests.IdPath) -> Stored:
    """The bytes of a public content."""
    content_hash = bytes.fromhex(parameters.id)
    size_bytes = methods.readable_size_bytes(source, content_hash)
    return Stored(size_bytes=size_bytes, read=lambda start, stop: source.replica.blobs.read(content_hash, start, stop))


async def get_stats(source: Source, _: requests.NoQuery) -> views.StatsView:
    """The chain in numbers."""
    totals = source.index.totals()
    conservation = await source.conservation()
    replica = source.replica
    return present.stats(replica.tree.tip, replica.engine.core.epoch, totals, SUPPLY.get(replica.state), conservation)


def list_days(source: Source, parameters: requests.DaysQuery) -> list[views.DayView]:
    """The last days in numbers, newest first."""
    today = source.replica.tree.tip.time_ms // DAY_MS
    first = source.replica.genesis.time_ms // DAY_MS
    days = range(today, max(first, today - parameters.days + 1) - 1, -1)
    return [present.day(each, source.index.day(each)) for each in days]


async def follow_blocks(source: Source, parameters: requests.EventsQuery) -> AsyncGenerator[bytes]:
    """Final blocks as server-sent events: `block` events whose id is the height."""
    height = source.tip_height if parameters.from_height is None else parameters.from_height
    height = max(height, source.replica.genesis.height)
    yield b"retry: 1000\n\n"
    while not source.is_stopping:
        while height <= source.tip_height:
            summary = await source.block_summary(height)
            yield b"event: block\nid: %d\ndata: %s\n\n" % (height, msgspec.json.encode(summary))
            height += 1
        try:
            async with asyncio.timeout(KEEP_ALIVE_S):
                await asyncio.shield(source.next_block())
        except TimeoutError:
            yield b": still here\n\n"


# Helpers.


async def _transactions(source: Source, places: Sequence[bytes]) -> list[views_chain.TransactionSummary]:
    found = []
    for number, place in enumerate(places, 1):
        height, index, _ = split_position(place)
        found.append(present.transaction_summary(await methods.stored_block(source, height, None), index))
        if number % BUILT_AT_ONCE == 0:
            await asyncio.sleep(0)
    return found


def _block_name(name: str) -> tuple[int | None, str | None]:
    """Height or id."""
    return (None, name) if len(name) == 2 * HASH_SIZE_BYTES else (int(name), None)


def _route(
    path: str, parameters: type[msgspec.Struct], result: Any, handler: Callable[[Source, Any], Any], **more: str
) -> Route:
    summary = (handler.__doc__ or path).rstrip(".")
    return Route(path=path, parameters=parameters, result=result, summary=summary, handler=handler, **more)


ROUTES: Sequence[Route] = (
    _route("/blocks", requests.Listing, views.Page[views_chain.BlockSummary], list_blocks),
    _route("/blocks/{block}", requests.BlockPath, views_chain.BlockDetail, get_block),
    _route(
        "/blocks/{block}/transactions",
        requests.BlockListing,
        views.Page[views_chain.TransactionSummary],
        list_block_transactions,
    ),
    _route("/transactions", requests.Listing, views.Page[views_chain.TransactionSummary], list_transactions),
    _route("/transactions/{id}", requests.IdPath, views_chain.TransactionView, get_transaction),
    _route("/accounts/{address}", requests.AddressPath, views.AccountView, get_account),
    _route(
        "/accounts/{address}/transactions",
        requests.AddressListing,
        views.Page[views_chain.TransactionSummary],
        list_account_transactions,
    ),
    _route(
        "/accounts/{address}/payments",
        requests.AddressListing,
        views.Page[views_data.PaymentView],
        explorer_data.list_account_payments,
    ),
    _route(
        "/accounts/{address}/records",
        requests.AddressListing,
        views.Page[views_data.RecordView],
        explorer_data.list_account_records,
    ),
    _route(
        "/accounts/{address}/contributions",
        requests.AddressListing,
        views.Page[views_data.ContributionView],
        explorer_data.list_account_contributions,
    ),
    _route(
        "/accounts/{address}/models",
        requests.AddressListing,
        views.Page[views_data.ModelView],
        explorer_data.list_account_models,
    ),
    _route(
        "/accounts/{address}/questions",
        requests.AddressListing,
        views.Page[views_data.QuestionView],
        explorer_data.list_account_questions,
    ),
    _route("/validators", requests.EpochParameters, views.ValidatorSetView, get_validators),
    _route("/engines", requests.NoParameters, views.EnginesView, get_engines),
    _route("/datanets", requests.Listing, views.Page[views_data.DatanetView], explorer_data.list_datanets),
    _route("/datanets/{id}", requests.IdPath, views_data.DatanetView, explorer_data.get_datanet),
    _route(
        "/datanets/{id}/records",
        requests.IdListing,
        views.Page[views_data.RecordView],
        explorer_data.list_datanet_records,
    ),
    _route(
        "/datanets/{id}/contributions",
        requests.IdListing,
        views.Page[views_data.ContributionView],
        explorer_data.list_datanet_contributions,
    ),
    _route(
        "/datanets/{id}/models", requests.IdListing, views.Page[views_data.ModelView], explorer_data.list_datanet_models
    ),
    _route(
        "/datanets/{id}/clusters", requests.ClusterListing, views_data.ClustersView, explorer_data.list_datanet_clusters
    ),
    _route("/contributions/{id}", requests.IdPath, views_data.ContributionDetail, explorer_data.get_contribution),
    _route("/records/{id}", requests.IdPath, views_data.ContentView, explorer_data.get_record),
    _route(
        "/records/{id}/payments",
        requests.IdListing,
        views.Page[views_data.PaymentView],
        explorer_data.list_record_payments,
    ),
    _route("/models", requests.Listing, views.Page[views_data.ModelView], explorer_data.list_models),
    _route("/models/{id}", requests.IdPath, views_data.ModelView, explorer_data.get_model),
    _route(
        "/models/{id}/questions",
        requests.IdListing,
        views.Page[views_data.QuestionView],
        explorer_data.list_model_questions,
    ),
    _route(
        "/models/{id}/attributions",
        requests.IdListing,
        views.Page[views_data.AttributionView],
        explorer_data.list_model_attributions,
    ),
    _route(
        "/models/{id}/payments",
        requests.IdListing,
        views.Page[views_data.PaymentView],
        explorer_data.list_model_payments,
    ),
    _route("/questions", requests.Listing, views.Page[views_data.QuestionView], explorer_data.list_questions),
    _route("/questions/{id}", requests.IdPath, views_data.QuestionView, explorer_data.get_question),
    _route("/attributions", requests.Listing, views.Page[views_data.AttributionView], explorer_data.list_attributions),
    _route("/attributions/{id}", requests.IdPath, views_data.AttributionDetail, explorer_data.get_attribution),
    _route("/payments", requests.Listing, views.Page[views_data.PaymentView], explorer_data.list_payments),
    _route("/payments/{id}", requests.PaymentPath, views_data.PaymentWhy, explorer_data.get_payment),
    _route("/proposals", requests.Listing, views.Page[views.ProposalView], list_proposals),
    _route("/proposals/{id}", requests.IdPath, views.ProposalView, get_proposal),
    _route("/contents/{id}", requests.IdPath, bytes, get_content, media_type=BYTES),
    _route("/search", requests.SearchQuery, views.SearchAnswer, search),
    _route("/stats", requests.NoQuery, views.StatsView, get_stats),
    _route("/stats/days", requests.DaysQuery, list[views.DayView], list_days),
    _route("/events", requests.EventsQuery, views_chain.BlockSummary, follow_blocks, media_type=EVENTS),
)
"""Every route."""
