import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from attribution.products import Backend
from tests.attribution import determinism
from tests.attribution.determinism import PLANTED, Row, disagreements, judge, line, overall, settings, sweep

ROOT = Path(__file__).parents[3]
SAME = {"exact: root": "aa", "head: answers": "bb"}


def test_there_are_at_least_sixteen_settings_and_each_differs_from_the_others() -> None:
    rows = settings()
    assert len(rows) >= 16 + 1
    assert len({(backend, tuple(sorted(changes.items()))) for backend, changes in rows.values()}) == len(rows)
    assert {backend for backend, _ in rows.values()} == set(Backend)


def test_rows_that_agree_have_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row(setting="one", digests=SAME, control="x"), Row(setting="two", digests=SAME, control="y")]
    assert judge([*rows, Row(setting="CUDA", absent="no CUDA device")]) == 0
    told = capsys.readouterr().out
    assert "2 settings, 2 digests each; the control product had 2 values." in told
    assert "All settings agree." in told


def test_a_row_that_differs_is_named_with_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row(setting=name, digests=SAME) for name in ("one", "two")]
    rows.append(Row(setting="three", digests=SAME | {"exact: root": "cc"}))
    assert disagreements(rows) == ["three: exact: root: cc, elsewhere aa"]
    assert overall(rows[2]) != overall(rows[0])
    assert judge(rows) == 1
    assert "DIFFERS  three: exact: root: cc, elsewhere aa" in capsys.readouterr().out


def test_a_row_that_failed_is_a_difference_and_a_device_that_is_not_there_is_none() -> None:
    failed = Row(setting="one", fault="status 1: KernelError")
    assert disagreements([failed, Row(setting="two", digests=SAME)]) == ["one: status 1: KernelError"]
    assert "no CUDA device" in line(Row(setting="CUDA", absent="no CUDA device"))


def test_a_sweep_that_computed_nothing_is_no_success() -> None:
    assert judge([Row(setting="CUDA", absent="no CUDA device")]) == 1
    assert judge([Row(setting="one"), Row(setting="two")]) == 1


def test_an_engine_whose_library_is_missing_is_skipped_by_name_only_where_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name, name="torch")

    monkeypatch.setattr(determinism.importlib, "import_module", missing)
    assert determinism.collect(["exact"], may_skip=True) == ({}, ["exact (no torch)"])
    with pytest.raises(ModuleNotFoundError):
        determinism.collect(["exact"], may_skip=False)


def test_a_cuda_row_says_why_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(determinism, "cuda_is_absent_because", lambda: "no CUDA device")
    rows = sweep(argparse.Namespace(only=["CUDA"], engines=[], plant=False))
    assert rows == [Row(setting="CUDA", absent="no CUDA device")]


@pytest.mark.slow
def test_a_planted_product_of_real_numbers_is_caught() -> None:
    command = [
        sys.executable,
        "-m",
        "tests.attribution.determinism",
        "exact",
        "--only=kernel of 2004",
        "--only=kernel of 2013",
    ]
    done = subprocess.run([*command, "--plant"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    different = [each for each in done.stdout.splitlines() if each.startswith("DIFFERS")]
    assert different
    assert all(PLANTED in each for each in different), "and nothing but the planted product differs"
    assert "the control product had 1 values" not in done.stdout
