"""The web server: JSON-RPC, the explorer, live events, metrics, the landing page. Owns aiohttp on the serving side."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from node.api import present, views
from node.api.explorer import BYTES, EVENTS, JSON, ROUTES, Route, Stored
from node.api.guard import Access, AccessReason, RateLimiter, TooFast
from node.api.landing import CONTENT_SECURITY_POLICY, make_page
from node.api.live import Session
from node.api.methods import METHODS
from node.api.metrics import CONTENT_TYPE, Metrics
from node.api.openapi import make_document
from node.api.requests import BASE
from node.api.rpc import Caller, Dispatcher, explain
from node.api.source import PeerInfo, Source
from node.errors import NetworkError, Reason, Rejected, RequestReason, RequestRejected, StorageError
from node.index import Index
from node.replica import Replica
from node.types.content import PIECE_SIZE_BYTES

LARGEST_BODY_SIZE_BYTES = 16 * 2**20
"""Largest request: a few of the largest contents, in base64."""
MOST_STREAMS = 500
"""WebSockets and event streams open at a time."""
MOST_CALLS_UNDER_WAY = 64
"""Messages of one WebSocket that wait for their answer; the next ones are read later."""
HEARTBEAT_S = 30.0
WRITE_TIMEOUT_S = 30.0
"""An event stream whose reader takes nothing for this long is closed."""
STOP_TIMEOUT_S = 0.3
"""How long a connection may take to close."""
RETRY_STREAM_S = 10

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STATUS: dict[Reason, int] = {
    RequestReason.MALFORMED: 400,
    RequestReason.UNKNOWN_METHOD: 404,
    RequestReason.UNKNOWN_PARAMETER: 422,
    RequestReason.INVALID_PARAMETER: 422,
    RequestReason.INVALID_CURSOR: 422,
    RequestReason.NOT_FOUND: 404,
    RequestReason.PRUNED: 410,
    RequestReason.TOO_LARGE: 413,
    RequestReason.TOO_MANY_REQUESTS: 429,
    RequestReason.TIMEOUT: 504,
    RequestReason.NOT_PERMITTED: 403,
    RequestReason.NO_ROOM: 507,
    RequestReason.SHUTTING_DOWN: 503,
    RequestReason.ERASED: 410,
    RequestReason.TOO_MANY_UPLOADS: 503,
    RequestReason.INTERNAL: 500,
    AccessReason.WRONG_HOST: 421,
    AccessReason.WRONG_ORIGIN: 403,
}
"""HTTP status by reason; anything else is 422."""
_REASON = {404: RequestReason.NOT_FOUND, 405: RequestReason.UNKNOWN_METHOD}
"""Reason by HTTP status of what the web server refuses itself; anything else is malformed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """How a node serves."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 0
    """Port to listen on; 0 takes a free one."""
    write_items_per_second: int = 5_000
    """Transactions and contents one client may send per second."""
    cors_origins: tuple[str, ...] = ()
    """Web origins that may read the API from a browser; `*` is everyone."""
    node_name: str = "node"
    """What people call the node."""
    version: str = ""
    """The program's version."""
    data: Path | None = None
    """Where the node's files lie."""


class ApiServer:
    """The API of one node."""

    def __init__(self, replica: Replica, index: Index | None, peers: PeerInfo, settings: ApiSettings) -> None:
        self._settings = settings
        self._source = Source(replica, index, peers, settings.node_name, settings.version, settings.data)
        limiter = RateLimiter(settings.write_items_per_second)
        self._dispatcher = Dispatcher(self._source, METHODS, limiter)
        self._access = Access(settings.host, settings.cors_origins)
        self._metrics = Metrics(self._source)
        self._page = make_page(settings.node_name, replica.genesis.chain_name, tuple(method.name for method in METHODS))
        self._document: bytes | None = None
        self._runner: web.AppRunner | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: set[asyncio.Task[Any]] = set()
        self._sockets: set[web.WebSocketResponse] = set()
        self._port = settings.port

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    async def start(self) -> None:
        """Listens. Raises: NetworkError when the port is taken."""
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=STOP_TIMEOUT_S)
        await runner.setup()
        site = web.TCPSite(runner, self._settings.host, self._settings.port, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            where = f"{self._settings.host}:{self._settings.port}"
            raise NetworkError(f"the API cannot listen on {where}: {error}. Is the port in use?") from error
        self._runner = runner
        self._port = runner.addresses[0][1]
        self._run(self._source.hub.run())
        self._run(self._source.build_index())

    async def stop(self) -> None:
        """Closes every connection."""
        self._source.is_stopping = True
        self._source.watch.stop()
        closing = [socket.close(code=WSCloseCode.GOING_AWAY, drain=False) for socket in self._sockets]
        await asyncio.gather(*closing, return_exceptions=True)
        ending = [*self._tasks, *self._streams]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, self._source.hub.stop(), return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        self._source.close()

    # Putting it together.

    def _application(self) -> web.Application:

        @web.middleware
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._answer_any(request, handler)

        application = web.Application(client_max_size=LARGEST_BODY_SIZE_BYTES, middlewares=[answer])
        routes = {
            "/": self._on_landing,
            "/websocket": self._on_websocket,
            "/metrics": self._on_metrics,
            "/livez": self._on_livez,
            "/readyz": self._on_readyz,
            BASE + "/openapi.json": self._on_document,
        }
        for path, handler in routes.items():
            application.router.add_get(path, handler)
        application.router.add_post("/", self._on_rpc)
        for route in ROUTES:
            has_head = route.media_type != EVENTS
            application.router.add_get(BASE + route.path, self._handler_of(route), allow_head=has_head)
        return application

    async def _answer_any(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What every request has in common: who may ask, and what a failure looks like."""
        origin, host = request.headers.get("Origin"), request.headers.get("Host", "")
        is_action = request.method == "POST" or request.path == "/websocket"
        refused = self._access.check_host(host)
        if refused is None and is_action:
            refused = self._access.check_origin(origin, host)
        if refused is not None:
            return _refusal(refused, refused.sentence)
        allowed = self._access.allowed_origin(origin)
        if request.method == "OPTIONS" and allowed is not None:
            return web.Response(status=204, headers=_cors(allowed))
        response = await self._answer(request, handler)
        if allowed is not None and not response.prepared:
            response.headers.update(_cors(allowed))
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if self._source.is_stopping:
                raise RequestRejected(RequestReason.SHUTTING_DOWN)
            return await handler(request)
        except TooFast as error:
            return _refusal(error.reason, error.message, {"Retry-After": str(error.retry_after_s)})
        except Rejected as error:
            return _refusal(error.reason, error.message)
        except web.HTTPRequestEntityTooLarge:
            reason = RequestReason.TOO_LARGE
            return _refusal(reason, f"{reason.sentence} (at most {LARGEST_BODY_SIZE_BYTES} bytes)")
        except web.HTTPException as error:
            reason = _REASON.get(error.status, RequestReason.MALFORMED)
            hint = f"{reason.sentence} ({request.method} {request.path}; see {BASE}/openapi.json)"
            allow = error.headers.get("Allow")
            return _refusal(reason, hint, None if allow is None else {"Allow": allow}, status=error.status)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            log.exception("request_failed", path=request.path)
            if isinstance(error, StorageError):
                self._source.fail(error)
            return _refusal(RequestReason.INTERNAL, RequestReason.INTERNAL.sentence)

    def _handler_of(self, route: Route) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            parameters = _read_parameters(route, request)
            result = route.handler(self._source, parameters)
            if route.media_type == EVENTS:
                return await self._stream(request, result)
            if inspect.isawaitable(result):
                result = await result
            if route.media_type == BYTES:
                allowed = self._access.allowed_origin(request.headers.get("Origin"))
                return await _content(request, result, {} if allowed is None else _cors(allowed))
            return _json(result)

        return handle

    # Handlers.

    async def _on_rpc(self, request: web.Request) -> web.StreamResponse:
        caller = Caller(address=request.remote or "", session=None)
        answer = await self._dispatcher.answer(await request.read(), caller)
        if answer is None:
            return web.Response(status=204)
        return web.Response(body=answer, content_type=JSON)

    async def _on_landing(self, _request: web.Request) -> web.StreamResponse:
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "X-Content-Type-Options": "nosniff"}
        return web.Response(text=self._page, content_type="text/html", headers=headers)

    async def _on_metrics(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _on_livez(self, _request: web.Request) -> web.StreamResponse:
        lag_ms = round(self._source.replica.engine.observation.last_loop_lag_s * 1000, 3)
        return _json(views.LivenessView(is_alive=True, event_loop_lag_ms=lag_ms))

    async def _on_readyz(self, _request: web.Request) -> web.StreamResponse:
        health = present.health(self._source.problems())
        return _json(health, status=200 if health.is_ready else 503)

    async def _on_document(self, _request: web.Request) -> web.StreamResponse:
        if self._document is None:
            self._document = msgspec.json.encode(make_document(ROUTES, self._settings.version))
        return web.Response(body=self._document, content_type=JSON)

    # Streams.

    async def _stream(self, request: web.Request, events: AsyncGenerator[bytes]) -> web.StreamResponse:
        """Server-sent events until the reader leaves."""
        allowed = self._access.allowed_origin(request.headers.get("Origin"))
        headers = {"Content-Type": EVENTS, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=headers if allowed is None else {**headers, **_cors(allowed)})
        with self._counted():
            await response.prepare(request)
            try:
                async with contextlib.aclosing(events):
                    async for event in events:
                        async with asyncio.timeout(WRITE_TIMEOUT_S):
                            await response.write(event)
            except TimeoutError:
                _abort(request)
            except (ConnectionError, asyncio.CancelledError):
                log.debug("stream_ended", client=request.remote)
        return response

    async def _on_websocket(self, request: web.Request) -> web.StreamResponse:
        """JSON-RPC over a WebSocket, with subscriptions."""
        with self._counted():
            socket = web.WebSocketResponse(
                timeout=STOP_TIMEOUT_S, heartbeat=HEARTBEAT_S, max_msg_size=LARGEST_BODY_SIZE_BYTES, compress=False
            )
            await socket.prepare(request)
            session = Session(lambda: self._run(_close_slow(request, socket)))
            caller = Caller(address=request.remote or "", session=session)
            writer = self._run(_write(request, socket, session))
            calls: set[asyncio.Task[None]] = set()
            slots = asyncio.Semaphore(MOST_CALLS_UNDER_WAY)
            self._sockets.add(socket)
            try:
                async for message in socket:
                    if message.type is WSMsgType.TEXT or message.type is WSMsgType.BINARY:
                        await slots.acquire()
                        data = message.data.encode() if isinstance(message.data, str) else message.data
                        task = self._run(self._call(data, caller, session))
                        calls.add(task)
                        task.add_done_callback(calls.discard)
                        task.add_done_callback(lambda _: slots.release())
            finally:
                self._sockets.discard(socket)
                self._source.hub.leave(session)
                for task in (writer, *calls):
                    task.cancel()
        return socket

    async def _call(self, data: bytes, caller: Caller, session: Session) -> None:
        answer = await self._dispatcher.answer(data, caller)
        if answer is not None:
            session.push(answer)

    # Helpers.

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs something beside everything else; a failure of it is logged, and ends nothing."""

        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_ended)
        return task

    def _on_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, ConnectionError | TimeoutError):
            log.debug("connection_lost")
        elif error is not None:
            log.error("api_task_failed", exc_info=error)
            if isinstance(error, StorageError):
                self._source.fail(error)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts a stream while it is open. Raises: RequestRejected TOO_MANY_REQUESTS."""
        if len(self._streams) >= MOST_STREAMS:
            raise TooFast(RETRY_STREAM_S)
        task = asyncio.current_task()
        assert task is not None, "requests are served by tasks"
        self._streams.add(task)
        try:
            yield
        finally:
            self._streams.discard(task)


async def _write(request: web.Request, socket: web.WebSocketResponse, session: Session) -> None:
    """Sends a session's messages; a connection that takes none any more ends."""
    try:
        while True:
            message = await session.next_message()
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await socket.send_str(message.decode())
    except (ConnectionError, TimeoutError):
        _abort(request)


async def _close_slow(request: web.Request, socket: web.WebSocketResponse) -> None:
    """Tells a reader that it is too slow, if it still listens at all."""
    reason = AccessReason.SLOW_READER
    await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=reason.value.encode(), drain=False)
    _abort(request)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _read_parameters(route: Route, request: web.Request) -> msgspec.Struct:
    """Path, query and, for streams, where the reader was. Raises: RequestRejected."""
    values: dict[str, str] = dict(request.match_info)
    for name, value in request.query.items():
        if name in values:
            raise RequestRejected(RequestReason.INVALID_PARAMETER, f"{name} is given twice")
        values[name] = value
    last_event = request.headers.get("Last-Event-ID")
    if route.media_type == EVENTS and last_event is not None and last_event.isdecimal():
        values["from_height"] = str(int(last_event[:20]) + 1)
    try:
        return msgspec.convert(values, route.parameters, strict=False)
    except msgspec.ValidationError as error:
        reason, hint = explain(BASE + route.path, route.parameters, error)
        raise RequestRejected(reason, hint) from error


def _json(view: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(view), status=status, content_type=JSON)


async def _content(request: web.Request, content: Stored, cors: Mapping[str, str]) -> web.StreamResponse:
    """A content or the range that is asked for: it never changes under its name, but a shared cache would not hear of
    its erasure."""
    headers = {
        "Cache-Control": "private, max-age=86400, immutable",
        "ETag": f'"{request.match_info["id"].lower()}"',
        "Content-Disposition": "attachment",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
    }
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return web.Response(status=304, headers=headers)
    size_bytes, status = content.size_bytes, 200
    start, stop = 0, size_bytes
    if request.headers.get("Range", "").startswith("bytes=") and request.headers.get("If-Range") in (
        None,
        headers["ETag"],
    ):
        try:
            start, stop, _ = request.http_range.indices(size_bytes)
        except ValueError:
            start, stop = size_bytes, size_bytes
        status = 206
        if start >= stop:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size_bytes}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size_bytes}"
    parts = content.read(start, stop)
    if stop - start <= PIECE_SIZE_BYTES:
        return web.Response(status=status, body=b"".join(parts), content_type=BYTES, headers=headers)
    # A reader that takes nothing holds one piece in memory, and not for long.
    response = web.StreamResponse(status=status, headers={**headers, **cors, "Content-Type": BYTES})
    response.content_length = stop - start
    await response.prepare(request)
    try:
        for part in parts:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await response.write(part)
    except TimeoutError:
        _abort(request)
    return response


def _refusal(
    reason: Reason, message: str, headers: Mapping[str, str] | None = None, status: int | None = None
) -> web.Response:
    answer = views.ErrorAnswer(error=views.Problem(reason=reason.value, message=message))
    return web.Response(
        body=msgspec.json.encode(answer),
        status=_STATUS.get(reason, 422) if status is None else status,
        content_type=JSON,
        headers=headers,
    )


def _cors(origin: str) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Headers": "Content-Type, Last-Event-ID, Range",
        "Access-Control-Allow-Methods": "GET, POST",
        "Vary": "Origin",
    }
