import random
from collections.abc import Callable

import numpy as np
import pytest

from attribution.errors import AttributionError, Reason
from attribution.head import reference
from attribution.head.encoder import ENCODER_RECORDS, Scale, derive, encode, read_queries, read_records
from attribution.record import MAXIMUM_VALUE, TabularSchema, encode_query, encode_record

MakeSchema = Callable[..., TabularSchema]


def test_feature_is_deviations_from_the_mean_with_the_bias_last() -> None:
    values = np.array([[0, 5], [2, 5], [4, 5], [1 << 39, 6]])
    encoder = derive(values[:3])
    # K·deviation of 0, 2, 4 is isqrt(3·20 - 36) = 4; the second column does not vary.
    assert encoder.scales == (Scale(total=6, spread=4, shift=0), Scale(total=15, spread=0, shift=0))
    assert encode(encoder, values).tolist() == [
        [-6144, 0, 4096],
        [0, 0, 4096],
        [6144, 0, 4096],
        [32767, 0, 4096],
    ]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("bits", [1, 3, 20, 40])
def test_features_equal_plain_integers(bits: int, seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    bound = 1 << bits
    values = [[rng.randint(-bound, bound), round(rng.expovariate(8 / bound)), 7] for _ in range(300)]
    values += [[-bound, bound, bound], [bound, -bound, -bound]]
    array = np.array(values)
    assert encode(derive(array), array).tolist() == reference.features(values, values)


def test_only_the_first_records_fix_the_encoder() -> None:
    values = np.arange(2 * (ENCODER_RECORDS + 5)).reshape(-1, 2)
    changed = values.copy()
    changed[ENCODER_RECORDS:] = MAXIMUM_VALUE
    assert derive(values) == derive(changed)
    changed[ENCODER_RECORDS - 1] += 1
    assert derive(values) != derive(changed)


def test_extreme_columns_stay_within_the_range() -> None:
    extremes = np.array([[MAXIMUM_VALUE], [-MAXIMUM_VALUE]] * 128)
    assert np.abs(encode(derive(extremes), extremes)).tolist() == [[4096, 4096]] * 256
    lonely = np.array([[MAXIMUM_VALUE]] + [[-MAXIMUM_VALUE]] * 255)
    assert encode(derive(lonely), lonely)[0].tolist() == [32767, 4096]


def test_one_record_makes_an_encoder_that_keeps_only_the_bias() -> None:
    values = np.array([[5, -7]])
    assert encode(derive(values), np.array([[9, 9]])).tolist() == [[0, 0, 4096]]


def test_records_and_queries_are_read_as_their_plain_form(make_schema: MakeSchema) -> None:
    schema = make_schema(2, 3)
    labels, values = read_records(schema, [encode_record(schema, 2, [1, -2]), encode_record(schema, 0, [3, 4])])
    assert (labels.tolist(), values.tolist()) == ([2, 0], [[1, -2], [3, 4]])
    assert read_queries(schema, [encode_query(schema, [1, -2])]).tolist() == [[1, -2]]


def test_first_wrong_record_is_named(make_schema: MakeSchema) -> None:
    schema = make_schema(2, 3)
    good = encode_record(schema, 2, [1, -2])
    wrong_label = b"\0\3" + good[2:]
    wrong_value = good[:10] + bytes.fromhex("8000000000000000")
    for blobs, reason in (
        ([good, wrong_label, wrong_value], Reason.LABEL_OUT_OF_RANGE),
        ([good, wrong_value, wrong_label], Reason.VALUE_OUT_OF_RANGE),
        ([good, good + b"\0", wrong_label], Reason.RECORD_WRONG_SIZE),
    ):
        with pytest.raises(AttributionError) as caught:
            read_records(schema, blobs)
        assert caught.value.reason is reason


def test_wrong_query_is_refused(make_schema: MakeSchema) -> None:
    schema = make_schema(2, 3)
    for blob, reason in ((bytes(15), Reason.QUERY_WRONG_SIZE), (b"\x7f" * 16, Reason.VALUE_OUT_OF_RANGE)):
        with pytest.raises(AttributionError) as caught:
            read_queries(schema, [encode_query(schema, [1, 2]), blob])
        assert caught.value.reason is reason
