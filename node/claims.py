"""What transactions claim about contents: computed once, ahead of the vote, and kept by request id.

Lends contents, results and memory to `verify`. A result is a pure function of its request, so a cached one is as good
as a fresh one on any branch of the chain.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from attribution.errors import AttributionError, Reason
from attribution.request import REQUEST, RESULT
from node.modules.context import BlobPending, ResultPending
from node.storage.blobs import BlobStore
from node.worker import Compute, Failure, Job, Outcome, Urgency

M = TypeVar("M")

MOST_RESULTS = 2_000
"""Results kept."""
LARGEST_RESULTS_SIZE_BYTES = 128 * 2**20
"""Memory for results."""
MOST_MEMOS = 64
"""Snapshots kept."""


class Claims:
    """Contents, results and memos of one node."""

    def __init__(self, blobs: BlobStore, compute: Compute) -> None:
        self._blobs = blobs
        self._compute = compute
        self._results: OrderedDict[bytes, Outcome] = OrderedDict()
        self._results_size_bytes = 0
        self._memos: OrderedDict[bytes, Any] = OrderedDict()
        self._running: dict[bytes, list[Callable[[], None]]] = {}
        self._jobs: dict[bytes, Job] = {}
        """What was last asked of the workers for each that runs."""
        self._failed: OrderedDict[bytes, None] = OrderedDict()

    @property
    def running_count(self) -> int:
        """Computations under way or waiting for a worker."""
        return len(self._running)

    def has_blob(self, blob_hash: bytes) -> bool:
        """Whether the bytes of a blob are held."""
        return self._blobs.has(blob_hash)

    def blob(self, blob_hash: bytes) -> bytes:
        """The bytes of a blob. Raises: BlobPending."""
        content = self._blobs.get(blob_hash)
        if content is None:
            raise BlobPending(blob_hash)
        return content

    def blob_size_bytes(self, blob_hash: bytes) -> int:
        """How many bytes a blob has. Raises: BlobPending."""
        size_bytes = self._blobs.size_bytes(blob_hash)
        if size_bytes is None:
            raise BlobPending(blob_hash)
        return size_bytes

    def result(self, request: REQUEST) -> RESULT:
        """A computed result. Raises: ResultPending; AttributionError when it cannot be computed."""
        outcome = self._results.get(request.request_id())
        if outcome is None:
            raise ResultPending(request)
        if isinstance(outcome, AttributionError):
            raise outcome
        return outcome

    def memo(self, key: bytes, build: Callable[[], M]) -> M:
        """What `build` gives for a key that names immutable things: built once."""
        if key in self._memos:
            self._memos.move_to_end(key)
            return self._memos[key]  # type: ignore[no-any-return]
        value = build()
        self._memos[key] = value
        if len(self._memos) > MOST_MEMOS:
            self._memos.popitem(last=False)
        return value

    def has_failed(self, request: REQUEST) -> bool:
        """Whether this node's worker could not compute a request: no verdict, and no vote."""
        return request.request_id() in self._failed

    def missing_blobs(self, request: REQUEST) -> tuple[bytes, ...]:
        """Contents a request needs that are not held."""
        return tuple(name for name in request.material_hashes() if not self._blobs.has(name))

    def start(self, request: REQUEST, on_done: Callable[[], None], urgency: Urgency) -> None:
        """Computes a request whose contents are all held; `on_done` is called when its result is kept.

        One that runs for somebody already becomes as urgent as the most urgent of them.
        """
        key = request.request_id()
        if key in self._results:
            on_done()
            return
        waiting = self._running.get(key)
        if waiting is not None:
            waiting.append(on_done)
            self._jobs[key].hasten(urgency)
            return
        self._running[key] = [on_done]
        self._failed.pop(key, None)
        # The worker may keep the subject prepared; what is named besides as well, as a holdout point may be, is sent.
        own = Counter(request.material_hashes()) - Counter(request.subject_hashes())
        self._submit(request, set(own), key, urgency)

    def _submit(self, request: REQUEST, names: set[bytes], key: bytes, urgency: Urgency) -> None:
        materials = {name: content for name in names if (content := self._blobs.get(name)) is not None}

        def on_outcome(outcome: Outcome | Failure) -> None:
            if outcome is Failure.NEEDS_MATERIALS and names < set(request.material_hashes()):
                self._submit(request, set(request.material_hashes()), key, self._jobs[key].urgency)
                return
            is_lost = isinstance(outcome, AttributionError) and outcome.reason is Reason.MISSING_MATERIAL
            if isinstance(outcome, Failure) or is_lost:
                self._failed[key] = None
                if len(self._failed) > MOST_RESULTS:
                    self._failed.popitem(last=False)
            else:
                self._keep(key, outcome)
            self._jobs.pop(key, None)
            for on_done in self._running.pop(key, ()):
                on_done()

        job = Job(request, materials, on_outcome, urgency)
        self._jobs[key] = job
        self._compute(job)

    def _keep(self, key: bytes, outcome: Outcome) -> None:
        self._results[key] = outcome
        self._results_size_bytes += _size_bytes(outcome)
        while len(self._results) > MOST_RESULTS or self._results_size_bytes > LARGEST_RESULTS_SIZE_BYTES:
            _, old = self._results.popitem(last=False)
            self._results_size_bytes -= _size_bytes(old)


def _size_bytes(outcome: Outcome) -> int:
    return 256 if isinstance(outcome, AttributionError) else 64 + len(outcome.encode())
