"""query, status, blob: questions to a running node. A command per route of the explorer, so that none is missing."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from node.api.explorer import JSON, ROUTES, Route
from node.cli.keys import JSON_OPTION
from node.cli.setup import HOME_OPTION
from node.cli.tx import NODE_OPTION
from node.client import Client
from node.config import ConfigError, Home
from node.keystore import Keystore
from node.primitives.address import format_address
from node.primitives.amount import format_open
from node.types.content import PIECE_SIZE_BYTES
from node.uploading import OnProgress

METHODS = {
    "parameters": ("What governs the chain, and from when.", ()),
    "genesis": ("The chain's first state.", ()),
    "net-info": ("The registered nodes, and who is connected.", ()),
    "unconfirmed-txs": ("What waits for a block.", ()),
    "tx-status": ("What the node knows of a transaction, final or not.", ("id",)),
    "commit": ("A header and why it is final.", ("height",)),
    "query": ("A value of the state with its Merkle proof.", ("table", "key")),
}
"""Methods of the RPC without a route in the explorer: what they say, and what they take."""


class QueryGroup(click.Group):
    """A command per question."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Their names."""
        return sorted([*_routes(), *(_command_name(name) for name in METHODS)])

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        route = _routes().get(cmd_name)
        if route is not None:
            return _route_command(cmd_name, route)
        method = "query" if cmd_name == "state" else cmd_name
        return _method_command(cmd_name, method) if method in METHODS else None


@click.group(cls=QueryGroup)
def query() -> None:
    """Ask a node. Listings show the newest first; --all follows every page."""


@click.command()
@NODE_OPTION
@JSON_OPTION
def status(node_url: str, is_json: bool) -> None:
    """Where a node stands: height, epoch, peers, whether it is ready and why not."""
    with Client(node_url) as client:
        found = client.call("status")
        health = client.call("health")
        peers = client.call("net_info")
    found |= {"health": health, "peer_count": peers["peer_count"]}
    _print(found, is_json)
    if not health["is_ready"]:
        sys.exit(1)


@click.group()
def blob() -> None:
    """Upload and fetch contents: records, weights, questions."""


@blob.command("put")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--validators", type=click.IntRange(0), default=0, help="Wait until so many others hold a large one.")
@NODE_OPTION
@JSON_OPTION
def put(files: tuple[Path, ...], validators: int, node_url: str, is_json: bool) -> None:
    """Upload files; prints their hashes. A large one that was broken off goes on where it was when it is run again. A
    content that no transaction refers to is forgotten after an hour."""
    small = [path for path in files if path.stat().st_size <= PIECE_SIZE_BYTES]
    hashes: dict[Path, str] = {}
    with Client(node_url) as client:
        if small:
            hashes |= zip(small, client.put_blobs([path.read_bytes() for path in small]), strict=True)
        for path in files:
            if path not in hashes:
                with _progress(path) as on_progress:
                    hashes[path] = client.upload(path, on_progress=on_progress, validators=validators)
    _print({str(path): hashes[path] for path in files}, is_json)


@contextlib.contextmanager
def _progress(path: Path) -> Iterator[OnProgress | None]:
    """A bar on standard error, if a person sees it."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=path.stat().st_size, label=path.name, file=sys.stderr) as bar:
        yield lambda there, _size: bar.update(there - bar.pos)


@blob.command("get")
@click.argument("content_hash")
@click.option("--output", type=click.Path(path_type=Path), help="Where to write it; standard output otherwise.")
@NODE_OPTION
def get(content_hash: str, output: Path | None, node_url: str) -> None:
    """Fetch a public content."""
    with Client(node_url) as client:
        content = client.get_blob(content_hash)
    if output is None:
        sys.stdout.buffer.write(content)
    else:
        output.write_bytes(content)


def _routes() -> dict[str, Route]:
    return {_route_name(route.path): route for route in ROUTES if route.media_type == JSON}


def _route_name(path: str) -> str:
    """/accounts/{address}/payments is account-payments."""
    return re.sub(r"s/\{\w+\}", "", path).strip("/").replace("/", "-")


def _command_name(method: str) -> str:
    return "state" if method == "query" else method


def _route_command(name: str, route: Route) -> click.Command:
    in_path = re.findall(r"\{(\w+)\}", route.path)
    arguments: list[click.Parameter] = [click.Argument([each]) for each in in_path]
    options: list[click.Parameter] = []
    fields = [field for field in msgspec.structs.fields(route.parameters) if field.encode_name not in in_path]
    for field in fields:
        if field.encode_name == "cursor":
            options.append(click.Option(["--all", "is_all"], is_flag=True, help="Follow every page."))
            options.append(click.Option(["--cursor"], help="Where the last page ended: from its next_page_params."))
        elif field.required:
            arguments.append(click.Argument([field.encode_name]))
        else:
            options.append(click.Option([f"--{field.encode_name.replace('_', '-')}", field.encode_name]))

    def run(node_url: str, is_json: bool, home: Path, is_all: bool = False, **given: str) -> None:
        path, known = route.path, {} if is_json else known_addresses(home)
        for each in in_path:
            path = path.replace(f"{{{each}}}", _path_part(given.pop(each)))
        asked = {key: value for key, value in given.items() if value is not None}
        with Client(node_url) as client:
            if is_all:
                for item in client.iterate(dict, path, **asked):
                    _print(item, is_json, known)
                return
            _print(client.get(object, path, **asked), is_json, known)

    return _command(name, route.summary + ".", [*arguments, *options], run)


def _method_command(name: str, method: str) -> click.Command:
    summary, taken = METHODS[method]
    arguments: list[click.Parameter] = [click.Argument([each], required=method != "commit") for each in taken]

    def run(node_url: str, is_json: bool, home: Path, **given: str) -> None:
        asked: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        if "height" in asked:
            if not asked["height"].isdecimal():
                raise ConfigError("the height is a number")
            asked["height"] = int(asked["height"])
        with Client(node_url) as client:
            known = {} if is_json else known_addresses(home)
            _print(client.call(method.replace("-", "_"), **asked), is_json, known)

    return _command(name, summary, arguments, run)


def _command(name: str, summary: str, parameters: list[click.Parameter], run: Any) -> click.Command:
    shared: list[click.Parameter] = []
    for decorate in (NODE_OPTION, JSON_OPTION, HOME_OPTION):
        carrier = decorate(lambda: None)
        shared += carrier.__click_params__  # type: ignore[attr-defined]
    return click.Command(name, params=[*parameters, *shared], callback=run, help=summary)


def _path_part(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z-]{1,128}", text):
        raise ConfigError(f"{text!r} is no id, address or height")
    return text


def known_addresses(home: Path) -> dict[str, str]:
    """The home's own addresses with the names of their keys; none where there is no keystore to read."""
    store = Keystore(Home(home.expanduser()).keystore)
    found = {}
    for name in store.names():
        with contextlib.suppress(ConfigError):  # a file that is no key is the business of `openledger keys`
            found[format_address(store.show(name).address)] = name
    return found


def _print(value: Any, is_json: bool, known: Mapping[str, str] | None = None) -> None:
    click.echo(json.dumps(value) if is_json else "\n".join(human_lines(value, "", known or {})))


def human_lines(value: Any, indent: str, known: Mapping[str, str]) -> Iterator[str]:
    """A value as people read it: names, then what is inside them further right; amounts in OPEN, addresses by key."""
    if isinstance(value, dict):
        width = max((len(name) for name, each in value.items() if not _is_nested(each)), default=0)
        for name, each in value.items():
            if _is_nested(each):
                yield f"{indent}{name}"
                yield from human_lines(each, indent + "  ", known)
            else:
                yield f"{indent}{name:<{width}}  {_text(each)}{_aside(name, each, known)}"
    elif isinstance(value, list):
        for number, each in enumerate(value):
            if number and isinstance(each, dict):
                yield ""
            yield from human_lines(each, indent, known)
    else:
        yield f"{indent}{_text(value)}{_aside('', value, known)}"


def _aside(name: str, value: Any, known: Mapping[str, str]) -> str:
    """What a person would look up: an amount in OPEN, whose address it is."""
    if name.endswith("_units") and str(value).isdecimal():
        return f"  ({format_open(int(value))})"
    return f"  (key {known[value]})" if isinstance(value, str) and value in known else ""


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _text(value: Any) -> str:
    if value is None or value in ([], {}, ""):
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)


COMMANDS = {"query": query, "status": status, "blob": blob}
