"""Runs requests of every engine, and keeps what it prepared for them, so that files are read once and not each time."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar, assert_never

from attribution.content import Materials
from attribution.errors import AttributionError, Reason
from attribution.grouping import attribute as grouping
from attribution.grouping.request import GroupRequest
from attribution.head import attribute as head
from attribution.head.request import AttributeRequest, CertifyRequest, GateRequest
from attribution.mlp import attribute as mlp
from attribution.mlp.request import MlpAttributeRequest, MlpCertifyRequest
from attribution.request import REQUEST, RESULT
from attribution.retrieval import attribute as retrieval
from attribution.retrieval.request import RetrievalRequest
from attribution.spans import attribute as spans
from attribution.spans.request import SpansRequest

Prepared: TypeAlias = head.Prepared | grouping.Prepared | mlp.Prepared | retrieval.Prepared | spans.Prepared


class Subject(Protocol):
    """What a request is about."""

    def encode(self) -> bytes:
        """Canonical bytes, which begin with the engine's name: no two engines share a key."""


S = TypeVar("S", bound=Subject)
P = TypeVar("P", head.Prepared, mlp.Prepared, retrieval.Prepared, spans.Prepared)


class NeedsFiles(Exception):
    """What the request is about is not kept: its files have to be given too."""


class Runner:
    """Prepared models and leaders, least recently used first, up to a size."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._kept: OrderedDict[bytes, Prepared] = OrderedDict()

    def run(self, request: REQUEST, materials: Materials) -> RESULT:
        """The result. Raises: AttributionError; NeedsFiles when `request.subject_hashes()` were left out."""
        match request:
            case CertifyRequest():
                return head.compute(request, materials)
            case GateRequest() | AttributeRequest():
                model = self._ready(request, materials, request.model, head.prepare)
                return head.compute(request, materials, model)
            case MlpCertifyRequest():
                return mlp.compute(request, materials)
            case MlpAttributeRequest():
                return mlp.compute(request, materials, self._ready(request, materials, request.model, mlp.prepare))
            case RetrievalRequest():
                table = self._ready(request, materials, request.index, retrieval.prepare)
                return retrieval.compute(request, materials, table)
            case SpansRequest():
                corpus = self._ready(request, materials, request.snapshot, spans.prepare)
                return spans.compute(request, materials, corpus)
            case GroupRequest():
                key = b"group" + request.schema.id()
                before = self._kept.pop(key, None)
                assert before is None or isinstance(before, grouping.Prepared), "kept under a form's name"
                # A first grouping is always prepared: its records fix the scales, whatever was grouped before it.
                is_kept = before is not None and request.scales == before.scales
                if before is None or not is_kept or before.leaders != request.leaders:
                    before = self._prepare_leaders(request, materials, before if is_kept else None)
                self._keep(key, before)
                return grouping.compute(request, materials, before)
            case _:
                assert_never(request)

    def prepare(self, request: REQUEST, materials: Materials) -> None:
        """Keeps the model that a certification is about, for whoever asks it next. Raises: AttributionError."""
        if isinstance(request, CertifyRequest):
            key = request.model.encode()
            self._keep(key, self._kept.pop(key) if key in self._kept else head.prepare(request.model, materials))

    def _ready(self, request: REQUEST, materials: Materials, subject: S, prepare: Callable[[S, Materials], P]) -> P:
        """What a request is about, prepared now or before. Raises: as `run`."""
        key = subject.encode()
        known: Any = self._kept.pop(key, None)
        if known is None:
            self._require(request.subject_hashes(), materials)
            known = prepare(subject, materials)
        self._keep(key, known)
        return known  # type: ignore[no-any-return]  # kept under its own subject's bytes

    def _prepare_leaders(
        self, request: GroupRequest, materials: Materials, before: grouping.Prepared | None
    ) -> grouping.Prepared:
        known = before.leaders if before is not None else ()
        is_part = request.leaders[: len(known)] == known
        self._require(request.leaders[len(known) :] if is_part else request.leaders, materials)
        try:
            return grouping.prepare(request, materials, before)
        except AttributionError as error:
            if error.reason is Reason.MISSING_MATERIAL:
                # What was kept could not be built upon: a leader that was replaced may be like a younger one.
                self._require(request.leaders, materials)
            raise

    def _require(self, names: tuple[bytes, ...], materials: Materials) -> None:
        if any(name not in materials for name in names):
            raise NeedsFiles

    def _keep(self, key: bytes, prepared: Prepared) -> None:
        self._kept[key] = prepared
        while sum(each.size_bytes() for each in self._kept.values()) > self._size_bytes and len(self._kept) > 1:
            self._kept.popitem(last=False)
