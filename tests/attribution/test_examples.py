from pathlib import Path

import pytest

from attribution.examples import derive_form, encode_questions, encode_records, excerpt
from attribution.jsonl import DataError
from attribution.record import MAXIMUM_VALUE, Column, TextSchema, decode_query, decode_record, decode_text_record
from attribution.tables import Source, read_source


def make_source(folder: Path, text: str, name: str = "data.jsonl") -> Source:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_source(path)


def test_columns_have_the_digits_of_the_numbers_and_admit_later_extremes(tmp_path: Path) -> None:
    source = make_source(
        tmp_path, '{"age": 31, "dose": 0.10, "ill": "yes"}\n\n{"age": 5, "dose": -2.125, "ill": "no"}\n'
    )
    form = derive_form(source, "ill")
    assert form.schema.columns == tuple(
        Column(name=name, decimals=decimals, minimum=-MAXIMUM_VALUE, maximum=MAXIMUM_VALUE)
        for name, decimals in (("age", 0), ("dose", 3))
    )
    assert form.class_names == ("no", "yes")
    records = [decode_record(form.schema, data) for data in encode_records(form, source)]
    assert [(record.label, record.values) for record in records] == [(1, (31, 100)), (0, (5, -2125))]
    asked = make_source(tmp_path, '{"age": 2e6, "dose": true}', "asked.jsonl")
    assert [decode_query(form.schema, data) for data in encode_questions(form, asked)] == [(2_000_000, 1000)]


def test_csv_json_lines_and_their_records_are_the_same(tmp_path: Path) -> None:
    lines = make_source(tmp_path, '{"x": 1.50, "n": -3, "y": 1}\n{"x": 0.25, "n": 4, "y": 2}\n')
    cells = make_source(tmp_path, "x,n,y\n1.50,-3,1\n 0.25 ,4,2\n", "data.csv")
    assert derive_form(lines, "y") == derive_form(cells, "y")
    assert encode_records(derive_form(lines, "y"), lines) == encode_records(derive_form(cells, "y"), cells)


def test_digits_give_way_to_large_numbers(tmp_path: Path) -> None:
    source = make_source(tmp_path, '{"x": 0.123456789012345, "y": 0}\n{"x": 1000000000.5, "y": 1}\n')
    form = derive_form(source, "y")
    assert form.schema.columns[0].decimals == 3
    assert decode_record(form.schema, encode_records(form, source)[0]).values == (123,)


def test_number_of_many_digits_or_very_small_is_rounded(tmp_path: Path) -> None:
    source = make_source(tmp_path, f'{{"x": 0.{"3" * 5000}, "y": 0}}\n{{"x": 1e-999999999, "y": 1}}\n')
    form = derive_form(source, "y")
    records = [decode_record(form.schema, data) for data in encode_records(form, source)]
    assert [record.values for record in records] == [(333_333_333_333,), (0,)]


def test_text_is_the_record_and_numbers_beside_it_are_not_read(tmp_path: Path) -> None:
    source = make_source(tmp_path, "id,said,y\nnan,2024,a\n,hello,b\n", "data.csv")
    form = derive_form(source, "y", text="said", dimensions=1000)
    assert form.schema == TextSchema(dimensions=1000, classes=2, minimum_size_bytes=1, maximum_size_bytes=1 << 16)
    texts = [decode_text_record(form.schema, data).text for data in encode_records(form, source)]
    assert texts == ["2024", "hello"]


def test_excerpt_holds_nothing_that_a_terminal_obeys(tmp_path: Path) -> None:
    source = make_source(tmp_path, '{"said": "a\\u001b[31mb\\nc", "y": 0}\n{"said": "b", "y": 1}\n')
    assert excerpt(derive_form(source, "y", text="said"), source.rows[0]) == "a [31mb c"


ROWS = '{"x": 1, "y": "a"}\n'


@pytest.mark.parametrize(
    ("more", "label", "drop", "message"),
    [
        ('{"y": "b"}', "y", [], "data.jsonl, line 2 has no 'x': fill it in, remove the row, or leave the field out"),
        ('{"x": "2", "y": "b"}', "y", [], "data.jsonl, line 2: 'x' is '2', not a number: encode it as one"),
        ('{"x": NaN, "y": "b"}', "y", [], "data.jsonl, line 2: 'x' is nan, not a number"),
        ('{"x": -Infinity, "y": "b"}', "y", [], "data.jsonl, line 2: 'x' is -inf, not a number"),
        ('{"x": 1e13, "y": "b"}', "y", [], "line 2: 'x' is 1E+13, at most 1099511627776 can be used"),
        ('{"x": 1099511627777, "y": "b"}', "y", [], "line 2: 'x' is 1099511627777, at most 1099511627776"),
        ('{"x": 1e999999999, "y": "b"}', "y", [], "line 2: 'x' is 1E+999999999, at most"),
        (f'{{"x": {"9" * 10**7}, "y": "b"}}', "y", [], f"line 2: 'x' is {'9' * 40}…, at most"),
        ('{"x": 2}', "y", [], "line 2 has no label field 'y'; its fields are x; name one with --label"),
        (f'{{"x": 2, "y": "{"b" * 10**7}"}}', "y", [], "line 2: a label of 10000000 characters"),
        ("", "y", [], "data.jsonl: the label 'y' has 1 value, 2 to 64 can be used; is --label the right field?"),
        ('{"x": 2, "y": "b"}', "y", ["x"], "data.jsonl: 0 numeric fields; 1 to 511 can be used"),
        ('{"x": 2, "y": "b"}', "y", ["z"], "line 1: cannot drop 'z': the row has no such field"),
    ],
)
def test_data_that_cannot_be_used_says_where_and_what_to_do(
    more: str, label: str, drop: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        derive_form(make_source(tmp_path, ROWS + more), label, drop=drop)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("cell", ["nan", "-inf", "1_000", "\uff11", "0x10", "", "9" * 100])
def test_cell_that_is_no_number_is_refused(cell: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.csv, line 3"):
        derive_form(make_source(tmp_path, f"x,y\n1,a\n{cell},b\n", "data.csv"), "y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('""', "line 2: text_empty"),
        ("3", "line 2: 'said' is 3, not text"),
        ("null", "line 2 has no text field 'said'"),
        (f'"{"a" * 10**7}"', "line 2: text_too_long"),
        ('"\\ud800"', "line 2: text_not_utf8"),
    ],
)
def test_text_that_cannot_be_used_says_where(text: str, message: str, tmp_path: Path) -> None:
    source = make_source(tmp_path, f'{{"said": "a", "y": 0}}\n{{"said": {text}, "y": 1}}\n')
    form = derive_form(source, "y", text="said")
    with pytest.raises(DataError) as caught:
        encode_records(form, source)
    assert message in str(caught.value)


def test_class_that_was_not_trained_on_is_refused(tmp_path: Path) -> None:
    form = derive_form(make_source(tmp_path, ROWS + '{"x": 2, "y": "b"}'), "y")
    with pytest.raises(DataError, match=r"line 1: 'y' is 'c'; the classes are 'a', 'b'"):
        encode_records(form, make_source(tmp_path, '{"x": 2, "y": "c"}'))


def test_question_without_a_column_is_refused(tmp_path: Path) -> None:
    form = derive_form(make_source(tmp_path, ROWS + '{"x": 2, "y": "b"}'), "y")
    with pytest.raises(DataError, match=r"line 1 has no 'x'"):
        encode_questions(form, make_source(tmp_path, '{"z": 2}'))
