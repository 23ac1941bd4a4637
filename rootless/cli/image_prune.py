"""`rootless image prune`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import click

from . import image_common
from .confirm import confirmed
from .context import Context
from .format import human_size
from .options import Command

if TYPE_CHECKING:
    from ..image.store import Image

FILTERS = ("label", "label!", "until")


@click.command(cls=Command, at_most=0, short_help="Remove unused images")
@click.option("-a", "--all", "everything", is_flag=True, help="Remove all unused images, not just dangling ones")
@click.option("--filter", "filters", multiple=True, help='Provide filter values (e.g. "until=<timestamp>")')
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation")
@click.pass_context
def image_prune(ctx: click.Context, everything: bool, filters: tuple[str, ...], force: bool) -> None:
    """Remove images that no container uses, and what interrupted commands left in the store."""
    from ..image.remove import prune

    context: Context = ctx.obj
    chosen: Callable[[Image], bool] = Chosen(everything, image_common.parse_filters(filters, FILTERS))
    what = "images without at least one container associated to them" if everything else "dangling images"
    if not force and not confirmed(f"WARNING! This will remove all {what}."):
        return
    context.containers.sweep()
    removed = prune(context.images, chosen, lambda: image_common.uses(context), image_common.layers(context))
    lines = [f"untagged: {name}" for name in removed.untagged] + [f"deleted: {digest}" for digest in removed.deleted]
    if lines:
        click.echo("\n".join(["Deleted Images:", *lines, ""]))
    click.echo(f"Total reclaimed space: {human_size(removed.size)}")


class Chosen:
    """Which images a prune takes."""

    def __init__(self, everything: bool, filters: dict[str, list[str]]) -> None:
        self._everything = everything
        self._labels = filters.get("label", [])
        self._without = filters.get("label!", [])
        self._until: list[datetime] = [image_common.parse_until(value) for value in filters.get("until", [])]

    def __call__(self, image: Image) -> bool:
        if image.names and not self._everything:
            return False
        if not image_common.matches_labels(image, self._labels):
            return False
        if any(image_common.matches_labels(image, [label]) for label in self._without):
            return False
        return all(image.created is not None and image.created < moment for moment in self._until)
