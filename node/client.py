"""A node's client: typed, asynchronous and synchronous. Owns aiohttp on the calling side.

    async with AsyncClient("http://127.0.0.1:26657") as client:
        final = await client.submit_and_wait(key, Transfer(recipient=address, amount_units=units))

What the node refuses comes as `CallFailed` with the node's reason and hint; what is final but without effect as
`TransactionFailed`; a node that cannot be reached as `NetworkError`.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack

import aiohttp
import msgspec

from node.api import views, views_chain
from node.errors import NetworkError, OpenLedgerError, RequestReason, TransactionReason
from node.execution.registry import KIND_OF
from node.primitives.address import format_address
from node.primitives.amount import AMOUNT_END
from node.primitives.codec import encode
from node.primitives.crypto import PrivateKey
from node.types.content import make_manifest
from node.types.transaction import decode_transaction, sign_transaction
from node.uploading import OnProgress, Upload, pieces_of

VALID_HEIGHTS = 1_000
"""How long a transaction stays valid unless its sender says otherwise."""
POLL_S = 0.05
WAIT_TIMEOUT_S = 30.0
ATTEMPTS_WHEN_TOO_FAST = 5
LARGEST_ANSWER_SIZE_BYTES = 2**28
UPLOAD_COUNT = 256
"""Contents in one upload."""
UPLOAD_SIZE_BYTES = 4 * 2**20
"""Their size; a larger one goes alone, piece by piece."""
UPLOAD_TIMEOUT_S = 600.0

T = TypeVar("T")
Topic = Literal["blocks", "transactions", "payments"]


class CallFailed(OpenLedgerError):
    """The node refused; `reason` is stable, `hint` says what to do."""

    def __init__(self, reason: str, hint: str, transaction_id: str = "") -> None:
        super().__init__(f"refused ({reason}): {hint}")
        self.reason = reason
        self.hint = hint
        self.transaction_id = transaction_id


class TransactionFailed(OpenLedgerError):
    """A transaction is final, but had no effect: the fee is paid, the nonce used."""

    def __init__(self, transaction: views_chain.TransactionView) -> None:
        super().__init__(f"final in block {transaction.height}, but failed ({transaction.failure}): {transaction.hint}")
        self.reason = transaction.failure
        self.hint = transaction.hint
        self.transaction = transaction


class Terms(TypedDict, total=False):
    """On which terms a transaction is sent; what is not given is what the chain asks for."""

    sender: bytes | None
    """The account, when its key was rotated: its address is another key's."""
    fee_units: int | None
    """What it pays for inclusion."""
    valid_until_height: int | None
    """The last height whose block may carry it."""


class _Answer(msgspec.Struct, frozen=True):
    result: msgspec.Raw = msgspec.Raw(b"")
    error: views.CallError | None = None
    id: views.CallId = None


class AsyncClient:
    """A client for use inside asyncio. Nonces are counted here: one client per sending account at a time."""

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        self._url = (url if "://" in url else f"http://{url}").rstrip("/")
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._genesis_hash: bytes | None = None
        self._nonces: dict[bytes, int] = {}
        self._locks: dict[bytes, asyncio.Lock] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    # Transactions.

    async def send(
        self, key: PrivateKey, payload: object, *, blobs: Sequence[bytes] = (), **terms: Unpack[Terms]
    ) -> str:
        """Signs a payload, sends it and the contents it refers to, and returns its id once a node admitted it.

        Raises: CallFailed, NetworkError.
        """
        if blobs:
            await self.put_blobs(blobs)
        account = terms.get("sender") or key.address
        async with self._locks.setdefault(account, asyncio.Lock()):
            try:
                return await self._send(key, payload, account, terms)
            except CallFailed as error:
                if not error.reason.startswith("nonce_"):
                    raise
            self._nonces.pop(account, None)  # somebody else sent from this account, or the chain dropped something
            return await self._send(key, payload, account, terms)

    async def submit_and_wait(
        self,
        key: PrivateKey,
        payload: object,
        *,
        blobs: Sequence[bytes] = (),
        timeout_s: float = WAIT_TIMEOUT_S,
        **terms: Unpack[Terms],
    ) -> views_chain.TransactionView:
        """`send`, then waits until it is final. Raises: CallFailed, TransactionFailed, NetworkError (timeout too)."""
        return await self.wait_for(await self.send(key, payload, blobs=blobs, **terms), timeout_s=timeout_s)

    async def sign(
        self, key: PrivateKey, payload: object, *, nonce: int | None = None, **terms: Unpack[Terms]
    ) -> bytes:
        """The bytes of a signed transaction; what is not given is what the chain asks for."""
        genesis_hash = await self.genesis_hash()
        account = terms.get("sender") or key.address
        next_nonce = (await self.account(account)).next_nonce if nonce is None else nonce
        valid_until_height = terms.get("valid_until_height")
        last_height = await self.height() + VALID_HEIGHTS if valid_until_height is None else valid_until_height

        def signed(fee_units: int) -> bytes:
            transaction = sign_transaction(
                key,
                genesis_hash,
                kind=KIND_OF[type(payload)].number,
                nonce=next_nonce,
                fee_units=fee_units,
                valid_until_height=last_height,
                payload=encode(payload),
                sender=account,
            )
            return encode(transaction)

        fee_units = terms.get("fee_units")
        # Of two fees the larger one makes the longer bytes: asked with the largest, the answer is enough.
        return signed(await self.fee(signed(AMOUNT_END - 1)) if fee_units is None else fee_units)

    async def wait_for(self, transaction_id: str, *, timeout_s: float = WAIT_TIMEOUT_S) -> views_chain.TransactionView:
        """A transaction once it is final. Raises: CallFailed when it was dropped, TransactionFailed, NetworkError."""
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        while True:
            status = await self.call_as(views_chain.TransactionStatus, "tx_status", id=transaction_id)
            if status.status == "final":
                answer = await self.call_as(views_chain.TransactionAnswer, "tx", id=transaction_id)
                if answer.transaction.failure:
                    raise TransactionFailed(answer.transaction)
                return answer.transaction
            if status.status == "dropped":
                raise CallFailed(status.reason, status.hint, transaction_id)
            if asyncio.get_running_loop().time() > deadline_s:
                raise NetworkError(f"transaction {transaction_id} is {status.status} after {timeout_s:g} s")
            await asyncio.sleep(POLL_S)

    async def broadcast(self, transactions: Sequence[bytes]) -> list[str | CallFailed]:
        """Sends signed transactions in one request; for each its id, or why it was refused."""
        calls = [("broadcast_tx_sync", {"transaction": each.hex()}) for each in transactions]
        answers = await self.batch(calls)
        return [
            each if isinstance(each, CallFailed) else _decode(each, type=views_chain.Admission).transaction_id
            for each in answers
        ]

    # Contents.

    async def put_blobs(self, contents: Sequence[bytes]) -> list[str]:
        """Uploads contents that a transaction will refer to; returns their hashes."""
        hashes: list[str] = []
        for part in _parts(contents):
            if len(part) == 1 and len(part[0]) > UPLOAD_SIZE_BYTES:
                hashes.append(await self.upload(part[0]))
                continue
            texts = [base64.b64encode(each).decode() for each in part]
            hashes += (await self.call_as(views.BlobHashes, "put_blobs", contents=texts)).hashes
        return hashes

    async def upload(
        self,
        content: bytes | Path,
        *,
        on_progress: OnProgress | None = None,
        validators: int = 0,
        timeout_s: float = UPLOAD_TIMEOUT_S,
    ) -> str:
        """Uploads a content of any size, or a file, and returns its hash.

        What is there already is not sent again: after a break, call it again. Returns once the node, and as many other
        validators as are asked for, hold it.

        `on_progress` hears how many bytes of how many are there.

        Raises: CallFailed, NetworkError (when time is up too).
        """
        manifest = await asyncio.to_thread(make_manifest, pieces_of(content))
        if len(manifest.pieces) < 2:
            data = content if isinstance(content, bytes) else await asyncio.to_thread(content.read_bytes)
            [content_hash] = await self.put_blobs([data])
            return content_hash
        upload = Upload(call=self._patiently, content=content, manifest=manifest, on_progress=on_progress)
        return await upload.run(validators, timeout_s)

    async def get_blob(self, content_hash: str) -> bytes:
        """A public content, however large."""
        content = bytearray()
        while True:
            answer = await self.call_as(views.BlobView, "get_blob", hash=content_hash, offset_bytes=len(content))
            content += base64.b64decode(answer.content)
            if len(content) >= answer.size_bytes or not answer.content:
                return bytes(content)

    # State.

    async def status(self) -> views.StatusView:
        """Where the node stands."""
        return await self.call_as(views.StatusView, "status")

    async def genesis_hash(self) -> bytes:
        """Which chain the node follows."""
        if self._genesis_hash is None:
            self._genesis_hash = bytes.fromhex((await self.status()).node.genesis_hash)
        return self._genesis_hash

    async def height(self) -> int:
        """The last final block."""
        return (await self.status()).sync.latest_height

    async def wait_for_height(self, height: int, *, timeout_s: float = WAIT_TIMEOUT_S) -> None:
        """Returns once a block is final. Raises: NetworkError when time is up."""
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        while (found := await self.height()) < height:
            if asyncio.get_running_loop().time() > deadline_s:
                raise NetworkError(f"the chain is at height {found}, not {height}, after {timeout_s:g} s")
            await asyncio.sleep(POLL_S)

    async def account(self, address: bytes | str) -> views.AccountView:
        """An account, with the nonce to send next."""
        text = address if isinstance(address, str) else format_address(address)
        return await self.call_as(views.AccountView, "account", address=text)

    async def fee(self, transaction: bytes) -> int:
        """The smallest fee of a transaction, in base units."""
        return int((await self.call_as(views_chain.FeeView, "fee", transaction=transaction.hex())).fee_units)

    # Anything.

    async def call(self, method: str, **parameters: Any) -> Any:
        """The decoded result of a JSON-RPC method. Raises: CallFailed, NetworkError."""
        return _decode(await self._call(method, parameters), type=object)

    async def call_as(self, result: type[T], method: str, **parameters: Any) -> T:
        """The result of a JSON-RPC method as a class of `node.api.views`. Raises: CallFailed, NetworkError."""
        return _decode(await self._call(method, parameters), type=result)

    async def batch(self, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> list[msgspec.Raw | CallFailed]:
        """The raw results of several calls in one request."""
        body = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
            for number, (method, parameters) in enumerate(calls)
        ]
        answers = _decode(await self._post(msgspec.json.encode(body)), type=list[_Answer])
        return [each.result if each.error is None else _failure(each.error) for each in answers]

    async def get(self, result: type[T], path: str, **query: str | int) -> T:
        """What the explorer answers on a path below /api/v1, as a class of `node.api.views`."""
        return _decode(await self._request("GET", f"/api/v1{path}", params=query), type=result)

    async def iterate(self, item: type[T], path: str, **query: str | int) -> AsyncIterator[T]:
        """Every item of a listing of the explorer, page by page."""
        following: dict[str, str | int] | None = {"limit": 100, **query}
        while following is not None:
            page: views.Page[T] = await self.get(views.Page[item], path, **following)  # type: ignore[valid-type]
            for each in page.items:
                yield each
            following = page.next_page_params

    async def subscribe(
        self, topic: Topic, *, address: str | None = None, from_height: int | None = None
    ) -> AsyncIterator[Any]:
        """News of final blocks, transactions or payments as the WebSocket brings them. Raises: NetworkError."""
        wanted = {"topic": topic, "address": address, "from_height": from_height}
        parameters = {name: value for name, value in wanted.items() if value is not None}
        try:
            async with self._open().ws_connect(f"{self._url}/websocket", max_msg_size=0) as socket:
                await socket.send_json({"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": parameters})
                async for message in socket:
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        continue
                    found: Any = _decode(message.data, type=object)
                    if "error" in found:
                        raise _failure(msgspec.convert(found["error"], views.CallError))
                    if found.get("method") == "subscription":
                        yield found["params"]["result"]
        except aiohttp.ClientError as error:
            raise NetworkError(f"{self._url}: {error}") from error

    # Helpers.

    async def _send(self, key: PrivateKey, payload: object, account: bytes, terms: Terms) -> str:
        nonce = self._nonces.get(account)
        if nonce is None:
            nonce = (await self.account(account)).next_nonce
        data = await self.sign(key, payload, nonce=nonce, **terms)
        try:
            await self.call("broadcast_tx_sync", transaction=data.hex())
        except CallFailed as error:
            if error.reason != TransactionReason.DUPLICATE:  # a request that was sent again after a broken connection
                raise
        self._nonces[account] = nonce + 1
        return decode_transaction(data).id(await self.genesis_hash()).hex()

    async def _call(self, method: str, parameters: Mapping[str, Any]) -> msgspec.Raw:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = _decode(await self._post(msgspec.json.encode(body)), type=_Answer)
        if answer.error is not None:
            raise _failure(answer.error)
        return answer.result

    async def _patiently(self, method: str, **parameters: Any) -> views.UploadView:
        """A call of an upload; waits when the node writes as fast as it can."""
        for attempt in range(ATTEMPTS_WHEN_TOO_FAST):
            try:
                return await self.call_as(views.UploadView, method, **parameters)
            except CallFailed as error:
                if error.reason != RequestReason.TOO_MANY_REQUESTS or attempt + 1 == ATTEMPTS_WHEN_TOO_FAST:
                    raise
            await asyncio.sleep(2**attempt * POLL_S)
        raise AssertionError("the last attempt answers or raises")

    async def _post(self, body: bytes) -> bytes:
        return await self._request("POST", "/", body=body, headers={"Content-Type": "application/json"})

    async def _request(self, method: str, path: str, body: bytes | None = None, **options: Any) -> bytes:
        """The answer's bytes; waits and asks again when the node says that it is asked too fast."""
        for attempt in range(ATTEMPTS_WHEN_TOO_FAST):
            if body is not None:
                options["data"] = BytesIO(body)  # a large one is written part by part
            try:
                async with self._open().request(method, self._url + path, **options) as answer:
                    found = await _read_bounded(answer)
                    if answer.status == 429 and attempt + 1 < ATTEMPTS_WHEN_TOO_FAST:
                        wait_s = float(answer.headers.get("Retry-After", "1"))
                    elif answer.status < 400:
                        return found
                    else:
                        raise _http_failure(answer.status, found)
            except (aiohttp.ClientError, TimeoutError) as error:
                # A kept connection that the node closed in the meantime says nothing about the node. Asking again is
                # safe: a transaction is known by its id, a content by its hash.
                is_stale = isinstance(error, aiohttp.ClientOSError | aiohttp.ServerDisconnectedError)
                if is_stale and not isinstance(error, aiohttp.ClientConnectorError) and attempt == 0:
                    continue
                raise NetworkError(
                    f"{self._url} does not answer: {error or 'timeout'}. Is the node running?"
                ) from error
            await asyncio.sleep(wait_s)
        raise AssertionError("the last attempt answers or raises")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=5))
        return self._session


class Client:
    """`AsyncClient` for programs without asyncio. Not for several threads at once."""

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        self._client = AsyncClient(url, timeout_s=timeout_s)
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        if not self._loop.is_closed():
            self._run(self._client.close())
            self._run(self._loop.shutdown_asyncgens())
            self._loop.close()

    def send(self, key: PrivateKey, payload: object, *, blobs: Sequence[bytes] = (), **terms: Unpack[Terms]) -> str:
        """See `AsyncClient.send`."""
        return self._run(self._client.send(key, payload, blobs=blobs, **terms))

    def submit_and_wait(
        self,
        key: PrivateKey,
        payload: object,
        *,
        blobs: Sequence[bytes] = (),
        timeout_s: float = WAIT_TIMEOUT_S,
        **terms: Unpack[Terms],
    ) -> views_chain.TransactionView:
        """See `AsyncClient.submit_and_wait`."""
        work = self._client.submit_and_wait(key, payload, blobs=blobs, timeout_s=timeout_s, **terms)
        return self._run(work)

    def sign(self, key: PrivateKey, payload: object, *, nonce: int | None = None, **terms: Unpack[Terms]) -> bytes:
        """See `AsyncClient.sign`."""
        return self._run(self._client.sign(key, payload, nonce=nonce, **terms))

    def batch(self, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> list[msgspec.Raw | CallFailed]:
        """See `AsyncClient.batch`."""
        return self._run(self._client.batch(calls))

    def wait_for(self, transaction_id: str, *, timeout_s: float = WAIT_TIMEOUT_S) -> views_chain.TransactionView:
        """See `AsyncClient.wait_for`."""
        return self._run(self._client.wait_for(transaction_id, timeout_s=timeout_s))

    def broadcast(self, transactions: Sequence[bytes]) -> list[str | CallFailed]:
        """See `AsyncClient.broadcast`."""
        return self._run(self._client.broadcast(transactions))

    def put_blobs(self, contents: Sequence[bytes]) -> list[str]:
        """See `AsyncClient.put_blobs`."""
        return self._run(self._client.put_blobs(contents))

    def upload(
        self,
        content: bytes | Path,
        *,
        on_progress: OnProgress | None = None,
        validators: int = 0,
        timeout_s: float = UPLOAD_TIMEOUT_S,
    ) -> str:
        """See `AsyncClient.upload`."""
        work = self._client.upload(content, on_progress=on_progress, validators=validators, timeout_s=timeout_s)
        return self._run(work)

    def get_blob(self, content_hash: str) -> bytes:
        """See `AsyncClient.get_blob`."""
        return self._run(self._client.get_blob(content_hash))

    def status(self) -> views.StatusView:
        """See `AsyncClient.status`."""
        return self._run(self._client.status())

    def genesis_hash(self) -> bytes:
        """See `AsyncClient.genesis_hash`."""
        return self._run(self._client.genesis_hash())

    def height(self) -> int:
        """See `AsyncClient.height`."""
        return self._run(self._client.height())

    def wait_for_height(self, height: int, *, timeout_s: float = WAIT_TIMEOUT_S) -> None:
        """See `AsyncClient.wait_for_height`."""
        self._run(self._client.wait_for_height(height, timeout_s=timeout_s))

    def account(self, address: bytes | str) -> views.AccountView:
        """See `AsyncClient.account`."""
        return self._run(self._client.account(address))

    def call(self, method: str, **parameters: Any) -> Any:
        """See `AsyncClient.call`."""
        return self._run(self._client.call(method, **parameters))

    def call_as(self, result: type[T], method: str, **parameters: Any) -> T:
        """See `AsyncClient.call_as`."""
        return self._run(self._client.call_as(result, method, **parameters))

    def get(self, result: type[T], path: str, **query: str | int) -> T:
        """See `AsyncClient.get`."""
        return self._run(self._client.get(result, path, **query))

    def iterate(self, item: type[T], path: str, **query: str | int) -> Iterator[T]:
        """See `AsyncClient.iterate`."""
        return self._each(self._client.iterate(item, path, **query))

    def subscribe(self, topic: Topic, *, address: str | None = None, from_height: int | None = None) -> Iterator[Any]:
        """See `AsyncClient.subscribe`."""
        return self._each(self._client.subscribe(topic, address=address, from_height=from_height))

    def _each(self, items: AsyncIterator[T]) -> Iterator[T]:
        async def following() -> T:
            return await anext(items)

        while True:
            try:
                found = self._run(following())
            except StopAsyncIteration:
                return
            yield found

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)


async def _read_bounded(answer: aiohttp.ClientResponse) -> bytes:
    """An answer's body. Raises: NetworkError when it is larger than any node's."""
    parts: list[bytes] = []
    size_bytes = 0
    async for part in answer.content.iter_chunked(2**16):
        size_bytes += len(part)
        if size_bytes > LARGEST_ANSWER_SIZE_BYTES:
            raise NetworkError("the answer is larger than any node's. Is it a node's address?")
        parts.append(part)
    return b"".join(parts)


def _parts(contents: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Contents in order, as many at once as an upload takes."""
    part: list[bytes] = []
    size_bytes = 0
    for content in contents:
        if part and (len(part) == UPLOAD_COUNT or size_bytes + len(content) > UPLOAD_SIZE_BYTES):
            yield part
            part, size_bytes = [], 0
        part.append(content)
        size_bytes += len(content)
    if part:
        yield part


def _decode(data: bytes | msgspec.Raw | str, *, type: type[T]) -> T:  # noqa: A002 (as msgspec names it)
    try:
        return msgspec.json.decode(data, type=type)
    except msgspec.DecodeError as error:
        raise NetworkError(
            f"the answer is not one of this program's nodes: {error}. Is it a node's address?"
        ) from error


def _failure(error: views.CallError) -> CallFailed:
    transaction_id = error.data.transaction_id
    return CallFailed(error.data.reason, error.data.hint, transaction_id if isinstance(transaction_id, str) else "")


def _http_failure(status: int, body: bytes) -> OpenLedgerError:
    try:
        problem = msgspec.json.decode(body, type=views.ErrorAnswer).error
    except msgspec.DecodeError:
        return NetworkError(f"the address answers with status {status}. Is it a node's?")
    return CallFailed(problem.reason, problem.message)
