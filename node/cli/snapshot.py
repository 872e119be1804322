"""snapshot create, restore, list; rollback: the state of a stopped node. Never touches its write-ahead log."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import click

from node.cli.setup import HOME_OPTION
from node.config import SNAPSHOTS_DIRECTORY, ConfigError, Home


@contextlib.contextmanager
def _stopped(home: Path) -> Iterator[Home]:
    """A home that no node uses meanwhile. Raises: ConfigError."""
    from node.app import lock_data  # loads the whole node; --help does not need it

    place = Home(home.expanduser())
    place.load_genesis()
    with lock_data(place.data):
        yield place


@click.group()
def snapshot() -> None:
    """Make, list and restore snapshots of a stopped node's state."""


@snapshot.command()
@HOME_OPTION
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path, file_okay=False),
    help="Copy it to this new directory too, to carry it elsewhere.",
)
def create(home: Path, target: Path | None) -> None:
    """Write a snapshot of the last final block's state, if it ends an epoch, into the home's data/snapshots."""
    from node.snapshot import make_snapshot, require_epoch_end
    from node.state.store import StateStore
    from node.storage.blocks import BlockStore
    from node.storage.kv import LevelStore
    from node.storage.snapshots import SnapshotShelf

    if target is not None and target.exists():
        raise ConfigError(f"{target} exists already: name a new directory")
    with _stopped(home) as place:
        store = LevelStore(_state_of(place))
        try:
            blocks, height = BlockStore(store), StateStore(store).tip.height
            header, certificate = blocks.header(height), blocks.certificate(height)
            if header is not None and height > 0:
                require_epoch_end(store, header)
            if header is None or certificate is None:
                raise ConfigError(
                    f"height {height} has no finalization of its own: start the node, and stop it after another block"
                )
            frozen = store.freeze()
            shelf = SnapshotShelf(place.data / SNAPSHOTS_DIRECTORY)
            made = make_snapshot(shelf, frozen, header, certificate, place.load_genesis().epoch)
            frozen.close()
        finally:
            store.close()
    if target is not None:
        shutil.copytree(made.path, target)
    manifest = made.load().manifest
    click.echo(
        f"height {height}, {manifest.entry_count} entries in {len(manifest.chunks)} chunks: {target or made.path}"
    )


@snapshot.command(name="list")
@HOME_OPTION
def list_snapshots(home: Path) -> None:
    """Show the snapshots a home has."""
    from node.storage.snapshots import SnapshotShelf

    place = Home(home.expanduser())
    found = SnapshotShelf(place.data / SNAPSHOTS_DIRECTORY).all()
    if not found:
        click.echo("none")
    for directory, each in found:
        manifest = each.manifest
        size_bytes = sum(file.stat().st_size for file in directory.path.iterdir())
        click.echo(
            f"{manifest.header.height:>10}  {manifest.entry_count} entries  {len(manifest.chunks)} chunks  "
            f"{size_bytes} bytes  {directory.path}"
        )


@snapshot.command()
@HOME_OPTION
@click.argument("source", type=click.Path(path_type=Path, file_okay=False, exists=True))
def restore(home: Path, source: Path) -> None:
    """Begin a home's state with the snapshot in SOURCE, verified from the genesis on (or the trusted block, if set)."""
    from node.epochs import Anchor
    from node.snapshot import restore_snapshot, save_verified_epochs
    from node.storage.blobs import BlobStore
    from node.storage.kv import LevelStore
    from node.storage.snapshots import SnapshotDirectory

    with _stopped(home) as place:
        path = place.data / "state"
        if path.exists() and any(path.iterdir()):
            raise ConfigError(
                f"{path} holds a state already: move it away first, or restore into a home of its own. "
                f"Leave data/log where it is: it holds what this validator signed"
            )
        genesis, storage = place.load_genesis(), place.load_config().storage
        anchor = None
        if storage.trusted_height:
            anchor = Anchor(storage.trusted_height, bytes.fromhex(storage.trusted_block_id))
        store, blob_store = LevelStore(path), LevelStore(place.data / "blobs")
        is_done = False
        try:
            directory = SnapshotDirectory(source)
            epochs = save_verified_epochs(directory, store, genesis, anchor)
            header = restore_snapshot(directory, store, BlobStore(blob_store), genesis, epochs, is_source_kept=True)
            is_done = True
        finally:
            store.close()
            blob_store.close()
            if not is_done:  # what was begun is not left behind: the same command can be given again
                shutil.rmtree(path, ignore_errors=True)
    click.echo(f"restored height {header.height}, state root {header.state_root.hex()}")
    click.echo("the node fetches the blocks since, and the contents the state refers to, when it starts")


@click.command()
@HOME_OPTION
@click.option("--to", "to_height", type=click.IntRange(min=0), required=True, help="The height to go back to.")
def rollback(home: Path, to_height: int) -> None:
    """Take the last final blocks of a stopped node back, as far as its undo records reach.

    For a disk that holds what it should not: the node fetches the blocks again when it starts. The write-ahead log
    stays as it is, so that nothing is signed twice.
    """
    from node.rollback import roll_back
    from node.storage.kv import LevelStore

    with _stopped(home) as place:
        store = LevelStore(_state_of(place))
        try:
            header = roll_back(store, to_height)
        finally:
            store.close()
    click.echo(f"the last final block is {header.height} again, id {header.id().hex()}")


def _state_of(place: Home) -> Path:
    path = place.data / "state"
    if not path.exists():
        raise ConfigError(f"{path} is not there: this home has no state yet")
    return path


COMMANDS = {"snapshot": snapshot, "rollback": rollback}
