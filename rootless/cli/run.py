"""`rootless run`."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from ..kernel import pty
from ..paths import Paths, private_directory
from .container_options import container_options, read_options
from .context import Context
from .options import Command


@click.command(cls=Command, at_least=1, interspersed=False, short_help="Create and run a new container from an image")
@click.option("-d", "--detach", is_flag=True, help="Run container in background and print container ID")
@click.option("--rm", "auto_remove", is_flag=True, help="Remove the container and its files when it exits")
@container_options
@click.argument("image", required=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(ctx: click.Context, /, image: str, detach: bool, name: str, **given: Any) -> int:
    """Create and run a new container from IMAGE, with COMMAND in the place of the image's own."""
    from ..container import lifecycle
    from ..runtime.attach import attach

    context: Context = ctx.obj
    options = read_options(detach=detach, **given)
    if options.tty and options.interactive and not detach and not os.isatty(0):
        raise click.ClickException("the input device is not a TTY")
    engine = context.engine
    maker = lifecycle.plan(engine, options, image, name)
    if engine.idmap.single:
        _say_once(
            context.paths, f"there is only one id in the container, everything is its root's: {engine.idmap.reason}"
        )
    started = lifecycle.run(engine, maker, _window())
    if detach:
        print(started.container_id)
        return 0
    return attach(started.connection, stdin=options.interactive, terminal=options.tty)


def _say_once(paths: Paths, text: str) -> None:
    """A warning that is true of every container here: said by the first one, and again after the next boot."""
    said = private_directory(paths.run) / "said-one-id"
    if not said.exists():
        said.touch()
        print(f"rootless: warning: {text}", file=sys.stderr)


def _window() -> tuple[int, int]:
    """The size of the terminal we write to; without one, what a terminal is when nobody says (terminfo's 24 x 80)."""
    for fd in (1, 0, 2):
        if os.isatty(fd):
            return pty.window_size(fd)
    return 24, 80
