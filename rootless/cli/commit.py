"""`rootless commit`, also `rootless container commit`."""

from __future__ import annotations

import click

from .context import Context
from .options import Command


@click.command(cls=Command, at_least=1, at_most=2, short_help="Create a new image from a container's changes")
@click.option("-a", "--author", default="", metavar="STRING", help='Author (e.g., "Jane <jane@example.org>")')
@click.option("-c", "--change", "changes", multiple=True, help="Apply Dockerfile instruction to the created image")
@click.option("-m", "--message", default="", metavar="STRING", help="Commit message")
@click.option("-p", "--pause/--no-pause", default=True, show_default=True, help="Pause container during commit")
@click.argument("arguments", nargs=-1, metavar="CONTAINER [REPOSITORY[:TAG]]")
@click.pass_context
def commit(
    ctx: click.Context, arguments: tuple[str, ...], author: str, changes: tuple[str, ...], message: str, pause: bool
) -> None:
    """Make an image of a CONTAINER's image and its changes, and print its id. What lies in volumes is not in it."""
    from ..container import commit as committing

    context: Context = ctx.obj
    name, wanted = (*arguments, "")[:2]
    reference = committing.check_name(wanted)
    container = context.containers.resolve(name)
    image = committing.commit(
        context.images,
        container,
        context.engine.idmap,
        reference,
        author=author,
        message=message,
        changes=changes,
        pause=pause,
    )
    click.echo(image.id)
