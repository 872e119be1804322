import subprocess
import sys
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import AttributionError, Reason
from attribution.record import (
    MAXIMUM_VALUE,
    Column,
    Record,
    TabularSchema,
    decode_query,
    decode_record,
    encode_query,
    encode_record,
    validate_query,
    validate_record,
)

AGE = Column(name="age", decimals=0, minimum=0, maximum=120)
DOSE = Column(name="dose mg", decimals=3, minimum=-5_000, maximum=5_000)
SCHEMA = TabularSchema(columns=(AGE, DOSE), classes=3)


def test_record_bytes_are_label_then_values() -> None:
    data = encode_record(SCHEMA, 2, [31, -1])
    assert data.hex() == "0002" + "000000000000001f" + "ffffffffffffffff"
    assert len(data) == SCHEMA.record_size_bytes == 18
    assert decode_record(SCHEMA, data) == Record(label=2, values=(31, -1))


def test_query_bytes_are_the_record_without_its_label() -> None:
    assert encode_query(SCHEMA, [31, -1]) == encode_record(SCHEMA, 2, [31, -1])[2:]
    assert decode_query(SCHEMA, encode_query(SCHEMA, (31, -1))) == (31, -1)
    assert SCHEMA.query_size_bytes == 16


@given(label=st.integers(0, 2), age=st.integers(0, 120), dose=st.integers(-5_000, 5_000))
def test_every_record_has_one_form(label: int, age: int, dose: int) -> None:
    data = encode_record(SCHEMA, label, [age, dose])
    record = decode_record(SCHEMA, data)
    assert record == Record(label=label, values=(age, dose))
    assert encode_record(SCHEMA, record.label, record.values) == data


@given(data=st.binary(min_size=18, max_size=18))
@settings(max_examples=300)
def test_bytes_that_decode_encode_to_themselves(data: bytes) -> None:
    try:
        record = decode_record(SCHEMA, data)
    except AttributionError:
        return
    assert encode_record(SCHEMA, record.label, record.values) == data


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"", Reason.RECORD_WRONG_SIZE, "0 bytes, the schema fixes 18"),
        (encode_record(SCHEMA, 0, [1, 1])[:-1], Reason.RECORD_WRONG_SIZE, "17 bytes, the schema fixes 18"),
        (b"\0\3" + encode_query(SCHEMA, [1, 1]), Reason.LABEL_OUT_OF_RANGE, "label 3 of 3 classes"),
        (
            b"\0\0" + (121).to_bytes(8, "big") + bytes(8),
            Reason.VALUE_OUT_OF_RANGE,
            "column age: 121 is not in 0 to 120",
        ),
    ],
)
def test_wrong_record_is_refused(data: bytes, reason: Reason, detail: str) -> None:
    with pytest.raises(AttributionError) as caught:
        validate_record(SCHEMA, data)
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


def test_query_of_wrong_size_or_value_is_refused() -> None:
    with pytest.raises(AttributionError) as caught:
        validate_query(SCHEMA, bytes(18))
    assert (caught.value.reason, caught.value.detail) == (
        Reason.QUERY_WRONG_SIZE,
        "18 bytes, the schema fixes 16",
    )
    with pytest.raises(AttributionError) as caught:
        validate_query(SCHEMA, b"\xff" * 16)
    assert caught.value.reason is Reason.VALUE_OUT_OF_RANGE


def test_wrong_number_of_values_is_refused() -> None:
    with pytest.raises(AttributionError) as caught:
        encode_record(SCHEMA, 0, [1])
    assert (caught.value.reason, caught.value.detail) == (Reason.WRONG_VALUE_COUNT, "1 values for 2 columns")


@pytest.mark.parametrize("value", [True, 1.0, None, "1"])
def test_only_integers_are_encoded(value: object) -> None:
    with pytest.raises(AttributionError) as caught:
        encode_query(SCHEMA, [value, 0])  # type: ignore[list-item]
    assert caught.value.reason is Reason.VALUE_OUT_OF_RANGE
    with pytest.raises(AttributionError) as caught:
        encode_record(SCHEMA, value, [0, 0])  # type: ignore[arg-type]
    assert caught.value.reason is Reason.LABEL_OUT_OF_RANGE


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("1.5", 1500),
        (" -0.001 ", -1),
        (0.1, 100),
        (2, 2000),
        (Decimal("1e-3"), 1),
        ("0.0005", 0),  # half to even
        ("0.0015", 2),
        ("-0.0025", -2),
    ],
)
def test_number_becomes_a_scaled_integer(number: str | float | Decimal, value: int) -> None:
    assert DOSE.value(number) == value
    assert DOSE.value(DOSE.number(value)) == value


@pytest.mark.parametrize(
    "number", ["", "abc", "nan", "inf", "-Infinity", True, "1" * 65, "٣", "1e99999999999999999999"]
)
def test_what_is_no_number_is_refused(number: str | int) -> None:
    _assert_no_number(number)


def test_huge_integer_is_refused_without_printing_it() -> None:
    _assert_no_number(10**5000)


def _assert_no_number(number: str | int) -> None:
    with pytest.raises(AttributionError) as caught:
        DOSE.value(number)
    assert caught.value.reason is Reason.VALUE_NOT_A_NUMBER


@pytest.mark.parametrize("number", ["5.001", "-6", "1e60", "1e999999", 10**40])
def test_number_outside_its_column_is_refused(number: str | int) -> None:
    with pytest.raises(AttributionError) as caught:
        DOSE.value(number)
    assert caught.value.reason is Reason.VALUE_OUT_OF_RANGE


def test_schema_id_is_the_hash_of_its_documented_bytes() -> None:
    assert SCHEMA.encode().hex() == (
        "00030002"
        "03" + b"age".hex() + "00" + "0000000000000000" + "0000000000000078"
        "07" + b"dose mg".hex() + "03" + "ffffffffffffec78" + "0000000000001388"
    )
    assert SCHEMA.id().hex() == "4d25ae64c6c3b2bb94e7f33b7ad8d519931b965052cee8cdc24598763ad8d39b"


def test_schema_id_depends_on_every_field() -> None:
    columns = [
        AGE,
        Column(name="Age", decimals=0, minimum=0, maximum=120),
        Column(name="age", decimals=1, minimum=0, maximum=120),
        Column(name="age", decimals=0, minimum=1, maximum=120),
        Column(name="age", decimals=0, minimum=0, maximum=121),
    ]
    ids = {TabularSchema(columns=(column,), classes=2).id() for column in columns}
    ids |= {TabularSchema(columns=(AGE,), classes=3).id(), TabularSchema(columns=(AGE, DOSE), classes=2).id()}
    assert len(ids) == len(columns) + 2


def test_unknowns_count_the_bias() -> None:
    assert SCHEMA.unknowns == (2 + 1) * 3


@pytest.mark.parametrize(
    ("name", "decimals", "minimum", "maximum"),
    [
        ("", 0, 0, 1),
        ("x" * 65, 0, 0, 1),
        ("a\nb", 0, 0, 1),
        ("\ud800", 0, 0, 1),
        (5, 0, 0, 1),
        ("a", -1, 0, 1),
        ("a", 13, 0, 1),
        ("a", True, 0, 1),
        ("a", 0, 2, 1),
        ("a", 0, -MAXIMUM_VALUE - 1, 0),
        ("a", 0, 0, MAXIMUM_VALUE + 1),
        ("a", 0, 0.0, 1),
    ],
)
def test_wrong_column_is_refused(name: str, decimals: int, minimum: int, maximum: int) -> None:
    with pytest.raises(AttributionError) as caught:
        Column(name=name, decimals=decimals, minimum=minimum, maximum=maximum)
    assert caught.value.reason is Reason.SCHEMA_MALFORMED


@pytest.mark.parametrize(
    ("columns", "classes"),
    [
        ((), 2),
        ([AGE], 2),
        ((AGE, AGE), 2),
        ((AGE, "age"), 2),
        ((AGE,), 1),
        ((AGE,), 65),
        ((AGE,), True),
        (tuple(Column(name=str(i), decimals=0, minimum=0, maximum=1) for i in range(512)), 2),
    ],
)
def test_wrong_schema_is_refused(columns: tuple[Column, ...], classes: int) -> None:
    with pytest.raises(AttributionError) as caught:
        TabularSchema(columns=columns, classes=classes)
    assert caught.value.reason is Reason.SCHEMA_MALFORMED


def test_records_and_requests_need_the_standard_library_only() -> None:
    code = (
        "import sys, attribution.record, attribution.head.request, attribution.errors, attribution.jsonl;"
        "sys.exit(bool({'numpy', 'torch', 'click'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
