"""`python -m devnet`: four validators on loopback and the story played against them; `bench` measures them."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from pathlib import Path

import click

from devnet.launcher import Launcher, LaunchError
from devnet.stage import Stage, StoryError
from devnet.topology import FIRST_PORT, Devnet, NotADevnetError, container_places, open_devnet
from node.errors import OpenLedgerError
from node.primitives.address import format_address

DIRECTORY_OPTION = click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".devnet"),
    show_default=True,
    help="Where homes, keys and logs lie.",
)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@DIRECTORY_OPTION
@click.option("--reset", is_flag=True, help="Start over: deletes the devnet in the directory.")
@click.option("--exit", "is_exit", is_flag=True, help="End after the story; status 0 only if every check held.")
@click.option("--json", "is_json", is_flag=True, help="The last line is one object for programs.")
@click.option(
    "--first-port",
    type=click.IntRange(1024, 65_000),
    default=FIRST_PORT,
    show_default=True,
    help="Where it looks for eight free ports; only when the devnet is made.",
)
@click.option("--no-story", is_flag=True, help="Only start the nodes.")
@click.pass_context
def cli(
    context: click.Context,
    directory: Path,
    *,
    reset: bool,
    is_exit: bool,
    is_json: bool,
    first_port: int,
    no_story: bool,
) -> None:
    """Four validators on loopback; the story of the clinics is played against them over their public RPC."""
    if context.invoked_subcommand is not None:
        return
    started = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - started:6.1f} s  {text}" if text else "")

    devnet, is_new = open_devnet(directory, is_reset=reset, first_port=first_port)
    (directory.parent / "devnet.json").write_text(json.dumps(devnet.describe(), indent=1) + "\n")
    with Launcher(devnet) as launcher:
        launcher.start_all()
        say(f"{len(devnet.nodes)} validators are up" + ("" if is_new else ", the chain goes on"))
        is_good = True
        if not no_story:
            # torch and scikit-learn are loaded for the story only.
            from devnet.data import load_split
            from devnet.report import make_report, print_checks, print_tables
            from devnet.story import play, play_lies

            with Stage(devnet, launcher, say) as stage:
                split = load_split()
                trained = play(stage, split)
                print_tables(stage, make_report(stage, split, trained), click.echo)
                play_lies(stage, split, trained)
                report = make_report(stage, split, trained)
                print_checks(stage, report, click.echo)
                is_good = report.is_good
        _print_addresses(devnet)
        if not is_exit:
            _wait_for_signal(launcher)
            say("stopping; `make devnet` resumes this chain, ARGS=--reset starts over")
    if is_json and not no_story:
        click.echo(json.dumps(report.to_json()))
    if not is_good:
        click.echo("the story did not hold: see the lines with FAIL", err=True)
        sys.exit(1)


@cli.command()
@DIRECTORY_OPTION
def homes(directory: Path) -> None:
    """Make the homes of four validators that run in containers (devnet/compose.yaml); start nothing."""
    devnet, is_new = open_devnet(directory, places=container_places())
    names = ", ".join(node.name for node in devnet.nodes)
    click.echo(
        f"{'made' if is_new else 'found'} {names} of the chain {devnet.genesis.hash().hex()[:16]} in {directory}"
    )


def _print_addresses(devnet: Devnet) -> None:
    click.echo(f"{'node':<12} {'explorer and RPC':<28} REST")
    for node in devnet.nodes:
        click.echo(f"{node.name:<12} {node.url:<28} {node.url}/api/v1")
    click.echo(f"\n{'account':<12} {'address':<44} secret seed")
    for name, key in devnet.accounts.items():
        if not name.startswith("bench"):
            click.echo(f"{name:<12} {format_address(key.address):<44} {key.seed.hex()}")
    click.echo("\nwritten to devnet.json\n")


def _wait_for_signal(launcher: Launcher) -> None:
    """Until Ctrl-C; a node that ends by itself is reported."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    click.echo("up; Ctrl-C stops everything and loses nothing")
    reported: set[str] = set()
    while not stopping.wait(0.5):
        for name in launcher.dead():
            if name not in reported:
                reported.add(name)
                click.echo(f"{name} ended by itself: see its node.log", err=True)


def main() -> None:
    """Runs the command line."""
    from devnet.bench import bench  # commands of their own; they load what they need when they are called
    from devnet.bench_sync import bench_sync
    from devnet.chaos.command import chaos
    from devnet.latency import latency

    for command in (bench, bench_sync, chaos, latency):
        cli.add_command(command)
    # Whoever ends this program ends the nodes with it: they are stopped in order on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except ImportError as error:
        sys.exit(f"{error}: the story needs the extra `demo` (pip install -e '.[demo]')")
    except (LaunchError, StoryError, NotADevnetError, OpenLedgerError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
