"""What people type into a search box, and what it could mean."""

from __future__ import annotations

import contextlib
from typing import Any

from node.api import present, requests, views
from node.api.requests import BASE
from node.api.source import Source
from node.modules.attributions import QUESTIONS
from node.modules.datanets import CONTRIBUTIONS, DATANETS
from node.modules.governance import PROPOSALS
from node.modules.models import MODELS
from node.primitives.address import parse_address
from node.primitives.crypto import HASH_SIZE_BYTES
from node.state.table import Table

MOST_FOUND = 20


def search(source: Source, parameters: requests.SearchQuery) -> views.SearchAnswer:
    """What an address, a hash, a height or the beginning of a name could mean."""
    text = parameters.q.strip()
    found: list[views.FoundView] = []
    if text.isdecimal() and len(text) <= 15 and int(text) <= source.tip_height:
        found.append(_found("block", text, f"/blocks/{int(text)}"))
    with contextlib.suppress(ValueError):
        address = present.format_address(parse_address(text))
        found.append(_found("account", address, f"/accounts/{address}"))
    if len(text) == 2 * HASH_SIZE_BYTES:
        found.extend(_search_hash(source, text.lower()))
    if text:
        found.extend(_search_name(source, text))
    return views.SearchAnswer(items=found[:MOST_FOUND])


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
