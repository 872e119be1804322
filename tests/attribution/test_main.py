import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from attribution.__main__ import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = random.Random(1)
    path = tmp_path / "data.jsonl"
    rows = [{"x": round(rng.gauss(y, 1), 2), "z": rng.randint(0, 9), "y": ["no", "yes"][y]} for y in (0, 1) * 20]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_explain_shows_the_row_itself_first(data: Path) -> None:
    result = run("explain", data, "--label", "y", "--row", 40, "--top", 3)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "data         40 records, 2 columns, classes no, yes"
    assert lines[1].startswith("certificate  gradient norm ")
    assert lines[3:5] == ["row 40: yes", "  relative        raw     row  label"]
    assert lines[5].split()[0::2] == ["+1000", "40"]
    assert len(lines) == 8


def test_explain_gives_json(data: Path, tmp_path: Path) -> None:
    query = tmp_path / "query.jsonl"
    query.write_text('{"x": -3, "z": 4}\n{"x": 5.125, "z": 4}\n', encoding="utf-8")
    result = run("explain", data, "--label", "y", "--query", query, "--damping", "0.25", "--json", "--top", 2)
    assert result.exit_code == 0
    told = json.loads(result.output)
    assert (told["records"], told["columns"], told["classes"], told["damping"]) == (40, ["x", "z"], ["no", "yes"], 0.25)
    assert told["gradient_norm"] <= told["gradient_norm_limit"] == 2**-22
    assert told["inverse_residual"] <= told["inverse_residual_limit"] == 1 / 256
    assert [answer["answer"] for answer in told["answers"]] == ["no", "yes"]
    record = told["answers"][0]["records"][0]
    assert set(record) == {"row", "label", "relative_influence", "raw_influence"}
    assert len(told["answers"][0]["records"]) == 2


def test_certify_shows_the_request_and_its_work(data: Path) -> None:
    result = run("certify", data, "--label", "y")
    assert result.exit_code == 0
    assert result.output.splitlines()[2].endswith(", 2,136 multiply-accumulates")
    assert "gradient_norm" in json.loads(run("certify", data, "--label", "y", "--json").output)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--label", "y"], 2, "say what to explain: either --row N, a row of the data, or --query FILE, questions"),
        (["--label", "y", "--row", "1", "--query", "q"], 2, "say what to explain"),
        (["--label", "y", "--row", "41"], 2, "--row 41: the data has 40 rows"),
        (["--label", "y", "--row", "1", "--damping", "0"], 2, "0 is not from 0.00098 to 4"),
        (["--label", "y", "--row", "1", "--damping", "much"], 2, "'much' is not a number"),
        (["--label", "q", "--row", "1"], 1, "row 1 has no label field 'q'; its fields are x, y, z"),
        (["--label", "y", "--query", "nowhere"], 1, "nowhere: No such file or directory"),
        (["--label", "x", "--row", "1", "--drop", "y", "--drop", "z"], 1, "0 numeric fields"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(arguments: list[str], code: int, message: str, data: Path) -> None:
    result = run("explain", data, *arguments)
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output


def test_too_large_a_problem_is_told(tmp_path: Path) -> None:
    path = tmp_path / "wide.jsonl"
    row = {f"c{i}": i for i in range(511)}
    path.write_text("".join(json.dumps({**row, "y": y}) + "\n" for y in range(11)), encoding="utf-8")
    result = run("certify", path, "--label", "y")
    assert result.exit_code == 1
    assert "too_many_unknowns" in result.output
    assert "(5632, at most 5120)" in result.output


def test_help_loads_neither_numpy_nor_torch() -> None:
    code = (
        "import sys; sys.argv = ['attribution', '--help']\n"
        "from attribution.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'numpy', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_module_runs_as_a_program(data: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "attribution", "explain", data, "--label", "y"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "Usage: python -m attribution explain" in done.stderr
