from dataclasses import fields, replace
from pathlib import Path

import pytest

from attribution.content import content_hash
from attribution.errors import AttributionError, Reason
from attribution.spans.attribute import compute, prepare
from attribution.spans.segment import Segment, make_segment
from attribution.spans.store import load, open_index, remove_unused, save, segment_name
from tests.attribution.spans.corpus import Case, make_case


@pytest.fixture(name="case")
def make_one() -> Case:
    case = make_case(13)
    assert len(case.texts) > 5
    return case


def segment_of(texts: list[bytes]) -> Segment:
    return make_segment([content_hash(text) for text in texts], texts, set())


def test_a_loaded_segment_is_the_saved_one(tmp_path: Path) -> None:
    segment = segment_of([b"one two three", b"two", "drei ÄPFEL".encode(), b"Two"])
    path = save(tmp_path, segment)
    assert path.name == segment_name(segment) + ".segment"
    loaded = load(path)
    for field in fields(Segment):
        assert getattr(loaded, field.name).tolist() == getattr(segment, field.name).tolist()
    assert segment_name(loaded) == segment_name(segment)
    assert not loaded.ids.flags.writeable
    assert save(tmp_path, segment) == path
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_an_index_on_disk_is_opened_without_the_texts(case: Case, tmp_path: Path) -> None:
    open_index(tmp_path, case.snapshot, case.materials)
    index = open_index(tmp_path, case.snapshot, {})
    assert compute(case.request, case.materials, prepare(case.snapshot, {}, index)) == case.result()


def test_a_grown_snapshot_reads_only_what_is_new(case: Case, tmp_path: Path) -> None:
    few = replace(case, texts=case.texts[:-2], owners=case.owners[:-2])
    open_index(tmp_path, few.snapshot, few.materials)
    new = {content_hash(blob): blob for blob in case.blobs[-2:]}
    index = open_index(tmp_path, case.snapshot, new)
    assert compute(case.request, case.materials, prepare(case.snapshot, {}, index)) == case.result()
    remove_unused(tmp_path, [index])
    assert len(list(tmp_path.iterdir())) == len(index.segments)
    open_index(tmp_path, case.snapshot, {})


def test_a_damaged_or_missing_file_is_built_again(case: Case, tmp_path: Path) -> None:
    index = open_index(tmp_path, case.snapshot, case.materials)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for data in (whole[:-1], whole[:20], b"", whole[:200] + b"\xff" + whole[201:], b"X" + whole[1:], whole + b"\0"):
            path.write_bytes(data)
            again = open_index(tmp_path, case.snapshot, case.materials)
            assert compute(case.request, case.materials, prepare(case.snapshot, {}, again)) == case.result()
        path.unlink(missing_ok=True)
    assert len(open_index(tmp_path, case.snapshot, case.materials).segments) <= len(index.segments)


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda data: data[:40], "cut off"),
        (lambda data: b"X" + data[1:], "no segment"),
        (lambda data: data + b"\0", " bytes, not "),
        (lambda data: data[:8] + b"\xff" * 8 + data[16:], " bytes, not "),
        (lambda data: data[:-40] + b"\1" + data[-39:], "damaged"),
    ],
)
def test_a_file_that_is_no_segment_is_refused(change: object, detail: str, tmp_path: Path) -> None:
    path = save(tmp_path, segment_of([b"one two three"]))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(AttributionError) as caught:
        load(path)
    assert caught.value.reason is Reason.INDEX_MALFORMED
    assert detail in caught.value.detail


def test_a_strangers_file_with_a_right_hash_and_a_wrong_array_is_refused(tmp_path: Path) -> None:
    segment = segment_of([b"one two three one two"])
    array = segment.array.copy()
    array[[2, 3]] = array[[3, 2]]
    path = save(tmp_path, replace(segment, array=array))
    with pytest.raises(AttributionError) as caught:
        load(path)
    assert caught.value.detail == "the suffix array is not in order"


def test_a_segment_that_calls_other_records_copies_is_not_used(tmp_path: Path) -> None:
    """Its first record was a copy behind another snapshot's first; here it is an original."""
    texts = [b"one two three", b"four"]
    names = [content_hash(text) for text in texts]
    elsewhere = make_segment(names, texts, {segment_of(texts).text_hashes[0].tobytes()})
    save(tmp_path, elsewhere)
    case = Case(texts=[["one", "two", "three"], ["four"]], owners=[0, 1], answers=[["four"]])
    index = open_index(tmp_path, case.snapshot, case.materials)
    assert index.segments[0].is_copy == [False, False]
