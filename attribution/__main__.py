"""`python -m attribution`: attribution on a file of one's own, without a chain.

Exit codes: 0 done; 1 the data cannot be used or no model certifies; 2 wrong usage.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

import click

from attribution.content import content_hash
from attribution.errors import AttributionError
from attribution.head.request import (
    DAMPING_BITS,
    ENGINE_HEAD,
    EPSILON,
    ETA,
    GRADIENT_NORM_BITS,
    INVERSE_RESIDUAL_BITS,
    MAXIMUM_DAMPING,
    MINIMUM_DAMPING,
    AttributeRequest,
    Certificate,
    CertifyRequest,
    Model,
    Problem,
)
from attribution.jsonl import DataError, Table, make_table, read_rows

Outcome = TypeVar("Outcome")

_RAW_UNIT = 1 << 40
_PROGRESS_STEPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A model of the file's records and everything it names."""

    table: Table
    """The file."""
    model: Model
    """The model."""
    materials: dict[bytes, bytes]
    """Bytes by content hash."""
    certificate: Certificate
    """What validators would find."""


class Damping(click.ParamType[int]):
    """λ as a decimal number, in units of 2**-20."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse and check the range."""
        if isinstance(value, int):
            return value
        try:
            damping = round(Decimal(str(value)) * (1 << DAMPING_BITS))
        except (InvalidOperation, ValueError, OverflowError):
            self.fail(f"{value!r} is not a number", param, ctx)
        if not MINIMUM_DAMPING <= damping <= MAXIMUM_DAMPING:
            low, high = MINIMUM_DAMPING / (1 << DAMPING_BITS), MAXIMUM_DAMPING / (1 << DAMPING_BITS)
            self.fail(f"{value} is not from {low:.5f} to {high:g}", param, ctx)
        return damping


def data_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that every command has."""
    decorators = (
        click.argument("data", type=click.Path(path_type=Path)),
        click.option("--label", required=True, metavar="FIELD", help="The field to predict."),
        click.option("--drop", multiple=True, metavar="FIELD", help="A field to leave out. Repeatable."),
        click.option("--damping", type=Damping(), default="0.1", show_default=True, help="L2 regularisation."),
        click.option("--device", default="cpu", show_default=True, help="Where torch trains: cpu, cuda."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    )
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


@click.group()
def main() -> None:
    """Which records made this answer, and how much: exact attribution on a JSON Lines file."""


@main.command()
@data_options
@click.option("--query", type=click.Path(path_type=Path), metavar="FILE", help="Questions: a JSON Lines file.")
@click.option("--row", type=click.IntRange(min=1), metavar="N", help="Explain the data's own row N, from 1.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Records to show.")
def explain(
    data: Path,
    label: str,
    drop: tuple[str, ...],
    damping: int,
    device: str,
    as_json: bool,
    query: Path | None,
    row: int | None,
    top: int,
) -> None:
    """Train on DATA, answer questions, and show the records with the most influence on each answer.

    Relative influence is from -1000 to 1000: 1000 pulls straight towards the answer, a negative one away from it. Raw
    influence, over the number of records, is about what the question's loss would gain without the record.
    """
    if (query is None) == (row is None):
        raise click.UsageError("say what to explain: either --row N, a row of the data, or --query FILE, questions")
    fitted = _checked(lambda: _fit(data, query, label, drop, damping, device))
    if row is not None and row > len(fitted.table.records):
        raise click.UsageError(f"--row {row}: the data has {len(fitted.table.records)} rows")
    queries = fitted.table.queries if row is None else (fitted.table.record_queries[row - 1],)
    answers = _checked(lambda: _explain(fitted, queries, top))
    if as_json:
        click.echo(json.dumps({**_summary(fitted), "answers": answers}, indent=2))
        return
    _print_summary(fitted)
    for number, answer in enumerate(answers, start=1):
        _print_answer(f"row {row}" if row is not None else f"question {number}", answer)


@main.command()
@data_options
def certify(data: Path, label: str, drop: tuple[str, ...], damping: int, device: str, as_json: bool) -> None:
    """Train on DATA and show the certificate that every validator would compute for the model."""
    fitted = _checked(lambda: _fit(data, None, label, drop, damping, device))
    if as_json:
        click.echo(json.dumps(_summary(fitted), indent=2))
        return
    _print_summary(fitted)
    request = CertifyRequest(model=fitted.model)
    click.echo(f"request      {request.request_id().hex()}, {request.multiply_accumulates():,} multiply-accumulates")


def _fit(data: Path, query: Path | None, label: str, drop: Sequence[str], damping: int, device: str) -> Fitted:
    from attribution.head.fit import fit  # torch takes seconds to load, and --help must not wait for it

    questions = read_rows(query) if query is not None else []
    table = make_table(read_rows(data), questions, label, drop)
    materials = {content_hash(blob): blob for blob in (*table.records, *table.record_queries, *table.queries)}
    names = tuple(content_hash(blob) for blob in table.records)
    problem = Problem(engine=ENGINE_HEAD, schema=table.schema, damping=damping, records=names)
    # On standard error, so that what is printed stays what a program can read; and only where somebody watches.
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=_PROGRESS_STEPS, label="reading", file=sys.stderr, hidden=hidden) as bar:

        def show(stage: str, done: float) -> None:
            bar.label = stage
            bar.update(round(done * _PROGRESS_STEPS) - bar.pos)

        posted = fit(problem, materials, device=device, progress=show)
    weights, inverse = content_hash(posted.weights), content_hash(posted.inverse)
    materials |= {weights: posted.weights, inverse: posted.inverse}
    model = Model(problem=problem, weights=weights, inverse=inverse)
    return Fitted(table=table, model=model, materials=materials, certificate=posted.certificate)


def _explain(fitted: Fitted, queries: Sequence[bytes], top: int) -> list[dict[str, Any]]:
    from attribution.head.attribute import compute, prepare, raw_influences  # numpy: as above

    prepared = prepare(fitted.model, fitted.materials)
    answers = []
    # One request a question, because a file may hold more of them than one request may.
    for query in queries:
        request = AttributeRequest(model=fitted.model, queries=(content_hash(query),))
        answer = compute(request, fitted.materials, prepared).answers[0]
        relative = answer.values()
        raw = raw_influences(prepared, fitted.materials, query)
        strongest = sorted(range(len(relative)), key=lambda i: (-abs(relative[i]), i))[:top]
        records = [
            {
                "row": i + 1,
                "label": fitted.table.class_names[fitted.table.labels[i]],
                "relative_influence": relative[i],
                "raw_influence": raw[i] / _RAW_UNIT,
            }
            for i in strongest
        ]
        answers.append(
            {
                "answer": fitted.table.class_names[answer.label],
                "influences_hash": answer.influences_hash().hex(),
                "records": records,
            }
        )
    return answers


def _summary(fitted: Fitted) -> dict[str, Any]:
    return {
        "records": len(fitted.table.records),
        "columns": [column.name for column in fitted.table.schema.columns],
        "classes": list(fitted.table.class_names),
        "damping": fitted.model.problem.damping / (1 << DAMPING_BITS),
        "gradient_norm": fitted.certificate.gradient_norm / (1 << GRADIENT_NORM_BITS),
        "gradient_norm_limit": EPSILON / (1 << GRADIENT_NORM_BITS),
        "inverse_residual": fitted.certificate.inverse_residual / (1 << INVERSE_RESIDUAL_BITS),
        "inverse_residual_limit": ETA / (1 << INVERSE_RESIDUAL_BITS),
    }


def _print_summary(fitted: Fitted) -> None:
    summary = _summary(fitted)
    classes = ", ".join(summary["classes"])
    click.echo(f"data         {summary['records']} records, {len(summary['columns'])} columns, classes {classes}")
    click.echo(
        f"certificate  gradient norm {summary['gradient_norm']:.1e} of {summary['gradient_norm_limit']:.1e}, "
        f"inverse residual {summary['inverse_residual']:.1e} of {summary['inverse_residual_limit']:.1e}, "
        f"damping {summary['damping']:g}"
    )


def _print_answer(title: str, answer: dict[str, Any]) -> None:
    click.echo(f"\n{title}: {answer['answer']}")
    click.echo("  relative        raw     row  label")
    for record in answer["records"]:
        influences = f"{record['relative_influence']:+8d}  {record['raw_influence']:+9.4f}"
        click.echo(f"  {influences}  {record['row']:6d}  {record['label']}")


def _checked(action: Callable[[], Outcome]) -> Outcome:
    """Run, with what is wrong with the data told as one line and exit code 1."""
    try:
        return action()
    except (AttributionError, DataError) as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    # The products are small: on a busy machine more threads only wait for each other.
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    main(prog_name="python -m attribution")
