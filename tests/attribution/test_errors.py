import pickle

import pytest

from attribution.errors import AttributionError, Reason


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_has_one_sentence(reason: Reason) -> None:
    assert reason.value == reason.name.lower()
    assert reason.sentence.endswith(".")
    assert reason.sentence.count(".") == 1
    assert Reason(reason.value) is reason


def test_error_survives_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(AttributionError(Reason.NO_RECORDS, "none at all")))
    assert (error.reason, error.detail) == (Reason.NO_RECORDS, "none at all")
    assert str(error) == "no_records: The snapshot holds no records. (none at all)"


def test_message_without_detail_is_code_and_sentence() -> None:
    assert str(AttributionError(Reason.NO_QUESTIONS)) == "no_questions: The request asks nothing."
