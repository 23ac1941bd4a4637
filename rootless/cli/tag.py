"""`rootless tag`, also `rootless image tag`."""

from __future__ import annotations

import click

from ..errors import InvalidError
from ..image import reference
from ..storage import digest
from .context import Context
from .options import Command


@click.command(cls=Command, at_least=2, at_most=2, short_help="Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE")
@click.argument("names", nargs=-1, metavar="SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]")
@click.pass_context
def tag(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Let a new name lead to an image."""
    context: Context = ctx.obj
    source, target = names
    name = reference.parse(target).tagged()
    if name.digest:
        raise InvalidError("refusing to create a tag with a digest reference")
    if name.familiar_name in digest.ALGORITHMS:  # `sha256:<64 hex>` would be an id and a name at once
        raise InvalidError("refusing to create an ambiguous tag using digest algorithm as name")
    context.images.tag(context.images.resolve(source), name)
