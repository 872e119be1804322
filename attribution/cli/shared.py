"""What the commands share: mistakes told in a line, models read from files, and who does the work."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click

from attribution.artifact import Artifact, decode_artifact
from attribution.content import content_hash
from attribution.errors import AttributionError, KernelError
from attribution.examples import encode_records
from attribution.jsonl import DataError, read_bytes
from attribution.tables import Source

Outcome = TypeVar("Outcome")


def checked(action: Callable[[], Outcome], about: Path | None = None) -> Outcome:
    """Run, with what is wrong with the data told as one line, about a file, and exit code 1."""
    try:
        return action()
    except DataError as error:
        raise click.ClickException(str(error)) from None
    except AttributionError as error:
        raise click.ClickException(f"{about}: {error}" if about else str(error)) from None
    except KernelError as error:
        raise click.ClickException(f"a machine computes integers wrongly and must not be used: {error}") from None
    except BrokenExecutor as error:
        raise click.ClickException(f"a worker ended before its work, perhaps for want of memory: {error}") from None


def read_artifact(path: Path) -> Artifact:
    """The model of a file. Raises: DataError; AttributionError, as `artifact.decode_artifact`."""
    return decode_artifact(read_bytes(path))


def read_materials(artifact: Artifact, path: Path, source: Source) -> dict[bytes, bytes]:
    """What the model is made of, its records included; these have to be exactly those of a file.

    Raises: DataError.
    """
    records, names = encode_records(artifact.form, source), artifact.model.problem.records
    if len(records) != len(names):
        raise DataError(f"{source.path}: {len(records)} records; the model {path} was trained on {len(names)}")
    for index, (data, name) in enumerate(zip(records, names, strict=True)):
        if content_hash(data) != name:
            raise DataError(f"{source.where(index)}: not the record that the model {path} was trained on")
    return artifact.materials | dict(zip(names, records, strict=True))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all. Raises: DataError."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


def worker_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say who does the work."""
    workers = click.option(
        "--workers", type=click.IntRange(1, 256), metavar="N", help="Share questions among N processes."
    )
    dask = click.option("--dask", metavar="ADDRESS", help="Share them among a Dask cluster: tcp://HOST:PORT.")
    return workers(dask(command))


@contextmanager
def open_executor(workers: int | None, dask: str | None) -> Iterator[Executor]:
    """Who does the work: this process, processes, or a Dask cluster. Raises: DataError."""
    # They load numpy.
    from attribution.batch import HereExecutor, processes

    if workers is not None and dask is not None:
        raise click.UsageError("--workers and --dask are two ways to share the work: say one")
    if dask is not None:
        with _cluster(dask) as executor:
            yield executor
    elif workers is not None:
        with processes(workers) as executor:
            yield executor
    else:
        yield HereExecutor()


@contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    try:
        # Only whoever has a cluster needs it.
        from distributed import Client
    except ImportError:
        raise DataError(
            "--dask needs distributed; install it with `pip install openledger-node[dask]` or `pip install distributed`"
        ) from None
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"--dask {address}: no scheduler answers ({said})") from None
    with client:
        yield client.get_executor()


def in_flight(executor: Executor, workers: int | None) -> int:
    """Parts that are sent out at a time: two for each worker."""
    client = getattr(executor, "_client", None)
    count = len(client.ncores()) if client is not None else workers or os.cpu_count() or 1
    return 2 * max(count, 1)


def list_rows(rows: Sequence[str], most: int = 12) -> str:
    """Names in a line, the last ones counted."""
    left = f" and {len(rows) - most} more" if len(rows) > most else ""
    return ", ".join(rows[:most]) + left
