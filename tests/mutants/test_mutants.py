"""The table of mutants stays true to the code it changes, and the runner tells caught from not caught."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.mutants.mutant import mutated, path_of
from tests.mutants.seeds import violation_of
from tests.mutants.table import MUTANTS

QUICK = ("finalize_after_nullify_unguarded", "quorum_off_by_one", "votes_counted_per_view", "roots_not_compared")


def test_there_are_twenty_mutants_and_more_and_each_has_a_name_of_its_own() -> None:
    assert len(MUTANTS) == len({mutant.name for mutant in MUTANTS}) >= 20


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_a_mutant_replaces_stands_there_once_and_what_it_puts_there_compiles(mutant) -> None:
    sources: dict[str, str] = {}
    for edit in mutant.edits:
        source = sources.get(edit.module) or path_of(edit.module).read_text(encoding="utf-8")
        sources[edit.module] = mutated(source, edit)
    for module, source in sources.items():
        assert source != path_of(module).read_text(encoding="utf-8")
        compile(source, module, "exec")


@pytest.mark.slow
def test_rules_taken_away_are_missed_within_seconds() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants", *QUICK], capture_output=True, text=True, check=False, timeout=300
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert f"{len(QUICK)} of {len(QUICK)} caught" in done.stdout


@pytest.mark.slow
def test_mutant_that_nothing_can_catch_is_reported_with_its_reason() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants", "--seeds", "3", "signer_guard_off"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "equivalent: The guard acts only when" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["heir", "logs", "storm", "thirds", "caught", "lies"])
def test_seeds_drawn_for_mutants_find_nothing_wrong_with_the_code_as_it_is(profile) -> None:
    assert [found for seed in range(25) if (found := violation_of(seed, profile)) is not None] == []
