"""`rootless rmi`, also `rootless image rm`."""

from __future__ import annotations

import sys

import click

from ..errors import NotFoundError, RootlessError
from . import image_common
from .context import Context
from .options import Command
from .registry_options import one_platform_option, parse_platform


@click.command(cls=Command, at_least=1, short_help="Remove one or more images")
@click.option("-f", "--force", is_flag=True, help="Force removal of the image")
@click.option("--no-prune", "_no_prune", is_flag=True, help="Do not delete untagged parents (there are none)")
@one_platform_option
@click.argument("images", nargs=-1, metavar="IMAGE [IMAGE...]")
@click.pass_context
def rmi(ctx: click.Context, images: tuple[str, ...], force: bool, _no_prune: bool, platform: str) -> int:
    """Remove one or more IMAGEs: their names, and what only they need."""
    from ..image.remove import remove

    context: Context = ctx.obj
    made_for = parse_platform(platform)
    code = 0
    for text in images:
        try:
            removed = remove(
                context.images,
                text,
                lambda: image_common.uses(context),
                image_common.layers(context),
                force=force,
                platform=made_for,
            )
        except RootlessError as problem:
            # As in Docker, the others are removed all the same, and --force does not mind what is not there.
            print(f"rootless: {problem}", file=sys.stderr)
            if not (force and isinstance(problem, NotFoundError)):
                code = problem.exit_code
        else:
            click.echo("\n".join(removed.lines()))
    return code
