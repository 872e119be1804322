"""Explores and prints the counts: `python -m tests.exhaustive [one-view|twins|mutants ...]`; all three by default."""

from __future__ import annotations

import dataclasses
import sys
import time

from tests.exhaustive import trace, twins
from tests.exhaustive.mutants import MORE_VIEWS, ONE_VIEW
from tests.exhaustive.scope import SCOPES, Scope
from tests.exhaustive.view import Exploration, Failure


def main() -> None:
    parts = {"mutants": mutants, "one-view": one_view, "twins": all_twins}
    for chosen in sys.argv[1:] or parts:
        if chosen not in parts:
            sys.exit(f"{chosen} is none of {', '.join(parts)}")
        parts[chosen]()


def one_view() -> None:
    for scope in SCOPES.values():
        for each in (dataclasses.replace(scope, has_restarts=False), scope):
            _explore_view(each)


def _explore_view(scope: Scope) -> None:
    print(f"one view, {scope.name}, {'with' if scope.has_restarts else 'without'} crashes and restarts", flush=True)
    exploration = Exploration(scope)
    try:
        counts = exploration.run()
    except Failure as failure:
        sys.exit("\n".join(trace.transcript(exploration, failure)))
    print(f"  {counts.global_states:,} distinct global states, {counts.local_states:,} states of a core")
    print(f"  {counts.core_steps:,} steps of a core, {counts.histories:,} histories of votes")
    print(f"  {counts.outcomes:,} outcomes at rest, {counts.seconds:.0f} s, no violation", flush=True)


def all_twins() -> None:
    for adversary in twins.ADVERSARIES:
        for views, has_losses in ((2, True), (3, False)):
            losses = "with and without lost finalizes" if has_losses else "nothing lost in a group"
            print(f"{adversary}, {views} views, two groups, {losses}", flush=True)
            try:
                counts = twins.explore(adversary, views=views, has_losses=has_losses)
            except twins.Broken as broken:
                sys.exit("\n".join(twins.transcript(broken, twins.Simplex)))
            print(f"  {counts.scenarios:,} scenarios, {counts.rounds_run:,} rounds run, {counts.healed:,} healed")
            print(f"  {counts.distinct_states:,} distinct states between rounds, {counts.steps:,} steps of a core")
            print(f"  {counts.seconds:.0f} s, no violation", flush=True)


def mutants() -> None:
    for machine, (scope, _) in ONE_VIEW.items():
        started = time.monotonic()
        exploration = Exploration(scope, machine)
        try:
            exploration.run()
        except Failure as failure:
            lines = trace.transcript(exploration, failure)
            _print_mutant(machine, f"one view, {scope.name}", time.monotonic() - started, lines)
        else:
            sys.exit(f"{machine.__name__} was not found")
    for machine, (adversary, _) in MORE_VIEWS.items():
        started = time.monotonic()
        try:
            twins.explore(adversary, machine, views=2, has_losses=True)
        except twins.Broken as broken:
            lines = twins.transcript(broken, machine)
            _print_mutant(machine, f"{adversary}, two views", time.monotonic() - started, lines)
        else:
            sys.exit(f"{machine.__name__} was not found")


def _print_mutant(machine: type, where: str, seconds: float, lines: list[str]) -> None:
    print(f"{machine.__name__}: {machine.__doc__}\n  {where}: found in {seconds:.1f} s")
    print("\n".join(f"  {line}" for line in lines), flush=True)


if __name__ == "__main__":
    main()
