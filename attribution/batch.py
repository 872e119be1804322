"""Many questions, and large indexes, on more than one processor or machine: through any `concurrent.futures.Executor`.

The work is cut by a rule that does not ask who does it, and joined in its order, so that the result is equal to the
last bit whether threads, processes or a cluster did the work. Nothing here decides a block; what it calls does.

A worker prepares a subject (a model, an index, the texts of a datanet) once and keeps it. Files travel only to a worker
that says it lacks them: a part of the batch is first sent with its questions alone. A worker whose arithmetic fails the
known answers refuses to work.
"""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from attribution.content import Materials, content_hash
from attribution.exact import known_answer_test
from attribution.head import attribute as head
from attribution.head.request import Answer, AttributeRequest, Model
from attribution.mlp import attribute as mlp
from attribution.mlp.request import MlpAttributeRequest, MlpModel
from attribution.retrieval import attribute as retrieval
from attribution.retrieval.request import Index as EmbeddingIndex
from attribution.retrieval.request import RetrievalRequest, Retrieved
from attribution.spans import attribute as spans
from attribution.spans.index import Index
from attribution.spans.request import Attributed, Snapshot, SpansRequest, Text
from attribution.spans.segment import Segment, make_segment, merge
from attribution.spans.tokens import tokenise

Subject: TypeAlias = Model | MlpModel | EmbeddingIndex | Snapshot
Attribution: TypeAlias = Answer | Retrieved | Attributed

PART_QUESTIONS = 32
"""Questions that are sent to a worker at once."""
PART_SIZE_BYTES = 1 << 22
"""Texts that are made into a segment at once."""

_THREAD_SETTINGS = tuple(f"{library}_NUM_THREADS" for library in ("OPENBLAS", "OMP", "MKL"))


@contextmanager
def processes(count: int | None = None) -> Iterator[Executor]:
    """New processes on this machine, one for each processor, with one thread for products each.

    They are started afresh, so a program that is a file guards its main part by `if __name__ == "__main__"`.
    """
    before = {name: os.environ.get(name) for name in _THREAD_SETTINGS}
    os.environ.update(dict.fromkeys(_THREAD_SETTINGS, "1"))
    try:
        with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as executor:
            yield executor
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class HereExecutor(Executor):
    """Does the work in the caller's thread, when it is submitted: one more executor to give the same bits."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The future of work that is done already."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # it is the future's
            future.set_exception(error)
        return future


def attribute_many(
    subject: Subject,
    questions: Sequence[bytes],
    materials: Materials,
    executor: Executor | None = None,
    *,
    part_questions: int = PART_QUESTIONS,
    in_flight: int | None = None,
) -> tuple[Attribution, ...]:
    """What `compute` answers to each question, in their order, however many there are.

    `questions` are bytes: of questions for head/1 and mlp/1, embeddings for retrieval/1, generated texts for spans/1.
    `materials` holds the subject's bytes by content hash. Without an executor: processes of this machine. At most
    `in_flight` parts are with workers at a time, twice the processors of this machine where nothing is said.

    Raises: AttributionError, the first in the questions' order; KernelError.
    """
    if not questions:
        return ()
    if executor is None:
        with processes() as own:
            return attribute_many(
                subject, questions, materials, own, part_questions=part_questions, in_flight=in_flight
            )
    parts = [tuple(questions[first : first + part_questions]) for first in range(0, len(questions), part_questions)]
    found = _Parts(executor, subject, materials, parts).run(in_flight or 2 * (os.cpu_count() or 1))
    return tuple(answer for answers in found for answer in answers)


def build_index(texts: Sequence[bytes], executor: Executor | None = None) -> Index:
    """The index of texts in the order of their seniority: bit for bit what `spans.index.append` builds from them all.

    Parts are tokenised and made segments by workers; a part that repeats an elder part's text is made again, now that
    this is known; all are merged here.

    Raises: AttributionError, as `spans.tokens.tokenise`; KernelError.
    """
    if not texts:
        return Index()
    if executor is None:
        with processes() as own:
            return build_index(texts, own)
    parts = list(_by_size(texts, PART_SIZE_BYTES))
    made = [executor.submit(_make_segment, part, frozenset()) for part in parts]
    segments = [future.result() for future in made]
    again: dict[int, Future[Segment]] = {}
    seen: set[bytes] = set()
    for index, segment in enumerate(segments):
        hashes = {row.tobytes() for row in segment.text_hashes}
        if hashes & seen:
            again[index] = executor.submit(_make_segment, parts[index], frozenset(hashes & seen))
        seen |= hashes
    for index, future in again.items():
        segments[index] = future.result()
    return Index(segments=(segments[0] if len(segments) == 1 else merge(segments),))


@dataclass(slots=True)
class _Parts:
    """A batch under way."""

    executor: Executor
    subject: Subject
    materials: Materials
    parts: Sequence[tuple[bytes, ...]]

    def run(self, in_flight: int) -> list[tuple[Attribution, ...]]:
        """Answers of each part. The first error in the parts' order is raised when what is under way has ended."""
        key = content_hash(type(self.subject).__name__.encode() + self.subject.encode())
        files = {name: self.materials[name] for name in _subject_hashes(self.subject) if name in self.materials}
        found: dict[int, tuple[Attribution, ...]] = {}
        errors: dict[int, BaseException] = {}
        waiting = deque(range(len(self.parts)))
        running: dict[Future[tuple[Attribution, ...] | None], int] = {}
        while running or (waiting and not errors):
            while waiting and not errors and len(running) < in_flight:
                index = waiting.popleft()
                running[self.executor.submit(_answer, key, None, self.parts[index])] = index
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index = running.pop(future)
                error = future.exception()
                if error is not None:
                    errors[index] = error
                    continue
                answers = future.result()
                if answers is None:
                    # Whoever gets this may be another worker, which then is prepared too.
                    given = (self.subject, files)
                    running[self.executor.submit(_answer, key, given, self.parts[index])] = index
                else:
                    found[index] = answers
        if errors:
            raise errors[min(errors)]
        return [found[index] for index in range(len(self.parts))]


class _Kept:
    """The subject that this process prepared last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key = b""
        self._subject: tuple[Subject, Any] | None = None
        self._is_tested = False

    def get(self, key: bytes, given: tuple[Subject, Materials] | None) -> tuple[Subject, Any] | None:
        """The subject and what was prepared for it; None when it is another one and no files were given."""
        # Threads of one process wait here for the first, and then share what it prepared.
        with self._lock:
            if self._key != key and given is not None:
                self.test()
                self._subject = given[0], _prepare(*given)
                self._key = key
            return self._subject if self._key == key else None

    def test(self) -> None:
        """Known answers, once. Raises: KernelError."""
        if not self._is_tested:
            known_answer_test()
            self._is_tested = True


_KEPT = _Kept()


def _answer(
    key: bytes, given: tuple[Subject, Materials] | None, questions: Sequence[bytes]
) -> tuple[Attribution, ...] | None:
    """In a worker: the answers, or None when the subject's files have to come too."""
    kept = _KEPT.get(key, given)
    if kept is None:
        return None
    subject, prepared = kept
    materials = {content_hash(question): question for question in questions}
    names = tuple(map(content_hash, questions))
    match subject:
        case Model():
            return head.compute(AttributeRequest(model=subject, queries=names), materials, prepared).answers
        case MlpModel():
            return mlp.compute(MlpAttributeRequest(model=subject, queries=names), materials, prepared).answers
        case EmbeddingIndex():
            return retrieval.compute(RetrievalRequest(index=subject, queries=names), materials, prepared).answers
        case Snapshot():
            answers = tuple(make_text(question) for question in questions)
            return spans.compute(SpansRequest(snapshot=subject, answers=answers), materials, prepared).answers


def make_text(answer: bytes) -> Text:
    """What a request states of a generated text. Raises: AttributionError, as `spans.tokens.tokenise`."""
    return Text(name=content_hash(answer), size_bytes=len(answer), tokens=len(tokenise(answer)))


def _prepare(subject: Subject, materials: Materials) -> Any:
    match subject:
        case Model():
            return head.prepare(subject, materials)
        case MlpModel():
            return mlp.prepare(subject, materials)
        case EmbeddingIndex():
            return retrieval.prepare(subject, materials)
        case Snapshot():
            return spans.prepare(subject, materials)


def _subject_hashes(subject: Subject) -> tuple[bytes, ...]:
    match subject:
        case Model() | MlpModel():
            return subject.material_hashes()
        case EmbeddingIndex():
            return (subject.embeddings,)
        case Snapshot():
            return subject.records


def _make_segment(texts: Sequence[bytes], seen: frozenset[bytes]) -> Segment:
    _KEPT.test()
    return make_segment([content_hash(text) for text in texts], texts, set(seen))


def _by_size(texts: Sequence[bytes], size_bytes: int) -> Iterator[list[bytes]]:
    """Neighbouring texts together until they have the size."""
    part: list[bytes] = []
    held = 0
    for text in texts:
        part.append(text)
        held += len(text)
        if held >= size_bytes:
            yield part
            part, held = [], 0
    if part:
        yield part
