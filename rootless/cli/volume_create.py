"""`rootless volume create`."""

from __future__ import annotations

import click

from ..errors import UsageError
from .context import Context
from .options import Command
from .volume_common import pairs, volumes


@click.command(cls=Command, at_most=1, short_help="Create a volume")
@click.option("-d", "--driver", default="local", metavar="STRING", help="Specify volume driver name")
@click.option("--label", "labels", multiple=True, metavar="LIST", help="Set metadata for a volume")
@click.option("--name", "flag_name", default="", hidden=True)
@click.option("-o", "--opt", "options", multiple=True, metavar="MAP", help="Set driver specific options")
@click.argument("name", default="", required=False, metavar="[VOLUME]")
@click.pass_context
def volume_create(
    ctx: click.Context, /, name: str, driver: str, flag_name: str, labels: tuple[str, ...], options: tuple[str, ...]
) -> None:
    """Make a volume, named VOLUME or by a name that is made up, and print its name."""
    from ..container.mount_texts import plugin_missing
    from ..volumes.store import new_name

    context: Context = ctx.obj
    if name and flag_name:
        raise UsageError(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
        )
    name = name or flag_name
    if driver != "local":
        raise plugin_missing(driver, name)
    store = volumes(context)
    with store.using():
        made = store.create(name or new_name(), labels=pairs(labels), options=pairs(options), anonymous=not name)
    print(made.name)
