"""The command's gates hold on its quick parts, and each is red without the rule that it is there for."""

import numpy as np
import pytest

from tests.attribution.bench.attacks import measure_attacks, measure_clinics
from tests.attribution.bench.fidelity import area_under_curve, measure_mislabelled, measure_scores, score_gates
from tests.attribution.bench.report import Gate, Report, table_lines
from tests.attribution.bench.run import measure

SEED = 1
DAMPING = 0.1


@pytest.fixture(autouse=True)
def printed_seed() -> None:
    print(f"seed {SEED}")


def missed(report: Report) -> str:
    return "; ".join(gate.name for gate in report.missed)


@pytest.mark.slow
def test_the_quick_gates_are_met() -> None:
    report = measure(("left-out", "attacks"), quick=True, seed=SEED, decay=DAMPING, threads=1, without=())
    measure_mislabelled(report, SEED, DAMPING, ("digits",))
    assert report.gates
    assert missed(report) == ""
    left_out = [row for title, rows in report.tables.items() if title.startswith("Leaving") for row in rows]
    assert min(row["correlation"] for row in left_out) > 0.99


@pytest.mark.slow
def test_head_predicts_retraining_on_every_small_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.attribution.bench.fidelity.PEERS", {})
    report = Report(settings={})
    measure_scores(report, SEED, DAMPING, 40, 30, ("wine", "breast-cancer", "text"))
    assert min(row["LDS"] for rows in report.tables.values() for row in rows) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["clusters", "seniority"])
def test_copies_earn_without(rule: str) -> None:
    report = Report(settings={})
    measure_attacks(report, SEED, DAMPING, "breast-cancer", (rule,))
    assert "copy of the best paid, per record" in missed(report)
    assert "dilution" in missed(report)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "gate"), [("gate", "flipped clinic"), ("relative", "flipped clinic"), ("balance", "minority")]
)
def test_clinics_are_paid_wrongly_without(rule: str, gate: str) -> None:
    report = Report(settings={})
    measure_clinics(report, SEED, DAMPING, 7, (rule,))
    assert gate in missed(report)


@pytest.mark.slow
def test_known_questions_and_fragments_earn_without_the_clip_and_the_minimum_length() -> None:
    report = Report(settings={})
    measure_attacks(report, SEED, DAMPING, "text", ("clip", "length"))
    assert "questions known before" in missed(report)
    assert "split gains" in missed(report)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(Exception, match="no rule is called dance; there are gate, threshold"):
        measure((), quick=True, seed=SEED, decay=DAMPING, threads=1, without=("dance",))


def test_a_slower_or_worse_engine_misses_its_gate() -> None:
    peers = {"good": (0.96, 0.0, 1.0), "quick and bad": (0.5, 0.0, 0.001)}
    found = [gate.is_met for gate in score_gates("digits", {"head/1": (0.955, 0.0, 2.0), **peers})]
    assert found == [True, False, False]
    assert all(gate.is_met for gate in score_gates("digits", {"head/1": (0.96, 0.0, 0.5), **peers}))


def test_a_missed_gate_is_said_in_red() -> None:
    assert "MISSED" in Gate("a", 2.0, 1.0, is_least=False).line()
    assert "\x1b[31m" in Gate("a", 2.0, 1.0, is_least=False).line()
    assert Gate("a", 1.0, 1.0, is_least=False).line() == "met    a: 1 <= 1"


def test_area_under_the_curve_counts_ties_half() -> None:
    assert area_under_curve([3, 1, 2, 2], np.array([True, False, True, False])) == 0.875


def test_a_table_is_aligned() -> None:
    assert table_lines([{"name": "a", "value": 1.5}, {"name": "bc", "value": None}]) == [
        "name   value",
        "a     1.5000",
        "bc         -",
    ]
