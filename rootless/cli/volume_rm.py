"""`rootless volume rm`."""

from __future__ import annotations

import sys

import click

from ..container.volume_use import users
from ..errors import NotFoundError, RootlessError
from .context import Context
from .options import Command
from .volume_common import volumes


@click.command(cls=Command, at_least=1, short_help="Remove one or more volumes")
@click.option("-f", "--force", is_flag=True, help="Force the removal of one or more volumes")
@click.argument("names", nargs=-1, metavar="VOLUME [VOLUME...]")
@click.pass_context
def volume_rm(ctx: click.Context, /, names: tuple[str, ...], force: bool) -> int:
    """Remove the volumes NAMES and what is in them. One that a container has, running or not, stays."""
    context: Context = ctx.obj
    context.containers.sweep()  # a --rm container that lost its monitor has no volume any more
    code = 0
    for name in names:
        try:
            volumes(context).remove(name, lambda name: users(context.containers).get(name, []))
        except RootlessError as problem:
            # As in Docker, --force does not mind what is not there, and prints its name.
            if not (force and isinstance(problem, NotFoundError)):
                print(f"rootless: {problem}", file=sys.stderr)
                code = 1
                continue
        print(name)
    return code
