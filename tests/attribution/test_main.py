import json
import random
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest
from click import ClickException
from click.testing import CliRunner, Result

from attribution.__main__ import main
from attribution.artifact import decode_artifact, encode_artifact
from attribution.cli import bench
from attribution.cli.shared import checked
from attribution.content import content_hash
from attribution.errors import KernelError
from attribution.head.request import Model


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_rows() -> list[dict[str, object]]:
    rng = random.Random(1)
    return [{"x": round(rng.gauss(y, 1), 2), "z": rng.randint(0, 9), "y": ["no", "yes"][y]} for y in (0, 1) * 20]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "data.jsonl", make_rows())


@pytest.fixture
def model(data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "m.olm"
    assert run("fit", data, "--label", "y", "--out", path).exit_code == 0
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_fit_writes_one_file_and_certify_finds_what_fit_promised(data: Path, model: Path, tmp_path: Path) -> None:
    told = json.loads(run("fit", data, "--label", "y", "--damping", "0.25", "--out", tmp_path / "n", "--json").output)
    assert (told["engine"], told["records"], told["columns"], told["classes"], told["damping"]) == (
        "head/1", 40, ["x", "z"], ["no", "yes"], 0.25,
    )  # fmt: skip
    assert told["gradient_norm"] <= told["gradient_norm_limit"] == 2**-22
    assert told["inverse_residual"] <= told["inverse_residual_limit"] == 1 / 256
    assert told["size_bytes"] == (tmp_path / "n").stat().st_size
    certified = json.loads(run("certify", tmp_path / "n", data, "--json").output)
    assert {key: certified[key] for key in set(told) & set(certified)} == {
        key: told[key] for key in set(told) - {"file", "size_bytes"}
    }
    lines = run("certify", model, data).output.splitlines()
    assert lines[0] == "data         40 records, 2 columns, classes no, yes"
    assert lines[2].startswith("certificate  gradient norm ")
    assert lines[3].endswith(", 2,136 multiply-accumulates")


def test_the_same_rows_in_any_format_are_the_same_records(model: Path, tmp_path: Path) -> None:
    rows = make_rows()
    table = tmp_path / "data.csv"
    table.write_text("x,z,y\n" + "".join(f"{row['x']},{row['z']},{row['y']}\n" for row in rows))
    assert run("certify", model, table).exit_code == 0


def test_explain_shows_the_row_itself_first_with_its_bar(data: Path, model: Path) -> None:
    result = run("explain", model, data, "--row", 40, "--top", 3)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "row 40, line 40: yes"
    assert lines[1].split() == ["relative", "away", "from", "the", "answer|towards", "it", "record", "label"]
    assert lines[2].startswith("     +1000                      |++++++++++++++++++++  line 40       yes  x ")
    assert len(lines) == 5


def test_explain_gives_json_and_a_page_that_stands_alone(data: Path, model: Path, tmp_path: Path) -> None:
    query = tmp_path / "query.csv"
    query.write_text("x,z\n-3,4\n5.125,4\n", encoding="utf-8")
    page = tmp_path / "page.html"
    result = run("explain", model, data, "--query", query, "--json", "--top", 2, "--raw", "--html", page)
    assert result.exit_code == 0
    answers = json.loads(result.output)["answers"]
    assert [answer["answer"] for answer in answers] == ["no", "yes"]
    assert set(answers[0]["records"][0]) == {"place", "label", "relative_influence", "raw_influence"}
    assert [len(answer["records"]) for answer in answers] == [2, 2]
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 4
    assert "<script" not in text
    assert "default-src 'none'" in text


def test_text_is_fitted_and_explained_and_what_it_says_is_escaped(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"said": f"{'good warm' if i % 2 else 'bad cold'} day {i} <b>\u001b[31m", "y": i % 2} for i in range(12)
    ]
    data = write_rows(tmp_path / "data.jsonl", rows)
    model, page = tmp_path / "m", tmp_path / "page.html"
    assert run("fit", data, "--label", "y", "--text", "said", "--dimensions", 31, "--out", model).exit_code == 0
    result = run("explain", model, data, "--row", 4, "--html", page)
    assert result.output.splitlines()[2].endswith("line 4        1  good warm day 3 <b> [31m")
    assert "<b>" not in page.read_text()


def test_mlp_is_fitted_certified_and_explained(data: Path, tmp_path: Path) -> None:
    model = tmp_path / "m"
    fitted = run("fit", data, "--label", "y", "--engine", "mlp/1", "--width", 4, "--checkpoints", 2, "--out", model)
    assert fitted.exit_code == 0
    assert "2 checkpoints, widths [4]" in run("certify", model, data).output
    assert "     +1000 " in run("explain", model, data, "--row", 1).output


CORPUS: list[dict[str, object]] = [
    {"text": "the quick brown fox jumps over the lazy dog and then it sleeps", "who": "a"},
    {"text": "nobody expects what the weather will bring us on the day after tomorrow", "who": "b"},
]


def test_passages_of_a_text_are_shown_with_their_records(tmp_path: Path) -> None:
    corpus, page = write_rows(tmp_path / "c.jsonl", CORPUS), tmp_path / "page.html"
    generated = "He said quick brown fox jumps over the lazy dog and then left."
    told = run("explain", "--corpus", corpus, "--owner", "who", "--text", generated, "--html", page)
    assert told.exit_code == 0
    assert told.output.startswith("He said [quick brown fox jumps over the lazy dog and then](1) left.\n\n(1) ")
    assert "10 tokens  line 1: the quick brown fox" in told.output
    assert "<mark style=" in page.read_text()
    answer = tmp_path / "answer.txt"
    answer.write_text(generated)
    found = json.loads(run("explain", "--corpus", corpus, "--answer", answer, "--json").output)
    assert [each["place"] for each in found["credits"]] == ["line 1"]
    assert found["total_bits"] == found["commons_bits"] + found["credits"][0]["bits"]
    assert [(each["begin"], each["length"], each["place"]) for each in found["spans"]] == [(2, 10, "line 1")]


def test_cluster_finds_copies_and_near_duplicates_of_rows_and_texts(tmp_path: Path) -> None:
    rng = random.Random(4)
    rows: list[dict[str, object]] = [{f"c{j}": rng.randint(-99, 99) for j in range(10)} for _ in range(20)]
    rows += [dict(rows[3]), {**rows[5], "c0": int(str(rows[5]["c0"])) + 1}]
    told = json.loads(run("cluster", write_rows(tmp_path / "rows.jsonl", rows), "--json").output)
    assert (told["records"], told["new"], told["joins"], told["copy"]) == (22, 20, 1, 1)
    assert told["clusters"][0] == {
        "leader": 4, "members": [], "copies": [{"place": 21, "of": 4, "similarity": 1000}],
    }  # fmt: skip
    assert [(each["leader"], each["members"][0]["place"]) for each in told["clusters"][1:]] == [(6, 22)]
    texts = write_rows(tmp_path / "texts.jsonl", [*CORPUS, CORPUS[0]])
    lines = run("cluster", texts, "--text", "text").output.splitlines()
    assert lines[0] == "3 records: 2 lead, 0 join, 1 are copies"
    assert lines[2].startswith("line 1 leads: the quick brown fox")
    assert lines[3] == "  copies:  line 3 (of 1, 1000)"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("explain MODEL DATA", 2, "say what to explain: either --row N, a row of the data, or --query FILE, questions"),
        ("explain MODEL DATA --row 1 --query q", 2, "say what to explain"),
        ("explain MODEL DATA --row 41", 2, "--row 41: the data has 40 rows"),
        ("explain MODEL", 2, "name MODEL and DATA, or a --corpus"),
        ("explain --corpus DATA", 2, "with --corpus say what to explain: either --answer FILE or --text TEXT"),
        ("explain MODEL DATA --row 1 --text x", 2, "--answer, --text and --owner belong to --corpus"),
        ("explain MODEL DATA --row 1 --workers 2 --dask tcp://h:1", 2, "two ways to share the work: say one"),
        ("explain MODEL DATA --query nowhere", 1, "nowhere: No such file or directory"),
        ("explain MODEL OTHER --row 1", 1, "other.jsonl, line 1: not the record that the model"),
        ("explain DATA DATA --row 1", 1, "data.jsonl: artifact_malformed: The file of the model is damaged"),
        ("explain --corpus DATA --text x", 1, "data.jsonl, line 1 has no text field 'text'; its fields are x, y, z"),
        ("explain --corpus TEXTS --text x --owner z", 1, "texts.txt, line 1 has no owner field 'z'"),
        ("explain --corpus TEXTS --answer DATA --field q", 1, "texts.txt, line 1 has no text field 'q'"),
        ("explain --corpus TEXTS --text .", 0, "commons: "),
        ("explain --corpus TEXTS --text \t", 1, "--text: text_without_tokens"),
        ("certify MODEL CUT", 1, "cut.jsonl: 39 records; the model"),
        ("certify HALF DATA", 1, "cut off, or a bit is wrong"),
        ("certify WRONG DATA", 1, "gradient_too_large: The weights are not the optimum of exactly these records."),
        ("fit DATA --label q --out OUT", 1, "data.jsonl, line 1 has no label field 'q'; its fields are x, y, z"),
        ("fit DATA --label y --damping 0 --out OUT", 2, "0 is not from 0.00098 to 4"),
        ("fit DATA --label y --damping much --out OUT", 2, "'much' is not a number"),
        ("fit DATA --label y --device moon --out OUT", 1, "device_unavailable"),
        ("fit DATA --label y --out nowhere/m", 2, "is no folder"),
        ("fit DATA --label y --width 3 --out OUT", 2, "head/1 has no --width"),
        ("fit DATA --label y --engine mlp/1 --text x --out OUT", 2, "mlp/1 has no --text"),
        ("fit DATA --label y --text y --out OUT", 2, "--text names the one field"),
        ("fit DATA --label x --drop y --drop z --out OUT", 1, "data.jsonl: 0 numeric fields"),
        ("fit SAME --label y --out OUT", 1, "same.csv: the label 'y' has 1 value, 2 to 64 can be used"),
        ("fit STILL --label y --out OUT", 1, "still.csv: nothing_varies"),
        ("fit EMPTY --label y --out OUT", 1, "empty: no rows"),
        ("cluster EMPTY", 1, "empty: no rows"),
        ("cluster DATA", 1, "data.jsonl, line 1: 'y' is 'no', not a number"),
        ("cluster DATA --text x", 1, "data.jsonl, line 1: 'x' is"),
        ("cluster DATA --copy 900", 2, "--copy is for texts"),
        ("cluster TEXTS --text text --join 900 --copy 100", 1, "threshold_out_of_range"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(
    arguments: str, code: int, message: str, data: Path, model: Path, tmp_path: Path
) -> None:
    rows = make_rows()
    files = {
        "MODEL": model,
        "DATA": data,
        "OTHER": write_rows(tmp_path / "other.jsonl", [{**rows[0], "x": 99}, *rows[1:]]),
        "CUT": write_rows(tmp_path / "cut.jsonl", rows[:-1]),
        "OUT": tmp_path / "out",
    }
    texts = {"SAME": ("same.csv", "x,y\n1,a\n2,a\n"), "STILL": ("still.csv", "x,y\n1,a\n1,b\n"), "EMPTY": ("empty", "")}
    for name, (file, text) in {**texts, "TEXTS": ("texts.txt", "a b\nc d\n")}.items():
        files[name] = tmp_path / file
        files[name].write_text(text)
    files["HALF"], files["WRONG"] = tmp_path / "half", tmp_path / "wrong"
    files["HALF"].write_bytes(model.read_bytes()[:-40])
    files["WRONG"].write_bytes(_without_weights(model))
    result = run(*(files.get(word, word) for word in arguments.split(" ")))
    assert (result.exit_code, message in result.output) == (code, True), result.output
    assert "Traceback" not in result.output


def _without_weights(path: Path) -> bytes:
    """The artifact of a model with weights of zero, by the rule."""
    artifact = decode_artifact(path.read_bytes())
    assert isinstance(artifact.model, Model)
    zero = bytes(len(artifact.materials[artifact.model.weights]))
    model = replace(artifact.model, weights=content_hash(zero))
    return encode_artifact(replace(artifact, model=model, materials={**artifact.materials, content_hash(zero): zero}))


def test_too_large_a_problem_is_told(tmp_path: Path) -> None:
    path = tmp_path / "wide.jsonl"
    row = {f"c{i}": i for i in range(511)}
    path.write_text("".join(json.dumps({**row, "y": y}) + "\n" for y in range(11)), encoding="utf-8")
    result = run("fit", path, "--label", "y", "--out", tmp_path / "m")
    assert result.exit_code == 1
    assert "too_many_unknowns" in result.output
    assert "(5632, at most 5120)" in result.output
    assert not (tmp_path / "m").exists()


def test_missing_dask_says_what_to_install(data: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = run("explain", model, data, "--row", 1, "--dask", "tcp://127.0.0.1:1")
    assert result.exit_code == 1
    assert "--dask needs distributed; install it with `pip install openledger-node[dask]`" in result.output


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KernelError("product"), "a machine computes integers wrongly and must not be used: product"),
        (BrokenProcessPool("gone"), "a worker ended before its work, perhaps for want of memory: gone"),
    ],
)
def test_a_machine_that_fails_is_told_in_a_line(error: Exception, message: str) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(ClickException, match=message):
        checked(fail)


def test_bench_prints_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"_RECORDS": 300, "_EMBEDDINGS": 500, "_TEXTS": 20}.items():
        monkeypatch.setattr(bench, name, size)
    told = json.loads(run("bench", "--json").output)
    assert [row["what"].split()[0] for row in told["rows"]] == [
        "known", *["head/1"] * 5, *["spans/1"] * 2, *["retrieval/1"] * 2,
    ]  # fmt: skip
    assert all(row["milliseconds"] > 0 for row in told["rows"])


@pytest.mark.parametrize("command", [[], ["fit"], ["certify"], ["explain"], ["cluster"], ["bench"]])
def test_help_loads_neither_numpy_nor_torch(command: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['attribution', *{command}, '--help']\n"
        "from attribution.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'numpy', 'torch', 'multiprocessing'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_the_library_works_alone(tmp_path: Path) -> None:
    """A bare process with the library's folder and numpy, in which nothing else of ours can be found."""
    root = Path(__file__).parent.parent.parent
    (tmp_path / "attribution").symlink_to(root / "attribution")
    code = (
        "import sys\n"
        f"sys.path = [{str(tmp_path)!r}] + [each for each in sys.path if each != {str(root)!r}]\n"
        "import attribution\n"
        "from attribution.similar.request import TextRule\n"
        "from attribution.similar.text import TextClusters\n"
        "from attribution.exact import known_answer_test\n"
        "known_answer_test()\n"
        "clusters = TextClusters(TextRule())\n"
        "texts = b'one two three four', b'One two, three four'\n"
        "print(*(clusters.admit(i, text).kind.name for i, text in enumerate(texts)))\n"
        "ours = {'node', 'consensus', 'devnet', 'torch', 'click'}\n"
        "print(*sorted({each.split('.')[0] for each in sys.modules} & ours))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env={"PATH": ""}
    )
    assert done.stdout.splitlines() == ["NEW COPY", ""]


def test_module_runs_as_a_program(data: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "attribution", "explain", data], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Usage: python -m attribution explain" in done.stderr
