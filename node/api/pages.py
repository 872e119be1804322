"""Pages of listings: where one begins and ends, in which order, and the views on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from node.api import requests, views
from node.api.cursor import decode_cursor, encode_cursor, make_scope
from node.api.source import Source
from node.errors import RequestReason, RequestRejected
from node.index import POSITION_SIZE_BYTES, Entry, Shelf

BUILT_AT_ONCE = 10
"""Views built before the event loop has its turn."""

T = TypeVar("T")


def begin_page(
    source: Source, parameters: requests.Listing, listing: str, size_bytes: int
) -> tuple[bytes, bytes | None]:
    """A listing's scope, and where its last page ended."""
    scope = make_scope(source.replica.genesis_hash, listing, parameters.sort)
    return scope, None if parameters.cursor is None else decode_cursor(scope, parameters.cursor, size_bytes)


def end_page(parameters: requests.Listing, scope: bytes, items: list[T], end: bytes | None) -> views.Page[T]:
    """A page that ends at a position; None when nothing follows."""
    if end is None:
        return views.Page(items=items, next_page_params=None)
    following: dict[str, str | int] = {
        "limit": parameters.limit,
        "sort": parameters.sort,
        "cursor": encode_cursor(scope, end),
    }
    return views.Page(items=items, next_page_params=following)


def entries_of(
    source: Source, parameters: requests.Listing, shelf: Shelf, owner: bytes, size_bytes: int = POSITION_SIZE_BYTES
) -> tuple[list[Entry], bytes, bytes | None]:
    """A page of the index, its scope and where it ends."""
    scope, after = begin_page(source, parameters, f"{shelf.name} {owner.hex()}", size_bytes)
    is_oldest_first = parameters.sort == "oldest"
    entries = source.index.page(shelf, owner, after, parameters.limit + 1, is_oldest_first=is_oldest_first)
    shown = entries[: parameters.limit]
    return shown, scope, shown[-1].position if len(entries) > len(shown) else None


async def build_each(entries: Sequence[Entry], build: Callable[[Entry], T]) -> list[T]:
    """A view per entry; the event loop has its turn now and then."""
    found = []
    for number, entry in enumerate(entries, 1):
        found.append(build(entry))
        if number % BUILT_AT_ONCE == 0:
            await asyncio.sleep(0)
    return found


def need(known: T | None, what: str) -> T:
    if known is None:
        raise RequestRejected(RequestReason.NOT_FOUND, f"no such {what}")
    return known
