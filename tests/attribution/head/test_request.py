import hashlib
from dataclasses import replace

import pytest

from attribution.content import content_hash
from attribution.errors import AttributionError, Reason
from attribution.head.request import (
    MAXIMUM_DAMPING,
    MAXIMUM_HOLDOUT,
    MAXIMUM_QUERIES,
    MAXIMUM_RECORDS,
    MINIMUM_DAMPING,
    Answer,
    AttributeRequest,
    AttributeResult,
    Certificate,
    CertifyRequest,
    GateRequest,
    GateResult,
    Model,
    Problem,
)
from attribution.record import Column, TabularSchema


def make_columns(count: int) -> tuple[Column, ...]:
    return tuple(Column(name=f"c{i}", decimals=0, minimum=0, maximum=1) for i in range(count))


SCHEMA = TabularSchema(columns=make_columns(4), classes=2)
PROBLEM = Problem(engine="head/1", schema=SCHEMA, damping=1 << 17, records=(b"\1" * 32, b"\2" * 32, b"\3" * 32))
MODEL = Model(problem=PROBLEM, weights=b"\4" * 32, inverse=b"\5" * 32)
CERTIFY = CertifyRequest(model=MODEL)
GATE = GateRequest(model=MODEL, holdout=(b"\6" * 32, b"\7" * 32))
ATTRIBUTE = AttributeRequest(model=MODEL, queries=(b"\6" * 32, b"\7" * 32))


def test_request_ids_are_hashes_of_the_documented_bytes() -> None:
    problem = b"\6head/1" + SCHEMA.id() + (1 << 17).to_bytes(4, "big") + bytes([0, 0, 0, 3])
    problem += b"\1" * 32 + b"\2" * 32 + b"\3" * 32
    model = problem + b"\4" * 32 + b"\5" * 32
    questions = bytes([0, 0, 0, 2]) + b"\6" * 32 + b"\7" * 32
    assert CERTIFY.request_id() == hashlib.sha256(b"openledger/certify-request/1" + model).digest()
    assert GATE.request_id() == hashlib.sha256(b"openledger/gate-request/1" + model + questions).digest()
    assert ATTRIBUTE.request_id() == hashlib.sha256(b"openledger/attribute-request/1" + model + questions).digest()


def test_request_id_depends_on_every_part_and_on_order() -> None:
    problems = [
        PROBLEM,
        replace(PROBLEM, damping=PROBLEM.damping + 1),
        replace(PROBLEM, records=PROBLEM.records[::-1]),
        replace(PROBLEM, records=PROBLEM.records[:2]),
        replace(PROBLEM, schema=replace(SCHEMA, classes=3)),
    ]
    models = [replace(MODEL, problem=problem) for problem in problems]
    models += [replace(MODEL, weights=b"\0" * 32), replace(MODEL, inverse=b"\0" * 32)]
    ids = {CertifyRequest(model=model).request_id() for model in models}
    ids |= {replace(ATTRIBUTE, model=model).request_id() for model in models}
    ids |= {replace(ATTRIBUTE, queries=ATTRIBUTE.queries[::-1]).request_id(), GATE.request_id()}
    assert len(ids) == 2 * len(models) + 2


def test_materials_are_the_model_then_the_questions() -> None:
    model = (b"\4" * 32, b"\5" * 32, *PROBLEM.records)
    assert CERTIFY.material_hashes() == model
    assert GATE.material_hashes() == ATTRIBUTE.material_hashes() == (*model, b"\6" * 32, b"\7" * 32)


def test_work_is_known_before_it_is_done() -> None:
    n, u, m = 3, 10, 2
    assert CERTIFY.multiply_accumulates() == 2 * n * u + n * u**2 + u**3
    assert ATTRIBUTE.multiply_accumulates() == n * (u + u**2) + m * (u + u**2 + n * u)
    assert GATE.multiply_accumulates() == ATTRIBUTE.multiply_accumulates()


def test_sizes_of_weights_and_inverse_follow_from_the_problem() -> None:
    assert (PROBLEM.weights_size_bytes, PROBLEM.inverse_size_bytes) == (80, 5 * 55)
    largest = replace(PROBLEM, schema=TabularSchema(columns=make_columns(511), classes=10))
    assert largest.unknowns == 5120
    assert largest.inverse_size_bytes < 64 << 20


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        ({"engine": "head/2"}, Reason.ENGINE_UNKNOWN, "'head/2', not head/1"),
        ({"damping": MINIMUM_DAMPING - 1}, Reason.DAMPING_OUT_OF_RANGE, "1023 is not in 1024 to 4194304"),
        ({"damping": MAXIMUM_DAMPING + 1}, Reason.DAMPING_OUT_OF_RANGE, "4194305 is not in 1024 to 4194304"),
        ({"damping": 2048.0}, Reason.DAMPING_OUT_OF_RANGE, "2048.0 is not in 1024 to 4194304"),
        (
            {"schema": TabularSchema(columns=make_columns(511), classes=11)},
            Reason.TOO_MANY_UNKNOWNS,
            "5632, at most 5120",
        ),
        ({"records": ()}, Reason.NO_RECORDS, ""),
        ({"records": (b"\0" * 32,) * (MAXIMUM_RECORDS + 1)}, Reason.TOO_MANY_RECORDS, "262145, at most 262144"),
        ({"records": (b"\0" * 31,)}, Reason.HASH_MALFORMED, ""),
    ],
)
def test_wrong_problem_is_refused(change: dict[str, object], reason: Reason, detail: str) -> None:
    with pytest.raises(AttributionError) as caught:
        replace(PROBLEM, **change)  # type: ignore[arg-type]
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


def test_wrong_questions_are_refused() -> None:
    for maximum, make in (
        (MAXIMUM_HOLDOUT, lambda names: GateRequest(model=MODEL, holdout=names)),
        (MAXIMUM_QUERIES, lambda names: AttributeRequest(model=MODEL, queries=names)),
    ):
        make((b"\0" * 32,) * maximum)
        for names, reason in (
            ((), Reason.NO_QUESTIONS),
            ((b"\0" * 32,) * (maximum + 1), Reason.TOO_MANY_QUESTIONS),
            ((b"\0" * 33,), Reason.HASH_MALFORMED),
        ):
            with pytest.raises(AttributionError) as caught:
                make(names)
            assert caught.value.reason is reason


def test_hashes_of_weights_and_inverse_are_checked() -> None:
    with pytest.raises(AttributionError) as caught:
        replace(MODEL, inverse=b"short")
    assert caught.value.reason is Reason.HASH_MALFORMED


def test_results_have_canonical_bytes() -> None:
    certificate = Certificate(record_count=3, gradient_norm=5, inverse_residual=7)
    assert certificate.encode().hex() == "00000003" + "0000000000000005" + "0000000000000007"
    gate = GateResult(correct=1, baseline=2, class_counts=(2, 0), scores=(-1, 9), is_gate_on=True)
    assert gate.encode().hex() == (
        "00000001" + "00000002" + "00000002" + "0000000200000000" + "00000002" + "ffffffff00000009" + "01"
    )
    answer = Answer(label=1, influences=bytes.fromhex("fc1803e8"))
    assert answer.values() == (-1000, 1000)
    assert AttributeResult(answers=(answer,)).encode().hex() == "00000001" + "0001" + "00000002" + "fc1803e8"


def test_influence_vector_has_a_commitment() -> None:
    answer = Answer(label=1, influences=bytes.fromhex("fc1803e8"))
    expected = hashlib.sha256(b"openledger/influences/1" + bytes.fromhex("000100000002fc1803e8")).digest()
    assert answer.influences_hash() == expected


def test_content_is_named_by_sha256() -> None:
    assert content_hash(b"") == hashlib.sha256(b"").digest()
