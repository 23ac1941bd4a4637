"""The command's own side of a container's streams: is there a terminal, how large is it, what ends an attachment."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

import click

from ..errors import UsageError
from ..kernel import pty
from ..runtime import stream
from ..runtime.detach import DetachKeys
from ..runtime.forwarding import Signals

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"

detach_keys_option = click.option(
    "--detach-keys", default="", metavar="STRING", help="Override the key sequence for detaching a container"
)


def require_terminal(*, tty: bool, interactive: bool) -> None:
    """Docker's check for `-it`: input that is to come from a terminal must come from one."""
    if tty and interactive and not os.isatty(0):
        raise click.ClickException("the input device is not a TTY")


def window() -> tuple[int, int]:
    """The size of the terminal we write to; without one, what a terminal is when nobody says (terminfo's 24 x 80)."""
    for fd in (1, 0, 2):
        if os.isatty(fd):
            return pty.window_size(fd)
    return 24, 80


def taken_part_in(names: Sequence[str]) -> tuple[bool, frozenset[int]]:
    """What `-a` names, all for nothing: whether input is among it, and which outputs."""
    outputs = {"stdout": stream.STDOUT, "stderr": stream.STDERR}
    return not names or "stdin" in names, frozenset(n for name, n in outputs.items() if not names or name in names)


def warn(warnings: Iterable[str]) -> None:
    """Say what was asked for and does not hold."""
    for warning in warnings:
        print(f"rootless: warning: {warning}", file=sys.stderr)


def attach(
    connection: stream.Connection,
    signals: Signals,
    *,
    stdin: bool,
    terminal: bool,
    keys: str = "",
    outputs: frozenset[int] = frozenset({stream.STDOUT, stream.STDERR}),
) -> int:
    """Stay attached until the end, or until the detach keys are typed; the exit code, 0 after detaching.

    Args:
        outputs: what is shown; with nothing to show, the end of the input ends it as well.

    Raises:
        Detached: the keys were typed.
        Interrupted: by a signal that is not the container's.
    """
    from ..runtime import attach as attachment  # while the container starts, and not before

    wanted = attachment.Terminal(stdin=stdin, terminal=terminal, detach=parse_keys(keys), outputs=outputs)
    return attachment.attach(connection, wanted, signals)


def parse_keys(text: str) -> DetachKeys | None:
    """`--detach-keys`; empty for Docker's default.

    Raises:
        UsageError: not a sequence of keys.
    """
    try:
        return DetachKeys.parse(text or DEFAULT_DETACH_KEYS)
    except ValueError as problem:
        raise UsageError(f"invalid detach keys ({text}) provided: {problem}") from None
