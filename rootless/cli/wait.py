"""`rootless wait`, also `rootless container wait`."""

from __future__ import annotations

import sys

import click

from ..errors import RootlessError
from .context import Context
from .options import Command


@click.command(
    cls=Command, at_least=1, short_help="Block until one or more containers stop, then print their exit codes"
)
@click.argument("containers", nargs=-1)
@click.pass_context
def wait(ctx: click.Context, containers: tuple[str, ...]) -> int:
    """Wait until each of the CONTAINERS has stopped, one after the other, and print its exit code."""
    from ..container import operate

    context: Context = ctx.obj
    code = 0
    for name in containers:
        try:
            ended = operate.wait(context.containers.resolve(name))
        except RootlessError as problem:
            print(f"rootless: {problem}", file=sys.stderr)
            code = 1
        else:
            print(ended, flush=True)
    return code
