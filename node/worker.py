"""One process in which attribution is computed: numpy lives there, and a slow or crashing request harms nobody else.

Owns what runs in the process, its limits, and the other end of its pipe. It keeps prepared models, so that a model's
files cross over once and not with every question. Which request goes where, and when, is `node.pool`'s.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import structlog

from attribution.errors import AttributionError, KernelError
from attribution.request import REQUEST, RESULT

PREPARED_SIZE_BYTES = 256 * 2**20
"""Memory for prepared models in a worker."""
START_LIMIT_S = 60
"""A process that is not ready by then is given up."""
EXIT_LIMIT_S = 2.0
"""A process that closed its pipe has ended by then, and left its exit code."""
EXIT_NO_MEMORY = 77
PATIENCE_S = 10
"""What every request may take, however little work it is: a loaded machine, a large file to read."""
SLOWEST_RATE = 10_000_000
"""Multiply-accumulates per second, far below what was measured on the slowest engine (docs/workers.md)."""

Materials = Mapping[bytes, bytes]
Outcome = RESULT | AttributionError

log = structlog.get_logger(__name__)


class Failure(Enum):
    """Why there is no outcome: none says anything about the request."""

    NEEDS_MATERIALS = "needs_materials"
    """The worker does not keep the model prepared: send its files too."""
    DIED = "died"
    """The worker process ended."""
    LATE = "late"
    """It took longer than its work can take, and was ended."""
    NO_MEMORY = "no_memory"
    """It wanted more memory than a worker may have."""


class Urgency(IntEnum):
    """What goes first."""

    JUDGING = 0
    """A proposed block waits for it."""
    ADMISSION = 1
    """A transaction waits for it before this node admits it."""
    WARMING = 2
    """Nobody waits: the request's model is prepared for whoever asks it next, and nothing is computed."""


@dataclass(slots=True, eq=False)
class Job:
    """A request on its way to a worker."""

    request: REQUEST
    """What to compute."""
    materials: Materials
    """Bytes by their names; those of the request's subject may be left out."""
    on_done: Callable[[Outcome | Failure], None]
    """Called once, with what became of it."""
    urgency: Urgency
    """What it goes before."""
    on_hastened: Callable[[], None] | None = None
    """The pool's: called when it has become more urgent."""

    def hasten(self, urgency: Urgency) -> None:
        """Somebody waits for it who goes first."""
        if urgency < self.urgency:
            self.urgency = urgency
            if self.on_hastened is not None:
                self.on_hastened()


Compute = Callable[[Job], None]
"""Computes a request and calls back with its outcome."""


class NeedsMaterials(Exception):
    """In the worker: what the request is about is not prepared, send its files too."""


def limit_s(request: REQUEST) -> float:
    """How long a worker may take over a request before it is taken to hang."""
    return PATIENCE_S + request.multiply_accumulates() / SLOWEST_RATE


class Worker:
    """One process, started when needed and again when it ended. One thread uses it; any thread may end it."""

    def __init__(self, memory_size_bytes: int) -> None:
        self._memory_size_bytes = memory_size_bytes
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """The process, if there is one."""
        process = self._process
        return process.pid if process is not None else None

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        process = self._process
        return process is not None and process.is_alive()

    def start(self) -> bool:
        """Starts the process and checks its arithmetic; False when it did not come up. Raises: KernelError."""
        self._end()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self._memory_size_bytes), daemon=True)
        with self._lock:
            if self._is_closed:
                return False
            process.start()
            self._process, self._connection = process, ours
        theirs.close()
        with self._deadline(START_LIMIT_S):
            try:
                trouble = ours.recv()
            except (EOFError, OSError):
                self._end()
                return False
        if trouble is not None:
            raise KernelError(trouble)
        return True

    def run(
        self, request: REQUEST, materials: Materials, most_s: float, *, is_preparation: bool = False
    ) -> Outcome | Failure | None:
        """Computes a request in a process that was started; a preparation gives None."""
        assert self._connection is not None, "started before"
        answer: Outcome | Failure | None
        with self._deadline(most_s) as is_late:
            try:
                self._connection.send((request, dict(materials), is_preparation))
                answer = self._connection.recv()
            except (EOFError, OSError):
                code = self._end()
                answer = Failure.NO_MEMORY if code == EXIT_NO_MEMORY else Failure.DIED
        if is_late.is_set():
            self._end()
            return Failure.LATE if answer is Failure.DIED else answer
        return answer

    def close(self) -> None:
        """Ends the process for good, whatever it computes."""
        with self._lock:
            self._is_closed = True
            process = self._process
        if process is not None:
            process.kill()
            process.join(START_LIMIT_S)

    def _end(self) -> int | None:
        """Ends the process; its exit code."""
        with self._lock:
            process, self._process = self._process, None
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if process is None:
            return None
        process.join(EXIT_LIMIT_S)
        process.kill()
        process.join()
        return process.exitcode

    @contextmanager
    def _deadline(self, seconds: float) -> Iterator[threading.Event]:
        """Ends the process when it takes longer: a pipe that nobody reads or writes breaks then."""
        is_late, process = threading.Event(), self._process

        def end() -> None:
            is_late.set()
            if process is not None:
                process.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield is_late
        finally:
            timer.cancel()


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


def serve(connection: Connection, memory_size_bytes: int) -> None:
    """In the process: says that its arithmetic is right, then answers request after request."""
    _set_up(memory_size_bytes)
    try:
        _check()
    except KernelError as error:
        connection.send(str(error))
        return
    connection.send(None)
    while True:
        answer: Outcome | Failure | None
        try:
            request, materials, is_preparation = connection.recv()
            answer = _prepare(request, materials) if is_preparation else compute_here(request, materials)
        except EOFError:
            return
        except NeedsMaterials:
            answer = Failure.NEEDS_MATERIALS
        except MemoryError:
            os._exit(EXIT_NO_MEMORY)  # what is left in the pipe and in memory is of no use
        connection.send(answer)


@cache
def _runner() -> Any:
    from attribution.runner import Runner  # as above

    return Runner(PREPARED_SIZE_BYTES)


def _prepare(request: REQUEST, materials: Materials) -> AttributionError | None:
    try:
        _runner().prepare(request, materials)
    except AttributionError as error:
        return error
    return None


def _set_up(memory_size_bytes: int) -> None:
    # Set before numpy loads: the products are small, and threads that wait for each other cost more than they bring.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.nice(5)
    with suppress(OSError, ValueError):  # a system that limits more already, or knows no such limit
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = memory_size_bytes if hard == resource.RLIM_INFINITY else min(hard, memory_size_bytes)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the node's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A node that was killed takes its workers along."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a node"
    parent.join()
    os._exit(1)


def _check() -> None:
    from attribution.exact import known_answer_test  # as above

    known_answer_test()
