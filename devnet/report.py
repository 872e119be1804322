"""What the story came to: the tables, every check with its outcome, and the object for programs.

Everything is read from the nodes' public RPC, and every sum is made here again from the single payments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice

from devnet.data import CLINICS, Split
from devnet.model import Trained, compute_answers
from devnet.stage import Stage
from devnet.story import DUPLICATE, FLIPPED
from devnet.why import replay
from node.api import views, views_chain, views_data
from node.primitives.amount import format_open
from node.primitives.crypto import sha256

EXPECTED_REFUSALS = {
    "certificate for other records": "false_claim",
    "influence one unit off": "false_claim",
    "answer not the model's": "false_claim",
    "block with a false claim": "nullified",
}
FLIPPED_SHARE = 10
"""A flipped record earns at most this part of an honest one."""
REPLAYED = 20
"""Payments that are replayed number by number."""


@dataclass(frozen=True)
class Contributor:
    """One clinic's row."""

    name: str
    role: str
    records: int
    mean_influence: float
    earned: int


@dataclass(frozen=True)
class Check:
    """Something that must hold."""

    what: str
    holds: bool


@dataclass(frozen=True)
class Report:
    """The end of the stage."""

    contributors: tuple[Contributor, ...]
    state_roots: tuple[str, ...]
    height: int
    burned: int
    minted: int
    refused: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def is_good(self) -> bool:
        """Whether every check held."""
        return all(check.holds for check in self.checks)

    def to_json(self) -> dict[str, object]:
        """The object for programs."""
        return {
            "ok": self.is_good,
            "height": self.height,
            "state_roots": list(self.state_roots),
            "burned": self.burned,
            "minted": self.minted,
            "contributors": [asdict(each) for each in self.contributors],
            "refused": list(self.refused),
            "failed_checks": [check.what for check in self.checks if not check.holds],
        }


def make_report(stage: Stage, split: Split, trained: Trained) -> Report:
    """Reads everything back and adds it up."""
    stats = stage.client.get(views.StatsView, "/stats")
    questions = stage.questions(trained.model_id)
    result = compute_answers(split, trained, questions)
    means = _mean_influences(stage, trained, [answer.values() for answer in result.answers])
    contributors = tuple(_contributor(stage, trained, number, means) for number in range(1, CLINICS + 2))
    height, roots = _state_roots(stage)
    refusals = stage.refusals()
    truth = {sha256(patient.query).hex(): patient.label for patient in split.patients}
    right = sum(question.label == truth[question.query] for question in questions)
    commitments = [
        stage.client.get(views_data.AttributionDetail, f"/attributions/{question.id}").attribution.influences_hash
        for question in questions
    ]
    honest = [each for each in contributors if each.role == "honest"]
    flipped = next(each for each in contributors if each.role == "flipped_labels")
    duplicate = next(each for each in contributors if each.role == "duplicate")
    honest_each = sum(each.earned for each in honest) / max(1, sum(each.records for each in honest))
    flipped_each = flipped.earned / max(1, flipped.records)
    flipped_part = flipped_each / max(honest_each, 1)
    checks = (
        Check("every question is answered", all(question.status == "answered" for question in questions)),
        Check(
            f"the model is right for {right} of {len(questions)} patients, more than 9 of 10",
            right * 10 > len(questions) * 9,
        ),
        Check(
            "the influences computed here are the ones the chain committed to",
            commitments == [answer.influences_hash().hex() for answer in result.answers],
        ),
        Check("flipped labels have a negative mean relative influence", flipped.mean_influence < 0),
        Check("honest records have a positive one", all(each.mean_influence > 0 for each in honest)),
        Check(
            f"a flipped record earns at most 1/{FLIPPED_SHARE} of an honest one: {flipped_part:.4f}",
            flipped_each * FLIPPED_SHARE <= honest_each,
        ),
        Check("duplicates earn nothing and their bond is half burned", duplicate.earned == 0 and _is_burned(stage)),
        Check("every clinic's balance is its payments, claims, bonds and fees", _balances_add_up(stage)),
        Check(f"{REPLAYED} payments are replayed from public data alone", _payments_replay(stage)),
        Check("minted is at most what governance allows of what was burned", _is_mint_bounded(stage, stats)),
        Check(
            f"conservation: genesis - burned + minted = supply, and all holdings add up ({stats.conservation.height})",
            stats.conservation.is_ok and _supply_adds_up(stats),
        ),
        Check(f"the state root at height {height} is the same on {len(roots)} nodes", len(set(roots)) == 1),
        *(
            Check(f"refused: {what}", any((each.what, each.reason) == (what, reason) for each in refusals))
            for what, reason in EXPECTED_REFUSALS.items()
        ),
    )
    return Report(
        contributors=contributors,
        state_roots=roots,
        height=height,
        burned=int(stats.burned_units),
        minted=int(stats.minted_units),
        refused=tuple(each.reason for each in refusals),
        checks=checks,
    )


def print_tables(stage: Stage, report: Report, say: Callable[[str], None]) -> None:
    """Who earned what, where every OPEN is, and the state every node agrees on."""
    say("")
    say(
        f"{'contributor':<12} {'role':<15} {'records':>7} {'mean influence':>15} {'earned OPEN':>16} {'per record':>14}"
    )
    for each in report.contributors:
        per_record = format_open(each.earned // each.records) if each.records else "-"
        say(
            f"{each.name:<12} {each.role:<15} {each.records:>7} {each.mean_influence:>15.1f} "
            f"{format_open(each.earned):>18} {per_record:>18}"
        )
    stats = stage.client.get(views.StatsView, "/stats")
    say("")
    for name, units in (
        ("genesis", stats.genesis_units),
        ("burned from questions", stats.fee_burned_units),
        ("burned from bonds", stats.bond_burned_units),
        ("minted", stats.minted_units),
        ("supply", stats.supply_units),
        ("of it in the treasury", stats.treasury_units),
    ):
        say(f"{name:<24} {format_open(int(units)):>26}")
    say("")
    for node, root in zip(stage.devnet.nodes, report.state_roots, strict=True):
        say(f"{node.name}  state root at height {report.height}  {root}")
    say("")


def print_checks(stage: Stage, report: Report, say: Callable[[str], None]) -> None:
    """What was refused, and every check with its outcome."""
    say("")
    for refusal in stage.refusals():
        say(f"{refusal.reason:<14} {refusal.what}")
    say("")
    for check in report.checks:
        say(f"{'ok  ' if check.holds else 'FAIL'} {check.what}")
    say("")


def _contributor(stage: Stage, trained: Trained, number: int, means: dict[str, float]) -> Contributor:
    name = f"clinic{number}"
    address = stage.address(name)
    role = "duplicate" if name == DUPLICATE else "flipped_labels" if name == FLIPPED else "honest"
    records = list(stage.client.iterate(views_data.RecordView, f"/accounts/{address}/records"))
    accepted = [each for each in records if each.status == "accepted" and each.contributor == address]
    assert len(accepted) <= len(trained.snapshot.contents), "a clinic's records stand in the snapshot"
    return Contributor(
        name=name,
        role=role,
        records=len(accepted),
        mean_influence=round(means.get(address, 0.0), 3),
        earned=_paid(stage, address) + _claimed(stage, address),
    )


def _paid(stage: Stage, address: str) -> int:
    payments = stage.client.iterate(views_data.PaymentView, f"/accounts/{address}/payments")
    return sum(int(each.amount_units) for each in payments)


def _vesting(stage: Stage, address: str) -> int:
    """What an account's records earned and was not paid out yet."""
    records = stage.client.iterate(views_data.RecordView, f"/accounts/{address}/records")
    parts = [part for each in records if each.contributor == address for part in each.vesting]
    return sum(int(part.earned_units) - int(part.released_units) for part in parts)


def _claimed(stage: Stage, address: str) -> int:
    return sum(
        int(event["minted_units"]) for event in stage.events(address, "claimed") if event["beneficiary"] == address
    )


def _mean_influences(stage: Stage, trained: Trained, influences: list[tuple[int, ...]]) -> dict[str, float]:
    """Mean relative influence of each contributor's records over all questions."""
    owners: dict[bytes, str] = {}
    for number in range(1, CLINICS + 1):
        address = stage.address(f"clinic{number}")
        for record in stage.client.iterate(views_data.RecordView, f"/accounts/{address}/records"):
            if record.contributor == address:
                owners[bytes.fromhex(record.content)] = address
    sums: dict[str, int] = {}
    counts: dict[str, int] = {}
    for answer in influences:
        for content, influence in zip(trained.snapshot.contents, answer, strict=True):
            owner = owners[content]
            sums[owner] = sums.get(owner, 0) + influence
            counts[owner] = counts.get(owner, 0) + 1
    return {owner: sums[owner] / counts[owner] for owner in sums}


def _state_roots(stage: Stage) -> tuple[int, tuple[str, ...]]:
    """The state root of one height on every node, each from the node itself."""
    height = max(client.height() for client in stage.clients)
    for client in stage.clients:
        client.wait_for_height(height)
    headers = [client.call_as(views_chain.BlockView, "block", height=height).header for client in stage.clients]
    return height, tuple(header.state_root for header in headers)


def _is_burned(stage: Stage) -> bool:
    address = stage.address(DUPLICATE)
    events = stage.events(address, "contributed")
    bond_units = stage.devnet.genesis.parameters.record_bond_units
    return [(int(each["record_count"]), int(each["burned_units"])) for each in events] == [
        (0, (bond_units * int(each["duplicate_count"]) + 1) // 2) for each in events
    ] and len(events) == 1


def _payments_replay(stage: Stage) -> bool:
    """As `python -m devnet.why` does it: question, credits and clusters give pool, excess, weight and amount."""
    url = stage.devnet.nodes[0].url
    some = islice(stage.client.iterate(views_data.PaymentView, "/payments"), REPLAYED)
    return all(said == here for each in some for said, here in replay(url, each.id).values())


def _balances_add_up(stage: Stage) -> bool:
    for number in range(1, CLINICS + 2):
        address = stage.address(f"clinic{number}")
        genesis = next(
            each.balance_units
            for each in stage.devnet.genesis.accounts
            if each.address == stage.devnet.accounts[f"clinic{number}"].address
        )
        fees = sum(int(each.fee_units) for each in stage.transactions(address) if each.sender == address)
        contributed = [each for each in stage.events(address, "contributed") if each["contributor"] == address]
        bonds = sum(int(each["bond_units"]) + int(each["burned_units"]) for each in contributed)
        earned = _paid(stage, address) - _vesting(stage, address) + _claimed(stage, address)
        expected = genesis - fees - bonds + earned
        if int(stage.client.account(address).balance_units) != expected:
            return False
    return True


def _is_mint_bounded(stage: Stage, stats: views.StatsView) -> bool:
    kappa_bps = stage.devnet.genesis.parameters.kappa_bps
    return 0 < int(stats.minted_units) * 10_000 <= kappa_bps * int(stats.fee_burned_units)


def _supply_adds_up(stats: views.StatsView) -> bool:
    burned = int(stats.fee_burned_units) + int(stats.bond_burned_units)
    is_split = int(stats.burned_units) == burned
    return is_split and int(stats.supply_units) == int(stats.genesis_units) - burned + int(stats.minted_units)
