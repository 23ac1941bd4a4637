"""`rootless discard`, also `rootless container discard`."""

from __future__ import annotations

import click

from .context import Context
from .each import for_each
from .options import Command


@click.command(cls=Command, at_least=1, short_help="Throw a container's changes of the machine's files away")
@click.argument("containers", nargs=-1, metavar="CONTAINER [CONTAINER...]")
@click.pass_context
def discard(ctx: click.Context, containers: tuple[str, ...]) -> int:
    """Throw away what one or more CONTAINERs have changed of your files: of the image host, or with mounts `:O`.

    The containers themselves stay; when they are started again they begin with the machine as it is.
    """
    from ..container import review

    context: Context = ctx.obj
    idmap = context.engine.idmap
    return for_each(containers, lambda name: review.discard(context.containers.resolve(name), idmap))
