"""The command `rootless`: a table of commands, imported when they are called, and the one place where an error becomes
a line of text and an exit code.

Words and codes are the Docker CLI's: an unknown option ends with 125, an unknown command and a wrong number of
arguments with 1, other failures with 1, the engine's in `run` with 125 (options.py has the codes of each command).
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

import click

from .. import __version__
from ..errors import Interrupted, RootlessError
from .context import Context
from .options import Command, Group, describe
from .table import COMMANDS, GROUPS


class _Rootless(Group):
    """The table as a click group."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except RootlessError as problem:
            if ctx.obj is not None and ctx.obj.debug:
                import traceback

                traceback.print_exception(problem)
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_single_words() | GROUPS.keys())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _single_words():
            return load(cmd_name)
        if cmd_name in GROUPS:
            return _Family(cmd_name)
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Management Commands"):
            formatter.write_dl([(name, text) for name, (text, _) in sorted(GROUPS.items())])
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(_single_words())])


def _single_words() -> set[str]:
    return {name for name in COMMANDS if " " not in name}


class _Family(Group):
    """`rootless container ...` and its like: the same commands under Docker's longer names."""

    def __init__(self, name: str) -> None:
        self.text, self.members = GROUPS[name]
        super().__init__(name, help=self.text)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.members)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return load(self.members[cmd_name]) if cmd_name in self.members else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(word, COMMANDS[command][1]) for word, command in sorted(self.members.items())])


def load(command: str) -> Command:
    """Import a command's module and give its click command."""
    module, _, attribute = COMMANDS[command][0].partition(":")
    found: Command = getattr(import_module(module), attribute)
    return found


@click.group(cls=_Rootless)
@click.option("--root", metavar="DIR", help="Where images and containers are kept [$ROOTLESS_ROOT]")
@click.option(
    "--storage-driver",
    metavar="NAME",
    envvar="ROOTLESS_STORAGE_DRIVER",
    default="auto",
    help="overlay, cow, fuse-overlayfs, or auto (default)",
)
@click.option("-D", "--debug", is_flag=True, help="Show the plan and tracebacks")
@click.version_option(__version__, "-v", "--version", message="rootless version %(version)s")
@click.pass_context
def rootless(ctx: click.Context, root: str | None, storage_driver: str, debug: bool) -> None:
    """Containers for people who have no root: no daemon, no administrator."""
    ctx.obj = Context(root=root, driver=storage_driver, debug=debug)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    words = sys.argv[1:] if arguments is None else arguments
    _open_missing_streams()
    _wait_for_readers()
    try:
        code = rootless.main(words, prog_name="rootless", standalone_mode=False)
    except click.exceptions.Exit as end:
        code = end.exit_code
    except click.ClickException as problem:
        code = _tell_usage(problem)
    except RootlessError as problem:
        code = _tell(problem)
    except OSError as problem:
        code = _tell(RootlessError(describe(problem)))
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except Interrupted as end:
        code = 128 + end.number
    sys.exit(_flush(code if isinstance(code, int) else 0))


def _flush(code: int) -> int:
    """Write out what is buffered: a full disk behind standard output shows only now."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return 141
    except OSError as problem:
        _drop_output()
        _say(f"rootless: standard output: {problem.strerror}")
        return code or 1
    return code


def _drop_output() -> None:
    """The interpreter's own flush at its exit must not fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _tell_usage(problem: click.ClickException) -> int:
    """Docker's words for a command line that does not parse; unknown or bad options 125, everything else 1."""
    ctx = getattr(problem, "ctx", None)
    path = ctx.command_path if ctx is not None else "rootless"
    code, text = 125, problem.format_message() if getattr(problem, "param", None) else problem.message
    if isinstance(problem, click.NoSuchOption):
        text = f"unknown {_flag(problem.option_name)}"
        from .absent import no_option

        text += no_option(problem.option_name)
    elif isinstance(problem, click.BadOptionUsage):
        text = f"flag needs an argument: {_flag(problem.option_name).partition(': ')[2]}"
    elif not isinstance(problem, click.BadParameter) or isinstance(problem, click.MissingParameter):
        code, text = 1, problem.format_message()
    see = "" if type(problem) is click.ClickException else f"; see '{path} --help'"
    _say(f"rootless: {text}{see}")
    return code


def _flag(name: str) -> str:
    """An option as pflag, which reads Docker's, names one that it complains of."""
    return f"flag: {name}" if name.startswith("--") else f"shorthand flag: {name[1:]!r} in {name}"


def _open_missing_streams() -> None:
    """Put /dev/null where the caller closed 0, 1 or 2: else a socket or a file of ours would get that number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)


def _wait_for_readers() -> None:
    """Have streams that do not block wait nevertheless: Python's would lose what can't be written at once."""
    for number, name in (1, "stdout"), (2, "stderr"):
        if os.get_blocking(number):
            continue
        import io

        from ..kernel.output import Output

        old = getattr(sys, name)
        buffer = io.BufferedWriter(Output(number))
        settings = {"encoding": old.encoding, "errors": old.errors, "line_buffering": old.line_buffering}
        setattr(sys, name, io.TextIOWrapper(buffer, **settings))


def _tell(problem: RootlessError) -> int:
    _say(*filter(None, [problem.picture, f"rootless: {problem}"]))
    return problem.exit_code


def _say(*lines: str) -> None:
    """On standard error. A full disk or a closed pipe behind that leaves the exit code as it is."""
    with suppress(OSError):
        for line in lines:
            print(line, file=sys.stderr, flush=True)
