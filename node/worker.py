"""The process in which attribution is computed: numpy lives there, and a slow or crashing request harms nobody else.

Keeps prepared models, so that a model's files cross over once and not with every question.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from enum import Enum
from functools import cache
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import structlog

from attribution.errors import AttributionError
from attribution.request import REQUEST, RESULT

PREPARED_SIZE_BYTES = 256 * 2**20
"""Memory for prepared models in the worker."""

T = TypeVar("T")
Materials = Mapping[bytes, bytes]
Outcome = RESULT | AttributionError

log = structlog.get_logger(__name__)


class NeedsMaterials(Exception):
    """In the worker: what the request is about is not prepared, send its files too."""


class Worker:
    """One worker process, started when first needed and again when it died."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._processes: list[BaseProcess] = []

    def warm(self) -> Future[None]:
        """Starts the process and checks its arithmetic; the future raises KernelError on a wrong kernel."""
        return self._submit(_check)

    def submit(self, request: REQUEST, materials: Materials) -> Future[Outcome]:
        """Computes a request; `outcome_of` reads the future. A question's materials may leave its model's files out."""
        return self._submit(_run, request, dict(materials))

    def close(self) -> None:
        """Ends the process, whatever it computes."""
        if self._pool is not None:
            for process in self._processes:
                process.kill()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def restart(self) -> None:
        """Replaces a process that died."""
        log.warning("worker_restarted")
        self.close()

    def _submit(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        if self._pool is not None:
            return self._pool.submit(function, *arguments)
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_set_up)
        others = multiprocessing.active_children()
        future = self._pool.submit(function, *arguments)
        self._processes = [each for each in multiprocessing.active_children() if each not in others]
        return future


def compute_here(request: REQUEST, materials: Materials) -> Outcome:
    """The outcome of a request, computed in this process. Raises: NeedsMaterials."""
    # numpy is loaded where attribution runs, not where a node starts.
    from attribution.runner import NeedsFiles

    try:
        result: RESULT = _runner().run(request, materials)
    except AttributionError as error:
        return error
    except NeedsFiles as error:
        raise NeedsMaterials from error
    return result


@cache
def _runner() -> Any:
    from attribution.runner import Runner  # as above

    return Runner(PREPARED_SIZE_BYTES)


def _set_up() -> None:
    # Set before numpy loads: the products are small, and threads that wait for each other cost more than they bring.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.nice(5)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the node's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A node that was killed takes its worker along."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a node"
    parent.join()
    os._exit(1)


def _check() -> None:
    from attribution.exact import known_answer_test  # as above

    known_answer_test()


def _run(request: REQUEST, materials: Materials) -> Outcome:
    return compute_here(request, materials)


class Failure(Enum):
    """Why there is no outcome: neither says anything about the request."""

    NEEDS_MATERIALS = "needs_materials"
    """The worker does not keep the model prepared: send its files too."""
    DIED = "died"
    """The worker process ended."""


def outcome_of(future: Future[Outcome]) -> Outcome | Failure:
    """What a finished computation gave."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, NeedsMaterials):
        return Failure.NEEDS_MATERIALS
    if isinstance(error, BrokenProcessPool):
        return Failure.DIED
    raise error


Compute = Callable[[REQUEST, Materials, Callable[[Outcome | Failure], None]], None]
"""Computes a request and calls back with its outcome."""
