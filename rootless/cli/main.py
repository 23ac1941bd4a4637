"""The command `rootless`: a table of commands, imported when they are called, and the one place where an error becomes
a line of text and an exit code.

Words and codes are the Docker CLI's: an unknown option ends with 125, an unknown command and a wrong number of
arguments with 1, other failures with 1, the engine's in `run` with 125 (flags.py has the codes of each command).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

from .. import __version__
from ..errors import Interrupted, RootlessError
from . import flags
from .context import Context
from .table import COMMANDS, GROUPS

OPTIONS = (
    flags.Option(("-D", "--debug"), "debug", help="Show the plan and tracebacks", boolean=True, default=False),
    flags.Option(("--root",), "root", help="Where images and containers are kept [$ROOTLESS_ROOT]", metavar="DIR"),
    flags.Option(
        ("--storage-driver",),
        "storage_driver",
        help="overlay, cow, fuse-overlayfs, or auto",
        default="auto",
        metavar="NAME",
        envvar="ROOTLESS_STORAGE_DRIVER",
    ),
    flags.Option(("-v", "--version"), "version", help="Print version information and quit", boolean=True),
)
"""Those before the command."""

SINGLE = {name for name in COMMANDS if " " not in name}
"""The commands that are called by a word of their own, without a group."""


def load(command: str) -> flags.Command:
    """Import a command's module and give the command."""
    module, _, attribute = COMMANDS[command][0].partition(":")
    found: flags.Command = getattr(import_module(module), attribute)
    return found


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    words = sys.argv[1:] if arguments is None else arguments
    _open_missing_streams()
    _wait_for_readers()
    try:
        code = _run(words)
    except RootlessError as problem:
        code = _tell(problem)
    except BrokenPipeError:
        _drop_output()  # whoever read it has gone
        code = 141
    except OSError as problem:
        code = _tell(RootlessError(flags.describe(problem)))
    except KeyboardInterrupt:
        code = 130
    except Interrupted as end:
        code = 128 + end.number
    sys.exit(_flush(code))


def _run(words: list[str]) -> int:
    path, group = "rootless", ""
    try:
        given, rest = _read_options(path, words, OPTIONS)
        if given["version"]:
            print(f"rootless version {__version__}")
            return 0
        members = {name: name for name in SINGLE}
        if rest and rest[0] in GROUPS:
            group, *rest = rest
            path, members = f"{path} {group}", GROUPS[group][1]
            _, rest = _read_options(path, rest, ())
        if not rest:
            raise flags.HelpWanted
        if rest[0] not in members:
            raise _unknown(path, rest[0])
    except flags.HelpWanted:
        return _show_help(path, group)
    context = Context(root=given["root"], driver=given["storage_driver"], debug=given["debug"], group=group)
    return _call(context, members[rest[0]], f"{path} {rest[0]}", rest[1:])


def _read_options(path: str, words: list[str], options: Iterable[flags.Option]) -> tuple[dict[str, Any], list[str]]:
    """The options before a command, and what follows them."""
    line = flags.Line(options, interspersed=False)
    try:
        line.feed_all(words)
    except flags.LineError as problem:
        problem.hint = f"see '{path} --help'"
        raise
    return line.result(), line.arguments


def _call(context: Context, name: str, path: str, words: list[str]) -> int:
    found = load(name)
    try:
        return found.run(context, path, words)
    except flags.HelpWanted:
        from . import help as text

        print(text.of_command(found, name, path), end="")
        return 0
    except RootlessError as problem:
        if context.debug:
            import traceback

            traceback.print_exception(problem)
        raise


def _show_help(path: str, group: str) -> int:
    from . import help as text

    print(text.of_group(path, group) if group else text.of_root(path, OPTIONS, SINGLE), end="")
    return 0


def _unknown(path: str, word: str) -> flags.LineError:
    from .absent import no_command

    error = flags.LineError(f"unknown command: {path} {word}{no_command(word)}", exit_code=1)
    error.hint = f"see '{path} --help'"
    return error


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
