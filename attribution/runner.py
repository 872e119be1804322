"""Runs requests of every engine, and keeps what it prepared for them, so that files are read once and not each time."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeAlias, assert_never

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

Materials = Mapping[bytes, bytes]
Prepared: TypeAlias = head.Prepared | grouping.Prepared | mlp.Prepared | retrieval.Prepared | spans.Prepared


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
            case MlpCertifyRequest():
                return mlp.compute(request, materials)
            case MlpAttributeRequest():
                key = request.model.encode()
                network = self._kept.pop(key, None)
                if network is None:
                    self._require(request.subject_hashes(), materials)
                    network = mlp.prepare(request.model, materials)
                assert isinstance(network, mlp.Prepared), "kept under a model's name"
                self._keep(key, network)
                return mlp.compute(request, materials, network)
            case RetrievalRequest():
                key = request.index.encode()
                table = self._kept.pop(key, None)
                if table is None:
                    self._require(request.subject_hashes(), materials)
                    table = retrieval.prepare(request.index, materials)
                assert isinstance(table, retrieval.Prepared), "kept under an index's name"
                self._keep(key, table)
                return retrieval.compute(request, materials, table)
            case SpansRequest():
                key = request.snapshot.encode()
                corpus = self._kept.pop(key, None)
                if corpus is None:
                    self._require(request.subject_hashes(), materials)
                    corpus = spans.prepare(request.snapshot, materials)
                assert isinstance(corpus, spans.Prepared), "kept under a snapshot's name"
                self._keep(key, corpus)
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
