"""`explain`: the records behind a model's answer, or the passages that a generated text is made of."""

import json
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import click

from attribution.artifact import Artifact
from attribution.bars import Explained, Influence, to_html, to_text
from attribution.cli.shared import (
    checked,
    in_flight,
    open_executor,
    read_artifact,
    read_materials,
    worker_options,
    write_whole,
)
from attribution.content import content_hash
from attribution.errors import AttributionError
from attribution.examples import encode_questions, excerpt, plain, text_of
from attribution.head.request import Answer, Model
from attribution.jsonl import DataError, read_bytes
from attribution.spans import explain as passages
from attribution.spans.request import ENGINE_SPANS, MAXIMUM_OWNERS, Attributed, Snapshot, SpansRequest, number_owners
from attribution.spans.tokens import validate_text
from attribution.tables import TEXT_FIELD, Source, read_source

_RAW_UNIT = 1 << 40
_MAXIMUM_EXPLAINED = 10_000


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option(
    "--query", type=click.Path(path_type=Path), metavar="FILE", help="Questions: a file of the data's fields."
)
@click.option("--row", type=click.IntRange(min=1), metavar="N", help="Explain the data's own row N, from 1.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Records to show.")
@click.option("--raw", is_flag=True, help="Raw influence too (head/1): slower.")
@click.option(
    "--corpus", type=click.Path(path_type=Path), metavar="FILE", help="Texts, eldest first, to look for passages in."
)
@click.option(
    "--field", default=TEXT_FIELD, show_default=True, metavar="FIELD", help="The corpus's field with the text."
)
@click.option(
    "--owner", metavar="FIELD", help=f"The corpus's field with the owner: what over {MAXIMUM_OWNERS} hold is common."
)
@click.option("--answer", type=click.Path(path_type=Path), metavar="FILE", help="The generated text.")
@click.option("--text", metavar="TEXT", help="The generated text itself.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page that stands alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@worker_options
def explain(
    model: Path | None,
    data: Path | None,
    query: Path | None,
    row: int | None,
    top: int,
    raw: bool,
    corpus: Path | None,
    field: str,
    owner: str | None,
    answer: Path | None,
    text: str | None,
    html: Path | None,
    as_json: bool,
    workers: int | None,
    dask: str | None,
) -> None:
    """Show what an answer is made of.

    MODEL DATA with --row or --query: the records with the most influence on the model's answer. Relative influence is
    from -1000 to 1000: 1000 pulls straight towards the answer, a negative one away from it. Raw influence, over the
    number of records, is about what the question's loss would gain without the record.

    --corpus with --answer or --text: the passages that stand word for word in a text of the corpus, and whose they are.
    """
    if corpus is not None:
        if model or data or query or row or (answer is None) == (text is None):
            raise click.UsageError(
                "with --corpus say what to explain: either --answer FILE or --text TEXT, and no MODEL"
            )
        with _executor(workers, dask) as executor:
            _explain_text(corpus, field, owner, answer, text, html, as_json, executor)
        return
    if model is None or data is None:
        raise click.UsageError("name MODEL and DATA, or a --corpus")
    if answer is not None or text is not None or owner:
        raise click.UsageError("--answer, --text and --owner belong to --corpus")
    if (query is None) == (row is None):
        raise click.UsageError("say what to explain: either --row N, a row of the data, or --query FILE, questions")
    artifact = checked(lambda: read_artifact(model), model)
    if raw and not isinstance(artifact.model, Model):
        raise click.UsageError("--raw is for models of head/1")
    source = checked(lambda: read_source(data))
    materials = checked(lambda: read_materials(artifact, model, source))
    if row is not None and row > len(source.rows):
        raise click.UsageError(f"--row {row}: the data has {len(source.rows)} rows")
    asked, titles = checked(lambda: _questions(artifact, source, query, row))
    with _executor(workers, dask) as executor:
        # The engines load numpy.
        from attribution.batch import attribute_many

        count = in_flight(executor, workers)
        answers = checked(lambda: attribute_many(artifact.model, asked, materials, executor, in_flight=count), model)
    raws = checked(lambda: _raw(artifact, materials, asked), model) if raw else None
    told = [each for each in answers if isinstance(each, Answer)]
    explained = [
        _explained(artifact, source, titles[i], each, top, raws[i] if raws else None) for i, each in enumerate(told)
    ]
    if html is not None:
        about = f"{artifact.model.problem.engine} {content_hash(artifact.model.encode()).hex()}"
        page = to_html(explained, about).encode("utf-8", "replace")
        checked(lambda: write_whole(html, page))
    if as_json:
        click.echo(json.dumps({"answers": [_json(*pair) for pair in zip(told, explained, strict=True)]}, indent=2))
        return
    click.echo("\n".join(map(to_text, explained)), nl=False)


def _executor(workers: int | None, dask: str | None) -> Any:
    return _Opened(workers, dask)


class _Opened:
    """`open_executor`, with a refusal told as one line."""

    def __init__(self, workers: int | None, dask: str | None) -> None:
        self._manager = open_executor(workers, dask)

    def __enter__(self) -> Executor:
        return checked(self._manager.__enter__)

    def __exit__(self, *error: Any) -> bool | None:
        return self._manager.__exit__(*error)


def _questions(
    artifact: Artifact, source: Source, query: Path | None, row: int | None
) -> tuple[list[bytes], list[str]]:
    if row is not None:
        chosen = Source(
            path=source.path, unit=source.unit, places=source.places[row - 1 : row], rows=source.rows[row - 1 : row]
        )
        return encode_questions(artifact.form, chosen), [f"row {row}, {source.unit} {source.places[row - 1]}"]
    assert query is not None
    asked = read_source(query)
    if len(asked.rows) > _MAXIMUM_EXPLAINED:
        raise DataError(f"{query}: {len(asked.rows)} questions, at most {_MAXIMUM_EXPLAINED} at a time")
    titles = [f"question {number}" for number in range(1, len(asked.rows) + 1)]
    return encode_questions(artifact.form, asked), titles


def _raw(artifact: Artifact, materials: dict[bytes, bytes], asked: Sequence[bytes]) -> list[list[int]]:
    # The engine loads numpy.
    from attribution.head.attribute import prepare, raw_influences

    assert isinstance(artifact.model, Model)
    prepared = prepare(artifact.model, materials)
    return [raw_influences(prepared, materials, question) for question in asked]


def _explained(
    artifact: Artifact, source: Source, title: str, answer: Answer, top: int, raw: Sequence[int] | None
) -> Explained:
    form, relative = artifact.form, answer.values()
    strongest = sorted(range(len(relative)), key=lambda i: (-abs(relative[i]), i))[:top]
    return Explained(
        title=title,
        answer=plain(form.class_names[answer.label]),
        influences=tuple(
            Influence(
                place=f"{source.unit} {source.places[i]}",
                label=plain(str(source.rows[i][form.label]).strip()),
                relative=relative[i],
                raw=raw[i] / _RAW_UNIT if raw is not None else None,
                excerpt=excerpt(form, source.rows[i]),
            )
            for i in strongest
        ),
    )


def _json(answer: Answer, explained: Explained) -> dict[str, Any]:
    records = []
    for each in explained.influences:
        record: dict[str, Any] = {"place": each.place, "label": each.label, "relative_influence": each.relative}
        if each.raw is not None:
            record["raw_influence"] = each.raw
        records.append(record)
    return {"answer": explained.answer, "influences_hash": answer.influences_hash().hex(), "records": records}


def _explain_text(
    corpus: Path,
    field: str,
    owner: str | None,
    answer: Path | None,
    text: str | None,
    html: Path | None,
    as_json: bool,
    executor: Executor,
) -> None:
    # The engine loads numpy.
    from attribution.batch import build_index, make_text
    from attribution.spans.attribute import compute, prepare
    from attribution.spans.index import make_snapshot

    source = checked(lambda: read_source(corpus))
    texts = checked(lambda: _texts(source, field))
    owners = checked(lambda: _owners(source, owner))
    generated = checked(lambda: read_bytes(answer)) if answer is not None else (text or "").encode("utf-8", "replace")
    about = answer if answer is not None else Path("--text")
    request = checked(
        lambda: SpansRequest(snapshot=make_snapshot(ENGINE_SPANS, texts, owners), answers=(make_text(generated),)),
        about,
    )
    snapshot: Snapshot = request.snapshot
    materials = dict(zip(snapshot.records, texts, strict=True))
    materials[content_hash(generated)] = generated
    index = checked(lambda: build_index(texts, executor), corpus)
    prepared = checked(lambda: prepare(snapshot, materials, index), corpus)
    found = checked(lambda: compute(request, materials, prepared).answers[0], about)
    held = sorted({record for record, _ in found.credits} | {span.record for span in found.spans if span.record >= 0})
    titles = {record: _title(source, field, record) for record in held}
    if html is not None:
        page = passages.to_html(generated, found, titles).encode()
        checked(lambda: write_whole(html, page))
    if as_json:
        click.echo(json.dumps(_json_spans(source, found), indent=2))
        return
    click.echo(passages.to_text(generated, found, titles), nl=False)


def _texts(source: Source, field: str) -> list[bytes]:
    texts = []
    for index, row in enumerate(source.rows):
        where = source.where(index)
        try:
            data = text_of(row, field, where).encode("utf-8")
            validate_text(data)
        except UnicodeEncodeError:
            raise DataError(f"{where}: {field!r} holds half of a surrogate pair, which is no text") from None
        except AttributionError as error:
            raise DataError(f"{where}: {error}") from None
        texts.append(data)
    return texts


def _owners(source: Source, owner: str | None) -> tuple[int, ...]:
    if owner is None:
        return tuple(range(len(source.rows)))
    missing = [index for index, row in enumerate(source.rows) if row.get(owner) is None]
    if missing:
        raise DataError(f"{source.where(missing[0])} has no owner field {owner!r}")
    return number_owners(str(row[owner]) for row in source.rows)


def _title(source: Source, field: str, record: int) -> str:
    return f"{source.unit} {source.places[record]}: {plain(str(source.rows[record][field])[:40]).strip()}"


def _json_spans(source: Source, found: Attributed) -> dict[str, Any]:
    shares = dict(found.relative())
    return {
        "tokens": found.token_count,
        "total_bits": found.total,
        "commons_bits": found.commons,
        "credits": [
            {"place": f"{source.unit} {source.places[record]}", "bits": bits, "relative_influence": shares[record]}
            for record, bits in found.credits
        ],
        "spans": [
            {
                "begin": span.begin,
                "length": span.length,
                "own_begin": span.own_begin,
                "own_length": span.own_length,
                "count": span.count,
                "owners": span.owners,
                "place": f"{source.unit} {source.places[span.record]}" if span.record >= 0 else None,
                "bits": span.weight,
            }
            for span in found.spans
        ],
    }
