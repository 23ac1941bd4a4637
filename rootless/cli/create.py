"""`rootless create`."""

from __future__ import annotations

from typing import Any

import click

from . import streams
from .container_options import container_options, read_options
from .context import Context
from .obtain import obtain, obtain_options, read_obtain
from .options import Command
from .resource_options import read_resources, resource_options
from .run import id_file
from .unheld_options import take_unheld, unheld_options


@click.command(cls=Command, at_least=1, interspersed=False, short_help="Create a new container")
@container_options
@resource_options
@unheld_options
@obtain_options
@click.argument("image", required=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND] [ARG...]")
@click.pass_context
def create(ctx: click.Context, /, image: str, name: str, cidfile: str, **given: Any) -> None:
    """Create a new container from IMAGE, without starting it, and print its id."""
    from ..container import lifecycle

    context: Context = ctx.obj
    unheld = take_unheld(given)
    resources = read_resources(given)
    wanted = read_obtain(given)
    options = read_options(detach=False, resources=resources, **given)
    with id_file(cidfile) as note:
        obtain(context, image, wanted)
        container = lifecycle.create(context.engine, options, image, name)
        note(container.id)
    streams.warn(unheld)
    print(container.id)
