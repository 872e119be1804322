"""Runs requests of every engine, and keeps what it prepared for them, so that files are read once and not each time."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeAlias, assert_never

from attribution.grouping import attribute as grouping
from attribution.grouping.request import GroupRequest
from attribution.head import attribute as head
from attribution.head.request import AttributeRequest, CertifyRequest, GateRequest
from attribution.request import REQUEST, RESULT

Materials = Mapping[bytes, bytes]
Prepared: TypeAlias = head.Prepared | grouping.Prepared


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
                key = request.model.encode()
                model = self._kept.pop(key, None)
                if model is None:
                    self._require(request.subject_hashes(), materials)
                    model = head.prepare(request.model, materials)
                assert isinstance(model, head.Prepared), "kept under a model's name"
                self._keep(key, model)
                return head.compute(request, materials, model)
            case GroupRequest():
                key = b"group" + request.schema.id()
                before = self._kept.pop(key, None)
                assert before is None or isinstance(before, grouping.Prepared), "kept under a form's name"
                if before is None or before.leaders != request.leaders:
                    known = before.leaders if before is not None else ()
                    is_part = request.leaders[: len(known)] == known
                    self._require(request.leaders[len(known) :] if is_part else request.leaders, materials)
                    before = grouping.prepare(request, materials, before)
                self._keep(key, before)
                return grouping.compute(request, materials, before)
            case _:
                assert_never(request)

    def prepare(self, request: REQUEST, materials: Materials) -> None:
        """Keeps the model that a certification is about, for whoever asks it next. Raises: AttributionError."""
        if isinstance(request, CertifyRequest):
            key = request.model.encode()
            self._keep(key, self._kept.pop(key) if key in self._kept else head.prepare(request.model, materials))

    def _require(self, names: tuple[bytes, ...], materials: Materials) -> None:
        if any(name not in materials for name in names):
            raise NeedsFiles

    def _keep(self, key: bytes, prepared: Prepared) -> None:
        self._kept[key] = prepared
        while sum(each.size_bytes() for each in self._kept.values()) > self._size_bytes and len(self._kept) > 1:
            self._kept.popitem(last=False)
