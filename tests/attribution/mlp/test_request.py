import hashlib
from dataclasses import replace

import pytest

from attribution.errors import AttributionError, Reason
from attribution.mlp.request import (
    MAXIMUM_CHECKPOINTS,
    MAXIMUM_QUERIES,
    MAXIMUM_RECORDS,
    MAXIMUM_UNKNOWNS,
    Checkpoint,
    MlpAttributeRequest,
    MlpCertificate,
    MlpCertifyRequest,
    MlpModel,
    MlpProblem,
    gradient_work,
)
from tests.attribution.mlp.builders import make_schema

SCHEMA = make_schema(20, 3)
PROBLEM = MlpProblem(engine="mlp/1", schema=SCHEMA, widths=(18, 5), records=(b"\1" * 32, b"\2" * 32))
CHECKPOINT = Checkpoint(weights=b"\4" * 32, inverse=b"\5" * 32, scale=17)
OTHER = Checkpoint(weights=b"\6" * 32, inverse=b"\7" * 32, scale=18)
MODEL = MlpModel(problem=PROBLEM, checkpoints=(CHECKPOINT, OTHER))
CERTIFY = MlpCertifyRequest(model=MODEL)
ATTRIBUTE = MlpAttributeRequest(model=MODEL, queries=(b"\x08" * 32, b"\x09" * 32))


def test_request_ids_are_hashes_of_the_documented_bytes() -> None:
    problem = b"\5mlp/1" + SCHEMA.id() + bytes([2, 0, 18, 0, 5]) + bytes([0, 0, 0, 2]) + b"\1" * 32 + b"\2" * 32
    model = problem + bytes([2]) + b"\4" * 32 + b"\5" * 32 + bytes([17]) + b"\6" * 32 + b"\7" * 32 + bytes([18])
    questions = bytes([0, 0, 0, 2]) + b"\x08" * 32 + b"\x09" * 32
    assert CERTIFY.request_id() == hashlib.sha256(b"openledger/mlp-certify-request/1" + model).digest()
    assert ATTRIBUTE.request_id() == hashlib.sha256(b"openledger/mlp-attribute-request/1" + model + questions).digest()


def test_request_id_depends_on_every_part_and_on_order() -> None:
    problems = [
        PROBLEM,
        replace(PROBLEM, widths=(5, 18)),
        replace(PROBLEM, widths=(18,)),
        replace(PROBLEM, records=PROBLEM.records[::-1]),
        replace(PROBLEM, schema=make_schema(20, 4)),
    ]
    models = [replace(MODEL, problem=problem) for problem in problems]
    models += [replace(MODEL, checkpoints=checkpoints) for checkpoints in ((OTHER, CHECKPOINT), (CHECKPOINT,))]
    models += [replace(MODEL, checkpoints=(replace(CHECKPOINT, scale=16), OTHER))]
    ids = {MlpCertifyRequest(model=model).request_id() for model in models}
    ids |= {replace(ATTRIBUTE, model=model).request_id() for model in models}
    ids |= {replace(ATTRIBUTE, queries=ATTRIBUTE.queries[::-1]).request_id()}
    assert len(ids) == 2 * len(models) + 1


def test_materials_are_the_checkpoints_the_records_and_the_questions() -> None:
    model = (b"\4" * 32, b"\5" * 32, b"\6" * 32, b"\7" * 32, *PROBLEM.records)
    assert CERTIFY.material_hashes() == model
    assert ATTRIBUTE.material_hashes() == (*model, *ATTRIBUTE.queries)


def test_sizes_follow_from_the_problem() -> None:
    assert PROBLEM.layers == ((18, 21), (5, 19), (3, 6))
    assert PROBLEM.projected_layers == ((16, 16), (5, 16), (3, 6))
    assert (PROBLEM.parameters, PROBLEM.unknowns) == (378 + 95 + 18, 256 + 80 + 18)
    assert PROBLEM.weights_size_bytes == 4 * 491
    assert PROBLEM.inverse_size_bytes == 8 * 354 * 355 // 2
    assert (
        MlpProblem(engine="mlp/1", schema=make_schema(256, 64), widths=(256, 256), records=PROBLEM.records).unknowns
        == MAXIMUM_UNKNOWNS
        == 768
    )


def test_work_is_known_before_it_is_done() -> None:
    sides = 18 * 16 + 21 * 16 + 5 * 5 + 19 * 16 + 3 * 3 + 6 * 6
    point = 2 * 491 + sides + 354
    assert gradient_work(PROBLEM) == point
    assert CERTIFY.multiply_accumulates() == 2 * (2 * 4 * point + 2 * 3 * 354**2 + 354**3)
    question = point + 354**2 + 2 * 354
    assert ATTRIBUTE.multiply_accumulates() == 2 * (2 * (point + 354**2) + 2 * question)


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        ({"engine": "head/1"}, Reason.ENGINE_UNKNOWN, "'head/1', not mlp/1"),
        ({"widths": ()}, Reason.WIDTHS_OUT_OF_RANGE, "(): 1 to 2 layers"),
        ({"widths": (4, 4, 4)}, Reason.WIDTHS_OUT_OF_RANGE, "(4, 4, 4): 1 to 2 layers"),
        ({"widths": [4]}, Reason.WIDTHS_OUT_OF_RANGE, "[4]: 1 to 2 layers"),
        ({"widths": (0,)}, Reason.WIDTHS_OUT_OF_RANGE, "(0,): 1 to 256 units each"),
        ({"widths": (4, 257)}, Reason.WIDTHS_OUT_OF_RANGE, "(4, 257): 1 to 256 units each"),
        ({"widths": (True,)}, Reason.WIDTHS_OUT_OF_RANGE, "(True,): 1 to 256 units each"),
        ({"widths": (4.0,)}, Reason.WIDTHS_OUT_OF_RANGE, "(4.0,): 1 to 256 units each"),
        ({"records": ()}, Reason.NO_RECORDS, ""),
        ({"records": (b"\0" * 32,) * (MAXIMUM_RECORDS + 1)}, Reason.TOO_MANY_RECORDS, "32769, at most 32768"),
        ({"records": (b"\0" * 31,)}, Reason.HASH_MALFORMED, ""),
    ],
)
def test_wrong_problem_is_refused(change: dict[str, object], reason: Reason, detail: str) -> None:
    with pytest.raises(AttributionError) as caught:
        replace(PROBLEM, **change)
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


@pytest.mark.parametrize("count", [0, MAXIMUM_CHECKPOINTS + 1])
def test_wrong_number_of_checkpoints_is_refused(count: int) -> None:
    replace(MODEL, checkpoints=(CHECKPOINT,) * MAXIMUM_CHECKPOINTS)
    with pytest.raises(AttributionError) as caught:
        replace(MODEL, checkpoints=(CHECKPOINT,) * count)
    assert (caught.value.reason, caught.value.detail) == (Reason.CHECKPOINTS_OUT_OF_RANGE, "1 to 10")


@pytest.mark.parametrize("scale", [0, 63, True, 5.0])
def test_wrong_scale_is_refused(scale: object) -> None:
    with pytest.raises(AttributionError) as caught:
        replace(CHECKPOINT, scale=scale)
    assert (caught.value.reason, caught.value.detail) == (Reason.SCALE_OUT_OF_RANGE, f"{scale} is not in 1 to 62")


def test_names_of_weights_and_inverse_are_checked() -> None:
    with pytest.raises(AttributionError) as caught:
        replace(CHECKPOINT, inverse=b"short")
    assert caught.value.reason is Reason.HASH_MALFORMED


def test_wrong_questions_are_refused() -> None:
    replace(ATTRIBUTE, queries=(b"\0" * 32,) * MAXIMUM_QUERIES)
    for names, reason in (
        ((), Reason.NO_QUESTIONS),
        ((b"\0" * 32,) * (MAXIMUM_QUERIES + 1), Reason.TOO_MANY_QUESTIONS),
        ((b"\0" * 33,), Reason.HASH_MALFORMED),
    ):
        with pytest.raises(AttributionError) as caught:
            replace(ATTRIBUTE, queries=names)
        assert caught.value.reason is reason


def test_certificate_has_canonical_bytes() -> None:
    certificate = MlpCertificate(record_count=3, inverse_residuals=(5, 7))
    assert certificate.encode().hex() == "00000003" + "02" + "0000000000000005" + "0000000000000007"
