"""JSON-RPC 2.0: from bytes to bytes. Errors by the standard; what this node refuses is -32000 with reason and hint.

A batch is decoded once and answered together: a call that is answered later gives a `Later`, and all of them are
waited for by one future.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import structlog
from msgspec import UNSET, Raw, Struct, UnsetType

from node.api import views
from node.api.guard import RateLimiter
from node.api.live import Session
from node.api.requests import MOST_CALLS
from node.api.source import Source
from node.errors import Rejected, RequestReason, RequestRejected, StorageError, TransactionRejected

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
REFUSED = -32000
"""What the node refuses for a reason of its own; `data.reason` says which."""
MOST_COMMAS = 100_000
"""In a batch with a wrong call: no batch that may be sent has more."""
LARGEST_READS_SIZE_BYTES = 16 * 2**20
"""Once a batch's answers are larger, the rest of its reading calls is refused."""
READS_AT_ONCE = 10
"""Reading calls of a batch before the event loop has its turn."""
LATER_TIMEOUT_S = 10.0
"""How long a batch waits for answers that come later."""

log = structlog.get_logger(__name__)

_MESSAGES = {
    PARSE_ERROR: "Parse error",
    INVALID_REQUEST: "Invalid request",
    METHOD_NOT_FOUND: "Method not found",
    INVALID_PARAMS: "Invalid params",
    INTERNAL_ERROR: "Internal error",
    REFUSED: "Refused",
}


class Call(Struct, frozen=True):
    """One call as it is sent."""

    jsonrpc: Literal["2.0"]
    """The protocol."""
    method: str
    """What is called."""
    params: Raw = Raw(b"")
    """With what: an object, or an array in the order of the method's parameters."""
    id: str | int | float | UnsetType | None = UNSET
    """What the caller names it; without one no answer is wanted."""


@dataclass(slots=True)
class Later:
    """An answer that comes later, or its stand-in when time is up."""

    stand_in: object
    """What is said when time is up."""
    outcome: object = None
    """What is said: a view, or a Rejected."""
    on_resolved: Callable[[], None] | None = None
    """Who waits."""

    def resolve(self, outcome: object) -> None:
        """The answer is there."""
        self.outcome = outcome
        if self.on_resolved is not None:
            self.on_resolved()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls."""

    address: str
    """Where from."""
    session: Session | None
    """The WebSocket, if it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method."""

    name: str
    """What callers call it."""
    parameters: type[Struct]
    """What it takes."""
    result: Any
    """What it answers."""
    run: Callable[[Source, Any], object] | None = None
    """Gives a view, an awaitable of one, or a Later; raises Rejected."""
    run_for: Callable[[Source, str, Any], object] | None = None
    """The same for what depends on where the caller is."""
    run_in_session: Callable[[Source, Session, Any], object] | None = None
    """The same for what only a WebSocket can do."""
    cost: Callable[[Any], int] | None = None
    """How many items it writes; None when it only reads."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call that can be run."""

    call: Call
    """The call."""
    method: Method
    """Its method."""
    parameters: Struct
    """Its parameters."""


class Dispatcher:
    """The methods of one node."""

    def __init__(self, source: Source, methods: Sequence[Method], limiter: RateLimiter) -> None:
        self._source = source
        self._limiter = limiter
        self._methods: Mapping[str, Method] = {method.name: method for method in methods}
        self._decoders = {method.name: msgspec.json.Decoder(method.parameters) for method in methods}

    async def answer(self, data: bytes, caller: Caller) -> bytes | None:
        """The answer to a call or a batch; None when none is wanted. Raises: TooFast when a batch writes too much."""
        try:
            calls, is_batch = read_calls(data)
        except _CallFailed as error:
            return _encode(error.answer)
        maybe = [each if isinstance(each, views.Failed) else self._prepare(each) for each in calls]
        prepared = [each for each in maybe if each is not None]
        refusal = self._charge(prepared, caller)
        if refusal is not None and caller.session is None:
            raise refusal
        outcomes: list[object] = []
        reads = size_bytes = 0
        for each in prepared:
            if isinstance(each, views.Failed):
                outcomes.append(each)
            elif each.method.cost is not None:
                outcomes.append(self._start(each, caller) if refusal is None else refusal)
            elif size_bytes > LARGEST_READS_SIZE_BYTES:
                outcomes.append(RequestRejected(RequestReason.TOO_LARGE, "the batch's answers: ask for less at once"))
            else:
                read = await self._read(each, caller)
                outcomes.append(read)
                reads, size_bytes = reads + 1, size_bytes + len(read)
                if reads % READS_AT_ONCE == 0:
                    await asyncio.sleep(0)
        outcomes = await _finish(outcomes)
        answers = [
            answer
            for each, outcome in zip(prepared, outcomes, strict=True)
            if (answer := self._answer_of(each, outcome)) is not None
        ]
        if not answers:
            return None
        return _encode(answers if is_batch else answers[0])

    async def _read(self, prepared: Prepared, caller: Caller) -> Raw:
        """The answer to a call that changes nothing, as it is sent: one after the other, so that its size counts."""
        outcome = self._start(prepared, caller)
        if isinstance(outcome, Awaitable):
            try:
                outcome = await outcome
            except Exception as error:  # noqa: BLE001 (as in `_start`)
                outcome = error
        answer = self._answer_of(prepared, outcome)
        return Raw(b"" if answer is None else _encode(answer))

    def _prepare(self, call: Call) -> Prepared | views.Failed | None:
        """A call that can be run, or its failure; None when nobody wants to hear of that."""
        method = self._methods.get(call.method)
        if method is None:
            if call.id is UNSET:
                return None
            hint = f"{call.method[:64]!r} is none of {', '.join(self._methods)}"
            return _failed(call.id, METHOD_NOT_FOUND, RequestReason.UNKNOWN_METHOD, hint)
        raw = call.params
        try:
            if not len(raw) or bytes(memoryview(raw)[:1]) == b"{":
                parameters = self._decoders[method.name].decode(raw if len(raw) else b"{}")
            else:
                parameters = from_array(method.parameters, msgspec.json.decode(raw))
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            if call.id is UNSET:
                return None
            reason, hint = explain(method.name, method.parameters, error)
            return _failed(call.id, INVALID_PARAMS, reason, hint)
        return Prepared(call, method, parameters)

    def _charge(self, prepared: Sequence[Prepared | views.Failed], caller: Caller) -> RequestRejected | None:
        items = 0
        for each in prepared:
            if isinstance(each, Prepared) and each.method.cost is not None:
                items += each.method.cost(each.parameters)
        if not items:
            return None
        try:
            self._limiter.take(caller.address, items, asyncio.get_running_loop().time())
        except RequestRejected as error:
            return error
        return None

    def _start(self, prepared: Prepared, caller: Caller) -> object:
        """A view, a Rejected, a Later, or an awaitable."""
        method = prepared.method
        try:
            if method.run is not None:
                return method.run(self._source, prepared.parameters)
            if method.run_for is not None:
                return method.run_for(self._source, caller.address, prepared.parameters)
            assert method.run_in_session is not None, "a method can be run"
            if caller.session is None:
                hint = f"{method.name} works over the WebSocket only: connect to /websocket"
                return _failed(_id_of(prepared.call), METHOD_NOT_FOUND, RequestReason.UNKNOWN_METHOD, hint)
            return method.run_in_session(self._source, caller.session, prepared.parameters)
        except Exception as error:  # noqa: BLE001 (whatever fails is answered and logged; see `_answer_of`)
            return error

    def _answer_of(self, prepared: Prepared | views.Failed, outcome: object) -> object | None:
        if isinstance(prepared, views.Failed):
            return prepared
        if isinstance(outcome, Raw):
            return outcome if len(outcome) else None
        if prepared.call.id is UNSET:
            if isinstance(outcome, BaseException) and not isinstance(outcome, Rejected):
                self._note_failure(prepared, outcome)
            return None
        call_id = _id_of(prepared.call)
        if not isinstance(outcome, BaseException):
            return outcome if isinstance(outcome, views.Failed) else views.Success(result=outcome, id=call_id)
        if isinstance(outcome, Rejected):
            return refused(call_id, outcome)
        self._note_failure(prepared, outcome)
        return _failed(call_id, INTERNAL_ERROR, RequestReason.INTERNAL, RequestReason.INTERNAL.sentence)

    def _note_failure(self, prepared: Prepared, error: BaseException) -> None:
        log.error("rpc_failed", method=prepared.method.name, exc_info=error)
        if isinstance(error, StorageError):
            self._source.fail(error)


class TransactionRefused(TransactionRejected):
    """A transaction was refused after it had an id."""

    def __init__(self, error: TransactionRejected, transaction_id: bytes) -> None:
        super().__init__(error.reason, error.detail)
        self.transaction_id = transaction_id


class TransactionLate(RequestRejected):
    """A transaction is taken in, but not final in time, or before the node stops."""

    def __init__(self, reason: RequestReason, transaction_id: bytes) -> None:
        super().__init__(reason)
        self.transaction_id = transaction_id


class _CallFailed(Exception):
    def __init__(self, answer: views.Failed) -> None:
        super().__init__(answer.error.message)
        self.answer = answer


def read_calls(data: bytes) -> tuple[Sequence[Call | views.Failed], bool]:
    """The calls some bytes are, each or its failure, and whether they are a batch."""
    try:
        if not data.isascii():
            data.decode()  # what is in parameters is looked at later, and would be their fault
        if data.lstrip()[:1] != b"[":
            return [_CALL.decode(data)], False
        calls: Sequence[Call | views.Failed]
        try:
            calls = _BATCH.decode(data)
        except msgspec.ValidationError:
            # One wrong call: each is looked at by itself, if they are not so many that this takes long.
            raws = _RAW_BATCH.decode(data) if data.count(b",") <= MOST_COMMAS else ()
            if not 0 < len(raws) <= MOST_CALLS:
                raise _too_many() from None
            calls = [_read_call(raw) for raw in raws]
    except msgspec.ValidationError as error:
        raise _CallFailed(_failed(None, INVALID_REQUEST, RequestReason.MALFORMED, _words(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _CallFailed(_failed(None, PARSE_ERROR, RequestReason.MALFORMED, f"not JSON: {error}")) from error
    if not calls:
        raise _CallFailed(_failed(None, INVALID_REQUEST, RequestReason.MALFORMED, "a batch has at least one call"))
    if len(calls) > MOST_CALLS:
        raise _too_many()
    return calls, True


def from_array(parameters: type[Struct], values: object) -> Struct:
    """Parameters given by position. Raises: msgspec.ValidationError."""
    names = [field.encode_name for field in msgspec.structs.fields(parameters)]
    if not isinstance(values, list) or len(values) > len(names):
        given = f"{len(values)} are given" if isinstance(values, list) else f"a {type(values).__name__} is given"
        raise msgspec.ValidationError(f"parameters are an object, or an array of at most {len(names)}; {given}")
    return msgspec.convert(dict(zip(names, values, strict=False)), parameters)


def explain(name: str, parameters: type[Struct], error: Exception) -> tuple[RequestReason, str]:
    """Why parameters cannot be used, and what is wanted instead."""
    fields = msgspec.structs.fields(parameters)
    wanted = ", ".join(field.encode_name if field.required else f"{field.encode_name} (optional)" for field in fields)
    takes = f"{name} takes {wanted or 'no parameters'}"
    is_unknown = "unknown field" in str(error)
    reason = RequestReason.UNKNOWN_PARAMETER if is_unknown else RequestReason.INVALID_PARAMETER
    return reason, f"{_words(error)}; {takes}"


def refused(call_id: views.CallId, error: Rejected) -> views.Failed:
    """The answer to a call that was refused."""
    is_parameter = error.reason in (RequestReason.INVALID_PARAMETER, RequestReason.UNKNOWN_PARAMETER)
    answer = _failed(call_id, INVALID_PARAMS if is_parameter else REFUSED, error.reason, error.message)
    transaction_id = getattr(error, "transaction_id", None)
    if transaction_id is None:
        return answer
    data = msgspec.structs.replace(answer.error.data, transaction_id=transaction_id.hex())
    return msgspec.structs.replace(answer, error=msgspec.structs.replace(answer.error, data=data))


async def _finish(outcomes: list[object]) -> list[object]:
    """Waits for everything that is answered later."""
    later = [each for each in outcomes if type(each) is Later]
    resolved = _when_resolved([each for each in later if each.outcome is None])
    slow = [(place, each) for place, each in enumerate(outcomes) if isinstance(each, Awaitable)]
    if slow:
        found = await asyncio.gather(*(each for _, each in slow), return_exceptions=True)
        for (place, _), outcome in zip(slow, found, strict=True):
            outcomes[place] = outcome
    if resolved is not None:
        await asyncio.wait((resolved,), timeout=LATER_TIMEOUT_S)
    for place, each in enumerate(outcomes):
        if type(each) is Later:
            outcomes[place] = each.stand_in if each.outcome is None else each.outcome
    return outcomes


def _when_resolved(later: Sequence[Later]) -> asyncio.Future[None] | None:
    """Done when the last of them is resolved: asked at once, so that none is resolved before anybody listens."""
    if not later:
        return None
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = len(later)

    def on_resolved() -> None:
        nonlocal left
        left -= 1
        if left == 0 and not done.done():
            done.set_result(None)

    for each in later:
        each.on_resolved = on_resolved
    return done


def _read_call(raw: Raw) -> Call | views.Failed:
    try:
        return _CALL.decode(raw)
    except msgspec.ValidationError as error:
        return _failed(None, INVALID_REQUEST, RequestReason.MALFORMED, _words(error))


def _too_many() -> _CallFailed:
    hint = f"a batch has at most {MOST_CALLS} calls"
    return _CallFailed(_failed(None, INVALID_REQUEST, RequestReason.TOO_LARGE, hint))


def _failed(call_id: views.CallId, code: int, reason: str, hint: str) -> views.Failed:
    data = views.ErrorData(reason=str(reason), hint=hint)
    return views.Failed(error=views.CallError(code=code, message=_MESSAGES[code], data=data), id=call_id)


def _id_of(call: Call) -> views.CallId:
    return None if call.id is UNSET else call.id


def _words(error: Exception) -> str:
    """What a validation says, as people say it."""
    return str(error).replace("Object ", "the request ").replace("`", "").replace("$.", "").replace(" - at ", " at ")


_CALL = msgspec.json.Decoder(Call)
_BATCH = msgspec.json.Decoder(list[Call])
_RAW_BATCH = msgspec.json.Decoder(list[Raw])
_encode = msgspec.json.Encoder().encode
