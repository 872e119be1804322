"""The story in numbers: four honest clinics and one with every label flipped, paid by the rule of the economy.

Breast-cancer data of Wisconsin, λ = 0.1, 350 training records in five equal parts, 100 holdout points, 119 questions.
The payout is the rule without its clip, every record its own cluster: gate, threshold 50, top 16, W = Σe + 200.
"""

import numpy as np
import pytest

from attribution.head.attribute import compute, prepare
from attribution.head.request import AttributeRequest, CertifyRequest, GateRequest

POOL_UNITS = 10**9
THETA = 50
TOP_CLUSTERS = 16
SIGMA = 200
FLIPPED = 4


def pay(influences: tuple[int, ...], is_in: list[bool]) -> dict[int, int]:
    """Units that each record gets for one question; elder records stand first."""
    scores = [(-score, i) for i, score in enumerate(influences) if is_in[i] and score >= THETA]
    paid = [(i, -negative) for negative, i in sorted(scores)[:TOP_CLUSTERS]]
    weight = sum(score for _, score in paid) + SIGMA
    return {i: POOL_UNITS * score // weight for i, score in paid}


def payout(answers, is_in: list[bool], clinics: np.ndarray) -> list[int]:
    """Units of each clinic over all questions."""
    earned = [0] * 5
    for answer in answers:
        for record, units in pay(answer.values(), is_in).items():
            earned[clinics[record]] += units
    return earned


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_clinic_that_flips_its_labels_earns_next_to_nothing(seed: int, make_clinics) -> None:
    print(f"seed {seed}")
    case, clinics, holdout, questions, truth = make_clinics(seed)
    prepared = prepare(case.model, case.shelf.materials)
    compute(CertifyRequest(model=case.model), case.shelf.materials)
    gate = compute(GateRequest(model=case.model, holdout=holdout), case.shelf.materials, prepared)
    request = AttributeRequest(model=case.model, queries=case.put_queries(questions))
    answers = compute(request, case.shelf.materials, prepared).answers
    right = np.array([a.values() for a, y in zip(answers, truth, strict=True) if a.label == y])
    means = [float(right[:, clinics == clinic].mean()) for clinic in range(5)]
    everyone, gated = [True] * len(clinics), [score >= 0 for score in gate.scores]
    earned, ungated = payout(answers, gated, clinics), payout(answers, everyone, clinics)
    print(f"accuracy on the holdout {gate.correct}/100, of the largest class {gate.baseline}/100")
    print("clinic   mean relative influence   records through the gate   share   share without the gate")
    for clinic in range(5):
        through = sum(is_in for is_in, member in zip(gated, clinics, strict=True) if member == clinic)
        name = "flipped" if clinic == FLIPPED else f"honest {clinic + 1}"
        shares = f"{earned[clinic] / sum(earned):24.4f} {ungated[clinic] / sum(ungated):12.4f}"
        print(f"{name:10s} {means[clinic]:+18.1f} {through:18d}/70 {shares}")
    honest = sum(earned[:FLIPPED]) / 4
    print(f"flipped against honest, per record: {earned[FLIPPED] / honest:.4f}")
    assert gate.is_gate_on
    assert gate.correct > gate.baseline + 20
    assert means[FLIPPED] < 0 < min(means[:FLIPPED])
    assert earned[FLIPPED] * 10 <= honest
    assert min(earned[:FLIPPED]) >= 0.18 * sum(earned)
