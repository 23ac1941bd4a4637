"""`rootless rename`, also `rootless container rename`."""

from __future__ import annotations

import click

from ..errors import InvalidError
from .context import Context
from .options import Command


@click.command(cls=Command, at_least=2, at_most=2, short_help="Rename a container")
@click.argument("names", nargs=-1, metavar="CONTAINER NEW_NAME")
@click.pass_context
def rename(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Call a CONTAINER by a new name. It may run meanwhile."""
    context: Context = ctx.obj
    old, new = (name.strip() for name in names)
    if not old.removeprefix("/") or not new.removeprefix("/"):
        raise InvalidError("Neither old nor new names may be empty")
    container = context.containers.resolve(old)
    context.containers.rename(container, new)
    container.emit("rename", oldName=f"/{container.name}", name=new.removeprefix("/"))
