import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from attribution import batch
from attribution.__main__ import main
from attribution.batch import HereExecutor, attribute_many, build_index, processes
from attribution.content import content_hash
from attribution.errors import AttributionError, Reason
from attribution.head import attribute as head
from attribution.head.request import AttributeRequest
from attribution.record import encode_query
from attribution.retrieval import attribute as retrieval
from attribution.retrieval.request import Index, RetrievalRequest
from attribution.spans import attribute as spans
from attribution.spans.index import Index as SpansIndex
from attribution.spans.index import append, make_snapshot
from attribution.spans.request import SpansRequest
from attribution.spans.store import _encoded

CLUSTER = """
import sys
from distributed import LocalCluster

pytestmark = pytest.mark.slow
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""
ASK = """
import sys
from distributed import Client
from attribution.batch import attribute_many, build_index
from tests.attribution.test_batch import bits, make_embeddings, make_texts
if __name__ == "__main__":
    with Client(sys.argv[1]) as client:
        executor = client.get_executor()
        index, questions, materials = make_embeddings()
        answers = attribute_many(index, questions, materials, executor, part_questions=3)
        print(repr(b"".join(answer.encode() for answer in answers) + bits(build_index(make_texts(), executor))))
        print(len(client.ncores()))
"""


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with a process that has prepared nothing."""
    monkeypatch.setattr(batch, "_KEPT", batch._Kept())
    monkeypatch.setattr(batch, "PART_SIZE_BYTES", 500)


def make_embeddings() -> tuple[Index, list[bytes], dict[bytes, bytes]]:
    data = bytes((i * i * 31 + i // 7) % 256 for i in range(50 * 8))
    index = Index(
        engine="retrieval/1",
        dimensions=8,
        top=3,
        embeddings=content_hash(data),
        records=tuple(content_hash(bytes([i])) for i in range(50)),
    )
    questions = [bytes((i * j * 17 + i) % 256 for j in range(1, 9)) for i in range(1, 20)]
    return index, questions, {content_hash(each): each for each in (data, *questions)}


def make_texts() -> list[bytes]:
    """40 texts; every seventh repeats the one 14 before it, in capitals, in another part."""
    texts: list[bytes] = []
    for i in range(40):
        words = [f"w{(i * 37 + j * j * 11) % 53}" for j in range(30)]
        texts.append(texts[i - 14].upper() if i % 7 == 0 and i >= 14 else " ".join(words).encode())
    return texts


def bits(index: SpansIndex) -> bytes:
    return b"".join(b"".join(_encoded(segment)) for segment in index.segments)


def all_executors(check: Callable[[Executor], None]) -> None:
    check(HereExecutor())
    with ThreadPoolExecutor(3) as executor:
        check(executor)


def test_head_answers_are_those_of_one_request(fitted: Any) -> None:
    asked = [encode_query(fitted.schema, [i * 10, 5 - i, 7 * i]) for i in range(20)]
    materials = fitted.shelf.materials | {content_hash(each): each for each in asked}
    request = AttributeRequest(model=fitted.model, queries=tuple(map(content_hash, asked)))
    expected = head.compute(request, materials).answers
    # Questions travel beside the files: the subject's alone are asked for.
    all_executors(
        lambda each: check_equal(attribute_many(fitted.model, asked, materials, each, part_questions=3), expected)
    )


def check_equal(found: object, expected: object) -> None:
    assert found == expected


def test_retrieval_and_spans_answers_are_those_of_one_request() -> None:
    index, questions, materials = make_embeddings()
    names = tuple(map(content_hash, questions))
    expected = retrieval.compute(RetrievalRequest(index=index, queries=names), materials).answers
    all_executors(
        lambda each: check_equal(attribute_many(index, questions, materials, each, part_questions=4), expected)
    )
    texts = make_texts()
    snapshot = make_snapshot("spans/1", texts, range(len(texts)))
    answers = [b" ".join(text.split()[i : i + 20]) for i, text in enumerate(texts[:9])]
    held = {content_hash(each): each for each in (*texts, *answers)}
    request = SpansRequest(snapshot=snapshot, answers=tuple(map(batch.make_text, answers)))
    found = spans.compute(request, held).answers
    all_executors(lambda each: check_equal(attribute_many(snapshot, answers, held, each, part_questions=2), found))


def test_index_of_parts_is_the_index_of_the_whole() -> None:
    texts = make_texts()
    whole = append(SpansIndex(), [content_hash(text) for text in texts], texts)
    assert len(list(batch._by_size(texts, batch.PART_SIZE_BYTES))) > 5
    assert sum(whole.segments[0].is_copy) == 4
    all_executors(lambda each: check_equal(bits(build_index(texts, each)), bits(whole)))
    assert build_index([], HereExecutor()).segments == ()


def test_a_worker_prepares_a_subject_once_and_files_travel_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[object] = []
    real = batch._prepare
    monkeypatch.setattr(batch, "_prepare", lambda *given: (prepared.append(given[0]), real(*given))[1])
    index, questions, materials = make_embeddings()
    for _ in range(2):
        attribute_many(index, questions, materials, HereExecutor(), part_questions=2)
    assert prepared == [index]


def test_the_first_error_in_the_questions_order_is_raised(fitted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [encode_query(fitted.schema, [1, 2, 3])] * 4 + [b"short", b"x" * 999]
    with pytest.raises(AttributionError, match="5 bytes") as caught:
        attribute_many(fitted.model, asked, fitted.shelf.materials, HereExecutor(), part_questions=1)
    assert caught.value.reason is Reason.QUERY_WRONG_SIZE
    monkeypatch.setattr(batch, "_KEPT", batch._Kept())
    with pytest.raises(AttributionError) as caught:
        attribute_many(fitted.model, asked, {}, HereExecutor())
    assert caught.value.reason is Reason.MISSING_MATERIAL
    assert attribute_many(fitted.model, [], {}, HereExecutor()) == ()


@pytest.mark.slow
def test_processes_give_the_same_bits(fitted: Any) -> None:
    asked = [encode_query(fitted.schema, [i * 10, 5 - i, 7 * i]) for i in range(9)]
    texts = make_texts()
    expected = attribute_many(fitted.model, asked, fitted.shelf.materials, HereExecutor())
    with processes(2) as executor:
        assert attribute_many(fitted.model, asked, fitted.shelf.materials, executor, part_questions=2) == expected
        assert bits(build_index(texts, executor)) == bits(build_index(texts, HereExecutor()))
        with pytest.raises(AttributionError) as caught:
            build_index([b"a text", b"   "], executor)
    assert caught.value.reason is Reason.TEXT_WITHOUT_TOKENS


@pytest.mark.slow
def test_a_dask_cluster_of_two_workers_gives_the_same_bits(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="distributed, the extra `dask`, is not installed")
    data = tmp_path / "data.csv"
    data.write_text("x,z,y\n" + "".join(f"{i % 7}.{i},{i * i % 11},{'ab'[i % 7 > 3]}\n" for i in range(60)))
    queries = tmp_path / "q.csv"
    queries.write_text("x,z\n" + "".join(f"{i % 5},{i % 9}\n" for i in range(70)))

    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as cluster:
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        ask = tmp_path / "ask.py"
        ask.write_text(ASK)
        done = subprocess.run([sys.executable, ask, address], check=True, capture_output=True, text=True)
        model = tmp_path / "m.olm"
        assert CliRunner().invoke(main, ["fit", str(data), "--label", "y", "--out", str(model)]).exit_code == 0
        shown = ["explain", str(model), str(data), "--query", str(queries), "--json"]
        command = [sys.executable, "-m", "attribution", *shown, "--dask", address]
        clustered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert clustered == CliRunner().invoke(main, shown).output
        assert cluster.stdin is not None
        cluster.stdin.close()
    index, questions, materials = make_embeddings()
    answers = attribute_many(index, questions, materials, HereExecutor())
    expected = b"".join(answer.encode() for answer in answers) + bits(build_index(make_texts(), HereExecutor()))
    assert done.stdout.splitlines() == [repr(expected), "2"]
