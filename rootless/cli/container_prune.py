"""`rootless container prune`."""

from __future__ import annotations

import sys

import click

from ..container.container import Container
from . import image_common, prune_filters
from .confirm import confirmed
from .context import Context
from .format import human_size
from .options import Command

FILTERS = ("label", "label!", "until")


@click.command(cls=Command, at_most=0, short_help="Remove all stopped containers")
@click.option("--filter", "filters", multiple=True, help='Provide filter values (e.g. "until=<timestamp>")')
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation")
@click.pass_context
def container_prune(ctx: click.Context, filters: tuple[str, ...], force: bool) -> int:
    """Remove all containers that don't run, with what they have written."""
    from ..container.prune import prune

    context: Context = ctx.obj
    chosen = Chosen(image_common.parse_filters(filters, FILTERS))
    if not force and not confirmed("WARNING! This will remove all stopped containers."):
        return 0
    pruned = prune(context.engine, chosen)
    if pruned.removed:
        click.echo("\n".join(["Deleted Containers:", *pruned.removed, ""]))
    click.echo(f"Total reclaimed space: {human_size(pruned.size)}")
    for problem in pruned.failures:
        print(f"rootless: {problem}", file=sys.stderr)
    return 1 if pruned.failures else 0


class Chosen(prune_filters.Chosen):
    """Which containers a prune takes, of those that don't run."""

    def __call__(self, container: Container) -> bool:
        return self.fits(container.spec.labels, container.record.created)
