"""Figures of a run, for people and programs."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable

from devnet.chaos.load import count_outcomes
from devnet.chaos.run import Happened, Result
from devnet.history import Outcome, ReadOrder
from devnet.progress import longest_gap


def make_figures(result: Result) -> dict[str, object]:
    """Everything that is counted."""
    history, answers = result.history, result.answers
    gap_s, gap_at_s = longest_gap(history)
    final_ids = set() if answers is None else {each.id for each in answers.transactions}
    latencies_ms = sorted(
        (each.returned_s - each.called_s) * 1000
        for each in history.operations
        if each.outcome is not Outcome.UNKNOWN and not isinstance(each.order, ReadOrder)
    )
    progress_s = [each.progress_s for each in result.happened if each.progress_s is not None]
    return {
        "seconds": round(history.ended_s, 1),
        "blocks": 0 if answers is None else max(len(blocks) for blocks in answers.blocks.values()) - 1,
        "transactions": len(final_ids),
        "operations": count_outcomes(history.operations, final_ids),
        "commit_ms": {f"p{part}": _percentile(latencies_ms, part) for part in (50, 95)},
        "longest_gap_s": round(gap_s, 2),
        "longest_gap_at_s": round(gap_at_s, 1),
        "progress_after_healing_s": {
            "median": round(statistics.median(progress_s), 2) if progress_s else None,
            "most": round(max(progress_s), 2) if progress_s else None,
        },
        "faults": {
            fault: {
                "times": len(rows),
                "blocks": sum(each.blocks_held for each in rows),
                "progress_s": [_rounded(each.progress_s) for each in rows],
            }
            for fault, rows in _by_fault(result.happened).items()
        },
        "violations": [{"rule": each.rule, "text": each.text} for each in result.violations],
    }


def print_report(result: Result, figures: dict[str, object], say: Callable[[str], None]) -> None:
    """Tables."""
    say(
        f"\n{'fault':<28} {'times':>5} {'nodes hit':>9} {'held s':>7} {'blocks':>6} "
        f"{'progress s, worst':>18} {'ready s, worst':>15}"
    )
    for fault, rows in _by_fault(result.happened).items():
        worst = "never" if any(each.progress_s is None for each in rows) else f"{max(map(_progress, rows)):.1f}"
        held_s = sum(each.window.healed_s - each.window.began_s for each in rows)
        hit = sum(len(each.step.targets) for each in rows)
        blocks = sum(each.blocks_held for each in rows)
        ready_s = max(each.ready_s for each in rows)
        say(f"{fault:<28} {len(rows):>5} {hit:>9} {held_s:>7.1f} {blocks:>6} {worst:>18} {ready_s:>15.1f}")
    say("")
    for name, value in figures.items():
        if name not in ("faults", "violations"):
            say(f"{name:<26} {_shown(value)}")
    for each in result.violations:
        say(f"VIOLATION {each.rule}: {each.text}")


def _by_fault(happened: list[Happened]) -> dict[str, list[Happened]]:
    table: defaultdict[str, list[Happened]] = defaultdict(list)
    for each in happened:
        table[each.step.fault.value].append(each)
    return dict(sorted(table.items()))


def _progress(each: Happened) -> float:
    return each.progress_s or 0.0


def _shown(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    return "; ".join(
        f"{key}: {_shown(each)}" if isinstance(each, dict) else f"{key} {each}" for key, each in value.items()
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _percentile(ordered: list[float], part: int) -> float | None:
    if len(ordered) < 2:
        return None
    return round(statistics.quantiles(ordered, n=100, method="inclusive")[part - 1], 1)
