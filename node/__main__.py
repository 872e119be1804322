"""`openledger`: the command line. Light to start: a command's own modules are loaded when it is called."""

from __future__ import annotations

import importlib
import sys

import click

from node import __version__
from node.errors import OpenLedgerError, Rejected

COMMANDS = {
    "init": ("node.cli.setup", "Make a home directory with keys and config."),
    "start": ("node.cli.setup", "Run the node."),
    "genesis": ("node.cli.setup", "Assemble and check genesis files."),
    "keys": ("node.cli.keys", "Make, list, show and import account keys."),
    "tx": ("node.cli.tx", "Send transactions of every kind."),
    "query": ("node.cli.query", "Ask a node about blocks, accounts, datanets, models, payments…"),
    "status": ("node.cli.query", "Where a node stands."),
    "explain": ("node.cli.explain", "Why there is no block."),
    "doctor": ("node.cli.doctor", "Check a home: config, clock, keys, ports, log, store."),
    "log-level": ("node.cli.explain", "Change how much a running node says."),
    "fork-genesis": ("node.cli.fork_genesis", "Export a stopped node's state to a new chain with a new validator set."),
    "blob": ("node.cli.query", "Upload and fetch contents."),
    "verify": ("node.cli.verify", "Check a transaction or an account without believing a node."),
    "snapshot": ("node.cli.snapshot", "Make, list and restore snapshots of a stopped node's state."),
    "rollback": ("node.cli.snapshot", "Take the last blocks of a stopped node back."),
    "index": ("node.cli.setup", "Rebuild the explorer's index."),
    "completion": ("node.cli.setup", "Print shell completion for bash, zsh or fish."),
}
"""Each command with its module and one line of help."""


class LazyGroup(click.Group):
    """A group whose commands are loaded when called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, loaded."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command = module.COMMANDS[cmd_name]
        assert isinstance(command, click.Command), "a command module lists click commands"
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in --help, without loading anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="openledger")
def cli() -> None:
    """A node of OpenLedger: a chain whose validators re-run data attribution themselves.

    Exit codes: 0 done, 1 refused or failed, 2 the command was called wrongly.
    """


def main() -> None:
    """Runs the command line."""
    if not __debug__:
        sys.exit("openledger does not run under `python -O`: its checks of its own invariants would be gone")
    try:
        cli(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2 if isinstance(error, click.UsageError) else 1)
    except Rejected as error:
        click.echo(f"refused ({error.reason.value}): {error.message}", err=True)
        sys.exit(1)
    except OpenLedgerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
