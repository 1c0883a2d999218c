"""The ``diffcdr`` command: the runtime's commands, and those of training and service if they are installed.

Other packages add commands through the entry-point group ``diffcdr.commands``; the name in brackets after the
object is the extra that brings what it imports. They are imported when they are called, never for ``--help``, so
the program starts at once and works without them.
"""

from __future__ import annotations

import signal
import sys
import threading
from importlib.metadata import EntryPoint, entry_points
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from diffcdr import __version__
from diffcdr.errors import DiffCDRError, MissingExtraError
from diffcdr.help import GroupedHelp
from diffcdr.terminal import spell_out_letters

COMMAND_GROUP = "diffcdr.commands"
SUMMARIES = {
    "prepare": "Clean and pair two rating files once, locally or on Spark.",
    "base": "Fit base models on prepared tables, locally or on Spark.",
    "train": "Train on two rating files and publish a bundle.",
    "retrain": "Train again with feedback; publish what is not worse.",
    "serve": "Serve a bundle over REST.",
    "synth": "Generate a two-domain data set to try it out.",
    "score": "Recommend to many users, from file to file.",
    "experiment": "Compare models on two rating files, with a report.",
    "bench": "Measure speed against reference implementations.",
    "inspect": "Show the content and quality of a bundle, and check its files.",
    "doctor": "Show the available devices, and what is missing.",
    "index": "Republish a bundle with an approximate item index.",
    "rollout": "Roll out a bundle to every replica, one after the other.",
    "push": "Copy a bundle's source vectors to Redis.",
    "erasures": "List the users who asked to be forgotten.",
    "events": "Export the ratings that users sent, for the next training.",
}
"""Shown in ``diffcdr --help``; no command is imported for it."""
OWN_COMMANDS = {
    "score": "diffcdr.commands.score:score",
    "inspect": "diffcdr.commands.inspect:inspect_bundle",
    "index": "diffcdr.commands.index:index_command",
    "doctor": "diffcdr.commands.doctor:doctor",
}


class LazyGroup(TyperGroup):
    """Lists commands by name alone, and imports one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order in which a new user needs them, then those of other packages."""
        names = list(commands())
        return sorted(names, key=lambda name: (list(SUMMARIES).index(name) if name in SUMMARIES else 99, name))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in that knows its summary, for help and suggestions; None if there is no such command."""
        if cmd_name not in commands():
            return None
        return TyperCommand(cmd_name, help=SUMMARIES.get(cmd_name, "(added by another package)"))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself, imported now.

        Raises:
            MissingExtraError: it needs a package that is not installed.
        """
        self.commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        name, _, rest = super().resolve_command(ctx, args)
        return name, load_command(commands()[str(name)]), rest


app = typer.Typer(
    cls=LazyGroup,
    name="diffcdr",
    help="Recommendations across domains for users the target domain has never seen (DiffCDR).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"diffcdr {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Recommendations across domains for users the target domain has never seen (DiffCDR)."""


def main(args: list[str] | None = None) -> None:
    """Run the program. A user's mistake ends with one line on standard error and the error's exit code."""
    spell_out_letters()
    end_cleanly_when_told()
    try:
        app(args=args, prog_name="diffcdr")
    except DiffCDRError as error:
        Console(stderr=True, highlight=False).print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def end_cleanly_when_told() -> None:
    """Handle SIGTERM and SIGHUP like an error, so that nothing half-written stays.

    Commands may take the signals themselves.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, leave)


def load_command(entry: EntryPoint) -> Any:
    """Import the command behind ``entry``.

    Raises:
        InputError: what is installed is not what the command needs; see :func:`check_installation`.
        MissingExtraError: a package it needs is not installed.
    """
    from diffcdr.installation import OWN_PACKAGES, check_installation  # noqa: PLC0415 - help does without

    check_installation(entry.module, entry.extras)
    try:
        function = entry.load()
    except ModuleNotFoundError as error:
        extra = entry.extras[0] if entry.extras else None
        if extra is None or (error.name or "").partition(".")[0] in OWN_PACKAGES:
            raise
        raise MissingExtraError(f"diffcdr {entry.name}", extra=extra) from error
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    single.command(entry.name, cls=GroupedHelp)(function)
    return typer.main.get_command(single)


def commands() -> dict[str, EntryPoint]:
    """Every command by name: the runtime's own, then those of entry points."""
    own = {name: EntryPoint(name, value, COMMAND_GROUP) for name, value in OWN_COMMANDS.items()}
    return own | {entry.name: entry for entry in entry_points(group=COMMAND_GROUP) if entry.name not in own}
