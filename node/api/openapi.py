"""The OpenAPI 3.1 document of the explorer's routes, made from the types that serve them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from node.api import views
from node.api.explorer import BYTES, EVENTS, JSON, Route
from node.api.requests import BASE

REF_TEMPLATE = "#/components/schemas/{name}"
_ERROR = "Refused: `reason` is a stable word, `message` a sentence."


def make_document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The document."""
    results = [route.result for route in routes if route.media_type != BYTES]
    types = [*results, views.ErrorAnswer]
    schemas, components = msgspec.json.schema_components(types, ref_template=REF_TEMPLATE)
    schema_of = {_key(each): schema for each, schema in zip(types, schemas, strict=True)}
    error = {"description": _ERROR, "content": {JSON: {"schema": schema_of[_key(views.ErrorAnswer)]}}}
    paths = {
        BASE + route.path: {
            "get": {
                "operationId": route.handler.__name__,
                "summary": route.summary,
                "parameters": _parameters(route),
                "responses": {"200": _success(route, schema_of), "default": error},
            }
        }
        for route in routes
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "OpenLedger explorer",
            "version": version,
            "description": "Amounts are strings of base units, hashes hexadecimal, times milliseconds since 1970.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _success(route: Route, schema_of: dict[str, Any]) -> dict[str, Any]:
    if route.media_type == BYTES:
        schema: Any = {"type": "string", "format": "binary"}
    else:
        schema = schema_of[_key(route.result)]
    description = "Server-sent events: `block`, each with this data." if route.media_type == EVENTS else route.summary
    return {"description": description, "content": {route.media_type: {"schema": schema}}}


def _parameters(route: Route) -> list[dict[str, Any]]:
    in_path = re.findall(r"{(\w+)}", route.path)
    schema = msgspec.json.schema(route.parameters)
    described = schema["$defs"][route.parameters.__name__]
    found = []
    for name, of_field in described["properties"].items():
        is_path = name in in_path
        shown = dict(of_field)
        description = shown.pop("description", None)
        parameter = {
            "name": name,
            "in": "path" if is_path else "query",
            "required": name in described["required"],
            "schema": shown,
        }
        found.append(parameter if description is None else {**parameter, "description": description})
    return found


def _key(of_type: Any) -> str:
    return repr(of_type)
