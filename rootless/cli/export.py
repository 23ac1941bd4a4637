"""`rootless export`, also `rootless container export`."""

from __future__ import annotations

import click

from .archive_output import written
from .context import Context
from .options import Command


@click.command(cls=Command, at_least=1, at_most=1, short_help="Export a container's filesystem as a tar archive")
@click.option("-o", "--output", default="", metavar="FILE", help="Write to a file, instead of STDOUT")
@click.argument("container", required=False)
@click.pass_context
def export(ctx: click.Context, container: str, output: str) -> None:
    """Write a CONTAINER's whole filesystem as a tar archive (streamed to STDOUT by default), without its volumes."""
    from ..container import changed

    context: Context = ctx.obj
    found = context.containers.resolve(container)
    with written(output, "export") as sink:
        changed.export(found, context.engine.idmap, sink)
