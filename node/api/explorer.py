"""The explorer's REST API: one table of routes that serves and that the OpenAPI document is made from.

Nothing here knows the web server: a handler takes checked parameters and gives a view, bytes, or a stream of events.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from node.api import methods, present, present_data, requests, views
from node.api.cursor import decode_cursor, encode_cursor, make_scope
from node.api.source import Source
from node.errors import RequestReason, RequestRejected
from node.index import (
    DAY_MS,
    PLACE_SIZE_BYTES,
    POSITION_SIZE_BYTES,
    Answer,
    Entry,
    Shelf,
    place_of,
    position_of,
    split_position,
)
from node.modules.attributions import QUESTIONS, Attribute
from node.modules.datanets import CONTRIBUTIONS, DATANETS, RECORDS
from node.modules.governance import PROPOSALS
from node.modules.models import MODELS
from node.modules.rewards import Paid
from node.modules.supply import SUPPLY
from node.primitives.codec import decode
from node.primitives.crypto import HASH_SIZE_BYTES
from node.state.table import Table
from node.types.transaction import decode_transaction

BASE = "/api/v1"
JSON = "application/json"
BYTES = "application/octet-stream"
EVENTS = "text/event-stream"
KEEP_ALIVE_S = 15.0
"""A stream without news says that it is still there."""
BUILT_AT_ONCE = 10
"""Views built before the event loop has its turn."""
HEIGHT_SIZE_BYTES = 6
MOST_FOUND = 20
MOST_DAYS = 366

T = TypeVar("T")


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


# Blocks and transactions.


async def list_blocks(source: Source, parameters: requests.Listing) -> views.Page[views.BlockSummary]:
    """Final blocks."""
    tip, is_oldest_first = source.tip_height, parameters.sort == "oldest"
    scope, after = _begin(source, parameters, "blocks", HEIGHT_SIZE_BYTES)
    last = None if after is None else int.from_bytes(after, "big")
    if is_oldest_first:
        heights = range(0 if last is None else last + 1, tip + 1)
    else:
        heights = range(tip if last is None else min(last - 1, tip), -1, -1)
    shown = heights[: parameters.limit]
    items = [await source.block_summary(height) for height in shown]
    end = shown[-1].to_bytes(HEIGHT_SIZE_BYTES, "big") if len(heights) > len(shown) else None
    return _page(parameters, scope, [item for item in items if item is not None], end)


async def get_block(source: Source, parameters: requests.BlockPath) -> views.BlockDetail:
    """A block by height or id."""
    stored = await methods.stored_block(source, *_block_name(parameters.block))
    summary = await source.block_summary(stored.header.height)
    assert summary is not None, "the block is stored"
    return views.BlockDetail(
        summary=summary,
        header=present.header(stored.header, stored.block_id),
        is_finalised_directly=source.replica.blocks.certificate(stored.header.height) is not None,
    )


async def list_block_transactions(
    source: Source, parameters: requests.BlockListing
) -> views.Page[views.TransactionView]:
    """A block's transactions; `oldest` is the order they were executed in."""
    stored = await methods.stored_block(source, *_block_name(parameters.block))
    height, count = stored.header.height, len(stored.receipts)
    scope, after = _begin(source, parameters, f"block-transactions {height}", PLACE_SIZE_BYTES)
    last = None if after is None else split_position(after)[1]
    if parameters.sort == "oldest":
        indices = range(0 if last is None else last + 1, count)
    else:
        indices = range(count - 1 if last is None else last - 1, -1, -1)
    shown = [place_of(height, index) for index in indices[: parameters.limit]]
    items = await _transactions(source, shown)
    return _page(parameters, scope, items, shown[-1] if len(indices) > len(shown) else None)


async def list_transactions(source: Source, parameters: requests.Listing) -> views.Page[views.TransactionView]:
    """Final transactions."""
    scope, after = _begin(source, parameters, "transactions", PLACE_SIZE_BYTES)
    is_oldest_first = parameters.sort == "oldest"
    places = source.index.transactions(after, parameters.limit + 1, is_oldest_first=is_oldest_first)
    shown = places[: parameters.limit]
    items = await _transactions(source, shown)
    return _page(parameters, scope, items, shown[-1] if len(places) > len(shown) else None)


async def get_transaction(source: Source, parameters: requests.IdPath) -> views.TransactionView:
    """A final transaction."""
    return (await methods.tx(source, requests.TransactionParameters(id=parameters.id))).transaction


# Accounts and validators.


def get_account(source: Source, parameters: requests.AddressPath) -> views.AccountView:
    """An account; an unused address is an empty one."""
    return methods.account(source, requests.AccountParameters(address=parameters.address))


async def list_account_transactions(
    source: Source, parameters: requests.AddressListing
) -> views.Page[views.TransactionView]:
    """Transactions an account sent, was paid by, or is named in."""
    address = methods.address_of(parameters.address)
    entries, scope, end = _entries(source, parameters, Shelf.ACCOUNT_TRANSACTIONS, address, PLACE_SIZE_BYTES)
    items = await _transactions(source, [entry.position for entry in entries])
    return _page(parameters, scope, items, end)


async def list_account_payments(source: Source, parameters: requests.AddressListing) -> views.Page[views.PaymentView]:
    """Payments an account's records earned."""
    return await _payments(source, parameters, Shelf.PAYMENTS_OF_ACCOUNT, methods.address_of(parameters.address))


async def list_account_records(source: Source, parameters: requests.AddressListing) -> views.Page[views.RecordView]:
    """Records an account offered."""
    return await _records(source, parameters, Shelf.RECORDS_OF_ACCOUNT, methods.address_of(parameters.address))


async def list_account_contributions(
    source: Source, parameters: requests.AddressListing
) -> views.Page[views.ContributionView]:
    """Contributions of an account."""
    owner = methods.address_of(parameters.address)
    return await _contributions(source, parameters, Shelf.CONTRIBUTIONS_OF_ACCOUNT, owner)


async def list_account_models(source: Source, parameters: requests.AddressListing) -> views.Page[views.ModelView]:
    """Models an account registered or was handed."""
    return await _models(source, parameters, Shelf.MODELS_OF_OWNER, methods.address_of(parameters.address))


async def list_account_questions(source: Source, parameters: requests.AddressListing) -> views.Page[views.QuestionView]:
    """Questions of an account."""
    return await _questions(source, parameters, Shelf.QUESTIONS_OF_ASKER, methods.address_of(parameters.address))


def get_validators(source: Source, parameters: requests.EpochParameters) -> views.ValidatorSetView:
    """Who votes, and what this node saw of them."""
    return methods.validators(source, parameters)


# Datanets, records, models.


async def list_datanets(source: Source, parameters: requests.Listing) -> views.Page[views.DatanetView]:
    """Datanets."""
    entries, scope, end = _entries(source, parameters, Shelf.DATANETS, b"")
    items = await _each(entries, lambda entry: _datanet(source, entry.value))
    return _page(parameters, scope, items, end)


def get_datanet(source: Source, parameters: requests.IdPath) -> views.DatanetView:
    """A datanet."""
    datanet_id = bytes.fromhex(parameters.id)
    _need(DATANETS.get(source.replica.state, datanet_id), "datanet")
    return _datanet(source, datanet_id)


async def list_datanet_records(source: Source, parameters: requests.IdListing) -> views.Page[views.RecordView]:
    """Records that were offered to a datanet."""
    return await _records(source, parameters, Shelf.RECORDS_OF_DATANET, bytes.fromhex(parameters.id))


async def list_datanet_contributions(
    source: Source, parameters: requests.IdListing
) -> views.Page[views.ContributionView]:
    """Contributions to a datanet."""
    return await _contributions(source, parameters, Shelf.CONTRIBUTIONS_OF_DATANET, bytes.fromhex(parameters.id))


async def list_datanet_models(source: Source, parameters: requests.IdListing) -> views.Page[views.ModelView]:
    """Models that were trained on a datanet, retired ones included."""
    return await _models(source, parameters, Shelf.MODELS_OF_DATANET, bytes.fromhex(parameters.id))


def get_contribution(source: Source, parameters: requests.IdPath) -> views.ContributionDetail:
    """A contribution with its records."""
    contribution_id = bytes.fromhex(parameters.id)
    known = _need(CONTRIBUTIONS.get(source.replica.state, contribution_id), "contribution")
    return views.ContributionDetail(
        contribution=present_data.contribution(contribution_id, known), records=[each.hex() for each in known.records]
    )


def get_record(source: Source, parameters: requests.IdPath) -> views.ContentView:
    """A content and the records that are these bytes."""
    content_hash = bytes.fromhex(parameters.id)
    state, is_public = source.replica.state, source.replica.blobs.is_public(content_hash)
    shown = present_data.content(state, content_hash, source.index.datanets_of(content_hash), is_public=is_public)
    if not shown.records and not shown.uses and not shown.erased_height:
        raise RequestRejected(RequestReason.NOT_FOUND, "the ledger does not refer to this content")
    return shown


async def list_record_payments(source: Source, parameters: requests.IdListing) -> views.Page[views.PaymentView]:
    """Payments a record earned."""
    return await _payments(source, parameters, Shelf.PAYMENTS_OF_RECORD, bytes.fromhex(parameters.id))


async def list_models(source: Source, parameters: requests.Listing) -> views.Page[views.ModelView]:
    """Models, retired ones included."""
    return await _models(source, parameters, Shelf.MODELS, b"")


def get_model(source: Source, parameters: requests.IdPath) -> views.ModelView:
    """A model."""
    model_id = bytes.fromhex(parameters.id)
    _need(MODELS.get(source.replica.state, model_id), "model")
    return _model(source, model_id)


async def list_model_questions(source: Source, parameters: requests.IdListing) -> views.Page[views.QuestionView]:
    """Questions to a model."""
    return await _questions(source, parameters, Shelf.QUESTIONS_OF_MODEL, bytes.fromhex(parameters.id))


async def list_model_attributions(source: Source, parameters: requests.IdListing) -> views.Page[views.AttributionView]:
    """Answers of a model."""
    return await _attributions(source, parameters, Shelf.ANSWERS_OF_MODEL, bytes.fromhex(parameters.id))


async def list_model_payments(source: Source, parameters: requests.IdListing) -> views.Page[views.PaymentView]:
    """Payments for a model's answers."""
    return await _payments(source, parameters, Shelf.PAYMENTS_OF_MODEL, bytes.fromhex(parameters.id))


# Questions, answers, payments.


async def list_questions(source: Source, parameters: requests.Listing) -> views.Page[views.QuestionView]:
    """Questions."""
    return await _questions(source, parameters, Shelf.QUESTIONS, b"")


def get_question(source: Source, parameters: requests.IdPath) -> views.QuestionView:
    """A question."""
    question_id = bytes.fromhex(parameters.id)
    _need(QUESTIONS.get(source.replica.state, question_id), "question")
    return _question(source, question_id)


async def list_attributions(source: Source, parameters: requests.Listing) -> views.Page[views.AttributionView]:
    """Answered questions."""
    return await _attributions(source, parameters, Shelf.ANSWERS, b"")


async def get_attribution(source: Source, parameters: requests.IdPath) -> views.AttributionDetail:
    """An answered question: who made the answer, how the fee was split, who was paid."""
    state, index, question_id = source.replica.state, source.index, bytes.fromhex(parameters.id)
    answer = _need(index.answer(question_id), "answered question")
    height, place, _ = split_position(answer.position)
    stored = await methods.stored_block(source, height, None)
    claim = decode(Attribute, decode_transaction(stored.transactions[place]).payload)
    claimed = next(each for each in claim.answers if each.question == question_id)
    settled = index.settlement(question_id)
    datanet_id = MODELS.need(state, claim.model).datanet
    paid = _of_question(source, question_id)
    return views.AttributionDetail(
        attribution=present_data.attribution(state, answer, stored.header.time_ms),
        question=_question(source, question_id),
        credits=present_data.credits_of(state, datanet_id, claimed.credits),
        settlement=None if settled is None else present_data.settlement(settled),
        payments=[present_data.payment_of_entry(entry, stored.header.time_ms) for entry in paid],
    )


async def list_payments(source: Source, parameters: requests.Listing) -> views.Page[views.PaymentView]:
    """Payments to records."""
    entries, scope, end = _entries(source, parameters, Shelf.PAYMENTS, b"")
    items = await _each(entries, lambda entry: present_data.payment_of_entry(entry, _time_ms(source, entry.position)))
    return _page(parameters, scope, items, end)


def get_payment(source: Source, parameters: requests.PaymentPath) -> views.PaymentWhy:
    """A payment and why: the numbers, the formula, and a sentence."""
    height, place, number = map(int, parameters.id.split("-"))
    is_possible = height < 2**48 and place < 2**16 and number < 2**16
    entry = source.index.payment(position_of(height, place, number)) if is_possible else None
    known = _need(entry, "payment")
    paid = decode(Paid, known.value[HASH_SIZE_BYTES:])
    others = [decode(Paid, each.value[HASH_SIZE_BYTES:]) for each in _of_question(source, paid.question)]
    excess_sum = sum(each.excess for each in others)
    return present_data.payment_why(known, _time_ms(source, known.position), excess_sum)


# The rest.


async def list_proposals(source: Source, parameters: requests.Listing) -> views.Page[views.ProposalView]:
    """Governance proposals."""
    state = source.replica.state
    entries, scope, end = _entries(source, parameters, Shelf.PROPOSALS, b"")
    items = await _each(entries, lambda entry: present.proposal(entry.value, PROPOSALS.need(state, entry.value)))
    return _page(parameters, scope, items, end)


def get_proposal(source: Source, parameters: requests.IdPath) -> views.ProposalView:
    """A governance proposal."""
    proposal_id = bytes.fromhex(parameters.id)
    return present.proposal(proposal_id, _need(PROPOSALS.get(source.replica.state, proposal_id), "proposal"))


def get_content(source: Source, parameters: requests.IdPath) -> bytes:
    """The bytes of a public content."""
    return methods.readable_content(source, bytes.fromhex(parameters.id))


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


def search(source: Source, parameters: requests.SearchQuery) -> views.SearchAnswer:
    """What an address, a hash, a height or the beginning of a name could mean."""
    text = parameters.q.strip()
    found: list[views.FoundView] = []
    if text.isdecimal() and len(text) <= 15 and int(text) <= source.tip_height:
        found.append(_found("block", text, f"/blocks/{int(text)}"))
    if text.lower().startswith("open1"):
        address = present.format_address(methods.address_of(text))
        found.append(_found("account", address, f"/accounts/{address}"))
    if len(text) == 2 * HASH_SIZE_BYTES:
        found.extend(_search_hash(source, text.lower()))
    found.extend(_search_name(source, text))
    return views.SearchAnswer(items=found[:MOST_FOUND])


async def follow_blocks(source: Source, parameters: requests.EventsQuery) -> AsyncIterator[bytes]:
    """Final blocks as server-sent events: `block` events whose id is the height."""
    height = source.tip_height if parameters.from_height is None else parameters.from_height
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


def _begin(source: Source, parameters: requests.Listing, listing: str, size_bytes: int) -> tuple[bytes, bytes | None]:
    """A listing's scope, and where its last page ended."""
    scope = make_scope(source.replica.genesis_hash, listing, parameters.sort)
    return scope, None if parameters.cursor is None else decode_cursor(scope, parameters.cursor, size_bytes)


def _page(parameters: requests.Listing, scope: bytes, items: list[T], end: bytes | None) -> views.Page[T]:
    """A page that ends at a position; None when nothing follows."""
    if end is None:
        return views.Page(items=items, next_page_params=None)
    following: dict[str, str | int] = {
        "limit": parameters.limit,
        "sort": parameters.sort,
        "cursor": encode_cursor(scope, end),
    }
    return views.Page(items=items, next_page_params=following)


def _entries(
    source: Source, parameters: requests.Listing, shelf: Shelf, owner: bytes, size_bytes: int = POSITION_SIZE_BYTES
) -> tuple[list[Entry], bytes, bytes | None]:
    """A page of the index, its scope and where it ends."""
    scope, after = _begin(source, parameters, f"{shelf.name} {owner.hex()}", size_bytes)
    is_oldest_first = parameters.sort == "oldest"
    entries = source.index.page(shelf, owner, after, parameters.limit + 1, is_oldest_first=is_oldest_first)
    shown = entries[: parameters.limit]
    return shown, scope, shown[-1].position if len(entries) > len(shown) else None


async def _each(entries: Sequence[Entry], build: Callable[[Entry], T]) -> list[T]:
    """A view per entry; the event loop has its turn now and then."""
    found = []
    for number, entry in enumerate(entries, 1):
        found.append(build(entry))
        if number % BUILT_AT_ONCE == 0:
            await asyncio.sleep(0)
    return found


async def _transactions(source: Source, places: Sequence[bytes]) -> list[views.TransactionView]:
    found = []
    for number, place in enumerate(places, 1):
        height, index, _ = split_position(place)
        found.append(present.transaction(await methods.stored_block(source, height, None), index))
        if number % BUILT_AT_ONCE == 0:
            await asyncio.sleep(0)
    return found


async def _payments(
    source: Source, parameters: requests.Listing, shelf: Shelf, owner: bytes
) -> views.Page[views.PaymentView]:
    entries, scope, end = _entries(source, parameters, shelf, owner)

    def build(entry: Entry) -> views.PaymentView:
        known = _need(source.index.payment(entry.position), "payment")
        return present_data.payment_of_entry(known, _time_ms(source, entry.position))

    return _page(parameters, scope, await _each(entries, build), end)


async def _records(
    source: Source, parameters: requests.Listing, shelf: Shelf, owner: bytes
) -> views.Page[views.RecordView]:
    entries, scope, end = _entries(source, parameters, shelf, owner)
    state = source.replica.state

    def build(entry: Entry) -> views.RecordView:
        datanet_id, content = entry.value[:HASH_SIZE_BYTES], entry.value[HASH_SIZE_BYTES:]
        record = RECORDS.need(state, DATANETS.need(state, datanet_id).schema_id + content)
        return present_data.record(content, record)

    return _page(parameters, scope, await _each(entries, build), end)


async def _contributions(
    source: Source, parameters: requests.Listing, shelf: Shelf, owner: bytes
) -> views.Page[views.ContributionView]:
    entries, scope, end = _entries(source, parameters, shelf, owner)
    state = source.replica.state
    items = await _each(
        entries, lambda entry: present_data.contribution(entry.value, CONTRIBUTIONS.need(state, entry.value))
    )
    return _page(parameters, scope, items, end)


async def _models(
    source: Source, parameters: requests.Listing, shelf: Shelf, owner: bytes
) -> views.Page[views.ModelView]:
    entries, scope, end = _entries(source, parameters, shelf, owner)
    return _page(parameters, scope, await _each(entries, lambda entry: _model(source, entry.value)), end)


async def _questions(
    source: Source, parameters: requests.Listing, shelf: Shelf, owner: bytes
) -> views.Page[views.QuestionView]:
    entries, scope, end = _entries(source, parameters, shelf, owner)
    return _page(parameters, scope, await _each(entries, lambda entry: _question(source, entry.value)), end)


async def _attributions(
    source: Source, parameters: requests.Listing, shelf: Shelf, owner: bytes
) -> views.Page[views.AttributionView]:
    entries, scope, end = _entries(source, parameters, shelf, owner)

    def build(entry: Entry) -> views.AttributionView:
        answer: Answer = _need(source.index.answer(entry.value), "answer")
        return present_data.attribution(source.replica.state, answer, _time_ms(source, entry.position))

    return _page(parameters, scope, await _each(entries, build), end)


def _of_question(source: Source, question_id: bytes) -> list[Entry]:
    """Payments for a question, in order."""
    shelf, limit = Shelf.PAYMENTS_OF_QUESTION, requests.LARGEST_PAGE
    lines = source.index.page(shelf, question_id, None, limit, is_oldest_first=True)
    return [_need(source.index.payment(line.position), "payment") for line in lines]


def _datanet(source: Source, datanet_id: bytes) -> views.DatanetView:
    state = source.replica.state
    return present_data.datanet(state, datanet_id, DATANETS.need(state, datanet_id))


def _model(source: Source, model_id: bytes) -> views.ModelView:
    state = source.replica.state
    return present_data.model(state, model_id, MODELS.need(state, model_id), source.next_height)


def _question(source: Source, question_id: bytes) -> views.QuestionView:
    state = source.replica.state
    return present_data.question(state, question_id, QUESTIONS.need(state, question_id))


def _time_ms(source: Source, position: bytes) -> int:
    entry = source.index.block(split_position(position)[0])
    assert entry is not None, "what is indexed stands in an indexed block"
    return entry.time_ms


def _need(known: T | None, what: str) -> T:
    if known is None:
        raise RequestRejected(RequestReason.NOT_FOUND, f"no such {what}")
    return known


def _block_name(name: str) -> tuple[int | None, str | None]:
    """Height or id."""
    return (None, name) if len(name) == 2 * HASH_SIZE_BYTES else (int(name), None)


def _found(kind: str, name: str, path: str) -> views.FoundView:
    return views.FoundView(kind=kind, name=name, link=BASE + path)


def _search_hash(source: Source, text: str) -> list[views.FoundView]:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        return []
    state = source.replica.state
    tables: dict[str, Table[Any]] = {
        "datanet": DATANETS,
        "model": MODELS,
        "question": QUESTIONS,
        "contribution": CONTRIBUTIONS,
    }
    found = [
        _found(kind, getattr(known, "name", text), f"/{kind}s/{text}")
        for kind, table in tables.items()
        if (known := table.get(state, key)) is not None
    ]
    if PROPOSALS.get(state, key) is not None:
        found.append(_found("proposal", text, f"/proposals/{text}"))
    if source.index.find_transaction(key) is not None:
        found.append(_found("transaction", text, f"/transactions/{text}"))
    if source.replica.blocks.height_of(key) is not None:
        found.append(_found("block", text, f"/blocks/{text}"))
    if source.index.datanets_of(key):
        found.append(_found("record", text, f"/records/{text}"))
    return found


def _search_name(source: Source, text: str) -> list[views.FoundView]:
    state = source.replica.state
    found = []
    for named in source.index.named(text, MOST_FOUND):
        kind = "datanet" if named.is_datanet else "model"
        name = (DATANETS.need(state, named.id) if named.is_datanet else MODELS.need(state, named.id)).name
        if name.casefold().startswith(text.casefold()):
            found.append(_found(kind, name, f"/{kind}s/{named.id.hex()}"))
    return found


def _route(
    path: str, parameters: type[msgspec.Struct], result: Any, handler: Callable[[Source, Any], Any], **more: str
) -> Route:
    summary = (handler.__doc__ or path).rstrip(".")
    return Route(path=path, parameters=parameters, result=result, summary=summary, handler=handler, **more)


ROUTES: Sequence[Route] = (
    _route("/blocks", requests.Listing, views.Page[views.BlockSummary], list_blocks),
    _route("/blocks/{block}", requests.BlockPath, views.BlockDetail, get_block),
    _route(
        "/blocks/{block}/transactions",
        requests.BlockListing,
        views.Page[views.TransactionView],
        list_block_transactions,
    ),
    _route("/transactions", requests.Listing, views.Page[views.TransactionView], list_transactions),
    _route("/transactions/{id}", requests.IdPath, views.TransactionView, get_transaction),
    _route("/accounts/{address}", requests.AddressPath, views.AccountView, get_account),
    _route(
        "/accounts/{address}/transactions",
        requests.AddressListing,
        views.Page[views.TransactionView],
        list_account_transactions,
    ),
    _route(
        "/accounts/{address}/payments", requests.AddressListing, views.Page[views.PaymentView], list_account_payments
    ),
    _route("/accounts/{address}/records", requests.AddressListing, views.Page[views.RecordView], list_account_records),
    _route(
        "/accounts/{address}/contributions",
        requests.AddressListing,
        views.Page[views.ContributionView],
        list_account_contributions,
    ),
    _route("/accounts/{address}/models", requests.AddressListing, views.Page[views.ModelView], list_account_models),
    _route(
        "/accounts/{address}/questions",
        requests.AddressListing,
        views.Page[views.QuestionView],
        list_account_questions,
    ),
    _route("/validators", requests.EpochParameters, views.ValidatorSetView, get_validators),
    _route("/datanets", requests.Listing, views.Page[views.DatanetView], list_datanets),
    _route("/datanets/{id}", requests.IdPath, views.DatanetView, get_datanet),
    _route("/datanets/{id}/records", requests.IdListing, views.Page[views.RecordView], list_datanet_records),
    _route(
        "/datanets/{id}/contributions",
        requests.IdListing,
        views.Page[views.ContributionView],
        list_datanet_contributions,
    ),
    _route("/datanets/{id}/models", requests.IdListing, views.Page[views.ModelView], list_datanet_models),
    _route("/contributions/{id}", requests.IdPath, views.ContributionDetail, get_contribution),
    _route("/records/{id}", requests.IdPath, views.ContentView, get_record),
    _route("/records/{id}/payments", requests.IdListing, views.Page[views.PaymentView], list_record_payments),
    _route("/models", requests.Listing, views.Page[views.ModelView], list_models),
    _route("/models/{id}", requests.IdPath, views.ModelView, get_model),
    _route("/models/{id}/questions", requests.IdListing, views.Page[views.QuestionView], list_model_questions),
    _route("/models/{id}/attributions", requests.IdListing, views.Page[views.AttributionView], list_model_attributions),
    _route("/models/{id}/payments", requests.IdListing, views.Page[views.PaymentView], list_model_payments),
    _route("/questions", requests.Listing, views.Page[views.QuestionView], list_questions),
    _route("/questions/{id}", requests.IdPath, views.QuestionView, get_question),
    _route("/attributions", requests.Listing, views.Page[views.AttributionView], list_attributions),
    _route("/attributions/{id}", requests.IdPath, views.AttributionDetail, get_attribution),
    _route("/payments", requests.Listing, views.Page[views.PaymentView], list_payments),
    _route("/payments/{id}", requests.PaymentPath, views.PaymentWhy, get_payment),
    _route("/proposals", requests.Listing, views.Page[views.ProposalView], list_proposals),
    _route("/proposals/{id}", requests.IdPath, views.ProposalView, get_proposal),
    _route("/contents/{id}", requests.IdPath, bytes, get_content, media_type=BYTES),
    _route("/search", requests.SearchQuery, views.SearchAnswer, search),
    _route("/stats", requests.NoQuery, views.StatsView, get_stats),
    _route("/stats/days", requests.DaysQuery, list[views.DayView], list_days),
    _route("/events", requests.EventsQuery, views.BlockSummary, follow_blocks, media_type=EVENTS),
)
"""Every route."""
