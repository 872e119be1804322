import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import AttributionError, Reason
from attribution.spans import sorting
from attribution.spans.sorting import byte_code, doubled, suffix_array, validate_suffix_array

EDGES = [0, 1, 191, 192, 193, 447, 448, 12479, 12480, 12481, 995519, 995520, 995521, (1 << 32) - 1]
IDS = st.lists(st.integers(0, 2) | st.sampled_from(EDGES), max_size=40)


def plain(ids: list[int]) -> list[int]:
    return sorted(range(len(ids)), key=lambda begin: ids[begin:])


@settings(max_examples=40)
@given(IDS)
def test_every_builder_gives_the_sorted_suffixes(ids: list[int]) -> None:
    array = np.array(ids, dtype=np.uint32)
    assert doubled(array).tolist() == plain(ids)
    assert suffix_array(array).tolist() == plain(ids)


@settings(max_examples=40)
@given(IDS)
def test_code_keeps_the_order_of_suffixes(ids: list[int]) -> None:
    code, begins = byte_code(np.array(ids, dtype=np.uint32))
    assert sorted(range(len(ids)), key=lambda i: code[begins[i] :].tolist()) == plain(ids)


@settings(max_examples=40)
@given(IDS.filter(lambda ids: len(ids) > 1), st.data())
def test_only_the_suffix_array_passes_the_check(ids: list[int], data: st.DataObject) -> None:
    array = np.array(plain(ids), dtype=np.uint32)
    validate_suffix_array(np.array(ids, dtype=np.uint32), array)
    one, other = data.draw(st.lists(st.integers(0, len(ids) - 1), min_size=2, max_size=2, unique=True))
    swapped, doubled_entry = array.copy(), array.copy()
    swapped[[one, other]] = swapped[[other, one]]
    doubled_entry[one] = doubled_entry[other]
    for wrong in (swapped, doubled_entry, array[:-1], array + 1):
        with pytest.raises(AttributionError) as caught:
            validate_suffix_array(np.array(ids, dtype=np.uint32), wrong)
        assert caught.value.reason is Reason.INDEX_MALFORMED


def test_the_compiled_builder_gives_the_same_array_where_it_is_installed() -> None:
    pytest.importorskip("pydivsufsort")
    ids = np.random.default_rng(1).integers(0, 300, 20_000).astype(np.uint32)
    ids[5000:9000] = ids[:4000]
    ids[12_000:15_000] = 7
    assert suffix_array(ids).tolist() == doubled(ids).tolist()


def test_one_id_all_the_way_is_sorted_from_the_end() -> None:
    assert doubled(np.full(1000, 5, dtype=np.uint32)).tolist() == list(range(999, -1, -1))


def test_an_array_too_long_for_its_entries_is_our_own_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "MAXIMUM_LENGTH", 10)
    with pytest.raises(AssertionError):
        suffix_array(np.zeros(10, dtype=np.uint32))
