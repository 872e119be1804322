"""`fit` and `certify`: from a table to one file with a model, and what every validator would compute for it."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeAlias

import click

from attribution.artifact import AnyModel, Artifact, encode_artifact
from attribution.cli.shared import checked, read_artifact, read_materials, write_whole
from attribution.content import content_hash
from attribution.examples import DIMENSIONS, Form, derive_form, encode_records, plain
from attribution.head.request import (
    DAMPING_BITS,
    ENGINE_HEAD,
    EPSILON,
    ETA,
    GRADIENT_NORM_BITS,
    INVERSE_RESIDUAL_BITS,
    MAXIMUM_DAMPING,
    MINIMUM_DAMPING,
    Certificate,
    CertifyRequest,
    Model,
    Problem,
)
from attribution.mlp.request import (
    ENGINE_MLP,
    MAXIMUM_CHECKPOINTS,
    MAXIMUM_WIDTH,
    MlpCertificate,
    MlpCertifyRequest,
    MlpModel,
    MlpProblem,
)
from attribution.record import MAXIMUM_DIMENSIONS, TabularSchema, TextSchema
from attribution.tables import read_source

Fitted: TypeAlias = tuple[AnyModel, dict[bytes, bytes], Certificate | MlpCertificate]
"""A model, what it is made of beside the records, and the certificate."""

_PROGRESS_STEPS = 100
_WIDTH = 32


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


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--label", required=True, metavar="FIELD", help="The field to predict.")
@click.option("--text", metavar="FIELD", help="The field that is the record; otherwise every other field is a number.")
@click.option("--drop", multiple=True, metavar="FIELD", help="A field to leave out. Repeatable.")
@click.option("--engine", type=click.Choice((ENGINE_HEAD, ENGINE_MLP)), default=ENGINE_HEAD, show_default=True)
@click.option("--damping", type=Damping(), help="L2 regularisation of head/1.  [default: 0.1]")
@click.option(
    "--dimensions", type=click.IntRange(1, MAXIMUM_DIMENSIONS), help=f"Features of a text.  [default: {DIMENSIONS}]"
)
@click.option(
    "--width",
    type=click.IntRange(1, MAXIMUM_WIDTH),
    multiple=True,
    help=f"Units of a hidden layer of mlp/1, repeatable.  [default: {_WIDTH}]",
)
@click.option(
    "--checkpoints",
    type=click.IntRange(1, MAXIMUM_CHECKPOINTS),
    help=f"Trainings of mlp/1.  [default: {MAXIMUM_CHECKPOINTS}]",
)
@click.option("--device", default="cpu", show_default=True, help="Where torch trains head/1: cpu, cuda.")
@click.option("--out", "-o", required=True, type=click.Path(path_type=Path), metavar="MODEL", help="File to write.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def fit(
    data: Path,
    label: str,
    text: str | None,
    drop: tuple[str, ...],
    engine: str,
    damping: int | None,
    dimensions: int | None,
    width: tuple[int, ...],
    checkpoints: int | None,
    device: str,
    out: Path,
    as_json: bool,
) -> None:
    """Train on DATA and write the model, with its certificate checked, to one file."""
    if engine == ENGINE_MLP and (text or damping is not None or dimensions or device != "cpu"):
        raise click.UsageError(
            f"{ENGINE_MLP} has no --text, --damping, --dimensions or --device: say them with {ENGINE_HEAD}"
        )
    if engine == ENGINE_HEAD and (width or checkpoints):
        raise click.UsageError(f"{ENGINE_HEAD} has no --width or --checkpoints: say them with --engine {ENGINE_MLP}")
    if text and (drop or text == label):
        raise click.UsageError("--text names the one field that is read beside --label: leave out --drop")
    if not out.absolute().parent.is_dir():
        raise click.UsageError(f"--out {out}: {out.absolute().parent} is no folder")
    source = checked(lambda: read_source(data))
    form = checked(lambda: derive_form(source, label, text or "", drop, dimensions or DIMENSIONS), data)
    records = checked(lambda: encode_records(form, source))
    if engine == ENGINE_HEAD:
        damping = damping if damping is not None else round(Decimal("0.1") * (1 << DAMPING_BITS))
        fitted = checked(lambda: _fit_head(form, records, damping, device), data)
    else:
        runs = checkpoints or MAXIMUM_CHECKPOINTS
        fitted = checked(lambda: _fit_mlp(form, records, width or (_WIDTH,), runs), data)
    model, materials, certificate = fitted
    encoded = encode_artifact(Artifact(form=form, model=model, materials=materials))
    checked(lambda: write_whole(out, encoded))
    facts = summary(form, model, certificate) | {"file": str(out), "size_bytes": len(encoded)}
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    print_summary(facts)
    click.echo(f"wrote        {out}, {len(encoded):,} bytes")


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def certify(model: Path, data: Path, as_json: bool) -> None:
    """Compute for MODEL and the DATA it was trained on what every validator would compute."""
    # The engines load numpy.
    from attribution.exact import known_answer_test
    from attribution.runner import Runner

    known_answer_test()
    artifact = checked(lambda: read_artifact(model), model)
    source = checked(lambda: read_source(data))
    materials = checked(lambda: read_materials(artifact, model, source))
    subject = artifact.model
    request: CertifyRequest | MlpCertifyRequest
    request = CertifyRequest(model=subject) if isinstance(subject, Model) else MlpCertifyRequest(model=subject)
    certificate = checked(lambda: Runner(0).run(request, materials), model)
    assert isinstance(certificate, Certificate | MlpCertificate)
    facts = summary(artifact.form, subject, certificate)
    facts |= {"request": request.request_id().hex(), "multiply_accumulates": request.multiply_accumulates()}
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    print_summary(facts)
    click.echo(f"request      {facts['request']}, {facts['multiply_accumulates']:,} multiply-accumulates")


def summary(form: Form, model: AnyModel, certificate: Certificate | MlpCertificate) -> dict[str, Any]:
    """What there is to say of a model, for a program."""
    facts: dict[str, Any] = {
        "engine": model.problem.engine,
        "model": content_hash(model.encode()).hex(),
        "records": len(model.problem.records),
        "classes": list(form.class_names),
    }
    if isinstance(form.schema, TabularSchema):
        facts["columns"] = [column.name for column in form.schema.columns]
    if isinstance(form.schema, TextSchema):
        facts["dimensions"] = form.schema.dimensions
    if isinstance(model, Model):
        facts["damping"] = model.problem.damping / (1 << DAMPING_BITS)
    else:
        facts["widths"] = list(model.problem.widths)
        facts["checkpoints"] = len(model.checkpoints)
    if isinstance(certificate, Certificate):
        facts["gradient_norm"] = certificate.gradient_norm / (1 << GRADIENT_NORM_BITS)
        facts["gradient_norm_limit"] = EPSILON / (1 << GRADIENT_NORM_BITS)
        residual = certificate.inverse_residual
    else:
        residual = max(certificate.inverse_residuals)
    # Both engines state it in the same units and have the same limit.
    facts["inverse_residual"] = residual / (1 << INVERSE_RESIDUAL_BITS)
    facts["inverse_residual_limit"] = ETA / (1 << INVERSE_RESIDUAL_BITS)
    return facts


def print_summary(facts: dict[str, Any]) -> None:
    """The same for a person."""
    width = f"{len(facts['columns'])} columns" if "columns" in facts else f"text of {facts['dimensions']} dimensions"
    classes = ", ".join(map(plain, facts["classes"]))
    click.echo(f"data         {facts['records']} records, {width}, classes {classes}")
    click.echo(f"model        {facts['engine']} {facts['model']}")
    parts = []
    if "gradient_norm" in facts:
        parts.append(f"gradient norm {facts['gradient_norm']:.1e} of {facts['gradient_norm_limit']:.1e}")
    parts.append(f"inverse residual {facts['inverse_residual']:.1e} of {facts['inverse_residual_limit']:.1e}")
    parts.append(
        f"damping {facts['damping']:g}"
        if "damping" in facts
        else f"{facts['checkpoints']} checkpoints, widths {facts['widths']}"
    )
    click.echo(f"certificate  {', '.join(parts)}")


def _fit_head(form: Form, records: Sequence[bytes], damping: int, device: str) -> Fitted:
    # torch takes seconds to load, and --help must not wait for it.
    from attribution.head.fit import fit as train

    names = tuple(map(content_hash, records))
    problem = Problem(engine=ENGINE_HEAD, schema=form.schema, damping=damping, records=names)
    with _progress() as show:
        posted = train(problem, dict(zip(names, records, strict=True)), device=device, progress=show)
    weights, inverse = content_hash(posted.weights), content_hash(posted.inverse)
    model = Model(problem=problem, weights=weights, inverse=inverse)
    return model, {weights: posted.weights, inverse: posted.inverse}, posted.certificate


def _fit_mlp(form: Form, records: Sequence[bytes], widths: tuple[int, ...], checkpoints: int) -> Fitted:
    # torch, as above.
    from attribution.mlp.fit import Training
    from attribution.mlp.fit import fit as train

    assert isinstance(form.schema, TabularSchema)
    names = tuple(map(content_hash, records))
    problem = MlpProblem(engine=ENGINE_MLP, schema=form.schema, widths=widths, records=names)
    materials = dict(zip(names, records, strict=True))
    with _progress() as show:
        posted = train(
            problem, materials, Training(checkpoints=checkpoints), lambda done, steps: show("training", done / steps)
        )
    model: MlpModel = posted.model
    return model, posted.materials, posted.certificate


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    # On standard error, so that what is printed stays what a program can read; and only where somebody watches.
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=_PROGRESS_STEPS, label="reading", file=sys.stderr, hidden=hidden) as bar:

        def show(stage: str, done: float) -> None:
            bar.label = stage
            bar.update(round(done * _PROGRESS_STEPS) - bar.pos)

        yield show
