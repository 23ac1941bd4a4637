"""`rootless volume export` and `rootless volume import`: podman's words; Docker has none for it."""

from __future__ import annotations

import click

from .archive_output import written
from .context import Context
from .import_ import opened
from .options import Command
from .volume_common import volumes


@click.command(cls=Command, at_least=1, at_most=1, short_help="Export the contents of a volume as a tar archive")
@click.option("-o", "--output", default="", metavar="FILE", help="Write to a file, instead of STDOUT")
@click.argument("name", required=False, metavar="VOLUME")
@click.pass_context
def volume_export(ctx: click.Context, /, name: str, output: str) -> None:
    """Write what is in VOLUME as a tar archive (streamed to STDOUT by default)."""
    from ..volumes import transfer

    context: Context = ctx.obj
    volume = volumes(context).get(name)
    with written(output, "export") as sink:
        transfer.export(context.paths, volume, sink)


@click.command(cls=Command, at_least=2, at_most=2, short_help="Import a tar archive into a volume")
@click.argument("name", required=False, metavar="VOLUME")
@click.argument("source", required=False, metavar="FILE|-")
@click.pass_context
def volume_import(ctx: click.Context, /, name: str, source: str) -> None:
    """Put the contents of a tar archive, plain or compressed, into VOLUME, which has to be there."""
    from ..volumes import transfer

    context: Context = ctx.obj
    volume = volumes(context).get(name)
    with opened(source, context.paths) as stream:
        transfer.import_(context.paths, volume, stream)
