"""Attacks on the payout: the model is trained again on each attacked pool, and every question is paid by the real rule.

Records stand in order of admission: whoever attacks comes after the honest. A record of N honest ones earns one Nth of
what they earn together; `per record` is what an attacker's record earns in those units, `honest share` their part of
the money that was paid, `honest keep` what they earn against what they earned before, `of original` what a near-copy
earns against the record that it was made of.

The real novelty of a near-copy is the part of its features that its original does not explain: sqrt(1 - c²), c their
similarity; 0 of a copy, 1 of an unrelated record.
"""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attribution.content import content_hash
from attribution.exact import Int64
from attribution.head.attribute import Prepared, compute, relative_influences
from attribution.head.encoder import derive, encode
from attribution.head.request import GateRequest
from attribution.record import encode_record
from tests.attribution.bench.data import TEXT_CLASSES, TEXT_SEED, Data, embed, load, make_documents
from tests.attribution.bench.payout import (
    SIMILAR,
    THETA,
    cluster_scores,
    leaders_of,
    lower_median,
    pay,
    ramp_of,
    similarities,
)
from tests.attribution.bench.pool import Pool, encode_questions, raw_influences, train
from tests.attribution.bench.report import Gate, Report

QUESTION_UNITS = 10**9
"""The contributors' part of one question's fee."""
OWNERS = 10
"""Honest contributors; an attacker brings as many records as one of them."""
LADDER = (0.01, 0.03, 0.1, 0.2, 0.28, 0.5)
"""Noise of near-copies in standard deviations of each column."""
INFLATION = (2, 4, 8)
HONEST_LEAST = 0.95
INFLATION_MOST = 2.0
KNOWN_MOST = 1.5
"""Who contributes the very questions that will be asked has answered them: worth paying, not without a bound."""
FLIPPED_MOST = 0.1
BLOCKED_MOST = 0.15
CLINICS = 5


@dataclass(frozen=True)
class Market:
    """A datanet, its holdout, and the questions that are asked; the first ones are the clip's history."""

    data: Data
    decay: float
    without: Collection[str]
    chosen: Int64
    """Which rows of the data the honest contributed."""
    values: Int64
    labels: Int64
    holdout: tuple[Int64, Int64]
    history: Int64
    asked: Int64


@dataclass(frozen=True)
class Settled:
    """What each record of a pool earned over all questions."""

    earned: list[int]
    blocked: frozenset[int]
    accuracy: float
    pool: Pool = field(repr=False)

    def total(self, records: slice) -> int:
        return sum(self.earned[records])


def make_market(name: str, seed: int, decay: float, without: Collection[str]) -> Market:
    """Half of the data is contributed, a quarter is the holdout, a quarter is asked."""
    data = load(name)
    chosen, rest = data.split(seed, min(600, len(data.labels) * 53 // 100), 600)
    held = max(len(rest) * 6 // 10, 30 * data.schema.classes)
    history = held + (len(rest) - held) // 3
    return Market(
        data=data,
        decay=decay,
        without=without,
        chosen=chosen,
        values=data.values[chosen],
        labels=data.labels[chosen],
        holdout=(data.values[rest[:held]], data.labels[rest[:held]]),
        history=data.values[rest[held:history]],
        asked=data.values[rest[history:]],
    )


def settle(market: Market, values: Int64, labels: Int64, *, has_ramp: bool = False) -> Settled:
    """Trains on the pool, measures the gate, and pays every question."""
    pool = train(market.data.schema, values, labels, market.decay)
    prepared = pool.prepare()
    blocked, accuracy = measure_gate(market, pool, prepared)
    leaders = leaders_of(pool.features, pool.labels)
    ramp = ramp_of(pool.features, pool.labels, len(market.labels)) if has_ramp else None

    def influences_on(questions: Int64) -> list[list[int]]:
        if "relative" in market.without:
            raw = raw_influences(pool, prepared, questions)
            return np.rint(1000 * raw / np.abs(raw).max(axis=0)).astype(np.int64).T.tolist()
        asked, scores, answers = encode_questions(prepared, questions)
        return relative_influences(prepared, asked, scores, answers).T.tolist()

    past = [cluster_scores(each, leaders, blocked, market.without) for each in influences_on(market.history)]
    reference = lower_median([score for scores in past for score in scores])
    earned = [0] * len(labels)
    for each in influences_on(market.asked):
        options = {"reference": reference, "without": market.without, "ramp": ramp}
        for payment in pay(each, leaders, blocked, QUESTION_UNITS, **options):  # type: ignore[arg-type]
            earned[payment.record] += payment.amount_units
    return Settled(earned=earned, blocked=blocked, accuracy=accuracy, pool=pool)


def measure_gate(market: Market, pool: Pool, prepared: Prepared) -> tuple[frozenset[int], float]:
    """Records that the holdout gate refuses, and the accuracy there."""
    held = zip(market.holdout[1].tolist(), market.holdout[0].tolist(), strict=True)
    blobs = [encode_record(market.data.schema, y, row) for y, row in held]
    request = GateRequest(model=pool.model, holdout=tuple(content_hash(blob) for blob in blobs))
    gate = compute(request, pool.materials | {content_hash(blob): blob for blob in blobs}, prepared)
    quality = gate.scores
    if "balance" in market.without:
        asked, scores, _ = encode_questions(prepared, market.holdout[0])
        quality = relative_influences(prepared, asked, scores, market.holdout[1]).sum(axis=1).tolist()
    blocked = frozenset(i for i, score in enumerate(quality) if score < 0 and gate.is_gate_on)
    return blocked, gate.correct / len(blobs)


def measure_attacks(report: Report, seed: int, decay: float, name: str, without: Collection[str]) -> None:
    """Every attack on one datanet."""
    market = make_market(name, seed, decay, without)
    rng = np.random.default_rng(seed)
    honest = len(market.labels)
    before = settle(market, market.values, market.labels)
    rows: list[dict[str, Any]] = []
    gates: list[Gate] = []

    def attack(title: str, values: Int64, labels: Int64, *, has_ramp: bool = False) -> dict[str, Any]:
        """Juniors join the honest."""
        after = settle(
            market, np.vstack([market.values, values]), np.concatenate([market.labels, labels]), has_ramp=has_ramp
        )
        rows.append(row_of(title, before, after, honest))
        rows[-1]["of original"] = after.total(slice(honest, None)) / sum(after.earned[i] for i in best)
        return rows[-1]

    def require(attacked: dict[str, Any], key: str, bound: float, is_least: bool) -> None:
        gates.append(Gate(f"{name}: {attacked['attack']}, {key}", attacked[key], bound, is_least))

    best = sorted(range(honest), key=lambda i: (-before.earned[i], i))[: honest // OWNERS]
    stolen, stolen_labels = market.values[best], market.labels[best]

    copied = attack("copy of the best paid", stolen, stolen_labels)
    require(copied, "per record", 0.0, is_least=False)
    require(copied, "honest share", HONEST_LEAST, is_least=True)
    for noise in LADDER:
        near = add_noise(rng, market, stolen, noise)
        made = attack(f"near-copy, noise {noise:g}", near, stolen_labels)
        likeness = likeness_of(market, near, best)
        made["likeness"], made["novelty"] = likeness, (1 - (likeness / 1000) ** 2) ** 0.5
        if likeness >= SIMILAR:
            require(made, "of original", made["novelty"], is_least=False)
            require(made, "honest share", HONEST_LEAST, is_least=True)
    noisy = add_noise(rng, market, stolen, 0.28)
    attack("noise 0.28, with the ramp", noisy, stolen_labels, has_ramp=True)
    pairs = [same_label_pair(rng, market.labels) for _ in range(honest // OWNERS)]
    middles = np.array([(market.values[a] + market.values[b]) // 2 for a, b in pairs])
    middle_labels = market.labels[[a for a, _ in pairs]]
    attack("midpoints", middles, middle_labels)
    attack("midpoints, with the ramp", middles, middle_labels, has_ramp=True)
    many = [same_label_pair(rng, market.labels)[0] for _ in range(honest)]
    diluted = add_noise(rng, market, market.values[many], 0.03)
    dilution = attack("dilution: as many again", diluted, market.labels[many])
    require(dilution, "honest share", HONEST_LEAST, is_least=True)
    own = rng.choice(honest, honest // OWNERS, replace=False)
    for factor in INFLATION:
        inflated = attack(f"inflation by {factor}", inflate(market, market.values[own], factor), market.labels[own])
        require(inflated, "per record", INFLATION_MOST, is_least=False)
    known = rng.choice(len(market.asked), honest // OWNERS)
    answers = encode_questions(before.pool.prepare(), market.asked[known])[2]
    require(attack("questions known before", market.asked[known], answers), "per record", KNOWN_MOST, is_least=False)
    random_values = np.array([rng.permutation(column)[: honest // OWNERS] for column in market.values.T]).T
    random_labels = rng.integers(0, market.data.schema.classes, len(random_values))
    require(attack("random noise", random_values, random_labels), "honest share", HONEST_LEAST, is_least=True)
    flipped = (market.labels[own] + 1) % market.data.schema.classes
    false = add_noise(rng, market, market.values[own], 0.5)
    require(attack("false labels", false, flipped), "honest share", HONEST_LEAST, is_least=True)
    if name == "text":
        stuffed, topics = stuff(seed, honest // OWNERS)
        require(attack("keyword stuffing", stuffed, topics), "per record", INFLATION_MOST, is_least=False)
    for row in rows:
        row.setdefault("likeness", None)
        row.setdefault("novelty", None)
        if not row["attack"].startswith(("copy", "near-copy", "noise 0.28")):
            row["of original"] = None
    title = f"Attacks on {name}: {honest} honest records, accuracy {before.accuracy:.2f}, seed {seed}"
    report.add(title, rows, gates)
    report.add(f"An owner of {name} rearranges its own records", *rearranged(market, before))


def row_of(title: str, before: Settled, after: Settled, honest: int) -> dict[str, Any]:
    """One line of the table."""
    kept, taken = after.total(slice(honest)), after.total(slice(honest, None))
    count = len(after.earned) - honest
    return {
        "attack": title,
        "records": count,
        "per record": taken * honest / (count * kept),
        "honest share": kept / (kept + taken),
        "honest keep": kept / before.total(slice(honest)),
        "blocked": sum(1 for record in after.blocked if record >= honest) / count,
        "honest blocked": sum(1 for record in after.blocked if record < honest) / honest,
        "accuracy": after.accuracy,
    }


def rearranged(market: Market, before: Settled) -> tuple[list[dict[str, Any]], list[Gate]]:
    """An honest owner splits its records, or writes them under other names."""
    own = list(range(0, len(market.labels), OWNERS))
    earned = sum(before.earned[i] for i in own)
    # Nothing that is paid on holds a name: the same records under ten names are the same pool.
    again = settle(market, market.values, market.labels)
    renamed = sum(sum(again.earned[i] for i in own[name::OWNERS]) for name in range(OWNERS)) / earned - 1
    left, right = halves_of(market, own)
    values = market.values.copy()
    values[own] = left
    parts = settle(market, np.vstack([values, right]), np.concatenate([market.labels, market.labels[own]]))
    admitted = (sum(parts.earned[i] for i in own) + parts.total(slice(len(market.labels), None))) / earned - 1
    # A half of a table's row is filled up and admitted; a half of a text is refused by the datanet's minimum length.
    is_refused = market.data.name == "text" and "length" not in market.without
    split = -1.0 if is_refused else admitted
    rows = [
        {"what": "the same records under ten names", "records": len(own), "gain": renamed},
        {"what": "each record split in two halves", "records": 2 * len(own), "gain": split},
        {"what": "the halves, where nothing is refused", "records": 2 * len(own), "gain": admitted},
    ]
    name = market.data.name
    gates = [
        Gate(f"{name}: identities gain", abs(renamed), 0.0, is_least=False),
        Gate(f"{name}: split gains", split, 0.0, is_least=False),
    ]
    return rows, gates


def halves_of(market: Market, own: list[int]) -> tuple[Int64, Int64]:
    """Each record as two: half of a text's words each, else half of the columns with the rest at their means."""
    if market.data.name == "text":
        documents, _ = make_documents(TEXT_SEED, len(market.data.labels))
        mine = [documents[int(market.chosen[i])] for i in own]
        cut = [(words[: len(words) // 2], words[len(words) // 2 :]) for words in mine]
        return np.array([embed(a) for a, _ in cut]), np.array([embed(b) for _, b in cut])
    half = market.values.shape[1] // 2
    means = market.values.mean(axis=0).round().astype(np.int64)
    left, right = market.values[own].copy(), market.values[own].copy()
    left[:, half:], right[:, :half] = means[half:], means[:half]
    return left, right


def measure_dust(report: Report, without: Collection[str]) -> None:
    """A question that three records answer, and fifteen that have next to nothing to do with it: made-up influences."""
    influences = [400, 300, 200, *[THETA - 1] * 15]
    payments = pay(influences, range(len(influences)), (), QUESTION_UNITS, without=without)
    paid = sum(payment.amount_units for payment in payments)
    share = sum(payment.amount_units for payment in payments if payment.record < 3) / paid
    rows = [{"attack": "dust on a question that few answer", "records": 15, "honest share": share}]
    report.add("Dust", rows, [Gate("dust: honest share", share, HONEST_LEAST, is_least=True)])


def measure_clinics(report: Report, seed: int, decay: float, seeds: int, without: Collection[str]) -> None:
    """Five equal clinics, one with every label flipped; and how many honest records of each class the gate refuses."""
    rows, gates = [], []
    for each in range(seed, seed + seeds):
        market = make_market("breast-cancer", each, decay, without)
        is_false = np.arange(len(market.labels)) % CLINICS == CLINICS - 1
        labels = np.where(is_false, 1 - market.labels, market.labels)
        after = settle(market, market.values, labels)
        earned = np.array(after.earned, dtype=np.float64)
        per_record = float(earned[is_false].mean() / earned[~is_false].mean())
        blocked = np.isin(np.arange(len(labels)), list(after.blocked))
        minority = int(np.bincount(market.labels).argmin())
        lost = float(blocked[~is_false & (market.labels == minority)].mean())
        rows.append(
            {
                "seed": each,
                "flipped, per record": per_record,
                "flipped blocked": float(blocked[is_false].mean()),
                "minority blocked": lost,
                "accuracy": after.accuracy,
            }
        )
    worst = max(row["flipped, per record"] for row in rows)
    gates.append(Gate(f"a flipped clinic's record, worst of {seeds} seeds", worst, FLIPPED_MOST, is_least=False))
    lost = max(row["minority blocked"] for row in rows)
    gates.append(
        Gate(f"minority's records that the gate refuses, worst of {seeds}", lost, BLOCKED_MOST, is_least=False)
    )
    report.add("Five clinics on breast-cancer, one with all labels flipped", rows, gates)


def add_noise(rng: np.random.Generator, market: Market, values: Int64, deviations: float) -> Int64:
    """Each column moved at random, and held inside its bounds."""
    moved = values + rng.normal(size=values.shape) * market.values.std(axis=0) * deviations
    return within(market, moved)


def inflate(market: Market, values: Int64, factor: int) -> Int64:
    """Further from the mean."""
    means = market.values.mean(axis=0)
    return within(market, means + (values - means) * factor)


def within(market: Market, values: np.ndarray) -> Int64:
    columns = market.data.schema.columns
    bounds = [np.array([getattr(column, side) for column in columns]) for side in ("minimum", "maximum")]
    return np.clip(np.rint(values), bounds[0], bounds[1]).astype(np.int64)


def same_label_pair(rng: np.random.Generator, labels: Int64) -> tuple[int, int]:
    first = int(rng.integers(len(labels)))
    return first, int(rng.choice(np.flatnonzero(labels == labels[first])))


def likeness_of(market: Market, values: Int64, originals: list[int]) -> int:
    """Mean similarity of near-copies to what they were made of, in thousandths, on the encoder of the honest pool."""
    everything = np.vstack([market.values, values])
    found = similarities(encode(derive(everything), everything)[:, :-1])
    pairs = zip(range(len(market.values), len(found)), originals, strict=True)
    return int(np.mean([found[copy, original] for copy, original in pairs]))


def stuff(seed: int, count: int) -> tuple[Int64, Int64]:
    """Documents of their topic's commonest words alone, over and over."""
    rng = random.Random(seed)
    topics = [rng.randrange(TEXT_CLASSES) for _ in range(count)]
    rows = [embed([f"t{topic}.{rng.randrange(8)}" for _ in range(40)]) for topic in topics]
    return np.array(rows, dtype=np.int64), np.array(topics, dtype=np.int64)


PLUGINS: dict[str, Callable[[Report], None]] = {}
"""Attacks on other engines, by name: boilerplate squatting belongs to the engine of spans."""
