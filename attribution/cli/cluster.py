"""`cluster`: near-duplicates of a file, judged in its order as admission to a datanet judges them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from attribution.cli.shared import checked, list_rows
from attribution.errors import AttributionError
from attribution.examples import Form, derive_form, encode_records, excerpt, text_of
from attribution.jsonl import DataError
from attribution.record import TabularSchema
from attribution.similar.request import TabularRule, TextRule, Verdict, VerdictKind
from attribution.tables import Source, read_source


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--label", metavar="FIELD", help="Only records of one label are near-duplicates of each other.")
@click.option("--text", metavar="FIELD", help="The field that is the record; otherwise every other field is a number.")
@click.option("--drop", multiple=True, metavar="FIELD", help="A field to leave out. Repeatable.")
@click.option(
    "--join",
    type=click.IntRange(1, 1000),
    metavar="PERMILLE",
    help="Similarity from which a record joins a leader.  [default: 970, of texts 300]",
)
@click.option(
    "--copy",
    "copies",
    type=click.IntRange(1, 1000),
    metavar="PERMILLE",
    help="Similarity from which a text is a copy.  [default: 800]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def cluster(
    data: Path,
    label: str | None,
    text: str | None,
    drop: tuple[str, ...],
    join: int | None,
    copies: int | None,
    as_json: bool,
) -> None:
    """Find copies and near-duplicates in DATA, eldest first: who leads, who belongs to whom, who is a copy.

    Records of fewer than 8 varying columns are told apart only by exact copies.
    """
    if copies is not None and not text:
        raise click.UsageError("--copy is for texts: tabular copies are equal records")
    if text and (drop or text == label):
        raise click.UsageError("--text names the one field that is read beside --label: leave out --drop")
    source = checked(lambda: read_source(data))
    form = checked(lambda: derive_form(source, label or "", text or "", drop), data)
    verdicts = checked(
        lambda: _judge_texts(form, source, join, copies) if text else _judge_rows(form, source, join), data
    )
    groups = _groups(source, verdicts)
    counts = {kind.name.lower(): sum(each.kind is kind for each in verdicts) for kind in VerdictKind}
    if as_json:
        click.echo(json.dumps({"records": len(verdicts), **counts, "clusters": groups}, indent=2))
        return
    click.echo(f"{len(verdicts)} records: {counts['new']} lead, {counts['joins']} join, {counts['copy']} are copies")
    for group in groups:
        index = source.places.index(group["leader"])
        click.echo(f"\n{source.unit} {group['leader']} leads: {excerpt(form, source.rows[index])}")
        if group["members"]:
            click.echo(f"  members: {list_rows([_named(source, each, 'similarity') for each in group['members']])}")
        if group["copies"]:
            click.echo(f"  copies:  {list_rows([_named(source, each, 'similarity') for each in group['copies']])}")


def _judge_rows(form: Form, source: Source, join: int | None) -> Sequence[Verdict]:
    # The index loads numpy.
    from attribution.head.encoder import ENCODER_RECORDS, derive, read_records
    from attribution.similar.records import make_batch
    from attribution.similar.tabular import TabularClusters

    assert isinstance(form.schema, TabularSchema)
    labels, values = read_records(form.schema, encode_records(form, source))
    batch = make_batch(derive(values[:ENCODER_RECORDS]), range(len(labels)), labels, values)
    rule = TabularRule() if join is None else TabularRule(join_permille=join)
    return TabularClusters(rule, batch.features.shape[1]).admit(batch)


def _judge_texts(form: Form, source: Source, join: int | None, copies: int | None) -> Sequence[Verdict]:
    # The index loads numpy.
    from attribution.similar.text import TextClusters

    standard = TextRule()
    clusters = TextClusters(
        TextRule(copy_permille=copies or standard.copy_permille, cluster_permille=join or standard.cluster_permille)
    )
    verdicts = []
    for index, row in enumerate(source.rows):
        where = source.where(index)
        try:
            verdicts.append(clusters.admit(index, text_of(row, form.text, where).encode("utf-8")))
        except UnicodeEncodeError:
            raise DataError(f"{where}: {form.text!r} holds half of a surrogate pair, which is no text") from None
        except AttributionError as error:
            raise DataError(f"{where}: {error}") from None
    return verdicts


def _groups(source: Source, verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Clusters of more than one record, eldest first, by the places of their records in the file."""
    groups: dict[int, dict[str, Any]] = {}
    for index, verdict in enumerate(verdicts):
        if verdict.kind is VerdictKind.NEW:
            groups[index] = {"leader": source.places[index], "members": [], "copies": []}
            continue
        assert verdict.original is not None
        entry = {"place": source.places[index], "of": source.places[verdict.original], "similarity": verdict.similarity}
        groups[verdict.cluster]["members" if verdict.kind is VerdictKind.JOINS else "copies"].append(entry)
    return [group for group in groups.values() if group["members"] or group["copies"]]


def _named(source: Source, entry: dict[str, Any], quantity: str) -> str:
    return f"{source.unit} {entry['place']} (of {entry['of']}, {entry[quantity]})"
